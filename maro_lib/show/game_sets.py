"""The games of a run, set by set: where they are, what a set is called, which sets hold the same games.

    rollout             self-play
    matches/nobody      base in all seats
    matches/civilian    the same games, civilians trained: paired with base by the game's name

A set is a folder of shards, wherever in a run's folder a stage has put it. Used by the page on which games are watched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maro_lib.learn import credit_models
from maro_lib.learn.decomposition import cheap_rules, decompose
from maro_lib.learn.rulebook import CREDIT_RULES
from maro_lib.play.shards import read_scripts, read_table, shard_folders
from maro_lib.play.tables import KEYS
from maro_lib.runs import run_folder
from maro_lib.world.scripts import Clue, Script

BASE_SET = "nobody"  # the folder of a line-up in which nobody is trained
SET_WORDS = {
    "rollout": "self-play", BASE_SET: "base in all seats", "civilian": "civilians trained",
    "culprit": "culprits trained",
}  # fmt: skip
NOT_A_SET = ("before",)  # what a stage that starts anew puts its old artefacts into
DEEPEST = 6  # folders below a run's
MOST_FITTED = 30_000  # actions of a set, up to which rules that fit a model are asked too: a second each
FITTED = {name for name, rule in CREDIT_RULES.items() if rule.weigh.__module__ == credit_models.__name__}
KEPT_CREDIT = "as kept by 03"


class GameSet(NamedTuple):
    """Games that were played together, and what is known of them."""

    place: str  # below the run's folder
    games: pd.DataFrame
    actions: pd.DataFrame
    base: str = ""  # the place of the same games with base in all seats
    credit: Mapping[str, pd.Series] = {}  # rule -> weights, on the index of `actions`
    expected: pd.Series | None = None  # by game: mean log-probability of a sampled token
    clues: Mapping[str, Mapping[str, Clue]] = {}  # a script's digest -> id -> clue

    @property
    def title(self) -> str:
        """What the set is called: from the innermost folder outwards."""
        parts = [part for part in self.place.split("/") if part != "matches"]
        return ", ".join(SET_WORDS.get(part, part.replace("_", " ")) for part in reversed(parts))

    @property
    def trained(self) -> str:
        """The faction that a trained model plays against base; empty: none."""
        return self.place.rpartition("/")[2] if self.base else ""


def set_places(run: str) -> list[str]:
    """Find the sets of a run, those of round 1 first."""
    root, found = run_folder(run), []
    for folder, below, _ in os.walk(root, followlinks=True):  # what is taken over from another run is a link
        place = Path(folder).relative_to(root)
        if shard_folders(Path(folder)):
            found.append(place.as_posix())
            below.clear()
        below[:] = [n for n in below if "." not in n and n not in NOT_A_SET and len(place.parts) < DEEPEST]
    return sorted(found, key=lambda place: (place.startswith("round_"), place.split("/")[:-1], place))


def paired_base(place: str, places: Iterable[str]) -> str:
    """Return where base played the games of a line-up: beside it, or in a folder above."""
    known, above = {*places} - {place}, place
    while above:
        above = above.rpartition("/")[0]
        if (base := f"{above}/{BASE_SET}") in known:
            return base
    return ""


def read_set(run: str, place: str, places: Iterable[str]) -> GameSet:
    """Read one set; a damaged one is an error that says what mends it."""
    folder = run_folder(run) / place
    actions = read_table(folder, "actions")
    return GameSet(
        place, read_table(folder, "games"), actions, paired_base(place, places), _credit(folder, actions),
        expected_words(folder), _clues(folder),
    )  # fmt: skip


def expected_words(folder: Path) -> pd.Series:
    """Return each game's mean log-probability of a sampled token: the lowest is the strangest game."""
    dialogues = read_table(folder, "dialogues", ["game", "logps"]).dropna(subset="logps")
    return dialogues.groupby("game")["logps"].agg(lambda rows: float(np.concatenate(rows.to_list()).mean()))


def _credit(folder: Path, actions: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what 03 has kept, and what each rule gives that needs nothing but the table."""
    rules = [name for name in cheap_rules() if {*CREDIT_RULES[name].needs} <= {*actions}]
    can_fit = len(actions) <= MOST_FITTED and actions["script"].nunique() > 1  # from some mysteries for the others
    rules = [name for name in rules if can_fit or name not in FITTED]
    return _kept_credit(folder, actions) | {name: decompose(actions, name) for name in rules}


def _kept_credit(folder: Path, actions: pd.DataFrame) -> dict[str, pd.Series]:
    path = folder.with_name("credit.parquet")
    if folder.name != "rollout" or not path.exists():
        return {}
    kept = pd.read_parquet(path, columns=[*KEYS["actions"], "weight"])
    return {KEPT_CREDIT: actions[KEYS["actions"]].merge(kept, how="left")["weight"]}


def _clues(folder: Path) -> dict[str, dict[str, Clue]]:
    return {digest: {clue.id: clue for clue in s.clues} for digest, s in read_scripts(folder).items()
            if isinstance(s, Script)}  # fmt: skip
