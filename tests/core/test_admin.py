import pytest
from django.contrib.auth import authenticate

from core import admin
from core.models import Organization, Role, User
from tests.core.admin_pages import as_sent, errors_of, signed_in, text_of
from tests.core.factories import PASSWORD, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

USERS = "/admin/core/user/"
ORGANIZATIONS = "/admin/core/organization/"
NEW_PASSWORD = "nine-herons-stand-there"


@pytest.fixture
def chief():
    """The admin of an organization."""
    return UserFactory(admin=True, organization__name="Kaikant AS")


class TestFirstPage:
    @pytest.mark.parametrize("role", ["admin", "viewer", "superuser"])
    def test_asks_no_other_host_for_anything(self, role):
        page = signed_in(UserFactory(**{role: True})).get("/admin/")
        assert page.status_code == 200
        assert "://" not in page.content.decode()

    def test_shows_people_to_those_who_look_after_them(self, chief):
        assert 'href="/admin/core/user/"' in signed_in(chief).get("/admin/").content.decode()
        dispatcher = UserFactory(organization=chief.organization)
        assert "/admin/core/user/" not in signed_in(dispatcher).get("/admin/").content.decode()

    def test_lets_nobody_in_who_is_not_staff(self, chief):
        chief.is_staff = False
        chief.save()
        assert signed_in(chief).get("/admin/").status_code == 302


class TestUserList:
    def test_shows_an_admin_the_own_organization_without_superusers(self, chief):
        UserFactory(username="colleague", organization=chief.organization)
        UserFactory(username="stranger")
        UserFactory(username="root-here", is_superuser=True, organization=chief.organization)
        shown = text_of(signed_in(chief).get(USERS))
        assert "colleague" in shown
        assert "stranger" not in shown
        assert "root-here" not in shown

    def test_shows_a_superuser_everybody(self, chief):
        root = UserFactory(superuser=True)
        shown = text_of(signed_in(root).get(USERS))
        assert chief.username in shown
        assert "Superuser" in shown

    @pytest.mark.parametrize("role", [Role.DISPATCHER, Role.VIEWER])
    def test_is_closed_to_other_roles(self, role):
        assert signed_in(UserFactory(role=role)).get(USERS).status_code == 403

    def test_does_not_tell_passwords_letter_by_letter(self, chief):
        assert signed_in(chief).get(USERS, {"password__startswith": "md5"}).status_code == 400


class TestNewUser:
    def new(self, by, **values):
        client = signed_in(by)
        data = {
            "username": "inge",
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
            "role": Role.DISPATCHER,
        }
        return client.post(f"{USERS}add/", data | values)

    def test_belongs_to_the_organization_of_its_maker_and_may_sign_in(self, chief):
        assert self.new(chief).status_code == 302
        inge = authenticate(username="inge", password=NEW_PASSWORD)
        assert (inge.organization, inge.role) == (chief.organization, Role.DISPATCHER)
        assert inge.is_staff
        assert not inge.is_superuser

    def test_gets_nothing_that_its_maker_may_not_give(self, chief):
        elsewhere = OrganizationFactory()
        answer = self.new(
            chief, organization=elsewhere.pk, is_superuser="on", groups="1", user_permissions="1"
        )
        assert answer.status_code == 302
        inge = User.objects.get(username="inge")
        assert inge.organization == chief.organization
        assert not inge.is_superuser
        assert not inge.user_permissions.exists()

    def test_gets_an_organization_from_a_superuser(self, chief):
        root = UserFactory(superuser=True)
        refused = self.new(root)
        assert errors_of(refused) == {
            "organization": ["Everyone but a superuser belongs to an organization."]
        }
        assert self.new(root, organization=chief.organization.pk).status_code == 302
        assert User.objects.get(username="inge").organization == chief.organization

    def test_is_refused_with_a_weak_password(self, chief):
        refused = self.new(chief, password1="12345678", password2="12345678")
        assert "password2" in errors_of(refused)
        assert not User.objects.filter(username="inge").exists()


class TestChangedUser:
    def test_takes_what_an_admin_may_give(self, chief):
        colleague = UserFactory(organization=chief.organization)
        client = signed_in(chief)
        page = client.get(f"{USERS}{colleague.pk}/change/")
        data = as_sent(page, role=Role.VIEWER, is_superuser="on", organization="", groups="1")
        assert client.post(f"{USERS}{colleague.pk}/change/", data).status_code == 302
        colleague.refresh_from_db()
        assert colleague.role == Role.VIEWER
        assert colleague.organization == chief.organization
        assert not colleague.is_superuser

    def test_shows_a_taken_name_beside_its_field(self, chief):
        colleague = UserFactory(organization=chief.organization)
        client = signed_in(chief)
        page = client.get(f"{USERS}{colleague.pk}/change/")
        refused = client.post(
            f"{USERS}{colleague.pk}/change/", as_sent(page, username=chief.username)
        )
        assert errors_of(refused) == {"username": ["This is taken already."]}

    @pytest.mark.parametrize("who", ["stranger", "root", "root-with-us"])
    @pytest.mark.parametrize("page", ["change", "password", "delete", "history"])
    def test_is_nobody_of_another_organization_and_no_superuser(self, chief, who, page):
        target = {
            "stranger": lambda: UserFactory(),
            "root": lambda: UserFactory(superuser=True),
            "root-with-us": lambda: UserFactory(is_superuser=True, organization=chief.organization),
        }[who]()
        client = signed_in(chief)
        data = {
            "username": "gone",
            "role": "viewer",
            "post": "yes",
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
        }
        for answer in (
            client.get(f"{USERS}{target.pk}/{page}/"),
            client.post(f"{USERS}{target.pk}/{page}/", data),
        ):
            assert answer.status_code in {302, 403, 404}
            assert target.username not in answer.content.decode()
        target.refresh_from_db()
        assert target.username != "gone"
        assert target.check_password(PASSWORD)

    def test_gets_a_new_password_from_an_admin(self, chief):
        colleague = UserFactory(organization=chief.organization)
        client = signed_in(chief)
        data = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        assert client.post(f"{USERS}{colleague.pk}/password/", data).status_code == 302
        colleague.refresh_from_db()
        assert colleague.check_password(NEW_PASSWORD)


class TestOrganizations:
    def test_an_admin_looks_at_the_own_one_and_changes_nothing(self, chief):
        other = OrganizationFactory(name="Fremdkai")
        client = signed_in(chief)
        assert "Fremdkai" not in text_of(client.get(ORGANIZATIONS))
        own = f"{ORGANIZATIONS}{chief.organization.pk}/change/"
        assert "Kaikant AS" in text_of(client.get(own))
        assert client.post(own, {"name": "Mine", "slug": "mine"}).status_code == 403
        assert client.get(f"{ORGANIZATIONS}{other.pk}/change/").status_code == 302
        assert client.get(f"{ORGANIZATIONS}add/").status_code == 403

    def test_a_superuser_makes_one(self):
        client = signed_in(UserFactory(superuser=True))
        client.post(f"{ORGANIZATIONS}add/", {"name": "Nykai", "slug": "nykai"})
        assert Organization.objects.get(slug="nykai").name == "Nykai"

    def test_a_taken_slug_is_shown_beside_its_field(self, chief):
        client = signed_in(UserFactory(superuser=True))
        refused = client.post(
            f"{ORGANIZATIONS}add/", {"name": "Nykai", "slug": chief.organization.slug}
        )
        assert errors_of(refused) == {"slug": ["This is taken already."]}

    def test_one_that_is_in_use_is_not_deleted(self, chief):
        client = signed_in(UserFactory(superuser=True))
        page = client.post(f"{ORGANIZATIONS}{chief.organization.pk}/delete/", {"post": "yes"})
        assert f"Users: {chief.username}" in text_of(page)
        assert Organization.objects.filter(pk=chief.organization.pk).exists()


class TestBoundedPaginator:
    def test_stops_counting(self, monkeypatch):
        UserFactory.create_batch(4)
        everybody = User.objects.order_by("username")
        assert admin.BoundedPaginator(everybody, 2).count == 4
        monkeypatch.setattr(admin, "COUNTED", 3)
        assert admin.BoundedPaginator(everybody, 2).count == 3


def test_groups_have_no_page():
    assert signed_in(UserFactory(superuser=True)).get("/admin/auth/group/").status_code == 404
