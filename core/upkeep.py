"""What a database needs from time to time: fresh transaction ids, and dead rows swept out.

PostgreSQL numbers transactions with 32 bits. Once the oldest number in use is 2.1e9 behind, it
takes no more writes until a long VACUUM has passed. Autovacuum sees to it, unless a forgotten
transaction, a prepared one or a replication slot holds it back: this tells in time, and what holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LAST_ID = 2_100_000_000
WARN_AT = 0.5
LARGE_TABLE_ROWS = 10_000
BLOATED = 0.3

_AGES = """
    SELECT age(datfrozenxid), mxid_age(datminmxid)
    FROM pg_database WHERE datname = current_database()
"""
_TABLES = """
    SELECT relname, n_live_tup, n_dead_tup, greatest(last_vacuum, last_autovacuum)
    FROM pg_stat_user_tables WHERE n_live_tup + n_dead_tup >= %s
    ORDER BY n_dead_tup::float / (n_live_tup + n_dead_tup) DESC, relname
"""
# Whatever keeps old rows from being swept out, oldest first.
_HOLDERS = """
    SELECT what, held FROM (
        SELECT 'session ' || pid || ' of ' || coalesce(application_name, '') AS what,
            greatest(age(backend_xmin), age(backend_xid)) AS held
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        UNION ALL
        SELECT 'prepared transaction ' || gid, age(transaction) FROM pg_prepared_xacts
        WHERE database = current_database()
        UNION ALL
        SELECT 'replication slot ' || slot_name, greatest(age(xmin), age(catalog_xmin))
        FROM pg_replication_slots
    ) AS holders WHERE held IS NOT NULL ORDER BY held DESC LIMIT 5
"""


@dataclass(frozen=True)
class Table:
    """What the statistics say of a table; `swept_at` is None where no VACUUM has been seen."""

    name: str
    live: int
    dead: int
    swept_at: Any

    @property
    def dead_ratio(self) -> float:
        return self.dead / (self.live + self.dead)


@dataclass(frozen=True)
class Upkeep:
    """The age of the oldest ids, the large tables with the most dead rows first, who holds back."""

    transaction_ids: int
    multixacts: int
    tables: list[Table]
    holders: list[tuple[str, int]]

    @property
    def age(self) -> int:
        return max(self.transaction_ids, self.multixacts)

    @property
    def is_urgent(self) -> bool:
        return self.age >= WARN_AT * LAST_ID

    def bloated(self, share: float = BLOATED) -> list[Table]:
        return [table for table in self.tables if table.dead_ratio >= share]


def look(execute: Callable[..., Any], *, at_least: int = LARGE_TABLE_ROWS) -> Upkeep:
    """Ask by `execute(sql, parameters)`, which returns a cursor; tables from so many rows on."""
    ids, multixacts = execute(_AGES).fetchone()
    tables = [Table(*row) for row in execute(_TABLES, [at_least]).fetchall()]
    return Upkeep(ids, multixacts, tables, execute(_HOLDERS).fetchall())
