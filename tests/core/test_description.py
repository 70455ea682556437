"""The OpenAPI description is valid, complete and true, and so is the page that shows it."""

import re
import unicodedata
from collections import Counter
from functools import partial

import pytest
import schemathesis
from django.core.exceptions import ValidationError
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections
from drf_spectacular.drainage import GENERATOR_STATS
from openapi_spec_validator import OpenAPIV30SpecValidator
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.transport.wsgi import WSGITransport

from config.wsgi import application
from core import text
from core.api.patterns import pattern_of
from core.api.problems import PROBLEMS
from core.api.public import description
from core.api.tokens import tokens_for
from tests.core.factories import UserFactory
from tests.core.resources import RESOURCES
from tests.core.routes import OPERATIONS, PRIVATE


@pytest.fixture
def document(client):
    response = client.get("/api/v1/schema")
    assert response["Content-Type"] == "application/json"
    return response.json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path.removeprefix("/api/v1"), method.upper(), operation


class TestTheDescription:
    def test_is_openapi_3_0_3_without_a_fault(self, document):
        assert document["openapi"] == "3.0.3"
        assert not [*OpenAPIV30SpecValidator(document).iter_errors()]

    def test_is_made_without_a_warning_and_the_same_each_time(self):
        first = description()
        description.cache_clear()
        GENERATOR_STATS.reset()
        with GENERATOR_STATS.silence():
            assert description() == first
        assert not GENERATOR_STATS

    def test_has_every_operation_that_there_is(self, document):
        described = {(path, method) for path, method, _ in operations(document)}
        pages = {("/schema", "GET"), ("/docs", "GET")}  # the description, and the page about it
        served = {(route.path, method) for route, method in OPERATIONS if method != "HEAD"}
        assert described == served - pages

    def test_names_each_operation_once_and_files_it_under_a_tag(self, document):
        names = Counter(operation["operationId"] for _, _, operation in operations(document))
        assert set(names.values()) == {1}
        for path, _, operation in operations(document):
            assert operation["tags"] == [
                "documents" if "/documents" in path else path.split("/")[1]
            ]

    def test_says_where_one_has_to_sign_in(self, document):
        private = {(route.path, method) for route, method in PRIVATE}
        for path, method, operation in operations(document):
            asked = operation.get("security", [])
            assert ({"bearer": []} in asked) == ((path, method) in private)

    def test_has_one_form_for_every_refusal(self, document):
        for path, _, operation in operations(document):
            for status, response in operation["responses"].items():
                if int(status) >= 400 and not path.startswith("/health"):
                    (kind,) = response["content"]
                    assert kind == "application/problem+json"
                    assert response["content"][kind]["schema"]["$ref"].endswith("/Problem")
                    assert all(
                        PROBLEMS[code].status == int(status)
                        for code in response["description"].split(" / ")
                    )

    def test_lists_the_problems_of_the_contract(self, document):
        problem = document["components"]["schemas"]["Problem"]
        assert problem["properties"]["code"]["enum"] == list(PROBLEMS)

    def test_allows_no_field_that_is_refused(self, document):
        schemas = document["components"]["schemas"]
        given = {name for name in schemas if name.endswith("Request")}
        assert given
        assert all(schemas[name]["additionalProperties"] is False for name in given)


class TestThePatterns:
    CHARACTERS = [*map(chr, range(0x3100)), *map(chr, range(0xFE00, 0x10000))]
    SAID = {*"\xad\u061c\u200b\u200c\u200d\u200e\u200f\ufeff", *map(chr, range(0x202A, 0x2070))}

    def is_too_rare(self, normal, char):
        """What the description leaves out, lest it be unreadable."""
        kind = unicodedata.category(char)
        if kind == "Cf":
            return char not in self.SAID
        if normal is text.plate:  # accents by themselves, the signs for kelvin and ångström
            ligatures = {*map(chr, range(0xFB00, 0xFB07))}
            return kind in {"Mn", "Pd", "Zs"} or char in {"\u212a", "\u212b", *ligatures}
        return char == "\u2065"  # not a character yet

    def refuses(self, normal, value, *, may_be_empty):
        try:
            return not normal(value) and not may_be_empty
        except ValidationError:
            return True

    @pytest.mark.parametrize("may_be_empty", [False, True], ids=["required", "optional"])
    @pytest.mark.parametrize(
        "normal", [text.line, text.notes, text.plate], ids=lambda n: n.__name__
    )
    def test_take_what_is_taken(self, normal, may_be_empty):
        pattern = re.compile(pattern_of(normal, 16, may_be_empty=may_be_empty))
        wrong = []
        for char in self.CHARACTERS:
            for value in (char, f"A{char}B", f"{char}A", f"A{char}", f" {char} "):
                taken = not self.refuses(normal, value, may_be_empty=may_be_empty)
                if bool(pattern.search(value)) != taken:
                    wrong.append(char)
        assert not [char for char in wrong if not self.is_too_rare(normal, char)]

    @pytest.mark.parametrize("most", [16, 32, 1024])
    def test_count_what_counts(self, most):
        line = partial(re.search, pattern_of(text.line, most, may_be_empty=False))
        assert line("a" * most)
        assert line(f"  {'a' * most}\t\n")
        assert not line("a" * (most + 1))
        assert not line(f"a{' ' * (most - 1)}a")
        plate = partial(re.search, pattern_of(text.plate, most, may_be_empty=True))
        assert plate(" - ".join("A" * most))
        assert plate(" - ")
        assert not plate("A" * (most + 1))

    def test_know_countries_by_their_form(self):
        country = partial(re.search, pattern_of(text.country, 2, may_be_empty=False))
        assert country("NO")
        assert country(" no ")
        assert not country("")
        assert not country("NOR")


class TestTheDocsPage:
    @pytest.fixture
    def page(self, client):
        return client.get("/api/v1/docs").content.decode()

    def assets(self, page):
        return re.findall(r'(?:src|href)="([^"]+)"', page)

    def test_asks_for_nothing_from_another_host(self, page):
        assert not re.search(r"(https?:)?//", page)
        assert self.assets(page)
        assert all(asset.startswith(("/static/", "/api/v1/docs?")) for asset in self.assets(page))

    def test_is_the_same_with_a_last_slash(self, client, page):
        assert client.get("/api/v1/docs/").content.decode() == page

    def test_finds_what_it_asks_for(self, client, page):
        for asset in self.assets(page):
            response = client.get(asset)
            assert response.status_code == 200
            content = b"".join(response) if response.streaming else response.content
            if asset.endswith(".css"):
                assert not re.search(rb"(url\(|@import )[\"']?(https?:)?//", content)

    def test_shows_our_description_and_asks_no_validator(self, client, page):
        (address,) = (asset for asset in self.assets(page) if "script" in asset)
        script = client.get(address).content.decode()
        assert 'url: "/api/v1/schema"' in script.replace("\\u002D", "-")
        # Only the standalone layout has the badge that would send the description to a validator.
        assert 'layout: "BaseLayout"' in script
        assert "Standalone" not in script
        assert not re.search(r"https?://", script)


# What JSON Schema cannot say of a request, so that one that fits it may be refused with 422: which
# ids there are, rules between fields and parameters, what only a table knows.
UNSAYABLE = {
    "unknown-reference",
    "registered-or-typed",
    "one-leg-only",
    "departure-before-arrival",
    "skipped-time",
    "in-future",
    "invalid-phone",
    "unknown-country",
    "unknown-timezone",
    "max_decimal_places",
    "reversed",
    "page-or-cursor",
    "too-deep",
    "repeated",
}
UNSAYABLE_OF_FIELDS = {
    ("eta_date", "required"),
    ("etd_date", "required"),
    ("cursor", "invalid"),
    ("kilos", "max_digits"),
}
MAX_EXAMPLES = 5

# `positive_data_acceptance`: see UNSAYABLE, and the check that keeps 422 to it; 412 is for an
# If-Match that names no version. `negative_data_rejection`: a stale If-Match comes before the
# fields (412), so a body that is wrong as well is told so later.
EXPECTED = {
    "positive_data_acceptance": "2xx 3xx 401 403 404 409 412 422 5xx",
    "negative_data_rejection": "400 401 403 404 405 406 409 412 413 415 422 5xx",
}


@pytest.fixture
def api_in_process(db, monkeypatch):
    """The WSGI application for other threads, in the transaction of this test."""
    ours = connections["default"]
    ours.inc_thread_sharing()
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)

    def serve(environ, start_response):
        connections["default"] = ours
        return application(environ, start_response)

    send = WSGITransport.send

    def send_without_sockets(self, case, *, session=None, **settings):
        # schemathesis 4.32.5 forgets to leave these out where it repeats a request.
        for name in ("max_redirects", "verify", "cert", "proxies"):
            settings.pop(name, None)
        return send(self, case, session=session, **settings)

    monkeypatch.setattr(WSGITransport, "send", send_without_sockets)
    yield serve
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    ours.dec_thread_sharing()


@pytest.fixture
def refusals():
    """A check of our own: what fits the description is refused only for what it cannot say."""
    name = "refuses_only_what_a_schema_cannot_say"

    def refuses_only_what_a_schema_cannot_say(ctx, response, case):
        fits = case.meta and case.meta.generation.mode == GenerationMode.POSITIVE
        if fits and response.status_code == 422:
            told = {(error["field"], error["code"]) for error in response.json()["errors"]}
            unsayable = {each for each in told if each[1] in UNSAYABLE} | UNSAYABLE_OF_FIELDS
            assert told <= unsayable, told

    schemathesis.check(refuses_only_what_a_schema_cannot_say)
    yield name
    schemathesis.checks.CHECKS.unregister(name)


class TestTheApi:
    def test_does_what_the_description_says(self, api_in_process, refusals):
        """Every check of schemathesis, in all its phases, as a dispatcher with something to see."""
        user = UserFactory()
        for resource in RESOURCES:
            resource.thing(user.organization)
        settings = {
            "seed": 2026,
            "workers": 1,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {tokens_for(user).access_token}"},
            "generation": {
                "max-examples": MAX_EXAMPLES,
                "deterministic": True,
                "no-shrink": True,
                "database": "none",
            },
            "checks": {
                name: {"expected-statuses": statuses.split()} for name, statuses in EXPECTED.items()
            },
        }
        api = schemathesis.openapi.from_wsgi(
            "/api/v1/schema", api_in_process, config=SchemathesisConfig.from_dict(settings)
        )
        faults, tried, ran = [], Counter(), set()
        for event in from_schema(api).execute():
            if isinstance(event, events.NonFatalError | events.FatalError):
                faults.append(str(getattr(event, "info", event)))
            elif isinstance(event, events.ScenarioFinished):
                tried[event.recorder.label] += len(event.recorder.interactions)
                for checks in event.recorder.checks.values():
                    ran |= {check.name for check in checks}
                    faults += [
                        f"{event.recorder.label}: {check.name}: {failure.failure.message}\n"
                        f"{failure.code_sample}"
                        for check in checks
                        if (failure := check.failure_info)
                    ]
        assert not faults, "\n\n".join(faults[:20])
        described = {f"{method} /api/v1{path}" for path, method, _ in operations(api.raw_schema)}
        assert described <= set(tried)
        assert {
            refusals,
            "positive_data_acceptance",
            "negative_data_rejection",
            "ignored_auth",
        } <= ran
