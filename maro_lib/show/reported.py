"""What a report is made from: a run's folder and summary, and the words around its numbers (report.yaml)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from maro_lib.markup import Html, tag
from maro_lib.runs import ROUND, WATCH_PAGE, maker, read_record, round_name, run_folder
from maro_lib.show.watch import move_link
from maro_lib.summary import Summary
from maro_lib.world.phrases import CheckedWords, read_words, sentence


class ReportWords(CheckedWords):
    """What a report says around its numbers."""

    question: str
    notebooks: str  # the question of a run whose notebooks can't be read
    worlds: str
    world_games: str = sentence("success")
    more_games: str = sentence("shown n")
    never: str  # instead of an interval of width zero
    luck: str = sentence("n ranges")
    judged: str = sentence("judge")
    gold: str
    too_few: str = sentence("mysteries least metrics")
    lies: str
    seen: str
    beliefs: str
    not_asked: str
    games: str = sentence("rule")
    published: str = sentence("judge paper")
    skill_columns: dict[str, str]  # heading -> column
    belief_columns: dict[str, str]
    lie_columns: dict[str, str]


LABELS = read_words(Path(__file__).with_name("report.yaml"), ReportWords)


class Run(NamedTuple):
    """What a report is made from."""

    name: str
    n_rounds: int
    summary: Summary

    def at(self, name: str) -> Path:
        """Where a stage left something; what every round makes is that of the last one."""
        of_round = maker(name.partition("/")[0]) in ROUND
        return run_folder(round_name(self.name, self.n_rounds) if of_round else self.name) / name

    def has(self, *names: str) -> bool:
        return all(self.at(name).exists() for name in names)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.at(name))

    def record(self, name: str, kind: type) -> dict[str, Any]:
        return asdict(read_record(self.at(name), kind))


def watch_link(run: Run, place: Path, game: str) -> Html:
    """Lead to a game on the page on which all are watched, if there is one."""
    if not (run_folder(run.name) / WATCH_PAGE).exists():
        return Html()
    at = place.relative_to(run_folder(run.name)).as_posix()
    return tag("p", tag("a", "Watch it, move by move", href=f"{WATCH_PAGE}#{move_link(at, game)}"))
