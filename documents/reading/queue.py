"""Readings that wait: jobs in the same database, made by the transaction that asks for them."""

from uuid import UUID

from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued

from documents.models import OrderDocument

TASK = "documents.read"
QUEUE = "documents"

# A killed worker's jobs wait again. One statement: what another worker has taken up meanwhile is
# skipped. Its procedure is procrastinate's own.
_RESCUE = """
    SELECT procrastinate_retry_job_v2(lost.id, now(), NULL, NULL, NULL) FROM (
        SELECT job.id
          FROM procrastinate_jobs AS job
          LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
         WHERE job.status = 'doing'
           AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %s))
           FOR UPDATE OF job SKIP LOCKED
    ) AS lost
"""
# By the index that procrastinate has for them. What waits is due, whether its time has come or not.
_COUNT = """
    SELECT count(*) FILTER (WHERE status = 'todo'),
           count(*) FILTER (WHERE status = 'doing'),
           count(*) FILTER (WHERE status = 'failed'),
           (SELECT extract(epoch FROM now() - min(event.at))
              FROM procrastinate_jobs AS waiting
              JOIN procrastinate_events AS event ON event.job_id = waiting.id
             WHERE waiting.status = 'todo' AND event.type = 'deferred')
      FROM procrastinate_jobs
     WHERE status IN ('todo', 'doing', 'failed')
"""


def enqueue(document: OrderDocument) -> None:
    """Have the document read, once the transaction is through; once is enough if it waits already.

    The job holds no more than ids, and its organization: it works behind the wall like any request.
    """
    job = app.configure_task(
        TASK,
        queue=QUEUE,
        queueing_lock=f"{TASK}:{document.pk}",
        lock=f"{TASK}:{document.pk}",  # two readings of one document wait for each other
    )
    try:
        with transaction.atomic():
            job.defer(organization_id=str(document.organization_id), document_id=str(document.pk))
    except AlreadyEnqueued:
        pass


def rescue(stalled_s: float) -> int:
    """Let jobs wait again whose worker has not been heard of for so long; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_RESCUE, [stalled_s])
        return len(cursor.fetchall())


def with_jobs(documents: list[UUID]) -> set[UUID]:
    """Those of the documents that a job waits for or is at."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT args->>'document_id' FROM procrastinate_jobs"
            " WHERE status IN ('todo', 'doing') AND task_name = %s AND lock = ANY(%s)",
            [TASK, [f"{TASK}:{each}" for each in documents]],
        )
        return {UUID(each) for (each,) in cursor.fetchall()}


def counts() -> tuple[int, int, int, float]:
    """How many jobs wait, run, and failed, and for how many seconds the oldest has waited."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT)
        waiting, running, failed, oldest = cursor.fetchone()
    return waiting, running, failed, max(0.0, float(oldest or 0))
