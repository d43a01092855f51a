"""Across worlds: what was learned in one, played in all of them; a row of the transfer matrix.

In each world a trained player takes the seats of one party, then of everybody, beside its own base; and of one party
beside players who are greedy by rule, where the world has such. Base takes the same seats in the same games, so every
change is paired by game. In dilemmas "better" is several numbers, which can move apart: they stand side by side.
Notebook 07's tasks are places, too: whoever answers is everybody, and the goal is to be right.

Taught in notebook 15; params/sweeps/worlds.yaml trains in each world and plays in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maro_lib.measure.decisions import explore
from maro_lib.measure.encounters import change, encounter, parties_of
from maro_lib.measure.matches import MARO
from maro_lib.play.gamebook import HELD_OUT
from maro_lib.play.policies import Policy, Styled
from maro_lib.play.pool import played_once
from maro_lib.play.rollout import Game, games_digest, schedule
from maro_lib.study.maps import GOALS, carried_over
from maro_lib.study.transfer import changes_since_base
from maro_lib.world.turns import TurnGame
from maro_lib.worlds.registry import find_world, knob_values, scenarios

PARTY, EVERYBODY = "one party", "everybody"  # who is trained: in turn a side, a role, or one seat; or all seats
GREEDY = "greedy"
SAID = {  # of `encounters.TOLD`, as they are called in a matrix; by what they are multiplied
    "success": (GOALS, 100), "payoff": ("own payoff", 1), "others": ("payoff of the others", 1),
    "welfare": ("payoff of all", 1), "equality": ("equality", 100), "legal": ("legal replies", 100),
}  # fmt: skip
PAID = {  # what "better" may mean in a dilemma: `said`, of whom -> a part
    ("own payoff", PARTY): "own", ("payoff of the others", PARTY): "others", ("payoff of all", EVERYBODY): "all",
    (f"own payoff, beside {GREEDY} ones", PARTY): "own, beside greedy",
}  # fmt: skip
ENOUGH_SEEDS = 3  # for an interval
COLUMNS = ["learned", "world", "who", "measure", "change", "low", "high", "n", "base", "trained"]
Met = Mapping[tuple[str, str], pd.DataFrame]  # (who, beside whom) -> a row per game


@dataclass(frozen=True)
class Venue:
    """A world with its knobs, as parameters name it; what does not exist is refused when it is made."""

    name: str
    knobs: Sequence[str] = ()  # name=value
    register: str = "compact"
    allow_code: bool = False

    def __post_init__(self) -> None:
        self.games(1, 1, 0)

    @property
    def world(self) -> type[TurnGame]:
        return find_world(self.name, allow_code=self.allow_code)

    def games(self, n_games: int, n_scenarios: int, seed: int) -> list[Game]:
        """Games over scenarios in turn."""
        how = {"register": self.register, "allow_code": self.allow_code}
        return schedule(scenarios(self.name, n_scenarios, seed, knob_values(self.knobs), **how), n_games, seed)

    def held_out(self, n_games: int, n_scenarios: int, seed: int) -> list[Game]:
        """Games in scenarios that no run of this seed learns from."""
        return self.games(n_games, n_scenarios, seed + HELD_OUT)


def meet(
    games: Sequence[Game], player: Policy, base: Policy, folder: Path, *, pool: Path | None = None, **how: Any
) -> dict[tuple[str, str], pd.DataFrame]:
    """Play the games with a player in each party's seats, and in all; what the parties of one table got is averaged.

    `pool` is where runs that are compared with the same base in the same games share them.
    """
    script, digest, found = games[0].script, games_digest(games, player), {}
    for party, seats in parties_of(script).items():
        who = EVERYBODY if len(seats) == len(script.names) else PARTY
        for beside in companies(script.world) if who == PARTY else ("",):
            is_base = player is base and not beside  # in all seats, whatever the party: played once
            name = "base" if is_base else f"{beside or 'base'}-{party}".replace(" ", "_")
            others = Styled(GREEDY) if beside else base
            with played_once(folder / name, pool, f"{digest}-{name}"):
                met = encounter(games, player, others, party, folder=folder / name, **how)
            found.setdefault((who, beside), []).append(met)
    return {key: _averaged(tables) for key, tables in found.items()}


def companies(world: str) -> tuple[str, ...]:
    """Beside whom players are measured in a world: their base, and greedy ones where it has any."""
    return ("", GREEDY) if GREEDY in find_world(world).styles else ("",)


def _averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a row per game: the mean over the parties in whose seats somebody played it."""
    return pd.concat(tables).groupby(["order", "script"], as_index=False).mean()


def by_temperature(
    games: Sequence[Game], players: Mapping[str, Callable[[float], Policy]], temperatures: Sequence[float],
    folder: Path, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Play the same games at each temperature, by each player in all seats; a row per player and temperature.

    What is told is cooperation, or success where the world does not say which choices are cooperative.
    """
    what = "cooperation" if find_world(games[0].script.world).cooperative else "success"
    told = {who: explore(games, at, temperatures, folder=folder / who, seed=seed) for who, at in players.items()}
    table = pd.concat(told, names=["who"]).reset_index("who")
    return table[table["measure"] == what].reset_index(drop=True)


def changes_everywhere(
    places: Sequence[Sequence[Game]], models: Mapping[str, Policy], base: Policy, folder: Path, *, seed: int = 0,
    pool: Path | None = None, **how: Any,
) -> pd.DataFrame:  # fmt: skip
    """Play the games of each world with each trained player; return a row per player, world and measure."""
    tables = [pd.DataFrame(columns=COLUMNS)]
    for games in places:
        world = games[0].script.world
        at = folder / world
        by_base = meet(games, base, base, at / "base", pool=pool, **how)
        for learned, player in models.items():
            met = meet(games, player, base, at / learned.replace(" ", "_"), **how)
            tables.append(changed(learned, world, met, by_base, seed))
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)


def changed(learned: str, world: str, trained: Met, base: Met, seed: int = 0) -> pd.DataFrame:
    """Return a row per measure: how much it changed, paired by game, when a trained player took base's seats."""
    return pd.DataFrame(_changes(learned, world, trained, base, seed), columns=COLUMNS)


def _changes(learned: str, world: str, trained: Met, base: Met, seed: int) -> Iterator[tuple]:
    for (who, beside), table in trained.items():
        without = base[who, beside]
        for column, (name, times) in SAID.items():
            if (found := change(table, without, column, seed)).n:
                numbers = (found.mean, found.low, found.high, without[column].mean(), table[column].mean())
                mean, low, high, before, after = (times * x for x in numbers)
                yield learned, world, who, _named(name, beside), mean, low, high, found.n, before, after


def _named(measure: str, beside: str) -> str:
    return f"{measure}, beside {beside} ones" if beside else measure


def in_tasks(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trained player and task, as `changed` has them for a world, from `transfer.evaluate`'s table."""
    return pd.DataFrame(_task_rows(answers), columns=COLUMNS)


def _task_rows(answers: pd.DataFrame) -> Iterator[tuple]:
    tasks = set(answers["task"])  # what else is told of scenes counts no right answers
    for arm, task, found, *shares in (row for row in changes_since_base(answers) if row.measure in tasks):
        mean, low, high, before, after = (100 * x for x in (found.mean, found.low, found.high, *shares))
        yield arm, task.removeprefix("maro_"), EVERYBODY, GOALS, mean, low, high, found.n, before, after


def matrix(results: pd.DataFrame, measure: str = GOALS) -> pd.DataFrame:
    """Return a sweep's tiles: who was trained, on which labels, in which world, played in which; means over seeds.

    With fewer than `ENOUGH_SEEDS` seeds there is no interval: shares of a few games often come out alike on two.
    """
    table = carried_over(results, measure)
    table[["low", "high"]] = table[["low", "high"]].where(table["n"] >= ENOUGH_SEEDS)
    arms = table["cell"].str.partition(", ")[0]
    return table.assign(learned=_learned(table["cell"]), cell=arms, own=arms == table["kind"])


def paid_at_home(results: pd.DataFrame) -> pd.DataFrame:
    """Return how each training of a sweep changed payoffs in its own world, with intervals over that training's games.

    `own` and `others`: one party was trained, and played among its base; `own, beside greedy`: among players who are
    greedy by rule; `all`: everybody was trained, and the sum. `clear`: 1 where the interval lies above zero, -1 where
    it lies below, else 0.
    """
    rows = each_training(results)
    part = pd.Series([PAID.get(key) for key in zip(rows["said"], rows["who"], strict=True)], rows.index, dtype="object")
    own = rows.assign(part=part)[part.notna() & (rows["world"] == rows["arm"])]
    own = own.assign(clear=(own["low"] > 0).astype(int) - (own["high"] < 0), change=own["value"])
    return own[["world", "seed", "learned", "part", "base", "change", "low", "high", "clear"]]


def each_training(results: pd.DataFrame) -> pd.DataFrame:
    """Return a sweep's rows with what was `said`, in which `world`, of whom who `learned` from which labels."""
    said, world = (results["measure"].str.rpartition(", in ")[k] for k in (0, 2))
    return results.assign(said=said, world=world, learned=_learned(results["cell"]))


def _learned(cells: pd.Series) -> pd.Series:
    """The labels that cells learned from: those of `commons, shuffled labels` or, of `commons`, MARO's."""
    return cells.str.partition(", ")[2].replace("", MARO)
