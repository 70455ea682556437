"""Plays real truck trips into a running server as a customer's program would, and checks them.

    DOCKSIDE_PASSWORD=… python benchmarks/replay_trips.py --username NAME [--url URL] [--limit N]

Registers the terminals, trucks and drivers of the trips, posts every trip as an order, takes its
steps, walks all orders back by cursor and compares them with what the server acknowledged. A second
run finds everything there. Ends with 1 if a value differs, if the server refused a trip that has
no such fault, took one that has, or failed once. benchmarks/README.md says more.
"""

import argparse
import csv
import math
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

TRIPS = Path(__file__).resolve().parents[2] / "shared" / "real-trips" / "trips.csv"
API = "/api/v1"
CLOCK = ZoneInfo("Asia/Kolkata")
COUNTRY = "IN"
NOTHING = {"", "NULL", "NA"}
SHOWN = 10  # of each kind of failure

Json = dict[str, Any]


# --------------------------------------------------------------------------------------- the trips


@dataclass(frozen=True)
class Trip:
    """A row of the file; `arrived` and `ended` are on the terminal's clock."""

    reference: str
    code: str
    place: str
    plate: str
    driver: str
    phone: str
    is_regular: bool
    arrived: datetime | None
    ended: datetime | None
    notes: str
    is_repeated: bool

    @property
    def key(self) -> tuple[str, str]:
        """What is unique: the reference, without regard to case, in its terminal."""
        return self.code, self.reference.lower()

    @property
    def is_reversed(self) -> bool:
        """The tracker closed the trip before the truck arrived."""
        return bool(self.arrived and self.ended and self.ended < self.arrived)


def read_trips(path: Path, limit: int | None) -> list[Trip]:
    trips: list[Trip] = []
    seen = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            said = {name: "" if text in NOTHING else text.strip() for name, text in row.items()}
            key = said["destination_code"], said["booking_id"].lower()
            notes = (said["goods"], said["vehicle_type"], said["carrier"])
            trips.append(
                Trip(
                    reference=said["booking_id"],
                    code=said["destination_code"],
                    place=said["destination"],
                    plate=said["truck_plate"],
                    driver=said["driver_name"],
                    phone=said["driver_phone"],
                    is_regular=said["contract"] == "Regular",
                    arrived=local_time(said["arrived_at"]),
                    ended=local_time(said["ended_at"]),
                    notes="\n".join(note for note in notes if note),
                    is_repeated=key in seen,
                )
            )
            seen.add(key)
            if len(trips) == limit:
                break
    return trips


def local_time(text: str) -> datetime | None:
    """`2020/08/28 16:03`, or `1899-12-30 08:13:00.000` as two rows have it."""
    return datetime.fromisoformat(text.replace("/", "-")) if text else None


def normal_plate(plate: str) -> str:
    """The form in which the server keeps a plate."""
    return plate.upper().replace(" ", "").replace("-", "")


def is_plate(plate: str) -> bool:
    return normal_plate(plate).isascii() and normal_plate(plate).isalnum()


def instant(local: datetime) -> datetime:
    return local.replace(tzinfo=CLOCK).astimezone(UTC)


# -------------------------------------------------------------------------------------- the server


class Api:
    """The server as one user sees it; how long each kind of request took; what failed.

    A request that is refused is another kind than one that is served.
    """

    def __init__(self, http: httpx.Client, username: str, password: str) -> None:
        self.http = http
        self.credentials = {"username": username, "password": password}
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.server_errors: list[str] = []
        self.lock = Lock()
        self.sign_in()

    def sign_in(self) -> None:
        answer = self._send("POST auth/token", f"{API}/auth/token", json=self.credentials)
        if answer.status_code != 200:
            raise SystemExit(f"cannot sign in: {answer.status_code} {answer.text}")
        self.access, self.refresh = answer.json()["access"], answer.json()["refresh"]

    def call(self, kind: str, address: str, **sent: Any) -> httpx.Response:
        """Send a request; `kind` begins with its method and says under what it is counted."""
        token = self.access
        answer = self._send(kind, address, token, **sent)
        if answer.status_code == 401:
            self._renew(token)
            answer = self._send(kind, address, self.access, **sent)
        if answer.status_code >= 500:
            self.server_errors.append(f"{kind}: {answer.status_code} {answer.text}")
        return answer

    def walk(self, name: str) -> Iterator[Json]:
        """Every row of a list, by cursor."""
        address = f"{API}/{name}?cursor=&per_page=100"
        while address:
            answer = self.call(f"GET {name}?cursor", address).raise_for_status().json()
            yield from answer["data"]
            address = answer["next"]

    def _renew(self, stale: str) -> None:
        """Get another access token, unless another thread has done so."""
        with self.lock:
            if self.access != stale:
                return
            sent = {"refresh": self.refresh}
            answer = self._send("POST auth/token/refresh", f"{API}/auth/token/refresh", json=sent)
            if answer.status_code == 200:
                self.access = answer.json()["access"]
            else:
                self.sign_in()

    def _send(self, kind: str, address: str, token: str = "", **sent: Any) -> httpx.Response:
        headers = sent.pop("headers", {})
        if token:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        begun = time.perf_counter()
        answer = self.http.request(kind.split()[0], address, headers=headers, **sent)
        self.seconds[f"{kind} → {answer.status_code}"].append(time.perf_counter() - begun)
        return answer


# ---------------------------------------------------------------------------------------- the play


@dataclass
class Outcome:
    """What became of the trips."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    acknowledged: dict[str, Json] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Replay:
    def __init__(self, api: Api, trips: Sequence[Trip], threads: int, progress: Progress) -> None:
        self.api, self.trips, self.threads, self.progress = api, trips, threads, progress
        self.outcome = Outcome()
        self.lock = Lock()

    def run(self) -> Outcome:
        self.register_all()
        groups: dict[tuple[str, str], list[Trip]] = defaultdict(list)
        for trip in self.trips:
            groups[trip.key].append(trip)  # those of one reference one after the other
        self.in_parallel("orders", groups.values(), lambda group: [self.play(t) for t in group])
        self.compare_all()
        return self.outcome

    def in_parallel(self, title: str, things: Iterable[Any], work: Callable[[Any], Any]) -> None:
        things = list(things)
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in self.progress.track(
                pool.map(work, things), total=len(things), description=title
            ):
                pass

    # The registry.

    def register_all(self) -> None:
        self.terminals = self.register(
            "terminals",
            lambda row: row["account_code"],
            {
                trip.code: {
                    "account_code": trip.code,
                    "name": f"{trip.place} ({trip.code})",  # one place has several codes
                    "timezone": CLOCK.key,
                }
                for trip in reversed(self.trips)  # of several names of one code, the first
            },
            expects=lambda code: set() if code else {"account_code"},
        )
        self.trucks = self.register(
            "trucks",
            lambda row: (row["license_plate"], row["plate_country"]),
            {
                (normal_plate(trip.plate), COUNTRY): {
                    "license_plate": trip.plate,
                    "plate_country": COUNTRY,
                }
                for trip in self.trips
                if trip.is_regular
            },
            expects=lambda key: set() if is_plate(key[0]) else {"license_plate"},
        )
        names: dict[str, set[str]] = defaultdict(set)
        for trip in self.trips:
            names[trip.phone].add(trip.driver)
        self.drivers = self.register(
            "drivers",
            lambda row: (row["name"], row["phone"]),
            {
                (trip.driver, trip.phone): {"name": trip.driver, "phone": trip.phone}
                for trip in self.trips
                if trip.phone
            },
            expects=lambda key: {"phone"} if len(names[key[1]]) > 1 else set(),
        )

    def register(
        self,
        name: str,
        key_of: Callable[[Json], Any],
        wanted: dict[Any, Json],
        expects: Callable[[Any], set[str]],
    ) -> dict[Any, str]:
        """Create those of `wanted` that are missing; returns the ids of all by their keys.

        `expects` tells the fields for which a key may be refused.
        """
        ids = {key_of(row): row["id"] for row in self.api.walk(name)}

        def create(key: Any) -> None:
            answer = self.api.call(f"POST {name}", f"{API}/{name}", json=wanted[key])
            if answer.status_code == 201:
                ids[key] = answer.json()["id"]
                self.count(name)
            else:
                self.refuse(f"POST {name}", answer, wanted[key], expects(key))

        self.in_parallel(name, [key for key in wanted if key not in ids], create)
        return ids

    # The orders.

    def play(self, trip: Trip) -> None:
        """Post a trip, again without its departure if that is refused, and take its steps."""
        sent = self.order_of(trip)
        order = self.post(trip, sent)
        if order is None and trip.is_reversed:
            sent = self.order_of(trip, with_departure=False)
            order = self.post(trip, sent)
        if order is None:
            return
        order = self.take_steps(trip, order)
        self.outcome.acknowledged[order["id"]] = order
        for difference in differences(trip, sent, order):
            self.fail(f"{trip.reference} was not stored as sent: {difference}")

    def order_of(self, trip: Trip, *, with_departure: bool = True) -> Json:
        """The order as it is sent; the truck belongs to the arrival, if there is one."""
        comes, goes = trip.arrived, trip.ended if with_departure else None
        order: Json = {
            "reference": trip.reference,
            "service": "cross_dock" if comes and goes else "into_plukk_storage",
            "terminal_id": self.terminals.get(trip.code),
            "notes": trip.notes,
        }
        if comes:
            order |= {"eta_date": f"{comes:%Y-%m-%d}", "eta_time": f"{comes:%H:%M}"}
        if goes:
            order |= {"etd_date": f"{goes:%Y-%m-%d}", "etd_time": f"{goes:%H:%M}"}
        leg = "eta" if comes else "etd"
        if truck := self.trucks.get((normal_plate(trip.plate), COUNTRY)):
            order[f"{leg}_truck_id"] = truck
        else:
            order[f"{leg}_truck_plate"] = trip.plate
        if driver := self.drivers.get((trip.driver, trip.phone)):
            order[f"{leg}_driver_id"] = driver
        else:
            order |= {f"{leg}_driver_name": trip.driver, f"{leg}_driver_phone": trip.phone}
        return order

    def post(self, trip: Trip, sent: Json) -> Json | None:
        """The order as the server has it now; None if it was refused."""
        answer = self.api.call("POST orders", f"{API}/orders", json=sent)
        faults = faults_of(trip, sent)
        if answer.status_code == 201:
            self.count("accepted")
            if faults:
                self.fail(f"{trip.reference} was taken in spite of {sorted(faults)}")
            created: Json = answer.json()
            return created
        if answer.status_code == 409 and not trip.is_repeated and not faults:
            present = self.find(sent)
            if present:
                self.count("present")
                return present
        self.refuse("POST orders", answer, sent, faults)
        return None

    def find(self, sent: Json) -> Json | None:
        asked = {name: sent[name] for name in ("reference", "terminal_id")}
        answer = self.api.call("GET orders?reference", f"{API}/orders", params=asked)
        found = answer.raise_for_status().json()["data"]
        return found[0] if found else None

    def take_steps(self, trip: Trip, order: Json) -> Json:
        if trip.arrived and order["eta_date"] and order["status"] == "planned":
            order = self.step("arrive", order, trip.arrived)
        waits = order["status"] == "planned" and not order["eta_date"]
        if trip.ended and order["etd_date"] and (waits or order["status"] == "arrived"):
            order = self.step("depart", order, trip.ended)
        return order

    def step(self, name: str, order: Json, at: datetime) -> Json:
        answer = self.api.call(
            f"POST orders/id/{name}",
            f"{API}/orders/{order['id']}/{name}",
            json={"at": instant(at).isoformat().replace("+00:00", "Z")},
            headers={"If-Match": f'"v{order["version"]}"'},
        )
        if answer.status_code != 200:
            self.refuse(f"POST orders/id/{name}", answer, order, set())
            return order
        stepped: Json = answer.json()
        return stepped

    # The check.

    def compare_all(self) -> None:
        """Walk everything back and compare it value by value with what was acknowledged."""
        expected, seen = self.outcome.acknowledged, set()
        walk = self.progress.track(
            self.api.walk("orders"), total=len(expected), description="compare"
        )
        for row in walk:
            if row["id"] in seen:
                self.fail(f"{row['reference']} came twice in the walk")
            seen.add(row["id"])
            told = expected.get(row["id"], row)
            for name, value in row.items():
                if told[name] != value:
                    self.fail(f"{row['reference']}: {name} was {told[name]!r}, is {value!r}")
        for missing in expected.keys() - seen:
            self.fail(f"{expected[missing]['reference']} did not come in the walk")

    # The books; several threads keep them.

    def refuse(self, kind: str, answer: httpx.Response, sent: Json, faults: set[str]) -> None:
        """Enter a refusal; it must blame fields that are at fault, and no others."""
        try:
            problem = answer.json()
            errors = problem.get("errors", [])
            blamed = {error["field"] for error in errors}
            why = ", ".join(sorted({f"{error['field']}: {error['code']}" for error in errors}))
            code = problem["code"]
        except (ValueError, KeyError, TypeError, AttributeError):
            code, blamed, why = "not a problem document", set(), answer.text[:80]
        with self.lock:
            self.outcome.refused[kind, answer.status_code, code, why] += 1
        if not blamed or not blamed <= faults:
            self.fail(f"{kind} was refused without need: {answer.status_code} {code} {why} {sent}")

    def fail(self, what: str) -> None:
        self.outcome.failures.append(what)

    def count(self, what: str) -> None:
        with self.lock:
            self.outcome.counts[what] += 1


def faults_of(trip: Trip, sent: Json) -> set[str]:
    """The fields for which the server must refuse what is sent of a trip, since they are wrong."""
    faults = set()
    if not trip.code:
        faults.add("terminal_id")
    if trip.is_reversed and "etd_date" in sent:
        faults |= {"etd_date", "etd_time"}
    faults |= {
        name for name in ("eta_truck_plate", "etd_truck_plate") if not is_plate(sent.get(name, "X"))
    }
    # A taken reference is only looked for where the rest is right.
    return faults or ({"reference"} if trip.is_repeated else set())


def differences(trip: Trip, sent: Json, order: Json) -> Iterator[str]:
    """Where the order, as the server has it, is not what was sent and what happened."""
    expected: Json = {}
    for name, value in sent.items():
        if name.endswith("_id"):
            expected[name.removesuffix("_id")] = value
        elif name.endswith("_time"):
            expected[name] = f"{value}:00"
        elif name.endswith("_plate"):
            expected[name] = normal_plate(value)
        else:
            expected[name] = value
    departs = trip.ended if "etd_date" in sent else None
    expected["status"] = "departed" if departs else "arrived"
    expected["arrived_at"] = instant(trip.arrived) if trip.arrived else None
    expected["departed_at"] = instant(departs) if departs else None
    for name, value in expected.items():
        actual = order[name]
        if isinstance(actual, dict):
            actual = actual["id"]
        elif name.endswith("_at") and actual:
            actual = datetime.fromisoformat(actual)
        if actual != value:
            yield f"{name} should be {value!r}, is {actual!r}"


# -------------------------------------------------------------------------------------- the report


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def report(console: Console, outcome: Outcome, api: Api, trips: int, seconds: float) -> None:
    requests = sum(len(times) for times in api.seconds.values())
    counts = outcome.counts
    console.print(
        f"{trips} trips: {counts['accepted']} accepted, {counts['present']} there already."
    )
    made = ", ".join(f"{counts[name]} {name}" for name in ("terminals", "trucks", "drivers"))
    console.print(f"Registered: {made}.")
    console.print(
        f"{requests} requests in {seconds:.1f} s: {requests / seconds:.0f} per second."
        f" Server errors: {len(api.server_errors)}."
    )

    speed = Table("request", box=box.MARKDOWN)
    for title in ("count", "p50 ms", "p99 ms"):
        speed.add_column(title, justify="right")
    for kind, times in sorted(api.seconds.items()):
        figures = [f"{1000 * percentile(times, share):.1f}" for share in (0.5, 0.99)]
        speed.add_row(kind, str(len(times)), *figures)
    console.print(speed)

    refused = Table("refused", "status", "code", "field: code", box=box.MARKDOWN)
    refused.add_column("count", justify="right")
    for (kind, status, code, why), count in sorted(outcome.refused.items()):
        refused.add_row(kind, str(status), code, why, str(count))
    console.print(refused)

    for title, failures in (("server error", api.server_errors), ("FAILURE", outcome.failures)):
        for failure in failures[:SHOWN]:
            console.print(f"{title}: {failure}", markup=False, soft_wrap=True)
        if len(failures) > SHOWN:
            console.print(f"{title}: … and {len(failures) - SHOWN} more")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--username", required=True)
    parser.add_argument("--password", default=os.environ.get("DOCKSIDE_PASSWORD"))
    parser.add_argument("--trips", type=Path, default=TRIPS)
    parser.add_argument("--limit", type=int, help="only the first LIMIT trips")
    parser.add_argument("--threads", type=int, default=4)
    given = parser.parse_args(arguments)
    if not given.password:
        parser.error("give the password in DOCKSIDE_PASSWORD or with --password")

    trips = read_trips(given.trips, given.limit)
    console = Console(width=110)
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    begun = time.perf_counter()
    try:
        with httpx.Client(base_url=given.url, timeout=60) as http, progress:
            api = Api(http, given.username, given.password)
            outcome = Replay(api, trips, given.threads, progress).run()
    except httpx.HTTPError as error:
        raise SystemExit(f"{given.url} does not serve: {error!r}") from error
    report(console, outcome, api, len(trips), time.perf_counter() - begun)
    return 1 if outcome.failures or api.server_errors else 0


if __name__ == "__main__":
    sys.exit(main())
