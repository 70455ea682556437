"""What only the server sets cannot be set by a client, under whatever name it tries."""

import pytest

from tests.core.answers import blamed
from tests.core.resources import RESOURCES, columns, row_counts

pytestmark = pytest.mark.django_db

NAMES = {
    "id": "01890000-0000-7000-8000-000000000000",
    "organization": "01890000-0000-7000-8000-000000000000",
    "organization_id": "01890000-0000-7000-8000-000000000000",
    "version": 99,
    "status": "departed",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "arrived_at": "2020-01-01T00:00:00Z",
    "created_by": "somebody",
    "is_superuser": True,
    "role": "admin",
    "documents_count": 7,
    "_state": {},
    "pk": "01890000-0000-7000-8000-000000000000",
}
EACH = [(name, "unknown-field") for name in sorted(NAMES)]


@pytest.mark.parametrize("resource", RESOURCES, ids=str)
class TestNamesThatOnlyTheServerSets:
    def test_are_refused_by_name_when_something_is_made(self, api, dispatcher, resource):
        body = resource.body(dispatcher.organization)
        before = row_counts()
        assert blamed(api.post(resource.path, body | NAMES)) == EACH
        assert row_counts() == before
        assert api.post(resource.path, body).status_code == 201

    @pytest.mark.parametrize("method", ["put", "patch"])
    def test_are_refused_by_name_when_something_is_changed(self, api, dispatcher, resource, method):
        thing = resource.thing(dispatcher.organization)
        body = resource.body(dispatcher.organization) if method == "put" else {}
        before = columns(thing)
        change = getattr(api, method)
        assert blamed(change(f"{resource.path}/{thing.pk}", body | NAMES)) == EACH
        assert columns(thing) == before

    def test_are_refused_one_by_one(self, api, dispatcher, resource):
        thing = resource.thing(dispatcher.organization)
        before = columns(thing)
        for name, value in NAMES.items():
            answer = api.patch(f"{resource.path}/{thing.pk}", {name: value})
            assert blamed(answer) == [(name, "unknown-field")]
        assert columns(thing) == before
