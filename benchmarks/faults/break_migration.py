"""R32: a table of a million orders changes while people work and somebody reads it for seconds."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.load import Load
from benchmarks.faults.report import Bars
from benchmarks.faults.stack import ROOT, Stack
from benchmarks.faults.traffic import normal_day

READ_S, BREATH_S = 5, 1
SETTINGS = """
from config.settings import *
MIGRATION_MODULES = {"orders": "fault_migrations"}
"""
# As docs/migrations.md has it: each statement that needs the table to itself is one migration.
MIGRATIONS = {
    "9001_gate": """migrations.AddField("order", "gate",
        models.CharField(max_length=16, blank=True, default="", db_default=""))""",
    "9002_by_gate": """AddIndexConcurrently("order",
        models.Index(fields=["organization", "gate", "id"], name="fault_by_gate"))""",
    "9003_gate_known": """AddConstraintNotValid("order",
        models.CheckConstraint(condition=~models.Q(gate="?"), name="fault_gate_known"))""",
    "9004_gate_was_known": """ValidateConstraint("order", "fault_gate_known")""",
}
MIGRATION = """
from django.contrib.postgres.operations import (
    AddConstraintNotValid, AddIndexConcurrently, ValidateConstraint)
from django.db import migrations, models

class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [("orders", "{before}")]
    operations = [{operation}]
"""


def migrate_under_load(stack: Stack, bars: Bars, count: int = 1_000_000) -> None:
    """A column, an index, a constraint, its validation; forwards, and backwards again."""
    bars.doing(f"{count:,} orders")
    stack.add_orders(count)
    with stack.server() as server, migrations() as (environment, last), long_reads(stack):
        with Load(server.client(), 20, normal_day(stack.world)) as load:
            time.sleep(2)
            took = {}
            for target in [*MIGRATIONS, last]:
                bars.doing(f"migrate orders {target}")
                began = time.monotonic()
                said = stack.manage("migrate", "orders", target, **environment)
                tries = said.count("trying again") + 1
                took[target] = f"{target} {time.monotonic() - began:.1f} s in {tries}"
        tally = load.tally
        faults = tally.where(lambda answer: not 200 <= answer.status < 300)
        bars.add("R32", f"failed of {len(tally):,}", faults.kinds or 0, "0", ok=not len(faults))
        bars.at_most("R32", "the slowest", tally.slowest_s, 1, "s")
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'fault\\_%'"
        bars.exactly("R32", "left behind by the way back", stack.count(left), 0)
        bars.note("R32", f"p99 {tally.ms(0.99):.0f} ms; tries: {', '.join(took.values())}")


@contextmanager
def migrations() -> Iterator[tuple[dict[str, str], str]]:
    """Settings with which `orders` has the MIGRATIONS too, and the last that it has otherwise."""
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "fault_migrations"
        shutil.copytree(ROOT / "orders" / "migrations", package)
        last = before = max(path.stem for path in package.glob("[0-9]*.py"))
        for stem, operation in MIGRATIONS.items():
            atomic = not operation.startswith(("AddIndex", "Validate"))
            text = MIGRATION.format(before=before, operation=operation, atomic=atomic)
            (package / f"{stem}.py").write_text(text)
            before = stem
        (Path(name) / "fault_settings.py").write_text(SETTINGS)
        yield {"PYTHONPATH": name, "DJANGO_SETTINGS_MODULE": "fault_settings"}, last


@contextmanager
def long_reads(stack: Stack) -> Iterator[None]:
    """Somebody reads the orders for five seconds, takes a breath, and reads again."""
    ending = threading.Event()

    def read() -> None:
        with stack.sql() as connection:
            while not ending.is_set():
                connection.execute(f"SELECT pg_sleep({READ_S}) FROM orders_order LIMIT 1")
                ending.wait(BREATH_S)

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    try:
        yield
    finally:
        ending.set()
        reader.join()


PROGRAMS = {"migrate_under_load": migrate_under_load}
