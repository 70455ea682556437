"""Query strings, paths and headers that nobody would send by mistake."""

import pytest

from tests.core.answers import blamed, problem
from tests.core.nasty import NASTY
from tests.core.resources import ORDERS, RESOURCES, TERMINALS
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE orders_order; --",
    "1 UNION SELECT password FROM core_user",
    "\\' OR 1=1 --",
    "1; SELECT pg_sleep(10)",
    "'||(SELECT pg_sleep(10))||'",
    "${7*7}{{7*7}}<%= 7*7 %>",
    "$$; SELECT 1; $$",
]


@pytest.fixture
def order(dispatcher):
    return OrderFactory(terminal__organization=dispatcher.organization)


@pytest.mark.parametrize("resource", RESOURCES, ids=str)
class TestAParameter:
    @pytest.mark.parametrize(
        "name",
        [
            "stats",
            "status__in",
            "terminal__organization__name",
            "organization",
            "organization_id",
            "created_by__password__startswith",
            "a[]",
            "a[$ne]",
            "format",
            "_method",
            "page;per_page",
            "limit",
            "x" * 500,
        ],
    )
    def test_that_nobody_offers_is_refused_by_name(self, api, resource, name):
        answer = api.get(resource.path, {name: "x"})
        assert blamed(answer) == [(name[:100], "unknown-parameter")]

    @pytest.mark.parametrize("name", ["page", "per_page", "cursor", "ordering", "q"])
    def test_given_twice_is_refused(self, api, resource, name):
        value = {"ordering": "created_at", "q": "a"}.get(name, "1")
        answer = api.get(f"{resource.path}?{name}={value}&{name}={value}")
        assert (name, "repeated") in blamed(answer)

    @pytest.mark.parametrize("raw", ["q=%ff%fe", "q=%00", "q=a%00b", "page=%00", "%00=1"])
    def test_that_is_no_text_is_refused(self, api, resource, raw):
        problem(api.get(f"{resource.path}?{raw}"), 422, "validation-error")

    @pytest.mark.parametrize(
        "page",
        ["-1", "0", "abc", "1.5", "", "10" * 6, "1" + "0" * 30, "9" * 3_900, "１", " 1", "+1"],
    )
    def test_page_is_a_number_within_reach(self, api, resource, page):
        assert [field for field, _ in blamed(api.get(resource.path, {"page": page}))] == ["page"]

    @pytest.mark.parametrize("size", ["0", "-1", "101", "1000000000", "abc", "", "２０"])
    def test_per_page_is_a_number_up_to_a_hundred(self, api, resource, size):
        answer = api.get(resource.path, {"per_page": size})
        assert [field for field, _ in blamed(answer)] == ["per_page"]

    @pytest.mark.parametrize(
        "ordering",
        [
            "nothing",
            "terminal__name",
            "?",
            "id;drop table",
            "--created_at",
            "",
            ",",
            "organization",
        ],
    )
    def test_ordering_is_one_of_those_offered(self, api, resource, ordering):
        answer = api.get(resource.path, {"ordering": ordering})
        assert [field for field, _ in blamed(answer)] == ["ordering"]

    def test_ordering_by_fifty_fields_is_refused(self, api, resource):
        problem(api.get(resource.path, {"ordering": ",".join(["created_at"] * 50)}), 422)

    @pytest.mark.parametrize("q", ["%", "_", "\\", "%%", "a%"])
    def test_wildcards_stand_for_themselves(self, api, dispatcher, resource, q):
        resource.thing(dispatcher.organization)
        assert api.get(resource.path, {"q": q}).json()["data"] == []

    @pytest.mark.parametrize("q", ["x" * 4_000, " ".join(["ab"] * 1_900), "é" * 201])
    def test_of_endless_text_is_refused(self, api, resource, q):
        assert blamed(api.get(resource.path, {"q": q})) == [("q", "max_length")]


@pytest.mark.parametrize("resource", [ORDERS, TERMINALS], ids=str)
class TestNastyText:
    @pytest.mark.parametrize("text", [*INJECTIONS, *NASTY], ids=lambda text: repr(text)[:24])
    def test_in_a_parameter_breaks_nothing(self, api, dispatcher, resource, text):
        resource.thing(dispatcher.organization)
        for name in ("q", "ordering", "cursor", "name", "terminal_id", "status", "reference"):
            answer = api.get(resource.path, {name: text})
            assert answer.status_code in {200, 422}
            if answer.status_code == 422:
                problem(answer, 422, "validation-error")


@pytest.mark.parametrize("resource", RESOURCES, ids=str)
class TestAnId:
    @pytest.mark.parametrize(
        "key",
        [
            "0",
            "-1",
            "1" + "0" * 30,
            "abc",
            "%00",
            "..%2f..%2fetc%2fpasswd",
            "5.5e-215",
            "4" * 1_000,
            "01890000-0000-7000-8000-000000000000",
            "{01890000-0000-7000-8000-000000000000}",
            "urn:uuid:01890000-0000-7000-8000-000000000000",
            "01890000000070008000000000000000",
            "00000000-0000-0000-0000-000000000000",
            "None",
            "%ff",
            ".json",
            " ",
        ],
    )
    def test_that_names_nothing_is_not_found(self, api, resource, key):
        problem(api.get(f"{resource.path}/{key}"), 404, "not-found")

    def test_may_be_written_in_capitals(self, api, dispatcher, resource):
        thing = resource.thing(dispatcher.organization)
        assert api.get(f"{resource.path}/{str(thing.pk).upper()}").status_code == 200


class TestAnAddress:
    @pytest.mark.parametrize(
        "path", ["/api", "/api/v1", "/api/v2/orders", "/api/v1//orders", "/api/"]
    )
    def test_that_is_none_is_not_found(self, api, path):
        problem(api.get(path), 404, "not-found")

    @pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
    def test_with_a_slash_at_its_end_is_the_same(self, api, order, method):
        paths = {"get": "/orders", "post": "/orders"}
        path = paths.get(method, f"/orders/{order.pk}")
        plain = getattr(api, method)(path).status_code
        order.save()
        assert plain in {200, 204, 400, 422}
        assert getattr(api, method)(f"{path}/").status_code == plain or method == "delete"

    @pytest.mark.parametrize("method", ["TRACE", "FOO", "CONNECT", "OPTIONS", "PUT", "DELETE"])
    def test_knows_its_methods_and_names_them(self, api, method):
        answer = api.generic(method, "/orders")
        problem(answer, 405, "method-not-allowed")
        assert answer["Allow"] == "GET, HEAD, POST"

    def test_takes_no_other_method_from_a_header(self, api, order):
        answer = api.post(
            f"/orders/{order.pk}/arrive", headers={"X-HTTP-Method-Override": "DELETE"}
        )
        assert answer.status_code == 200

    def test_of_a_step_has_no_head(self, api, order):
        assert api.generic("HEAD", f"/orders/{order.pk}/arrive").status_code == 405


class TestAHeader:
    @pytest.mark.parametrize("accept", ["application/xml", "text/html", "image/*"])
    def test_accept_that_rules_json_out_is_told_so(self, api, accept):
        problem(api.get("/orders", headers={"Accept": accept}), 406, "not-acceptable")

    @pytest.mark.parametrize(
        "accept",
        ["*/*", "application/json", "application/*", "application/problem+json", "a," * 3_000],
    )
    def test_accept_that_allows_json_gets_it(self, api, accept):
        answer = api.get("/orders", headers={"Accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://testserver.evil.example", "Access-Control-Request-Method": "POST"},
        ],
    )
    def test_origin_opens_no_door(self, api, headers):
        for answer in (
            api.get("/orders", headers=headers),
            api.generic("OPTIONS", "/orders", headers=headers),
        ):
            assert not [name for name in answer.headers if name.startswith("Access-Control")]

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "a b", "x:y:z"])
    def test_host_that_is_not_ours_is_refused(self, api, host):
        problem(api.get("/orders", headers={"Host": host}), 400, "malformed-request")

    def test_forwarded_host_is_not_believed(self, api, dispatcher):
        OrderFactory.create_batch(2, terminal__organization=dispatcher.organization)
        answer = api.get("/orders?per_page=1", headers={"X-Forwarded-Host": "evil.example"})
        assert answer.json()["next"].startswith("/api/v1/orders?")

    def test_language_of_any_length_is_harmless(self, api):
        for language in ("x" * 8_000, "en-" + "a" * 500, ",".join(["nb"] * 2_000)):
            assert api.get("/orders", headers={"Accept-Language": language}).status_code == 200
