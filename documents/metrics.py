"""How much waits to be read, looked at now and then by each worker of the server."""

from django.db import connection

from core import metrics
from core.metrics.sampler import every
from documents.reading import queue


@every(15)
def jobs() -> None:
    """Counted over all organizations: the table of jobs holds ids only and has no wall."""
    try:
        waiting, running, failed, oldest = queue.counts()
    finally:
        connection.close()
    metrics.JOBS.labels("waiting").set(waiting)
    metrics.JOBS.labels("running").set(running)
    metrics.JOBS.labels("failed").set(failed)
    metrics.JOBS_OLDEST.set(oldest)
