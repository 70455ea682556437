"""Drivers, trucks and trailers over REST."""

import uuid

import pytest

from fleet.models import Driver, Trailer, Truck
from tests.core.factories import UserFactory
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory
from tests.terminals.factories import TerminalFactory

VEHICLES = [("/trucks", Truck, TruckFactory), ("/trailers", Trailer, TrailerFactory)]
vehicles = pytest.mark.parametrize(
    ("path", "model", "factory"), VEHICLES, ids=["trucks", "trailers"]
)
anything = pytest.mark.parametrize(
    ("path", "model", "factory", "plain"),
    [
        ("/drivers", Driver, DriverFactory, {"name": "Kari"}),
        ("/trucks", Truck, TruckFactory, {"license_plate": "AB12345"}),
        ("/trailers", Trailer, TrailerFactory, {"license_plate": "AB12345"}),
    ],
    ids=["drivers", "trucks", "trailers"],
)


def problem(response):
    body = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (response.status_code, f"/problems/{body['code']}")
    return response.status_code, body["code"]


def blamed(response):
    return {error["field"] for error in response.json().get("errors", [])}


@pytest.fixture
def here(dispatcher):
    return {"organization": dispatcher.organization}


@pytest.fixture
def listed(api):
    """What a list finds, by one of its fields."""

    def listed(path, field):
        response = api.get(path)
        assert response.status_code == 200, response.json()
        return [each[field] for each in response.json()["data"]]

    return listed


class TestDrivers:
    def test_are_made_with_every_default(self, api):
        response = api.post("/drivers", {"name": " Kari "})
        assert response.status_code == 201
        made = response.json()
        assert response["Location"] == f"/api/v1/drivers/{made['id']}"
        assert made == {
            "id": made["id"],
            "name": "Kari",
            "phone": "",
            "is_active": True,
            "created_at": made["created_at"],
            "updated_at": made["created_at"],
        }
        assert api.get(response["Location"]).json() == made

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("+47 901 23 456", "+4790123456"),
            ("0047 90123456", "+4790123456"),
            ("+47-90-12-34-56", "+4790123456"),
            ("+1 (415) 555-2671", "+14155552671"),
            ("+44.20.7946.0958", "+442079460958"),
            (" +4790123456 ", "+4790123456"),
            ("", ""),
            (None, ""),
            ("  ", ""),
        ],
    )
    def test_keep_phones_in_one_form(self, api, given, kept):
        response = api.post("/drivers", {"name": "Kari", "phone": given})
        assert response.status_code == 201
        assert response.json()["phone"] == kept

    @pytest.mark.parametrize(
        "phone",
        [
            "90123456",
            "call me",
            "+",
            "+47",
            "+47 1",
            "+47" + "9" * 40,
            "+999 12345678",
            "+47 90123456 ext. 5",
            4790123456,
            ["+4790123456"],
        ],
    )
    def test_refuse_what_is_no_phone(self, api, phone):
        response = api.post("/drivers", {"name": "Kari", "phone": phone})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"phone"}
        assert not Driver.objects.exists()

    @pytest.mark.parametrize("name", ["", "  ", None, 5, "x" * 121, "a\nb", "a\u202eb", "a\x00"])
    def test_need_a_name(self, api, name):
        response = api.post("/drivers", {"name": name})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"name"}
        assert blamed(api.post("/drivers", {})) == {"name"}
        assert not Driver.objects.exists()

    def test_share_no_phone_within_an_organization(self, api, here):
        DriverFactory(**here, phone="+4790123456")
        for phone in ("+4790123456", "0047 901 23 456"):
            response = api.post("/drivers", {"name": "Ola", "phone": phone})
            assert problem(response) == (409, "conflict")
            assert blamed(response) == {"phone"}
        other = DriverFactory(**here)
        response = api.patch(f"/drivers/{other.pk}", {"phone": "+47 90123456"})
        assert problem(response) == (409, "conflict")
        other.refresh_from_db()
        assert other.phone == ""

    def test_share_names_and_the_lack_of_a_phone(self, api, here):
        DriverFactory(**here, name="Kari")
        DriverFactory(phone="+4790123456")  # another organization's
        for given in ({}, {}, {"phone": "+4790123456"}):
            assert api.post("/drivers", {"name": "Kari", **given}).status_code == 201

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["Kari Nordmann", "Ola", "kari 100%"]),
            ("?name=KARI", ["Kari Nordmann", "kari 100%"]),
            ("?name=%25", ["kari 100%"]),
            ("?phone=9012", ["Kari Nordmann"]),
            ("?phone=%2B47%20901", ["Kari Nordmann"]),
            ("?phone=0047%20901", ["Kari Nordmann"]),
            ("?phone=none", []),
            ("?phone=", ["Kari Nordmann", "Ola", "kari 100%"]),
            ("?q=nord", ["Kari Nordmann"]),
            ("?q=901%2023", ["Kari Nordmann"]),
            ("?q=100%25", ["kari 100%"]),
            ("?is_active=false", ["Ola"]),
            ("?ordering=-name", ["kari 100%", "Ola", "Kari Nordmann"]),
            ("?ordering=phone", ["kari 100%", "Ola", "Kari Nordmann"]),
            ("?ordering=-created_at", ["Ola", "kari 100%", "Kari Nordmann"]),
        ],
    )
    def test_are_found(self, listed, here, query, names):
        DriverFactory(**here, name="Kari Nordmann", phone="+4790123456")
        DriverFactory(**here, name="kari 100%")
        DriverFactory(**here, name="Ola", phone="+46701234567", is_active=False)
        DriverFactory(name="Kari", phone="+4790123456")
        assert listed(f"/drivers{query}", "name") == names


@vehicles
class TestVehicles:
    def test_are_made_with_every_default(self, api, path, model, factory):
        response = api.post(path, {"license_plate": "AB12345"})
        assert response.status_code == 201
        made = response.json()
        assert response["Location"] == f"/api/v1{path}/{made['id']}"
        assert made == {
            "id": made["id"],
            "license_plate": "AB12345",
            "plate_country": "NO",
            "name": "",
            "is_active": True,
            "created_at": made["created_at"],
            "updated_at": made["created_at"],
        }

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("ab 12-345", "AB12345"),
            ("  a b\u00a01–2 ", "AB12"),
            ("å 1", "Å1"),
            ("A\u030a1", "Å1"),
            ("A" * 8 + " - " * 9 + "B" * 8, "A" * 8 + "B" * 8),
        ],
    )
    def test_keep_plates_in_one_form(self, api, path, model, factory, given, kept):
        response = api.post(path, {"license_plate": given})
        assert response.status_code == 201
        assert response.json()["license_plate"] == kept

    @pytest.mark.parametrize(
        "plate",
        [
            "",
            " - ",
            None,
            12345,
            "A" * 17,
            "АВ12345",
            "AB/123",
            "AB_123",
            "AB\x001",
            "AB\u200b1",
            "🚚",
        ],
    )
    def test_refuse_what_is_no_plate(self, api, path, model, factory, plate):
        response = api.post(path, {"license_plate": plate})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"license_plate"}
        assert blamed(api.post(path, {})) == {"license_plate"}
        assert not model.objects.exists()

    @pytest.mark.parametrize(("given", "kept"), [("SE", "SE"), (" dk ", "DK"), ("gb", "GB")])
    def test_know_the_countries_of_the_world(self, api, path, model, factory, given, kept):
        response = api.post(path, {"license_plate": "AB1", "plate_country": given})
        assert response.json()["plate_country"] == kept

    @pytest.mark.parametrize("country", ["XX", "NOR", "N", "", None, 47, "Norway", "ＮＯ"])
    def test_refuse_other_countries(self, api, path, model, factory, country):
        response = api.post(path, {"license_plate": "AB1", "plate_country": country})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {"plate_country"}

    def test_share_no_plate_within_a_country_and_an_organization(
        self, api, here, path, model, factory
    ):
        factory(**here, license_plate="AB12345")
        factory(license_plate="CD1")  # another organization's
        response = api.post(path, {"license_plate": "ab-12 345"})
        assert problem(response) == (409, "conflict")
        assert blamed(response) == {"license_plate"}
        assert model.objects.count() == 2

        swedish = {"license_plate": "AB12345", "plate_country": "SE"}
        made = api.post(path, swedish).json()
        assert made["plate_country"] == "SE"
        response = api.patch(f"{path}/{made['id']}", {"plate_country": "NO"})
        assert problem(response) == (409, "conflict")
        assert api.post(path, {"license_plate": "CD1"}).status_code == 201

    @pytest.mark.parametrize(
        ("query", "plates"),
        [
            ("", ["AB12345", "CD12", "XAB1"]),
            ("?license_plate=ab%2012", ["AB12345"]),
            ("?license_plate=AB-1", ["AB12345", "XAB1"]),
            ("?license_plate=%25", []),
            ("?license_plate=-", []),
            ("?license_plate=", ["AB12345", "CD12", "XAB1"]),
            ("?name=VOLVO", ["CD12"]),
            ("?q=b%201", ["AB12345", "XAB1"]),
            ("?q=volv", ["CD12"]),
            ("?q=volvo%2012", []),
            ("?is_active=false", ["XAB1"]),
            ("?is_active=true&q=ab", ["AB12345"]),
            ("?ordering=-license_plate", ["XAB1", "CD12", "AB12345"]),
            ("?ordering=-created_at", ["XAB1", "CD12", "AB12345"]),
            ("?ordering=-name,license_plate", ["CD12", "AB12345", "XAB1"]),
        ],
    )
    def test_are_found(self, listed, here, path, model, factory, query, plates):
        factory(**here, license_plate="AB12345")
        factory(**here, license_plate="CD12", name="Volvo FH")
        factory(**here, license_plate="XAB1", is_active=False)
        factory(license_plate="AB12345")
        assert listed(f"{path}{query}", "license_plate") == plates


class TestOnePlate:
    def test_may_be_a_trucks_and_a_trailers(self, api):
        given = {"license_plate": "AB12345"}
        assert api.post("/trucks", given).status_code == 201
        assert api.post("/trailers", given).status_code == 201


@anything
class TestAnything:
    def test_is_shown_with_exactly_the_contracts_fields(self, api, path, model, factory, plain):
        shown = {"id", "is_active", "created_at", "updated_at"}
        shown |= {"name", "phone"} if model is Driver else set()
        shown |= set() if model is Driver else {"license_plate", "plate_country", "name"}
        made = api.post(path, plain).json()
        assert set(made) == shown
        assert api.get(path).json()["data"] == [made]

    def test_is_replaced_with_its_defaults(self, api, path, model, factory, plain):
        rich = {"is_active": False, **({"phone": "+4790123456"} if model is Driver else {})}
        rich |= {} if model is Driver else {"name": "Volvo", "plate_country": "SE"}
        address = api.post(path, {**plain, **rich}).json()
        address = f"{path}/{address['id']}"
        replaced = api.put(address, plain).json()
        assert replaced["is_active"] is True
        assert replaced.get("phone", "") == ""
        assert replaced.get("plate_country", "NO") == "NO"
        assert replaced["name"] == plain.get("name", "")
        assert api.get(address).json() == replaced

        response = api.put(address, {"is_active": False})
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == set(plain)
        assert api.get(address).json() == replaced

    def test_is_changed_only_where_it_differs(self, api, here, path, model, factory, plain):
        address = f"{path}/{factory(**here, **plain).pk}"
        before = api.get(address).json()
        for nothing in ({}, plain, {"is_active": True}):
            assert api.patch(address, nothing).json() == before
        after = api.patch(address, {"is_active": False}).json()
        assert {name for name in after if after[name] != before[name]} == {
            "is_active",
            "updated_at",
        }

    @pytest.mark.parametrize(
        "name", ["id", "pk", "organization", "organization_id", "created_at", "updated_at", "color"]
    )
    def test_knows_nothing_of_what_the_server_sets(
        self, api, here, path, model, factory, plain, name
    ):
        thing = factory(**here)
        before = model.objects.filter(pk=thing.pk).values().get()
        for response in (
            api.post(path, {**plain, name: "x"}),
            api.put(f"{path}/{thing.pk}", {**plain, name: "x"}),
            api.patch(f"{path}/{thing.pk}", {name: "x"}),
        ):
            assert problem(response) == (422, "validation-error")
            assert blamed(response) == {name}
        assert model.objects.filter(pk=thing.pk).values().get() == before
        assert model.objects.count() == 1

    def test_of_others_is_not_there(self, api, path, model, factory, plain):
        foreign = factory(**plain)
        before = model.objects.values().get()
        address = f"{path}/{foreign.pk}"
        for response in (
            api.get(address),
            api.get(f"{path}/{uuid.uuid4()}"),
            api.put(address, plain),
            api.patch(address, {"is_active": False}),
            api.delete(address),
        ):
            assert problem(response) == (404, "not-found")
        assert api.get(path).json()["data"] == []
        assert api.get(f"{path}?q={next(iter(plain.values()))}").json()["total"] == 0
        assert model.objects.values().get() == before

    def test_is_deleted_unless_an_order_points_to_it(self, api, here, path, model, factory, plain):
        terminal = TerminalFactory(**here)
        for leg in ("eta", "etd"):
            thing = factory(**here)
            name = f"{leg}_{path[1:-1]}"
            order = OrderFactory(terminal=terminal, **{name: thing})
            response = api.delete(f"{path}/{thing.pk}")
            assert problem(response) == (409, "in-use")
            assert model.objects.filter(pk=thing.pk).exists()

            order.delete()
            response = api.delete(f"{path}/{thing.pk}")
            assert (response.status_code, response.content) == (204, b"")
            assert not model.objects.filter(pk=thing.pk).exists()

    def test_is_not_made_by_who_belongs_nowhere(self, api_of, db, path, model, factory, plain):
        root = api_of(UserFactory(superuser=True))
        for body in (plain, {"color": "blue"}, '{"name": '):
            assert problem(root.post(path, body)) == (403, "permission-denied")
        assert not model.objects.exists()
        thing = factory()
        assert root.patch(f"{path}/{thing.pk}", {"is_active": False}).status_code == 200

    def test_is_refused_to_strangers(self, anonymous, path, model, factory, plain):
        thing = factory()
        for response in (
            anonymous.get(path),
            anonymous.post(path, plain),
            anonymous.delete(f"{path}/{thing.pk}"),
        ):
            assert problem(response) == (401, "not-authenticated")
        assert model.objects.count() == 1

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ("is_active=maybe", "is_active"),
            ("q=a&q=b", "q"),
            ("organization_id=x", "organization_id"),
            ("ordering=updated_at", "ordering"),
            ("ordering=organization__name", "ordering"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, api, db, path, model, factory, plain, query, name):
        response = api.get(f"{path}?{query}")
        assert problem(response) == (422, "validation-error")
        assert blamed(response) == {name}

    def test_walks_by_cursor(self, api, here, path, model, factory, plain):
        factory.create_batch(5, **here)
        for ordering in ("name", "-name", "created_at", "-created_at"):
            address, seen = f"{path}?cursor=&per_page=2&ordering={ordering}", []
            while address:
                page = api.get(address).json()
                seen += [each["id"] for each in page["data"]]
                address = page["next"]
            everything = api.get(f"{path}?ordering={ordering}").json()["data"]
            assert seen == [each["id"] for each in everything]
            assert len(seen) == 5
