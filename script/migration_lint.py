"""Judges the migrations that no release has had yet: would a terminal at work notice them?

`squawk` reads their SQL. It cannot see what Django does to a default afterwards, nor that schema
and data share a file: that is judged here. docs/migrations.md says how to do what is refused.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SQUAWK = Path(sys.executable).parent / "squawk"
POSTGRES = "15.0"  # the oldest that is served
LEFT_OUT = (
    "require-timeout-settings",  # `migrate` sets them (core.postgres.schema)
    "prefer-robust-stmts",  # a migration is one transaction, or one statement
    "prefer-text-field",  # Django's CharField; the bound is a rule of its own
    "prefer-bigint-over-int",
    "prefer-identity",
    "ban-drop-table",  # a model that is gone: the release before has stopped using it
)


def released() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return dict(project["tool"]["dockside"]["released-migrations"])


def new_migrations(executor: Any, before: dict[str, str]) -> list[Any]:
    """Ours that come after the released ones, in the order in which they are applied."""
    from django.apps import apps

    graph = executor.loader.graph
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).parent == ROOT}
    known = {key for app, name in before.items() for key in graph.forwards_plan((app, name))}
    plan = [key for leaf in graph.leaf_nodes() for key in graph.forwards_plan(leaf)]
    # An app whose tables are all new cannot keep anybody waiting.
    wanted = [key for key in dict.fromkeys(plan) if key not in known and key[0] in ours & {*before}]
    return [graph.nodes[key] for key in wanted]


def own_faults(migration: Any) -> list[str]:
    """What the SQL does not show."""
    from django.db.migrations import operations as known

    made = {each.name_lower for each in migration.operations if isinstance(each, known.CreateModel)}
    faults = []
    for operation in migration.operations:
        if not isinstance(operation, known.AddField) or operation.model_name_lower in made:
            continue
        field = operation.field
        if not (field.null or field.many_to_many or field.has_db_default()):
            faults.append(
                f"{operation.model_name}.{operation.name} is required and has no db_default: the"
                " code that still runs cannot insert rows any more"
            )
    data = [each for each in migration.operations if isinstance(each, known.RunPython)]
    if data and len(data) < len(migration.operations):
        faults.append("schema and data share a file: the locks are held while rows are changed")
    waiting = [each for each in migration.operations if not_transactional(each)]
    if waiting and (migration.atomic or len(migration.operations) > 1):
        faults.append("what runs beside the terminal stands alone in its file, with atomic = False")
    return faults


def not_transactional(operation: Any) -> bool:
    from django.contrib.postgres import operations as postgres

    beside = (postgres.AddIndexConcurrently, postgres.RemoveIndexConcurrently)
    return isinstance(operation, (*beside, postgres.ValidateConstraint))


def sql_of(executor: Any, migration: Any) -> str:
    statements = executor.loader.collect_sql([(migration, False)])
    return "\n".join(statements) + "\n"


def squawk(sql: str, *, atomic: bool) -> str:
    """What it finds, or nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(sql)
        file.flush()
        command = [SQUAWK, "--pg-version", POSTGRES, "--reporter", "gcc"]
        command += [f"--exclude={','.join(LEFT_OUT)}"]
        command += ["--assume-in-transaction"] if atomic else []
        done = subprocess.run([*command, file.name], check=False, capture_output=True, text=True)
        return done.stdout.replace(f"{file.name}:", "line ").strip() if done.returncode else ""


def faults_of(executor: Any, migration: Any) -> list[str]:
    found = own_faults(migration)
    told = squawk(sql_of(executor, migration), atomic=migration.atomic)
    return [*found, *([told] if told else [])]


def main() -> int:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings_test")
    sys.path.insert(0, str(ROOT))
    django.setup()
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    code = 0
    for migration in new_migrations(executor, released()):
        for fault in faults_of(executor, migration):
            print(f"{migration.app_label} {migration.name}: {fault}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
