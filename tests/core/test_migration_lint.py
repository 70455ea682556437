"""script/migration_lint.py: which migrations a terminal at work would notice."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, migrations, models
from django.db.migrations.executor import MigrationExecutor

ROOT = Path(__file__).resolve().parents[2]
COLUMN = "ALTER TABLE orders_order ADD COLUMN gate varchar(16) DEFAULT '' NOT NULL;"
INDEX = models.Index(fields=["notes"], name="orders_of_a_test")


@pytest.fixture(scope="module")
def lint() -> Any:
    spec = importlib.util.spec_from_file_location("lint", ROOT / "script" / "migration_lint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def migration(*operations: Any, atomic: bool = True) -> Any:
    made = migrations.Migration("9001_of_a_test", "orders")
    made.operations, made.atomic = list(operations), atomic
    return made


def gate(**options: Any) -> Any:
    return migrations.AddField("order", "gate", models.CharField(max_length=16, **options))


class TestSql:
    def test_of_a_new_column_passes(self, lint):
        assert lint.squawk(COLUMN, atomic=True) == ""

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE INDEX demo ON orders_order (notes);",
            "ALTER TABLE orders_order ADD CONSTRAINT demo CHECK (notes <> 'x');",
            "ALTER TABLE orders_order ALTER COLUMN notes SET NOT NULL;",
            "ALTER TABLE orders_order RENAME COLUMN notes TO remarks;",
            "ALTER TABLE orders_order ALTER COLUMN notes TYPE varchar(10);",
        ],
    )
    def test_that_holds_a_table_for_long_or_breaks_running_code_is_refused(self, lint, statement):
        assert lint.squawk(statement, atomic=True)


class TestOperations:
    @pytest.mark.parametrize(
        ("operations", "atomic", "fault"),
        [
            ([gate(default="")], True, "no db_default"),
            ([gate(db_default="")], True, None),
            ([gate(null=True)], True, None),
            ([gate(null=True), migrations.RunPython(print)], True, "schema and data"),
            ([migrations.RunPython(print)], True, None),
            ([AddIndexConcurrently("order", INDEX)], True, "atomic = False"),
            ([AddIndexConcurrently("order", INDEX), gate(null=True)], False, "atomic = False"),
            ([AddIndexConcurrently("order", INDEX)], False, None),
        ],
    )
    def test_are_refused_for_what_their_sql_does_not_show(self, lint, operations, atomic, fault):
        found = lint.own_faults(migration(*operations, atomic=atomic))
        assert len(found) == bool(fault)
        assert fault is None or fault in found[0]


@pytest.mark.django_db
class TestReleased:
    def test_migrations_are_known_and_only_later_ones_are_judged(self, lint):
        executor = MigrationExecutor(connection)
        before = lint.released()
        assert set(before.items()) <= set(executor.loader.graph.nodes)
        earlier = {**before, "orders": "0021_history_begins"}
        judged = lint.new_migrations(executor, earlier)
        assert ("orders", "0022_search_behind_the_wall") in [
            (each.app_label, each.name) for each in judged
        ]
        first = next(each for each in judged if each.name == "0022_search_behind_the_wall")
        assert "concurrent" in lint.faults_of(executor, first)[0].lower()
