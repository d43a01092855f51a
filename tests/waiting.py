"""Waiting for what another process does."""

import time
from collections.abc import Callable


def wait_for(happened: Callable[[], object], seconds: float) -> None:
    """Return as soon as it has happened; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.02)
