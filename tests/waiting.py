"""How tests wait for what another thread or process does."""

import time
from collections.abc import Callable


def eventually(is_true: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it becomes true in so many seconds."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
