"""What a file is, found out before anything of it is stored."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog

from documents.errors import BadFile, EmptyFile, WrongContent
from documents.files import names, scanner, types

log = structlog.stdlib.get_logger("documents.files")

JUDGE = Path(__file__).with_name("judge.py")
PATIENCE_S = 8.0  # by the clock on the wall, and less than a request has in all
# How many files one process has looked into at a time, so that many uploads cannot fill the memory.
_places = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Inspected:
    """What is known of a file that is good to keep."""

    name: str
    content_type: str
    pages: int | None
    is_encrypted: bool


def inspect(file: IO[bytes], *, size: int, name: str) -> Inspected:
    """Look at a whole file, which has a descriptor of its own; `name` is what the sender called it.

    Raises:
        EmptyFile: there is nothing in it.
        WrongContent: it is of no kind that is taken, or not what its name says.
        Infected, ScannerUnavailable: where a scanner is set up.
        BadFile: it is broken, or a bomb.
    """
    if not size:
        raise EmptyFile
    name = names.clean(name)
    file.seek(0)
    kind = types.type_of(name, file.read(types.HEAD_BYTES))
    scanner.scan(file)
    found = _judged(file, kind)
    return Inspected(
        name=name,
        content_type=kind.content_type,
        pages=found.get("pages"),
        is_encrypted=bool(found.get("encrypted")),
    )


def _judged(file: IO[bytes], kind: types.FileType) -> dict[str, Any]:
    """What `judge` says of it.

    Raises:
        BadFile, WrongContent: nothing good, or nothing at all.
    """
    file.seek(0)
    command = [sys.executable, "-I", str(JUDGE), kind.judged_as, kind.content_type]
    with _places:
        try:
            done = subprocess.run(  # noqa: S603 - our own program, on an open file
                command,
                stdin=file.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                timeout=PATIENCE_S,
                check=False,
            )
            code, said = done.returncode, done.stdout
        except subprocess.TimeoutExpired:
            code, said = None, b""
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        log.warning("file_not_judged", kind=kind.content_type, code=code)
        raise BadFile(
            "unreadable-file", "The file cannot be read with reasonable effort."
        ) from None
    if "code" not in found:
        return found
    if found["code"] == "wrong-content":
        suffix = kind.extensions[0]
        raise WrongContent(f"The name ends in .{suffix}. {found['message']}")
    raise BadFile(str(found["code"]), str(found["message"]))
