"""What the cache promises to whoever uses it as a library."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction

from core import cache, valkey
from core.cache import Place
from tests.core.factories import OrganizationFactory
from tests.valkeys import as_if_committed, calls_of_valkey, use

pytestmark = pytest.mark.django_db

DRIVERS, TRUCKS = "drivers", "trucks"


@pytest.fixture
def home() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def place(home) -> Place:
    return Place(DRIVERS, home, cache.digest("all"))


def keep(place: Place, value: bytes) -> None:
    reading = cache.look(place)
    assert reading.found is None
    reading.loaded = value
    reading.finish()


def found(place: Place) -> bytes | None:
    """What is kept; whoever looks does not begin to load."""
    reading = cache.look(place)
    reading.finish()
    return reading.found


def client():
    return valkey.server().client


class TestReading:
    def test_finds_what_was_kept_there_and_nowhere_else(self, place, home):
        keep(place, b"[1]")
        assert found(place) == b"[1]"
        assert found(Place(DRIVERS, uuid.uuid4(), place.field)) is None
        assert found(Place(TRUCKS, home, place.field)) is None
        assert found(Place(DRIVERS, home, cache.digest("some"))) is None

    def test_takes_one_call_and_keeping_another(self, place):
        keep(Place(TRUCKS, place.organization_id, "x"), b"1")  # the scripts are known from here on
        with calls_of_valkey() as calls:
            reading = cache.look(place)
            assert len(calls) == 1
            reading.loaded = b"[]"
            reading.finish()
            reading.finish()  # a second time is nothing
            assert len(calls) == 2
            assert cache.look(place).found == b"[]"
            assert len(calls) == 3

    def test_counts(self, place):
        before = valkey.stats.hits[DRIVERS], valkey.stats.misses[DRIVERS]
        keep(place, b"[]")
        assert found(place) == b"[]"
        assert (valkey.stats.hits[DRIVERS], valkey.stats.misses[DRIVERS]) == (
            before[0] + 1,
            before[1] + 1,
        )

    def test_lasts_an_hour_at_most_and_never_all_equally_long(self, place):
        lifetimes = set()
        for _ in range(20):
            keep(place, b"[]")
            lifetimes.add(client().pttl(place.keys[1]))
            cache.forget_now(DRIVERS, place.organization_id)
        assert max(lifetimes) <= 3_600_000
        assert min(lifetimes) > 3_200_000
        assert len(lifetimes) > 10

    def test_is_not_prolonged_by_new_answers(self, place, home):
        keep(place, b"[]")
        client().pexpire(place.keys[1], 1_000)
        keep(Place(DRIVERS, home, "other"), b"[]")
        assert client().pttl(place.keys[1]) <= 1_000


class TestLoading:
    def test_is_done_by_one_of_many_at_once(self, place, monkeypatch):
        monkeypatch.setattr(cache, "PAUSES_S", (0.01,) * 500)
        loaded = []

        def read(_: int) -> bytes:
            reading = cache.look(place)
            if reading.found is None:
                loaded.append(1)
                time.sleep(0.05)
                reading.loaded = b"[1]"
                reading.finish()
            return reading.found or reading.loaded

        with ThreadPoolExecutor(20) as threads:
            assert set(threads.map(read, range(20))) == {b"[1]"}
        assert len(loaded) == 1

    def test_by_one_who_failed_is_taken_over_at_once(self, place):
        failing = cache.look(place)
        assert failing.holds_lock
        failing.finish()
        assert cache.look(place).holds_lock

    def test_by_one_who_died_is_taken_over_when_the_lock_ends(self, place, monkeypatch):
        monkeypatch.setattr(cache, "PAUSES_S", ())
        monkeypatch.setattr(cache, "LOCK_S", 0.1)
        assert cache.look(place).holds_lock
        waiting = cache.look(place)
        assert (waiting.found, waiting.holds_lock) == (None, False)  # it loads for itself
        time.sleep(0.11)
        assert cache.look(place).holds_lock

    def test_is_waited_for_only_briefly(self, place):
        assert cache.look(place).holds_lock
        with calls_of_valkey() as calls:
            reading = cache.look(place)
        assert (reading.found, reading.holds_lock) == (None, False)
        assert len(calls) == 1 + len(cache.PAUSES_S)

    def test_without_the_lock_is_kept_as_well(self, place, monkeypatch):
        monkeypatch.setattr(cache, "PAUSES_S", ())
        assert cache.look(place).holds_lock
        keep(place, b"[1]")
        assert found(place) == b"[1]"


class TestForgetting:
    def test_is_of_one_organization_or_of_all(self, place, home):
        other = Place(DRIVERS, uuid.uuid4(), place.field)
        trucks = Place(TRUCKS, home, place.field)
        for each in (place, other, trucks):
            keep(each, b"[1]")
        assert cache.forget_now(DRIVERS, home)
        assert [found(each) for each in (place, other, trucks)] == [None, b"[1]", b"[1]"]
        keep(place, b"[2]")
        assert cache.forget_now(DRIVERS)
        assert [found(each) for each in (place, other, trucks)] == [None, None, b"[1]"]
        keep(place, b"[3]")
        assert cache.forget_everything()
        assert [found(each) for each in (place, other, trucks)] == [None, None, None]

    @pytest.mark.parametrize("whose", ["own", "all", "everything"])
    def test_keeps_out_what_was_read_before(self, place, home, whose):
        forgets = {
            "own": lambda: cache.forget_now(DRIVERS, home),
            "all": lambda: cache.forget_now(DRIVERS),
            "everything": cache.forget_everything,
        }
        reading = cache.look(place)
        reading.loaded = b"[old]"
        forgets[whose]()
        reading.finish()
        assert found(place) is None
        # Also where somebody has begun anew meanwhile.
        late = cache.look(place)
        late.loaded = b"[old]"
        forgets[whose]()
        keep(place, b"[new]")
        late.finish()
        assert found(place) == b"[new]"

    def test_that_valkey_did_itself_keeps_it_out_too(self, place):
        reading = cache.look(place)
        reading.loaded = b"[old]"
        client().delete(place.keys[1])  # expired
        reading.finish()
        assert found(place) is None

    def test_survives_that_valkey_drops_the_epoch(self, place):
        keep(place, b"[1]")
        cache.forget_now(DRIVERS)
        client().delete(place.keys[0])  # evicted, before anybody looked at the hash again
        assert found(place) is None


class TestTransactions:
    def test_that_changed_something_neither_read_nor_keep(self, place, home):
        keep(place, b"[1]")
        with transaction.atomic():
            cache.forget(DRIVERS, home)
            reading = cache.look(place)
            assert reading.found is None
            reading.loaded = b"[not committed]"
            reading.finish()
            assert cache.look(Place(DRIVERS, uuid.uuid4(), place.field)).outcome == "miss"
        assert cache.look(place).outcome == "bypass"
        as_if_committed()
        assert found(place) is None

    def test_that_are_rolled_back_have_changed_nothing(self, place):
        keep(place, b"[1]")
        with transaction.atomic():
            cache.forget(DRIVERS)
            assert cache.look(place).found is None
            transaction.set_rollback(True)
        assert found(place) == b"[1]"

    @pytest.mark.django_db(transaction=True)
    def test_forget_when_they_are_committed(self, place, home):
        keep(place, b"[1]")
        with transaction.atomic():
            cache.forget(DRIVERS, home)
            cache.forget(DRIVERS, home)
            with calls_of_valkey() as calls, ThreadPoolExecutor(1) as elsewhere:
                assert elsewhere.submit(found, place).result() == b"[1]"
        assert found(place) is None
        assert len(calls) == 1

    @pytest.mark.django_db(transaction=True)
    def test_are_not_needed_to_forget(self, place):
        keep(place, b"[1]")
        cache.forget(DRIVERS)
        assert found(place) is None


class TestBounds:
    def test_begin_anew_with_what_outgrows_them(self, home, monkeypatch):
        monkeypatch.setattr(cache, "MAX_BYTES", 10 * (cache.FIELD_BYTES + 100))
        for number in range(100):
            keep(Place(DRIVERS, home, f"q={number}"), b"x" * 100)
        kept = client().hlen(Place(DRIVERS, home, "").keys[1])
        assert kept <= 10 + 3

    def test_leave_out_what_is_too_large(self, place, monkeypatch):
        monkeypatch.setattr(cache, "MAX_ANSWER_BYTES", 10)
        keep(place, b"x" * 11)
        assert found(place) is None
        keep(place, b"x" * 10)
        assert found(place) == b"x" * 10

    def test_hold_for_questions_without_an_answer(self, home):
        for number in range(50):
            cache.look(Place(DRIVERS, home, f"q={number}")).finish()
        assert client().hlen(Place(DRIVERS, home, "").keys[1]) == 3


class TestWhatOthersHaveWritten:
    """Loaded anew, and written over: neither an answer nor a failure."""

    def is_made_good(self, place: Place) -> None:
        errors = valkey.stats.errors
        keep(place, b"[1]")
        assert found(place) == b"[1]"
        assert valkey.stats.errors == errors

    @pytest.mark.parametrize(
        "value", [b"", b"-", b"x" * 15, b"x" * 16, b'{"data": []}', b"\xff" * 99]
    )
    def test_is_no_answer(self, place, value):
        keep(place, b"[0]")
        client().hset(place.keys[1], place.field, value)
        self.is_made_good(place)

    def test_is_no_answer_in_another_place_either(self, place):
        others = Place(DRIVERS, uuid.uuid4(), place.field)
        keep(others, b"[2]")
        cache.look(place).finish()
        client().hset(place.keys[1], place.field, client().hget(others.keys[1], place.field))
        self.is_made_good(place)

    def test_is_no_answer_of_an_installation_with_another_key(self, place, settings):
        keep(place, b"[0]")
        settings.SECRET_KEY = "another" * 10
        self.is_made_good(place)

    @pytest.mark.parametrize("number", [0, 1], ids=["epoch", "hash"])
    def test_may_be_of_another_type(self, place, number):
        keep(place, b"[0]")
        client().delete(place.keys[number])
        client().rpush(place.keys[number], "x")
        self.is_made_good(place)

    @pytest.mark.parametrize("value", ["x", "", "9" * 30])
    def test_locks_nobody_out(self, place, value, monkeypatch):
        monkeypatch.setattr(cache.time, "sleep", pytest.fail)
        cache.look(place).finish()
        client().hset(place.keys[1], f"lock:{place.field}", value)
        self.is_made_good(place)

    def test_counts_for_nothing(self, place):
        cache.look(place).finish()
        client().hset(place.keys[1], "bytes", "many")
        keep(place, b"[0]")  # with which the hash begins anew
        self.is_made_good(place)


class TestCommand:
    @pytest.fixture
    def places(self):
        """The drivers and trucks of two organizations, all kept."""
        homes = [OrganizationFactory(), OrganizationFactory()]
        places = [Place(resource, home.pk, "x") for home in homes for resource in (DRIVERS, TRUCKS)]
        for place in places:
            keep(place, b"[1]")
        return homes, places

    def run(self, capsys, *arguments: str) -> list[str]:
        call_command("cache_bust", *arguments)
        return capsys.readouterr().out.splitlines()

    def test_empties_one_resource_or_all_of_one_organization_or_all(self, places, capsys):
        (home, _), places = places

        def left() -> list[bool]:
            return [found(place) is not None for place in places]

        said = self.run(capsys, DRIVERS, "--organization", home.slug)
        assert said == [f"cache: emptied drivers of {home.slug}."]
        assert left() == [False, True, True, True]
        assert self.run(capsys, DRIVERS) == ["cache: emptied drivers of all organizations."]
        assert left() == [False, True, False, True]
        said = self.run(capsys, "all", "--organization", home.slug)
        assert said == [
            f"cache: emptied {each} of {home.slug}."
            for each in ("drivers", "terminals", "trailers", "trucks")
        ]
        assert left() == [False, False, False, True]
        assert len(self.run(capsys)) == 4
        assert left() == [False] * 4

    def test_refuses_an_organization_that_is_not_there(self):
        with pytest.raises(CommandError, match="no organization 'nowhere'"):
            call_command("cache_bust", "all", "--organization", "nowhere")

    def test_refuses_what_is_not_cached(self):
        with pytest.raises(CommandError, match="invalid choice: 'orders'"):
            call_command("cache_bust", "orders")

    def test_says_when_the_cache_does_not_answer(self, settings):
        use(settings, "redis://127.0.0.1:1/0")
        with pytest.raises(CommandError, match="does not answer"):
            call_command("cache_bust")
