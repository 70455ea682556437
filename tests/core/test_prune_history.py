"""History is forgotten after a while, and a driver on request; what stands stays."""

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command, execute_from_command_line
from django.utils import timezone

from core import history
from fleet.models import Driver
from orders.models import Order
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("owner")]  # who alone rewrites it

EVENTS = history.events_of(Driver)
ORDER_EVENTS = history.events_of(Order)


def say(*arguments: str) -> str:
    said = StringIO()
    call_command(*arguments, stdout=said)
    return said.getvalue()


def aged(thing, days: int) -> None:
    """As if everything that happened to `thing` so far had happened `days` ago."""
    with history.rewriting("test"):
        history.events_of(type(thing)).objects.filter(pgh_obj=thing.pk).update(
            pgh_created_at=timezone.now() - timedelta(days=days)
        )


def labels(thing) -> list[str]:
    told = history.events_of(type(thing)).objects.filter(pgh_obj=thing.pk)
    return list(told.order_by("pgh_id").values_list("pgh_label", flat=True))


def rename(driver: Driver, name: str) -> None:
    Driver.objects.filter(pk=driver.pk).update(name=name)


class TestPruneHistory:
    @pytest.fixture
    def driver(self):
        driver = DriverFactory(name="First")
        rename(driver, "Second")
        aged(driver, 31)
        rename(driver, "Third")
        return driver

    def test_forgets_the_deeds_and_keeps_how_it_stood(self, driver):
        said = say("prune_history", "--older-than", "30")
        assert said == "history: forgot 2 changes of fleet_driver.\n"
        before, after = EVENTS.objects.filter(pgh_obj=driver.pk).order_by("pgh_id")
        assert (before.pgh_label, before.name, before.pgh_context) == ("baseline", "Second", None)
        assert (after.pgh_label, after.name) == ("update", "Third")
        driver.refresh_from_db()
        assert driver.name == "Third"

    def test_keeps_what_is_younger(self, driver):
        assert say("prune_history", "--older-than", "32") == (
            "history: nothing is older than 32 days.\n"
        )
        assert labels(driver) == ["insert", "update", "update"]

    def test_does_nothing_the_second_time(self, driver):
        say("prune_history", "--older-than", "30")
        assert "nothing is older" in say("prune_history", "--older-than", "30")
        assert labels(driver) == ["baseline", "update"]

    def test_forgets_all_of_what_was_deleted_before(self, driver):
        key = driver.pk
        driver.delete()
        aged(Driver(pk=key), 31)
        assert labels(Driver(pk=key))[-1] == "delete"
        say("prune_history", "--older-than", "30")
        assert not labels(Driver(pk=key))

    def test_only_says_so_when_asked(self, driver, caplog):
        said = say("prune_history", "--older-than", "30", "--dry-run")
        assert said == "history: would forget 2 changes of fleet_driver.\n"
        assert labels(driver) == ["insert", "update", "update"]

    def test_reaches_one_organization_only_where_it_is_named(self, driver):
        other = DriverFactory()
        aged(other, 31)
        said = say(
            "prune_history", "--older-than", "30", "--organization", driver.organization.slug
        )
        assert said == "history: forgot 2 changes of fleet_driver.\n"
        assert labels(other) == ["insert"]

    def test_refuses_an_unknown_organization(self):
        with pytest.raises(CommandError, match="no organization 'x'"):
            say("prune_history", "--older-than", "30", "--organization", "x")

    @pytest.mark.parametrize("days", ["0", "-1", "x", ""])
    def test_ends_with_2_on_wrong_usage(self, days):
        with pytest.raises(SystemExit) as end:
            execute_from_command_line(["manage.py", "prune_history", f"--older-than={days}"])
        assert end.value.code == 2

    def test_leaves_a_line_in_the_log(self, driver, caplog, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            say("prune_history", "--older-than", "30")
        assert "history_rewritten" in caplog.text
        assert "retention" in caplog.text

    def test_leaves_orders_with_a_past(self, api, dispatcher):
        order = OrderFactory(terminal__organization=dispatcher.organization, pallets=1)
        aged(order, 31)
        api.patch(f"/orders/{order.pk}", {"pallets": 2})
        say("prune_history", "--older-than", "30")
        (entry,) = api.get(f"/orders/{order.pk}/history").json()["data"]
        assert entry["changes"][0]["before"] == 1
        order.refresh_from_db()
        instant = order.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert api.get(f"/orders/{order.pk}?as_of={instant}").json()["pallets"] == 1


class TestEraseDriver:
    @pytest.fixture
    def driver(self):
        driver = DriverFactory(name="Kari Gamle", phone="+4790123456")
        rename(driver, "Kari Nordmann")
        return driver

    def typed(self, driver, name, phone):
        return OrderFactory(
            terminal__organization=driver.organization,
            pallets=7,
            eta_driver_name=name,
            eta_driver_phone=phone,
        )

    def test_blanks_the_driver_and_all_its_history(self, driver):
        LogEntry.objects.create(
            user=UserFactory(organization=driver.organization),
            content_type=ContentType.objects.get_for_model(Driver),
            object_id=str(driver.pk),
            object_repr=str(driver),
            action_flag=CHANGE,
        )
        order = OrderFactory(
            terminal__organization=driver.organization, eta_driver=driver, pallets=7
        )
        assert "erased name and phone in 2 changes" in say("erase_driver", str(driver.pk))
        driver.refresh_from_db()
        assert (driver.name, driver.phone, driver.is_active) == ("Erased", "", False)
        told = EVENTS.objects.filter(pgh_obj=driver.pk)
        assert set(told.values_list("name", "phone")) == {("Erased", "")}
        assert labels(driver) == ["insert", "update", "update"]
        assert LogEntry.objects.get().object_repr == "Erased"
        order.refresh_from_db()
        assert (order.eta_driver, order.pallets, order.version) == (driver, 7, 1)

    @pytest.mark.parametrize(
        ("name", "phone"),
        [
            ("Kari Nordmann", ""),
            ("KARI GAMLE", ""),
            ("Kari", "90 12 34 56"),
            ("Kari Nordmann", "+47 901 23 456"),
            ("", "0047-90123456"),
        ],
    )
    def test_blanks_where_it_was_typed(self, driver, name, phone):
        order = self.typed(driver, name, phone)
        Order.objects.filter(pk=order.pk).update(notes="Changed")
        assert "1 orders and 2 changes" in say("erase_driver", str(driver.pk))
        order.refresh_from_db()
        blank = "Erased" if name else ""
        assert (order.eta_driver_name, order.eta_driver_phone, order.pallets) == (blank, "", 7)
        told = ORDER_EVENTS.objects.filter(pgh_obj=order.pk)
        assert set(told.values_list("eta_driver_name", "eta_driver_phone")) == {(blank, "")}

    @pytest.mark.parametrize(
        ("name", "phone"),
        [("Kari Nordmann", "+47 911 11 111"), ("Kari Nord", ""), ("Ola", "190123456"), ("Ola", "")],
    )
    def test_leaves_others_alone(self, driver, name, phone):
        order = self.typed(driver, name, phone)
        assert "0 orders and 0 changes" in say("erase_driver", str(driver.pk))
        order.refresh_from_db()
        assert (order.eta_driver_name, order.eta_driver_phone) == (name, phone)

    def test_leaves_other_organizations_alone(self, driver):
        order = OrderFactory(eta_driver_name="Kari Nordmann")
        say("erase_driver", str(driver.pk))
        order.refresh_from_db()
        assert order.eta_driver_name == "Kari Nordmann"

    def test_finds_a_deleted_driver(self, driver):
        key = driver.pk
        driver.delete()
        say("erase_driver", str(key))
        assert set(EVENTS.objects.filter(pgh_obj=key).values_list("name")) == {("Erased",)}

    def test_only_says_so_when_asked(self, driver):
        order = self.typed(driver, "Kari Nordmann", "")
        said = say("erase_driver", str(driver.pk), "--dry-run")
        assert "would erase" in said
        assert "1 orders" in said
        driver.refresh_from_db()
        order.refresh_from_db()
        assert (driver.name, order.eta_driver_name) == ("Kari Nordmann", "Kari Nordmann")
        assert EVENTS.objects.filter(name="Kari Gamle").exists()

    def test_is_safe_to_repeat(self, driver):
        say("erase_driver", str(driver.pk))
        assert "in 0 changes of the driver, 0 orders" in say("erase_driver", str(driver.pk))

    def test_refuses_an_unknown_driver(self):
        with pytest.raises(CommandError, match="never was"):
            say("erase_driver", str(uuid.uuid4()))
