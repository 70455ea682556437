"""Answers about reference data, ready to send, kept in Valkey until something changes.

Each organization has one hash per resource; a field is one answer, named by a digest of all that it
depends on. A hash lives for an hour at most, and whoever drops it drops all of its answers:

    reading = cache.look(Place("drivers", organization.pk, "…"))
    body = reading.found
    if body is None:
        body = reading.loaded = load()
    reading.finish()  # keeps what was loaded; better after the answer has been sent

    cache.forget("drivers", organization.pk)  # on commit; None for all organizations

What may be relied on:

- What was read before a commit is never kept after that commit's `forget`: a hash has a random
  `generation`, and an answer is only taken into the generation that was seen before it was loaded.
- Of those who miss the same answer at once, in all processes, one loads it, for as long as LOCK_S;
  the others look again for a fraction of a second, and then load for themselves.
- In a transaction that has changed the resource itself, nothing is read and nothing kept.
- Without Valkey everybody loads; what it missed is made good before it is asked again.
- Hostile questions cannot fill Valkey: a hash that outgrows MAX_BYTES begins anew.
- What others have written there is no answer: each is sealed for its place with a key of this
  installation. It is loaded anew and written over, whatever its type.

docs/cache.md tells how the API uses it, and docs/decisions/0020-cache.md why it is so.
"""

import hashlib
import hmac
import random
import secrets
import time
import uuid
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog
from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from redis import Redis

from core import valkey
from core.valkey import Away, Script, stats

__all__ = ["Place", "Reading", "digest", "forget", "forget_now", "look", "resources", "stats"]

log = structlog.stdlib.get_logger("core.cache")

PREFIX = "dockside:cache"
KEPT_S = 3600  # and up to a tenth less, so that not all is loaded anew at once
LOCK_S = 5.0
PAUSES_S = (0.01, 0.03, 0.08)  # before each new look for what somebody else loads
MAX_BYTES = 2_097_152  # of one hash
MAX_ANSWER_BYTES = 262_144
SEAL_BYTES = 16
FIELD_BYTES = 200  # what a field costs besides its answer

# Both get the epoch of the resource and the hash. A new epoch ends the hashes of all organizations.
_LOOK = Script("""
    local epoch = redis.pcall('GET', KEYS[1])
    if type(epoch) ~= 'string' then
        epoch = ARGV[2]
        redis.call('SET', KEYS[1], epoch)
    end
    local lock = 'lock:' .. ARGV[1]
    local kept = redis.pcall('HMGET', KEYS[2], 'epoch', 'generation', ARGV[1], lock)
    if kept[1] ~= epoch then
        redis.call('DEL', KEYS[2])
        redis.call('HSET', KEYS[2], 'epoch', epoch, 'generation', ARGV[2], 'bytes', 0)
        redis.call('PEXPIRE', KEYS[2], ARGV[3])
        kept = {epoch, ARGV[2], false, false}
    end
    if kept[3] then
        return {kept[2], kept[3], 0}
    end
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local until_ms = tonumber(kept[4] or 0)
    if until_ms and until_ms > now and until_ms <= now + ARGV[4] then
        return {kept[2], false, 0}
    end
    redis.call('HSET', KEYS[2], lock, string.format('%.0f', now + ARGV[4]))
    return {kept[2], false, 1}
""")
_FINISH = Script("""
    local epoch = redis.pcall('GET', KEYS[1])
    local kept = redis.pcall('HMGET', KEYS[2], 'epoch', 'generation')
    if type(epoch) ~= 'string' or kept[1] ~= epoch or kept[2] ~= ARGV[2] then
        return 0
    end
    redis.call('HDEL', KEYS[2], 'lock:' .. ARGV[1])
    if ARGV[3] == '' then
        return 0
    end
    local bytes = redis.pcall('HINCRBY', KEYS[2], 'bytes', #ARGV[3] + ARGV[4])
    if type(bytes) ~= 'number' or bytes > tonumber(ARGV[5]) then
        redis.call('DEL', KEYS[2])
        return 0
    end
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
    return 1
""")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is kept; `field` is a `digest` of whatever else it depends on."""

    resource: str
    organization_id: uuid.UUID
    field: str

    @property
    def keys(self) -> list[str]:
        return [_epoch(self.resource), _hash(self.resource, self.organization_id)]


@dataclass(slots=True)
class Reading:
    """One look into the cache: `found` is the answer, or None, and then it is to be `loaded`."""

    place: Place
    found: bytes | None = None
    loaded: bytes | None = None
    outcome: str = "bypass"  # or "hit", "miss", "away"
    generation: bytes | None = None
    holds_lock: bool = False

    def finish(self) -> None:
        """Keep what was loaded, or let others load it; once, and never an error."""
        generation, self.generation = self.generation, None
        value = self.loaded or b""
        if len(value) > MAX_ANSWER_BYTES:
            value = b""
        if generation is None or not (value or self.holds_lock):
            return
        sealed = _seal(self.place, value) + value if value else b""
        with suppress(Away):
            _FINISH(self.place.keys, [self.place.field, generation, sealed, FIELD_BYTES, MAX_BYTES])


def digest(*parts: Hashable) -> str:
    """A short name for these values, by their `repr`."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def look(place: Place) -> Reading:
    """Look for an answer, in one call of Valkey; where somebody else loads it, in a few."""
    reading = Reading(place)
    if _is_changed_here(place):
        return reading
    for pause_s in (*PAUSES_S, None):
        given = [place.field, secrets.token_hex(8), _lifetime_ms(), int(LOCK_S * 1000)]
        try:
            reading.generation, kept, holds_lock = _LOOK(place.keys, given)
        except Away:
            reading.outcome, reading.generation = "away", None
            return reading
        reading.holds_lock = bool(holds_lock)
        reading.found = _unsealed(place, kept)
        if reading.found is not None:
            reading.outcome, reading.generation = "hit", None
            stats.hit(place.resource)
            return reading
        if reading.holds_lock or kept is not None or pause_s is None:
            break
        time.sleep(pause_s)
    reading.outcome = "miss"
    stats.miss(place.resource)
    return reading


def forget(resource: str, organization_id: uuid.UUID | None = None) -> None:
    """Once the transaction is committed, drop what is kept of a resource; None is everybody's."""
    order = _Order(resource, organization_id)
    if order not in _orders():
        transaction.on_commit(order, robust=True)


def forget_now(resource: str, organization_id: uuid.UUID | None = None) -> bool:
    """Drop what is kept of a resource; False if Valkey is away, and then it follows later.

    That is so in a process that goes on; one that ends leaves it to those that listen
    (`core.cache_listener`).
    """
    try:
        if organization_id is None:
            valkey.ask(lambda client: _new_epochs(client, resource), surely=True)
        else:
            key = _hash(resource, organization_id)
            valkey.ask(lambda client: client.unlink(key), surely=True)
    except Away:
        return False
    return True


def forget_everything() -> bool:
    """Drop all there is, of everybody; False if Valkey is away, and then it follows later."""
    try:
        valkey.ask(_new_epochs_of_all, surely=True)
    except Away:
        return False
    return True


@cache
def resources() -> dict[str, str]:
    """What is read through the cache, by the table that it comes from."""
    return {
        model._meta.db_table: name
        for model in apps.get_models()
        if (name := getattr(model, "cached_as", None))
    }


@dataclass(frozen=True, slots=True)
class _Order:
    """What shall be forgotten on commit; Django drops it where a savepoint is rolled back."""

    resource: str
    organization_id: uuid.UUID | None

    def __call__(self) -> None:
        forget_now(self.resource, self.organization_id)


def _orders() -> list[_Order]:
    waiting: list[Any] = connection.run_on_commit
    return [order for _, order, *_ in waiting if isinstance(order, _Order)]


def _is_changed_here(place: Place) -> bool:
    return any(
        order.resource == place.resource and order.organization_id in (None, place.organization_id)
        for order in _orders()
    )


@cache
def _sealing(key: str) -> Any:
    return hashlib.blake2b(
        key=hashlib.blake2b(key.encode()).digest(), digest_size=SEAL_BYTES, person=b"dockside-cache"
    )


def _seal(place: Place, value: bytes) -> bytes:
    """What only this installation can say of that answer in that place."""
    seal = _sealing(settings.SECRET_KEY).copy()
    seal.update("\0".join([*place.keys, place.field, ""]).encode())
    seal.update(value)
    sealed: bytes = seal.digest()
    return sealed


def _unsealed(place: Place, kept: bytes | None) -> bytes | None:
    """The answer, if it is one that we have kept there."""
    if kept is None:
        return None
    seal, value = kept[:SEAL_BYTES], kept[SEAL_BYTES:]
    if hmac.compare_digest(seal, _seal(place, value)):
        return value
    log.warning("cache_broken_seal", resource=place.resource)
    return None


def _epoch(resource: str) -> str:
    return f"{PREFIX}:{resource}"


def _hash(resource: str, organization_id: uuid.UUID) -> str:
    return f"{PREFIX}:{resource}:{organization_id}"


def _lifetime_ms() -> int:
    return int(KEPT_S * random.uniform(900, 1000))  # noqa: S311 - no secret


def _new_epochs(client: Redis, *names: str) -> None:
    client.mset({_epoch(name): secrets.token_hex(8) for name in names})


def _new_epochs_of_all(client: Redis) -> None:
    _new_epochs(client, *resources().values())
    log.info("cache_forgotten")


# While Valkey was away, orders to forget may have been lost.
valkey.on_return.append(_new_epochs_of_all)
