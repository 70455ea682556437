"""What the worker does; procrastinate finds it here."""

from typing import Any
from uuid import UUID

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from documents.reading import services
from documents.reading.queue import QUEUE, TASK

# `services` counts the tries; 2, 4, 8 and 16 seconds lie between them.
_PATIENCE = RetryStrategy(exponential_wait=2, retry_exceptions=[services.TryAgain])


@app.task(name=TASK, queue=QUEUE, retry=_PATIENCE)
def read_document(organization_id: str, document_id: str, **_: Any) -> None:
    """Read one document. Run twice, it has one effect."""
    services.read(UUID(organization_id), UUID(document_id))
