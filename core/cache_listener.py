"""Hears of every change of what is cached, from whichever door, plain SQL included.

A trigger of each `ReferenceModel` table tells which table and whose rows, on commit. Each serving
process has one thread with one connection that listens and lets the cache forget. What is told
while nobody listens is lost; so whoever begins to listen forgets everything first.
"""

import threading
import uuid

import structlog

from core import cache
from core.postgres import apart

log = structlog.stdlib.get_logger("core.cache")

CHANNEL = "dockside_cache"
EVERYBODY = "*"
LOOKS_UP_EVERY_S = 1.0  # whether it shall end
PAUSE_S = 1.0  # before it connects again

# Rows of one organization only can be changed within its wall; beyond it, of any.
TELL = f"""
    PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME || ' ' || CASE
        WHEN current_setting('dockside.everyone', true) = 'on' THEN '{EVERYBODY}'
        ELSE coalesce(nullif(current_setting('dockside.organization', true), ''), '{EVERYBODY}')
    END);
    RETURN NULL;
"""


class Listener(threading.Thread):
    """Listens until `end`; whatever happens to PostgreSQL, it comes back."""

    def __init__(self) -> None:
        super().__init__(name="cache-listener", daemon=True)
        self._ended = threading.Event()
        # Set while it listens, and all that was missed before is forgotten.
        self.hears = threading.Event()
        self._is_deaf = False

    def end(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes on listening
                if not self._is_deaf:
                    log.warning("cache_listener_deaf", kind=type(error).__name__)
                self._is_deaf = True
                self.hears.clear()
                self._ended.wait(PAUSE_S)

    def _listen(self) -> None:
        with apart.connect("cache") as listening:
            listening.execute(f"LISTEN {CHANNEL}")
            cache.forget_everything()
            self._is_deaf = False
            self.hears.set()
            log.info("cache_listener_hears")
            while not self._ended.is_set():
                heard = listening.notifies(timeout=LOOKS_UP_EVERY_S, stop_after=1)
                for told in {notice.payload for notice in heard}:
                    _pass_on(told)


def start() -> Listener:
    """Begin to listen in this process."""
    listener = Listener()
    listener.start()
    return listener


def _pass_on(told: str) -> None:
    table, _, whose = told.partition(" ")
    resource = cache.resources().get(table)
    if resource is None:
        return
    try:
        organization_id = None if whose == EVERYBODY else uuid.UUID(whose)
    except ValueError:
        organization_id = None
    cache.forget_now(resource, organization_id)
