"""Everything that differs between machines, read from the environment.

docs/configuration.md explains each variable. Secrets have no default, other defaults are the safe
ones, and a malformed value stops the start with its own name in the message.
"""

import sys
import warnings
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from environs import FileAwareEnv
from environs import validate as rule
from marshmallow import ValidationError
from pghistory import ForeignKey
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionRefused
from redis.retry import Retry

from config import logging as logging_config
from core.rates import NOT_A_RATE, RATE
from core.serving.incoming import MAX_ON_DISK
from core.version import VERSION

BASE_DIR = Path(__file__).resolve().parent.parent

env = FileAwareEnv(eager=False)
env.read_env(BASE_DIR / ".env", recurse=False)


def hosts_of(bind: str) -> list[str]:
    """The host names under which a server bound to `bind` is asked for on its own machine."""
    host = (urlsplit(f"//{bind}").hostname or "").lower()
    local = ["localhost", "127.0.0.1", "[::1]"]
    return [*local, host] if host and ":" not in host and host not in local else local


def secret(text: str) -> str:
    """One of several keys; each as long as the first."""
    return rule.Length(min=32)(text.strip())


def empty_or_long(text: str) -> None:
    """A token that nobody guesses, or none."""
    if text.strip():
        rule.Length(min=16)(text.strip())


def network(text: str) -> IPv4Network | IPv6Network:
    """`10.0.0.0/8`, or a single address."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValidationError(f"{text.strip()} is not a network such as 10.0.0.0/8.") from None


DEBUG = env.bool("DEBUG", False)
SECRET_KEY = (env.str("SECRET_KEY", validate=rule.Length(min=32)) or "").strip()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", [], subcast=secret)
BIND = env.str("BIND", "127.0.0.1:8000")
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / ".dockside").absolute()
HTTPS = env.bool("HTTPS", False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", hosts_of(BIND))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", [])
TRUST_PROXY = env.bool("TRUST_PROXY", False)
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", [], subcast=network)
LOG_FORMAT = env.str(
    "LOG_FORMAT",
    "console" if sys.stderr.isatty() else "json",
    validate=rule.OneOf(["json", "console"]),
)
METRICS_TOKEN = (env.str("METRICS_TOKEN", "", validate=empty_or_long) or "").strip()
METRICS_BIND = env.str(
    "METRICS_BIND", "", validate=rule.Regexp(r"(.+:\d{1,5})?$", error="not HOST:PORT")
)
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=rule.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))

# ---------------------------------------------------------------------------------- applications

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "pgtrigger",
    "pghistory",
    "procrastinate.contrib.django",
    "rest_framework",
    "django_filters",
    "csp",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "core",
    "terminals",
    "fleet",
    "orders",
    "documents",
]

MIDDLEWARE = [
    "core.middleware.request_log",
    "core.headers.safe_headers",
    "core.headers.ContentSecurityPolicy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "core.middleware.api_requests",
    "core.page_middleware.SessionMiddleware",
    "core.page_middleware.CommonMiddleware",
    "core.page_middleware.CsrfViewMiddleware",
    "core.page_middleware.AuthenticationMiddleware",
    "core.page_middleware.MessageMiddleware",
    "core.middleware.admin_pages",
    "core.two_factor.gate",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

if METRICS_TOKEN or METRICS_BIND:
    MIDDLEWARE.insert(0, "core.metrics.requests.request_metrics")

SILENCED_SYSTEM_CHECKS = ["security.W003"]  # it looks for Django's own class, not for one of it

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = ["core.backends.TenantBackend"]
LOGIN_REDIRECT_URL = "/admin/"
LOGIN_URL = "/admin/login/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Served from where the packages keep them until `collectstatic` has been run (the image does).
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()
if WHITENOISE_USE_FINDERS:
    warnings.filterwarnings("ignore", "No directory at", UserWarning)

# -------------------------------------------------------------------------------------- database

DATABASES = {"default": env.dj_db_url("DATABASE_URL", "") or {}}
if not DATABASES["default"]:
    raise ImproperlyConfigured("environment: DATABASE_URL is not set; script/manage starts one")
# Who owns the tables, where that is not the role of DATABASE_URL: core/postgres/ownership.py.
_owner = env.str("DATABASE_OWNER_URL", "") and env.dj_db_url("DATABASE_OWNER_URL")
if _owner and _owner["NAME"] != DATABASES["default"]["NAME"]:
    raise ImproperlyConfigured("environment: DATABASE_OWNER_URL is not of DATABASE_URL's database")
DATABASE_OWNER = (
    {name: _owner[name] for name in ("USER", "PASSWORD", "HOST", "PORT")} if _owner else {}
)
DB_POOL = env.bool("DB_POOL", False)  # config/gunicorn.py turns it on: commands need one connection
DB_STATEMENT_TIMEOUT = env.int("DB_STATEMENT_TIMEOUT_MS", 8_000, validate=rule.Range(min=0))
DB_LOCK_TIMEOUT = env.int("DB_LOCK_TIMEOUT_MS", 5_000, validate=rule.Range(min=0))
DB_IDLE_TIMEOUT = env.int("DB_IDLE_IN_TRANSACTION_TIMEOUT_MS", 60_000, validate=rule.Range(min=0))
_pool_kept = env.int("DB_POOL_SIZE", 20, validate=rule.Range(min=1))
_pool_overflow = env.int("DB_POOL_OVERFLOW", 10, validate=rule.Range(min=0))

# An order is read with seven joins, written in the order in which they are best done: weighing
# others costs PostgreSQL many times the read itself.
_guards = {
    "join_collapse_limit": 1,
    "lock_timeout": DB_LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": DB_IDLE_TIMEOUT,
    # Whose client has died, or was cut off by core.deadlines, works and locks for nobody.
    "client_connection_check_interval": 500,
}
if DB_POOL:  # a migration or a report may take its time, a request may not
    _guards["statement_timeout"] = DB_STATEMENT_TIMEOUT
DATABASES["default"] |= {
    "ENGINE": "core.postgres",
    "ATOMIC_REQUESTS": False,  # core.api.views.UnitOfWork says why
    "CONN_MAX_AGE": 0,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {
        **DATABASES["default"].get("OPTIONS", {}),  # what the URL says of TLS, for one
        "application_name": "dockside",
        "connect_timeout": 3,
        # A network that swallows packets is found out: while idle in 11 seconds, else in 10.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "prepare_threshold": 0,  # concerns only `core.postgres.base.prepared_cursor`
        "options": " ".join(f"-c {name}={value}" for name, value in _guards.items()),
        **(
            {
                "pool": {
                    "min_size": _pool_kept,
                    "max_size": _pool_kept + _pool_overflow,
                    "max_lifetime": env.float("DB_POOL_LIFETIME_S", 3600.0),
                    "timeout": env.float("DB_POOL_TIMEOUT_S", 0.7),
                    "max_idle": 60.0,
                    # No `max_waiting`: the pool counts those who gave up long ago, and at that
                    # number it stops connecting, for ever. core.postgres fails early by itself.
                    # Then it is tried again for whoever asks: pauses would only grow longer.
                    "reconnect_timeout": 2.0,
                }
            }
            if DB_POOL
            else {}
        ),
    },
}

# ---------------------------------------------------------------------------------------- serving

REQUEST_TIMEOUT_S = env.float("REQUEST_TIMEOUT_S", 10.0, validate=rule.Range(min=1))
QUEUE_TIMEOUT_S = env.float("QUEUE_TIMEOUT_S", 0.7, validate=rule.Range(min=0.1))
CLIENT_TIMEOUT_S = env.float("CLIENT_TIMEOUT_S", 20.0, validate=rule.Range(min=1))
DRAIN_S = env.float("DRAIN_S", 0.0, validate=rule.Range(min=0, max=600))

# --------------------------------------------------------------------------------------- history

PGHISTORY_FOREIGN_KEY_FIELD = ForeignKey(db_index=False)  # events are found by their own row only
PGHISTORY_CREATED_AT_FUNCTION = "clock_timestamp()"

# ----------------------------------------------------------------------------------------- cache

# For a connection, and again for an answer; core.valkey goes on without what takes longer.
CACHE_TIMEOUT = env.int("CACHE_TIMEOUT_MS", 250, validate=rule.Range(min=10, max=5_000)) / 1000
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": (env.str("REDIS_URL", "redis://127.0.0.1:6379/0") or "").strip(),
        "KEY_PREFIX": "dockside",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_CONNECT_TIMEOUT": CACHE_TIMEOUT,
            "SOCKET_TIMEOUT": CACHE_TIMEOUT,
            "CONNECTION_POOL_KWARGS": {
                "protocol": 2,  # a connection is made in fewer trips
                # Once more where a kept connection turns out closed; never after a time-out.
                "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionRefused,)),
            },
        },
    }
}
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
SESSION_ENGINE = "django.contrib.sessions.backends.db"  # a session outlives the cache

# ---------------------------------------------------------------------------------------- safety

ADMIN_REQUIRE_TWO_FACTOR = env.bool("ADMIN_REQUIRE_TWO_FACTOR", False)
OTP_TOTP_ISSUER = "Dockside"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in {
        "UserAttributeSimilarityValidator": {},
        "MinimumLengthValidator": {"min_length": 8},
        "CommonPasswordValidator": {},
        "NumericPasswordValidator": {},
    }.items()
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(api/v1/)?health"]  # probes come by plain HTTP from within
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SECURE = HTTPS
X_FRAME_OPTIONS = "DENY"
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

MAX_BODY_BYTES = 1_048_576  # of a JSON body
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_000

# ------------------------------------------------------------------------------------- documents

MAX_FILE_BYTES = 10 * 1_048_576  # of one file
MAX_UPLOAD_BYTES = MAX_ON_DISK  # of a form with several
MAX_UPLOAD_FILES = 20
MAX_DOCUMENTS_PER_ORDER = 10_000
UPLOAD_DIR = DATA_DIR / "uploads"  # files on their way; nameless, so that none is left behind
FILE_UPLOAD_HANDLERS = ["core.uploads.NoFiles"]  # core.api.multipart takes them, where they belong
CLAMAV_HOST = env.str("CLAMAV_HOST", "")
CLAMAV_PORT = env.int("CLAMAV_PORT", 3310, validate=rule.Range(min=1, max=65_535))
CLAMAV_TIMEOUT_S = env.float("CLAMAV_TIMEOUT_S", 8.0, validate=rule.Range(min=1))
DOCUMENT_STORAGE = env.str(
    "DOCUMENT_STORAGE", "files", validate=rule.OneOf(["files", "s3"], error="either files or s3")
)
# Reading a document: what one may cost at most (documents/reading).
OCR = env.bool("OCR", True)
READING_SECONDS = env.int("READING_SECONDS", 120, validate=rule.Range(min=5, max=3_600))
READING_MEMORY_MB = env.int("READING_MEMORY_MB", 1_024, validate=rule.Range(min=256))
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", 2, validate=rule.Range(min=1, max=64))
WORKER_STALLED_S = env.float("WORKER_STALLED_S", 30.0, validate=rule.Range(min=0.5))
READING_PAGES = env.int("READING_PAGES", 500, validate=rule.Range(min=1))
DOCUMENT_LINK_S = env.int("DOCUMENT_LINK_S", 60, validate=rule.Range(min=1, max=3_600))
DOCUMENTS = {
    "files": {
        "BACKEND": "documents.files.content.ContentStorage",
        "OPTIONS": {"location": DATA_DIR / "documents"},
    },
    "s3": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": env.str("S3_BUCKET", ""),
            "endpoint_url": env.str("S3_ENDPOINT_URL", "") or None,
            "region_name": env.str("S3_REGION", "") or None,
            "access_key": (env.str("S3_ACCESS_KEY", "") or "").strip() or None,
            "secret_key": (env.str("S3_SECRET_KEY", "") or "").strip() or None,
            "addressing_style": env.str("S3_ADDRESSING_STYLE", "auto"),
            "signature_version": "s3v4",
            "default_acl": None,
            "querystring_expire": DOCUMENT_LINK_S,
            "file_overwrite": True,  # a name is its content
        },
    },
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "documents": DOCUMENTS[DOCUMENT_STORAGE],
}

# ---------------------------------------------------------------------------------------- limits

_rate = rule.Regexp(RATE, error=NOT_A_RATE)
LIMIT_READ = env.str("LIMIT_READ", "60000/minute", validate=_rate)
LIMIT_WRITE = env.str("LIMIT_WRITE", "30000/minute", validate=_rate)
LIMIT_UPLOAD = env.str("LIMIT_UPLOAD", "60/minute", validate=_rate)
# Failures, not tries: of a name from one address, and of an address over all names.
LIMIT_SIGN_IN = env.str("LIMIT_SIGN_IN", "5/15minutes", validate=_rate)
LIMIT_SIGN_IN_ADDRESS = env.str("LIMIT_SIGN_IN_ADDRESS", "50/5minutes", validate=_rate)

# -------------------------------------------------------------------------------------- language

LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "config.formats"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# ------------------------------------------------------------------------------------------- API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "core.api.authentication.ApiKeyAuthentication",
        "core.api.authentication.BearerAuthentication",
        "core.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["core.api.permissions.ByRole"],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["core.api.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.renderers.Negotiation",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.ContractSchema",
    "EXCEPTION_HANDLER": "core.api.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", 15)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=env.int("REFRESH_TOKEN_DAYS", 7)),
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "ISSUER": "dockside",
    "AUDIENCE": "dockside-api",
    "LEEWAY": timedelta(seconds=60),
    "UPDATE_LAST_LOGIN": False,
    "CHECK_REVOKE_TOKEN": True,  # a changed password ends every token
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Dockside API",
    "DESCRIPTION": "Orders, terminals and fleet of a freight terminal. What a client may rely on.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.0.3",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": True},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "core.api.schema.add_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "Service": "orders.models.Service",
        "Commodity": "orders.models.Commodity",
        "OrderStatus": "orders.models.Status",
        "DocumentType": "documents.models.DocumentType",
        "ReadingStatus": "documents.models.ReadingStatus",
        "Alive": ["ok"],
        "Readiness": ["ok", "unavailable"],
        "PartStatus": ["ok", "down"],
        "WholeStatus": ["ok", "degraded", "down"],
    },
    "EXTENSIONS_INFO": {},
}

UNFOLD = {
    "SITE_TITLE": "Dockside",
    "SITE_HEADER": "Dockside",
    "SITE_SYMBOL": "anchor",
    "SITE_URL": "/api/v1/docs",
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("core/favicon.svg")}
    ],
    "STYLES": [
        lambda request: static("core/theme.css"),
        lambda request: static("core/admin.css"),
    ],
    "DASHBOARD_CALLBACK": "orders.admin.board",
    "SIDEBAR": {"navigation": "config.navigation.navigation"},
    "SCRIPTS": [lambda request: static("core/admin.js")],
    "GLOBAL_CALLBACK": "core.admin_theme.without_inline_style",
    "ACCOUNT": {"navigation": "core.admin_two_factor.account_links"},
    "LOGIN": {"form": "core.forms.SignInForm"},
}

# --------------------------------------------------------------------------------------- logging

LOGGING_CONFIG = None
logging_config.configure(LOG_FORMAT, LOG_LEVEL)

try:
    env.seal()
except ValidationError as error:  # every wrong variable at once, each under its own name
    raise ImproperlyConfigured(f"environment: {error}") from None
