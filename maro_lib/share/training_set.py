"""The training set as a data set: a row per action as TRL wants unpaired preferences, and a row per dialogue.

    preferences     prompt, completion, label (TRL's KTOTrainer), weight, faction, rule
    conversations   messages, and for each assistant message its label and weight

What a row holds is in columns.yaml. A dialogue of T actions is read T times as preferences, once as a conversation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.learn.balancing import Facts
from maro_lib.learn.corpus import ACTION, told_views
from maro_lib.play.shards import read_table
from maro_lib.play.tables import read_columns
from maro_lib.runs import make_folder, read_record
from maro_lib.share.cards import code, column_rows, set_header, write_card
from maro_lib.share.source import Source
from maro_lib.share.terms import terms_of

SET_TABLES = read_columns(Path(__file__).with_name("columns.yaml"))
AT_ONCE = 1000  # rows that are in memory


class Judged(NamedTuple):
    """What training knows of an action."""

    label: bool
    weight: float
    faction: str


def write_training_set(source: Source, folder: Path) -> None:
    """Write a run's balanced training set in both forms, with its card."""
    training, rule = source.table("training.parquet"), source.headline("03_decomposition")["rule"]
    dialogues = read_table(source.at("rollout"), "dialogues")
    for name, rows in (("preferences", preferences), ("conversations", conversations)):
        _write_rows(folder / name / "train.parquet", name, rows(dialogues, training, rule))
    facts, terms = read_record(source.at("training.json"), Facts), terms_of(source)
    header = set_header(folder, terms.licence, ["maro", "kto", "multi-agent", "self-play"], list(SET_TABLES))
    write_card(
        folder, "training", header, run=source.title, rule=code(rule), mode=code(facts.mode), statement=facts.statement,
        lam_pos=f"{facts.lam_pos:.4g}", lam_neg=f"{facts.lam_neg:.4g}", least=f"{training['weight'].min():.4g}",
        most=f"{training['weight'].max():.4g}", terms=terms.told,
        **{name: column_rows(columns) for name, columns in SET_TABLES.items()},
    )  # fmt: skip


def preferences(dialogues: pd.DataFrame, training: pd.DataFrame, rule: str) -> Iterator[dict[str, Any]]:
    """Yield a row for every action that balancing kept: what it was said to, what was said, and its label."""
    kept = _judged(training)
    for view in told_views(dialogues):
        said = [message._asdict() for message in view.messages]
        for place, t in view.replies():
            if judged := kept.get((view.row.game, view.row.seat, t)):
                yield {
                    "prompt": said[:place], "completion": [said[place]], **judged._asdict(), "rule": rule,
                    "game": view.row.game, "agent": view.row.agent, "t": t,
                }  # fmt: skip


def conversations(dialogues: pd.DataFrame, training: pd.DataFrame, rule: str) -> Iterator[dict[str, Any]]:
    """Yield a row for every dialogue of which balancing kept an action."""
    kept = _judged(training)
    for view in told_views(dialogues):
        judged = [kept.get((view.row.game, view.row.seat, t)) for _, t in view.replies()]
        if not any(judged):
            continue
        of_all = [None] * view.n_old + judged
        yield {
            "messages": [message._asdict() for message in view.messages],
            "labels": [one and one.label for one in of_all], "weights": [one and one.weight for one in of_all],
            "faction": next(filter(None, judged)).faction, "rule": rule, "game": view.row.game, "agent": view.row.agent,
        }  # fmt: skip


def _judged(training: pd.DataFrame) -> dict[tuple[str, int, int], Judged]:
    keys, facts = (
        zip(*(training[name] for name in names), strict=True) for names in (ACTION, ("desirable", "weight", "faction"))
    )
    return dict(zip(keys, (Judged(bool(y), w, faction) for y, w, faction in facts), strict=True))


def _write_rows(path: Path, form: str, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows as they come: a training set as preferences is many times its dialogues."""
    make_folder(path.parent)
    schema = pa.schema([(column.name, column.type) for column in SET_TABLES[form]])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema))
