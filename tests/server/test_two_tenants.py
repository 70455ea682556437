"""Two organizations at once on a pool of two connections: neither ever sees the other's rows."""

import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from core.api.tokens import tokens_for
from core.models import Organization
from core.postgres.ownership import as_owner
from tests.core.factories import UserFactory
from tests.orders.factories import OrderFactory
from tests.server import conftest
from tests.server.conftest import Wire

ROUNDS, CALLERS = 20, 6


class Tenant:
    """A user, what is its own, and what is somebody else's."""

    def __init__(self) -> None:
        user = UserFactory()
        orders = OrderFactory.create_batch(3, terminal__organization=user.organization)
        self.token = str(tokens_for(user).access_token)
        self.own = {str(order.pk) for order in orders}
        self.foreign: set[str] = set()

    def ask(self, wire: Wire, method: str, path: str, body: bytes = b"") -> conftest.Answer:
        head = [
            f"{method} /api/v1{path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        return wire.send("\r\n".join(head) + "\r\n\r\n", body).answer(has_body=True)


@pytest.fixture
def tenants(transactional_db, monkeypatch, tmp_path):
    """Two tenants, and the address of a server whose pool has two connections for four threads."""
    environment = conftest._environment
    monkeypatch.setattr(
        conftest,
        "_environment",
        lambda: {**environment(), "DB_POOL_SIZE": "2", "DB_POOL_OVERFLOW": "0"},
    )
    one, other = Tenant(), Tenant()
    one.foreign, other.foreign = other.own, one.own
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        conftest._running(listener, tmp_path / "log"),
    ):
        yield [one, other], listener.getsockname()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Organization._meta.db_table} CASCADE")


@pytest.mark.server
def test_no_connection_carries_a_tenant_to_the_next_caller(tenants):
    (one, other), address = tenants

    def hammer(caller: int) -> int:
        chance = random.Random(caller)
        tenant = (one, other)[caller % 2]
        with Wire(address) as wire:
            for _ in range(ROUNDS):
                listed = tenant.ask(wire, "GET", "/orders")
                assert {row["id"] for row in json.loads(listed.body)["data"]} == tenant.own
                foreign = chance.choice(sorted(tenant.foreign))
                assert tenant.ask(wire, "GET", f"/orders/{foreign}").status == 404
                # Requests that end in the middle: of a look-up, of a rule, of a body.
                assert (
                    tenant.ask(wire, "PATCH", f"/orders/{foreign}", b'{"notes":"x"}').status == 404
                )
                own = chance.choice(sorted(tenant.own))
                assert tenant.ask(wire, "PATCH", f"/orders/{own}", b'{"pallets":-1}').status == 422
                assert tenant.ask(wire, "POST", "/orders", b"{").status == 400
        return ROUNDS

    with ThreadPoolExecutor(CALLERS) as callers:
        assert sum(callers.map(hammer, range(CALLERS))) == ROUNDS * CALLERS
