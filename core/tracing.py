"""Traces by OpenTelemetry, where `OTEL_EXPORTER_OTLP_ENDPOINT` says to whom they go.

The packages are an extra, and nothing of them is imported unless it is asked for. A request that
comes with `traceparent` goes on in that trace, down to its SQL. As in the log, no query string, no
parameter of a statement and no value of Valkey is told.
"""

import os
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from core.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

# Every probe and every scrape would be a trace.
NOT_TRACED = r"health($|/),metrics$"
WITH_QUERY = ("http.target", "http.url", "url.full", "url.query")


def start_if_wanted() -> None:
    """Called before the application is made, in each worker.

    Raises:
        ImproperlyConfigured: traces are wanted and the extra is not installed.
    """
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed:"
            " install requirements-otel.txt"
        ) from None
    start(BatchSpanProcessor(OTLPSpanExporter()))


def start(processor: "SpanProcessor") -> None:
    """Trace requests, SQL and Valkey from here on, each span told to `processor`."""
    os.environ.setdefault("OTEL_PYTHON_DJANGO_EXCLUDED_URLS", NOT_TRACED)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    name = os.environ.get("OTEL_SERVICE_NAME") or "dockside"
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": VERSION})
    )
    provider.add_span_processor(processor)
    django, *others = instrumentors()
    django.instrument(tracer_provider=provider, request_hook=without_query)
    for each in others:
        each.instrument(tracer_provider=provider)


def instrumentors() -> list[Any]:
    """Django's first."""
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    return [DjangoInstrumentor(), PsycopgInstrumentor(), RedisInstrumentor()]


def without_query(span: Any, request: Any) -> None:
    """Names and plates that are searched for are nobody's who looks at traces."""
    for name in WITH_QUERY:
        if told := (span.attributes or {}).get(name):
            span.set_attribute(name, "" if name == "url.query" else told.partition("?")[0])
