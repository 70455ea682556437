"""The gauges of jobs follow what stands in the table of jobs."""

from typing import Any

import pytest
from django.db import connection, transaction

from core import metrics
from documents import metrics as of_documents

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(monkeypatch):
    """What the page says after another look: waiting, running, failed, and the oldest's age."""
    monkeypatch.setattr(connection, "close", lambda: None)  # it holds the test's transaction

    def told() -> tuple[list[float | None], float]:
        of_documents.jobs()
        read = metrics.REGISTRY.get_sample_value
        states = [
            read("dockside_jobs", {"state": each}) for each in ("waiting", "running", "failed")
        ]
        return states, read("dockside_jobs_oldest_waiting_seconds") or 0.0

    return told


def sql(statement: str, *values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone() if cursor.description else None


def job_of(answer: Any) -> int:
    """The job of an uploaded document."""
    find = "SELECT id FROM procrastinate_jobs WHERE args->>'document_id' = %s"
    (job,) = sql(find, answer.json()["id"])
    return int(job)


def asked_for(job: int, seconds_ago: float) -> None:
    sql(
        "UPDATE procrastinate_events SET at = now() - make_interval(secs => %s)"
        " WHERE job_id = %s AND type = 'deferred'",
        seconds_ago,
        job,
    )


class TestJobs:
    def test_are_none_at_first(self, told):
        assert told() == ([0, 0, 0], 0)

    def test_wait_run_fail_and_are_gone(self, told, upload):
        first, second, third = (job_of(upload(f"{n}.txt", b"Text %d." % n)) for n in range(3))
        for job, ago in ((first, 300), (second, 200), (third, 100)):
            asked_for(job, ago)
        states, oldest = told()
        assert states == [3, 0, 0]
        assert 300 <= oldest < 330

        (worker,) = sql("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        assert sql("SELECT id FROM procrastinate_fetch_job_v2(NULL, %s)", worker) == (first,)
        states, oldest = told()
        assert states == [2, 1, 0]
        assert 200 <= oldest < 230  # what runs waits no longer

        sql("SELECT procrastinate_finish_job_v1(%s, 'failed', false)", first)
        assert told()[0] == [2, 0, 1]

        # One that waits for its next try is as old as when it was asked for.
        assert sql("SELECT id FROM procrastinate_fetch_job_v2(NULL, %s)", worker) == (second,)
        retry = "SELECT procrastinate_retry_job_v2(%s, now() + interval '1 h', NULL, NULL, NULL)"
        sql(retry, second)
        states, oldest = told()
        assert states == [2, 0, 1]
        assert 200 <= oldest < 230

        sql("DELETE FROM procrastinate_jobs")
        assert told() == ([0, 0, 0], 0)

    def test_of_an_upload_that_is_undone_were_never_there(self, told, upload):
        with transaction.atomic():
            assert upload().status_code == 201
            assert told()[0] == [1, 0, 0]
            transaction.set_rollback(True)
        assert told() == ([0, 0, 0], 0)
