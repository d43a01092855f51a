"""What a played game leaves behind: three tables, the columns of every world (columns.yaml) and the world's own.

`games` has one row per game, `actions` one per reply that a player gave (also an illegal one, which was
sampled like any other), `dialogues` one per view that a player had: the training sequences of later.

Taught in notebook 02.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import nearest
from maro_lib.world.turns import TurnGame
from maro_lib.worlds.registry import find_world


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: pa.DataType
    meaning: str


_TYPES = {
    "text": pa.string(),
    "message": pa.struct([("role", pa.string()), ("content", pa.string())]),
    "span": pa.struct([("t", pa.int32()), ("start", pa.int32()), ("end", pa.int32())]),
}


def _type(name: str) -> pa.DataType:
    inner = name.removeprefix("list of ")
    kind = _TYPES.get(inner) or pa.type_for_alias(inner)
    return kind if inner == name else pa.list_(kind)


def read_columns(path: Path) -> dict[str, tuple[Column, ...]]:
    """Read which columns tables have, from a file of the form of columns.yaml."""
    return _declared(yaml.load(path.read_text(encoding="utf-8"), StrictLoader))


def _declared(tables: Mapping[str, Mapping[str, tuple[str, str]]]) -> dict[str, tuple[Column, ...]]:
    return {table: tuple(Column(name, _type(kind), meaning) for name, (kind, meaning) in columns.items())
            for table, columns in tables.items()}  # fmt: skip


COMMON = read_columns(Path(__file__).with_name("columns.yaml"))  # of every world


def tables_of(world: str) -> dict[str, tuple[Column, ...]]:
    """Return the columns of a world's tables: the common ones, and its own."""
    return _tables(find_world(world))


def schemas_of(world: str) -> dict[str, pa.Schema]:
    """Return the schemas of a world's tables, which bear its name."""
    return _schemas(find_world(world))


@cache
def _tables(world: type[TurnGame]) -> dict[str, tuple[Column, ...]]:
    own = _declared(world.columns)
    return {table: columns + own.get(table, ()) for table, columns in COMMON.items()}


@cache
def _schemas(world: type[TurnGame]) -> dict[str, pa.Schema]:
    made = {table: [pa.field(c.name, c.type) for c in columns] for table, columns in _tables(world).items()}
    return {table: pa.schema(fields, metadata={"world": world.name}) for table, fields in made.items()}


TABLES, SCHEMAS = tables_of("mystery"), schemas_of("mystery")
KEYS = {"games": ["order"], "actions": ["order", "step"], "dialogues": ["order", "seat", "view"]}


def describe(name: str, world: str = "mystery") -> pd.DataFrame:
    """Return a table's columns, types and meanings, to be shown."""
    return pd.DataFrame(
        [(c.name, str(c.type), c.meaning) for c in tables_of(world)[name]], columns=["column", "type", "meaning"]
    )


def action_logps(dialogues: pd.DataFrame) -> pd.DataFrame:
    """Return one row per action whose tokens are known: game, seat, t, how many tokens, and their summed log-prob."""
    rows = []
    for d in dialogues[dialogues["exact"]].itertuples():
        at = 0
        for span in d.spans:
            n = span["end"] - span["start"]
            rows.append((d.game, d.seat, span["t"], n, float(sum(d.logps[at : at + n]))))
            at += n
    return pd.DataFrame(rows, columns=["game", "seat", "t", "tokens", "logp"])


# --- reading a table ------------------------------------------------------------------------------


def require(actions: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise if a column that `what` needs is not in the table."""
    for column in columns:
        if column not in actions.columns:
            raise ValueError(
                f"{what} needs the column `{column}`, which the table lacks{nearest(column, actions.columns)}"
            )


def parties(rows: pd.DataFrame) -> pd.Series:
    """Return who each row's agent wins and loses with: its side; its role in a world without sides."""
    return rows["faction"].where(rows["faction"] != "", rows["role"])


def finite(actions: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column's numbers; raise if one is missing or infinite."""
    values = actions[column].to_numpy(float, na_value=np.nan)
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"column `{column}`: {n_bad} of {len(values)} are not finite numbers")
    return values


def encode(actions: pd.DataFrame, columns: Iterable[str]) -> np.ndarray:
    """Number the combinations of values from 0, in sorted order: integers, because grouping by text is slow."""
    codes = np.zeros(len(actions), np.int64)
    for column in columns:
        own, values = pd.factorize(actions[column], sort=True, use_na_sentinel=False)
        codes = pd.factorize(codes * len(values) + own, sort=True)[0]
    return codes


def trajectories(actions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return each action's trajectory (one character in one game) as a code, and one row of each trajectory."""
    trajectory = encode(actions, ["game", "agent"])
    return trajectory, np.unique(trajectory, return_index=True)[1]
