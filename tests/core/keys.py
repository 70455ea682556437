"""Keys as tests need them."""

from typing import Any

from core import keys
from core.models import ApiKey, Organization, Scope
from tests.conftest import ApiClient


def make_key(organization: Organization, **values: Any) -> tuple[ApiKey, str]:
    values = {"scope": Scope.WRITE, **values}
    return keys.create_key(organization, values.pop("name", "Customer's program"), **values)


def client_with(key: str) -> ApiClient:
    """The API as the program with this key sees it."""
    return ApiClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
