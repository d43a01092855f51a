"""Balancing: which actions are kept, and with what weight, so that no side owns the training set.

    min  keep N_reward = min(|C_win|, |C_lose|) characters of each side of a game, drawn by seed   (MARO)
    max  keep all; the smaller side's weights grow by |larger| / |smaller|
    all  keep all as they are
    ips  keep all; a character's weights are divided by the share of its faction x outcome among all characters

C_win and C_lose hold the characters of a game that have an action to hand over (weight not 0, and legal if
asked), whoever played them; only the learner's are then kept. In worlds without opposed sides all of a game may win, or
all lose, and N_reward is 0; `across` games weighs a party's winners of all games against its losers of all games.

On top come camp weights w_f; lam_pos and lam_neg, where not both are given, make both classes weigh the same: overall,
or (`classes` per_faction, before them) in each faction. Who has no side is weighed by role.

Taught in notebook 04. The paper has `min` only, and does not say how its lambdas are set.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from maro_lib.play.tables import encode, finite, parties, require, trajectories
from maro_lib.runs import read_record
from maro_lib.wording import check_name
from maro_lib.world.scripts import FACTIONS

NEEDS = ("game", "agent", "faction", "success", "weight")


class Fate(IntEnum):
    """What became of an action; actions are dropped in the order of the members. Each says what would keep one."""

    KEPT = "kept", ""
    ILLEGAL = "illegal", "Keep illegal actions (illegal='keep'), or play with players that keep to the forms."
    ZERO_WEIGHT = "zero weight", "Use another credit rule: this one has nothing to say of them."
    ONE_SIDED = (
        "one-sided game",
        "Play more games: in each of these only one side is left; or use mode 'all' or 'ips', or `across` games.",
    )
    NOT_DRAWN = "not drawn", "Use mode 'max', 'all' or 'ips', which draw nobody out."
    CAMP_WEIGHT = "camp weight 0", "Give that faction a camp weight above 0."
    OPPONENT = "an opponent's", "Play more games, or with `opponents: self`: what is missing was said by opponents."

    def __new__(cls, reason: str, way_out: str) -> Fate:
        fate = int.__new__(cls, len(cls.__members__))
        fate._value_, fate.reason, fate.way_out = int(fate), reason, way_out
        return fate


class NothingToLearn(ValueError):
    """No training set is left; the message says what is missing, where it went, and the way out."""


@dataclass(frozen=True)
class Balanced:
    """A balanced training set, and the account of what was dropped."""

    actions: pd.DataFrame  # the kept rows, with `desirable` and `weight` (> 0, every factor but lambda included)
    lam_pos: float
    lam_neg: float
    report: pd.DataFrame  # faction x outcome: actions, characters and weight, given and kept
    reasons: pd.DataFrame  # reason x faction: actions dropped
    statement: str  # the same in words, with what a reader must not overlook


@dataclass(frozen=True)
class Facts:
    """training.json: what notebook 04 found, beside the rows."""

    mode: str
    classes: str
    lam_pos: float
    lam_neg: float
    statement: str


def read_lambdas(path: Path) -> dict[str, float]:
    """Read from training.json how much a desirable and an undesirable action weigh."""
    facts = read_record(path, Facts)
    return {"lam_pos": facts.lam_pos, "lam_neg": facts.lam_neg}


def balance(
    actions: pd.DataFrame, mode: str = "min", *,
    seed: int = 0, camp_weights: dict[str, float] | None = None, lam_pos: float | None = None,
    lam_neg: float | None = None, illegal: str = "keep", learner: str | None = None, classes: str = "overall",
    across: str = "seats",
) -> Balanced:  # fmt: skip
    """Balance an actions table whose column `weight` holds a credit rule's signed weights.

    A lambda that is given is kept. One given alone sets the other: lam_neg = lam_pos W_+ / W_-, and the reverse. With
    `classes` "per_faction" the weights themselves make both classes weigh the same within each faction. With a
    `learner` only the actions of that `policy` are kept.
    """
    check_name("mode", mode, MODES)
    check_name("illegal", illegal, ("keep", "drop"))
    check_name("classes", classes, ("overall", "per_faction"))
    check_name("across", across, ("seats", "games"))
    more = (("legal",) if illegal == "drop" else ()) + (("policy",) if learner is not None else ())
    require(actions, NEEDS + more, "balance (weight = decompose(...))")
    has_sides = bool((actions["faction"] != "").any())
    if "role" in actions:
        actions = actions.assign(faction=parties(actions))  # who has no side is weighed by role
    credit, camp = finite(actions, "weight"), _camp(actions, camp_weights or {})  # each (n_actions,), so is the rest
    fate = _unusable(actions, credit, illegal)
    fate, factor = _draw(actions, fate, mode, seed, "game" if across == "seats" else "faction")
    fate[(fate == Fate.KEPT) & (camp == 0)] = Fate.CAMP_WEIGHT
    if learner is not None:
        fate[(fate == Fate.KEPT) & (actions["policy"] != learner).to_numpy()] = Fate.OPPONENT
    kept, weight = fate == Fate.KEPT, np.abs(credit) * factor * camp
    _check_both_classes(actions, fate, credit)
    chosen = actions[kept].assign(desirable=credit[kept] > 0, weight=weight[kept])
    if classes == "per_faction":
        chosen["weight"] *= _evening(chosen)
    lam_pos, lam_neg = _lambdas(chosen, lam_pos, lam_neg)
    return Balanced(
        chosen, lam_pos, lam_neg, report=_report(actions, fate, credit, weight),
        reasons=_reasons(actions["faction"], fate), statement="\n".join(_told(actions, fate, mode, across, has_sides)),
    )  # fmt: skip


# --- who is kept -------------------------------------------------------------------------------------


def _unusable(actions: pd.DataFrame, credit: np.ndarray, illegal: str) -> np.ndarray:
    """Return each action's fate before any drawing."""
    fate = np.where(credit == 0, Fate.ZERO_WEIGHT, Fate.KEPT)
    if illegal == "drop":
        fate[~actions["legal"].to_numpy(bool)] = Fate.ILLEGAL
    return fate


def _draw(actions: pd.DataFrame, fate: np.ndarray, mode: str, seed: int, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Return each action's fate after the mode's drawing, and its factor; both are decided by character."""
    usable = np.flatnonzero(fate == Fate.KEPT)
    rows = actions.iloc[usable]
    character, first = trajectories(rows)
    seats = rows.iloc[first][["game", "agent", "faction", "success"]].reset_index(drop=True)
    characters = _sides(seats.assign(among=seats[by]))
    factors = MODES[mode](characters, seed)  # (n_characters,) 0: not drawn
    alone = characters[["n_own", "n_other"]].min(axis=1) == 0
    fates = np.select([factors > 0, alone], [Fate.KEPT, Fate.ONE_SIDED], Fate.NOT_DRAWN)
    fate, factor = fate.copy(), np.ones(len(actions))
    fate[usable], factor[usable] = fates[character], factors[character]
    return fate, factor


def _sides(characters: pd.DataFrame) -> pd.DataFrame:
    """Add to each character how many of its own and of the other side there are among those it is weighed with."""
    game, won = encode(characters, ["among"]), characters["success"].to_numpy() == 1
    n_winners, n_losers = np.bincount(game, won)[game], np.bincount(game, ~won)[game]
    return characters.assign(n_own=np.where(won, n_winners, n_losers), n_other=np.where(won, n_losers, n_winners))


def _keep_min(characters: pd.DataFrame, seed: int) -> np.ndarray:
    n_reward = np.minimum(characters["n_own"], characters["n_other"])
    side = encode(characters, ["among", "success"])
    place = pd.Series(_lots(characters, seed)).groupby(side).rank(method="first")  # from 1
    return (place <= n_reward).to_numpy(float)


def _keep_max(characters: pd.DataFrame, _seed: int) -> np.ndarray:
    larger = np.maximum(characters["n_own"], characters["n_other"])
    return (larger / characters["n_own"]).to_numpy(float)


def _keep_all(characters: pd.DataFrame, _seed: int) -> np.ndarray:
    return np.ones(len(characters))


def _keep_ips(characters: pd.DataFrame, _seed: int) -> np.ndarray:
    cell = encode(characters, ["faction", "success"])
    inverse = (len(characters) / np.bincount(cell))[cell]  # 1 / share of the character's cell
    return inverse / (inverse.mean() if inverse.size else 1.0)


MODES = {"min": _keep_min, "max": _keep_max, "all": _keep_all, "ips": _keep_ips}  # (characters, seed) -> factors


def _lots(characters: pd.DataFrame, seed: int) -> list[int]:
    """Return a lot for each character that no other game, and no order of rows, has a part in."""
    names = zip(characters["game"], characters["agent"], strict=True)
    digests = (hashlib.blake2b(f"{seed}\0{game}\0{agent}".encode(), digest_size=8) for game, agent in names)
    return [int.from_bytes(d.digest()) >> 1 for d in digests]  # 63 bits: fits a signed integer


# --- with what weight --------------------------------------------------------------------------------


def _camp(actions: pd.DataFrame, camp_weights: dict[str, float]) -> np.ndarray:
    """Return w_f for every action; a faction that is not named weighs 1."""
    known = sorted({*FACTIONS, *actions["faction"].unique()})
    for faction, w in camp_weights.items():
        check_name("camp_weights", faction, known)
        _check_weight(f"camp_weights: {faction}", w)
    return actions["faction"].map(camp_weights).astype(float).fillna(1.0).to_numpy()


def _evening(chosen: pd.DataFrame) -> np.ndarray:
    """Return factors that make both classes of a faction weigh the same, and the faction as much as before.

    A faction with one class only stays as it is: there is nothing to weigh it against.
    """
    faction, cell = encode(chosen, ["faction"]), encode(chosen, ["faction", "desirable"])
    of_faction, of_cell = np.bincount(faction, chosen["weight"]), np.bincount(cell, chosen["weight"])
    n_classes = chosen.groupby("faction")["desirable"].nunique().to_numpy()
    return of_faction[faction] / (n_classes[faction] * of_cell[cell])


def _lambdas(chosen: pd.DataFrame, lam_pos: float | None, lam_neg: float | None) -> tuple[float, float]:
    """Fill in what is not given so that lambda_+ W_+ = lambda_- W_-; when neither is, both are (W_+ + W_-) / 2."""
    w_pos, w_neg = (chosen["weight"][chosen["desirable"] == side].sum() for side in (True, False))
    given = {k: _check_weight(k, v) for k, v in (("lam_pos", lam_pos), ("lam_neg", lam_neg)) if v is not None}
    if list(given.values()) == [0]:
        raise ValueError(f"{', '.join(given)}: 0 makes the other one 0 as well, and no action counts; give both")
    mass = next((v * w for v, w in ((lam_pos, w_pos), (lam_neg, w_neg)) if v is not None), (w_pos + w_neg) / 2)
    return float(given.get("lam_pos", mass / w_pos)), float(given.get("lam_neg", mass / w_neg))


# --- labels that say nothing -------------------------------------------------------------------------


def shuffle_labels(balanced: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Hand every dialogue the labels and weights of another one of its faction: the control, which must teach nothing.

    This is what the kit calls a control: the run's own dialogues, every one of them, with labels that say nothing of
    them. A longer or shorter dialogue gets its labels stretched, so what the labels of a dialogue are like stays.
    """
    rng, table = np.random.default_rng([seed, 3]), balanced.sort_values(["game", "seat", "t"])
    given = np.empty(len(table), int)  # whose label and weight each row gets
    for _, own in table.reset_index(drop=True).groupby("faction"):
        dialogues = list(own.groupby(["game", "seat"]).indices.values())
        places = [own.index.to_numpy()[d] for d in dialogues]
        for mine, other in zip(places, rng.permutation(len(places)), strict=True):
            given[mine] = places[other][np.arange(len(mine)) * len(places[other]) // len(mine)]
    labels = {name: table[name].to_numpy()[given] for name in ("desirable", "weight")}
    return table.assign(**labels).loc[balanced.index]


def shuffle_outcomes(actions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Hand every game the outcome of another one, before anything is credited: labels as blind as the control's.

    Games swap with games of as many characters of each faction, so the shares of wins stay what they were. The study
    of notebook 08 uses it, for arms that differ in how they credit and balance; it is not what the kit calls a control.
    """
    seats = actions.drop_duplicates(["game", "agent"]).sort_values(["order", "faction", "seat"])
    shape = seats.groupby("order")["faction"].agg(" ".join)
    rng, outcome = np.random.default_rng([seed, 2]), seats.groupby("order")["success"].agg(list)
    for games in shape.groupby(shape).groups.values():
        outcome[games] = outcome[rng.permutation(games)].to_numpy()
    swapped = seats[["game", "agent"]].assign(success=np.concatenate(outcome.to_list()))
    success = actions[["game", "agent"]].merge(swapped, how="left")["success"].to_numpy(actions["success"].dtype)
    return actions.assign(success=success)


# --- the account -------------------------------------------------------------------------------------


def _report(actions: pd.DataFrame, fate: np.ndarray, credit: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    character, kept, names = trajectories(actions)[0], fate == Fate.KEPT, ["faction", "outcome"]
    outcome = np.where(actions["success"] == 1, "won", "lost")
    rows = pd.DataFrame({
        "faction": actions["faction"].to_numpy(), "outcome": outcome, "character": character, "kept": kept,
        "kept_one": np.where(kept, character, np.nan), "mass": np.abs(credit), "kept_mass": np.where(kept, weight, 0.0),
    })  # fmt: skip
    cells = pd.MultiIndex.from_product([sorted(rows["faction"].unique()), ["won", "lost"]], names=names)
    report = rows.groupby(names).agg(
        actions=("character", "size"), kept_actions=("kept", "sum"), characters=("character", "nunique"),
        kept_characters=("kept_one", "nunique"), mass=("mass", "sum"), kept_mass=("kept_mass", "sum"),
    ).reindex(cells, fill_value=0)  # fmt: skip
    for at, name in ((2, "actions"), (5, "characters")):
        report.insert(at, f"dropped_{name}", report[name] - report[f"kept_{name}"])
    return report.reset_index()


def _reasons(faction: pd.Series, fate: np.ndarray) -> pd.DataFrame:
    table = pd.crosstab(fate, faction.to_numpy()).reindex([*Fate], fill_value=0)
    table.index, table.columns.name = pd.Index([f.reason for f in Fate], name="reason"), None
    return table.drop(Fate.KEPT.reason)


def _told(actions: pd.DataFrame, fate: np.ndarray, mode: str, across: str, has_sides: bool) -> Iterator[str]:
    """Say in words what was kept, and what is one-sided about it."""
    kept = fate == Fate.KEPT
    yield f"Kept {kept.sum():,} of {kept.size:,} actions (mode {mode}; dropped: {_listed(fate)})."
    factions = sorted(actions["faction"][kept].unique())
    gone = fate[actions["faction"] != factions[0]]
    if len(factions) == 1 and (has_sides or gone.size):
        why = f"of the others, {_listed(gone)}" if gone.size else "the table holds no other faction"
        yield f"Only {factions[0]} actions are left ({why}): only that side is trained."
    if n_games := _n_one_sided(actions[kept | (fate == Fate.CAMP_WEIGHT) | (fate == Fate.OPPONENT)]):
        by = "nobody balances them" if across == "seats" else "other games balance them"
        yield f"Games kept with winners only or losers only: {n_games:,}; {by}."


def _n_one_sided(kept: pd.DataFrame) -> int:
    game, won = encode(kept, ["game"]), kept["success"].to_numpy() == 1
    share = np.bincount(game, won) / np.bincount(game)
    return int(((share == 0) | (share == 1)).sum())


def _listed(fate: np.ndarray) -> str:
    counts = np.bincount(fate, minlength=len(Fate))
    return ", ".join(f"{counts[f]:,} {f.reason}" for f in Fate if f != Fate.KEPT and counts[f]) or "none"


# --- what is missing ---------------------------------------------------------------------------------


def _check_both_classes(actions: pd.DataFrame, fate: np.ndarray, credit: np.ndarray) -> None:
    """Raise if nothing desirable or nothing undesirable is left."""
    sides = {"desirable": credit > 0, "undesirable": credit < 0}
    missing = [name for name, side in sides.items() if not (side & (fate == Fate.KEPT)).any()]
    if not missing:
        return
    n_won = int((actions["success"] == 1).sum())
    gone = np.any([sides[name] for name in missing], axis=0)
    raise NothingToLearn(
        f"no {' and no '.join(missing)} action is left. Given: {len(actions):,} actions in "
        f"{actions['game'].nunique():,} games, {n_won:,} of winners and {len(actions) - n_won:,} of losers; "
        f"the rule calls {sides['desirable'].sum():,} desirable and {sides['undesirable'].sum():,} undesirable; "
        f"dropped: {_listed(fate)}. {_way_out(n_won, len(actions) - n_won, fate[gone])}"
    )


def _way_out(n_won: int, n_lost: int, fate: np.ndarray) -> str:
    """Say what would help, given what became of the actions of the missing class."""
    if not n_won + n_lost:
        return "Play games first: the table is empty."
    if not n_won or not n_lost:
        return f"Play more games, or change the players' skill, until some characters {'lose' if n_won else 'win'}."
    if not fate.size:
        return "Use another credit rule, or more games: this rule finds none."
    return Fate(fate.max()).way_out  # the last step to drop any: before it, some were left


# --- checks ------------------------------------------------------------------------------------------


def _check_weight(what: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 <= value < math.inf:
        raise ValueError(f"{what}: {value!r} is not a number from 0 up")
    return value
