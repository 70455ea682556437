"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from core import tracing
from core.safety import refuse_unsafe

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

tracing.start_if_wanted()  # it adds to the middleware, which is made once
application = get_wsgi_application()
refuse_unsafe()
get_resolver().url_patterns  # noqa: B018 - every view is there before the first request, or none is
