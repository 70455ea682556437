"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from core.safety import refuse_unsafe

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
refuse_unsafe()
