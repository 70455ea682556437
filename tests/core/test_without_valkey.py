"""Valkey stopped, hung or slow: nobody is refused, next to nobody waits, nothing old is shown."""

import signal
import time
from contextlib import contextmanager

import pytest

from core import valkey
from tests.core.factories import PASSWORD
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory
from tests.proxy import proxy_to
from tests.valkeys import (
    as_if_committed,
    calls_of_valkey,
    forget_servers,
    own_valkey,
    through,
    use,
)
from tests.waiting import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with own_valkey(tmp_path_factory.mktemp("valkey")) as found:
        yield found


@pytest.fixture(params=["stopped", "hung", "slow"])
def broken(request, one, settings, monkeypatch):
    """Breaks the Valkey in use for as long as a block lasts."""
    monkeypatch.setattr(valkey, "LEFT_ALONE_S", 0.2)
    monkeypatch.setattr(valkey, "SLOW_S", 0.1)
    server, url = one
    port = server.pid_and_port()[1]

    @contextmanager
    def broken():
        if request.param == "stopped":
            proxy.cut()
        elif request.param == "hung":
            server.send(signal.SIGSTOP)
        else:
            proxy.delay_s = 0.2
        try:
            yield
        finally:
            proxy.target, proxy.delay_s = port, 0
            server.send(signal.SIGCONT)

    with proxy_to(port) as proxy:
        use(settings, through(url, proxy.port))
        yield broken
    forget_servers()


@pytest.fixture
def orders(dispatcher):
    order = OrderFactory(terminal__organization=dispatcher.organization)
    DriverFactory(organization=dispatcher.organization)
    as_if_committed()
    return order


def ask_everything(api, order, round: int) -> list[int]:
    """A bit of everything that people and programs do all day."""
    driver = api.post("/drivers", {"name": f"Kari {round}"})
    as_if_committed()
    path = f"/drivers/{driver.json()['id']}"
    sign_in = {"username": "nobody", "password": PASSWORD}
    answers = [
        driver,
        *(api.get(f"/{name}") for name in ("terminals", "drivers", "trucks", "trailers", "orders")),
        api.get(path),
        api.get(f"/orders/{order.pk}"),
        api.get(f"/terminals/{order.terminal_id}"),
        api.patch(path, {"is_active": False}),
        api.post("/orders", {}),
        api.post("/auth/token", sign_in),
        api.get("/auth/me"),
        api.get("/nowhere"),
        api.get("/health/ready"),
    ]
    as_if_committed()
    return [answer.status_code for answer in answers]


USUAL = [201, *[200] * 9, 422, 401, 200, 404, 200]


class TestBroken:
    def test_costs_some_calls_and_no_answer(self, broken, api, orders, monkeypatch, anonymous):
        assert ask_everything(api, orders, 0) == USUAL
        assert anonymous.get("/health/detailed").json()["status"] == "ok"
        monkeypatch.setattr(valkey, "LEFT_ALONE_S", 60)
        with broken(), calls_of_valkey() as calls:
            for number in range(1, 3):
                assert ask_everything(api, orders, number) == USUAL
            # One that fails, and what reaches for it anew; or so many slow ones in a row.
            assert len(calls) <= valkey.SLOW_IN_A_ROW + 2
            tried = len(calls)
            began = time.monotonic()
            assert ask_everything(api, orders, 9) == USUAL
            assert len(calls) == tried
            assert time.monotonic() - began < 3
            health = anonymous.get("/health/ready"), anonymous.get("/health/detailed")
            assert [answer.status_code for answer in health] == [200, 200]

    def test_hides_no_change_when_it_is_over(self, broken, api, orders):
        path = f"/drivers/{api.get('/drivers').json()['data'][0]['id']}"
        api.get(path)
        with broken():
            while not valkey.server().is_away:
                assert api.get("/trucks").status_code == 200
            assert api.patch(path, {"name": "Changed meanwhile"}).status_code == 200
            as_if_committed()
            assert api.get(path).json()["name"] == "Changed meanwhile"
        assert eventually(lambda: not valkey.server().is_away)
        with calls_of_valkey() as calls:
            assert api.get(path).json()["name"] == "Changed meanwhile"
            assert api.get("/drivers").json()["data"][0]["name"] == "Changed meanwhile"
        assert calls  # it is asked again


def test_a_lock_out_holds_without_it(settings, anonymous):
    use(settings, "redis://127.0.0.1:1/0")
    settings.LIMIT_SIGN_IN = "2/minute"
    body = {"username": "kari", "password": "wrong"}
    statuses = [anonymous.post("/auth/token", body).status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
