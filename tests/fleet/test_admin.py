import json

import pytest

from fleet.models import Driver, Trailer, Truck
from tests.core.admin_pages import as_sent, errors_of, signed_in, text_of
from tests.fleet.factories import DriverFactory, TrailerFactory, TruckFactory
from tests.orders.factories import OrderFactory

pytestmark = pytest.mark.django_db

DRIVERS = "/admin/fleet/driver/"
TRUCKS = "/admin/fleet/truck/"
TRAILERS = "/admin/fleet/trailer/"


@pytest.fixture
def client(dispatcher):
    return signed_in(dispatcher)


class TestForms:
    def test_bring_a_phone_number_into_its_normal_form(self, client, dispatcher):
        client.post(f"{DRIVERS}add/", {"name": " Ola ", "phone": "0047 90 12 34 56"})
        ola = Driver.objects.get()
        assert (ola.name, ola.phone) == ("Ola", "+4790123456")
        assert ola.organization == dispatcher.organization

    def test_in_a_popup_hand_the_new_row_back_to_the_order(self, client):
        popup = client.post(f"{DRIVERS}add/", {"name": "Ola", "_popup": "1"})
        told = json.loads(popup.context_data["popup_response_data"])
        assert told == {"value": str(Driver.objects.get().pk), "obj": "Ola"}

    def test_say_beside_the_field_that_a_phone_number_is_none(self, client):
        refused = client.post(f"{DRIVERS}add/", {"name": "Ola", "phone": "call me"})
        assert errors_of(refused) == {
            "phone": ["Not an international phone number such as +4790123456."]
        }

    @pytest.mark.parametrize(("path", "model"), [(TRUCKS, Truck), (TRAILERS, Trailer)])
    def test_bring_a_plate_into_its_normal_form(self, client, path, model):
        client.post(f"{path}add/", {"license_plate": "ab 12-345", "plate_country": "no"})
        assert str(model.objects.get()) == "AB12345"

    def test_say_beside_the_field_that_a_plate_is_taken(self, client, dispatcher):
        TruckFactory(license_plate="AB12345", organization=dispatcher.organization)
        refused = client.post(f"{TRUCKS}add/", {"license_plate": "AB 12345", "plate_country": "NO"})
        assert errors_of(refused) == {"license_plate": ["This is taken already."]}
        assert Truck.objects.count() == 1

    def test_change_only_what_was_changed(self, client, dispatcher):
        truck = TruckFactory(organization=dispatcher.organization, name="Old one")
        path = f"{TRUCKS}{truck.pk}/change/"
        client.post(path, as_sent(client.get(path), name="Blue one"))
        truck.refresh_from_db()
        assert truck.name == "Blue one"
        touched = truck.updated_at
        client.post(path, as_sent(client.get(path)))
        truck.refresh_from_db()
        assert truck.updated_at == touched


class TestLists:
    def test_overwrite_nobody_and_say_who_changed_what(self, client, api, dispatcher):
        driver = DriverFactory(organization=dispatcher.organization, name="Ola")
        page = f"{DRIVERS}{driver.pk}/change/"
        opened = client.get(page)
        api.patch(f"/api/v1/drivers/{driver.pk}", {"name": "Ola Nordmann"})
        refused = client.post(page, as_sent(opened, phone="+4790123456"))
        errors = errors_of(refused)
        assert f"{dispatcher.username} (api) has changed this" in errors.pop("__all__")[0]
        assert errors == {"name": ["Now: Ola Nordmann"], "phone": ["Now: nothing"]}
        driver.refresh_from_db()
        assert (driver.name, driver.phone) == ("Ola Nordmann", "")
        assert client.post(page, as_sent(client.get(page), name="Kari")).status_code == 302

    def test_find_a_plate_however_it_is_written(self, client, dispatcher):
        for plate in ("AB12345", "CD67890"):
            TruckFactory(license_plate=plate, organization=dispatcher.organization)
        shown = text_of(client.get(TRUCKS, {"q": "ab 12"}))
        assert "AB12345" in shown
        assert "CD67890" not in shown

    @pytest.mark.parametrize("factory", [DriverFactory, TruckFactory, TrailerFactory])
    def test_take_the_same_statements_for_one_row_and_for_thirty(
        self, client, dispatcher, factory, statements
    ):
        path = f"/admin/fleet/{factory._meta.model._meta.model_name}/"
        counts = []
        for more in (1, 29):
            factory.create_batch(more, organization=dispatcher.organization)
            client.get(path)
            with statements() as seen:
                client.get(path)
            counts.append(len(seen.sql))
        assert counts[0] == counts[1]

    def test_survive_what_no_column_can_hold(self, client):
        answer = client.get(DRIVERS, {"name": "a\0b"})
        assert (answer.status_code, answer["Location"]) == (302, f"{DRIVERS}?e=1")


class TestAutocomplete:
    def offered(self, client, term=""):
        query = {"app_label": "orders", "model_name": "order", "field_name": "eta_driver"}
        answer = client.get("/admin/autocomplete/", {**query, "term": term})
        return [row["text"] for row in answer.json()["results"]]

    def test_offers_who_drives_for_the_own_organization_now(self, client, dispatcher):
        DriverFactory(name="Ola", organization=dispatcher.organization)
        DriverFactory(name="Ole", organization=dispatcher.organization, is_active=False)
        DriverFactory(name="Olaf")
        assert self.offered(client, "ol") == ["Ola"]
        assert self.offered(client) == ["Ola"]
        assert self.offered(client, "\0") == ["Ola"]


class TestDeletion:
    def test_of_a_driver_says_which_orders_are_in_the_way(self, client, dispatcher):
        driver = DriverFactory(organization=dispatcher.organization)
        OrderFactory(
            reference="COMES", eta_driver=driver, terminal__organization=dispatcher.organization
        )
        OrderFactory(
            reference="GOES", etd_driver=driver, terminal__organization=dispatcher.organization
        )
        page = text_of(client.post(f"{DRIVERS}{driver.pk}/delete/", {"post": "yes"}))
        assert "Orders:" in page
        assert "COMES" in page
        assert "GOES" in page
        assert Driver.objects.filter(pk=driver.pk).exists()

    def test_of_an_idle_driver_is_done_and_told(self, client, dispatcher):
        driver = DriverFactory(organization=dispatcher.organization)
        done = client.post(f"{DRIVERS}{driver.pk}/delete/", {"post": "yes"}, follow=True)
        assert "was deleted successfully" in text_of(done)
        assert not Driver.objects.exists()
