import csv
from datetime import date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import httpx
import pytest

from benchmarks import replay_trips
from core.models import Role
from fleet.models import Driver, Truck
from orders.models import Order
from terminals.models import Terminal
from tests.core.factories import PASSWORD, UserFactory

# The client speaks HTTP to a server in another thread, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

PLAIN = {
    "booking_id": "B1/082021",
    "contract": "Regular",
    "truck_plate": "TN22AR2748",
    "driver_name": "Driver 7330",
    "driver_phone": "+4799000001",
    "destination": "LUCAS TVS LTD-PONDY",
    "destination_code": "PONDY1",
    "arrived_at": "2020/08/28 16:03",
    "ended_at": "2020/08/28 18:30",
    "vehicle_type": "NULL",
    "carrier": "G.S. TRANSPORT",
    "goods": "LETTERING �",
}


@pytest.fixture
def replay(live_server, tmp_path, monkeypatch):
    """Play trips, each told by what differs from PLAIN; returns the exit code."""
    UserFactory(username="replay", role=Role.ADMIN)
    monkeypatch.setenv("DOCKSIDE_PASSWORD", PASSWORD)

    def play(*trips: dict[str, str]) -> int:
        path = tmp_path / "trips.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, PLAIN)
            rows.writeheader()
            rows.writerows(PLAIN | trip for trip in trips)
        return replay_trips.main(
            ["--url", live_server.url, "--username", "replay", "--trips", str(path)]
        )

    return play


class TestReplay:
    def test_stores_a_trip_as_it_was(self, replay):
        assert replay({}) == 0
        order = Order.objects.with_details().get()
        assert (order.terminal.account_code, order.terminal.timezone) == ("PONDY1", "Asia/Kolkata")
        assert (order.eta_date, order.eta_time) == (date(2020, 8, 28), time(16, 3))
        assert (order.etd_date, order.etd_time) == (date(2020, 8, 28), time(18, 30))
        assert (order.eta_truck.license_plate, order.eta_truck.plate_country) == (
            "TN22AR2748",
            "IN",
        )
        assert (order.eta_driver.name, order.eta_driver.phone) == ("Driver 7330", "+4799000001")
        assert order.notes == "LETTERING �\nG.S. TRANSPORT"
        assert order.status == Order.Status.DEPARTED
        assert order.departed_at == datetime(2020, 8, 28, 18, 30, tzinfo=ZoneInfo("Asia/Kolkata"))

    def test_types_what_nobody_registers(self, replay):
        hired = {"contract": "Market", "truck_plate": "tn 02-ap2662", "driver_phone": ""}
        assert replay(hired) == 0
        order = Order.objects.get()
        assert (order.eta_truck_plate, order.eta_driver_name) == ("TN02AP2662", "Driver 7330")
        assert not Truck.objects.exists()
        assert not Driver.objects.exists()

    def test_sends_the_arrival_alone_where_the_trip_ended_before_it(self, replay, capsys):
        assert replay({"ended_at": "2020/08/28 16:02"}) == 0
        order = Order.objects.get()
        assert (order.service, order.etd_date) == (Order.Service.INTO_PLUKK_STORAGE, None)
        assert order.status == Order.Status.ARRIVED
        assert "etd_time: departure-before-arrival" in capsys.readouterr().out

    def test_sends_the_departure_alone_where_there_was_no_arrival(self, replay):
        assert replay({"arrived_at": "NULL"}) == 0
        order = Order.objects.select_related("etd_truck").get()
        assert (order.eta_date, order.etd_truck.license_plate) == (None, "TN22AR2748")
        assert order.status == Order.Status.DEPARTED

    def test_reports_the_faults_of_the_file_and_takes_the_rest(self, replay, capsys):
        trips = (
            {},
            {"goods": "the same booking again"},
            {"booking_id": "B2", "destination_code": ""},
            {"booking_id": "B3", "truck_plate": ".TN52H2331"},
            {"booking_id": "B4", "driver_name": "Driver 1"},
            {"booking_id": "B5", "arrived_at": "1899-12-30 08:13:00.000"},
        )
        assert replay(*trips) == 0
        said = capsys.readouterr().out
        assert "6 trips: 3 accepted, 0 there already." in said
        for why in ("reference: taken", "terminal_id: ", "eta_truck_plate: ", "phone: taken"):
            assert why in said
        assert set(Order.objects.values_list("reference", flat=True)) == {"B1/082021", "B4", "B5"}

    def test_creates_nothing_the_second_time(self, replay, capsys):
        trips = ({}, {"booking_id": "B2", "ended_at": "2020/08/01 00:00"}, {})
        replay(*trips)
        capsys.readouterr()
        models = (Terminal, Driver, Truck, Order)
        before = [list(model.objects.order_by("pk").values()) for model in models]
        assert replay(*trips) == 0
        said = capsys.readouterr().out
        assert "3 trips: 0 accepted, 2 there already." in said
        assert "Registered: 0 terminals, 0 trucks, 0 drivers." in said
        assert [list(model.objects.order_by("pk").values()) for model in models] == before

    @pytest.mark.parametrize(
        "change",
        [
            {"notes": "something else"},
            {"arrived_at": datetime(2020, 8, 28, 10, 34, tzinfo=ZoneInfo("UTC"))},
            {"eta_driver": None},
        ],
    )
    def test_fails_where_the_server_keeps_another_value(self, replay, capsys, change):
        assert replay({}) == 0
        Order.objects.update(**change)
        assert replay({}) == 1
        assert "was not stored as sent" in capsys.readouterr().out


class TestCompareAll:
    def test_fails_where_a_row_changed_or_vanished_after_it_was_acknowledged(self, replay, capsys):
        real = replay_trips.Replay.compare_all

        def meddled(self):
            Order.objects.filter(reference="B1/082021").update(kilos=Decimal("1.00"))
            Order.objects.filter(reference="B2").delete()
            real(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay_trips.Replay, "compare_all", meddled)
            assert replay({}, {"booking_id": "B2"}) == 1
        said = capsys.readouterr().out
        assert "B1/082021: kilos was None, is 1.0" in said
        assert "B2 did not come in the walk" in said


class TestApi:
    @pytest.fixture
    def http(self, live_server):
        with httpx.Client(base_url=live_server.url) as client:
            yield client

    def test_gets_another_token_when_the_present_one_is_refused(self, http):
        UserFactory(username="replay")
        api = replay_trips.Api(http, "replay", PASSWORD)
        api.access = "outlived"
        assert api.call("GET orders", "/api/v1/orders").status_code == 200
        api.access = api.refresh = "outlived"
        assert api.call("GET orders", "/api/v1/orders").status_code == 200

    def test_does_not_go_on_without_signing_in(self, http):
        with pytest.raises(SystemExit, match="cannot sign in: 401"):
            replay_trips.Api(http, "replay", PASSWORD)
