"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from core import tracing
from core.safety import refuse_unsafe

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

tracing.start_if_wanted()  # it adds to the middleware, which is made once
application = get_wsgi_application()
refuse_unsafe()
