"""Does it work? The same budget for MARO, its parts left out, and its rivals: every arm on every seed, resumable.

A seed decides the mysteries, the games, who is drawn, the adapter's beginning. Its games are played once, and every arm
learns from them, with equally many optimiser steps of equally many dialogues; all are then matched against the frozen
base in the same held-out games. An arm that learns nothing gains nothing: `shuffled labels` must. Taught in
notebook 08.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.balancing import balance, shuffle_outcomes
from maro_lib.learn.corpus import Corpus, make_corpus
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import Trained, train
from maro_lib.measure.matches import BASE, CONTROL, NOBODY, Compared, against_base, known_measures, match
from maro_lib.model.adapter_files import ADAPTER_FILES
from maro_lib.model.loading import Loaded, load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.rollout import Played, play
from maro_lib.progress import Bar
from maro_lib.runs import ROOT, located, make_folder, write_atomic
from maro_lib.statistics import holm, t_mean, t_test
from maro_lib.study.habits import HABITS
from maro_lib.wording import signed
from maro_lib.world.mystery import Rules

CAMPS = ("civilian", "culprit")  # in the order of tables


@dataclass(frozen=True)
class Arm:
    """What one contender does otherwise than MARO."""

    why: str
    rule: str = "uniform"
    mode: str = ""  # who is kept; empty: as the study has it
    classes: str = "per_faction"
    shuffled: bool = False
    games: float = 1.0  # the share of the study's games that it learns from
    dialogues: float = 1.0  # how many it reads, as a share of the study's
    camp_weights: dict[str, float] = field(default_factory=dict)
    changed: dict[str, object] = field(default_factory=dict)  # of the settings


CONTENDERS = {
    "MARO": Arm("uniform credit, min balance, classes even per faction, ema z0, anchor"),
    "shuffled labels": Arm("each game gets the outcome of another: what it gains is not MARO's", shuffled=True),
    "SFT on winners": Arm("imitates what winners did", changed={"objective": "sft", "anchor": 0.0}),
    "terminal": Arm("credit for the last action only", rule="terminal"),
    "no balancing": Arm("all characters as they are, classes even overall", mode="all", classes="overall"),
    "KTO as TRL": Arm("z0 from mismatched pairs, never below 0; weights 1; no anchor", mode="all", classes="overall",
                      changed={"z0": "mismatched", "anchor": 0.0, "lam_pos": 1.0, "lam_neg": 1.0}),
    "no anchor": Arm("what holds the model near its base is left out", changed={"anchor": 0.0}),
}  # fmt: skip

VARIANTS = {
    "beta 0.5": Arm("a flatter sigmoid", changed={"beta": 0.5}),
    "beta 2": Arm("a sharper sigmoid", changed={"beta": 2.0}),
    "lambdas overall": Arm("classes weigh the same overall, not within factions", classes="overall"),
    "culprits only": Arm("the civilians hand nothing to training", camp_weights={"civilian": 0.0}),
    "twice the steps": Arm("everything is read about twice as often", dialogues=2.0),
    "anchor 0.005": Arm("a weaker pull back to base", changed={"anchor": 0.005}),
    "half the games": Arm("as many steps, from half as many games", games=0.5),
}

ARMS = CONTENDERS | VARIANTS


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
    max_new_tokens: int = 64
    cache_gb: float = 1.0
    mode: str = "min"  # who is kept, as notebook 04 has it

    def book(self, seed: int) -> Gamebook:
        return replace(self.gamebook, seed=self.gamebook.seed + seed)

    def loaded(self, adapter: str = "") -> Loaded:
        return load(self.model, precision=self.precision, adapter=adapter)

    def policy(self, adapter: str = "") -> LocalPolicy:
        return LocalPolicy(self.loaded(adapter), Sampling(1.0, self.max_new_tokens), cache_gb=self.cache_gb)

    def play(self, seed: int, folder: Path) -> Played:
        """The games that a seed's arms learn from; played before, they are read."""
        games, base = self.book(seed).games(self.n_games), self.policy()
        return play(games, base, folder=folder / "rollout", concurrency=self.concurrency)

    def match(self, arm: str, seed: int, player: LocalPolicy, folder: Path, line_ups: Sequence[str]) -> pd.DataFrame:
        """The held-out games of a seed, in some line-ups of a player and base: a row for each."""
        games = self.book(seed).held_out(self.n_matches, self.n_match_scripts)
        matched = match(games, player, folder=folder, line_ups=line_ups, concurrency=self.concurrency)
        return matched.assign(arm=arm, seed=seed)


def home_games(n: int, register: str = "compact", rounds: int = 2) -> Gamebook:
    """The embedded model's own kind of game, on a quarter as many mysteries."""
    return Gamebook(n_scripts=max(1, n // 4), knobs=replace(HOME, register=register), rules=Rules(rounds=rounds))


def corpus_of(
    arm: Arm, actions: pd.DataFrame, dialogues: pd.DataFrame, seed: int, mode: str = "min"
) -> tuple[Corpus, dict[str, float]]:
    """Decompose, balance and join: what one arm learns from, and the lambdas that go with it."""
    actions = actions[actions["order"] < arm.games * (1 + actions["order"].max())]
    actions = shuffle_outcomes(actions, seed) if arm.shuffled else actions
    credited = actions.assign(weight=decompose(actions, arm.rule))
    balanced = balance(credited, arm.mode or mode, seed=seed, classes=arm.classes, camp_weights=arm.camp_weights)
    lambdas = {"lam_pos": balanced.lam_pos, "lam_neg": balanced.lam_neg}
    return make_corpus(dialogues, balanced.actions), lambdas


def play_seed(study: Study, seed: int, folder: Path) -> pd.DataFrame:
    """Play what all arms of a seed share: their games, and base in all seats of the held-out ones, a row for each."""
    study.play(seed, folder)
    return study.match(BASE, seed, study.policy(), folder / "matches", (NOBODY,))


def run_arm(study: Study, name: str, seed: int, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train one arm on its seed's games, match it as either faction; return its matches and its training curve.

    A habit trains nothing: its curve is empty.
    """
    place, adapter, curve = name.replace(" ", "_"), "", pd.DataFrame()
    if name in ARMS:
        trained = _train(study, ARMS[name], study.play(seed, folder), seed, folder / "learning" / place)
        adapter, curve = str(trained.folder), trained.curve.assign(arm=name, seed=seed)
    policy = study.policy(adapter)
    contender = policy if name in ARMS else HABITS[name](policy)
    return study.match(name, seed, contender, folder / "matches" / place, CAMPS), curve


def collect(
    study: Study, arms: Sequence[str], seeds: Sequence[int], folder: Path, *, progress: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Go through seeds and arms; return all matches and all training curves. A killed study resumes where it was."""
    if unknown := set(arms) - {*ARMS, *HABITS}:
        raise ValueError(f"arms: {', '.join(sorted(unknown))}; known are {', '.join([*ARMS, *HABITS])}")
    results, curves = [], [pd.DataFrame()]
    with Bar(len(seeds) * (1 + len(arms)), "arm", shown=progress) as bar:
        for seed, name in product(seeds, (BASE, *arms)):
            bar.set_postfix_str(f"seed {seed}, {name}")
            at = folder / f"seed-{seed}"
            if name == BASE:
                results.append(play_seed(study, seed, at))
            else:
                matched, curve = run_arm(study, name, seed, at)
                results.append(matched)
                curves.append(curve)
            bar.update()
    return pd.concat(results, ignore_index=True), pd.concat(curves, ignore_index=True)


def _train(study: Study, arm: Arm, played: Played, seed: int, folder: Path) -> Trained:
    corpus, lambdas = corpus_of(arm, played.table("actions"), played.table("dialogues"), seed, study.mode)
    settings = replace(study.settings, **lambdas, seed=seed, epochs=arm.dialogues * study.n_dialogues / len(corpus))
    return train(study.loaded(), corpus, replace(settings, **arm.changed), folder)


# --- what a study found --------------------------------------------------------------------------------

ALL = "all"  # the row of all seeds together


def select_arms(results: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """The games of some arms, in this order, and those of the base, on the seeds that all of these arms have."""
    seeds = set.intersection(*(set(results["seed"][results["arm"] == arm]) for arm in arms))
    own = results[results["seed"].isin(seeds)]
    return pd.concat([own[own["arm"] == arm] for arm in (BASE, *arms)], ignore_index=True)


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per arm, seed, trained faction and measure, in percent, and one for all seeds together.

    `trained` and `base` are what each reached in the same games, `change` their difference in points. The interval from
    `low` to `high` resamples mysteries: what it says holds for this adapter. Another seed learns another adapter, so
    the interval of all seeds together is Student's over their changes: what it says holds for the method.
    """
    base, rows = results[results["arm"] == BASE], []
    for arm, own in results[results["arm"] != BASE].groupby("arm", sort=False):
        for who, measure in product(CAMPS, known_measures(results)):
            of_seed = [
                _percent(against_base(pd.concat([base[base["seed"] == seed], part]), who, measure))
                | {"seed": str(seed)}
                for seed, part in own.groupby("seed")
            ]
            name = {"arm": arm, "who": who, "measure": measure}
            of_seed = [row for row in of_seed if row["n"]]  # a seed may have no game without errors
            rows += [name | row for row in (*of_seed, *([_together(of_seed)] if of_seed else []))]
    return pd.DataFrame(rows)


def _percent(found: Compared) -> dict[str, Any]:
    change = found.change
    numbers = {"trained": found.trained.mean, "base": found.base.mean, "change": change.mean}
    numbers |= {"low": change.low, "high": change.high}
    return {name: round(100 * x, 1) for name, x in numbers.items()} | {"n": change.n}  # n: mysteries


def _together(of_seed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(of_seed) == 1:  # it says nothing about other seeds
        return of_seed[0] | {"seed": ALL, "low": float("nan"), "high": float("nan"), "n": 1}
    change = t_mean([row["change"] for row in of_seed])
    means = {name: float(np.mean([row[name] for row in of_seed])) for name in ("trained", "base")}
    numbers = means | {"change": change.mean, "low": change.low, "high": change.high}
    return {name: round(x, 1) for name, x in numbers.items()} | {"seed": ALL, "n": change.n}  # n: seeds


def leads(table: pd.DataFrame, arm: str = "MARO") -> pd.DataFrame:
    """How much more an arm gained than each of the others that share several seeds with it, in points.

    A row per trained faction and other arm; n counts seeds. The study asks whether it gains more than the control. All
    other comparisons stand beside that question, so their p is also given as Holm adjusts it for their number.
    """
    rows = table[(table["measure"] == "games won") & (table["seed"] != ALL)]
    found = []
    for who, of_who in rows.groupby("who"):
        change = of_who.pivot(index="seed", columns="arm", values="change")
        for other in [name for name in of_who["arm"].unique() if name != arm]:
            more = (change[arm] - change[other]).dropna()
            found.append({"arm": other, "who": who} | asdict(t_mean(more)) | {"p": t_test(more)})
    versus = pd.DataFrame([row for row in found if row["n"] > 1])
    beside = versus["arm"] != CONTROL
    versus.loc[beside, "holm"] = holm(versus.loc[beside, "p"].tolist())
    return versus


def spread(results: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """Return, per arm and trained faction, the least and the most that one seed gained in games won, in points."""
    table = summarise(results)
    rows = table[(table["measure"] == "games won") & (table["seed"] != ALL)]
    found = rows.groupby(["arm", "who"])["change"].agg(["min", "max", "size"])
    return {key: {"least": r["min"], "most": r["max"], "n": int(r["size"])} for key, r in found.iterrows()}


def gains_table(table: pd.DataFrame, measure: str = "games won") -> pd.DataFrame:
    """Lay a summary out to be read: a row per arm and trained faction, a column per seed and one for all of them."""
    rows = table[table["measure"] == measure]
    intervals = ["" if r.low != r.low else f" [{r.low:z.0f}, {r.high:z.0f}]" for r in rows.itertuples()]
    words = [f"{signed(change, 0)}{interval}" for change, interval in zip(rows["change"], intervals, strict=True)]
    wide = rows.assign(words=words).pivot(index=["arm", "who"], columns="seed", values="words")
    return wide.reindex(rows["arm"].unique(), level="arm").fillna("")


# --- what was measured once and is kept ----------------------------------------------------------------

STORE = ROOT / "notebooks" / "evidence"  # games.parquet, curves.parquet, about.txt
CURVES = ["arm", "seed", "step", "objective", "r_pos", "r_neg", "margin", "z0", "kl", "saturated", "grad_norm"]


class Findings(NamedTuple):
    """A study that was kept: a row per game, a row per step, and when, where and from which commit."""

    results: pd.DataFrame
    curves: pd.DataFrame
    about: str


def save_findings(results: pd.DataFrame, curves: pd.DataFrame, about: str, folder: Path = STORE) -> None:
    """Write down what a study found, where the notebooks and the README show it."""
    make_folder(folder)
    tables = {"games": results.drop(columns="game"), "curves": curves.reindex(columns=CURVES)}
    for name, table in tables.items():
        write_atomic(folder / f"{name}.parquet", table.to_parquet(index=False))
    write_atomic(folder / "about.txt", about.strip() + "\n")


def read_findings(folder: Path = STORE) -> Findings:
    tables = (pd.read_parquet(folder / f"{name}.parquet") for name in ("games", "curves"))
    return Findings(*tables, (folder / "about.txt").read_text(encoding="utf-8").strip())


# --- an adapter that comes along -------------------------------------------------------------------------

CARD = Path(__file__).with_name("adapter_card.md")


def ship_adapter(study: Study, seed: int, folder: Path, results: pd.DataFrame, target: str) -> None:
    """Copy MARO's adapter of one seed out of a study's folder, with a card that says what it is and what it gained."""
    learned, place = folder / f"seed-{seed}" / "learning" / "MARO" / "adapter", located(target)
    make_folder(place)
    for name in ADAPTER_FILES:
        write_atomic(place / name, (learned / name).read_bytes())
    table = summarise(select_arms(results, ["MARO"]))
    table = table[(table["seed"] == str(seed)) & (table["measure"] == "games won")]
    rows = [
        f"| {r.who}s | {r.base:.0f} | {r.trained:.0f} | {signed(r.change, 0)} [{r.low:z.0f}, {r.high:z.0f}] |"
        for r in table.itertuples()
    ]
    facts = asdict(study.settings) | {"seed": seed, "rank": study.settings.lora_rank, "rows": "\n".join(rows)}
    facts |= {"n_games": study.n_games, "n_dialogues": study.n_dialogues, "n_matches": study.n_matches}
    write_atomic(place / "README.md", CARD.read_text(encoding="utf-8").format(**facts, n_scripts=study.n_match_scripts))
