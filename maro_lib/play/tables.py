"""What a played game leaves behind: three tables, each column declared in columns.yaml and nowhere else.

`games` has one row per game, `actions` one per reply that a player gave (also an illegal one, which was
sampled like any other), `dialogues` one per view that a player had: the training sequences of later.

Taught in notebook 02.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import nearest


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
    tables = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    return {table: tuple(Column(name, _type(kind), meaning) for name, (kind, meaning) in columns.items())
            for table, columns in tables.items()}  # fmt: skip


TABLES = read_columns(Path(__file__).with_name("columns.yaml"))
SCHEMAS = {name: pa.schema([pa.field(c.name, c.type) for c in columns]) for name, columns in TABLES.items()}
KEYS = {"games": ["order"], "actions": ["order", "step"], "dialogues": ["order", "seat", "view"]}


def describe(name: str) -> pd.DataFrame:
    """Return a table's columns, types and meanings, to be shown."""
    return pd.DataFrame([(c.name, str(c.type), c.meaning) for c in TABLES[name]], columns=["column", "type", "meaning"])


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
