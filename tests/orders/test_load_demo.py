import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F

from core.models import Organization, User
from fleet.models import Driver, Trailer, Truck
from orders import demo
from orders.models import Commodity, Order, Service, Status
from terminals.models import Terminal
from tests.core.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)  # 12 o'clock in Norway
ONE_DAY = timedelta(days=1)


def load_demo(**options: bool) -> str:
    said = StringIO()
    call_command("load_demo", stdout=said, **options)
    return said.getvalue()


def everything() -> list[list[dict[str, object]]]:
    """All rows of the demo, with their versions and instants of change."""
    models = (Organization, User, Terminal, Driver, Truck, Trailer, Order)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.fixture(scope="class")
def loaded(django_db_setup, django_db_blocker):
    """The demo, loaded once for the tests of a class; what each changes is rolled back."""
    with django_db_blocker.unblock(), transaction.atomic():
        demo.load(now=NOON)
        yield
        transaction.set_rollback(True)


@pytest.mark.usefixtures("loaded")
class TestTheDemoDay:
    def today(self):
        return Order.objects.moving_on(NOON.date())

    def test_has_three_terminals_two_of_them_busy_from_6_to_10(self):
        terminals = Terminal.objects.order_by("account_code")
        assert [terminal.account_code for terminal in terminals] == ["BGO", "OSL", "TOS"]
        early = Counter(
            self.today()
            .filter(eta_time__hour__gte=6, eta_time__hour__lt=10)
            .values_list("terminal__account_code", flat=True)
        )
        assert early["OSL"] > 15
        assert early["BGO"] > 10
        assert early["TOS"] < 10

    def test_is_as_full_as_a_real_one(self):
        assert 60 <= self.today().count() <= 90
        assert Order.objects.moving_on(NOON.date() - ONE_DAY).count() > 15
        assert Order.objects.moving_on(NOON.date() + ONE_DAY).count() > 15

    def test_shows_every_service_commodity_and_status(self):
        assert set(self.today().values_list("service", flat=True)) == set(Service)
        assert set(self.today().values_list("commodity", flat=True)) == set(Commodity)
        assert set(self.today().values_list("status", flat=True)) == set(Status)

    def test_has_late_ones_and_typed_ones(self):
        assert self.today().late(zones=[demo.CLOCK.key], now=NOON).count() > 3
        assert self.today().exclude(eta_truck_plate="").count() > 3
        assert self.today().exclude(eta_driver_name="").count() > 3
        assert self.today().filter(eta_truck__isnull=False).count() > 30

    def test_holds_nothing_that_has_not_happened_yet(self):
        assert not Order.objects.filter(arrived_at__gt=NOON).exists()
        assert not Order.objects.filter(departed_at__gt=NOON).exists()
        tomorrow = Order.objects.filter(eta_date=NOON.date() + ONE_DAY)
        assert set(tomorrow.values_list("status", flat=True)) == {Status.PLANNED}

    def test_never_has_one_truck_at_two_terminals(self):
        for leg in ("eta", "etd"):
            visits = Order.objects.exclude(**{f"{leg}_truck": None})
            pairs = set(visits.values_list(f"{leg}_truck", "terminal"))
            assert len(pairs) == len({truck for truck, _terminal in pairs})

    def test_adds_nothing_when_it_is_loaded_again(self):
        before = everything()
        again = demo.load(now=NOON + timedelta(hours=3))
        assert (again.orders, again.passwords) == (0, {})
        assert everything() == before

    def test_adds_the_next_day_on_the_next_day(self):
        fleet = everything()[:-1]
        assert demo.load(now=NOON + ONE_DAY).orders > 60
        tomorrow = Order.objects.moving_on(NOON.date() + ONE_DAY)
        assert 60 <= tomorrow.count() <= 90
        assert everything()[:-1] == fleet

    def test_is_the_same_day_wherever_it_is_loaded(self):
        plan = ("reference", "kilos", "eta_time", "eta_driver__name", "status", "arrived_at")
        before = list(Order.objects.order_by("reference").values(*plan))
        Order.objects.all().delete()
        demo.load(now=NOON)
        assert list(Order.objects.order_by("reference").values(*plan)) == before

    def test_is_all_the_organizations_own(self):
        organization = Organization.objects.get()
        for model in (Terminal, Driver, Truck, Trailer, Order):
            assert not model.objects.exclude(organization=organization).exists()
        assert not Order.objects.exclude(organization=F("terminal__organization")).exists()


class TestTheDayByTheTerminalsClock:
    def test_begins_at_midnight_in_norway(self):
        demo.load(now=datetime(2026, 11, 23, 22, 59, tzinfo=UTC))
        assert Order.objects.filter(reference="OSL-261123-02").exists()
        assert not Order.objects.filter(reference="OSL-261124-02").exists()

        demo.load(now=datetime(2026, 11, 23, 23, 0, tzinfo=UTC))
        assert Order.objects.filter(reference="OSL-261124-02").exists()


@pytest.fixture
def no_documents(monkeypatch):
    """tests/documents/test_demo.py has them; here they would only take their time."""
    monkeypatch.setattr("documents.demo.WITH_DOCUMENTS", 0)


@pytest.mark.usefixtures("no_documents")
class TestLoadDemo:
    def test_shows_the_passwords_once(self):
        first = load_demo()
        for username in demo.USERS:
            password = re.search(rf"^  {username} +\S+ +(\S+)$", first, re.MULTILINE)[1]
            assert User.objects.get(username=username).check_password(password)

        again = load_demo()
        assert "shown this once" not in again
        assert "create_user sets a new password" in again

    def test_says_how_many_orders_it_added(self):
        assert load_demo().startswith("demo: 1")
        assert load_demo().startswith("demo: the orders of today are there already")

    def test_does_nothing_on_a_dry_run(self):
        assert load_demo(dry_run=True).startswith("demo: would add 1")
        assert not any(everything())

    def test_leaves_an_installation_that_has_an_organization(self):
        OrganizationFactory()
        before = everything()
        assert load_demo(if_empty=True).count("\n") == 1
        assert everything() == before

        Organization.objects.all().delete()
        load_demo(if_empty=True)
        assert Order.objects.exists()

    def test_takes_no_user_from_another_organization(self):
        UserFactory(username="demo-viewer")
        before = everything()
        with pytest.raises(CommandError, match="demo-viewer is a user of another organization"):
            load_demo()
        assert everything() == before

    def test_makes_the_users_as_the_table_says(self):
        load_demo()
        rows = User.objects.values_list("username", "role", "is_superuser", "organization__slug")
        assert set(rows) == {
            ("demo-admin", "admin", False, "demo"),
            ("demo-dispatcher", "dispatcher", False, "demo"),
            ("demo-viewer", "viewer", False, "demo"),
            ("superuser", "viewer", True, None),
        }
