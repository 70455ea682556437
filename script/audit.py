"""Known holes in what is installed: floors that are always checked, and pip-audit where it can ask.

`script/checks.py` runs `dependencies_have_no_known_holes` as one of its steps. By itself:
`python script/audit.py`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILES = tuple(f"requirements{which}.txt" for which in ("", "-otel", "-dev", "-benchmarks"))
PATIENCE_S = 120

# The first releases without the holes that would touch what is built here.
FLOORS = {
    "django": "5.2.19",
    "djangorestframework": "3.18",
    "djangorestframework-simplejwt": "5.5.1",
    "gunicorn": "26",
    "pillow": "13",
    "psycopg": "3.3.9",
    "pyjwt": "2.15",
    "redis": "8",
}


def below_their_floor(text: str) -> list[str]:
    """What the pinned requirements in `text` have that is older than it may be."""
    from packaging.version import Version

    pins = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", text, re.MULTILINE)
    return [
        f"{name} {version} has known holes: {FLOORS[name]} or newer is needed"
        for name, version in pins
        if name in FLOORS and Version(version) < Version(FLOORS[name])
    ]


def without_hashes(text: str) -> list[str]:
    """What is pinned without a hash: anybody between here and the registry could replace it."""
    blocks = re.findall(r"^([\w.-]+(?:\[.*?\])?==\S+)((?:.|\n(?!\w))*)", text, re.MULTILINE)
    return [f"{pin} has no hash" for pin, rest in blocks if "--hash=sha256:" not in rest]


def audit(name: str) -> tuple[list[str], str | None]:
    """What the advisory service knows of the file's pins, and why it could not be asked for all."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    options = ["--progress-spinner", "off", "--timeout", "10", "--format", "json"]
    try:
        done = subprocess.run(
            [*command, *options, "-r", name],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return [], "the advisory service does not answer in time"
    try:
        return judged(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [], f"the advisory service cannot be asked ({reason[:120]})"


def judged(dependencies: list[dict[str, Any]]) -> tuple[list[str], str | None]:
    """The holes in pip-audit's answer, and for how many packages it had no answer.

    A mirror without advisories knows none of them, which pip-audit itself takes for "no holes".
    """
    found = [
        f"{each['name']} {each['version']}: {hole['id']}"
        f" (fixed in {', '.join(hole['fix_versions']) or 'no release yet'})"
        for each in dependencies
        for hole in each.get("vulns", [])
    ]
    unknown = [each for each in dependencies if "skip_reason" in each]
    told = f"the advisory service knows nothing of {len(unknown)} of {len(dependencies)} packages"
    return found, told if unknown else None


def dependencies_have_no_known_holes() -> tuple[list[str], str | None]:
    """What is wrong, and in one line what could not be found out."""
    faults = []
    for name in FILES:
        text = (ROOT / name).read_text()
        faults += [f"{name}: {each}" for each in below_their_floor(text) + without_hashes(text)]
    found, skipped = audit(FILES[0])
    return faults + found, skipped and f"skipped in pip-audit: {skipped}"


if __name__ == "__main__":
    faults, skipped = dependencies_have_no_known_holes()
    print("\n".join([*faults, *([skipped] if skipped else [])]) or "no known holes")
    sys.exit(bool(faults))
