"""Names that only the server sets, or that are foreign: S11 of docs/reliability.md."""

import json

import pytest

from tests.core.answers import blamed
from tests.core.resources import RESOURCES, columns, row_counts

NAMES = {
    "id": "01a20686-17bd-77a5-adad-7f27f88c19be",
    "organization": "01a20686-17bd-77a5-adad-7f27f88c19be",
    "organization_id": "01a20686-17bd-77a5-adad-7f27f88c19be",
    "version": 7,
    "status": "departed",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "arrived_at": "2020-01-01T00:00:00Z",
    "created_by": 1,
    "is_superuser": True,
    "role": "admin",
    "documents_count": 3,
    "_state": {},
    "pk": 1,
}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("resource", RESOURCES, ids=str)
class TestAForeignName:
    @pytest.fixture
    def send(self, api, dispatcher, resource, method):
        """Sends a good body with these names beside it; nothing may come of it."""
        thing = resource.thing(dispatcher.organization)
        body = resource.body(dispatcher.organization)
        path = resource.path if method == "POST" else f"{resource.path}/{thing.pk}"

        def send(names):
            before = columns(thing), row_counts()
            sent = json.dumps(body | names)
            response = api.generic(method, path, sent, content_type="application/json")
            assert (columns(thing), row_counts()) == before
            return response

        return send

    @pytest.mark.parametrize("name", NAMES)
    def test_is_refused(self, send, name):
        for value in (NAMES[name], None):
            assert blamed(send({name: value})) == [(name, "unknown-field")]

    def test_is_refused_with_all_the_others(self, send):
        assert blamed(send(NAMES)) == sorted((name, "unknown-field") for name in NAMES)


class TestWhatIsShown:
    @pytest.mark.parametrize("resource", RESOURCES, ids=str)
    def test_cannot_be_sent_back_as_it_is(self, api, dispatcher, resource):
        """Nobody may think that a field of an answer was taken where it was ignored."""
        thing = resource.thing(dispatcher.organization)
        shown = api.get(f"{resource.path}/{thing.pk}").json()
        refused = {name for name, _ in blamed(api.put(f"{resource.path}/{thing.pk}", shown))}
        assert {"id", "created_at", "updated_at"} <= refused
        assert not refused & {*resource.input().fields} - {"terminal_id"}
