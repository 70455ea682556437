"""A file's text and thumbnail, read by a program of its own (`documents.reading.program`)."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog
from django.conf import settings

from documents.models import ReadingStatus
from documents.reading import ocr
from documents.reading.language import language_of

log = structlog.stdlib.get_logger("documents.reading")

PROGRAM = Path(__file__).with_name("program.py")
MAX_PIXELS = 50_000_000
MAX_CHARS = 2_000_000
MAX_UNPACKED = 100_000_000
GRACE_S = 5.0  # for what the program says when its time is over
TOO_LONG = "The file takes too long to read."


class Interrupted(Exception):
    """The reading ended without a word, as when the machine runs out of memory; try again."""


@dataclass(frozen=True)
class Extracted:
    """What came out of a file, or why nothing did.

    `error` is for people; with `done` it tells what is missing. `thumbnail` is a WebP picture, or
    empty. A status other than an end does not occur.
    """

    status: ReadingStatus
    pages: list[str]
    language: str
    extractor: str
    error: str
    thumbnail: bytes


def extract(file: IO[bytes], content_type: str) -> Extracted:
    """Read a file, which has a descriptor of its own, in a limited process.

    Takes `settings.READING_SECONDS` and a few more at most, and then kills all it started.

    Raises:
        Interrupted: the process ended by itself without an answer.
    """
    file.seek(0)
    engine = ocr.find()
    limits = {
        "content_type": content_type,
        "seconds": settings.READING_SECONDS,
        "memory": settings.READING_MEMORY_MB << 20,
        "pages": settings.READING_PAGES,
        "pixels": MAX_PIXELS,
        "chars": MAX_CHARS,
        "unpacked": MAX_UNPACKED,
        "tesseract": engine.program if engine else "",
        "tessdata": engine.data if engine else "",
        "languages": engine.language if engine else "",
    }
    code, said = _run(limits, file)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        log.warning("reading_without_answer", content_type=content_type, code=code)
        if code in {None, -signal.SIGXCPU}:
            return _failed(TOO_LONG)  # and would the next time
        raise Interrupted from None
    pages = [str(page) for page in found["pages"]]
    return Extracted(
        status=ReadingStatus(found["status"]),
        pages=pages,
        language=language_of(pages),
        extractor=str(found["extractor"]),
        error=str(found["error"])[:500],
        thumbnail=base64.b64decode(found["thumbnail"]),
    )


def _failed(why: str) -> Extracted:
    return Extracted(ReadingStatus.FAILED, [], "", "", why, b"")


def _run(limits: dict[str, Any], file: IO[bytes]) -> tuple[int | None, bytes]:
    """The program's exit code, None where it had to be killed, and what it printed."""
    process = subprocess.Popen(  # noqa: S603 - our own program, on an open file
        [sys.executable, "-I", str(PROGRAM), json.dumps(limits)],
        stdin=file.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"},
        start_new_session=True,  # its group, so that tesseract goes with it
    )
    try:
        said, _ = process.communicate(timeout=settings.READING_SECONDS + GRACE_S)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        return None, b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
