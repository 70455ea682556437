"""FastAPI, async SQLAlchemy 2 and Pydantic 2, as their manuals teach it.

Serves the same addresses with the same rows as ours: `uvicorn benchmarks.peers.fastapi_app:app`.
Related objects come by `selectinload`, the count is exact, answers pass a response model, and the
registry's list is kept in Valkey as the bytes to send.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Literal

import jwt
import redis.asyncio as redis
from fastapi import Depends, FastAPI, HTTPException, Query, Response, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import ForeignKey, Numeric, func, select
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.orm.attributes import set_committed_value
from uuid_utils.compat import uuid7

SECRET_KEY = os.environ["SECRET_KEY"]
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    pool_size=20,
    max_overflow=10,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
cache = redis.from_url(os.environ["REDIS_URL"])


# ------------------------------------------------------------------------------------ the tables


class Base(DeclarativeBase):
    type_annotation_map = {datetime: TIMESTAMP(timezone=True)}


class User(Base):
    __tablename__ = "core_user"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
    username: Mapped[str]
    role: Mapped[str]
    is_active: Mapped[bool]


class Terminal(Base):
    __tablename__ = "terminals_terminal"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
    name: Mapped[str]
    account_code: Mapped[str]
    address: Mapped[str]
    timezone: Mapped[str]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Driver(Base):
    __tablename__ = "fleet_driver"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
    name: Mapped[str]
    phone: Mapped[str]


class Vehicle:
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID]
    license_plate: Mapped[str]
    plate_country: Mapped[str]
    name: Mapped[str]


class Truck(Vehicle, Base):
    __tablename__ = "fleet_truck"


class Trailer(Vehicle, Base):
    __tablename__ = "fleet_trailer"


class Order(Base):
    __tablename__ = "orders_order"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    organization_id: Mapped[uuid.UUID]
    terminal_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Terminal.id))
    reference: Mapped[str]
    service: Mapped[str]
    commodity: Mapped[str | None]
    pallets: Mapped[int | None]
    boxes: Mapped[int | None]
    kilos: Mapped[Decimal | None] = mapped_column(Numeric(9, 2))
    priority: Mapped[bool] = mapped_column(default=False)
    notes: Mapped[str] = mapped_column(default="")
    eta_date: Mapped[date | None]
    eta_time: Mapped[time | None]
    eta_driver_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Driver.id))
    eta_truck_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Truck.id))
    eta_trailer_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Trailer.id))
    eta_driver_name: Mapped[str] = mapped_column(default="")
    eta_driver_phone: Mapped[str] = mapped_column(default="")
    eta_truck_plate: Mapped[str] = mapped_column(default="")
    eta_trailer_plate: Mapped[str] = mapped_column(default="")
    etd_date: Mapped[date | None]
    etd_time: Mapped[time | None]
    etd_driver_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Driver.id))
    etd_truck_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Truck.id))
    etd_trailer_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Trailer.id))
    etd_driver_name: Mapped[str] = mapped_column(default="")
    etd_driver_phone: Mapped[str] = mapped_column(default="")
    etd_truck_plate: Mapped[str] = mapped_column(default="")
    etd_trailer_plate: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="planned")
    arrived_at: Mapped[datetime | None]
    departed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str] = mapped_column(default="")
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))

    terminal: Mapped[Terminal] = relationship()
    eta_driver: Mapped[Driver | None] = relationship(foreign_keys=eta_driver_id)
    eta_truck: Mapped[Truck | None] = relationship(foreign_keys=eta_truck_id)
    eta_trailer: Mapped[Trailer | None] = relationship(foreign_keys=eta_trailer_id)
    etd_driver: Mapped[Driver | None] = relationship(foreign_keys=etd_driver_id)
    etd_truck: Mapped[Truck | None] = relationship(foreign_keys=etd_truck_id)
    etd_trailer: Mapped[Trailer | None] = relationship(foreign_keys=etd_trailer_id)


class OrderDocument(Base):
    __tablename__ = "documents_orderdocument"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Order.id))


Order.documents_count = column_property(
    select(func.count(OrderDocument.id))
    .where(OrderDocument.order_id == Order.id)
    .correlate_except(OrderDocument)
    .scalar_subquery()
)


RELATED = [
    selectinload(Order.terminal),
    selectinload(Order.eta_driver),
    selectinload(Order.eta_truck),
    selectinload(Order.eta_trailer),
    selectinload(Order.etd_driver),
    selectinload(Order.etd_truck),
    selectinload(Order.etd_trailer),
]


# ------------------------------------------------------------------------------------ the shapes


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class TerminalBrief(Out):
    id: uuid.UUID
    name: str
    account_code: str


class TerminalOut(TerminalBrief):
    address: str
    timezone: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class DriverBrief(Out):
    id: uuid.UUID
    name: str
    phone: str


class VehicleBrief(Out):
    id: uuid.UUID
    license_plate: str
    plate_country: str
    name: str


class OrderOut(Out):
    id: uuid.UUID
    reference: str
    service: str
    terminal: TerminalBrief
    commodity: str | None
    pallets: int | None
    boxes: int | None
    kilos: float | None
    priority: bool
    notes: str
    eta_date: date | None
    eta_time: time | None
    eta_driver: DriverBrief | None
    eta_truck: VehicleBrief | None
    eta_trailer: VehicleBrief | None
    eta_driver_name: str
    eta_driver_phone: str
    eta_truck_plate: str
    eta_trailer_plate: str
    etd_date: date | None
    etd_time: time | None
    etd_driver: DriverBrief | None
    etd_truck: VehicleBrief | None
    etd_trailer: VehicleBrief | None
    etd_driver_name: str
    etd_driver_phone: str
    etd_truck_plate: str
    etd_trailer_plate: str
    status: str
    arrived_at: AwareDatetime | None
    departed_at: AwareDatetime | None
    cancelled_at: AwareDatetime | None
    cancel_reason: str
    documents_count: int
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class OrderPage(BaseModel):
    data: list[OrderOut]
    page: int
    per_page: int
    total: int


class TerminalPage(BaseModel):
    data: list[TerminalOut]
    page: int
    per_page: int
    total: int


class OrderIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: str = Field(min_length=1, max_length=32)
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
    pallets: int | None = Field(None, ge=0, le=99_999)
    boxes: int | None = Field(None, ge=0, le=99_999)
    kilos: Decimal | None = Field(None, ge=0, max_digits=9, decimal_places=2)
    priority: bool = False
    notes: str = Field("", max_length=1024)
    eta_date: date | None = None
    eta_time: time | None = None
    eta_driver_id: uuid.UUID | None = None
    eta_truck_id: uuid.UUID | None = None
    eta_trailer_id: uuid.UUID | None = None
    eta_driver_name: str = Field("", max_length=120)
    eta_driver_phone: str = Field("", max_length=32)
    eta_truck_plate: str = Field("", max_length=16)
    eta_trailer_plate: str = Field("", max_length=16)
    etd_date: date | None = None
    etd_time: time | None = None
    etd_driver_id: uuid.UUID | None = None
    etd_truck_id: uuid.UUID | None = None
    etd_trailer_id: uuid.UUID | None = None
    etd_driver_name: str = Field("", max_length=120)
    etd_driver_phone: str = Field("", max_length=32)
    etd_truck_plate: str = Field("", max_length=16)
    etd_trailer_plate: str = Field("", max_length=16)


# ------------------------------------------------------------------------- what views depend on


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
bearer = HTTPBearer()


async def get_user(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)], session: SessionDep
) -> User:
    try:
        claims = jwt.decode(
            credentials.credentials,
            SECRET_KEY,
            algorithms=["HS256"],
            audience="dockside-api",
            issuer="dockside",
        )
    except jwt.InvalidTokenError:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED) from None
    user = await session.get(User, uuid.UUID(claims["user_id"]))
    if user is None or not user.is_active:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED)
    return user


UserDep = Annotated[User, Depends(get_user)]


# ------------------------------------------------------------------------------------- the views


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await cache.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/api/v1/health/ready")
async def ready(session: SessionDep) -> dict[str, str]:
    await session.execute(select(1))
    return {"status": "ok"}


@app.get("/api/v1/orders", response_model=OrderPage)
async def list_orders(
    session: SessionDep,
    user: UserDep,
    terminal_id: uuid.UUID | None = None,
    eta_date: date | None = None,
    page: Annotated[int, Query(ge=1)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, object]:
    chosen = select(Order).where(Order.organization_id == user.organization_id)
    if terminal_id:
        chosen = chosen.where(Order.terminal_id == terminal_id)
    if eta_date:
        chosen = chosen.where(Order.eta_date == eta_date)
    counted = chosen.with_only_columns(func.count(Order.id))
    total = await session.scalar(counted)
    orders = await session.scalars(
        chosen.options(*RELATED)
        .order_by(Order.created_at.desc(), Order.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    return {"data": orders.all(), "page": page, "per_page": per_page, "total": total}


@app.get("/api/v1/orders/{id}", response_model=OrderOut)
async def get_order(session: SessionDep, user: UserDep, id: uuid.UUID) -> Order:
    order = await session.scalar(
        select(Order)
        .where(Order.id == id, Order.organization_id == user.organization_id)
        .options(*RELATED)
    )
    if order is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    return order


REFERENCES = {
    "terminal": Terminal,
    "eta_driver": Driver,
    "eta_truck": Truck,
    "eta_trailer": Trailer,
    "etd_driver": Driver,
    "etd_truck": Truck,
    "etd_trailer": Trailer,
}


@app.post("/api/v1/orders", response_model=OrderOut, status_code=201)
async def create_order(session: SessionDep, user: UserDep, given: OrderIn) -> Order:
    order = Order(**given.model_dump(), organization_id=user.organization_id)
    for name, model in REFERENCES.items():
        key = getattr(given, f"{name}_id")
        if key is not None:
            found = await session.get(model, key)
            if found is None or found.organization_id != user.organization_id:
                raise HTTPException(422, f"{name}_id: there is nothing with this id.")
            setattr(order, name, found)
        else:
            setattr(order, name, None)
    session.add(order)
    try:
        await session.commit()
    except IntegrityError:
        raise HTTPException(409, "reference: this is taken already.") from None
    set_committed_value(order, "documents_count", 0)  # it is new: nothing to ask
    return order


@app.get("/api/v1/terminals", response_model=TerminalPage)
async def list_terminals(
    session: SessionDep,
    user: UserDep,
    page: Annotated[int, Query(ge=1)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    key = f"fastapi:terminals:{user.organization_id}:{page}:{per_page}"
    kept = await cache.get(key)
    if kept is None:
        chosen = select(Terminal).where(Terminal.organization_id == user.organization_id)
        total = await session.scalar(chosen.with_only_columns(func.count(Terminal.id)))
        rows = await session.scalars(
            chosen.order_by(Terminal.name, Terminal.id)
            .limit(per_page)
            .offset((page - 1) * per_page)
        )
        answer = TerminalPage(
            data=[TerminalOut.model_validate(row) for row in rows],
            page=page,
            per_page=per_page,
            total=total or 0,
        )
        kept = answer.model_dump_json().encode()
        await cache.set(key, kept, ex=3600)
    return Response(kept, media_type="application/json")
