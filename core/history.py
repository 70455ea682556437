"""Who changed what, when and from where: recorded by triggers, whichever way a row was written.

`tracked` gives a model its event table, into which PostgreSQL writes the row as it is after each
change, or was before it was deleted. Who did it stands in the transaction-local setting SETTING,
which `core.tenancy` sends along with the tenant: what has passed the wall has named its door.

Event tables are append-only. `rewriting` is the one way around that, for retention and erasure.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import orjson
import pghistory
import pgtrigger
import structlog
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, migrations, models, transaction
from django.db.models import Q
from django.http import HttpRequest

from core.addresses import client_address

log = structlog.stdlib.get_logger("core.history")

M = TypeVar("M", bound=models.Model)

SETTING = "pghistory.context_metadata"  # the name is the library's
KEEPER = "dockside.history"  # "rewrite", or "truncate" while tests clear their tables

CREATED, CHANGED, DELETED = "insert", "update", "delete"
BASELINE = "baseline"  # how a row stood where its history begins; nobody's deed


# ------------------------------------------------------------------------------ who, from where


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a `user`, an `api_key`, or a `command`; the name is that of the day."""

    type: str
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a change comes from, as it is stored with each event."""

    door: str
    by: Actor | None = None
    request_id: str | None = None
    address: str | None = None

    def as_setting(self) -> str:
        return orjson.dumps(self).decode()


_source: ContextVar[Source | None] = ContextVar("history_source", default=None)


@contextmanager
def through(door: str, **more: Any) -> Iterator[None]:
    """Whatever is written within came through this door: `api`, `admin`, `web` or `command`."""
    token = _source.set(Source(door, **more))
    try:
        yield
    finally:
        _source.reset(token)


def request_door(request: HttpRequest, request_id: str) -> Any:
    """The door that a request comes through; who it is shows later (`acts`)."""
    first = request.path_info.removeprefix("/").partition("/")[0]  # OPTIONS may ask after "*"
    door = first if first in {"api", "admin"} else "web"
    return through(door, request_id=request_id, address=client_address(request) or None)


def actor_of(who: Any) -> Actor | None:
    """Who a request is: a user, or an API key by its name; None is nobody."""
    if getattr(who, "pk", None) is None:
        return None
    if hasattr(who, "get_username"):
        return Actor("user", who.get_username(), str(who.pk))
    return Actor("api_key", who.name, str(who.pk))


def acts(by: Actor | None) -> bool:
    """From here on it is `by` who writes; returns whether that is news."""
    source = _source.get()
    if source is None or source.by == by:
        return False
    _source.set(replace(source, by=by))
    return True


def setting() -> str:
    """What SETTING shall be now; empty where nobody has said which door it is."""
    source = _source.get()
    return source.as_setting() if source else ""


# ------------------------------------------------------------------------------ what is recorded


def _not_while(keeper: str) -> pgtrigger.Condition:
    return pgtrigger.Condition(f"current_setting('{KEEPER}', true) IS DISTINCT FROM '{keeper}'")


def _refuse(what: str) -> str:
    return f"RAISE EXCEPTION 'History is append-only: % is not {what}.', TG_TABLE_NAME;"


def tracked(
    *, exclude: Collection[str] = (), objects: models.Manager[Any] | None = None
) -> Callable[[type[M]], type[M]]:
    """Record every change of the model's rows, but for the columns to `exclude`, in `…Event`.

    Inserts and deletes by statement, updates by row: measured, each the cheaper way. The migration
    that makes the event table also needs `RowSecurity` for it. `objects` is the event's manager.
    """

    def decorate(model: type[M]) -> type[M]:
        name = f"{model.__name__}Event"
        attributes: dict[str, Any] = {"pgh_id": models.BigAutoField(primary_key=True)}
        if objects is not None:
            attributes["objects"] = objects
        unset: Any = None
        track: Any = pghistory.track(
            pghistory.InsertEvent(CREATED, level=pgtrigger.Statement),
            pghistory.UpdateEvent(CHANGED),
            pghistory.DeleteEvent(DELETED, level=pgtrigger.Statement),
            exclude=[*exclude],
            model_name=name,
            # Whose history it is; the row may be gone.
            obj_field=pghistory.ObjForeignKey(related_name="events", db_index=False),
            context_field=pghistory.ContextJSONField(),
            context_id_field=unset,
            attrs=attributes,
            meta={
                "indexes": [
                    # What happened to one row, in order.
                    models.Index(fields=["pgh_obj", "pgh_id"], name=f"{name.lower()}s_of_one"),
                    # What is older than a day; tiny, since events come in order.
                    BrinIndex(fields=["pgh_created_at"], name=f"{name.lower()}s_by_time"),
                ],
                "triggers": [
                    pgtrigger.Trigger(
                        name="append_only",
                        operation=pgtrigger.Update | pgtrigger.Delete,
                        when=pgtrigger.Before,
                        condition=_not_while("rewrite"),
                        func=_refuse("rewritten"),
                    ),
                    pgtrigger.Trigger(
                        name="never_emptied",
                        level=pgtrigger.Statement,
                        operation=pgtrigger.Truncate,
                        when=pgtrigger.Before,
                        condition=_not_while("truncate"),
                        func=_refuse("emptied"),
                    ),
                ],
            },
        )
        return track(model)

    return decorate


def event_models() -> list[Any]:
    """Every event table there is."""
    return sorted(pghistory.core.event_models(), key=lambda model: model._meta.label)


def events_of(model: type[models.Model]) -> Any:
    """The event table of a tracked model."""
    return model.pgh_event_model  # type: ignore[attr-defined]


def stood_at(at: datetime) -> Q:
    """The events up to the instant `at`, of a model with `updated_at`: the newest is how it stood.

    Told by the rows' own clocks, so that asking for a row's `updated_at` finds that very state.
    """
    gone = Q(pgh_label=DELETED)
    return (gone & Q(pgh_created_at__lte=at)) | (~gone & Q(updated_at__lte=at))


def as_it_was(event: Any) -> Any:
    """The row that an event tells of, as an instance that was never read from its table."""
    model = event.pgh_tracked_model
    return model(
        **{field.attname: getattr(event, field.attname) for field in model._meta.concrete_fields}
    )


def rows_at(model: type[M], ids: Collection[Any], at: datetime) -> dict[Any, M]:
    """Rows as they stood at the instant `at`, by id; one statement.

    Where the history begins later the row is as it is now, and where nothing is known it is empty.
    """
    events = events_of(model).objects.filter(stood_at(at), pgh_obj__in=ids)
    newest = events.order_by("pgh_obj_id", "-pgh_id").distinct("pgh_obj_id")
    found = {event.pgh_obj_id: as_it_was(event) for event in newest} if ids else {}
    if missing := set(ids) - set(found):
        found = (
            {key: model(pk=key) for key in missing} | model._base_manager.in_bulk(missing) | found
        )
    return found


class Baseline(migrations.RunPython):
    """As a migration: begin the history of the rows that are there already."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(self._begin, migrations.RunPython.noop)

    def deconstruct(self) -> Any:
        return type(self).__name__, [self.model], {}

    def _begin(self, apps: Any, schema_editor: Any) -> None:
        rows = apps.get_model(self.model)._meta
        events = apps.get_model(f"{self.model}Event")._meta
        quote = schema_editor.quote_name
        columns = ", ".join(
            quote(field.column) for field in events.local_fields if field.name[:4] != "pgh_"
        )
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('dockside.everyone', 'on', true)")
            cursor.execute(
                f"INSERT INTO {quote(events.db_table)}"  # noqa: S608 - names of ours
                f" (pgh_label, pgh_created_at, pgh_obj_id, {columns})"
                f" SELECT '{BASELINE}', clock_timestamp(), id, {columns}"
                f" FROM {quote(rows.db_table)}"
            )
            cursor.execute("SELECT set_config('dockside.everyone', '', true)")


# ----------------------------------------------------------------------- the one way around that


@contextmanager
def rewriting(why: str) -> Iterator[dict[str, int]]:
    """A transaction in which events may be changed and deleted; `why` and what was done is logged.

    The block counts what it does in the dictionary that it is given. Which organizations it
    reaches is a matter of the wall, as everywhere.
    """
    done: dict[str, int] = {}
    with transaction.atomic():
        before = _keep("rewrite")
        yield done
        _keep(before)
        if any(done.values()):
            transaction.on_commit(lambda: log.warning("history_rewritten", why=why, **done))


def _keep(value: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting(%s, true), set_config(%s, %s, true)", [KEEPER, KEEPER, value]
        )
        return cursor.fetchone()[0] or ""
