"""What every test of the core may rely on."""

from collections.abc import Iterator

import pytest

from core import health


@pytest.fixture(autouse=True)
def nobody_asked_before() -> Iterator[None]:
    """No probe answers with what it found in another test, or keeps its connection open."""
    yield
    for probe in (health.database, health.valkey):
        probe._asked = None
    health.database._question.close()  # type: ignore[attr-defined]
