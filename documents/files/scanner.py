"""The virus scanner, where one is set up: ClamAV's daemon, which gets the bytes over its socket.

INSTREAM of clamd's protocol: pieces with their length before them, an empty one at the end, and one
line back. The package `clamd` sends without looking whether all of a piece went out.
"""

import re
import socket
import time
from collections.abc import Callable
from typing import IO

import structlog
from django.conf import settings

from core import deadlines
from documents.errors import Infected, ScannerUnavailable

log = structlog.stdlib.get_logger("documents.scanner")

PIECE = 65_536
LONGEST_ANSWER = 4_096
_FOUND = re.compile(r"stream: (.+) FOUND")


def scan(file: IO[bytes]) -> None:
    """Let a whole file pass, or refuse it; without a scanner everything passes.

    Raises:
        Infected: the scanner knows it.
        ScannerUnavailable: the scanner is away, or did not say in time that the file is good.
    """
    if not settings.CLAMAV_HOST:
        return
    file.seek(0)
    try:
        said = _ask(file)
    except OSError as error:
        log.warning("scanner_away", kind=type(error).__name__)
        raise ScannerUnavailable from None
    if found := _FOUND.fullmatch(said):
        log.warning("infected_file", signature=found[1])
        raise Infected(found[1])
    if said != "stream: OK":
        log.warning("scanner_failed", said=said[:200])
        raise ScannerUnavailable


def _ask(file: IO[bytes]) -> str:
    address = (settings.CLAMAV_HOST, settings.CLAMAV_PORT)
    left = _time_left()
    with socket.create_connection(address, timeout=left()) as asking:
        asking.sendall(b"zINSTREAM\0")
        while piece := file.read(PIECE):
            asking.settimeout(left())
            asking.sendall(len(piece).to_bytes(4) + piece)
        asking.sendall(bytes(4))
        answer = b""
        while len(answer) < LONGEST_ANSWER:
            asking.settimeout(left())
            if not (piece := asking.recv(LONGEST_ANSWER)):
                break
            answer += piece
        return answer.rstrip(b"\0").decode(errors="replace").strip()


def _time_left() -> Callable[[], float]:
    """For how many seconds more the scanner is waited for: no longer than the request may take."""
    until = time.monotonic() + settings.CLAMAV_TIMEOUT_S
    until = min(until, deadlines.of_this_request() or until)

    def left() -> float:
        if (seconds := until - time.monotonic()) <= 0:
            raise TimeoutError
        return seconds

    return left
