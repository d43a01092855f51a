"""Wording: how an error hints at what was meant, and how messages and tables say numbers, times and sizes.

No zero has a sign, and no p is said to be zero. Lines are broken between words: JupyterLab breaks them within.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

GB = 2**30


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word most like `word`, or nothing."""
    near = difflib.get_close_matches(str(word), sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raise if a name is not among the known ones; the message hints at the one that was meant."""
    if name not in known:
        raise ValueError(f"{what}: {name!r} is unknown{nearest(name, known)} (known: {', '.join(known)})")


def counted(n: int, noun: str) -> str:
    """Say how many: 1 clue, 2 clues."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def signed(x: float, digits: int) -> str:
    """Say a change: +1.5, -0.3; what rounds to zero has no sign."""
    said = f"{x:+z.{digits}f}"
    return said if float(said) else said.removeprefix("+")


def p_value(p: float) -> str:
    """Say a p to three places: 0.018, < 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def as_text(table: pd.DataFrame, digits: int, p: Iterable[str] = (), *, index: bool = False) -> str:
    """Lay a table out with so many places and its columns of p as `p_value` says them; what is not known is empty."""
    said = table.assign(**{name: table[name].map(p_value, na_action="ignore") for name in p})
    return said.to_string(index=index, na_rep="", float_format=f"{{:z.{digits}f}}".format)


def wrapped(text: str, width: int = 120, indent: str = "") -> str:
    """Break long lines between words; what goes on begins with `indent`."""
    how = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.fill(line, width, **how) for line in text.splitlines())


def duration(seconds: float) -> str:
    """Say a time roughly: 40 s, 12 min, 3.5 h, 2 days."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{int(seconds < 10 * size)}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than a second"


def between(low: float, high: float) -> str:
    """Say a range of times."""
    return duration(high) if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"


def amount(n_bytes: float) -> str:
    """Say bytes: 5.2 GB (of 2**30), 40.0 MB, 3.1 kB."""
    units = {"GB": GB, "MB": 2**20}
    unit = next((unit for unit, size in units.items() if n_bytes >= size / 20), "kB")
    return f"{n_bytes / units.get(unit, 2**10):.1f} {unit}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or what kind of error it is."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
