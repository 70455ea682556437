"""The README's session, run line by line against a server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from core.models import Role
from tests.core.factories import PASSWORD, UserFactory

README = Path(__file__).parents[2] / "README.md"


def session() -> list[tuple[str, list[str]]]:
    """Each command of the console blocks, with the lines that it should print."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


def pattern(lines: list[str]) -> str:
    return "".join(re.escape(line).replace("…", ".*?") + r"\r?\n" for line in lines)


@pytest.mark.server
@pytest.mark.django_db(transaction=True)
def test_the_session_prints_what_the_readme_says(live_server, tmp_path):
    if not (shutil.which("bash") and shutil.which("curl")):
        pytest.skip("bash and curl are not installed")
    UserFactory(username="demo-admin", role=Role.ADMIN)
    steps = session()
    assert len(steps) > 15
    script = ["set -eu"]
    for number, (command, _) in enumerate(steps):
        command = re.sub(r"^API=\S+", f"API={live_server.url}/api/v1", command)
        command = re.sub(r"^PASSWORD=\S+", f"PASSWORD={PASSWORD}", command)
        script += [f"echo '<<<{number}'", command]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = re.split(r"^<<<\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for (command, expected), output in zip(steps, printed, strict=True):
        assert re.fullmatch(pattern(expected), output), f"{command}\n{output}"
