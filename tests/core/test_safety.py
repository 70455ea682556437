"""A server that others can reach does not start with settings that endanger it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core import checks

from config.metrics import FOLDER
from core import safety

ROOT = Path(django_settings.BASE_DIR)
RANDOM = "kJ8vQx2mZr7TnWb4LpYc9HdFs3GgUe6Xa5"
SAFE = {
    "SECRET_KEY": RANDOM,
    "SECRET_KEY_FALLBACKS": [],
    "ALLOWED_HOSTS": ["dockside.example"],
    "DEBUG": False,
    "HTTPS": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_SSL_REDIRECT": True,
    "SECURE_HSTS_SECONDS": 31_536_000,
    "CSRF_TRUSTED_ORIGINS": ["https://dockside.example"],
    "BIND": "127.0.0.1:8000",
}
UNSAFE = [
    ("SECRET_KEY", "short-but-7xQz"),
    ("SECRET_KEY", "a" * 64),
    ("SECRET_KEY", "3fK9xQ7z" * 8),
    ("SECRET_KEY", "django-insecure-kJ8vQx2mZr7TnWb4LpYc9HdFs3"),
    ("SECRET_KEY", "please-change-me-kJ8vQx2mZr7TnWb4LpYc9HdFs3"),
    ("SECRET_KEY", "0123456789" * 6 + "0123"),
    ("SECRET_KEY_FALLBACKS", ["x" * 40]),
    ("ALLOWED_HOSTS", []),
    ("ALLOWED_HOSTS", [""]),
    ("ALLOWED_HOSTS", ["dockside.example", "*"]),
    ("DEBUG", True),
    ("SESSION_COOKIE_SECURE", False),
    ("CSRF_COOKIE_SECURE", False),
    ("SECURE_SSL_REDIRECT", False),
    ("SECURE_HSTS_SECONDS", 31_535_999),
    ("CSRF_TRUSTED_ORIGINS", ["http://dockside.example"]),
]


@pytest.fixture
def safe(settings):
    for name, value in SAFE.items():
        setattr(settings, name, value)
    return settings


class TestRefuseUnsafe:
    def test_lets_safe_settings_serve_anybody(self, safe):
        assert safety.dangers() == []
        for bind in ("127.0.0.1:8000", "0.0.0.0:8000", "10.0.0.7:80"):
            safe.BIND = bind
            safety.refuse_unsafe()

    @pytest.mark.parametrize(("name", "value"), UNSAFE)
    def test_names_the_variable_in_one_line(self, safe, name, value):
        setattr(safe, name, value)
        with pytest.raises(safety.Unsafe) as refused:
            safety.refuse_unsafe()
        (line,) = str(refused.value).splitlines()
        assert name in line
        if name.startswith("SECRET"):
            assert str(value).strip("[]'") not in line

    def test_names_all_of_them_at_once(self, safe):
        safe.SECRET_KEY, safe.ALLOWED_HOSTS, safe.DEBUG = "x", ["*"], True
        with pytest.raises(safety.Unsafe) as refused:
            safety.refuse_unsafe()
        assert len(str(refused.value).splitlines()) == 3

    @pytest.mark.parametrize("bind", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", ""])
    def test_leaves_who_sits_at_the_machine_alone(self, safe, bind):
        safe.HTTPS, safe.DEBUG, safe.ALLOWED_HOSTS, safe.BIND = False, True, ["*"], bind
        safety.refuse_unsafe()

    @pytest.mark.parametrize(
        "address", ["0.0.0.0:8000", "[::]:80", "192.0.2.1:80", "dockside.example:80", "/run/x.sock"]
    )
    def test_counts_every_address_that_is_served(self, safe, address):
        safe.HTTPS, safe.DEBUG = False, True
        with pytest.raises(safety.Unsafe, match="DEBUG"):
            safety.refuse_unsafe([address])
        if "/" not in address:
            safe.BIND = address
            with pytest.raises(safety.Unsafe, match="DEBUG"):
                safety.refuse_unsafe()

    def test_is_one_of_the_checks_before_deploying(self, safe):
        safe.DEBUG = True
        found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True)
        assert "dockside.E001" in {each.id for each in found}


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SAFE}
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    safe = {"SECRET_KEY": RANDOM, "ALLOWED_HOSTS": "dockside.example"}
    return kept | safe | changes


@pytest.mark.server
class TestGunicorn:
    def start(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", *arguments]
        return subprocess.run(
            [*gunicorn, "config.wsgi:application"],
            check=False,
            cwd=ROOT,
            env=environment(**changes),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_ends_with_a_line_for_each_reason(self):
        done = self.start(BIND="0.0.0.0:0", ALLOWED_HOSTS="*", DEBUG="1")
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if "does not start" in line]
        assert [line.split(": ")[1].split()[0] for line in lines] == ["ALLOWED_HOSTS", "DEBUG"]
        assert "Traceback" not in done.stderr

    def test_looks_at_the_address_of_the_command_line_too(self):
        done = self.start("--bind", "0.0.0.0:0", DEBUG="1")
        assert done.returncode == 1
        assert "does not start: DEBUG" in done.stderr


def settings_with(code: str, **changes: str) -> str:
    """What `code` prints in a process of its own, which reads the environment anew."""
    return subprocess.run(
        [sys.executable, "-c", f"from config import settings\nprint({code})"],
        check=True,
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


class TestSecretsFromFiles:
    def test_are_read_without_their_line_end(self, tmp_path):
        secrets = {
            "SECRET_KEY": RANDOM,
            "DATABASE_URL": "postgres://dockside:p4ss@db.example:5433/terminal?sslmode=require",
            "DATABASE_OWNER_URL": "postgres://owner:0wn@db.example:5433/terminal",
            "REDIS_URL": "redis://:p4ss@cache.example:6380/2",
        }
        changes = {}
        for name, value in secrets.items():
            (tmp_path / name).write_text(f"{value}\n")
            changes[f"{name}_FILE"] = str(tmp_path / name)
        shown = settings_with(
            "[settings.SECRET_KEY, *(settings.DATABASES['default'][name] for name in"
            " ('USER', 'PASSWORD', 'HOST', 'PORT', 'NAME')),"
            " settings.DATABASES['default']['OPTIONS']['sslmode'], settings.DATABASE_OWNER,"
            " settings.CACHES['default']['LOCATION']]",
            **changes,
        )
        owner = {"USER": "owner", "PASSWORD": "0wn", "HOST": "db.example", "PORT": 5433}
        database = ["dockside", "p4ss", "db.example", 5433, "terminal", "require"]
        assert shown == str([RANDOM, *database, owner, secrets["REDIS_URL"]])

    def test_of_two_databases_are_a_mistake(self):
        done = subprocess.run(
            [sys.executable, "-c", "from config import settings"],
            check=False,
            cwd=ROOT,
            env=environment(
                DATABASE_URL="postgres://dockside@db.example/terminal",
                DATABASE_OWNER_URL="postgres://owner@db.example/other",
            ),
            capture_output=True,
            text=True,
        )
        assert "DATABASE_OWNER_URL is not of DATABASE_URL's database" in done.stderr


class TestProxyHeaders:
    def test_are_believed_by_django_alone_and_only_if_told_so(self):
        assert settings_with("hasattr(settings, 'SECURE_PROXY_SSL_HEADER')") == "False"
        shown = settings_with("settings.SECURE_PROXY_SSL_HEADER", TRUST_PROXY="1")
        assert shown == "('HTTP_X_FORWARDED_PROTO', 'https')"

    def test_are_never_believed_by_gunicorn_itself(self, monkeypatch, tmp_path):
        from gunicorn.config import Config

        config = Config()
        assert "127.0.0.1" in config.forwarded_allow_ips  # what it would do
        monkeypatch.setenv(FOLDER, str(tmp_path))  # else it makes one, and tells all who come later
        path = ROOT / "config" / "gunicorn.py"
        text = path.read_text()
        ours: dict[str, object] = {"__name__": "config.gunicorn", "__file__": str(path)}
        exec(compile(text, "config/gunicorn.py", "exec"), ours)
        config.set("forwarded_allow_ips", ours["forwarded_allow_ips"])
        config.set("secure_scheme_headers", ours["secure_scheme_headers"])
        assert (config.forwarded_allow_ips, config.secure_scheme_headers) == ([], {})
