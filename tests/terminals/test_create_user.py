import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from core.errors import UnknownReference
from core.models import User
from terminals import services
from tests.core.factories import OrganizationFactory, UserFactory
from tests.terminals.factories import TerminalFactory

pytestmark = pytest.mark.django_db

PASSWORD = "the-tide-comes-in-twice"
OTHER_PASSWORD = "and-goes-out-again"


@pytest.fixture
def harbour():
    return OrganizationFactory(slug="harbour")


@pytest.fixture
def given_password(monkeypatch):
    monkeypatch.setenv("PASSWORD", PASSWORD)


@pytest.fixture
def no_password(monkeypatch):
    """Neither PASSWORD nor a terminal to ask at."""
    monkeypatch.delenv("PASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", StringIO())


def create_user(username: str = "kari", **options: Any) -> str:
    said = StringIO()
    call_command("create_user", username, stdout=said, **options)
    return said.getvalue()


def stored(username: str = "kari") -> dict[str, Any]:
    user = User.objects.get(username=username)
    codes = set(user.terminals.values_list("account_code", flat=True))
    return User.objects.values().get(pk=user.pk) | {"codes": codes}


def at_terminal(monkeypatch: pytest.MonkeyPatch, *typed: str) -> None:
    """Somebody sits there and types these answers."""
    answers = iter(typed)
    monkeypatch.delenv("PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))


@pytest.mark.usefixtures("given_password")
class TestANewUser:
    @pytest.mark.parametrize("role", ["admin", "dispatcher", "viewer"])
    def test_signs_in_to_the_admin_with_the_password_given(self, harbour, role):
        assert create_user(organization="harbour", role=role) == (
            f"User kari made: {role} of harbour.\n"
        )
        user = User.objects.get()
        assert (user.organization, user.role, user.is_staff) == (harbour, role, True)
        assert user.check_password(PASSWORD)
        assert not user.is_superuser

    def test_is_bound_to_the_terminals_named(self, harbour):
        for code in ("A", "B", "C", "D"):
            TerminalFactory(organization=harbour, account_code=code)
        said = StringIO()
        call_command(
            *("create_user", "kari", "--organization", "harbour", "--role", "viewer"),
            *("--terminal", "C", "A", "--terminal", "B"),
            stdout=said,
        )
        assert said.getvalue() == "User kari made: viewer of harbour at A, B, C.\n"
        assert stored()["codes"] == {"A", "B", "C"}

    @pytest.mark.usefixtures("harbour")
    def test_is_not_made_with_a_terminal_of_somebody_else(self):
        TerminalFactory(account_code="X")
        with pytest.raises(CommandError, match=r"\Aharbour has no terminal 'X'\.\Z"):
            create_user(organization="harbour", role="viewer", codes=["X"])
        assert not User.objects.exists()

    def test_is_not_made_in_an_unknown_organization(self):
        with pytest.raises(CommandError, match="no organization 'harbour'"):
            create_user(organization="harbour", role="viewer")

    def test_of_the_installation_needs_no_organization(self):
        assert create_user(superuser=True) == "User kari made: superuser.\n"
        user = User.objects.get()
        assert (user.is_superuser, user.is_staff, user.organization) == (True, True, None)

    def test_of_the_installation_keeps_an_organization_that_is_named(self, harbour):
        create_user(superuser=True, organization="harbour", role="admin")
        user = User.objects.get()
        assert (user.is_superuser, user.organization, user.role) == (True, harbour, "admin")

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"role": "viewer"},
            {"organization": "harbour"},
            {"superuser": True, "codes": ["A"]},
        ],
    )
    @pytest.mark.usefixtures("harbour")
    def test_ends_with_2_where_the_arguments_do_not_fit_together(self, options):
        with pytest.raises(CommandError) as refusal:
            create_user(**options)
        assert refusal.value.returncode == 2
        assert not User.objects.exists()


@pytest.mark.usefixtures("harbour")
class TestThePassword:
    def test_is_needed_for_a_new_user(self, no_password):
        with pytest.raises(CommandError, match=r"\AA new user needs a password: set PASSWORD\.\Z"):
            create_user(organization="harbour", role="viewer")
        assert not User.objects.exists()

    @pytest.mark.parametrize("weak", ["kari-kari", "short", "12345678901", "password"])
    def test_is_refused_in_one_line_where_it_is_weak(self, monkeypatch, weak):
        monkeypatch.setenv("PASSWORD", weak)
        with pytest.raises(CommandError, match=r"\Apassword: [^\n]+\Z"):
            create_user("kari-kari", organization="harbour", role="viewer")
        assert not User.objects.exists()

    def test_is_asked_for_twice_at_a_terminal(self, monkeypatch):
        at_terminal(monkeypatch, PASSWORD, OTHER_PASSWORD)
        with pytest.raises(CommandError, match="differ"):
            create_user(organization="harbour", role="viewer")
        assert not User.objects.exists()

        at_terminal(monkeypatch, PASSWORD, PASSWORD)
        create_user(organization="harbour", role="viewer")
        assert User.objects.get().check_password(PASSWORD)

    def test_may_be_broken_off(self, monkeypatch):
        at_terminal(monkeypatch)
        monkeypatch.setattr("getpass.getpass", raise_interrupt)
        with pytest.raises(CommandError, match="Broken off"):
            create_user(organization="harbour", role="viewer")
        assert not User.objects.exists()

    def test_of_a_present_user_stays_where_none_is_given(self, monkeypatch, harbour, no_password):
        UserFactory(username="kari", organization=harbour)
        before = stored()
        create_user(organization="harbour", role="dispatcher")
        at_terminal(monkeypatch, "")
        create_user(organization="harbour", role="dispatcher")
        assert stored() == before

    def test_of_a_present_user_changes_where_another_is_given(self, monkeypatch, harbour):
        UserFactory(username="kari", organization=harbour)
        monkeypatch.setenv("PASSWORD", OTHER_PASSWORD)
        said = create_user(organization="harbour", role="dispatcher")
        assert said == "User kari changed (password): dispatcher of harbour.\n"
        assert User.objects.get().check_password(OTHER_PASSWORD)

    def test_is_not_hashed_again_where_it_is_the_same(self, monkeypatch, harbour):
        UserFactory(username="kari", organization=harbour)
        before = stored()
        monkeypatch.setenv("PASSWORD", PASSWORD)
        create_user(organization="harbour", role="dispatcher")
        assert stored() == before  # another hash would end the user's tokens


def raise_interrupt(prompt: str) -> str:
    raise KeyboardInterrupt


class TestAPresentUser:
    @pytest.fixture(autouse=True)
    def kari(self, harbour, given_password):
        for code in ("A", "B"):
            TerminalFactory(organization=harbour, account_code=code)
        create_user(organization="harbour", role="viewer", codes=["A"])

    def test_is_left_alone_by_the_same_command(self):
        before = stored()
        assert create_user(organization="harbour", role="viewer", codes=["A"]) == (
            "User kari exists already (viewer of harbour at A); nothing changed.\n"
        )
        assert stored() == before

    def test_gets_another_role_and_keeps_the_terminals(self):
        before = stored()
        assert create_user(organization="harbour", role="admin") == (
            "User kari changed (role): admin of harbour at A.\n"
        )
        assert stored() == before | {"role": "admin"}

    def test_gets_other_terminals(self):
        before = stored()
        assert create_user(organization="harbour", role="viewer", codes=["B"]) == (
            "User kari changed (terminals): viewer of harbour at B.\n"
        )
        assert stored() == before | {"codes": {"B"}}

    def test_becomes_a_superuser_and_no_more(self):
        create_user(superuser=True)
        assert (stored()["is_superuser"], stored()["role"]) == (True, "viewer")
        create_user(organization="harbour", role="viewer")
        assert stored()["is_superuser"]
        create_user(organization="harbour", role="viewer", superuser=False)
        assert not stored()["is_superuser"]

    def test_is_never_moved_to_another_organization(self):
        OrganizationFactory(slug="elsewhere")
        before = stored()
        with pytest.raises(CommandError, match=r"\Akari is a user of another organization\.\Z"):
            create_user(organization="elsewhere", role="admin")
        assert stored() == before


class TestBindStaff:
    def test_refuses_a_terminal_of_another_organization(self, harbour):
        user = UserFactory(organization=harbour)
        mine, theirs = TerminalFactory(organization=harbour), TerminalFactory()
        services.bind_staff(user, [mine])
        with pytest.raises(UnknownReference):
            services.bind_staff(user, [mine, theirs])
        assert list(user.terminals.all()) == [mine]

    def test_to_none_means_to_all(self, harbour):
        user = UserFactory(organization=harbour)
        services.bind_staff(user, [TerminalFactory(organization=harbour)])
        services.bind_staff(user, [])
        assert not user.terminals.exists()
