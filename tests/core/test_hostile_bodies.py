"""Bodies that nobody should send: section 2a of docs/reliability.md, row by row.

What only a real server can be sent, tests/server/test_raw_http.py sends.
"""

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from core import text
from core.api.fields import (
    AmountField,
    ClockField,
    CountField,
    DayField,
    FlagField,
    IdField,
    InstantField,
    OneOfField,
    TextField,
)
from orders.models import Order
from tests.core.answers import blamed, problem
from tests.core.nasty import NASTY
from tests.core.resources import (
    BY_NAME,
    ORDERS,
    RESOURCES,
    TERMINALS,
    Resource,
    columns,
    fields,
    row_counts,
)
from tests.fleet.factories import DriverFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

MEGABYTE = 1_048_576
DEEP = 100_000


@dataclass(frozen=True)
class Door:
    """A way to send a body; `state` is of the order that it is for, if it is for one."""

    method: str
    path: str
    state: str | None = None
    needs_body: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


NEW_ORDER = Door("POST", "/orders")
ORDER_DOORS = [
    NEW_ORDER,
    Door("PUT", "/orders/{id}", "planned"),
    Door("PATCH", "/orders/{id}", "planned"),
    Door("POST", "/orders/{id}/arrive", "planned", needs_body=False),
    Door("POST", "/orders/{id}/depart", "arrived", needs_body=False),
    Door("POST", "/orders/{id}/cancel", "planned", needs_body=False),
    Door("POST", "/orders/{id}/reopen", "cancelled", needs_body=False),
]
DOORS = [
    *(Door("POST", resource.path) for resource in RESOURCES if resource is not ORDERS),
    *ORDER_DOORS,
    Door("POST", "/auth/token"),
    Door("POST", "/auth/token/refresh"),
]

every_door = pytest.mark.parametrize("door", DOORS, ids=str)


def each(values):
    return pytest.mark.parametrize(("resource", "field"), list(values), ids=str)


@pytest.fixture
def organization(dispatcher):
    return dispatcher.organization


@pytest.fixture
def send(api, organization):
    """Sends raw bytes through one of the DOORS; a refusal must leave every row as it was."""
    orders: dict[str, Order] = {}

    def order_in(state: str) -> Order:
        if state not in orders:
            traits = {} if state == "planned" else {state: True}
            orders[state] = OrderFactory(terminal__organization=organization, **traits)
        return orders[state]

    def send(door: Door, raw: bytes | str, **headers: Any) -> Any:
        order = order_in(door.state) if door.state else None
        path = door.path.format(id=order.pk) if order else door.path
        before = row_counts(), order and columns(order)
        kind = headers.pop("content_type", "application/json")
        response = api.generic(door.method, path, raw, content_type=kind, **headers)
        if response.status_code >= 400:
            assert (row_counts(), order and columns(order)) == before
        return response

    return send


def with_raw(body: dict[str, Any], field: str, raw: str) -> str:
    """`body` as JSON, with `raw` as it stands for the value of `field`."""
    rest = [f'"{name}": {json.dumps(value)}' for name, value in body.items() if name != field]
    return "{" + ", ".join([*rest, f'"{field}": {raw}']) + "}"


@pytest.fixture
def post(api, organization):
    """Posts a good body in which one field is written as the JSON text `raw`."""
    bodies: dict[str, dict[str, Any]] = {}

    def post(resource: Resource, field: str, raw: str) -> Any:
        if resource.name not in bodies:
            bodies[resource.name] = resource.body(organization)
        body = with_raw(bodies[resource.name], field, raw)
        return api.generic("POST", resource.path, body, content_type="application/json")

    return post


@pytest.fixture
def refuses(post):
    """Each of the JSON texts is refused as a value of the field, and nothing else is blamed."""

    def refuses(resource: Resource, field: str, *raws: str, code: str | None = None) -> None:
        for raw in raws:
            told = blamed(post(resource, field, raw))
            assert [name for name, _ in told] == [field], (raw[:60], told)
            assert code in {None, told[0][1]}, (raw[:60], told)
        made = resource.model._default_manager.all()
        assert not made.exclude(orders__isnull=False) if resource is TERMINALS else not made

    return refuses


class TestABodyThatIsNoJson:
    BROKEN = [
        b"\xef\xbb\xbf{}",  # a byte order mark
        b'{"notes": "\xff"}',
        b'{"notes": "\xed\xa0\x80"}',  # half of a surrogate pair, as if it were UTF-8
        '{"notes": "x"}'.encode("utf-16"),
        b"{} trailing",
        b"{}{}",
        b'{"a": 1, }',
        b"{'notes': 'x'}",
        b'{"notes": "x" /* why */}',
        b'{"notes": "\t"}',
        b'{"notes": NaN}',
        b'{"notes": Infinity}',
        b'{"notes": -Infinity}',
        b'{"notes": 0x1F}',
        b'{"notes": 01}',
        b'{"notes": +1}',
        b'{"notes": ' + b"9" * 5_000 + b"}",  # beyond the digits that Python reads
        b'{"notes": 1e99999999999999999999}',
        b'{"notes": "',
        b"{",
        b"nul",
        b"\x00",
    ]

    @every_door
    def test_is_malformed(self, send, door):
        for raw in self.BROKEN:
            problem(send(door, raw), 400, "malformed-request")

    @pytest.mark.parametrize(
        "raw",
        [
            '{"reference": "A", "reference": "B"}',
            '{"reference": "A", "\\u0072eference": "B"}',
            '{"notes": {"a": 1, "a": 1}}',
            '{"notes": [[{"a": 1, "b": 2, "a": 3}]]}',
        ],
    )
    def test_is_malformed_if_a_key_comes_twice(self, send, raw):
        for door in DOORS:
            assert "twice" in problem(send(door, raw), 400, "malformed-request")["detail"]

    @every_door
    def test_is_malformed_if_it_is_empty_where_something_is_needed(self, send, door):
        response = send(door, b"")
        if door.needs_body:
            problem(response, 400, "malformed-request")
        else:
            assert response.status_code == (422 if door.path.endswith("cancel") else 200)


class TestADeepBody:
    @pytest.mark.parametrize(
        "raw",
        [
            "[" * DEEP,
            "[" * DEEP + "]" * DEEP,
            '{"a":' * DEEP,
            '{"a":' * DEEP + "1" + "}" * DEEP,
            '{"notes": ' + "[" * 5_000 + "]" * 5_000 + "}",
        ],
        ids=["open", "closed", "open-keys", "closed-keys", "in-a-field"],
    )
    def test_is_malformed_beyond_what_is_parsed(self, send, raw):
        for door in ORDER_DOORS:
            problem(send(door, raw), 400, "malformed-request")

    def test_is_not_valid_beyond_32_levels(self, send):
        for door in DOORS:
            for levels in (33, 900):
                raw = '{"notes": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
                assert blamed(send(door, raw)) == [(None, "too-deep")]

    def test_is_judged_by_its_fields_up_to_32_levels(self, post):
        raw = "[" * 31 + "]" * 31
        assert blamed(post(ORDERS, "notes", raw)) == [("notes", "invalid")]

    def test_does_not_count_the_brackets_in_texts(self, post):
        assert post(ORDERS, "notes", json.dumps("[{" * 200 + '\\"[')).status_code == 201

    @pytest.mark.parametrize(
        "raw",
        [
            '"' + '\\"' * (MEGABYTE // 2 - 1),  # a text of quotes that never ends
            '"' * MEGABYTE,
            "\\" * MEGABYTE,
            '{"' + "k" * (MEGABYTE - 8) + '":1}',
        ],
        ids=["escaped-quotes", "quotes", "backslashes", "a-long-key"],
    )
    def test_is_measured_in_no_time(self, send, raw):
        began = time.perf_counter()
        assert send(NEW_ORDER, raw).status_code in {400, 422}
        assert time.perf_counter() - began < 10  # hours, with a pattern that tries again


class TestATopLevelThatIsNoObject:
    @every_door
    def test_is_not_valid(self, send, door):
        for raw in ("[]", '["reference"]', '"reference"', "1", "1.5", "null", "true"):
            told = blamed(send(door, raw))
            assert [field for field, _ in told] == [None], raw

    def test_is_not_valid_without_the_fields_that_are_needed(self, send):
        for resource in RESOURCES:
            needed = {name for name, field in resource.input().fields.items() if field.required}
            told = blamed(send(Door("POST", resource.path), "{}"))
            assert {field for field, _ in told} == needed
            assert {code for _, code in told} == {"required"}

    def test_changes_nothing_in_a_patch_without_fields(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        assert api.patch(f"/orders/{order.pk}", {}).json()["version"] == 1


class TestTheMediaType:
    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "application/json/x",
            "application/json, text/plain",
            "application/merge-patch+json",
            "application/jsonx",
            "application/*",
            "*/*",
            "///;;;",
            ";",
            "application/json; charset=utf-16",
            "application/json; charset=latin-1",
            "application/json; charset=no-such",
            "application/json; charset=hex",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=utf-16",
        ],
    )
    def test_is_refused_unless_it_is_json_in_utf8(self, send, content_type):
        for door in DOORS:
            response = send(door, "{}", content_type=content_type)
            problem(response, 415, "unsupported-media-type")

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "APPLICATION/JSON",
            "application/json; charset=utf-8",
            'application/json; charset="UTF-8"',
            "application/json;charset=utf8",
        ],
    )
    def test_may_be_written_in_each_of_its_ways(self, api, organization, content_type):
        for resource in RESOURCES:
            body = json.dumps(resource.body(organization))
            response = api.generic("POST", resource.path, body, content_type=content_type)
            assert response.status_code == 201

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x"])
    def test_is_refused_with_a_coding_of_the_content(self, send, coding):
        for door in DOORS:
            response = send(door, b"\x1f\x8b" + bytes(20), HTTP_CONTENT_ENCODING=coding)
            problem(response, 415, "unsupported-media-type")


class TestABigBody:
    def test_is_too_large_from_one_byte_over_a_megabyte_on(self, send):
        for door in DOORS:
            body = problem(send(door, b"{}" + b" " * (MEGABYTE - 1)), 413, "too-large")
            assert "1,048,576" in body["detail"]
            assert send(door, b"[]" + b" " * (MEGABYTE - 2)).status_code == 422

    def test_is_too_large_by_what_it_says_of_itself(self, send):
        for declared in (MEGABYTE + 1, 10**12, 10**30):
            problem(send(DOORS[0], b"{}", CONTENT_LENGTH=str(declared)), 413, "too-large")

    @every_door
    def test_of_unknown_keys_is_refused_in_no_time_with_the_first_hundred(self, send, door):
        raw = "{" + ",".join(f'"k{number}":1' for number in range(90_000)) + "}"
        began = time.perf_counter()
        told = blamed(send(door, raw))
        assert time.perf_counter() - began < 5
        assert len(told) == 100

    def test_with_a_long_key_names_the_beginning_of_it(self, send):
        for door in DOORS:
            told = blamed(send(door, json.dumps({"k" * 900_000: 1})))
            assert ("k" * 100, "unknown-field") in told

    def test_of_many_notes_is_refused_by_their_length(self, refuses):
        refuses(ORDERS, "notes", json.dumps("x" * 1_000_000), code="max_length")


class TestAnUnknownField:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    @pytest.mark.parametrize("resource", RESOURCES, ids=str)
    def test_is_refused_by_its_name(self, api, organization, resource, method):
        path = resource.path
        if method != "POST":
            path += f"/{resource.thing(organization).pk}"
        body = resource.body(organization)
        for name in (
            *("__class__", "__proto__", "constructor", "_connector", "_negated", "pk", "id"),
            *("notes ", "Name", "name__icontains", "terminal", "organization_id", "a.b", "a[b]"),
            *("\u0000", "\U0001f600"),
        ):
            raw = json.dumps(body | {name: "x"})
            response = api.generic(method, path, raw, content_type="application/json")
            assert blamed(response) == [(name, "unknown-field")]

    @pytest.mark.parametrize("name", ["", "__all__", "non_field_errors"])
    def test_is_refused_even_if_it_is_named_like_no_field(self, api, name):
        assert blamed(api.post("/drivers", {"name": "A", name: 1})) == [(None, "unknown-field")]

    def test_is_refused_if_its_name_is_half_a_character(self, send):
        for door in DOORS:
            assert ("?", "unknown-field") in blamed(send(door, '{"\\ud800": 1}'))


def normal_forms(resource: Resource, value: str) -> dict[str, str]:
    """What each of the resource's texts should keep of `value`; left out if it should refuse it."""
    kept = {}
    for name in resource.fields(TextField):
        kind = resource.input().fields[name]
        with contextlib.suppress(ValidationError):
            normal = kind.normal(value)
            if len(normal) <= kind.max_chars:
                kept[name] = normal
    return kept


class TestAText:
    @each(fields(TextField))
    def test_holds_no_nul_and_no_half_character(self, refuses, resource, field):
        refuses(resource, field, '"a\\u0000"', '"\\u0000"', code="null-character")
        refuses(resource, field, '"\\ud800"', '"x\\udfffx"', code="invalid-unicode")

    @each(fields(TextField))
    def test_is_a_text(self, refuses, resource, field):
        refuses(resource, field, "12", "1.5", "true", "[]", "{}", '["a"]', code="invalid")

    @each(fields(TextField))
    def test_is_not_longer_than_its_limit(self, refuses, post, resource, field):
        most = resource.input().fields[field].max_chars
        refuses(resource, field, json.dumps("A" * (most + 1)))
        if field not in {"phone", "plate_country", "timezone"}:  # these have a form
            response = post(resource, field, json.dumps(" " + "A" * most + " "))
            assert response.status_code == 201  # white space around does not count
            assert response.json()[field] == "A" * most

    @each(fields(TextField))
    def test_of_spaces_is_none(self, post, refuses, resource, field):
        kind = resource.input().fields[field]
        if kind.required:
            refuses(resource, field, '""', '" "', '"\\t\\n"', '"\\u00a0\\u2003"', "null")
        elif field in {"plate_country", "timezone"}:  # there is a default, but no thing without one
            refuses(resource, field, '""', '"  "', "null")
        else:
            response = post(resource, field, '" \\u2003 "')
            assert (response.status_code, response.json()[field]) == (201, "")

    @each(fields(TextField))
    def test_of_one_line_holds_nothing_invisible(self, refuses, resource, field):
        if resource.input().fields[field].normal is text.notes:
            refuses(
                resource, field, *(f'"a\\u{code}b"' for code in ("0007", "001b", "007f", "0085"))
            )
            return
        refuses(
            resource,
            field,
            *(f'"a\\u{code}b"' for code in ("000a", "000d", "0009", "001b", "007f", "0085")),
            *(f'"a\\u{code}b"' for code in ("200b", "200d", "2060", "feff", "00ad")),
            *(f'"a\\u{code}b"' for code in ("202e", "2066", "200f", "061c", "2028", "2029")),
            code="control-character",
        )

    @pytest.mark.parametrize("resource", RESOURCES, ids=str)
    def test_is_kept_as_it_was_sent_or_refused(self, api, organization, resource):
        path = f"{resource.path}/{resource.thing(organization).pk}"
        names = resource.fields(TextField)
        for nasty in NASTY:
            kept = normal_forms(resource, nasty)
            if len(kept) < len(names):
                told = blamed(api.patch(path, dict.fromkeys(names, nasty)))
                assert {name for name, _ in told} == {*names} - {*kept}, nasty
            assert api.patch(path, dict.fromkeys(kept, nasty)).status_code == 200, nasty
            shown = api.get(path).json()
            assert {name: shown[name] for name in kept} == kept

    def test_of_notes_may_have_lines_and_directions(self, post):
        notes = "one\r\n\ttwo\u202e \u200d three"
        assert post(ORDERS, "notes", json.dumps(f"\n {notes}\n")).json()["notes"] == notes

    def test_is_one_whether_its_accents_are_composed_or_not(self, api, organization):
        body = ORDERS.body(organization)
        composed = api.post("/orders", body | {"reference": "caf\u00e9"})
        assert composed.status_code == 201
        decomposed = api.post("/orders", body | {"reference": "cafe\u0301"})
        assert blamed(decomposed, 409, "conflict") == [("reference", "taken")]


class TestANumber:
    @each(fields(CountField, AmountField))
    def test_is_no_text_and_nothing_else(self, refuses, resource, field):
        texts = ["5", "１２", "1_0", " 7 ", "0x1F", "1e3", "+5", "", "NaN", "inf", "sNaN"]
        texts += ["1E+1000000", "-0"]
        refuses(resource, field, *map(json.dumps, texts), code="invalid")
        refuses(resource, field, "true", "false", "[]", "{}", "[5]", code="invalid")

    @each(fields(CountField, AmountField))
    def test_is_not_out_of_reach(self, refuses, resource, field):
        refuses(resource, field, str(2**31), str(2**63), "-1", "-0.01", "1" + "0" * 4_000)
        refuses(resource, field, "9" * 4_200, "1e999", "1e-400", "1e-1000030", "-1e999", "1E+30")

    @each(fields(CountField))
    def test_that_counts_is_whole(self, refuses, post, resource, field):
        refuses(resource, field, "5.0", "5.5", "5e0", "1e3", "0.0", code="invalid")
        refuses(resource, field, "100000", code="max_value")
        assert post(resource, field, "99999").json()[field] == 99_999

    def test_of_kilos_is_never_rounded(self, refuses):
        refuses(
            ORDERS,
            "kilos",
            *("0.001", "1.005", "10000000", "9999999.995"),
            "1.0000000000000000000000000000001",  # one digit more than Python's arithmetic keeps
            "9999999.9900000000000000000000000000001",
            "0." + "0" * 1_000 + "1",
        )

    @pytest.mark.parametrize(
        ("raw", "kilos"),
        [
            ("9999999.99", 9_999_999.99),
            ("2.5", 2.5),
            ("2.500", 2.5),
            ("1." + "0" * 5_000, 1.0),
            ("1E2", 100.0),
            ("25e-2", 0.25),
            ("0.0", 0.0),
            ("-0", 0.0),
            ("0e99", 0.0),
            ("null", None),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_of_kilos_may_be_written_in_each_of_its_ways(self, api, post, raw, kilos):
        made = post(ORDERS, "kilos", raw)
        assert made.status_code == 201
        assert api.get(f"/orders/{made.json()['id']}").json()["kilos"] == kilos


class TestATruth:
    @each(fields(FlagField))
    def test_is_true_or_false(self, refuses, resource, field):
        wrong = ["2", "1", "0", "1.0", '"yes"', '"true"', '""', "[]", "{}", "[true]"]
        refuses(resource, field, *wrong, code="invalid")
        refuses(resource, field, "null", code="required")


class TestAChoice:
    @each(fields(OneOfField))
    def test_is_one_of_those_there_are(self, refuses, resource, field):
        wrong = ['"x"', '""', "1", "true", "[]", "{}", '["salmon"]', '"SALMON"', '" salmon"']
        wrong += ['"\\u0000"', '"\\ud800"', json.dumps("x" * 100_000), "9" * 4_000]
        refuses(resource, field, *wrong, code="invalid_choice")


class TestAnId:
    WELL_FORMED = "01a20686-17bd-77a5-adad-7f27f88c19be"

    @each(fields(IdField))
    def test_is_a_uuid_in_its_canonical_form(self, refuses, resource, field):
        wrong = [
            f"urn:uuid:{self.WELL_FORMED}",
            f"{{{self.WELL_FORMED}}}",
            self.WELL_FORMED.replace("-", ""),
            f" {self.WELL_FORMED}",
            f"{self.WELL_FORMED}\n",
            f"{self.WELL_FORMED}\x00",
            self.WELL_FORMED.replace("0", "０"),
            *("", "1", "1\x00", "abc", "../x"),
        ]
        refuses(resource, field, *map(json.dumps, wrong), code="invalid-id")
        refuses(resource, field, "true", "[]", "{}", "1.9", "1", "9" * 4_000, code="invalid")

    @each(fields(IdField))
    def test_names_something_that_one_can_see(self, post, resource, field):
        strangers = [TerminalFactory().pk, DriverFactory().pk, TruckFactory().pk]
        nothing = [self.WELL_FORMED, "00000000-0000-0000-0000-000000000000"]
        nothing += ["5b7d2b1e-8f4e-11ee-b9d1-0242ac120002", *map(str, strangers)]
        answers = set()
        for each_id in nothing:
            response = post(resource, field, json.dumps(each_id))
            assert blamed(response, 422, "unknown-reference") == [(field, "unknown-reference")]
            body = response.json()
            del body["request_id"]
            answers.add(json.dumps(body))
        assert len(answers) == 1  # another's is told like nothing

    def test_may_be_in_upper_case(self, api, organization):
        body = ORDERS.body(organization)
        made = api.post("/orders", body | {"terminal_id": body["terminal_id"].upper()})
        assert made.json()["terminal"]["id"] == body["terminal_id"]


class TestADay:
    @each(fields(DayField))
    def test_is_one_of_the_calendar(self, refuses, resource, field):
        wrong = ["0000-01-01", "10000-01-01", "2026-02-30", "2026-2-3", "20260203", "2026-W05"]
        wrong += ["2026-034", "03.02.2026", "", " 2026-02-03", "2026-02-03\n", "２０２６-02-03"]
        wrong += ["2026-02-03T00:00:00Z", "-2026-02-03", "today", "\x00"]
        refuses(resource, field, *map(json.dumps, wrong), code="invalid-date")
        refuses(resource, field, "1770000000", "true", "[]", "{}", code="invalid")

    @pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2028-02-29"])
    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue", "Europe/Oslo"])
    def test_may_be_the_first_or_the_last_there_is(self, api, organization, day, zone):
        terminal = TerminalFactory(organization=organization, timezone=zone)
        for at in ("00:00", "23:59:59"):
            made = api.post(
                "/orders",
                {
                    "reference": f"{day} {at}",
                    "service": "cross_dock",
                    "terminal_id": str(terminal.pk),
                    "eta_date": day,
                    "eta_time": at,
                    "etd_date": day,
                    "etd_time": at,
                },
            )
            assert made.status_code == 201
            assert made.json()["eta_date"] == day


class TestATimeOfDay:
    @each(fields(ClockField))
    def test_is_one_of_the_clock(self, refuses, resource, field):
        wrong = ["24:00", "12:60", "12:00:60", "1:00", "12", "12:00Z", "12:00+01:00", "-1:00"]
        wrong += ["12:00:00.5", "", "12:00 ", "１２:00", "noon", "T12:00", "12.30", "\x00"]
        refuses(resource, field, *map(json.dumps, wrong), code="invalid-time")
        refuses(resource, field, "12", "true", "[]", "{}", code="invalid")

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    def test_is_not_one_that_the_terminals_clock_skips(self, api, organization, leg):
        spring = {"eta_date": "2026-03-29", "etd_date": "2026-03-29", f"{leg}_time": "02:30"}
        body = ORDERS.body(organization)
        assert blamed(api.post("/orders", body | spring)) == [(f"{leg}_time", "skipped-time")]

        order = OrderFactory(
            terminal__organization=organization,
            **{"eta_date": "2026-03-28", "etd_date": "2026-03-28", f"{leg}_time": "02:30"},
        )
        path = f"/orders/{order.pk}"
        days = {"eta_date": "2026-03-29", "etd_date": "2026-03-29"}
        assert blamed(api.patch(path, days)) == [(f"{leg}_time", "skipped-time")]
        assert blamed(api.put(path, body | spring)) == [(f"{leg}_time", "skipped-time")]
        utc = TerminalFactory(organization=organization, timezone="UTC")
        assert api.patch(path, days | {"terminal_id": str(utc.pk)}).status_code == 200
        oslo = {"terminal_id": str(order.terminal_id)}
        assert blamed(api.patch(path, oslo)) == [(f"{leg}_time", "skipped-time")]

    def test_may_be_one_that_comes_twice(self, api, organization):
        autumn = {"eta_date": "2026-10-25", "eta_time": "02:30", "etd_date": "2026-10-25"}
        made = api.post("/orders", ORDERS.body(organization) | autumn)
        assert (made.status_code, made.json()["eta_time"]) == (201, "02:30:00")


class TestAnInstant:
    @pytest.mark.parametrize("step", ["arrive", "depart"])
    def test_has_its_offset_and_lies_within_the_calendar(self, api, organization, step):
        order = OrderFactory(terminal__organization=organization, arrived=step == "depart")
        before = columns(order)
        wrong = ["2026-01-01", "2026-01-01T06:00:00", "2026-01-01 06:00", "2026-01-01T06:00Z", ""]
        wrong += ["2026-01-01T06:00:00+0100", "2026-01-01T06:00:00+24:00", "0000-01-01T00:00:00Z"]
        wrong += ["2026-01-01T24:00:00Z", "2026-01-01T06:60:00Z", "2026-01-01T06:00:60Z", "now"]
        wrong += ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-W05-1T00:00:00Z"]
        wrong += ["2026-01-01T06:00:00+01:60", "2026-01-01T06:00:00Z\x00", "２026-01-01T06:00:00Z"]
        for at in wrong:
            told = blamed(api.post(f"/orders/{order.pk}/{step}", {"at": at}))
            assert told == [("at", "invalid-instant")], at
        for at in (1770000000, True, [], {}):
            assert blamed(api.post(f"/orders/{order.pk}/{step}", {"at": at})) == [("at", "invalid")]
        far = {"at": "9999-12-31T23:59:59Z"}
        assert blamed(api.post(f"/orders/{order.pk}/{step}", far)) == [("at", "in-future")]
        assert columns(order) == before

    @pytest.mark.parametrize(
        ("at", "kept"),
        [
            ("2026-01-01T06:30:00Z", "2026-01-01T06:30:00Z"),
            ("2026-01-01t06:30:00z", "2026-01-01T06:30:00Z"),
            ("2026-01-01 07:30:00+01:00", "2026-01-01T06:30:00Z"),
            ("2026-01-01T06:30:00.123456789Z", "2026-01-01T06:30:00.123456Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ],
    )
    def test_may_be_written_in_each_of_its_ways(self, api, organization, at, kept):
        order = OrderFactory(terminal__organization=organization)
        assert api.post(f"/orders/{order.pk}/arrive", {"at": at}).json()["arrived_at"] == kept

    def test_is_the_only_field_of_its_kind(self):
        assert not list(fields(InstantField))  # else the tests above would have to know of more


class TestAPlateAPhoneACountryAZone:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ("ab 12-345", "AB12345"),
            ("AB12345", "AB12345"),
            ("\u00a0a b\u20131 2", "AB12"),
            ("ås 123", "ÅS123"),
            ("straße1", "STRASSE1"),
        ],
    )
    def test_come_to_one_form(self, api, sent, kept):
        for path in ("/trucks", "/trailers"):
            assert api.post(path, {"license_plate": sent}).json()["license_plate"] == kept

    @pytest.mark.parametrize(
        "plate", ["АВ12345", "AB1234⁵", "A.B", "AB/12", "٣٤", "😀", "-", "A_B", "AB*"]
    )
    def test_refuse_letters_that_only_look_alike(self, api, plate):
        for path in ("/trucks", "/trailers"):
            assert [name for name, _ in blamed(api.post(path, {"license_plate": plate}))] == [
                "license_plate"
            ]

    @pytest.mark.parametrize(
        "phone",
        ["+47" + "1" * 40, "+47", "90123456", "+47 90 12 34 56 ext. 5", "0047", "+4790123456x"],
    )
    def test_refuse_what_is_no_number_of_the_world(self, api, phone):
        assert [
            name for name, _ in blamed(api.post("/drivers", {"name": "A", "phone": phone}))
        ] == ["phone"]

    def test_keep_a_phone_as_e164(self, api):
        for number, phone in enumerate(("+47 90 12 34 56", "0047 90123456", "+47-901-23-456")):
            made = api.post("/drivers", {"name": f"Driver {number}", "phone": phone})
            if number == 0:
                assert made.json()["phone"] == "+4790123456"
            else:
                assert blamed(made, 409, "conflict") == [("phone", "taken")]

    @pytest.mark.parametrize(
        "zone",
        [
            *("../../etc/UTC", "Europe/../Oslo", "/etc/localtime", "europe/oslo", "localtime"),
            *("Europe/Oslo/", "UTC+1", "Mars/Olympus", "posixrules", "Factory", "."),
        ],
    )
    def test_refuse_what_is_no_zone(self, refuses, zone):
        refuses(BY_NAME["terminals"], "timezone", json.dumps(zone), code="unknown-timezone")

    def test_refuse_what_is_no_country(self, refuses):
        for resource in (BY_NAME["trucks"], BY_NAME["trailers"]):
            refuses(resource, "plate_country", '"XX"', '"N0"', '"47"', code="unknown-country")


class TestABrokenRule:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"etd_date": None}, [("etd_date", "required")]),
            ({"eta_date": None}, [("eta_date", "required")]),
            ({"service": "into_plukk_storage"}, [("etd_date", "one-leg-only")]),
            (
                {"service": "into_plukk_storage", "eta_date": None, "etd_date": None},
                [("eta_date", "required")],
            ),
            (
                {"eta_date": "2026-02-02", "etd_date": "2026-02-01"},
                [("etd_date", "departure-before-arrival")],
            ),
            (
                {
                    "eta_date": "2026-02-02",
                    "etd_date": "2026-02-02",
                    "eta_time": "12:00:01",
                    "etd_time": "12:00",
                },
                [("etd_time", "departure-before-arrival")],
            ),
            (
                {"service": "into_plukk_storage", "etd_date": None, "etd_time": "12:00"},
                [("etd_date", "required")],
            ),
            (
                {"service": "into_plukk_storage", "eta_date": None, "eta_driver_name": "Kari"},
                [("eta_date", "required")],
            ),
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_is_told_by_its_field(self, api, organization, method, change, told):
        body = ORDERS.body(organization) | change
        order = OrderFactory(terminal_id=body["terminal_id"], organization=organization)
        before = columns(order), row_counts()
        path = "/orders" if method == "POST" else f"/orders/{order.pk}"
        sent = change if method == "PATCH" else body
        assert blamed(api.generic(method, path, json.dumps(sent), "application/json")) == told
        assert (columns(order), row_counts()) == before

    @pytest.mark.parametrize("leg", ["eta", "etd"])
    @pytest.mark.parametrize(
        ("part", "typed", "value"),
        [
            ("driver", "driver_name", "Kari"),
            ("driver", "driver_phone", "22 22 22 22"),
            ("truck", "truck_plate", "AB12345"),
            ("trailer", "trailer_plate", "AB1234"),
        ],
    )
    def test_is_told_where_something_is_both_registered_and_typed(
        self, api, organization, leg, part, typed, value
    ):
        thing = BY_NAME[f"{part}s"].thing(organization)
        both = {f"{leg}_{part}_id": str(thing.pk), f"{leg}_{typed}": value}
        told = [(f"{leg}_{typed.replace('phone', 'name')}", "registered-or-typed")]
        assert blamed(api.post("/orders", ORDERS.body(organization) | both)) == told

        order = OrderFactory(terminal__organization=organization, **{f"{leg}_{typed}": value})
        one = {f"{leg}_{part}_id": str(thing.pk)}
        assert blamed(api.patch(f"/orders/{order.pk}", one)) == told
        order.refresh_from_db()
        assert getattr(order, f"{leg}_{part}_id") is None

    def test_is_told_beside_the_others(self, api, organization):
        body = ORDERS.body(organization)
        wrong = {"etd_date": None, "eta_driver_name": "Kari"}
        wrong["eta_driver_id"] = str(BY_NAME["drivers"].thing(organization).pk)
        assert blamed(api.post("/orders", body | wrong)) == [
            ("eta_driver_name", "registered-or-typed"),
            ("etd_date", "required"),
        ]


class TestDeleting:
    @pytest.mark.parametrize("leg", ["eta", "etd"])
    @pytest.mark.parametrize("part", ["driver", "truck", "trailer"])
    def test_is_refused_while_an_order_points_to_it(self, api, organization, leg, part):
        resource = BY_NAME[f"{part}s"]
        thing = resource.thing(organization)
        order = OrderFactory(terminal__organization=organization, **{f"{leg}_{part}": thing})
        before = columns(thing), row_counts()
        problem(api.delete(f"{resource.path}/{thing.pk}"), 409, "in-use")
        assert (columns(thing), row_counts()) == before

        assert api.delete(f"/orders/{order.pk}").status_code == 204
        assert api.delete(f"{resource.path}/{thing.pk}").status_code == 204

    def test_is_refused_for_a_terminal_with_orders(self, api, organization):
        order = OrderFactory(terminal__organization=organization)
        problem(api.delete(f"/terminals/{order.terminal_id}"), 409, "in-use")
        assert row_counts()["terminals"] == 1

    @pytest.mark.parametrize("resource", RESOURCES, ids=str)
    def test_finds_nothing_of_another_organization(self, api, resource):
        thing = resource.thing(DriverFactory().organization)
        problem(api.delete(f"{resource.path}/{thing.pk}"), 404)
        assert columns(thing)
