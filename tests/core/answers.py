"""What every answer of the API has in common, as one question to ask of it."""

import re
from typing import Any

from core.api.problems import PROBLEMS

# Nothing of the house's inside: statements, tables, constraints, classes, traces, paths, hosts.
INTERNALS = re.compile(
    r"(?i)\b(select|insert into|update|delete from)\b.{0,80}\b(from|values|set|where)\b"
    r"|psycopg|postgres|sqlstate|traceback|exception|django|rest_framework|\.py\b|site-packages"
    r"|orders_order|fleet_(driver|truck|trailer)|terminals_terminal|core_(user|organization)"
    r"|constraint|relation \"|column \"|127\.0\.0\.1|localhost|dockside_|/home/|/root/|/tmp/"
)


def problem(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The body of a refusal, after a look at whether it has the contract's form.

    `code` may be left out where a status has only one.
    """
    assert response.status_code == status, (response.status_code, response.content[:500])
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "code", "detail", "request_id"} <= set(body)
    assert set(body) <= {
        *("type", "title", "status", "code", "detail", "request_id"),
        *("errors", "current_version"),
    }
    assert body["type"] == f"/problems/{body['code']}"
    assert PROBLEMS[body["code"]].status == body["status"] == status
    assert body["title"] == PROBLEMS[body["code"]].title
    assert body["request_id"] == response["X-Request-ID"]
    for error in body.get("errors", []):
        assert set(error) == {"field", "code", "message"}
        assert error["field"] is None or isinstance(error["field"], str)
        assert isinstance(error["code"], str)
        assert isinstance(error["message"], str)
    assert not INTERNALS.search(response.content.decode()), response.content
    if code is not None:
        assert body["code"] == code, body
    return body


def blamed(response: Any, status: int = 422, code: str | None = None) -> list[tuple[Any, str]]:
    """Field and code of each error of a refusal, in the order of the fields."""
    found = [(each["field"], each["code"]) for each in problem(response, status, code)["errors"]]
    return sorted(found, key=lambda each: (str(each[0]), each[1]))
