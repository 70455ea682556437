"""One JSON object a line for machines, readable colours on a terminal.

Values never break a line: the JSON encoder escapes control characters, and the console renderer
prints the `repr` of what holds one.
"""

import logging
import logging.config
import re
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

# What a terminal, or a reader that splits at Unicode's own line ends, would take for a command.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSAFE_IN_TRACES = re.compile(rf"(?!\n){_UNSAFE.pattern}")
MAX_VALUE_CHARS = 2_000


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def tame(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters in every value and cut what is longer than 2,000 characters.

    A trace keeps its length and its line ends.
    """
    for key, value in event.items():
        if isinstance(value, str):
            unsafe = _UNSAFE
            if key == "exception":
                unsafe = _UNSAFE_IN_TRACES
            else:
                value = value[:MAX_VALUE_CHARS]
            event[key] = unsafe.sub(_escape, value.encode("utf-8", "backslashreplace").decode())
    return event


def _to_json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _rendering(log_format: str) -> list[Any]:
    if log_format == "console":
        # A pretty trace would show the variables too, and what was sent in them.
        plain = structlog.dev.plain_traceback
        renderer: Any = structlog.dev.ConsoleRenderer(colors=True, exception_formatter=plain)
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    return [structlog.processors.format_exc_info, tame, renderer]


def dict_config(log_format: str, level: str) -> dict[str, Any]:
    """The `logging.config.dictConfig` of the process: everything to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_rendering(log_format),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Each request has its own line; Django's second one about the same thing is noise.
            "django.request": {"level": "CRITICAL"},
            "django.security": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django_redis": {"level": "WARNING"},
            # Each job, as it is made, taken and ended; how it ended is on record with the document.
            "procrastinate": {"level": "WARNING"},
            "psycopg.pool": {"level": "ERROR"},
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
        },
    }


def configure(log_format: str, level: str) -> None:
    """Set up `structlog` and the standard library's logging to write the same lines."""
    structlog.configure(
        processors=[
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(dict_config(log_format, level))
    logging.captureWarnings(True)


def gunicorn_logconfig() -> dict[str, Any]:
    """What gunicorn's own lines look like: the same as ours, from the same environment."""
    import os
    import sys

    chosen = os.environ.get("LOG_FORMAT") or ("console" if sys.stderr.isatty() else "json")
    return dict_config(chosen, os.environ.get("LOG_LEVEL") or "INFO")
