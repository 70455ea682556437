"""The settings of the test suite: production's, with a handful of lines changed."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests-only-for-tests-only-for-tests-only")
os.environ["LOG_FORMAT"] = "json"

from config.settings import *  # noqa: F403
from config.settings import DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True
# A test that holds a lock must not wait for the production time-out.
DATABASES["default"]["OPTIONS"]["application_name"] = "dockside-tests"
# Tests arrange and look beyond every wall; requests and commands build their own anew.
DATABASES["default"]["OPTIONS"]["options"] += " -c dockside.everyone=on"
