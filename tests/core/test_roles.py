"""Who may do what, and in which order a request is judged."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.urls import reverse

from core.admin import RoleMixin
from core.models import ApiKey, Role, Scope, TenantModel
from core.roles import TABLE, Act, may
from orders.models import Order
from terminals.models import Terminal, TerminalStaff
from tests.core.factories import UserFactory
from tests.core.keys import client_with, make_key
from tests.fleet.factories import DriverFactory
from tests.orders.factories import OrderFactory, today
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db


def bind(user, *terminals):
    """Bind the user to these terminals; returns it as it is then."""
    user.terminals.set(terminals, through_defaults={"organization": user.organization})
    vars(user).pop("bound_terminal_ids", None)
    return user


def allowed(who):
    """What somebody may do, as the table's rows and acts."""
    return {(resource, act) for resource in TABLE for act in Act if may(who, act, resource)}


class TestTheTable:
    def test_has_a_row_for_everything_that_belongs_to_an_organization(self):
        tenants = {
            model._meta.label_lower for model in apps.get_models() if issubclass(model, TenantModel)
        }
        assert tenants - {"terminals.terminalkey"} <= set(TABLE)  # part of a key

    def test_decides_about_everything_that_the_admin_shows(self, rf):
        request = rf.get("/admin/")
        request.user = UserFactory(admin=True)
        for model, page in admin.site._registry.items():
            if isinstance(page, RoleMixin):
                assert model._meta.label_lower in TABLE
            else:  # another package's page
                assert not page.has_view_permission(request), model

    def test_gives_each_role_what_the_one_below_has(self):
        viewer, dispatcher, chief = (
            allowed(UserFactory(role=role)) for role in (Role.VIEWER, Role.DISPATCHER, Role.ADMIN)
        )
        assert viewer < dispatcher < chief
        assert {act for _, act in viewer} == {Act.VIEW}
        assert ("orders.order", Act.DELETE) in dispatcher
        assert ("core.user", Act.VIEW) not in dispatcher
        assert {("core.user", act) for act in Act} < chief
        assert ("core.organization", Act.CHANGE) not in chief
        assert ("core.apikey", Act.DELETE) not in chief

    def test_keeps_from_the_bound_what_concerns_the_whole_organization(self):
        free, bound = UserFactory(admin=True), UserFactory(admin=True)
        bind(bound, TerminalFactory(organization=bound.organization))
        kept = {resource for resource, _ in allowed(free) - allowed(bound)}
        assert kept == {"core.user", "core.apikey", "terminals.terminal", "terminals.terminalstaff"}
        assert ("terminals.terminal", Act.VIEW) in allowed(bound)

    def test_gives_a_key_what_its_scope_says(self):
        reading, writing = ApiKey(scope=Scope.READ), ApiKey(scope=Scope.WRITE)
        assert allowed(reading) == allowed(UserFactory(viewer=True))
        assert allowed(writing) == allowed(UserFactory())

    def test_gives_superusers_everything_and_nobody_nothing(self):
        everything = {(resource, act) for resource in TABLE for act in Act}
        assert allowed(UserFactory(superuser=True)) == everything
        assert allowed(AnonymousUser()) == set()

    def test_gives_nobody_what_it_does_not_know(self):
        who = UserFactory(admin=True)
        assert not may(who, Act.VIEW, "orders.invoice")
        assert not may(who, Act.VIEW, None)


class TestTheOrderOfChecks:
    @pytest.fixture
    def viewer(self, api_of):
        self.order = OrderFactory()
        return api_of(UserFactory(viewer=True, organization=self.order.organization))

    def test_is_401_404_403_405(self, viewer, anonymous):
        mine, nowhere = f"/orders/{self.order.pk}", "/orders/01890000-0000-7000-8000-000000000000"
        body = {"notes": "x"}
        assert anonymous.patch(nowhere, body).status_code == 401
        assert viewer.patch(nowhere, body).status_code == 404
        assert viewer.patch("/orders/17", body).status_code == 404
        assert viewer.patch(mine, body).status_code == 403
        assert viewer.post(mine).status_code == 405
        assert viewer.put("/orders", body).status_code == 405
        assert viewer.generic("OPTIONS", mine).status_code == 405
        assert anonymous.post(mine).status_code == 401

    @pytest.mark.parametrize(
        "more",
        [
            {"data": "{", "content_type": "application/json"},
            {"data": "x", "content_type": "text/plain"},
            {"data": '{"reference": 5}', "content_type": "application/json"},
            {"data": "{}", "content_type": "application/json", "HTTP_IF_MATCH": '"v9"'},
        ],
    )
    def test_looks_at_nothing_else_before(self, viewer, more):
        assert viewer.generic("PATCH", f"/orders/{self.order.pk}", **more).status_code == 403
        assert viewer.generic("POST", "/orders?typing=error", **more).status_code == 403


class TestSomebodyWhoIsBoundToATerminal:
    @pytest.fixture(autouse=True)
    def two_terminals(self):
        self.here = TerminalFactory(name="Here")
        self.home = self.here.organization
        self.there = TerminalFactory(name="There", organization=self.home)
        self.mine = OrderFactory(terminal=self.here, reference="ONE")
        self.others = OrderFactory(terminal=self.there, reference="TWO")

    @pytest.fixture(params=["user", "key"])
    def api(self, request, api_of):
        if request.param == "key":
            return client_with(make_key(self.home, terminals=[self.here])[1])
        return api_of(bind(UserFactory(organization=self.home), self.here))

    def body(self, terminal, **more):
        return {
            "reference": "THREE",
            "service": "cross_dock",
            "terminal_id": str(terminal.pk),
            "eta_date": str(today()),
            "etd_date": str(today()),
            **more,
        }

    @pytest.mark.parametrize(
        "query", ["", "?cursor=", "?q=o", "?period=today", "?active=true", "?ordering=reference"]
    )
    def test_finds_the_orders_of_that_terminal(self, api, query):
        assert [row["reference"] for row in api.get(f"/orders{query}").json()["data"]] == ["ONE"]

    def test_finds_nothing_by_the_id_of_another_terminal(self, api):
        assert api.get(f"/orders?terminal_id={self.there.pk}").json()["data"] == []

    def test_does_to_them_what_its_role_may(self, api):
        address = f"/orders/{self.mine.pk}"
        assert api.patch(address, {"notes": "Mine"}).status_code == 200
        assert api.post(f"{address}/arrive").status_code == 200
        assert api.post("/orders", self.body(self.here)).status_code == 201

    def test_does_nothing_to_the_others(self, api):
        address = f"/orders/{self.others.pk}"
        before = Order.objects.filter(pk=self.others.pk).values().get()
        assert api.get(address).status_code == 404
        assert api.patch(address, {"notes": "Mine"}).status_code == 404
        assert api.post(f"{address}/cancel", {"reason": "x"}).status_code == 404
        assert api.delete(address).status_code == 404
        assert Order.objects.filter(pk=self.others.pk).values().get() == before

    def test_brings_no_order_to_another_terminal(self, api):
        made = api.post("/orders", self.body(self.there))
        moved = api.patch(f"/orders/{self.mine.pk}", {"terminal_id": str(self.there.pk)})
        for answer in (made, moved):
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown-reference")
            assert [error["field"] for error in answer.json()["errors"]] == ["terminal_id"]
        assert Order.objects.count() == 2

    def test_sees_that_terminal_only_and_leaves_it_as_it_is(self, api):
        assert [row["name"] for row in api.get("/terminals").json()["data"]] == ["Here"]
        assert api.get(f"/terminals/{self.there.pk}").status_code == 404
        assert api.patch(f"/terminals/{self.here.pk}", {"name": "X"}).status_code == 403
        assert api.patch(f"/terminals/{self.there.pk}", {"name": "X"}).status_code == 404

    def test_shares_the_registry_with_the_organization(self, api):
        driver = DriverFactory(organization=self.home)
        assert api.get(f"/drivers/{driver.pk}").status_code == 200
        assert api.patch(f"/drivers/{driver.pk}", {"name": "Ola"}).status_code == 200

    @pytest.mark.parametrize("query", ["", "?period=this_week&per_page=50"])
    def test_costs_no_statement_more(self, api, statements, query):
        api.get("/orders")
        for order in range(3):
            OrderFactory(terminal=self.here, eta_date=today() + timedelta(order - 1))
        with statements() as seen:
            assert api.get(f"/orders{query}").status_code == 200
        assert len(seen.sql) <= 5, seen.sql

    def test_keeps_the_terminal_from_being_deleted(self, api, api_of):
        Order.objects.all().delete()
        chief = api_of(UserFactory(admin=True, organization=self.home))
        answer = chief.delete(f"/terminals/{self.here.pk}")  # or there would be no limit any more
        assert (answer.status_code, answer.json()["code"]) == (409, "in-use")
        assert chief.delete(f"/terminals/{self.there.pk}").status_code == 204

    def test_sees_as_much_in_the_admin(self):
        client = Client()
        client.force_login(bind(UserFactory(organization=self.home), self.here))
        page = client.get(reverse("admin:orders_order_changelist")).content.decode()
        assert "ONE" in page
        assert "TWO" not in page
        other = reverse("admin:orders_order_change", args=[self.others.pk])
        assert client.get(other).status_code == 302  # as for one that is not there


class TestEveryModelWithATerminal:
    def test_says_so_to_visible_to(self):
        """A new table that names a terminal is not seen from the others by mistake."""
        silent = {
            model
            for model in apps.get_models()
            if issubclass(model, TenantModel)
            and any(field.related_model is Terminal for field in model._meta.concrete_fields)
            and model._default_manager.all().terminal_path is None
        }
        # Who is bound where is for unbound admins only.
        assert {model._meta.model_name for model in silent} == {"terminalstaff", "terminalkey"}
        assert TABLE[TerminalStaff._meta.label_lower].view.unbound


class TestTheAdmin:
    @pytest.fixture
    def client_of(self):
        def sign_in(user):
            client = Client()
            client.force_login(user)
            return client

        return sign_in

    def test_lets_a_viewer_look(self, client_of):
        order = OrderFactory()
        client = client_of(UserFactory(viewer=True, organization=order.organization))
        assert client.get(reverse("admin:orders_order_changelist")).status_code == 200
        assert client.get(reverse("admin:orders_order_add")).status_code == 403
        change = reverse("admin:orders_order_change", args=[order.pk])
        assert client.post(change, {"notes": "x"}).status_code == 403

    @pytest.mark.parametrize("page", ["core_user", "core_apikey", "core_organization"])
    def test_shows_people_and_keys_to_admins_only(self, client_of, page):
        address = reverse(f"admin:{page}_changelist")
        assert client_of(UserFactory()).get(address).status_code == 403
        assert client_of(UserFactory(admin=True)).get(address).status_code == 200

    @pytest.mark.parametrize("page", ["core_user", "core_apikey"])
    def test_shows_neither_to_an_admin_who_is_bound(self, client_of, page):
        chief = UserFactory(admin=True)
        bind(chief, TerminalFactory(organization=chief.organization))
        assert client_of(chief).get(reverse(f"admin:{page}_changelist")).status_code == 403
