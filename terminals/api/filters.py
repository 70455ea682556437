"""What a list of terminals can be asked for."""

from typing import Any

from core.api.filters import FlagFilter, PartFilter, StrictFilterSet, WholeFilter, timeless


class TerminalFilter(StrictFilterSet):
    name = PartFilter(lookup_expr="icontains", help_text="A part of the name, without case.")
    account_code = WholeFilter(help_text="The whole account code.")
    is_active = FlagFilter()
    q = PartFilter(method="search", help_text="A part of name, account code or address.")

    @timeless
    def search(self, terminals: Any, _name: str, value: str) -> Any:
        return terminals.matching(value)
