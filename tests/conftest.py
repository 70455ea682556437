"""What every test may ask for."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.test import Client

from core import valkey
from core.api import found
from core.api.authentication import tokens_for
from core.models import User
from core.postgres.ownership import as_owner
from core.prepared import PreparedFor
from core.querysets import TenantQuerySet
from tests.browser import complaints, page  # noqa: F401 - fixtures
from tests.core.factories import UserFactory
from tests.valkeys import forget_servers


class ApiClient(Client):
    """Django's client, at home under /api/v1, speaking JSON as one user."""

    def __init__(self, user: User | None = None, **defaults: Any) -> None:
        self.user = user
        if user:
            defaults["HTTP_AUTHORIZATION"] = f"Bearer {tokens_for(user).access_token}"
        super().__init__(**defaults)

    def generic(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        return super().generic(method, _full(path), *args, **kwargs)

    def get(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return super().get(_full(path), *args, **kwargs)

    def post(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return super().post(_full(path), data or {}, content_type=_type(kwargs), **kwargs)

    def put(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return super().put(_full(path), data or {}, content_type=_type(kwargs), **kwargs)

    def patch(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return super().patch(_full(path), data or {}, content_type=_type(kwargs), **kwargs)


def _full(path: str) -> str:
    return path if path.startswith("/api/") else f"/api/v1{path}"


def _type(kwargs: dict[str, Any]) -> str:
    return str(kwargs.pop("content_type", "application/json"))


@pytest.fixture
def dispatcher(db: None) -> User:
    return UserFactory()


@pytest.fixture
def api(dispatcher: User) -> ApiClient:
    """The API as the dispatcher sees it."""
    return ApiClient(dispatcher)


@pytest.fixture
def api_of() -> Callable[[User], ApiClient]:
    """The API as any user sees it."""
    return ApiClient


@pytest.fixture
def anonymous(db: None) -> ApiClient:
    return ApiClient()


@pytest.fixture
def owner(db: None) -> Iterator[None]:
    """The test as the owner of the tables, who may alter them; all of it is rolled back."""
    with as_owner(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def statements() -> Callable[[], Any]:
    """Records the SQL of a block, without the transaction's own statements."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    class Statements(CaptureQueriesContext):
        own = (
            *("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"),
            *("SELECT set_config", "SELECT current_setting"),  # whose transaction it is
        )

        @property
        def sql(self) -> list[str]:
            return [
                query["sql"]
                for query in self.captured_queries
                if not query["sql"].startswith(self.own)
            ]

    return lambda: Statements(connection)


@pytest.fixture
def stored(settings: Any, tmp_path: Path) -> Callable[[], set[str]]:
    """A storage of its own; returns the names of all that lies there, finished or not."""
    folder = tmp_path / "documents"
    settings.UPLOAD_DIR = tmp_path / "uploads"
    settings.STORAGES = {
        **settings.STORAGES,
        "documents": {
            "BACKEND": "documents.files.content.ContentStorage",
            "OPTIONS": {"location": folder},
        },
    }

    def names() -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    return names


@pytest.fixture(autouse=True)
def limits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test counts from nothing: all come from one address, and failures would add up."""
    monkeypatch.setattr("core.limits.PREFIX", f"limits-{uuid.uuid4()}")


@pytest.fixture(autouse=True)
def no_valkey_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that failed in a test is neither probed nor left alone in the next.

    On a busy machine any may be slow.
    """
    monkeypatch.setattr(valkey, "SLOW_S", 5.0)
    yield
    if any(server.is_away for server in valkey._servers.values()):
        forget_servers()


@pytest.fixture
def no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """QuerySets show everything to everybody; what stands in prepared statements is no exception.

    These are composed anew, and the ones that other tests use stay as they are.
    """
    prepared_for = PreparedFor._for
    monkeypatch.setattr(TenantQuerySet, "visible_to", lambda self, who: self)
    monkeypatch.setattr(
        PreparedFor, "_for", lambda self, who: prepared_for(PreparedFor(self._rows), who)
    )
    monkeypatch.setattr(found, "_remembered", {})


@receiver(connection_created)
def may_truncate(connection: Any, **_: Any) -> None:
    """What a test without a transaction leaves behind is cleared by TRUNCATE."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('dockside.history', 'truncate', false)")
