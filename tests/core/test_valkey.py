"""One breaker for all who ask Valkey: one time-out, then nobody waits until it is back."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ResponseError

from core import valkey
from core.valkey import Away, Script
from tests.proxy import proxy_to
from tests.valkeys import calls_of_valkey, forget_servers, own_valkey, through, use
from tests.waiting import eventually

PING = Script("return 'PONG'")


class Watcher:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def hit(self, resource: str) -> None:
        self.told.append(("hit", resource))

    def miss(self, resource: str) -> None:
        self.told.append(("miss", resource))

    def error(self) -> None:
        self.told.append("error")

    def breaker(self, open: bool) -> None:
        self.told.append(open)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A Valkey, and its URL."""
    with own_valkey(tmp_path_factory.mktemp("valkey")) as found:
        yield found


@pytest.fixture
def server(one, settings, monkeypatch):
    """The Valkey of the settings is one of our own, which may be stopped and let go on."""
    monkeypatch.setattr(valkey, "LEFT_ALONE_S", 0.2)
    process, url = one
    use(settings, url)
    assert ask() == b"PONG"
    yield process
    process.send(signal.SIGCONT)
    forget_servers()


@pytest.fixture
def watcher(monkeypatch):
    watcher = Watcher()
    monkeypatch.setattr(valkey.stats, "observers", [watcher])
    return watcher


def ask() -> bytes:
    return PING([], [])


def is_away() -> bool:
    try:
        ask()
    except Away:
        return True
    return False


class TestHung:
    def test_costs_each_caller_of_the_moment_one_call_and_then_nobody_any(
        self, server, watcher, monkeypatch
    ):
        monkeypatch.setattr(valkey, "LEFT_ALONE_S", 60)
        server.send(signal.SIGSTOP)
        with calls_of_valkey() as sent, ThreadPoolExecutor(8) as threads:
            began = time.monotonic()
            assert all(threads.map(lambda _: is_away(), range(8)))
            assert time.monotonic() - began < 2  # not eight time-outs, one behind the other
            assert len(sent) <= 8
            tried = len(sent)
            assert all(is_away() for _ in range(1_000))
            assert len(sent) == tried
        assert watcher.told.count(True) == 1

    def test_is_asked_again_by_one_probe_when_it_goes_on(self, server, watcher):
        server.send(signal.SIGSTOP)
        assert is_away()
        assert watcher.told == ["error", True]
        server.send(signal.SIGCONT)
        with calls_of_valkey() as sent:
            assert eventually(lambda: watcher.told[-1] is False)
        assert b"".join(part for command in sent for part in command).count(b"PING") == 2
        assert ask() == b"PONG"

    def test_has_what_it_missed_made_good_before_anybody_asks(self, server, monkeypatch):
        made_good = []

        def make_good(client):
            made_good.append((client.ping(), is_away()))

        monkeypatch.setattr(valkey, "on_return", [make_good])
        server.send(signal.SIGSTOP)
        assert is_away()
        server.send(signal.SIGCONT)
        assert eventually(lambda: not is_away())
        assert made_good == [(True, True)]

    def test_loses_no_order_between_the_making_good_and_its_return(self, server, monkeypatch):
        reached, go_on = threading.Event(), threading.Event()

        def make_good(client):
            reached.set()
            go_on.wait(10)

        monkeypatch.setattr(valkey, "on_return", [make_good])
        server.send(signal.SIGSTOP)
        assert is_away()
        server.send(signal.SIGCONT)
        assert reached.wait(10)
        with ThreadPoolExecutor(1) as threads:
            # What was made good may lack this order: it waits, and is carried out.
            order = threads.submit(lambda: valkey.ask(lambda client: client.ping(), surely=True))
            assert is_away()  # others do not wait
            go_on.set()
            assert order.result(10) is True


class TestSlow:
    @pytest.fixture
    def line(self, one, server, settings, monkeypatch):
        """The line to it, on which answers can be late."""
        monkeypatch.setattr(valkey, "SLOW_S", 0.05)
        process, url = one
        with proxy_to(process.pid_and_port()[1]) as proxy:
            use(settings, through(url, proxy.port))
            assert ask() == b"PONG"
            yield proxy

    def test_is_left_alone_like_one_that_does_not_answer(self, line, watcher):
        line.delay_s = 0.06
        assert [is_away() for _ in range(8)] == [False] * 5 + [True] * 3
        assert watcher.told == [True]  # nothing failed
        time.sleep(0.6)  # it is probed meanwhile, and still late
        assert watcher.told == [True]
        line.delay_s = 0
        assert eventually(lambda: not is_away())

    def test_once_in_a_while_is_nothing(self, line, watcher):
        for _ in range(3):
            line.delay_s = 0.06
            assert not is_away()
            assert not is_away()
            line.delay_s = 0
            assert not is_away()
        assert watcher.told == []

    def test_beyond_patience_is_a_failure(self, line, watcher):
        line.delay_s = 0.4
        assert is_away()
        assert watcher.told == ["error", True]


class TestGone:
    def test_costs_nothing_to_speak_of(self, one, server, settings, watcher):
        process, url = one
        with proxy_to(process.pid_and_port()[1]) as proxy:
            use(settings, through(url, proxy.port))
            assert ask() == b"PONG"
            proxy.cut()
            assert is_away()
            assert watcher.told == ["error", True]
            proxy.target = process.pid_and_port()[1]
            assert eventually(lambda: not is_away())

    def test_and_back_unnoticed_is_no_failure(self, one, server, settings, watcher):
        process, url = one
        with proxy_to(process.pid_and_port()[1]) as proxy:
            use(settings, through(url, proxy.port))
            assert ask() == b"PONG"
            proxy.cut()  # as a restart does to every connection that is kept
            proxy.target = process.pid_and_port()[1]
            assert eventually(lambda: not proxy_has_open_lines(proxy))
            assert ask() == b"PONG"
        assert watcher.told == []

    def test_is_also_one_that_refuses(self, server, watcher):
        def refused(client):
            raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")

        with pytest.raises(Away):
            valkey.ask(refused)
        assert watcher.told == ["error", True]


def proxy_has_open_lines(proxy) -> bool:
    return any(not stream.is_closing() for stream in proxy._streams)


class TestStats:
    def test_are_counted_in_the_process(self, watcher):
        stats = valkey.Stats()
        stats.observers.append(watcher)
        stats.hit("drivers")
        stats.hit("drivers")
        stats.miss("trucks")
        stats.error()
        stats.breaker(True)
        assert (dict(stats.hits), dict(stats.misses)) == ({"drivers": 2}, {"trucks": 1})
        assert (stats.errors, stats.is_open) == (1, True)
        assert watcher.told == [
            *[("hit", "drivers"), ("hit", "drivers"), ("miss", "trucks")],
            *["error", True],
        ]
