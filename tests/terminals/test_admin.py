import pytest

from core.models import Role
from terminals.models import Terminal, TerminalStaff
from tests.core.admin_pages import as_sent, errors_of, messages_of, signed_in, text_of
from tests.core.factories import OrganizationFactory, UserFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

TERMINALS = "/admin/terminals/terminal/"
PLAIN = {"name": "Kai 7", "account_code": "K7", "timezone": "Europe/Oslo", "is_active": "on"}


@pytest.fixture
def client_of_dispatcher(dispatcher):
    return signed_in(dispatcher)


class TestTerminalForm:
    def test_makes_a_terminal_of_the_dispatchers_organization(self, dispatcher):
        elsewhere = OrganizationFactory()
        sent = PLAIN | {"owner": elsewhere.pk, "organization": elsewhere.pk}
        assert signed_in(dispatcher).post(f"{TERMINALS}add/", sent).status_code == 302
        assert Terminal.objects.get().organization == dispatcher.organization

    def test_asks_a_superuser_whose_it_is(self):
        kai = OrganizationFactory()
        client = signed_in(UserFactory(superuser=True))
        assert errors_of(client.post(f"{TERMINALS}add/", PLAIN)) == {
            "owner": ["This field is required."]
        }
        assert client.post(f"{TERMINALS}add/", PLAIN | {"owner": kai.pk}).status_code == 302
        assert Terminal.objects.get().organization == kai

    def test_shows_what_is_missing_once(self, client_of_dispatcher):
        refused = client_of_dispatcher.post(f"{TERMINALS}add/", {"timezone": "Europe/Oslo"})
        assert errors_of(refused) == {
            "name": ["This field is required."],
            "account_code": ["This field is required."],
        }

    def test_shows_a_taken_name_beside_its_field(self, dispatcher, client_of_dispatcher):
        TerminalFactory(name="Kai 7", organization=dispatcher.organization)
        refused = client_of_dispatcher.post(f"{TERMINALS}add/", PLAIN)
        assert refused.status_code == 200
        assert errors_of(refused) == {"name": ["This is taken already."]}
        assert messages_of(refused) == []
        assert Terminal.objects.count() == 1

    def test_takes_a_name_that_only_another_organization_has(self, client_of_dispatcher):
        TerminalFactory(name="Kai 7", account_code="K7")
        assert client_of_dispatcher.post(f"{TERMINALS}add/", PLAIN).status_code == 302

    def test_changes_a_terminal(self, dispatcher, client_of_dispatcher):
        terminal = TerminalFactory(organization=dispatcher.organization)
        path = f"{TERMINALS}{terminal.pk}/change/"
        sent = as_sent(client_of_dispatcher.get(path), name="Kai 8")
        assert client_of_dispatcher.post(path, sent).status_code == 302
        terminal.refresh_from_db()
        assert terminal.name == "Kai 8"
        assert terminal.updated_at > terminal.created_at

    def test_refuses_a_zone_that_nobody_knows(self, client_of_dispatcher):
        refused = client_of_dispatcher.post(
            f"{TERMINALS}add/", PLAIN | {"timezone": "Europe/Atlantis"}
        )
        assert errors_of(refused) == {"timezone": ["Not an IANA time zone such as Europe/Oslo."]}


class TestTerminalDeletion:
    @pytest.fixture
    def busy(self, dispatcher):
        terminal = TerminalFactory(organization=dispatcher.organization)
        OrderFactory.create_batch(5, terminal=terminal)
        return terminal

    def test_says_what_is_in_the_way(self, busy, client_of_dispatcher):
        path = f"{TERMINALS}{busy.pk}/delete/"
        page = text_of(client_of_dispatcher.get(path))
        assert (
            "would require deleting the following protected related objects: Orders: REF-" in page
        )
        assert "and more" in page
        client_of_dispatcher.post(path, {"post": "yes"})
        assert Terminal.objects.filter(pk=busy.pk).exists()

    def test_of_several_says_what_is_in_the_way(self, dispatcher, busy, client_of_dispatcher):
        idle = TerminalFactory(organization=dispatcher.organization)
        sent = {"action": "delete_selected", "_selected_action": [busy.pk, idle.pk], "post": "yes"}
        page = client_of_dispatcher.post(TERMINALS, sent)
        assert page.status_code == 200
        assert "Orders: REF-" in text_of(page)
        assert Terminal.objects.count() == 2

    def test_is_refused_while_somebody_is_bound_to_it(self, dispatcher, client_of_dispatcher):
        idle = TerminalFactory(organization=dispatcher.organization)
        bound = UserFactory(organization=dispatcher.organization)
        link = TerminalStaff.objects.create(
            organization=dispatcher.organization, terminal=idle, user=bound
        )
        sent = {"action": "delete_selected", "_selected_action": [idle.pk], "post": "yes"}
        client_of_dispatcher.post(TERMINALS, sent)
        assert Terminal.objects.exists()
        link.delete()
        client_of_dispatcher.post(TERMINALS, sent)
        assert not Terminal.objects.exists()


class TestStaff:
    @pytest.fixture
    def chief(self):
        return UserFactory(admin=True)

    @pytest.fixture
    def terminal(self, chief):
        return TerminalFactory(organization=chief.organization)

    def bind(self, client, terminal, user, **more):
        path = f"{TERMINALS}{terminal.pk}/change/"
        page = client.get(path)
        row = {"staff_links-TOTAL_FORMS": "1", "staff_links-0-user": user.pk}
        return client.post(path, as_sent(page, **row) | more)

    def test_is_bound_by_an_admin(self, chief, terminal):
        colleague = UserFactory(organization=chief.organization)
        assert self.bind(signed_in(chief), terminal, colleague).status_code == 302
        assert list(terminal.staff.all()) == [colleague]
        assert TerminalStaff.objects.get().organization == chief.organization

    @pytest.mark.parametrize("by", ["chief", "superuser"])
    def test_is_nobody_of_another_organization(self, chief, terminal, by):
        stranger = UserFactory(username="stranger")
        client = signed_in(chief if by == "chief" else UserFactory(superuser=True))
        page = self.bind(client, terminal, stranger)
        assert page.status_code == 200
        assert "stranger" not in page.content.decode()
        assert not TerminalStaff.objects.exists()

    def test_is_not_taken_from_another_organization_by_a_forged_row(self, chief, terminal):
        theirs = TerminalFactory()
        link = TerminalStaff.objects.create(
            organization=theirs.organization,
            terminal=theirs,
            user=UserFactory(organization=theirs.organization),
        )
        colleague = UserFactory(organization=chief.organization)
        forged = {
            "staff_links-INITIAL_FORMS": "1",
            "staff_links-0-id": link.pk,
            "staff_links-0-terminal": terminal.pk,
            "staff_links-0-DELETE": "on",
        }
        for more in (forged, {**forged, "staff_links-0-DELETE": ""}):
            assert self.bind(signed_in(chief), terminal, colleague, **more).status_code < 500
        link.refresh_from_db()
        assert (link.terminal, link.user.organization) == (theirs, theirs.organization)

    def test_twice_is_told_and_no_accident(self, chief, terminal):
        colleague = UserFactory(organization=chief.organization)
        self.bind(signed_in(chief), terminal, colleague)
        path = f"{TERMINALS}{terminal.pk}/change/"
        client = signed_in(chief)
        twice = {"staff_links-TOTAL_FORMS": "2", "staff_links-1-user": colleague.pk}
        page = client.post(path, as_sent(client.get(path), **twice))
        assert page.status_code == 200
        assert "This is taken already." in text_of(page)
        assert TerminalStaff.objects.count() == 1

    def test_is_searched_for_with_anything(self, chief):
        query = {"app_label": "terminals", "model_name": "terminalstaff", "field_name": "user"}
        found = signed_in(chief).get("/admin/autocomplete/", {**query, "term": "\0"})
        assert [row["text"] for row in found.json()["results"]] == [chief.username]

    def test_is_a_matter_for_admins(self, chief, terminal):
        dispatcher = UserFactory(organization=chief.organization)
        assert "staff_links" not in (
            signed_in(dispatcher).get(f"{TERMINALS}{terminal.pk}/change/").content.decode()
        )


class TestViewer:
    def test_sees_and_changes_nothing(self):
        viewer = UserFactory(role=Role.VIEWER)
        terminal = TerminalFactory(organization=viewer.organization, name="Kai 7")
        client = signed_in(viewer)
        assert "Kai 7" in text_of(client.get(TERMINALS))
        page = client.get(f"{TERMINALS}{terminal.pk}/change/")
        assert "Kai 7" in text_of(page)
        assert 'name="_save"' not in page.content.decode()
        for path in ("add/", f"{terminal.pk}/change/", f"{terminal.pk}/delete/"):
            assert client.post(f"{TERMINALS}{path}", PLAIN | {"post": "yes"}).status_code == 403
        sent = {"action": "delete_selected", "_selected_action": [terminal.pk], "post": "yes"}
        client.post(TERMINALS, sent)
        terminal.refresh_from_db()
        assert terminal.name == "Kai 7"
