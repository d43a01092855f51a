"""Does it work? The same budget for MARO, its parts left out, and its rivals: every arm on every seed, resumable.

A seed decides the mysteries, the games, who is drawn, the adapter's beginning. Its games are played once, and every arm
learns from them, with equally many optimiser steps of equally many dialogues; all are then matched against the frozen
base in the same held-out games. An arm that learns nothing gains nothing: `shuffled labels` must. Taught in
notebook 08.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from maro_lib.balancing import balance
from maro_lib.corpus import Corpus, make_corpus
from maro_lib.decomposition import decompose, shuffle_outcomes
from maro_lib.gamebook import Gamebook
from maro_lib.local import LocalPolicy
from maro_lib.matches import NOBODY, gains, match
from maro_lib.models import load
from maro_lib.rollout import play
from maro_lib.runs import ROOT, make_folder, write_atomic
from maro_lib.statistics import Mean
from maro_lib.training import Settings, Trained, train


@dataclass(frozen=True)
class Arm:
    """What one contender does otherwise than MARO."""

    why: str
    rule: str = "uniform"
    mode: str = "min"
    classes: str = "per_faction"
    shuffled: bool = False
    changed: dict[str, object] = field(default_factory=dict)  # of the settings


ARMS = {
    "MARO": Arm("uniform credit, min balance, classes even per faction, ema z0, anchor"),
    "shuffled labels": Arm("each game gets the outcome of another: must gain nothing", shuffled=True),
    "SFT on winners": Arm("imitates what winners did", changed={"objective": "sft", "anchor": 0.0}),
    "terminal": Arm("credit for the last action only", rule="terminal"),
    "no balancing": Arm("all characters as they are, classes even overall", mode="all", classes="overall"),
    "KTO as TRL": Arm("z0 from mismatched pairs, never below 0; weights 1; no anchor", mode="all", classes="overall",
                      changed={"z0": "mismatched", "anchor": 0.0, "lam_pos": 1.0, "lam_neg": 1.0}),
    "lambdas overall": Arm("classes weigh the same overall, not within factions", classes="overall"),
    "no anchor": Arm("the paper's loss as it stands", changed={"anchor": 0.0}),
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """How large a study is; all arms share it."""

    gamebook: Gamebook
    settings: Settings
    model: str = "embedded"
    precision: str = "float32"
    n_games: int = 1000
    n_dialogues: int = 4000  # read by each arm, again if it has fewer
    n_matches: int = 400  # games per line-up
    n_match_scripts: int = 100
    concurrency: int = 128

    def book(self, seed: int) -> Gamebook:
        return replace(self.gamebook, seed=self.gamebook.seed + seed)


def corpus_of(arm: Arm, actions: pd.DataFrame, dialogues: pd.DataFrame, seed: int) -> tuple[Corpus, dict[str, float]]:
    """Decompose, balance and join: what one arm learns from, and the lambdas that go with it."""
    actions = shuffle_outcomes(actions, seed) if arm.shuffled else actions
    balanced = balance(actions.assign(weight=decompose(actions, arm.rule)), arm.mode, seed=seed, classes=arm.classes)
    lambdas = {"lam_pos": balanced.lam_pos, "lam_neg": balanced.lam_neg}
    return make_corpus(dialogues, balanced.actions), lambdas


def collect(study: Study, arms: Sequence[str], seeds: Iterable[int], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Go through seeds and arms; return all matches and all training curves. Killed, it goes on where it was."""
    results, curves = [], []
    for seed in seeds:
        at = folder / f"seed-{seed}"
        base = LocalPolicy(load(study.model, precision=study.precision))
        games = study.book(seed).games(study.n_games)
        played = play(games, base, folder=at / "rollout", concurrency=study.concurrency)
        actions, dialogues = played.table("actions"), played.table("dialogues")
        for name in arms:
            place = at / name.replace(" ", "_")
            trained = _train(study, ARMS[name], actions, dialogues, seed, place / "learning")
            results.append(matches(study, trained.folder, seed, place).assign(arm=name, seed=seed))
            curves.append(trained.curve.assign(arm=name, seed=seed))
    return pd.concat(results, ignore_index=True), pd.concat(curves, ignore_index=True)


def _train(study: Study, arm: Arm, actions: pd.DataFrame, dialogues: pd.DataFrame, seed: int, folder: Path) -> Trained:
    corpus, lambdas = corpus_of(arm, actions, dialogues, seed)
    settings = replace(study.settings, **lambdas, seed=seed, epochs=study.n_dialogues / len(corpus))
    loaded = load(study.model, precision=study.precision)
    return train(loaded, corpus, replace(settings, **arm.changed), folder)


def matches(study: Study, adapter: Path, seed: int, folder: Path) -> pd.DataFrame:
    """Match an adapter against its base; the base's own games are played once per seed."""
    base, trained = (LocalPolicy(load(study.model, precision=study.precision, adapter=a)) for a in ("", str(adapter)))
    games = study.book(seed).held_out(study.n_matches, study.n_match_scripts)
    shared = {"concurrency": study.concurrency}
    without = match(games, base, folder=folder.parent / "matches", line_ups=(NOBODY,), **shared)
    own = match(games, trained, folder=folder / "matches", line_ups=("civilian", "culprit"), **shared)
    return pd.concat([without, own], ignore_index=True)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per arm, seed ("all" for all of them together) and faction: the gain with its interval."""
    rows = []
    for arm, of_arm in results.groupby("arm", sort=False):
        by_seed = {str(seed): table for seed, table in of_arm.groupby("seed")}
        for seed, table in {**by_seed, "all": of_arm}.items():
            of_seed = table["seed"].astype(str) + "/"  # games and mysteries of two seeds are different ones
            table = table.assign(
                order=of_seed + table["order"].astype(str), script=of_seed + table["script"].astype(str)
            )
            rows += [_row(arm, seed, who, gain) for who, gain in gains(table).items()]
    return pd.DataFrame(rows)


def _row(arm: str, seed: str, who: str, gain: Mean) -> dict[str, object]:
    points = {name: round(100 * getattr(gain, name), 1) for name in ("mean", "low", "high")}
    return {"arm": arm, "seed": seed, "trained": who, **points, "scripts": gain.n}


# --- what was measured once and is kept ----------------------------------------------------------------

KEPT = ROOT / "notebooks" / "evidence"  # gains.csv, curves.csv, about.txt


def keep(results: pd.DataFrame, curves: pd.DataFrame, about: str, folder: Path = KEPT) -> None:
    """Write down what a study found, where the notebooks and the README show it."""
    make_folder(folder)
    write_atomic(folder / "gains.csv", summary(results).to_csv(index=False))
    write_atomic(folder / "curves.csv", curves.round(4).to_csv(index=False))
    write_atomic(folder / "about.txt", about.strip() + "\n")


def kept_gains(who: str, seed: str = "all", folder: Path = KEPT) -> dict[str, Mean]:
    """Return the kept gains of one trained faction, by arm."""
    table = pd.read_csv(folder / "gains.csv", dtype={"seed": str})
    table = table[(table["trained"] == who) & (table["seed"] == seed)]
    return {
        r.arm: Mean(r.mean_ / 100, r.low / 100, r.high / 100, r.scripts)
        for r in table.rename(columns={"mean": "mean_"}).itertuples()
    }
