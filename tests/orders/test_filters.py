"""What the list of orders can be asked for, and the words of the QuerySet behind it."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

from orders.api import filters
from orders.models import Order
from orders.querysets import PERIODS
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

# Sunday evening in London; Monday already in Oslo, still Sunday afternoon in Los Angeles.
NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
ONE_DAY, ONE_MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
STORED = {"service": "into_plukk_storage"}


def nov(day: int) -> date:
    return date(2026, 10, 31) + timedelta(days=day)


@pytest.fixture
def terminal(dispatcher):
    return TerminalFactory(organization=dispatcher.organization)


@pytest.fixture
def make(terminal):
    """An order by its reference, at the terminal unless another is given."""

    def make(reference, **given):
        return OrderFactory(**{"terminal": terminal, "reference": reference, **given})

    return make


@pytest.fixture
def found(api):
    """The references that a query finds, by way of the API."""

    def found(query="", **parameters):
        response = api.get(f"/orders?{urlencode({'per_page': 100, **parameters})}&{query}")
        assert response.status_code == 200, response.json()
        listed = response.json()
        assert listed["total"] == len(listed["data"])
        return {each["reference"] for each in listed["data"]}

    return found


@pytest.fixture
def refused(api):
    """Whether a query is refused for the parameter it names."""

    def refused(query, parameter):
        response = api.get(f"/orders?{query}")
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "validation-error")
        assert {error["field"] for error in problem["errors"]} == {parameter}
        return True

    return refused


class TestChoices:
    """`terminal_id`, `service`, `commodity`, `status`: each may be repeated."""

    def test_find_one_or_any_of_several(self, make, found):
        make("A", service="cross_dock", commodity="salmon")
        make("B", service="reload_car_car", commodity="trout", arrived=True)
        make("C", service="reload_car_terminal_car", commodity=None, cancelled=True)
        assert found("service=cross_dock") == {"A"}
        assert found("service=cross_dock&service=reload_car_car") == {"A", "B"}
        assert found("commodity=trout") == {"B"}
        assert found("commodity=trout&commodity=salmon&commodity=other") == {"A", "B"}
        assert found("status=planned") == {"A"}
        assert found("status=arrived&status=cancelled&status=departed") == {"B", "C"}
        assert found("status=departed") == set()

    def test_that_are_all_named_still_leave_out_nothing_known(self, make, found):
        make("A", commodity="salmon")
        make("B", commodity=None)
        every = "&".join(f"commodity={name}" for name in Order.Commodity.values)
        assert found(every) == {"A"}

    def test_find_by_terminal(self, make, found, terminal):
        beside = TerminalFactory(organization=terminal.organization)
        make("A")
        make("B", terminal=beside)
        make("C", terminal=TerminalFactory(organization=terminal.organization))
        assert found(f"terminal_id={terminal.pk}") == {"A"}
        assert found(f"terminal_id={str(terminal.pk).upper()}") == {"A"}
        assert found(f"terminal_id={terminal.pk}&terminal_id={beside.pk}") == {"A", "B"}
        assert found(f"terminal_id={uuid.uuid4()}") == set()
        assert found(f"terminal_id={terminal.pk}&terminal_id={uuid.uuid4()}") == {"A"}

    @pytest.mark.parametrize("name", ["service", "commodity", "status"])
    @pytest.mark.parametrize("value", ["", "nonsense", "CROSS_DOCK", "planned,arrived", "null"])
    def test_refuse_what_is_not_among_them(self, refused, make, name, value):
        make("A")
        assert refused(f"{name}={value}", name)
        assert refused(f"{name}=salmon&{name}={value}", name)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "x",
            "1",
            "00000000000000000000000000000000",
            "{00000000-0000-0000-0000-000000000000}",
        ],
    )
    def test_refuse_what_is_no_id(self, refused, db, value):
        for name in ("terminal_id", "driver_id", "truck_id", "trailer_id"):
            assert refused(f"{name}={value}", name)


class TestFlags:
    @pytest.fixture(autouse=True)
    def orders(self, make):
        make("planned", priority=True)
        make("arrived", arrived=True)
        make("departed", departed=True)
        make("cancelled", cancelled=True)

    @pytest.mark.parametrize(
        ("name", "those"),
        [
            ("priority", {"planned"}),
            ("in_terminal", {"arrived"}),
            ("active", {"planned", "arrived"}),
        ],
    )
    def test_find_those_or_all_others(self, found, name, those):
        assert found(f"{name}=true") == those
        assert found(f"{name}=false") == {"planned", "arrived", "departed", "cancelled"} - those

    @pytest.mark.parametrize("name", ["priority", "in_terminal", "active"])
    @pytest.mark.parametrize("value", ["", "yes", "1", "True", "null", "true,false"])
    def test_refuse_what_is_neither(self, refused, name, value):
        assert refused(f"{name}={value}", name)

    def test_leave_out_what_was_cancelled_after_its_arrival(self, make, found):
        make("back", cancelled=True, arrived_at=NOW)
        assert "back" not in found("in_terminal=true")
        assert "back" in found("in_terminal=false")


class TestDays:
    @pytest.fixture(autouse=True)
    def orders(self, make):
        for day in (9, 10, 11, 12, 13):
            make(f"in {day}", eta_date=nov(day), etd_date=None, **STORED)
            make(f"out {day}", eta_date=None, etd_date=nov(day), **STORED)

    @pytest.mark.parametrize(("name", "way"), [("eta_date", "in"), ("etd_date", "out")])
    def test_count_both_ends(self, found, name, way):
        assert found(f"{name}=2026-11-10") == {f"{way} 10"}
        assert found(f"{name}_from=2026-11-12") == {f"{way} 12", f"{way} 13"}
        assert found(f"{name}_until=2026-11-10") == {f"{way} 9", f"{way} 10"}
        between = f"{name}_from=2026-11-10&{name}_until=2026-11-12"
        assert found(between) == {f"{way} 10", f"{way} 11", f"{way} 12"}
        assert found(f"{name}_from=2026-11-11&{name}_until=2026-11-11") == {f"{way} 11"}

    @pytest.mark.parametrize("name", ["eta_date", "etd_date"])
    def test_refuse_a_range_backwards(self, refused, name):
        assert refused(f"{name}_from=2026-11-12&{name}_until=2026-11-11", f"{name}_until")

    @pytest.mark.parametrize("name", ["eta_date", "eta_date_from", "etd_date_until", "on"])
    @pytest.mark.parametrize(
        "value",
        ["", "today", "2026-11-31", "20261110", "2026-11-10T00:00:00Z", "10.11.2026", "2026-W46-2"],
    )
    def test_refuse_what_is_no_day(self, refused, name, value):
        assert refused(f"{name}={value}", name)

    def test_on_means_arriving_or_departing(self, found, make):
        make("both", eta_date=nov(10), etd_date=nov(10))
        make("around", eta_date=nov(9), etd_date=nov(11))
        assert found("on=2026-11-10") == {"in 10", "out 10", "both"}
        assert found("on=2026-11-09") == {"in 9", "out 9", "around"}

    @pytest.mark.parametrize("value", ["0001-01-01", "9999-12-31"])
    def test_reach_from_end_to_end(self, found, value):
        assert found(f"on={value}") == set()


class TestInstants:
    MOMENT = datetime(2026, 11, 10, 6, 30, 0, 123456, tzinfo=UTC)

    @pytest.fixture(autouse=True)
    def orders(self, make):
        for name, at in (
            ("before", self.MOMENT - ONE_MICROSECOND),
            ("then", self.MOMENT),
            ("after", self.MOMENT + ONE_MICROSECOND),
        ):
            make(name, created_at=at, updated_at=at)

    def test_count_both_ends(self, found):
        moment = "2026-11-10T06:30:00.123456Z"
        assert found(f"created_at_from={moment}") == {"then", "after"}
        assert found(f"created_at_until={moment}") == {"before", "then"}
        assert found(f"created_at_from={moment}&created_at_until={moment}") == {"then"}
        assert found(f"updated_since={moment}") == {"then", "after"}

    def test_take_any_offset(self, found):
        assert found(created_at_from="2026-11-10T07:30:00.123456+01:00") == {"then", "after"}
        assert found(updated_since="2026-11-09T23:30:00.123457-07:00") == {"after"}

    def test_find_a_row_by_what_it_says_of_itself(self, api, found):
        for row in api.get("/orders").json()["data"]:
            same = {
                "created_at_from": row["created_at"],
                "created_at_until": row["created_at"],
                "updated_since": row["updated_at"],
            }
            assert found(**same) == {row["reference"]}

    def test_see_a_change_from_its_own_moment_on(self, api, found):
        order = Order.objects.get(reference="before")
        changed = api.patch(f"/orders/{order.pk}", {"notes": "New."}).json()
        assert found(updated_since=changed["updated_at"]) == {"before"}

    @pytest.mark.parametrize("name", ["created_at_from", "created_at_until", "updated_since"])
    @pytest.mark.parametrize(
        "value", ["", "now", "2026-11-10", "2026-11-10T06:30:00", "1762756200"]
    )
    def test_refuse_what_is_no_instant(self, refused, name, value):
        assert refused(f"{name}={value}", name)

    def test_refuse_a_range_backwards(self, refused):
        later, earlier = "2026-11-10T06:30:00Z", "2026-11-10T06:29:59.999999Z"
        query = f"created_at_from={later}&created_at_until={earlier}"
        assert refused(query, "created_at_until")


class TestFleetIds:
    @pytest.mark.parametrize(
        ("name", "factory"),
        [("driver", DriverFactory), ("truck", TruckFactory), ("trailer", TrailerFactory)],
    )
    def test_find_either_leg(self, found, make, terminal, name, factory):
        one, other = factory.create_batch(2, organization=terminal.organization)
        make("comes", **{f"eta_{name}": one})
        make("goes", **{f"etd_{name}": one})
        make("both", **{f"eta_{name}": one, f"etd_{name}": one})
        make("other", **{f"eta_{name}": other})
        make("none")
        assert found(f"{name}_id={one.pk}") == {"comes", "goes", "both"}
        assert found(f"{name}_id={other.pk}") == {"other"}
        assert found(f"{name}_id={uuid.uuid4()}") == set()


class TestReference:
    def test_is_whole_and_in_any_case(self, found, make):
        for reference in ("Ab-1", "ab-10", "xAb-1"):
            make(reference)
        assert found("reference=AB-1") == {"Ab-1"}
        assert found("reference=%20aB-1%20") == {"Ab-1"}
        assert found("reference=b-1") == set()

    def test_is_compared_as_it_is_stored(self, found, make):
        make("Café Ærø")
        assert found(reference="cafe\u0301 æRØ") == {"Café Ærø"}

    def test_is_found_at_every_terminal(self, found, make, terminal):
        make("A-1")
        make("a-1", terminal=TerminalFactory(organization=terminal.organization))
        assert found("reference=A-1") == {"A-1", "a-1"}

    @pytest.mark.parametrize("reference", ["%", "_", "A_1", "A%", "\\", "A\\1"])
    def test_knows_no_wildcards(self, found, make, reference):
        make("A-1")
        make(reference)
        assert found(reference=reference) == {reference}

    def test_refuses_nothing(self, refused, db):
        assert refused("reference=", "reference")
        assert refused("reference=%20", "reference")


class TestSearch:
    def test_looks_everywhere(self, found, make, terminal):
        here = {"organization": terminal.organization}
        make("by SALMON reference")
        make("by notes", notes="Fresh salmon,\nkeep cold.")
        make("by typed names", eta_driver_name="Sal Salmonsen")
        make("by typed name out", etd_driver_name="Salmone")
        make("by driver", eta_driver=DriverFactory(name="A. Salmond", **here))
        make("by driver out", etd_driver=DriverFactory(name="Salmond", **here))
        make("by truck", eta_truck=TruckFactory(name="Salmon truck", **here))
        make("by trailer out", etd_trailer=TrailerFactory(name="big salmon", **here))
        make("else", notes="Trout.", eta_driver=DriverFactory(name="Kari", **here))
        assert found("q=salmon") == {
            reference
            for reference in Order.objects.values_list("reference", flat=True)
            if reference != "else"
        }

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    @pytest.mark.parametrize("part", ["truck", "trailer"])
    def test_finds_plates_however_they_are_written(self, found, make, terminal, leg, part):
        factory = {"truck": TruckFactory, "trailer": TrailerFactory}[part]
        here = {"organization": terminal.organization}
        make("typed", **{f"{leg}_{part}_plate": "AB12345"})
        make("registered", **{f"{leg}_{part}": factory(license_plate="AB12345", **here)})
        make("other", **{f"{leg}_{part}_plate": "BA12345"})
        for words in ("ab 12", "AB-12", "b123", "a b 1 2 3 4 5", " ab12345 "):
            assert found(q=words) == {"typed", "registered"}, words
        assert found(q="ab 21") == set()

    @pytest.mark.parametrize(
        "letter", ["%", "_", "\\", "'", '"', "(", "*", "?", "&", "|", "\u2013"]
    )
    def test_takes_every_character_for_itself(self, found, make, letter):
        make("with", notes=f"before{letter}after")
        make("without", notes="before after")
        assert found(q=f"before{letter}after") == {"with"}
        assert found(q=f"e{letter}a") == {"with"}

    @pytest.mark.parametrize("words", ["%", "_", "\\", "-", "--"])
    def test_finds_nothing_by_what_is_nowhere(self, found, make, words):
        make("A1", eta_truck_plate="AB12345")
        assert found(q=words) == set()

    @pytest.mark.parametrize("words", ["blåbær", "BLÅBÆR", "Åbæ", "🐟", "サケ"])
    def test_knows_letters_beyond_ascii(self, found, make, words):
        make("A1", notes="Blåbær 🐟 サケ")
        make("B1", notes="Blabar")
        assert found(q=words) == {"A1"}

    def test_does_not_read_across_columns(self, found, make):
        make("A1", notes="one", eta_driver_name="two", eta_truck_plate="AB1")
        make("B1", eta_truck_plate="AB1", eta_trailer_plate="CD2")
        for words in ("onetwo", "one two", "A1one", "A1 one", "B1CD", "AB1CD2", "ab1 cd2"):
            assert found(q=words) == set(), words

    def test_of_nothing_filters_nothing(self, found, make):
        make("A1")
        assert found("q=") == found("q=%20%20") == found("q=%09") == {"A1"}

    def test_has_a_limit(self, found, refused, make):
        make("A1", notes="x" * 200)
        assert found(q="x" * 200) == {"A1"}
        assert refused(f"q={'x' * 201}", "q")

    def test_sees_nothing_of_others(self, found, make):
        foreign = OrderFactory(reference="salmon", notes="salmon")
        driver = DriverFactory(organization=foreign.organization, name="salmon")
        Order.objects.filter(pk=foreign.pk).update(eta_driver=driver)
        make("A1")
        assert found("q=salmon") == set()


class TestPeriod:
    """By each terminal's own clock; weeks begin on Monday."""

    # What each period is at NOW: in Oslo, and in Los Angeles.
    AT_NOW = {
        "today": ((23, 23), (22, 22)),
        "yesterday": ((22, 22), (21, 21)),
        "tomorrow": ((24, 24), (23, 23)),
        "this_week": ((23, 29), (16, 22)),
        "next_week": ((30, 36), (23, 29)),
        "last_week": ((16, 22), (9, 15)),
        "this_month": ((1, 30), (1, 30)),
    }

    @pytest.fixture
    def angeles(self, terminal):
        return TerminalFactory(organization=terminal.organization, timezone="America/Los_Angeles")

    def around(self, make, terminal, first, last):
        """Orders inside and outside both edges of some days; the references of those inside."""
        name, inside = terminal.account_code, set()
        for day in {first - 1, first, last, last + 1}:
            for leg, other in (("eta", "etd"), ("etd", "eta")):
                reference = f"{name} {leg} {day}"
                if first <= day <= last:
                    inside.add(reference)
                days = {f"{leg}_date": nov(day), f"{other}_date": None}
                make(reference, terminal=terminal, **days, **STORED)
        return inside

    @pytest.mark.parametrize("period", AT_NOW)
    def test_goes_by_each_terminals_clock(
        self, found, make, terminal, angeles, monkeypatch, period
    ):
        oslo_days, angeles_days = self.AT_NOW[period]
        inside = self.around(make, terminal, *oslo_days)
        inside |= self.around(make, angeles, *angeles_days)
        zones = ["Europe/Oslo", "America/Los_Angeles"]
        rows = Order.objects.moving_in(period, zones=zones, now=NOW)
        assert {row.reference for row in rows} == inside

        monkeypatch.setattr(filters, "timezone", SimpleNamespace(now=lambda: NOW))
        assert found(f"period={period}") == inside
        assert found(f"period={period}&terminal_id={angeles.pk}") == {
            reference for reference in inside if reference.startswith(angeles.account_code)
        }

    @pytest.mark.parametrize("period", AT_NOW)
    def test_counts_either_leg(self, make, period):
        (first, last), _ = self.AT_NOW[period]
        make("through", eta_date=nov(first - 1), etd_date=nov(last + 1))
        make("comes", eta_date=nov(last), etd_date=nov(last + 1))
        make("goes", eta_date=nov(first - 1), etd_date=nov(first))
        rows = Order.objects.moving_in(period, zones=["Europe/Oslo"], now=NOW)
        assert {row.reference for row in rows} == {"comes", "goes"}

    @pytest.mark.parametrize(
        ("today", "period", "first", "last"),
        [
            (date(2026, 2, 1), "this_month", date(2026, 2, 1), date(2026, 2, 28)),
            (date(2028, 2, 29), "this_month", date(2028, 2, 1), date(2028, 2, 29)),
            (date(2026, 12, 31), "this_month", date(2026, 12, 1), date(2026, 12, 31)),
            (date(2026, 12, 31), "tomorrow", date(2027, 1, 1), date(2027, 1, 1)),
            (date(2027, 1, 1), "yesterday", date(2026, 12, 31), date(2026, 12, 31)),
            (date(2027, 1, 1), "this_week", date(2026, 12, 28), date(2027, 1, 3)),
            (date(2026, 11, 29), "this_week", date(2026, 11, 23), date(2026, 11, 29)),
            (date(2026, 11, 30), "this_week", date(2026, 11, 30), date(2026, 12, 6)),
            (date(2026, 11, 29), "next_week", date(2026, 11, 30), date(2026, 12, 6)),
            (date(2026, 11, 30), "last_week", date(2026, 11, 23), date(2026, 11, 29)),
        ],
    )
    def test_has_its_days(self, today, period, first, last):
        assert PERIODS[period](today) == (first, last)

    def test_turns_with_the_clock_of_the_terminal(self, make):
        make("A1", eta_date=nov(23), etd_date=None, **STORED)
        midnight = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)  # in Oslo
        for now, expected in (
            (midnight - ONE_MICROSECOND, 0),
            (midnight, 1),
            (midnight + ONE_DAY - ONE_MICROSECOND, 1),
            (midnight + ONE_DAY, 0),
        ):
            rows = Order.objects.moving_in("today", zones=["Europe/Oslo"], now=now)
            assert rows.count() == expected

    @pytest.mark.parametrize("period", ["", "someday", "Today", "today,tomorrow"])
    def test_refuses_what_is_none(self, refused, db, period):
        assert refused(f"period={period}", "period")

    def test_of_no_terminal_is_empty(self, api):
        assert api.get("/orders?period=today").json()["data"] == []


class TestLate:
    """Planned to be here, or gone, before now by the terminal's clock, and it is not so."""

    ZONES = ("Europe/Oslo", "America/Los_Angeles")

    def late(self, now=NOW):
        return {row.reference for row in Order.objects.late(zones=self.ZONES, now=now)}

    def test_is_a_planned_order_once_its_time_is_over(self, make):
        # NOW is 00:30 on the 23rd at this terminal.
        far = {"etd_date": nov(30)}
        make("in time", eta_date=nov(23), eta_time=time(0, 30), **far)
        make("late", eta_date=nov(23), eta_time=time(0, 29, 59), **far)
        make("some time today", eta_date=nov(23), **far)
        make("yesterday", eta_date=nov(22), **far)
        make("came", eta_date=nov(22), **far, arrived=True)
        make("called off", eta_date=nov(22), **far, cancelled=True)
        assert self.late() == {"late", "yesterday"}

    def test_is_an_arrived_order_once_it_should_have_left(self, make):
        make("in time", eta_date=nov(20), etd_date=nov(23), arrived=True)
        make("late", eta_date=nov(20), etd_date=nov(22), arrived=True)
        make("gone", eta_date=nov(20), etd_date=nov(22), departed=True)
        make("stays", eta_date=nov(20), etd_date=None, **STORED, arrived=True)
        assert self.late() == {"late"}

    def test_is_a_departure_from_stock_that_did_not_happen(self, make):
        make("in time", eta_date=None, etd_date=nov(23), **STORED)
        make("late", eta_date=None, etd_date=nov(22), **STORED)
        assert self.late() == {"late"}

    def test_goes_by_each_terminals_clock(self, make, terminal):
        angeles = TerminalFactory(organization=terminal.organization, timezone=self.ZONES[1])
        make("here", eta_date=nov(22), etd_date=nov(30))
        make("there", eta_date=nov(22), etd_date=nov(30), terminal=angeles)
        assert self.late() == {"here"}


class TestTogether:
    def test_all_must_hold(self, found, make, terminal):
        beside = TerminalFactory(organization=terminal.organization)
        right = {"priority": True, "notes": "cold", "eta_date": nov(10), "etd_date": nov(11)}
        make("right", **right)
        make("terminal", **right, terminal=beside)
        make("status", **right, arrived=True)
        make("priority", **{**right, "priority": False})
        make("notes", **{**right, "notes": ""})
        make("day", **{**right, "eta_date": nov(9)})
        query = (
            f"terminal_id={terminal.pk}&status=planned&priority=true&q=COLD"
            "&eta_date_from=2026-11-10&on=2026-11-11&active=true&in_terminal=false"
        )
        assert found(query) == {"right"}

    def test_of_many_pages_find_the_same(self, api, make):
        """Few rows are found first and sorted then, many are read in order: one answer."""
        for number in range(30):
            make(f"R-{number:02}", notes="cold" if number % 2 else "", priority=number % 3 == 0)
        expected = [f"R-{number:02}" for number in range(29, 0, -2)]
        pages = [
            api.get(f"/orders?q=cold&ordering=-reference&per_page=4&page={page}").json()
            for page in (1, 2, 3, 4)
        ]
        seen = [each["reference"] for page in pages for each in page["data"]]
        assert seen == expected
        assert {page["total"] for page in pages} == {15}


class TestUnknown:
    @pytest.mark.parametrize(
        "query",
        [
            "color=blue",
            "Status=planned",
            "status__in=planned",
            "terminal=x",
            "terminal__organization__name=x",
            "organization_id=x",
            "created_by__password__startswith=x",
            "created_at=2026-11-10T06:30:00Z",
            "eta_time=06:30",
            "id=1",
            "pk=1",
            "format=json",
            "status[]=planned",
            "_connector=OR",
            "q[$ne]=x",
            "=x",
        ],
    )
    def test_parameters_are_refused_by_name(self, refused, db, query):
        assert refused(query, query.split("=")[0] or None)

    @pytest.mark.parametrize(
        "query",
        [
            "priority=true",
            "eta_date=2026-11-10",
            "on=2026-11-10",
            "q=x",
            "reference=x",
            "period=today",
        ],
    )
    def test_repetitions_are_refused(self, refused, db, query):
        assert refused(f"{query}&{query}", query.split("=")[0])

    def test_of_two_each_is_named(self, api, db):
        response = api.get("/orders?status=nonsense&priority=maybe")
        assert {error["field"] for error in response.json()["errors"]} == {"status", "priority"}


class TestVisibleTo:
    def test_is_the_users_organization_or_everything_for_a_superuser(self, dispatcher, make):
        own, foreign = make("A1"), OrderFactory()
        rows = Order.objects.order_by("pk")
        assert list(rows.visible_to(dispatcher)) == [own]
        assert list(rows.visible_to(UserFactory(superuser=True))) == [own, foreign]
        assert list(rows.visible_to(UserFactory())) == []
