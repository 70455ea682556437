"""What nobody told Django of is heard from PostgreSQL."""

import pytest
from django.db import connection

from core import cache
from core.cache_listener import Listener
from core.postgres import apart
from core.postgres.ownership import as_owner
from tests.fleet.factories import DriverFactory, TruckFactory
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.setattr("core.cache_listener.LOOKS_UP_EVERY_S", 0.1)
    monkeypatch.setattr("core.cache_listener.PAUSE_S", 0.05)
    listener = Listener()
    listener.start()
    assert listener.hears.wait(10)
    yield listener
    listener.end()


@pytest.fixture
def plain():
    """A connection that knows nothing of Django: somebody at a prompt, as the tables' owner."""
    with as_owner():
        opened = apart.connect("prompt")
    with opened as plain:
        plain.execute("SET dockside.everyone = 'on'")
        yield plain


@pytest.fixture
def driver(dispatcher, listener, api):
    driver = DriverFactory(organization=dispatcher.organization)
    assert names(api) == [driver.name]
    return driver


def names(api) -> list[str]:
    return [row["name"] for row in api.get("/drivers").json()["data"]]


class TestPlainSQL:
    def test_is_heard_of_on_commit_whatever_it_does(self, driver, plain, api):
        with plain.transaction():
            plain.execute("UPDATE fleet_driver SET name = 'By SQL' WHERE id = %s", [driver.pk])
            assert names(api) == [driver.name]
        assert eventually(lambda: names(api) == ["By SQL"])
        plain.execute(
            "INSERT INTO fleet_driver (id, organization_id, name, phone, is_active)"
            " SELECT gen_random_uuid(), organization_id, 'New', '', true FROM fleet_driver"
        )
        assert eventually(lambda: sorted(names(api)) == ["By SQL", "New"])
        plain.execute("DELETE FROM fleet_driver WHERE name = 'New'")
        assert eventually(lambda: names(api) == ["By SQL"])
        plain.execute("TRUNCATE fleet_driver CASCADE")
        assert eventually(lambda: names(api) == [])

    def test_within_the_wall_concerns_one_organization(self, driver, plain, api, api_of):
        elsewhere = TruckFactory()
        kept = cache.Place("drivers", elsewhere.organization_id, "x")
        reading = cache.look(kept)
        reading.loaded = b"[]"
        reading.finish()
        plain.execute("SET dockside.everyone = ''")
        plain.execute(
            "SELECT set_config('dockside.organization', %s, false)", [str(driver.organization_id)]
        )
        plain.execute("UPDATE fleet_driver SET name = 'By SQL'")
        assert eventually(lambda: names(api) == ["By SQL"])
        assert cache.look(kept).found == b"[]"


class TestListener:
    def test_forgets_everything_when_it_has_missed_something(self, driver, listener, plain, api):
        plain.execute("ALTER TABLE fleet_driver DISABLE TRIGGER USER")  # as if nobody listened
        plain.execute("UPDATE fleet_driver SET name = 'Missed' WHERE id = %s", [driver.pk])
        plain.execute("ALTER TABLE fleet_driver ENABLE TRIGGER USER")
        assert names(api) == [driver.name]
        listener.hears.clear()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'dockside-cache' AND datname = current_database()"
            )
        assert listener.hears.wait(10)
        assert names(api) == ["Missed"]

    def test_takes_no_harm_from_nonsense(self, driver, listener, plain, api):
        for nonsense in (
            "",
            "nothing",
            "fleet_driver",
            "fleet_driver x",
            "pg_class *",
            "\u2603 * *",
        ):
            plain.execute("SELECT pg_notify('dockside_cache', %s)", [nonsense])
        plain.execute("UPDATE fleet_driver SET name = 'Still' WHERE id = %s", [driver.pk])
        assert eventually(lambda: names(api) == ["Still"])
        assert listener.is_alive()
