"""Everything that must pass, one line per step; `script/test` runs it beside embedded servers.

With arguments only pytest runs, with these. A failing step shows its output and the rest goes on.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
MANAGE = [sys.executable, "manage.py"]

PRODUCTION = {
    "SECRET_KEY": secrets.token_hex(32),
    "HTTPS": "1",
    "ALLOWED_HOSTS": "dockside.example",
    "DEBUG": "0",
}

# Forwards, backwards to nothing, forwards again: what a migration leaves behind would stop it.
MIGRATE_BOTH_WAYS = """
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.apps import apps
ours = {app.label for app in apps.get_app_configs() if app.path.startswith(str(settings.BASE_DIR))
        and ".venv" not in app.path}
call_command("migrate", verbosity=0)
left = MigrationExecutor(connection).loader.applied_migrations
for label in sorted({label for label, _ in left if label in ours}):
    call_command("migrate", label, "zero", verbosity=0)
with connection.cursor() as cursor:
    tables = [table.name for table in connection.introspection.get_table_list(cursor)]
forgotten = [table for table in tables if table.split("_")[0] in ours]
assert not forgotten, f"left behind by the way back: {forgotten}"
call_command("migrate", verbosity=0)
"""


class Failed(Exception):
    """A step did not pass; the message is what it had to say."""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a program in the checkout; raise `Failed` with its output if it fails."""
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise Failed(done.stdout.strip() or f"exit code {done.returncode}")


def python(*arguments: str) -> None:
    run(sys.executable, *arguments)


def imports_point_one_way() -> None:
    python("-c", "from importlinter.cli import lint_imports_command as lint; lint()")


def production_settings_are_safe() -> None:
    environment = os.environ | PRODUCTION
    environment.pop("SECRET_KEY_FILE", None)
    run(*MANAGE, "check", "--deploy", "--fail-level", "WARNING", environment=environment)


def migrations_go_both_ways() -> None:
    import psycopg
    from psycopg import sql

    urls = {
        name: os.environ[name]
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL")
        if os.environ.get(name)
    }
    name = f"dockside_scratch_{os.getpid()}"
    owners = urls.get("DATABASE_OWNER_URL") or urls["DATABASE_URL"]
    with psycopg.connect(owners, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            environment = os.environ | {
                variable: re.sub(r"/[^/?]*(\?.*)?$", rf"/{name}\1", url)
                for variable, url in urls.items()
            }
            environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
            run(sys.executable, "-c", MIGRATE_BOTH_WAYS, environment=environment)
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)


def description_is_valid() -> None:
    options = ["--validate", "--fail-on-warn", "--api-version", "v1"]
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        run(*MANAGE, "spectacular", *options, "--file", file.name)


def shell_scripts_are_clean() -> None:
    scripts = [
        path
        for path in [*sorted((ROOT / "script").iterdir()), ROOT / ".ci" / "run"]
        if path.is_file() and re.match(rb"#.*\bsh\b", path.read_bytes())
    ]
    run(PROGRAMS / "shellcheck", *scripts)


def requirements_follow_pyproject() -> None:
    """Every dependency of `pyproject.toml` is pinned, within its bounds, and no other is direct.

    Needs no network, unlike compiling them again; `script/lock` does that.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run_time = [Requirement(line) for line in project["project"]["dependencies"]]
    tracing = list(map(Requirement, project["project"]["optional-dependencies"]["otel"]))
    groups = {
        name: [Requirement(line) for line in lines]
        for name, lines in project["dependency-groups"].items()
    }
    faults = []
    for name, wanted in [
        ("requirements.txt", run_time),
        ("requirements-otel.txt", run_time + tracing),
        ("requirements-dev.txt", run_time + tracing + groups["dev"]),
        ("requirements-benchmarks.txt", run_time + groups["benchmarks"]),
    ]:
        text = (ROOT / name).read_text()
        pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[.*?\])?==([^\s;\\]+)", text, re.MULTILINE))
        for requirement in wanted:
            version = pins.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                faults.append(f"{name}: {requirement} is pinned to {version or 'nothing'}")
        blocks = re.findall(r"^([\w.-]+)==((?:.|\n(?!\w))*)", text, re.MULTILINE)
        direct = {name for name, reasons in blocks if "dockside (pyproject.toml" in reasons}
        known = {canonicalize_name(requirement.name) for requirement in wanted}
        faults += [f"{name}: {stranger} is not in pyproject.toml" for stranger in direct - known]
    if faults:
        raise Failed("\n".join([*faults, "script/lock compiles the requirements again"]))


def dependencies_have_no_known_holes() -> None:
    import audit

    faults, skipped = audit.dependencies_have_no_known_holes()
    if skipped:
        print(f"  {skipped}")
    if faults:
        raise Failed("\n".join(faults))


STEPS: dict[str, Callable[[], None]] = {
    "format": lambda: python("-m", "ruff", "format", "--check", "--output-format", "concise"),
    "lint": lambda: python("-m", "ruff", "check", "--output-format", "concise"),
    "types": lambda: python("-m", "mypy"),
    "imports": imports_point_one_way,
    "requirements": requirements_follow_pyproject,
    "production settings": production_settings_are_safe,
    "migrations complete": lambda: run(*MANAGE, "makemigrations", "--check", "--dry-run"),
    "migrations beside work": lambda: python("script/migration_lint.py"),
    "migrations both ways": migrations_go_both_ways,
    "OpenAPI": description_is_valid,
    "Dockerfile": lambda: run(PROGRAMS / "hadolint", "Dockerfile"),
    "shell scripts": shell_scripts_are_clean,
    "dependencies": dependencies_have_no_known_holes,
}


def failing_steps() -> Iterator[str]:
    for name, step in STEPS.items():
        began = time.monotonic()
        try:
            step()
            fault = None
        except Failed as failed:
            fault = str(failed)
        seconds = time.monotonic() - began
        print(f"{'FAILED' if fault else 'ok    '} {name:22} {seconds:5.1f} s", flush=True)
        if fault:
            print(fault, flush=True)
            yield name


def pytest(arguments: list[str]) -> int:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], check=False, cwd=ROOT
    ).returncode


def main(arguments: list[str]) -> int:
    if arguments:
        return pytest(arguments)
    if not any(map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])):
        print("browser tests are skipped: no Chromium on the PATH")
    failed = list(failing_steps())
    processes = ["-n", "auto", "--maxprocesses", "8", "--dist", "worksteal"]
    code = pytest([*processes, "-m", "not alone", "--cov", "--cov-report="])
    code |= pytest(["-m", "alone", "--cov", "--cov-append", "--cov-report=term:skip-covered"])
    if failed:
        names = ", ".join(failed + (["pytest"] if code else []))
        steps, bad = len(STEPS) + 1, len(failed) + bool(code)
        print(f"failed: {names}\n{steps - bad} passed, {bad} failed")
    return code or bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
