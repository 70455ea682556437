"""A customer's program: a client generated from the description, used as it comes."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest

from orders.models import Order
from tests.core.factories import PASSWORD
from tests.fleet.factories import DriverFactory

pytestmark = [pytest.mark.server, pytest.mark.django_db]

PACKAGE = "client_of_dockside"
TODAY = date.today()


@pytest.fixture(scope="module")
def generated(server, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The generated package: `api` and `models` by their names."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "description.json"
    description.write_bytes(httpx.get(f"{server.url}/api/v1/schema").content)
    settings = folder / "settings.yaml"
    # It knows no type of pictures.
    known = "content_type_overrides: {image/webp: application/octet-stream}"
    settings.write_text(f"post_hooks: []\n{known}\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    command += ["--path", str(description), "--config", str(settings), "--meta", "none"]
    command += ["--output-path", str(folder / PACKAGE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    sys.path.insert(0, str(folder))
    try:
        package = importlib.import_module(PACKAGE)

        def operation(tag: str, name: str):
            return importlib.import_module(f"{PACKAGE}.api.{tag}.{name}")

        yield SimpleNamespace(
            Client=package.Client,
            AuthenticatedClient=package.AuthenticatedClient,
            models=importlib.import_module(f"{PACKAGE}.models"),
            UNSET=importlib.import_module(f"{PACKAGE}.types").UNSET,
            operation=operation,
        )
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]


@pytest.fixture
def client(server, generated):
    """The generated client, signed in as the dispatcher."""
    credentials = generated.models.CredentialsRequest(server.user.username, PASSWORD)
    if not hasattr(generated, "token"):
        with generated.Client(base_url=server.url) as stranger:
            sign_in = generated.operation("auth", "auth_token_create")
            generated.token = sign_in.sync(client=stranger, body=credentials).access
    with generated.AuthenticatedClient(base_url=server.url, token=generated.token) as client:
        yield client


@pytest.fixture
def new_order(server, generated):
    def new_order(**given):
        return generated.models.OrderInputRequest(
            **{
                "reference": uuid4().hex,
                "service": generated.models.Service.CROSS_DOCK,
                "terminal_id": server.terminal.pk,
                "eta_date": TODAY,
                "etd_date": TODAY + timedelta(days=1),
            }
            | given
        )

    return new_order


class TestTheGeneratedClient:
    def test_makes_reads_and_moves_an_order(self, client, generated, new_order):
        body = new_order(
            kilos=1234.5,
            pallets=3,
            commodity=generated.models.Commodity.SALMON,
            eta_time="06:30",
            eta_driver_name="Kari Nordmann",
            notes="Two lines,\nÆØÅ.",
        )
        made = generated.operation("orders", "orders_create").sync(client=client, body=body)
        assert made.reference == body.reference
        assert (made.kilos, made.pallets) == (1234.5, 3)
        assert (made.eta_date, made.eta_time, made.etd_time) == (TODAY, "06:30:00", None)
        assert made.eta_driver is None
        assert made.status is generated.models.OrderStatus.PLANNED
        assert made.version == 1

        read = generated.operation("orders", "orders_retrieve").sync(made.id, client=client)
        assert read == made

        arrive = generated.operation("orders", "orders_arrive_create")
        arrived = arrive.sync(made.id, client=client, if_match='"v1"')
        assert arrived.status is generated.models.OrderStatus.ARRIVED
        assert arrived.arrived_at.tzinfo is not None

        again = arrive.sync_detailed(made.id, client=client, if_match='"v1"')
        assert again.status_code == 412
        assert again.parsed.current_version == 2

    def test_changes_and_deletes_an_order(self, client, generated, new_order):
        create = generated.operation("orders", "orders_create")
        made = create.sync(client=client, body=new_order())
        change = generated.operation("orders", "orders_partial_update")
        part = generated.models.PatchedOrderInputRequest(priority=True)
        assert change.sync(made.id, client=client, body=part).priority is True
        delete = generated.operation("orders", "orders_destroy")
        assert delete.sync_detailed(made.id, client=client).status_code == 204
        assert not Order.objects.filter(pk=made.id).exists()

    def test_lists_orders_in_both_styles(self, client, generated, new_order, server):
        create = generated.operation("orders", "orders_create")
        references = {create.sync(client=client, body=new_order()).reference for _ in range(3)}
        listing = generated.operation("orders", "orders_list")
        given = {
            "service": [generated.models.OrdersListServiceItem.CROSS_DOCK],
            "terminal_id": [server.terminal.pk],
            "eta_date_from": TODAY,
            "active": True,
            "ordering": "eta_date,-created_at",
            "per_page": 100,
        }
        page = listing.sync(client=client, page=1, **given)
        assert page.page == 1
        assert page.total_exact is True
        assert references <= {order.reference for order in page.data}

        walk = listing.sync(client=client, cursor="", **given)
        assert [order.id for order in walk.data] == [order.id for order in page.data]
        assert walk.page is generated.UNSET

    def test_reads_what_was_refused_and_why(self, client, generated, new_order):
        create = generated.operation("orders", "orders_create")
        refused = create.sync_detailed(
            client=client, body=new_order(etd_date=None, eta_driver_id=uuid4(), pallets=-1)
        )
        assert refused.status_code == 422
        assert type(refused.parsed) is generated.models.Problem
        assert refused.parsed.code is generated.models.ProblemCode.VALIDATION_ERROR
        assert [error.field for error in refused.parsed.errors] == ["pallets"]

        taken = new_order()
        assert create.sync_detailed(client=client, body=taken).status_code == 201
        conflict = create.sync(client=client, body=taken)
        assert conflict.code is generated.models.ProblemCode.CONFLICT
        assert [(each.field, each.code) for each in conflict.errors] == [("reference", "taken")]

        nothing = generated.operation("orders", "orders_retrieve").sync(uuid4(), client=client)
        assert nothing.code is generated.models.ProblemCode.NOT_FOUND

    def test_keeps_the_registry(self, client, generated, server, new_order):
        driver = DriverFactory.build()
        made = generated.operation("drivers", "drivers_create").sync(
            client=client,
            body=generated.models.DriverInputRequest(name=driver.name, phone="+47 90 12 34 56"),
        )
        assert (made.phone, made.is_active) == ("+4790123456", True)
        order = generated.operation("orders", "orders_create").sync(
            client=client, body=new_order(eta_driver_id=made.id)
        )
        assert (order.eta_driver.id, order.eta_driver.phone) == (made.id, "+4790123456")
        deleted = generated.operation("drivers", "drivers_destroy").sync(made.id, client=client)
        assert deleted.code is generated.models.ProblemCode.IN_USE

    def test_is_told_to_sign_in(self, server, generated):
        with generated.AuthenticatedClient(base_url=server.url, token="x.y.z") as stranger:
            refused = generated.operation("orders", "orders_list").sync(client=stranger)
        assert refused.code is generated.models.ProblemCode.NOT_AUTHENTICATED

    def test_asks_for_health_without_signing_in(self, server, generated):
        with generated.Client(base_url=server.url) as stranger:
            details = generated.operation("health", "health_detailed_retrieve").sync(
                client=stranger
            )
        assert details.checks.database.status is generated.models.PartStatus.OK
