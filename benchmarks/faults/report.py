"""What was measured against what was promised: one line per bar."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Bars:
    """The bars of one fault program; `failed` is how many were missed."""

    program: str
    lines: list[str] = field(default_factory=list)
    failed: int = 0
    _began: float = field(default_factory=time.monotonic)

    def doing(self, what: str) -> None:
        """Tell on standard error what takes time now."""
        line = f"{self.program} {time.monotonic() - self._began:5.0f} s  {what}"
        if sys.stderr.isatty():
            print(f"\r\033[K{line[:110]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def add(self, row: str, what: str, measured: object, bar: str, *, ok: bool) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.failed += not ok
        shown = f"{measured:.3g}" if isinstance(measured, float) else str(measured)
        verdict = "ok" if ok else "NOT"
        line = f"{row:4} {self.program:19} {what:58} {shown:>18}   bar {bar:14} {verdict}"
        self.lines.append(line)
        print(line, flush=True)

    def at_most(self, row: str, what: str, value: float, limit: float, unit: str = "") -> None:
        shown = f"{number(value)} {unit}".strip()
        self.add(row, what, shown, f"≤ {number(limit)} {unit}".strip(), ok=value <= limit)

    def at_least(self, row: str, what: str, value: float, limit: float, unit: str = "") -> None:
        shown = f"{number(value)} {unit}".strip()
        self.add(row, what, shown, f"≥ {number(limit)} {unit}".strip(), ok=value >= limit)

    def exactly(self, row: str, what: str, value: object, wanted: object) -> None:
        self.add(row, what, value, str(wanted), ok=value == wanted)

    def note(self, row: str, what: str) -> None:
        """Say what was measured without a bar, or why nothing was."""
        line = f"{row:4} {self.program:19} {what}"
        self.lines.append(line)
        print(line, flush=True)


def number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
