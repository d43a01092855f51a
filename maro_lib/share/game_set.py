"""Self-play games as a data set: how each ended, every action, and every view, with the scripts they followed.

Columns and their meanings are those of play/columns.yaml. Names of players lose the places of this machine.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.play.shards import read_scripts, read_table
from maro_lib.play.tables import SCHEMAS, TABLES
from maro_lib.runs import make_folder, write_atomic
from maro_lib.share.cards import code, column_rows, set_header, write_card
from maro_lib.share.source import Source, portable_player
from maro_lib.share.terms import terms_of
from maro_lib.world.setups import dump_scripts

TAGS = ("maro", "multi-agent", "self-play", "social-deduction")


def write_game_set(source: Source, folder: Path) -> None:
    """Write a run's games, actions and dialogues, their scripts, and a card that says what every column means."""
    rollout, n_rows = source.at("rollout"), {}
    for name in TABLES:
        rows = _without_places(read_table(rollout, name))
        make_folder(folder / name)
        table = pa.Table.from_pandas(rows, SCHEMAS[name], preserve_index=False).replace_schema_metadata()
        pq.write_table(table, folder / name / "train.parquet", compression="zstd")
        n_rows[f"n_{name}"] = f"{len(rows):,}"
    scripts, terms = read_scripts(rollout), terms_of(source)
    write_atomic(folder / "scripts.yaml", dump_scripts(scripts.values()))
    write_card(
        folder, "games", set_header(folder, terms.licence, TAGS, list(TABLES)), run=source.title, terms=terms.told,
        players=code(portable_player(source.headline("02_rollout")["learner"])), n_scripts=f"{len(scripts):,}",
        **n_rows, **{name: column_rows(columns) for name, columns in TABLES.items()},
    )  # fmt: skip


def _without_places(rows: pd.DataFrame) -> pd.DataFrame:
    """Say who played without saying where their weights lie."""
    if "policies" in rows:
        rows["policies"] = [[portable_player(name) for name in names] for names in rows["policies"]]
    if "policy" in rows:
        rows["policy"] = rows["policy"].map(portable_player)
    return rows
