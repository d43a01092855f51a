"""How players decide, in any world: how cooperatively, how much like people, and what exploring does to it.

    cooperation  of a choice, 0 to 1, as its world declares it (`World.cooperative`); none where it declares none
    noise        sd of a player's choices in one situation, after the same last choices of the others (to a tenth)
    adaptation   slope of a choice on the mean of the others' last choices, both less their means in the situation

A situation is a scenario, names apart, a role in it and a round. "Last" means in an earlier round, whether or not the
player was told of it. What a player draws for a whole game (`Mixture`) is noise here, and so is what it learns beside
those choices; where likes sit together they look as if they followed each other.

What people do stands in decisions.yaml: shares of people by kind, in experiments of another form than these games. No
published noise or slope was found that could be checked at its source, so none is there: arXiv 2508.15926 compares
models with people in auctions and orders, and says that models vary too little from round to round. Notebook 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from maro_lib.measure.comparison import LEVEL, NONE
from maro_lib.play.policies import Policy
from maro_lib.play.rollout import Game, Played, play
from maro_lib.statistics import Mean, bootstrap_mean, holm, sign_flip
from maro_lib.strict_yaml import StrictLoader
from maro_lib.world.setups import Scenario
from maro_lib.worlds.registry import find_world

PEOPLE_FILE = Path(__file__).with_suffix(".yaml")
_MEASURES = ("cooperation", "success", "welfare", "legal")  # against temperature
_NOTHING = Mean(np.nan, np.nan, np.nan, 0)


class DecisionError(ValueError):
    """Something can't be measured in these games; the message says what, and why."""


# --- cooperation -------------------------------------------------------------------------------------


def cooperative(world: str) -> str:
    """Say what makes a choice cooperative in a world, or that nothing does."""
    told = find_world(world).cooperative
    return told or f"no choice in {world} is declared as cooperative (`World.cooperative`), so there is no number"


def decisions_of(actions: pd.DataFrame, scripts: Sequence[Scenario]) -> pd.DataFrame:
    """Return the choices of an actions table of which their world says how cooperative they were, with that number."""
    world = find_world(scripts[0].world)
    if not world.cooperative:
        raise DecisionError(cooperative(world.name))
    by_title = {s.title: s for s in scripts}
    if unknown := sorted({*actions["script"]} - {*by_title}):
        raise DecisionError(f"actions: {unknown[0]!r} is none of the {len(by_title)} scenarios given")
    shares = pd.Series(np.nan, actions.index, float)
    for (title, _), own in actions.sort_values("step").groupby(["script", "order"]):
        shares[own.index] = np.array(world.cooperation(by_title[title], own.to_dict("records")), float)
    if (odd := shares[(shares < 0) | (shares > 1)]).size:
        raise DecisionError(f"{world.name}: `cooperation` says {odd.iloc[0]:g}; 0 to 1 is possible")
    kept = actions.assign(cooperation=shares)[shares.notna()].sort_values(["order", "step"])
    places = [_place(by_title[title], seat) for title, seat in zip(kept["script"], kept["seat"], strict=True)]
    kept["place"] = pd.factorize(pd.Series(places, dtype=object))[0]
    return kept[["order", "script", "step", "seat", "policy", "place", "round", "cooperation"]]


def _place(script: Scenario, seat: int) -> str:
    """A scenario and a role in it, but for names: what is so alike is one place to decide in."""
    return f"{script.characters[seat].role} {script.facts} {script.private} {script.hidden}"


def by_round(decisions: pd.DataFrame, seed: int = 0) -> dict[int, Mean]:
    """Return the mean cooperation in each round."""
    return {int(k): mean_cooperation(own, seed) for k, own in decisions.groupby("round")}


def mean_cooperation(decisions: pd.DataFrame, seed: int = 0) -> Mean:
    """Return the mean cooperation of all choices."""
    return bootstrap_mean(decisions["cooperation"], seed, groups=resampled(decisions))


def resampled(table: pd.DataFrame) -> np.ndarray:
    """Say what an interval resamples: scenarios, or games where there is one scenario."""
    return table["script" if table["script"].nunique() > 1 else "order"].to_numpy()


def sd_within(table: pd.DataFrame, column: str, cells: Any, seed: int) -> Mean:
    """Return the sd of a column about its means in cells; a cell with one row tells nothing."""
    by_cell = table.groupby(cells)[column]
    n = by_cell.transform("size")
    squares = (table[column] - by_cell.transform("mean")) ** 2 * n / (n - 1).where(n > 1)
    known = squares.notna()
    variance = bootstrap_mean(squares[known], seed, groups=resampled(table[known]))
    return Mean(*np.sqrt([variance.mean, variance.low, variance.high]).tolist(), variance.n)


# --- like people? ------------------------------------------------------------------------------------


def fidelity(decisions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return each player's noise and adaptation, the share of its seats that never cooperated, and its choices."""
    told = decisions.assign(others=_others_last(decisions))
    rows = {}
    for player, own in told.groupby("policy"):
        after = own["others"].round(1).fillna(-1)
        noise = sd_within(own, "cooperation", [own["place"], own["round"], after], seed)
        rows[player] = {"noise": noise, "adaptation": _slope(own.dropna(subset="others"), seed),
                        "never": _never(own, seed), "choices": len(own)}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("player")


def _never(decisions: pd.DataFrame, seed: int) -> Mean:
    """The share of seats that did not cooperate in any of their choices."""
    seats = decisions.groupby(["order", "script", "seat"])["cooperation"].max().reset_index()
    return bootstrap_mean((seats["cooperation"] == 0).astype(float), seed, groups=resampled(seats))


def _others_last(decisions: pd.DataFrame) -> np.ndarray:
    """The mean over a game's other seats of each one's last choice in an earlier round; NaN where there is none."""
    seats = decisions.pivot_table(index=["order", "round"], columns="seat", values="cooperation", aggfunc="last")
    last = seats.groupby("order").ffill().groupby("order").shift()
    known, total = last.notna().sum(axis=1), last.sum(axis=1)
    here = pd.MultiIndex.from_frame(decisions[["order", "round"]])
    own = last.stack(future_stack=True).reindex(pd.MultiIndex.from_frame(decisions[["order", "round", "seat"]]))
    n = known.reindex(here).to_numpy(float) - own.notna().to_numpy()
    others = total.reindex(here).to_numpy() - own.fillna(0.0).to_numpy()
    return np.divide(others, n, out=np.full(n.shape, np.nan), where=n > 0)


def _slope(told: pd.DataFrame, seed: int, n_boot: int = 1000) -> Mean:
    """The slope of cooperation on the others' last, within situations; the interval resamples scenarios."""
    situations = told.groupby(["place", "round"])
    x, y = (told[c] - situations[c].transform("mean") for c in ("others", "cooperation"))
    groups = pd.factorize(resampled(told))[0] if len(told) else np.zeros(0, int)
    xx, xy = np.bincount(groups, x * x), np.bincount(groups, x * y)
    if xx.sum() < 1e-9:  # the others never differed: nothing could be followed
        return _NOTHING
    drawn = np.random.default_rng(seed).integers(xx.size, size=(n_boot, xx.size))
    below = xx[drawn].sum(axis=1)
    slopes = xy[drawn].sum(axis=1)[below > 0] / below[below > 0]
    low, high = np.percentile(slopes, [2.5, 97.5]) if xx.size > 1 else (np.nan, np.nan)
    return Mean(float(xy.sum() / xx.sum()), float(low), float(high), xx.size)


def published_people(world: str) -> pd.DataFrame:
    """Return what was published of people in games like a world's, each with its source; no row where nothing is."""
    known = yaml.load(PEOPLE_FILE.read_text(encoding="utf-8"), StrictLoader).get(world, [])
    return pd.DataFrame(known, columns=["what", "figure", "source", "game"])


# --- exploring ---------------------------------------------------------------------------------------


def explore(
    games: Sequence[Game], player_at: Callable[[float], Policy], temperatures: Sequence[float], *,
    folder: Path | None = None, concurrency: int = 32, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Play the same games at each temperature, by the player made for it in all seats, and compare; see `against`."""
    scripts = [*{g.script.title: g.script for g in games}.values()]
    told = {}
    for t in sorted(temperatures):
        place = folder / f"{t:g}" if folder else None
        told[t] = _by_game(play(games, player_at(t), folder=place, concurrency=concurrency), scripts)
    return against(told, seed)


def against(by_temperature: Mapping[float, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Compare tables of the same games with that of the lowest temperature; a row per temperature and measure.

    Beside each mean its change, paired by game, with an interval, and p by Holm over the whole table.
    """
    lowest, rows = min(by_temperature), []
    for t, table in sorted(by_temperature.items()):
        both = table.merge(by_temperature[lowest], on=["order", "script"], suffixes=("", "_lowest"))
        rows += [{"temperature": t, "measure": m} | _compared(both, m, seed) for m in _MEASURES]
    table = pd.DataFrame(rows)
    tested = (table["temperature"] > lowest) & table["change"].notna()
    table["p"] = table["p"].where(tested)
    table.loc[tested, "p"] = holm(table.loc[tested, "p"].tolist())
    return table.rename(columns={"p": "p (Holm)"})


def holds(explored: pd.DataFrame, least: float = 0.05) -> str:
    """Say up to which temperature cooperation holds: until a fall is shown, of at least `least`."""
    rows = explored[explored["measure"] == "cooperation"].sort_values("temperature")
    if rows["mean"].isna().all():
        return "cooperation was not measured: see `cooperative`"
    last, shown = rows["temperature"].iloc[-1], rows["p (Holm)"] < LEVEL
    if not shown.any():
        return f"{NONE} up to {last:g}"
    if (broken := rows[shown & (rows["change"] <= -least)]).empty:
        return f"cooperation holds up to {last:g}"
    first = broken.iloc[0]
    below = rows["temperature"][rows["temperature"] < first["temperature"]].iloc[-1]
    fall = Mean(first["change"], first["change_low"], first["change_high"], int(first["n"]))
    return f"cooperation holds up to {below:g}; at {first['temperature']:g} it changes by {fall}"


def _by_game(played: Played, scripts: Sequence[Scenario]) -> pd.DataFrame:
    """A row per game with each measure; cooperation is empty where the world declares none."""
    games, actions = played.table("games"), played.table("actions")
    table = games[["order", "script"]].assign(
        success=[float(np.mean(s)) for s in games["success"]], welfare=[float(np.sum(p)) for p in games["payoffs"]]
    )
    legal = actions[~actions["retry"]].groupby("order")["legal"].mean()
    shares = pd.Series(dtype=float)
    if find_world(scripts[0].world).cooperative:
        shares = decisions_of(actions, scripts).groupby("order")["cooperation"].mean()
    return table.assign(legal=table["order"].map(legal), cooperation=table["order"].map(shares))


def _compared(both: pd.DataFrame, measure: str, seed: int) -> dict[str, float]:
    """The mean of a measure and its change, over the games in which both have it."""
    known = both.dropna(subset=[measure, f"{measure}_lowest"])
    mean = bootstrap_mean(known[measure], seed, groups=resampled(known))
    difference = known[measure] - known[f"{measure}_lowest"]
    change = bootstrap_mean(difference, seed, groups=resampled(known))
    p = sign_flip(difference, seed, groups=resampled(known)) if len(known) else np.nan
    return {"mean": mean.mean, "low": mean.low, "high": mean.high, "change": change.mean, "change_low": change.low,
            "change_high": change.high, "p": p, "games": len(known), "n": change.n}  # fmt: skip
