"""Does it work? What methods gained in the same held-out games, over seeds, and how far MARO leads.

    params/sweeps/evidence.yaml   the methods of notebook 08: MARO, its parts left out, its rivals, its control
    params/sweeps/culprits.yaml   the variants of notebook 10
    notebooks/evidence/           what both found, a row per game and a row per step of training

A seed decides the mysteries, the games, who is drawn, the adapter's beginning; its games are played once, and every arm
learns from them, with equally many steps of equally many dialogues. An arm that learns nothing gains nothing: `shuffled
labels` must.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from maro_lib.embedded.lessons import HOME
from maro_lib.measure.matches import (
    BASE,
    CONTROL,
    MARO,
    NOBODY,
    Compared,
    against_base,
    known_measures,
    outcomes,
    saved,
)
from maro_lib.model.adapter_files import ADAPTER_FILES
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.rollout import Played
from maro_lib.runs import GAMES, ROOT, STEPS, MissingInput, located, make_folder, needs, run_folder, shown, write_atomic
from maro_lib.statistics import holm, t_mean, t_test
from maro_lib.strict_yaml import StrictLoader
from maro_lib.summary import peek_summary
from maro_lib.wording import signed
from maro_lib.world.mystery import Rules

CAMPS = ("civilian", "culprit")  # in the order of tables


def arms_of(sweep: str) -> dict[str, dict[str, Any]]:
    """Return the methods that a sweep's file names, each with what it does otherwise than MARO, the first one."""
    text = (ROOT / "params" / "sweeps" / f"{sweep}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, StrictLoader)["arms"]


def home_games(seed: int = 0, rounds: int = 2) -> Gamebook:
    """The embedded model's own kind of game, which a study plays."""
    return Gamebook(seed, knobs=HOME, rules=Rules(rounds=rounds))


# --- what a study found --------------------------------------------------------------------------------

ALL = "all"  # the row of all seeds together


def select_arms(results: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """The games of some arms, in this order, and those of the base, on the seeds that all of these arms have."""
    seeds = set.intersection(*(set(results["seed"][results["arm"] == arm]) for arm in arms))
    own = results[results["seed"].isin(seeds)]
    return pd.concat([own[own["arm"] == arm] for arm in (BASE, *arms)], ignore_index=True)


def summarise(results: pd.DataFrame, measures: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per arm, seed, trained faction and measure, in percent, and one for all seeds together.

    Of all measures, if none are named.

    `trained` and `base` are what each reached in the same games, `change` their difference in points. The interval from
    `low` to `high` resamples mysteries: what it says holds for this adapter. Another seed learns another adapter, so
    the interval of all seeds together is Student's over their changes: what it says holds for the method.
    """
    base, rows = results[results["arm"] == BASE], []
    for arm, own in results[results["arm"] != BASE].groupby("arm", sort=False):
        for who, measure in product(CAMPS, measures or known_measures(results)):
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
    table = summarise(results, ["games won"])
    rows = table[table["seed"] != ALL]
    found = rows.groupby(["arm", "who"])["change"].agg(["min", "max", "size"])
    return {key: {"least": r["min"], "most": r["max"], "n": int(r["size"])} for key, r in found.iterrows()}


def gains_table(table: pd.DataFrame, measure: str = "games won") -> pd.DataFrame:
    """Lay a summary out to be read: a row per arm and trained faction, a column per seed and one for all of them."""
    rows = table[table["measure"] == measure]
    intervals = ["" if r.low != r.low else f" [{r.low:z.0f}, {r.high:z.0f}]" for r in rows.itertuples()]
    words = [f"{signed(change, 0)}{interval}" for change, interval in zip(rows["change"], intervals, strict=True)]
    wide = rows.assign(words=words).pivot(index=["arm", "who"], columns="seed", values="words")
    return wide.reindex(rows["arm"].unique(), level="arm").fillna("")


# --- what is read, and what is kept ---------------------------------------------------------------------

STORE = ROOT / "notebooks" / "evidence"
CURVES = ["arm", "seed", "step", "objective", "r_pos", "r_neg", "margin", "z0", "kl", "saturated", "grad_norm"]


class Findings(NamedTuple):
    """What methods did: a row per game, a row per step of training, and when, where and from which commit."""

    results: pd.DataFrame
    curves: pd.DataFrame
    about: str


def collected(runs: Sequence[str]) -> Findings:
    """Read what sweeps and forced habits left under outputs/, as one table; base's games of a seed stand there once."""
    games, curves = [], []
    for run in runs:
        own = pd.read_parquet(_games_of(run))
        games.append(own.assign(arm=own["cell"].where(own["trained"] != NOBODY, BASE)))
        steps = map(pd.read_parquet, run_folder(run).glob(STEPS))
        curves += [own.assign(arm=own["cell"]).reindex(columns=CURVES) for own in steps]
    results = pd.concat(games).drop_duplicates(["arm", "seed", "trained", "order"], ignore_index=True)
    steps = pd.concat(curves) if curves else pd.DataFrame(columns=CURVES)
    steps = steps.drop_duplicates(["arm", "seed", "step"], ignore_index=True)
    return Findings(results, steps, f"Not kept yet: outputs/ of {', '.join(runs)}")


def _games_of(run: str) -> Path:
    if not (path := run_folder(run) / GAMES).exists():
        raise MissingInput(f"{shown(path)} is missing; `make sweep PARAMS=params/sweeps/{run}.yaml` makes it")
    return path


def save_findings(found: Findings, folder: Path = STORE) -> None:
    """Write down what methods did, where the notebooks and the README show it."""
    make_folder(folder)
    games = found.results.drop(columns=["game", "trial", "cell"], errors="ignore")
    for name, table in {GAMES: games, STEPS: found.curves.reindex(columns=CURVES)}.items():
        write_atomic(folder / name, table.to_parquet(index=False))
    write_atomic(folder / "about.txt", found.about.strip() + "\n")


def read_findings(folder: Path = STORE) -> Findings:
    tables = (pd.read_parquet(folder / name) for name in (GAMES, STEPS))
    return Findings(*tables, (folder / "about.txt").read_text(encoding="utf-8").strip())


# --- an adapter that comes along -------------------------------------------------------------------------

CARD = Path(__file__).with_name("adapter_card.md")


def ship_adapter(run: str, target: str) -> None:
    """Copy the adapter that a run trained out of its folder, with a card that says what it is and what it gained."""
    learned, place = needs(run, "learning") / "adapter", located(target)
    make_folder(place)
    for name in ADAPTER_FILES:
        write_atomic(place / name, (learned / name).read_bytes())
    folders = saved(needs(run, "matches"))
    games = [
        outcomes(Played(folders[arm, who], None, 0, 0, 0.0)).assign(trained=who)
        for arm, who in ((BASE, NOBODY), *product([MARO], CAMPS))
    ]
    found = {who: _percent(against_base(pd.concat(games), who)) for who in CAMPS}
    rows = [
        f"| {who}s | {row['base']:.0f} | {row['trained']:.0f} | "
        f"{signed(row['change'], 0)} [{row['low']:z.0f}, {row['high']:z.0f}] |"
        for who, row in found.items()
    ]
    facts = peek_summary(run).parameters | {"rows": "\n".join(rows)}
    write_atomic(place / "README.md", CARD.read_text(encoding="utf-8").format_map(facts))
