"""The wall between organizations stands in the database, whatever the code forgets."""

import contextlib

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError, ProgrammingError

from core import tenancy
from core.models import User
from fleet.models import Driver
from orders.models import Order
from tests.core.factories import OrganizationFactory, UserFactory
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

# Tables without an organization's rows, and why.
OPEN = {
    "auth_group": "names of groups; none are used",
    "auth_group_permissions": "as auth_group",
    "auth_permission": "what Django's models can do",
    "core_user_groups": "no groups are used",
    "core_user_user_permissions": "no single permissions are used",
    "django_content_type": "names of models",
    "django_migrations": "what was migrated",
    "django_session": "opaque, found by a secret key",
    "pghistory_context": "empty: who did it stands in each event",
    "procrastinate_jobs": "holds ids only; each job enters its organization before it works",
    "procrastinate_events": "when jobs were made and taken",
    "procrastinate_workers": "heartbeats",
    "procrastinate_periodic_defers": "empty: nothing is done by the clock",
}


def rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


class TestEveryTable:
    def test_is_behind_the_wall_or_says_why_not(self):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT relname, relrowsecurity AND relforcerowsecurity
                       AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid
                                   AND polwithcheck IS NOT NULL AND polqual IS NOT NULL)
                FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
                """
            )
            tables = dict(cursor.fetchall())
        walled = {name for name, is_walled in tables.items() if is_walled}
        assert set(tables) - walled == set(OPEN)

    def test_is_used_by_a_role_that_cannot_bypass_it(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )
            assert cursor.fetchone() == (False, False)


class TestTheWall:
    @pytest.fixture(autouse=True)
    def two_organizations(self):
        self.ours, self.theirs = OrderFactory(), OrderFactory()

    def test_shows_nothing_where_no_tenant_is_set(self):
        tenancy.enter(None)
        tables = ("orders_order", "terminals_terminal", "core_organization", "core_user")
        assert [rows(table) for table in tables] == [0, 0, 0, 0]

    def test_shows_only_the_tenants_rows(self):
        with tenancy.within(self.ours.organization_id):
            assert list(Order.objects.all()) == [self.ours]
        with tenancy.within(self.theirs.organization_id):
            assert list(Order.objects.all()) == [self.theirs]

    def test_takes_no_row_of_another_tenant(self):
        driver = DriverFactory.build(organization=self.theirs.organization)
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            tenancy.within(self.ours.organization_id),
        ):
            driver.save(force_insert=True)

    def test_moves_no_row_to_another_tenant(self):
        driver = DriverFactory(organization=self.ours.organization)
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            tenancy.within(self.ours.organization_id),
        ):
            Driver.objects.filter(pk=driver.pk).update(organization=self.theirs.organization)

    def test_changes_and_deletes_nothing_of_another_tenant(self):
        with tenancy.within(self.ours.organization_id):
            assert Order.objects.filter(pk=self.theirs.pk).update(notes="Ours now") == 0
            assert Order.objects.filter(pk=self.theirs.pk).delete() == (0, {})
        assert Order.objects.get(pk=self.theirs.pk).notes == ""

    def test_lets_no_reference_across(self):
        driver = DriverFactory(organization=self.theirs.organization)
        Order.objects.filter(pk=self.ours.pk).update(eta_driver=driver)
        with pytest.raises(IntegrityError, match="same_organization"), transaction.atomic():
            connection.check_constraints()
        Order.objects.filter(pk=self.ours.pk).update(eta_driver=None)


@pytest.mark.usefixtures("no_filters")
class TestWithoutTheQuerySetsFilters:
    """What a programmer forgets, the database remembers."""

    def test_lists_show_only_the_callers_organization(self, api, dispatcher):
        ours = OrderFactory(terminal__organization=dispatcher.organization)
        OrderFactory()
        assert [row["id"] for row in api.get("/orders").json()["data"]] == [str(ours.pk)]
        assert len(api.get("/terminals").json()["data"]) == 1

    def test_others_are_not_found(self, api):
        theirs = OrderFactory()
        address = f"/orders/{theirs.pk}"
        assert api.get(address).status_code == 404
        assert api.patch(address, {"notes": "x"}).status_code == 404
        assert api.post(f"{address}/arrive").status_code == 404
        assert api.delete(address).status_code == 404

    def test_others_cannot_be_referred_to(self, api, dispatcher):
        ours = OrderFactory(terminal__organization=dispatcher.organization)
        driver = DriverFactory()
        answer = api.patch(f"/orders/{ours.pk}", {"eta_driver_id": str(driver.pk)})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-reference")


class TestSuperusers:
    def test_see_every_organization(self, api_of):
        OrderFactory()
        OrderFactory()
        root = UserFactory(superuser=True)
        assert len(api_of(root).get("/orders").json()["data"]) == 2

    def test_leave_a_line_in_the_log(self, api_of, caplog):
        api_of(UserFactory(superuser=True)).get("/orders")
        assert "tenant_wall_lifted" in caplog.text

    def test_who_were_made_ordinary_meanwhile_are_refused(self, api_of):
        root = UserFactory(superuser=True)
        api = api_of(root)
        User.objects.filter(pk=root.pk).update(
            is_superuser=False, organization=OrderFactory().organization
        )
        assert api.get("/orders").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_tenant_is_set_within_a_transaction_only():
    with pytest.raises(transaction.TransactionManagementError):
        tenancy.enter(None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_a_tenant_ends_with_its_transaction(error):
    """Whatever comes next on this connection, kept by a pool perhaps, begins without one."""
    organization = OrganizationFactory()
    with contextlib.suppress(ZeroDivisionError), tenancy.unit_of_work():
        tenancy.enter(organization.pk)
        if error:
            raise error
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('dockside.organization', true)")
        assert cursor.fetchone()[0] in {None, ""}
