"""Makes `.venv`, installs the pinned requirements into it, and hands over to the command.

Run by the shell scripts beside it as `bootstrap.py server|manage|test|lock|benchmark ARGUMENTS…`,
with the standard library alone. Benchmarks have an environment of their own, `.venv-benchmarks`:
the peers that they measure are none of Dockside's business. A second run compares two hashes and is
through in a few milliseconds. Everything it has to say goes to standard error: standard output
belongs to the command.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (".venv-benchmarks" if sys.argv[1:2] == ["benchmark"] else ".venv")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "dockside.json"  # which requirements are in, for which Python
UNFINISHED = VENV / "unfinished"  # there while .venv is worked on: an interrupted one is made anew
LOG = VENV / "install.log"

RUN_TIME = "requirements.txt"
TRACING = "requirements-otel.txt"  # the run-time set and the extra `otel`
DEVELOPMENT = "requirements-dev.txt"  # holds both
BENCHMARKS = "requirements-benchmarks.txt"  # holds the run-time set too
COMPILE = ["--universal", "--generate-hashes", "--no-emit-index-url", "--python-version", "3.11"]


def say(message: str) -> None:
    print(f"dockside: {message}", file=sys.stderr, flush=True)


def give_up(message: str) -> NoReturn:
    say(message)
    sys.exit(1)


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def pins(name: str) -> set[str]:
    """The lines `name==version ; marker` of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    return {re.sub(r"[\s\\]+$", "", line) for line in lines if re.match(r"[A-Za-z0-9]", line)}


def version_of(python: Path) -> str | None:
    """`3.11`, or None where there is no Python that starts."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", code], check=False, capture_output=True, text=True
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def installed() -> dict[str, str]:
    """The requirement files in `.venv` with their hashes; empty where nothing can be relied on."""
    try:
        stamp = json.loads(STAMP.read_text())
        ours = stamp["python"] == version_of(PYTHON)
        return dict(stamp["installed"]) if ours and not UNFINISHED.exists() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def run(*command: str) -> int:
    """Run `command`, its output in the log. Returns its exit code, negative if it was killed."""
    environment = os.environ | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    with LOG.open("wb") as log:
        return subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        ).returncode


def reason() -> str:
    """The line of the log that says best why the command failed."""
    lines = LOG.read_text(errors="replace").splitlines() or ["it said nothing"]
    errors = [line for line in lines if re.match(r"ERROR|error|\w*Error", line)]
    return f"{(errors or lines)[-1].strip()[:300]} (all of it: {LOG})"


def make_venv() -> None:
    """Make an empty `.venv`, unless there is a whole one already."""
    site_packages = VENV / "lib" / f"python{version_of(PYTHON)}" / "site-packages"
    if (site_packages / "pip").is_dir() and not UNFINISHED.exists():
        UNFINISHED.touch()
        return
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        give_up("this Python cannot make virtual environments (Debian: apt install python3-venv)")
    if VENV.is_symlink() or VENV.is_file():
        give_up(f"{VENV} is in the way: it is neither a folder nor ours to remove")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    UNFINISHED.touch()
    python = getattr(sys, "_base_executable", sys.executable)  # ours may be the one just removed
    if run(python, "-m", "venv", str(VENV)):
        give_up(f"no virtual environment could be made: {reason()}")


def install(name: str) -> None:
    """Bring `.venv` to the state of the requirements file `name`; one process at a time."""
    folder = os.open(ROOT, os.O_RDONLY)  # locking the folder itself leaves no file behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another command that is installing")
        fcntl.flock(folder, fcntl.LOCK_EX)
    before = installed()
    if before.get(name) != digest(name):
        say(f"installing {name} into {VENV.name}, once; this takes a minute or two")
        make_venv()
        STAMP.unlink(missing_ok=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        code = run(*pip, "--require-hashes", "-r", str(ROOT / name))
        if code > 0:
            UNFINISHED.unlink()  # pip has put back what it had begun to change
        if code:
            give_up(f"{name} could not be installed: {reason()}")
        done = {name: digest(name)}
        if pins(RUN_TIME) <= pins(DEVELOPMENT):  # then neither disturbs the other
            if name == DEVELOPMENT:
                done[RUN_TIME] = digest(RUN_TIME)
            elif before.get(DEVELOPMENT):
                done[DEVELOPMENT] = before[DEVELOPMENT]
        STAMP.write_text(json.dumps({"python": version_of(PYTHON), "installed": done}) + "\n")
        UNFINISHED.unlink()
    os.close(folder)


def compile_requirements(arguments: list[str]) -> None:
    """Write the requirements files again; pins stay where `pyproject.toml` still allows them."""
    uv = [str(VENV / "bin" / "uv"), "pip", "compile", "-q", *COMPILE, "pyproject.toml"]
    os.chdir(ROOT)
    subprocess.run([*uv, *arguments, "-o", RUN_TIME], check=True, stdout=subprocess.DEVNULL)
    for name, base, what in (
        (TRACING, RUN_TIME, ["--extra", "otel"]),
        (DEVELOPMENT, TRACING, ["--extra", "otel", "--group", "dev"]),
        (BENCHMARKS, RUN_TIME, ["--group", "benchmarks"]),
    ):
        more = [*what, "-c", base, *arguments, "-o", name]
        subprocess.run([*uv, *more], check=True, stdout=subprocess.DEVNULL)


def benchmark(arguments: list[str]) -> NoReturn:
    """Become the program of `benchmarks/` that is named first; it starts its servers itself."""
    folder = ROOT / "benchmarks"
    programs = {path.stem: path for path in folder.glob("*.py") if "main()" in path.read_text()}
    programs |= {path.parent.name: path for path in folder.glob("*/__main__.py")}
    name, *arguments = arguments or [""]
    if name not in programs:
        give_up(f"script/benchmark NAME …, where NAME is one of {', '.join(sorted(programs))}")
    argv = [str(PYTHON), "-P", str(programs[name]), *arguments]
    os.execv(argv[0], argv)


def main() -> None:
    command, *arguments = sys.argv[1:]
    wanted = {"test": DEVELOPMENT, "lock": DEVELOPMENT, "benchmark": BENCHMARKS}.get(
        command, RUN_TIME
    )
    if installed().get(wanted) != digest(wanted):
        install(wanted)

    if command == "lock":
        compile_requirements(arguments)
        return
    if command == "benchmark":
        benchmark(arguments)
    manage = ["python", str(ROOT / "manage.py")]
    inner = {
        "server": [*manage, "server", *arguments],
        "manage": [*manage, *arguments],
        "test": ["--for-tests", "python", str(ROOT / "script" / "checks.py"), *arguments],
    }[command]
    # -P: neither the caller's folder nor core/ is a place to import from.
    argv = [str(PYTHON), "-P", str(ROOT / "core" / "embedded.py"), *inner]
    os.execv(argv[0], argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
