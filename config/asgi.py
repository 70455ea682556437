"""The asynchronous door, for the live streams that come later; nothing uses it yet."""

import os

from django.core.asgi import get_asgi_application

from core.safety import refuse_unsafe

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()
refuse_unsafe()
