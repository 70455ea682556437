"""Traces by OpenTelemetry, where `OTEL_EXPORTER_OTLP_ENDPOINT` says to whom they go.

The packages are an extra, and nothing of them is imported unless it is asked for. A request that
comes with `traceparent` goes on in that trace, down to its SQL. As in the log, no query string, no
parameter of a statement, no value of Valkey and no text of an error is told.
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
    provider.add_span_processor(without_errors(processor))
    django, *others = instrumentors()
    django.instrument(tracer_provider=provider, request_hook=without_query)
    for each in others:
        each.instrument(tracer_provider=provider)


def without_errors(processor: "SpanProcessor") -> "SpanProcessor":
    """Tells `processor` that something failed, and not how: PostgreSQL names the values then."""
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.trace import Status

    class WithoutErrors(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            processor.on_end(
                ReadableSpan(
                    name=span.name,
                    context=span.context,
                    parent=span.parent,
                    resource=span.resource,
                    attributes=span.attributes,
                    links=span.links,
                    kind=span.kind,
                    status=Status(span.status.status_code),
                    start_time=span.start_time,
                    end_time=span.end_time,
                    instrumentation_scope=span.instrumentation_scope,
                )
            )

        def shutdown(self) -> None:
            processor.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return processor.force_flush(timeout_millis)

    return WithoutErrors()


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
