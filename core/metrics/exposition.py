"""What is answered to a scrape, on a port of its own or at `/metrics` of the house's.

Nothing here asks the database, its pool or Valkey: what is told was written down before.
"""

import hmac
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import ThreadingWSGIServer, choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from core.metrics import REGISTRY

PATIENCE_S = 5


def exposition(accept: str = "") -> tuple[bytes, str]:
    """Every metric of all workers, and the type of this text."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def is_allowed(authorization: str) -> bool:
    """Whether the header names METRICS_TOKEN, if one is asked for."""
    wanted: str = settings.METRICS_TOKEN
    scheme, _, token = authorization.partition(" ")
    given = token.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else b""
    return not wanted or hmac.compare_digest(given, wanted.encode())


def metrics_page(request: HttpRequest) -> HttpResponse:
    """`/metrics` beside the API, for who has METRICS_TOKEN; not there without, or with its port."""
    if not settings.METRICS_TOKEN or settings.METRICS_BIND:
        raise Http404
    if not is_allowed(request.headers.get("Authorization", "")):
        return HttpResponse(
            "A token is needed.\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"},
        )
    text, content_type = exposition(request.headers.get("Accept", ""))
    return HttpResponse(text, content_type=content_type, headers={"Cache-Control": "no-store"})


def answer_scrape(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application of METRICS_BIND."""
    status, text, content_type = "200 OK", b"", "text/plain; charset=utf-8"
    extra = []
    if environ.get("PATH_INFO") != "/metrics":
        status, text = "404 Not Found", b"There is only /metrics.\n"
    elif environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
        status, text = "405 Method Not Allowed", b"Only GET.\n"
        extra = [("Allow", "GET, HEAD")]
    elif not is_allowed(environ.get("HTTP_AUTHORIZATION", "")):
        status, text = "401 Unauthorized", b"A token is needed.\n"
        extra = [("WWW-Authenticate", "Bearer")]
    else:
        text, content_type = exposition(environ.get("HTTP_ACCEPT", ""))
    headers = [("Content-Type", content_type), ("Content-Length", str(len(text))), *extra]
    start(status, headers)
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else text]


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S  # of silence: a caller who says nothing is not waited for

    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is no news."""


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        """The socket is bound already; its host name is nobody's concern."""
        self.server_name, self.server_port = "", 0
        self.setup_environ()


def serve(listener: socket.socket) -> WSGIServer:
    """Answer scrapes on `listener` in threads of this process, however busy its others are."""
    server = _Server(("", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    listener.setblocking(False)  # all workers listen: another may have taken the call already
    server.socket = listener
    server.server_bind()
    server.set_app(answer_scrape)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
