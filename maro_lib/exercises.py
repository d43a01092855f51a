"""Answers and expectations: `check` judges an exercise's answer, `expect` says whether a toy's games came as expected.

An assert guards code, and stops; an expectation about a model's games speaks, and goes on. Used in every notebook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from maro_lib.wording import wrapped


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


def expect(finding: str, holds: bool, came: Any = "") -> None:
    """Print whether an expectation about these games held, and what came; never raise.

    `finding` says what the toy's games show, `holds` whether these do, `came` the value or sentence that they gave.
    """
    told = "as expected" if holds else "NOT as expected"
    print(wrapped(f"{told}: {finding}" + (f" (came: {came})" if f"{came}" else "")))


def _is_right(answer: Any, expected: Any | Callable[[Any], bool], tolerance: float) -> bool:
    if callable(expected):
        return bool(expected(answer))
    if isinstance(expected, int | float) and not isinstance(expected, bool) and isinstance(answer, int | float):
        return math.isclose(answer, expected, abs_tol=tolerance, rel_tol=0)
    return bool(answer == expected)
