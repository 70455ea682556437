"""The settings of the test suite: production's, with a handful of lines changed."""

import os
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("SECRET_KEY", "only-for-tests-only-for-tests-only-for-tests-only")
os.environ["LOG_FORMAT"] = "json"

from config.settings import *  # noqa: F403
from config.settings import CACHES, DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True
# A busy machine is no Valkey that hangs: tests of that take servers of their own.
_options: Any = CACHES["default"]["OPTIONS"]
_options |= {"SOCKET_CONNECT_TIMEOUT": 5.0, "SOCKET_TIMEOUT": 5.0}
# A test that holds a lock must not wait for the production time-out.
DATABASES["default"]["OPTIONS"]["application_name"] = "dockside-tests"
# Tests arrange and look beyond every wall; requests and commands build their own anew.
DATABASES["default"]["OPTIONS"]["options"] += " -c dockside.everyone=on"
# Each process of a parallel run has a database of Valkey to itself, as it has one of PostgreSQL.
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_valkey = urlsplit(str(CACHES["default"]["LOCATION"]))
_valkey = _valkey._replace(path=f"/{int(_valkey.path.strip('/') or 0) + _number}")
CACHES["default"]["LOCATION"] = os.environ["REDIS_URL"] = _valkey.geturl()
