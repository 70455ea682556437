"""The virus scanner, where one is set up: ClamAV's daemon, which gets the bytes over its socket.

INSTREAM of clamd's protocol: pieces with their length before them, an empty one at the end, and one
line back. The package `clamd` sends without looking whether all of a piece went out.
"""

import re
import socket
from typing import IO

import structlog
from django.conf import settings

from documents.errors import Infected, ScannerUnavailable

log = structlog.stdlib.get_logger("documents.scanner")

PIECE = 65_536
_FOUND = re.compile(r"stream: (.+) FOUND")


def scan(file: IO[bytes]) -> None:
    """Let a whole file pass, or refuse it; without a scanner everything passes.

    Raises:
        Infected: the scanner knows it.
        ScannerUnavailable: the scanner is away, or did not say that the file is good.
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
    with socket.create_connection(address, timeout=settings.CLAMAV_TIMEOUT_S) as asking:
        asking.sendall(b"zINSTREAM\0")
        while piece := file.read(PIECE):
            asking.sendall(len(piece).to_bytes(4) + piece)
        asking.sendall(bytes(4))
        with asking.makefile("rb") as answer:
            return answer.read(4_096).rstrip(b"\0").decode(errors="replace").strip()
