"""Answers to exercises: silent about what was not tried, loud about what is wrong.

Used at the end of every notebook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def check(answer: Any, expected: Any, law: str = "", *, tolerance: float = 1e-9) -> None:
    """Say "not attempted" for None and "right" for the expected answer; raise, naming the law, for another.

    `expected` is a value, or a function that returns True for a right answer.
    """
    if answer is None:
        print("not attempted")
        return
    if not _is_right(answer, expected, tolerance):
        raise AssertionError(f"{answer!r} is not it. {law}".strip())
    print(f"right. {law}".strip())


def _is_right(answer: Any, expected: Any | Callable[[Any], bool], tolerance: float) -> bool:
    if callable(expected):
        return bool(expected(answer))
    if isinstance(expected, int | float) and not isinstance(expected, bool) and isinstance(answer, int | float):
        return math.isclose(answer, expected, abs_tol=tolerance, rel_tol=0)
    return bool(answer == expected)
