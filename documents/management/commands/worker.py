"""`worker`: reads uploaded documents until it is told to stop."""

import asyncio
import contextlib
from typing import Any

import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from procrastinate.contrib.django import app

from core.management.commands._base import OperatorCommand
from documents.reading import queue

log = structlog.stdlib.get_logger("documents.worker")


class Command(OperatorCommand):
    help = (
        "Reads documents in the background until SIGTERM or Ctrl-C, and then ends what it is at."
        " Any number may run; what a killed one was at is taken up by another."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--once", action="store_true", help="end when nothing is left to do")

    def handle(self, *args: Any, once: bool = False, **options: Any) -> None:
        with app.replace_connector(app.connector.get_worker_connector()):  # type: ignore[attr-defined]
            asyncio.run(work(once=once))


async def work(*, once: bool) -> None:
    """Run jobs, and look now and then for those that a killed worker left."""
    rescuing = asyncio.create_task(_rescue())
    try:
        async with app.open_async():
            await app.run_worker_async(
                queues=[queue.QUEUE],
                concurrency=settings.WORKER_CONCURRENCY,
                wait=not once,
                delete_jobs="successful",
                fetch_job_polling_interval=settings.WORKER_STALLED_S / 3,
                update_heartbeat_interval=settings.WORKER_STALLED_S / 3,
                stalled_worker_timeout=settings.WORKER_STALLED_S,
            )
    finally:
        rescuing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rescuing


async def _rescue() -> None:
    while True:
        try:
            await sync_to_async(_rescue_now)()
        except DatabaseError as error:  # the next look may do better
            log.warning("rescue_failed", kind=type(error).__name__)
        await asyncio.sleep(settings.WORKER_STALLED_S / 3)


def _rescue_now() -> None:
    close_old_connections()
    if rescued := queue.rescue(settings.WORKER_STALLED_S):
        log.warning("jobs_rescued", count=rescued)
