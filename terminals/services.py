"""How terminals get their people."""

from collections.abc import Collection

from core.errors import UnknownReference
from core.models import User
from terminals.models import Terminal


def bind_staff(user: User, terminals: Collection[Terminal]) -> None:
    """Bind `user` to exactly these terminals; to none means to all of the organization.

    Raises:
        UnknownReference: a terminal is another organization's.
    """
    if any(terminal.organization_id != user.organization_id for terminal in terminals):
        raise UnknownReference(["terminals"])
    user.terminals.set(terminals, through_defaults={"organization_id": user.organization_id})
