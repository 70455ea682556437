"""The same orders for every benchmark: made from a seed, loaded with COPY, kept between runs.

One organization with 40 terminals and 60 orders at each a day up to 2026-11-27, and a tenth as many
of a neighbour, who must not be seen. The last days are planned, what was before has departed. Every
seventh order has one to three documents. So whichever the number, the last days are the same and a
terminal's day fills a page of 50.
"""

import base64
import hashlib
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

import psycopg
from psycopg import sql

FORM = 2  # raise it when other rows come out: databases of an older form are loaded anew
SEED = 20261123
TODAY = date(2026, 11, 23)
LAST_DAY = date(2026, 11, 27)
TERMINALS, PER_TERMINAL_AND_DAY = 40, 60
PER_DAY = TERMINALS * PER_TERMINAL_AND_DAY
DRIVERS, TRUCKS, TRAILERS = 2_000, 1_500, 1_500
PORTS = ("Hitra", "Frøya", "Florø", "Måløy", "Ålesund", "Kristiansund", "Rørvik", "Bodø")
COMMODITIES = ("salmon", "salmon", "salmon_products", "trout", "whitefish", "shrimp", "other")
USERNAME, PASSWORD = "benchmark", "as-fast-as-the-tide-allows"
CHUNK = 2_000
NULL = r"\N"

COLUMNS = {
    "core_organization": "id slug name limit_read limit_write limit_upload",
    "core_user": "id organization_id role username password first_name last_name email"
    " is_superuser is_staff is_active date_joined",
    "terminals_terminal": "id organization_id name account_code address timezone is_active"
    " created_at updated_at",
    "fleet_driver": "id organization_id name phone is_active created_at updated_at",
    "fleet_truck": "id organization_id license_plate plate_country name is_active"
    " created_at updated_at",
    "fleet_trailer": "id organization_id license_plate plate_country name is_active"
    " created_at updated_at",
    "orders_order": "id organization_id terminal_id reference service commodity pallets boxes kilos"
    " priority notes"
    " eta_date eta_time eta_driver_id eta_truck_id eta_trailer_id"
    " eta_driver_name eta_driver_phone eta_truck_plate eta_trailer_plate"
    " etd_date etd_time etd_driver_id etd_truck_id etd_trailer_id"
    " etd_driver_name etd_driver_phone etd_truck_plate etd_trailer_plate"
    " status arrived_at departed_at cancelled_at cancel_reason version created_at updated_at",
}
# No files and no text; the sevenths and thirds of the orders fall on all terminals alike.
DOCUMENTS = """
    INSERT INTO documents_orderdocument (id, organization_id, order_id, type, title, file_name,
        size_bytes, sha256, content_type, thumbnail_sha256, uploaded_by_type, uploaded_by_name,
        version, created_at, updated_at)
    SELECT overlay(made.id::text PLACING '0' || n FROM 35)::uuid, organization_id, made.id, 'cmr',
           '', reference || '.pdf', 1000, encode(sha256((made.id::text || n)::bytea), 'hex'),
           'application/pdf', '', 'user', 'dispatcher', 1, created_at, created_at
      FROM orders_order AS made,
           LATERAL (SELECT right(reference, 8)::integer AS number) AS of,
           generate_series(1, 1 + number % 3) AS n
     WHERE number % 7 = 0
"""
TEXTS = """
    INSERT INTO documents_orderdocumenttext (id, organization_id, document_id, status, pages,
        language, extractor, error, attempts, queued_at, finished_at, created_at, updated_at)
    SELECT id, organization_id, id, 'done', '{}', '', 'pdfium', '', 1, created_at, created_at,
           created_at, created_at
      FROM documents_orderdocument
"""


def id_at(moment: datetime, serial: int) -> str:
    """A UUIDv7 of that moment; another `serial` makes another one."""
    ms = int(moment.timestamp() * 1000)
    tail = hashlib.blake2b(serial.to_bytes(8), digest_size=7).hexdigest()
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{serial & 0xFFF:03x}-8{tail[:2]}0-{tail[2:]}"


@dataclass(frozen=True)
class Tenant:
    """An organization and its registry, as ids."""

    slug: str
    number: int  # keeps the ids of two tenants apart
    terminals: int = TERMINALS

    # It was there before the first order of the largest load.
    since = datetime(2020, 1, 1, 8, 0, tzinfo=UTC)

    def ids(self, kind: int, count: int) -> list[str]:
        first = (self.number * 100 + kind) * 1_000_000
        return [id_at(self.since, first + n) for n in range(count)]

    @property
    def organization(self) -> str:
        return self.ids(0, 1)[0]

    @property
    def terminal_ids(self) -> list[str]:
        return self.ids(1, self.terminals)


HOME = Tenant("benchmark", 1)
NEIGHBOUR = Tenant("neighbour", 2, terminals=4)


@cache
def hashed(password: str) -> str:
    """As Django 5.2 keeps it, so that the user signs in by the front door."""
    salt, times = "benchmarks", 1_000_000
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), times)
    return f"pbkdf2_sha256${times}${salt}${base64.b64encode(key).decode()}"


def registry(tenant: Tenant) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Tables and rows of everything but orders, in the order in which they refer to each other."""
    home, since = tenant.organization, tenant.since.isoformat()
    told = ("Europe/Oslo", "t", since, since)
    yield "core_organization", [(home, tenant.slug, tenant.slug.title(), "", "", "")]
    user = (tenant.ids(5, 1)[0], home, "dispatcher", f"{tenant.slug}", hashed(PASSWORD))
    yield "core_user", [(*user, "", "", "", "f", "f", "t", since)]
    yield (
        "terminals_terminal",
        [
            (key, home, f"{PORTS[n % 8]} {n // 8 + 1}", f"T{n:03}", r"Quay 1\nInner harbour", *told)
            for n, key in enumerate(tenant.terminal_ids)
        ],
    )
    yield (
        "fleet_driver",
        [
            (key, home, f"Driver Nordmann {n}", f"+4790{n:06}", "t", since, since)
            for n, key in enumerate(tenant.ids(2, DRIVERS))
        ],
    )
    for kind, table, letters, count in (
        (3, "fleet_truck", "DK", TRUCKS),
        (4, "fleet_trailer", "TR", TRAILERS),
    ):
        yield (
            table,
            [
                (key, home, f"{letters}{n:05}", "NO", f"Carrier {n % 40}", "t", since, since)
                for n, key in enumerate(tenant.ids(kind, count))
            ],
        )


def order_rows(tenant: Tenant, orders: int) -> Iterator[tuple[str, ...]]:
    """The rows of `orders_order`, oldest first, as COPY takes them."""
    chance = random.Random(SEED + tenant.number)
    home, terminals = tenant.organization, tenant.terminal_ids
    fleet = [tenant.ids(2, DRIVERS), tenant.ids(3, TRUCKS), tenant.ids(4, TRAILERS)]
    per_day = len(terminals) * PER_TERMINAL_AND_DAY
    for n in range(orders):
        back, position = divmod(orders - 1 - n, per_day)  # whole days before the last one
        day = LAST_DAY - timedelta(back)
        made = datetime(day.year, day.month, day.day, 5, tzinfo=UTC) - timedelta(2)
        made += timedelta(seconds=(per_day - position) * 40_000 // per_day, microseconds=n % 997)
        roll = chance.getrandbits(60)
        comes, goes = roll % 50 != 0, roll % 50 != 1  # the two are pick storage
        morning = 4 + roll % 11
        later = day + timedelta(roll // 7 % 4 == 0)
        legs = []
        for there, on, hour in ((comes, day, morning), (goes, later, morning + 1 + roll % 7)):
            pick = chance.getrandbits(40)
            if not there:
                legs.append((NULL,) * 5 + ("",) * 4)
            elif pick % 8:
                leg = (each[pick // 8 % len(each)] for each in fleet)
                legs.append((str(on), f"{hour:02}:{pick % 60:02}", *leg, "", "", "", ""))
            else:
                typed = (f"Hired {pick % 9973}", f"+4791{pick % 999983:06}")
                plates = (f"AB{pick % 89989:05}", f"CD{pick % 79999:05}")
                leg = (str(on), f"{hour:02}:{pick % 60:02}", NULL, NULL, NULL)
                legs.append((*leg, *typed, *plates))
        if comes and goes and later == day and legs[0][1] > legs[1][1]:
            legs[1] = (legs[1][0], legs[0][1], *legs[1][2:])
        yield (
            id_at(made, n + tenant.number * 10**9),
            home,
            terminals[n % len(terminals)],
            f"SO-{n:08}",
            ("cross_dock", "reload_car_car", "reload_car_terminal_car")[roll % 3]
            if comes and goes
            else "into_plukk_storage",
            COMMODITIES[roll // 50 % 7],
            str(1 + roll // 350 % 33),
            NULL if roll // 11 % 3 else str(roll // 13 % 900),
            f"{roll // 17 % 2_400_000 / 100:.2f}",
            "t" if roll // 19 % 20 == 0 else "f",
            "" if roll // 23 % 4 else f"Gate {roll % 9}: call Åse, 2 °C, seal {roll % 99991}",
            *legs[0],
            *legs[1],
            *steps(day, legs[0], legs[1], roll // 29 % 24),
            made.isoformat(),
            made.isoformat(),
        )


def steps(day: date, comes: tuple[str, ...], goes: tuple[str, ...], roll: int) -> tuple[str, ...]:
    """Status, the three instants, the reason and the version of an order of that day."""
    arrived, departed = (
        NULL if leg[0] == NULL else f"{leg[0]} {leg[1]}+01" for leg in (comes, goes)
    )
    if roll == 0:
        return "cancelled", NULL, NULL, f"{day} 03:00+01", "The vessel is late.", "2"
    done = 2 if day < TODAY else roll % 3 if day == TODAY else 0
    if done == 2 and departed != NULL:
        return "departed", arrived, departed, NULL, "", "3"
    if done and arrived != NULL:
        return "arrived", arrived, NULL, NULL, "", "2"
    return "planned", NULL, NULL, NULL, "", "1"


def copy_in(connection: psycopg.Connection, table: str, rows: Iterator[tuple[str, ...]]) -> int:
    """COPY `rows` into `table`; returns how many."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split()))
    copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    count, lines = 0, []
    with connection.cursor() as cursor, cursor.copy(copy) as into:
        for row in rows:
            count += 1
            lines.append("\t".join(row))
            if len(lines) == CHUNK:
                into.write("\n".join(lines) + "\n")
                lines.clear()
        if lines:
            into.write("\n".join(lines) + "\n")
    return count


def load(
    connection: psycopg.Connection, orders: int, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Load everything, within the caller's transaction.

    COPY passes no row-level security: the role is a superuser, or owns tables that do not FORCE it.
    """

    def counted(rows: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
        for n, row in enumerate(rows, 1):
            if n % CHUNK == 0:
                advance(CHUNK)
            yield row

    for tenant, count in ((HOME, orders), (NEIGHBOUR, orders // 10)):
        for table, rows in registry(tenant):
            copy_in(connection, table, iter(rows))
        copy_in(connection, "orders_order", counted(order_rows(tenant, count)))
    connection.execute(DOCUMENTS)
    connection.execute(TEXTS)


def secondary_indexes(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Name and definition of each index of orders that keeps no rule."""
    return connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = 'orders_order'::regclass AND NOT indisunique"
    ).fetchall()


def load_fast(connection: psycopg.Connection, orders: int, advance: Callable[[int], None]) -> None:
    """The same as a superuser into an empty, migrated database: indexes last, without triggers.

    Foreign keys are triggers too; a test loads a few rows with them.
    """
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL maintenance_work_mem = '1GB'")
        indexes = secondary_indexes(connection)
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        load(connection, orders, advance)
        for _, definition in indexes:
            connection.execute(definition)
            advance(orders // 10)
    connection.execute("VACUUM (ANALYZE)")
    connection.execute("CHECKPOINT")


# ------------------------------------------------------------------------------ what is asked for


def full_days(orders: int, count: int) -> list[tuple[str, str]]:
    """Pairs of a terminal and a day on which about 55 orders arrive there, over the last days."""
    days = max(1, min(orders // PER_DAY - 1, count // TERMINALS + 1))
    pairs = [
        (terminal, str(LAST_DAY - timedelta(1 + back)))
        for back in range(days)
        for terminal in HOME.terminal_ids
    ]
    random.Random(SEED).shuffle(pairs)
    return pairs[:count]


def some_orders(connection: psycopg.Connection, count: int) -> list[str]:
    """Ids of orders all over the table, the same each time."""
    rows = connection.execute(
        "SELECT id FROM orders_order WHERE organization_id = %s AND reference = ANY(%s)",
        [HOME.organization, [f"SO-{n:08}" for n in sample(connection, count)]],
    ).fetchall()
    return sorted(str(key) for (key,) in rows)


def sample(connection: psycopg.Connection, count: int) -> list[int]:
    (newest,) = connection.execute(
        "SELECT max(reference) FROM orders_order WHERE organization_id = %s"
        " AND reference LIKE 'SO-%%'",
        [HOME.organization],
    ).fetchone() or ("SO-0",)
    return random.Random(SEED).sample(range(int(newest[3:]) + 1), count)


def new_order(number: int = 0) -> dict[str, object]:
    """A body that creates an order which refers to seven things; `reference` is a place holder."""
    pick = random.Random(SEED + number)
    legs: dict[str, object] = {}
    for leg, at in (("eta", "06:30:00"), ("etd", "10:00:00")):
        legs |= {
            f"{leg}_date": str(LAST_DAY),
            f"{leg}_time": at,
            f"{leg}_driver_id": pick.choice(HOME.ids(2, DRIVERS)),
            f"{leg}_truck_id": pick.choice(HOME.ids(3, TRUCKS)),
            f"{leg}_trailer_id": pick.choice(HOME.ids(4, TRAILERS)),
        }
    return {
        "reference": REFERENCE,
        "service": "cross_dock",
        "terminal_id": pick.choice(HOME.terminal_ids),
        "commodity": "salmon",
        "pallets": 33,
        "boxes": 990,
        "kilos": 19840.5,
        "priority": False,
        "notes": "Gate 4: call Åse",
        **legs,
    }


REFERENCE = "NEW-################"  # the load client puts a number in, of the same length


def forget_new_orders(connection: psycopg.Connection) -> None:
    """Take out what benchmarks created, with its history; as a superuser."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        gone = connection.execute(
            "DELETE FROM orders_order WHERE organization_id = %s"
            " AND reference >= 'NEW-' AND reference < 'NEW.' RETURNING id",
            [HOME.organization],
        ).fetchall()
        connection.execute(
            "DELETE FROM orders_orderevent WHERE pgh_obj_id = ANY(%s)",
            [[uuid.UUID(str(key)) for (key,) in gone]],
        )
    if gone:
        connection.execute("VACUUM (ANALYZE) orders_order, orders_orderevent")
