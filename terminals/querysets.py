"""The words for choosing terminals."""

from typing import TYPE_CHECKING, Self

from django.db.models import Q

from core.querysets import ReferenceQuerySet

if TYPE_CHECKING:
    from terminals.models import Terminal  # noqa: F401


class TerminalQuerySet(ReferenceQuerySet["Terminal"]):
    terminal_path = "pk"

    def matching(self, words: str) -> Self:
        """Terminals with `words` in the name, the account code or the address, without case."""
        return self.filter(
            Q(name__icontains=words)
            | Q(account_code__icontains=words)
            | Q(address__icontains=words)
        )

    def zones(self) -> list[str]:
        """The time zones that these terminals' clocks show; one statement."""
        return list(self.order_by().values_list("timezone", flat=True).distinct())
