"""Starlette, msgspec and asyncpg with SQL written by hand: as fast as Python is usually made.

Serves the same addresses with the same rows as ours: `uvicorn benchmarks.peers.starlette_app:app`.
The ids of a page are found first and joined after, statements stay prepared, the count stops at
10,001, values become Structs by position, and the registry's list is kept in Valkey as bytes.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

import asyncpg
import jwt
import msgspec
import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uuid_utils.compat import uuid7

SECRET_KEY = os.environ["SECRET_KEY"]
MAX_COUNTED = 10_000
pool: asyncpg.Pool
cache = redis.from_url(os.environ["REDIS_URL"])


# ------------------------------------------------------------------------------------ the shapes


class TerminalBrief(msgspec.Struct, gc=False):
    id: str
    name: str
    account_code: str


class TerminalOut(TerminalBrief, gc=False):
    address: str
    timezone: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class Driver(msgspec.Struct, gc=False):
    id: str
    name: str
    phone: str


class Vehicle(msgspec.Struct, gc=False):
    id: str
    license_plate: str
    plate_country: str
    name: str


class OrderOut(msgspec.Struct, gc=False):
    id: str
    reference: str
    service: str
    commodity: str | None
    pallets: int | None
    boxes: int | None
    kilos: float | None
    priority: bool
    notes: str
    eta_date: date | None
    eta_time: time | None
    eta_driver_name: str
    eta_driver_phone: str
    eta_truck_plate: str
    eta_trailer_plate: str
    etd_date: date | None
    etd_time: time | None
    etd_driver_name: str
    etd_driver_phone: str
    etd_truck_plate: str
    etd_trailer_plate: str
    status: str
    arrived_at: datetime | None
    departed_at: datetime | None
    cancelled_at: datetime | None
    cancel_reason: str
    documents_count: int
    version: int
    created_at: datetime
    updated_at: datetime
    terminal: TerminalBrief
    eta_driver: Driver | None
    eta_truck: Vehicle | None
    eta_trailer: Vehicle | None
    etd_driver: Driver | None
    etd_truck: Vehicle | None
    etd_trailer: Vehicle | None


class Page(msgspec.Struct, gc=False):
    data: list[Any]
    page: int
    per_page: int
    total: int


Count = Annotated[int, msgspec.Meta(ge=0, le=99_999)]
Name = Annotated[str, msgspec.Meta(max_length=120)]
Phone = Annotated[str, msgspec.Meta(max_length=32)]
Plate = Annotated[str, msgspec.Meta(max_length=16)]


class OrderIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    service: Literal[
        "reload_car_car", "reload_car_terminal_car", "into_plukk_storage", "cross_dock"
    ]
    terminal_id: uuid.UUID
    commodity: (
        Literal[
            "salmon",
            "salmon_products",
            "salmon_mix",
            "trout",
            "whitefish",
            "bacalao",
            "stockfish",
            "shrimp",
            "other",
        ]
        | None
    ) = None
    pallets: Count | None = None
    boxes: Count | None = None
    kilos: Annotated[float, msgspec.Meta(ge=0, le=9_999_999.99)] | None = None
    priority: bool = False
    notes: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    eta_date: date | None = None
    eta_time: time | None = None
    eta_driver_id: uuid.UUID | None = None
    eta_truck_id: uuid.UUID | None = None
    eta_trailer_id: uuid.UUID | None = None
    eta_driver_name: Name = ""
    eta_driver_phone: Phone = ""
    eta_truck_plate: Plate = ""
    eta_trailer_plate: Plate = ""
    etd_date: date | None = None
    etd_time: time | None = None
    etd_driver_id: uuid.UUID | None = None
    etd_truck_id: uuid.UUID | None = None
    etd_trailer_id: uuid.UUID | None = None
    etd_driver_name: Name = ""
    etd_driver_phone: Phone = ""
    etd_truck_plate: Plate = ""
    etd_trailer_plate: Plate = ""


encoder = msgspec.json.Encoder()
order_decoder = msgspec.json.Decoder(OrderIn)


# --------------------------------------------------------------------------------------- the SQL

OWN = """
    o.id::text, o.reference, o.service, o.commodity, o.pallets, o.boxes, o.kilos::float8,
    o.priority, o.notes,
    o.eta_date, o.eta_time, o.eta_driver_name, o.eta_driver_phone, o.eta_truck_plate,
    o.eta_trailer_plate,
    o.etd_date, o.etd_time, o.etd_driver_name, o.etd_driver_phone, o.etd_truck_plate,
    o.etd_trailer_plate,
    o.status, o.arrived_at, o.departed_at, o.cancelled_at, o.cancel_reason,
    (SELECT count(*) FROM documents_orderdocument d WHERE d.order_id = o.id), o.version,
    o.created_at, o.updated_at
"""
RELATED = """
    t.id::text, t.name, t.account_code,
    ad.id::text, ad.name, ad.phone,
    att.id::text, att.license_plate, att.plate_country, att.name,
    ar.id::text, ar.license_plate, ar.plate_country, ar.name,
    dd.id::text, dd.name, dd.phone,
    dt.id::text, dt.license_plate, dt.plate_country, dt.name,
    dr.id::text, dr.license_plate, dr.plate_country, dr.name
"""
JOINS = """
    JOIN terminals_terminal t ON t.id = o.terminal_id
    LEFT JOIN fleet_driver ad ON ad.id = o.eta_driver_id
    LEFT JOIN fleet_truck att ON att.id = o.eta_truck_id
    LEFT JOIN fleet_trailer ar ON ar.id = o.eta_trailer_id
    LEFT JOIN fleet_driver dd ON dd.id = o.etd_driver_id
    LEFT JOIN fleet_truck dt ON dt.id = o.etd_truck_id
    LEFT JOIN fleet_trailer dr ON dr.id = o.etd_trailer_id
"""
GET = f"""
    SELECT {OWN}, {RELATED} FROM orders_order o {JOINS} WHERE o.id = $1 AND o.organization_id = $2
"""
USER = "SELECT organization_id, is_active FROM core_user WHERE id = $1"
TERMINALS = """
    SELECT id::text, name, account_code, address, timezone, is_active, created_at, updated_at
    FROM terminals_terminal WHERE organization_id = $1 ORDER BY name, id LIMIT {limit} OFFSET $2
"""
COUNT_TERMINALS = "SELECT count(*) FROM terminals_terminal WHERE organization_id = $1"

# What is referred to, all of it in one statement; what is not there is NULL.
REFERRED = f"""
    SELECT {RELATED} FROM (SELECT) one
    LEFT JOIN terminals_terminal t ON t.id = $2 AND t.organization_id = $1
    LEFT JOIN fleet_driver ad ON ad.id = $3 AND ad.organization_id = $1
    LEFT JOIN fleet_truck att ON att.id = $4 AND att.organization_id = $1
    LEFT JOIN fleet_trailer ar ON ar.id = $5 AND ar.organization_id = $1
    LEFT JOIN fleet_driver dd ON dd.id = $6 AND dd.organization_id = $1
    LEFT JOIN fleet_truck dt ON dt.id = $7 AND dt.organization_id = $1
    LEFT JOIN fleet_trailer dr ON dr.id = $8 AND dr.organization_id = $1
"""
REFERENCES = [
    "terminal_id",
    *(f"{leg}_{what}_id" for leg in ("eta", "etd") for what in ("driver", "truck", "trailer")),
]
GIVEN = list(OrderIn.__struct_fields__)
INSERT = f"""
    INSERT INTO orders_order
        (id, organization_id, {", ".join(GIVEN)}, status, cancel_reason, version)
    VALUES ({", ".join(f"${n + 1}" for n in range(len(GIVEN) + 2))}, 'planned', '', 1)
    RETURNING created_at, updated_at
"""


def page_sql(filters: tuple[str, ...], limit: int) -> tuple[str, str]:
    """The statements for a page and for its count; `$1` is the organization."""
    where = " AND ".join(
        f"{name} = ${n}" for n, name in enumerate(("organization_id", *filters), 1)
    )
    ids = f"SELECT id FROM orders_order WHERE {where} ORDER BY created_at DESC, id DESC"
    rows = (
        f"SELECT {OWN}, {RELATED} FROM ({ids} LIMIT {limit} OFFSET ${len(filters) + 2}) page"
        f" JOIN orders_order o USING (id) {JOINS} ORDER BY o.created_at DESC, o.id DESC"
    )
    count = (
        f"SELECT count(*) FROM (SELECT FROM orders_order WHERE {where} LIMIT {MAX_COUNTED + 1}) _"
    )
    return rows, count


def order_of(row: Any) -> OrderOut:
    return OrderOut(*row[:30], *related(row[30:]))


def related(row: Any) -> tuple[Any, ...]:
    return (
        TerminalBrief(*row[0:3]),
        Driver(*row[3:6]) if row[3] else None,
        Vehicle(*row[6:10]) if row[6] else None,
        Vehicle(*row[10:14]) if row[10] else None,
        Driver(*row[14:17]) if row[14] else None,
        Vehicle(*row[17:21]) if row[17] else None,
        Vehicle(*row[21:25]) if row[21] else None,
    )


# ------------------------------------------------------------------------------------- the views


def answer(value: Any, status: int = 200) -> Response:
    return Response(encoder.encode(value), status, media_type="application/json")


async def organization_of(request: Request, connection: Any) -> uuid.UUID:
    """The organization of whoever holds the token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = jwt.decode(
            token if scheme == "Bearer" else "",
            SECRET_KEY,
            algorithms=["HS256"],
            audience="dockside-api",
            issuer="dockside",
        )
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    user = await connection.fetchrow(USER, uuid.UUID(claims["user_id"]))
    if user is None or not user["is_active"]:
        raise HTTPException(401)
    return user["organization_id"]


def number(request: Request, name: str, default: int, most: int) -> int:
    raw = request.query_params.get(name, str(default))
    if not raw.isdigit() or not 1 <= int(raw) <= most:
        raise HTTPException(422)
    return int(raw)


PARSERS = {"terminal_id": uuid.UUID, "eta_date": date.fromisoformat}


async def list_orders(request: Request) -> Response:
    page, per_page = number(request, "page", 1, 10_000), number(request, "per_page", 20, 100)
    filters = tuple(name for name in PARSERS if name in request.query_params)
    try:
        values = [PARSERS[name](request.query_params[name]) for name in filters]
    except ValueError:
        raise HTTPException(422) from None
    rows_sql, count_sql = page_sql(filters, per_page)
    async with pool.acquire() as connection:
        organization = await organization_of(request, connection)
        total = await connection.fetchval(count_sql, organization, *values)
        rows = await connection.fetch(rows_sql, organization, *values, (page - 1) * per_page)
    data = [order_of(row) for row in rows]
    return answer(Page(data, page, per_page, min(total, MAX_COUNTED)))


async def get_order(request: Request) -> Response:
    async with pool.acquire() as connection:
        organization = await organization_of(request, connection)
        row = await connection.fetchrow(GET, request.path_params["id"], organization)
    if row is None:
        raise HTTPException(404)
    return answer(order_of(row))


async def create_order(request: Request) -> Response:
    try:
        given = order_decoder.decode(await request.body())
    except msgspec.ValidationError as error:
        raise HTTPException(422, str(error)) from None
    async with pool.acquire() as connection:
        organization = await organization_of(request, connection)
        wanted = [getattr(given, name) for name in REFERENCES]
        found = related(await connection.fetchrow(REFERRED, organization, *wanted))
        for name, key, there in zip(REFERENCES, wanted, found, strict=True):
            if key is not None and (there is None or there.id is None):
                raise HTTPException(422, f"{name}: there is nothing with this id.")
        key = uuid7()
        values = msgspec.structs.astuple(given)
        try:
            made, changed = await connection.fetchrow(INSERT, key, organization, *values)
        except asyncpg.UniqueViolationError:
            raise HTTPException(409, "reference: this is taken already.") from None
    own = {name: getattr(given, name) for name in GIVEN if name not in REFERENCES}
    referred = {
        name.removesuffix("_id"): what for name, what in zip(REFERENCES, found, strict=True)
    }
    order = OrderOut(
        id=str(key),
        **own,
        **referred,
        status="planned",
        arrived_at=None,
        departed_at=None,
        cancelled_at=None,
        cancel_reason="",
        documents_count=0,  # it is new
        version=1,
        created_at=made,
        updated_at=changed,
    )
    return answer(order, 201)


async def list_terminals(request: Request) -> Response:
    page, per_page = number(request, "page", 1, 10_000), number(request, "per_page", 20, 100)
    async with pool.acquire() as connection:
        organization = await organization_of(request, connection)
        key = f"starlette:terminals:{organization}:{page}:{per_page}"
        kept = await cache.get(key)
        if kept is None:
            total = await connection.fetchval(COUNT_TERMINALS, organization)
            rows = await connection.fetch(
                TERMINALS.format(limit=per_page), organization, (page - 1) * per_page
            )
            kept = encoder.encode(Page([TerminalOut(*row) for row in rows], page, per_page, total))
            await cache.set(key, kept, ex=3600)
    return Response(kept, media_type="application/json")


async def ready(request: Request) -> Response:
    await pool.execute("SELECT 1")
    return answer({"status": "ok"})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    global pool
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=20, max_size=30)
    yield
    await pool.close()
    await cache.aclose()


app = Starlette(
    routes=[
        Route("/api/v1/health/ready", ready),
        Route("/api/v1/orders", list_orders),
        Route("/api/v1/orders", create_order, methods=["POST"]),
        Route("/api/v1/orders/{id:uuid}", get_order),
        Route("/api/v1/terminals", list_terminals),
    ],
    lifespan=lifespan,
)
