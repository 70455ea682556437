"""The registers through the cache: quick, never old, and never somebody else's."""

import uuid

import pytest
from django.apps import apps
from django.db import connection, transaction

from core import cache, valkey
from core.api.views import RegistryViewSet
from core.models import ReferenceModel
from core.roles import Role
from terminals.services import bind_staff
from tests.conftest import ApiClient
from tests.core.answers import problem
from tests.core.factories import OrganizationFactory, UserFactory
from tests.core.keys import client_with, make_key
from tests.core.resources import RESOURCES
from tests.fleet.factories import DriverFactory
from tests.terminals.factories import TerminalFactory
from tests.valkeys import as_if_committed, calls_of_valkey

pytestmark = pytest.mark.django_db

REFERENCE = [each for each in RESOURCES if issubclass(each.model, ReferenceModel)]


@pytest.fixture(params=REFERENCE, ids=str)
def resource(request):
    return request.param


@pytest.fixture
def thing(resource, dispatcher):
    thing = resource.thing(dispatcher.organization)
    as_if_committed()
    return thing


def ids(answer) -> set[str]:
    assert answer.status_code == 200, answer.content
    return {row["id"] for row in answer.json()["data"]}


class TestHit:
    @pytest.mark.parametrize("query", ["", "?per_page=5&ordering=-created_at", "?cursor=", "?q=a"])
    def test_of_a_list_asks_the_database_only_who_it_is(
        self, api, resource, thing, statements, query
    ):
        first = api.get(f"{resource.path}{query}")
        with statements() as seen:
            second = api.get(f"{resource.path}{query}")
        assert (second.status_code, second.content) == (200, first.content)
        assert second["Content-Type"] == first["Content-Type"] == "application/json"
        assert len(seen.sql) == 1
        assert '"core_user"' in seen.sql[0]

    def test_of_one_thing_too(self, api, resource, thing, statements):
        first = api.get(f"{resource.path}/{thing.pk}")
        with statements() as seen:
            second = api.get(f"{resource.path}/{str(thing.pk).upper()}")
        assert second.content == first.content
        assert second.json()["id"] == str(thing.pk)
        assert len(seen.sql) == 1

    def test_of_what_is_not_there_is_a_404(self, api, resource, thing, statements):
        nothing = f"{resource.path}/{uuid.uuid4()}"
        first = problem(api.get(nothing), 404, "not-found")
        with statements() as seen:
            second = problem(api.get(nothing), 404, "not-found")
        assert {**first, "request_id": ""} == {**second, "request_id": ""}
        assert len(seen.sql) == 1

    def test_waits_for_valkey_twice_and_so_does_a_miss(self, api, resource, thing, monkeypatch):
        api.get(f"{resource.path}?per_page=9")  # the scripts are known from here on
        waited_for = []
        finish = cache.Reading.finish

        def noted(reading) -> None:
            waited_for.append(len(calls))
            finish(reading)

        monkeypatch.setattr(cache.Reading, "finish", noted)
        with calls_of_valkey() as calls:
            api.get(resource.path)
            assert (waited_for, len(calls)) == ([2], 3)  # one more when the answer has left
            api.get(resource.path)
            assert len(calls) == 5

    def test_does_not_depend_on_the_order_of_parameters(self, api, resource, thing, statements):
        api.get(f"{resource.path}?per_page=5&page=1")
        with statements() as seen:
            api.get(f"{resource.path}?page=1&per_page=5")
        assert len(seen.sql) == 1

    def test_is_counted_and_stands_in_the_log(self, api, resource, thing, caplog):
        before = valkey.stats.hits[resource.name], valkey.stats.misses[resource.name]
        with caplog.at_level("INFO", "core.requests"):
            api.get(resource.path)
            api.get(resource.path)
            api.get("/orders")
        after = valkey.stats.hits[resource.name], valkey.stats.misses[resource.name]
        assert after == (before[0] + 1, before[1] + 1)
        assert [record.msg["cache"] for record in caplog.records] == ["miss", "hit", None]

    def test_is_refused_like_any_request(self, api, api_of, anonymous, settings, thing, resource):
        api.get(resource.path)
        problem(anonymous.get(resource.path), 401)
        problem(api.get(f"{resource.path}?nonsense=1"), 422)
        problem(api.get(f"{resource.path}/{thing.pk}?nonsense=1"), 422)
        settings.LIMIT_READ = "1/minute"
        colleague = api_of(UserFactory(organization=thing.organization))
        assert colleague.get(resource.path).status_code == 200
        problem(colleague.get(resource.path), 429)

    def test_of_a_refused_query_holds_nobody_up(self, api, resource, thing):
        refused = f"{resource.path}?per_page=0"
        problem(api.get(refused), 422)
        with calls_of_valkey() as calls:
            problem(api.get(refused), 422)
            problem(api.get(refused), 422)
        assert len(calls) == 2 * 3  # counted, looked, let go: nobody waits for what never comes


class TestTags:
    def test_let_a_list_and_a_thing_be_asked_for_again_at_little_cost(self, api, resource, thing):
        for path in (resource.path, f"{resource.path}/{thing.pk}"):
            tag = api.get(path)["ETag"]
            assert tag.startswith('W/"')
            for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
                again = api.get(path, HTTP_IF_NONE_MATCH=known)
                assert (again.status_code, again.content) == (304, b"")
                assert again["ETag"] == tag
                assert "private" in again["Cache-Control"]
                assert {"Authorization", "Cookie"} <= set(again["Vary"].split(", "))
                assert not again.has_header("Content-Type")
            for other in ('"v1"', 'W/"0"', tag[:-1], "", '"*"', f"{tag} {tag}"):
                again = api.get(path, HTTP_IF_NONE_MATCH=other)
                assert (again.status_code, again["ETag"]) == (200, tag)
                assert "private" in again["Cache-Control"]
                assert {"Authorization", "Cookie"} <= set(again["Vary"].split(", "))

    def test_change_with_what_they_stand_for(self, api, resource, thing):
        tag = api.get(resource.path)["ETag"]
        services_change(api, resource, thing)
        answer = api.get(resource.path, HTTP_IF_NONE_MATCH=tag)
        assert answer.status_code == 200
        assert answer["ETag"] != tag


def services_change(api, resource, thing) -> None:
    assert api.patch(f"{resource.path}/{thing.pk}", {"is_active": False}).status_code == 200
    as_if_committed()


class TestOthers:
    """Whoever read before, everybody gets what they would get without a cache."""

    @pytest.fixture
    def readers(self, resource):
        """Readers of two organizations with what each may see, in a list and one by one."""
        ours, theirs = OrganizationFactory(), OrganizationFactory()
        if resource.name == "terminals":
            things = [TerminalFactory(organization=ours) for _ in range(3)]
            others = [TerminalFactory(organization=theirs)]
            here, there = things[:2]
        else:
            things = [resource.thing(ours) for _ in range(3)]
            others = [resource.thing(theirs)]
            here, there = TerminalFactory(organization=ours), TerminalFactory(organization=ours)
        own, foreign = ({str(each.pk) for each in some} for some in (things, others))

        def user(*bound, **values) -> ApiClient:
            user = UserFactory(organization=ours, **values)
            bind_staff(user, bound)
            return ApiClient(user)

        def key(*bound, of=ours) -> ApiClient:
            return client_with(make_key(of, terminals=bound)[1])

        def seen(*bound) -> set[str]:
            return {str(each.pk) for each in bound} if resource.name == "terminals" else own

        readers = [
            (user(), own),
            (ApiClient(UserFactory(organization=theirs)), foreign),
            (user(role=Role.VIEWER), own),
            (user(here), seen(here)),
            (user(there), seen(there)),
            (user(there, here), seen(here, there)),
            (key(), own),
            (key(here), seen(here)),
            (key(of=theirs), foreign),
            (ApiClient(UserFactory(superuser=True)), own | foreign),
            (ApiClient(UserFactory(is_superuser=True, organization=theirs)), own | foreign),
        ]
        as_if_committed()
        return readers, own | foreign

    def test_never_get_what_was_not_theirs(self, resource, readers):
        readers, every = readers
        for order in (readers, readers[::-1], readers):
            for client, may_see in order:
                found = ids(client.get(f"{resource.path}?per_page=100"))
                assert found & every == may_see
                for pk in sorted(every):
                    status = client.get(f"{resource.path}/{pk}").status_code
                    assert status == (200 if pk in may_see else 404)

    def test_are_judged_by_what_they_are_now(self, resource, thing, api, dispatcher):
        assert ids(api.get(resource.path)) == {str(thing.pk)}
        elsewhere = TerminalFactory(organization=dispatcher.organization)
        as_if_committed()
        api.get(resource.path)
        bind_staff(dispatcher, [elsewhere])
        found = ids(api.get(resource.path))
        if resource.name == "terminals":
            assert found == {str(elsewhere.pk)}
        dispatcher.is_active = False
        dispatcher.save()
        problem(api.get(resource.path), 401)

    def test_superusers_are_served_without_it(self, resource, thing):
        root = ApiClient(UserFactory(superuser=True))
        as_if_committed()
        with calls_of_valkey() as calls:
            assert str(thing.pk) in ids(root.get(f"{resource.path}?per_page=100"))
            assert root.get(f"{resource.path}/{thing.pk}").has_header("ETag")
        assert len(calls) <= 3  # counted only


class TestChanges:
    """Through any door, they are read by the next one who asks."""

    def doors(self, resource, organization, api):
        """Each way to change something, by its name."""
        model = resource.model

        def rows():
            return model.objects.filter(organization=organization)

        def bulk_update():
            some = list(rows())
            for row in some:
                row.name = f"B {row.name}"
            model.objects.bulk_update(some, ["name"])

        def save():
            row = rows().first()
            row.name = "Saved"
            row.save()

        def change():
            row = rows().first()
            row.name = "Changed"
            row.save_changes(["name"])

        def patch():
            path = f"{resource.path}/{rows().first().pk}"
            assert api.patch(path, {"is_active": False}).status_code == 200

        def post():
            assert api.post(resource.path, resource.body(organization)).status_code == 201

        def delete_over_rest():
            assert api.delete(f"{resource.path}/{rows().last().pk}").status_code == 204

        def build():
            return model(
                **{
                    field.attname: getattr(rows().first(), field.attname)
                    for field in model._meta.concrete_fields
                    if field.name not in {"id", "created_at", "updated_at"}
                }
            )

        def fresh(number):
            row = build()
            for name in ("account_code", "license_plate", "phone"):
                if hasattr(row, name):
                    setattr(row, name, f"{'+479590000' if name == 'phone' else 'NEW'}{number}")
            row.name = f"Fresh {number}"
            return row

        return {
            "POST": post,
            "PATCH": patch,
            "save": save,
            "save_new": lambda: fresh(1).save_new(),
            "save_changes": change,
            "update": lambda: rows().update(name="Updated") if resource.name != "terminals" else 0,
            "bulk_update": bulk_update,
            "bulk_create": lambda: model.objects.bulk_create([fresh(2)]),
            "delete": lambda: rows().order_by("name").first().delete(),
            "DELETE": delete_over_rest,
            "delete of many": lambda: rows().delete(),
        }

    @pytest.mark.django_db(transaction=True)
    def test_are_seen_at_once(self, resource, api, dispatcher):
        organization = dispatcher.organization
        for _ in range(3):
            resource.thing(organization)
        shown = api.get(f"{resource.path}?per_page=100").json()["data"]
        assert len(shown) == 3
        for name, door in self.doors(resource, organization, api).items():
            door()
            now = api.get(f"{resource.path}?per_page=100").json()["data"]
            if not (name == "update" and resource.name == "terminals"):
                assert now != shown, name
            shown = now
            assert api.get(f"{resource.path}?per_page=100").json()["data"] == shown
        assert shown == []

    @pytest.mark.django_db(transaction=True)
    def test_that_are_not_committed_are_seen_by_nobody_else(self, resource, api, dispatcher):
        thing = resource.thing(dispatcher.organization)
        path = f"{resource.path}/{thing.pk}"
        before = api.get(path).content
        with transaction.atomic():
            thing.name = "Not yet"
            thing.save()
            assert api.get(path).json()["name"] == "Not yet"  # the test's own transaction
            transaction.set_rollback(True)
        assert api.get(path).content == before

    @pytest.mark.django_db(transaction=True)
    def test_make_a_thing_that_was_missed(self, resource, api, dispatcher):
        thing = resource.thing(dispatcher.organization)
        pk, path = thing.pk, f"{resource.path}/{thing.pk}"
        thing.delete()
        problem(api.get(path), 404)
        problem(api.get(path), 404)
        thing.pk = pk
        thing.save(force_insert=True)
        assert api.get(path).status_code == 200


class TestAdmin:
    @pytest.fixture
    def kept(self, api, dispatcher):
        driver = DriverFactory(organization=dispatcher.organization)
        as_if_committed()
        api.get("/drivers")
        with connection.cursor() as cursor:  # as nobody ever should, and without a listener
            cursor.execute("UPDATE fleet_driver SET name = 'By SQL' WHERE id = %s", [driver.pk])
        assert api.get("/drivers").json()["data"][0]["name"] != "By SQL"
        return driver

    def test_empties_the_cache_of_a_register(self, api, kept, client, dispatcher):
        client.force_login(dispatcher)
        page = client.get("/admin/fleet/driver/")
        assert "Empty the cache of drivers" in page.content.decode()
        body = {"action": "empty_cache", "_selected_action": [str(kept.pk)]}
        answer = client.post("/admin/fleet/driver/", body, follow=True)
        assert "Emptied the cache of drivers." in answer.content.decode()
        assert api.get("/drivers").json()["data"][0]["name"] == "By SQL"

    def test_is_not_for_viewers(self, api, kept, client, dispatcher):
        client.force_login(UserFactory(organization=dispatcher.organization, role=Role.VIEWER))
        assert "Empty the cache" not in client.get("/admin/fleet/driver/").content.decode()
        body = {"action": "empty_cache", "_selected_action": [str(kept.pk)]}
        client.post("/admin/fleet/driver/", body, follow=True)
        assert api.get("/drivers").json()["data"][0]["name"] != "By SQL"

    def test_lets_superusers_empty_all_of_an_organization(self, api, kept, client, dispatcher):
        client.force_login(UserFactory(superuser=True))
        body = {
            "action": "empty_caches",
            "_selected_action": [str(dispatcher.organization_id)],
        }
        answer = client.post("/admin/core/organization/", body, follow=True)
        assert "Emptied the cache of drivers, terminals" in answer.content.decode()
        assert api.get("/drivers").json()["data"][0]["name"] == "By SQL"

    def test_says_when_the_cache_does_not_answer(self, kept, client, dispatcher, monkeypatch):
        client.force_login(dispatcher)
        monkeypatch.setattr(cache, "forget_now", lambda *_: False)
        body = {"action": "empty_cache", "_selected_action": [str(kept.pk)]}
        answer = client.post("/admin/fleet/driver/", body, follow=True)
        assert "does not answer" in answer.content.decode()


class TestModels:
    def test_that_are_registers_tell_of_every_change(self):
        from config.urls import router

        registers = [
            view.queryset.model
            for _, view, _ in router.registry
            if issubclass(view, RegistryViewSet)
        ]
        reference = {model for model in apps.get_models() if issubclass(model, ReferenceModel)}
        assert set(registers) == reference
        assert len(set(cache.resources().values())) == len(reference) == 4
        with connection.cursor() as cursor:
            for model in reference:
                cursor.execute(
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass"
                    " AND tgname LIKE 'pgtrigger_tell_cache_%%'"
                    " AND tgtype & 60 = 60",  # INSERT, DELETE, UPDATE, TRUNCATE
                    [model._meta.db_table],
                )
                assert cursor.fetchone() == (1,), model
