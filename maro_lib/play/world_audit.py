"""Is a world fit to be played: does it keep its contract, is it fair, does skill pay, how much is there to read?

Taught in notebook 14; `python -m maro_lib audit WORLD --knobs players=6` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from maro_lib.play.audit import Audit, TextCounter, count_words
from maro_lib.play.contract import check_contract, players_of
from maro_lib.play.policies import RANDOM, SKILLED, Policy
from maro_lib.play.rollout import Game, Played, Seating, play, schedule
from maro_lib.progress import Bar
from maro_lib.statistics import Mean, Rate, bootstrap_mean, holm, sign_flip, win_rate
from maro_lib.wording import counted, p_value, signed
from maro_lib.world.turns import TurnGame
from maro_lib.worlds.registry import WorldError, find_world, knobs_of

_REGISTERS = ("compact", "prose")
_N_SCENARIOS = 20  # that the games are played from
_N_CHECKED = 5  # of which so many are checked for the contract
_N_READ = 10  # games of which the words are counted
_MOST_ROWS = 12  # seats in the report's table
_BY_CHANCE = 0.01  # so rarely may a fair world be called unfair


@dataclass
class WorldAudit(Audit):
    """What was found out about a world: lines and tables to read, and what is wrong."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)  # by what they show

    def __str__(self) -> str:
        shown = (f"  {what}:\n{_indented(_shortened(table))}" for what, table in self.tables.items())
        return "\n".join([super().__str__(), *shown])


def audit_world(
    name: str, knobs: Mapping[str, Any] | None = None, *, n_games: int = 200, seed: int = 0, allow_code: bool = False,
    count_tokens: TextCounter | None = None, progress: bool = False,
) -> WorldAudit:  # fmt: skip
    """Check a world: its contract first; if that holds, what `n_games` seeded games by rule tell of it."""
    world = find_world(name, allow_code=allow_code)
    known = knobs_of(world, knobs or {})
    return audit_class(world, known, n_games=n_games, seed=seed, count_tokens=count_tokens, progress=progress)


def audit_class(
    world: type[TurnGame], knobs: Any, *, n_games: int = 200, seed: int = 0, count_tokens: TextCounter | None = None,
    progress: bool = False,
) -> WorldAudit:  # fmt: skip
    """Check a world that is not (yet) known by name."""
    report = WorldAudit(f"{world.name}: {world.question}")
    report.lines += [("success", world.success), ("knobs", _turned(knobs))]
    try:
        scripts = [_generated(world, seed + k, knobs) for k in range(_N_SCENARIOS)]
    except Exception as error:  # whatever a world's code raises
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        report.problems.append(f"no scenario can be made of these knobs: {kind}{error}")
        return report
    if not _keeps_contract(world, knobs, seed, report):
        return report
    players, n_few = players_of(world), max(1, n_games // 5)
    with Bar(3 * n_games + len(players) ** 2 * n_few, "game", shown=progress) as bar:
        table = _Table(world, scripts, seed, bar)
        random, skilled = table.play(RANDOM, n_games), table.play(SKILLED, n_games)
        _tell_wins(report, {"random": random, "skilled": skilled}, scripts)
        _tell_skill(report, random, skilled, table.play(_one_among(SKILLED, RANDOM), n_games))
        _tell_payoffs(report, world, scripts, (random, skilled))
        _tell_words(report, world, knobs, seed, count_tokens)
        _tell_styles(report, players, table, n_few)
    return report


@dataclass
class _Table:
    """Where the games of an audit are played: the same ones, whoever plays."""

    world: type[TurnGame]
    scripts: list[Any]
    seed: int
    bar: Bar

    def play(self, seating: Seating, n_games: int) -> pd.DataFrame:
        games = [replace(g, kind=self.world) for g in schedule(self.scripts, n_games, self.seed)]
        played = play(games, seating)
        self.bar.update(n_games)
        return played.table("games", ["order", "script", "success", "payoffs", "n_illegal"])


def _generated(world: type[TurnGame], seed: int, knobs: Any, register: str = "compact") -> Any:
    if "register" in {f.name for f in fields(knobs)}:  # a mystery's
        knobs = replace(knobs, register=register)
    return world.generate(seed, knobs, register)


def _turned(knobs: Any) -> str:
    return ", ".join(f"{f.name} {getattr(knobs, f.name)}" for f in fields(knobs))


def _keeps_contract(world: type[TurnGame], knobs: Any, seed: int, report: WorldAudit) -> bool:
    """Check some scenarios, in both registers in turn; the first broken law is told, and ends it."""
    scripts = [_generated(world, seed + k, knobs, _REGISTERS[k % 2]) for k in range(_N_CHECKED)]
    for k, script in enumerate(scripts):
        try:
            check_contract(world, script, seed + k)
        except WorldError as error:
            report.problems.append(str(error))
            return False
    is_private = any(getattr(script, "private", ()) for script in scripts)
    none = "not looked for: the scenarios hold nothing in `private`"
    report.lines += [("contract", f"kept in {counted(len(scripts), 'scenario')}"),
                     ("leak check", "what one seat alone knows reached nobody" if is_private else none)]  # fmt: skip
    return True


# --- who wins ----------------------------------------------------------------------------------------


def _by_seat(games: pd.DataFrame, scripts: Sequence[Any]) -> pd.DataFrame:
    """One row for each seat of each game."""
    roles = {s.title: [c.role or c.faction for c in s.characters] for s in scripts}
    rows = games.assign(role=games["script"].map(roles), seat=[range(len(p)) for p in games["payoffs"]])
    return rows.explode(["seat", "role", "success", "payoffs"]).rename(columns={"payoffs": "payoff"})


def _tell_wins(report: WorldAudit, played: Mapping[str, pd.DataFrame], scripts: Sequence[Any]) -> None:
    """Success and payoff by role and by seat, whether equals fare equally, and how often all fare alike."""
    rows = {who: _by_seat(games, scripts) for who, games in played.items()}
    for group in ("role", "seat"):
        parts = [_wins(of, group).assign(players=who) for who, of in rows.items()]
        report.tables[f"who wins, by {group}"] = pd.concat(parts)[["players", group, "success", "payoff"]]
    for who, of in rows.items():
        report.lines.append((f"fair, {who}", _fairness(of)))
    for who, games in played.items():
        alike = [(min(s), max(s)) for s in games["success"]]
        won, lost = win_rate([low == 1 for low, _ in alike]), win_rate([high == 0 for _, high in alike])
        report.lines.append(
            (
                f"all alike, {who}",
                f"all win in {won}, all lose in {lost}; only the others can be balanced within a game",
            )
        )
        if n := int(games["n_illegal"].sum()):
            report.problems.append(f"{who} players gave {n} illegal replies")


def _wins(rows: pd.DataFrame, group: str) -> pd.DataFrame:
    told = [{group: value, "success": _share(of), "payoff": bootstrap_mean(of["payoff"], 0, of["order"])}
            for value, of in rows.groupby(group, sort=False)]  # fmt: skip
    return pd.DataFrame(told)


def _share(rows: pd.DataFrame) -> Rate:
    """The share of successes; several seats of one game are no independent samples."""
    if not rows["order"].duplicated().any():
        return win_rate(rows["success"])
    if rows.groupby("order")["success"].nunique().max() == 1:  # each game is one sample
        return win_rate(rows.groupby("order")["success"].first())
    by_game = bootstrap_mean(rows["success"], 0, rows["order"])
    return Rate(by_game.mean, by_game.low, by_game.high, by_game.n)


def _fairness(rows: pd.DataFrame) -> str:
    """Whether a seat gets more or less than the others of its role in the same game, by more than chance."""
    apart = rows["payoff"].astype(float) - rows.groupby(["order", "role"])["payoff"].transform("mean").astype(float)
    by_seat = {seat: apart[rows["seat"] == seat] for seat in rows["seat"].unique()}
    ps = dict(zip(by_seat, holm([sign_flip(values, 0) for values in by_seat.values()]), strict=True))
    if not apart.any():
        return "yes: all of one role get the same in a game"
    seat = min(ps, key=ps.__getitem__)
    told = f"seat {seat}, {signed(by_seat[seat].mean(), 2)} to the mean of its role, p by Holm {p_value(ps[seat])}"
    if ps[seat] < _BY_CHANCE:
        return f"no: {told}"
    return f"yes: no seat stands out of its role by more than chance (the most: {told})"


# --- does skill matter -------------------------------------------------------------------------------


def _one_among(one: Policy, others: Policy) -> Callable[[Game], Mapping[str, Policy]]:
    """Seat one player among others, in another seat from game to game."""
    return lambda game: {name: one if i == _seat(game.order, len(game.script.names)) else others
                         for i, name in enumerate(game.script.names)}  # fmt: skip


def _seat(order: int, n: int) -> int:
    """The seat of one game that is looked at; not in step with the scenarios, which go round too."""
    return (order + order // _N_SCENARIOS) % n


def _of_one(games: pd.DataFrame) -> np.ndarray:
    """The payoff of the seat that is looked at, by game."""
    return np.array([payoffs[_seat(order, len(payoffs))] for order, payoffs in zip(games["order"], games["payoffs"],
                                                                                  strict=True)])  # fmt: skip


def _tell_skill(report: WorldAudit, random: pd.DataFrame, skilled: pd.DataFrame, mixed: pd.DataFrame) -> None:
    """What skill is worth to a seat, paired by seed: alone among random players, and for all together."""
    alone = bootstrap_mean(_of_one(mixed) - _of_one(random), 0)
    together = bootstrap_mean([np.mean(s) - np.mean(r) for s, r in zip(skilled["payoffs"], random["payoffs"],
                                                                       strict=True)], 0)  # fmt: skip
    report.lines += [("skill, one alone", _worth(alone)), ("skill, all of them", _worth(together))]


def _worth(gain: Mean) -> str:
    verdict = "pays" if gain.low > 0 else "costs" if gain.high < 0 else "makes no difference that is seen"
    return f"{verdict}: {gain} in payoff"


def _tell_styles(report: WorldAudit, players: Mapping[str, Policy], table: _Table, n_games: int) -> None:
    """Every player by rule, alone among every other."""
    means = {others: {one: float(_of_one(table.play(_one_among(players[one], players[others]), n_games)).mean())
                      for one in players} for others in players}  # fmt: skip
    shown = pd.DataFrame(means).rename_axis("one seat", axis=0).rename_axis("among", axis=1)
    report.tables[f"mean payoff of one seat (row) among others (column), {counted(n_games, 'game')} each"] = shown


# --- payoffs and words -------------------------------------------------------------------------------


def _tell_payoffs(
    report: WorldAudit, world: type[TurnGame], scripts: Sequence[Any], played: Sequence[pd.DataFrame]
) -> None:
    ranges = [world.payoff_range(s) for s in scripts]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    seen = np.concatenate([np.concatenate(list(games["payoffs"])) for games in played])
    report.lines.append(("payoffs", f"from {seen.min():g} to {seen.max():g}; declared are {low:g} to {high:g}"))


def _tell_words(
    report: WorldAudit, world: type[TurnGame], knobs: Any, seed: int, count_tokens: TextCounter | None
) -> None:
    """How much a seat has to read, by register: at the start, and of the whole view at the end."""
    count, unit = (count_tokens, "tokens") if count_tokens else (count_words, "words")
    rows = []
    for register in _REGISTERS:
        scripts = [_generated(world, seed + k, knobs, register) for k in range(_N_READ)]
        views = _texts(play([replace(g, kind=world) for g in schedule(scripts, _N_READ, seed)], SKILLED))
        whole = [sum(map(count, view)) for view in views]
        rows.append({"register": register, "at the start": round(np.mean([count(view[0]) for view in views])),
                     "whole view": round(np.mean(whole)), "longest": max(whole)})  # fmt: skip
    report.tables[f"{unit} per view, skilled players"] = pd.DataFrame(rows)


def _texts(played: Played) -> list[list[str]]:
    return [[m["content"] for m in view] for view in played.table("dialogues", ["messages"])["messages"]]


# --- as text -----------------------------------------------------------------------------------------


def _shortened(table: pd.DataFrame) -> str:
    """A table as text; of many seats only the first are shown."""
    if "seat" not in table:
        named = table.index.name is not None
        return table.to_string(index=named, float_format="{:z.2f}".format)
    shown = table[table["seat"] < _MOST_ROWS]
    more = table["seat"].nunique() - shown["seat"].nunique()
    return shown.to_string(index=False) + (f"\n(and {more} seats more)" if more else "")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
