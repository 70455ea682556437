"""Every change is recorded by the database: who, when, from where, before and after."""

from io import StringIO

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.db.models import F
from django.test import Client
from psycopg.errors import DeadlockDetected

from core import history, tenancy
from core.models import Organization, User
from fleet.models import Driver, Trailer, Truck
from orders import services
from orders.models import Order
from terminals.models import Terminal, TerminalStaff
from terminals.services import bind_staff
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db


def events(thing) -> list:
    model = history.events_of(type(thing))
    return list(model.objects.filter(pgh_obj=thing.pk).order_by("pgh_id"))


def labels(thing) -> list[str]:
    return [event.pgh_label for event in events(thing)]


class TestEveryTable:
    @pytest.mark.parametrize(
        ("factory", "field", "value"),
        [
            (OrganizationFactory, "name", "Other"),
            (UserFactory, "role", "viewer"),
            (TerminalFactory, "name", "Other"),
            (DriverFactory, "name", "Other"),
            (TruckFactory, "name", "Other"),
            (TrailerFactory, "name", "Other"),
            (OrderFactory, "notes", "Other"),
        ],
    )
    def test_records_what_was_made_changed_and_deleted(self, factory, field, value):
        thing = factory()
        before = getattr(thing, field)
        type(thing).objects.filter(pk=thing.pk).update(**{field: value})
        type(thing).objects.filter(pk=thing.pk)._raw_delete("default")
        told = events(thing)
        assert [event.pgh_label for event in told] == ["insert", "update", "delete"]
        assert [getattr(event, field) for event in told] == [before, value, value]

    def test_records_who_was_bound_to_a_terminal(self):
        terminal = TerminalFactory()
        user = UserFactory(organization=terminal.organization)
        bind_staff(user, [terminal])
        link = TerminalStaff.objects.get()
        bind_staff(user, [])
        assert labels(link) == ["insert", "delete"]

    def test_has_an_event_table_or_says_why_not(self):
        ours = {Organization, User, Terminal, TerminalStaff, Driver, Truck, Trailer, Order}
        assert {model.pgh_tracked_model for model in history.event_models()} >= ours

    def test_keeps_no_password_and_no_sign_in(self):
        user = UserFactory()
        columns = {field.name for field in history.events_of(User)._meta.fields}
        assert not columns & {"password", "last_login"}
        user.set_password("another-tide-comes-in")
        user.save()
        assert labels(user) == ["insert"]


class TestEveryWayToWrite:
    def test_in_bulk(self):
        home = OrganizationFactory()
        made = Driver.objects.bulk_create(
            Driver(organization=home, name=f"Driver {n}") for n in range(20)
        )
        Driver.objects.filter(organization=home).update(is_active=False)
        Driver.objects.bulk_update([Driver(pk=made[0].pk, name="Other")], ["name"])
        Driver.objects.filter(organization=home).delete()
        assert labels(made[0]) == ["insert", "update", "update", "delete"]
        assert labels(made[19]) == ["insert", "update", "delete"]

    def test_in_plain_sql(self):
        order = OrderFactory()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE orders_order SET pallets = 3 WHERE id = %s", [order.pk])
            cursor.execute("DELETE FROM orders_order WHERE id = %s", [order.pk])
        made, changed, deleted = events(order)
        assert (made.pallets, changed.pallets, deleted.pallets) == (None, 3, 3)
        assert (made.version, changed.version) == (1, 2)
        assert deleted.pgh_context is None

    def test_whatever_the_session_asks_to_be_ignored(self):
        driver = DriverFactory()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('pgtrigger.ignore', array_agg(tgname)::text, true)"
                " FROM pg_trigger WHERE NOT tgisinternal"
            )
        Driver.objects.filter(pk=driver.pk).update(name="Other")
        assert labels(driver) == ["insert", "update"]

    def test_whichever_schema_the_session_looks_into_first(self):
        """So no table that only has an event table's name takes the events in."""
        driver = DriverFactory()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL search_path = pg_catalog")
            cursor.execute("UPDATE public.fleet_driver SET name = 'x' WHERE id = %s", [driver.pk])
            cursor.execute("SET LOCAL search_path = public")
        assert labels(driver) == ["insert", "update"]

    def test_but_not_what_changes_nothing(self):
        order = OrderFactory()
        Order.objects.filter(pk=order.pk).update(notes=F("notes"))
        assert labels(order) == ["insert"]


class TestTheSource:
    def test_of_a_request_is_its_user_address_and_id(self, api, dispatcher):
        answer = api.post(
            "/drivers", {"name": "Kari"}, HTTP_X_REQUEST_ID="r-1", REMOTE_ADDR="192.0.2.7"
        )
        (event,) = events(Driver(pk=answer.json()["id"]))
        assert event.organization_id == dispatcher.organization_id
        assert event.pgh_context == {
            "door": "api",
            "request_id": "r-1",
            "address": "192.0.2.7",
            "by": {"type": "user", "name": dispatcher.username, "id": str(dispatcher.pk)},
        }

    def test_of_a_form_is_the_admin(self):
        user = UserFactory()
        client = Client()
        assert client.login(username=user.username, password=PASSWORD)
        client.post("/admin/fleet/driver/add/", {"name": "Kari", "is_active": "on"})
        (event,) = events(Driver.objects.get(name="Kari"))
        assert event.pgh_context["door"] == "admin"
        assert event.pgh_context["by"]["name"] == user.username

    @pytest.mark.usefixtures("owner")
    def test_of_a_command_is_its_name(self):
        driver = DriverFactory(name="Kari")
        call_command("erase_driver", str(driver.pk), stdout=StringIO())
        _, changed = events(driver)
        assert changed.pgh_context["door"] == "command"
        assert changed.pgh_context["by"] == {"type": "command", "name": "erase_driver", "id": None}

    def test_of_an_api_key_is_its_name(self):
        class Key:
            pk, name = "k1", "the weighbridge"

        user = UserFactory.build()
        assert history.actor_of(Key()) == history.Actor("api_key", "the weighbridge", "k1")
        assert history.actor_of(user) == history.Actor("user", user.username, str(user.pk))
        assert history.actor_of(AnonymousUser()) is None

    def test_ends_with_the_request(self, api):
        api.post("/drivers", {"name": "Kari"})
        assert events(DriverFactory())[0].pgh_context is None

    def test_costs_reading_no_statement_and_writing_no_more_than_one(self, api, statements):
        with statements() as reading:
            api.get("/drivers")
        with statements() as writing:
            api.post("/drivers", {"name": "Kari"})
        assert len(reading.sql) == 2  # who, and the page
        assert len(writing.sql) == 2  # who, and the INSERT
        signing = [q for q in writing.captured_queries if q["sql"].startswith("SELECT set_config")]
        assert len(signing) == 1


class TestWhatIsRefused:
    def test_leaves_no_trace(self, api, dispatcher):
        DriverFactory(organization=dispatcher.organization, phone="+4790123456")
        before = history.events_of(Driver).objects.count()
        assert api.post("/drivers", {"name": "B", "phone": "+4790123456"}).status_code == 409
        assert history.events_of(Driver).objects.count() == before


class TestEvents:
    """As the owner of the tables sees them; the application's role has less to say."""

    pytestmark = pytest.mark.usefixtures("owner")

    def test_are_not_changed(self):
        driver = DriverFactory()
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            history.events_of(Driver).objects.filter(pgh_obj=driver.pk).update(name="Nobody")
        assert events(driver)[0].name == driver.name

    def test_are_not_deleted(self):
        driver = DriverFactory()
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            history.events_of(Driver).objects.filter(pgh_obj=driver.pk).delete()
        assert labels(driver) == ["insert"]

    @pytest.mark.parametrize("model", history.event_models(), ids=lambda model: model.__name__)
    def test_are_not_emptied(self, model):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('dockside.history', '', true)")
        with (
            pytest.raises(ProgrammingError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"TRUNCATE {model._meta.db_table}")

    def test_are_rewritten_on_the_audited_path_alone(
        self, caplog, django_capture_on_commit_callbacks
    ):
        driver = DriverFactory()
        told = history.events_of(Driver).objects.filter(pgh_obj=driver.pk)
        with django_capture_on_commit_callbacks(execute=True), history.rewriting("test") as done:
            done["events"] = told.update(name="Erased")
        assert "history_rewritten" in caplog.text
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            told.update(name="Again")

    def test_stay_closed_after_a_failed_rewriting(self):
        driver = DriverFactory()
        with pytest.raises(ZeroDivisionError), history.rewriting("test"):
            raise ZeroDivisionError
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            history.events_of(Driver).objects.filter(pgh_obj=driver.pk).delete()

    def test_are_behind_the_wall(self):
        ours, theirs = DriverFactory(), DriverFactory()
        with tenancy.within(ours.organization_id):
            assert labels(ours) == ["insert"]
            assert labels(theirs) == []
            assert labels(theirs.organization) == []
            assert labels(ours.organization) == ["insert"]

    def test_cannot_be_forged_for_another_organization(self):
        ours, theirs = DriverFactory(), DriverFactory()
        forged = events(theirs)[0]
        forged.pk = None
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            tenancy.within(ours.organization_id),
        ):
            forged.save(force_insert=True)


class TestARequestThatIsRepeatedAfterADeadlock:
    def test_enters_its_organization_and_signs_again(self, api, dispatcher, monkeypatch):
        order = OrderFactory(terminal__organization=dispatcher.organization)
        update, tries = services.update_order, []

        def deadlocked_once(*args, **kwargs):
            changed = update(*args, **kwargs)
            tries.append(changed)
            if len(tries) == 1:
                raise OperationalError from DeadlockDetected()
            return changed

        monkeypatch.setattr(services, "update_order", deadlocked_once)
        assert api.patch(f"/orders/{order.pk}", {"pallets": 5}).status_code == 200
        assert len(tries) == 2
        made, changed = events(order)
        assert changed.pgh_context["by"]["name"] == dispatcher.username
