"""The worker beside the server: started again ever more slowly, replaced without a gap."""

import signal

import pytest

from core.management.commands import _beside
from tests.core.test_embedded import has_ended
from tests.waiting import eventually


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_beside.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def worker(monkeypatch, tmp_path, settings):
    """Sleeps in place of reading."""
    (tmp_path / "manage.py").write_text("import time\ntime.sleep(600)\n")
    settings.BASE_DIR = tmp_path
    said = []
    with _beside.worker_beside(said.append) as made:
        made.said = said
        yield made


def die(worker) -> None:
    worker._running.kill()
    worker._running.wait()


def test_is_started_again_ever_more_slowly(worker, clock):
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        die(worker)
        worker.look()
        assert worker._running is None
        clock[0] += pause - 0.1
        worker.look()
        assert worker._running is None
        clock[0] += 0.2
        worker.look()
        assert worker._running.poll() is None
    assert worker.said[1] == "worker: ended by itself, with code -9; again in 2 s"
    clock[0] += 61  # it has run well meanwhile
    die(worker)
    worker.look()
    assert worker.said[-1].endswith("again in 1 s")


def test_is_replaced_while_the_former_ends_what_it_is_at(worker):
    former = worker._running
    worker.replace()
    assert worker._running.pid != former.pid
    assert eventually(lambda: worker.look() or worker._leaving == [])
    assert former.returncode == -signal.SIGTERM


def test_is_ended_by_force_where_it_does_not_end(worker, clock, settings):
    (settings.BASE_DIR / "manage.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open('deaf', 'w').close()\ntime.sleep(600)\n"
    )
    worker.replace()
    assert eventually((settings.BASE_DIR / "deaf").exists)
    (settings.BASE_DIR / "manage.py").write_text("import time\ntime.sleep(600)\n")
    former = worker._running
    worker.replace()
    worker.look()
    assert former.poll() is None
    clock[0] += settings.READING_SECONDS + _beside.STOP_SECONDS
    worker.look()
    assert former.returncode == -signal.SIGKILL
    assert has_ended(former.pid)
