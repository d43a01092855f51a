"""What a world notes of its games and moves beside what all worlds have: which columns, what they mean, how they read.

Used by whatever shows a game: a transcript, the page on which games are watched, a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from maro_lib.play.tables import COMMON, tables_of
from maro_lib.worlds.registry import find_world

MYSTERY = "mystery"  # whose columns have views of their own


class About(NamedTuple):
    """What a reader needs to know of a world."""

    question: str
    success: str  # the rule, in a line


def about_world(world: str) -> About:
    """Say what a world is about; of one that is not here, nothing."""
    try:
        kind = find_world(world)
    except Exception:  # a file of somebody's own, not read in this process, or a package that is gone
        return About("", "")
    return About(kind.question, kind.success)


def own_columns(world: str, table: str, columns: Iterable[str]) -> dict[str, str]:
    """Return those of a table's columns that are the world's own, with their meanings.

    Of a world that is not here: all that not every world has, without a meaning.
    """
    common = {c.name for c in COMMON[table]}
    try:
        meanings = {c.name: c.meaning for c in tables_of(world)[table]}
    except Exception:
        meanings = dict.fromkeys(columns, "")
    return {name: meanings[name] for name in columns if name in meanings and name not in common}


def said_value(value: Any) -> str:
    """Say a noted value in a few signs; nothing if nothing was noted."""
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(map(said_value, value))
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{round(float(value), 3):g}"
    return "" if value is None else str(value)


def by_seat(value: Any, n: int) -> list[str] | None:
    """Say a noted value seat by seat, where it holds one for each of `n` seats."""
    is_list = isinstance(value, list | tuple | np.ndarray)
    return [said_value(x) for x in value] if is_list and len(value) == n else None


def ended_as(row: Mapping[str, Any]) -> dict[str, str]:
    """Say what a game's world notes of its end: each of its own columns that holds something, by name."""
    own = own_columns(row.get("world", MYSTERY), "games", row.keys())
    return {name: said for name in own if (said := said_value(row[name]))}
