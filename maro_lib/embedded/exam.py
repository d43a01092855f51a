"""What a model can do: how it plays with itself, and how it answers small tasks that it was never taught on.

The games are of the notebooks' size, their mysteries from a seed that no lesson and no run uses. A model of several
worlds plays each of them too, as it is shipped and with its other tasks, and its success is set between that of random
and of skilled players on the same games. What its civilians say last of whom they suspect shows whether their ratings
mean anything. The card of a shipped model holds these scores, and a test computes them again. Taught in notebook 00.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from maro_lib.embedded import tasks
from maro_lib.embedded.lessons import HOME
from maro_lib.embedded.other_worlds import HOME_WORLD, examined
from maro_lib.model.loading import Loaded
from maro_lib.model.local import LocalPolicy, answers
from maro_lib.play.policies import RANDOM, SKILLED, Policy
from maro_lib.play.rollout import Game, Played, play, schedule
from maro_lib.statistics import Mean, Rate, bootstrap_mean, win_rate
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules
from maro_lib.worlds.registry import scenarios

EXAM_SEED = 900_000
N_SCRIPTS = 25
MARKS = {"random": RANDOM, "skilled": SKILLED}  # between whom a model's success is set
CULPRITS, INNOCENTS = "suspicion of culprits", "suspicion of innocents"


def exam_games(n: int, world: str = HOME_WORLD, knobs: Mapping[str, Any] | None = None) -> list[Game]:
    """The games that a model is examined on: as the notebooks play them, by scripts that no lesson has shown."""
    if world == HOME_WORLD:
        return schedule(generate_many(N_SCRIPTS, EXAM_SEED, HOME), n, EXAM_SEED, Rules(rounds=2))
    return schedule(scenarios(world, N_SCRIPTS, EXAM_SEED, knobs), n, EXAM_SEED)


def take_exam(
    loaded: Loaded, n_games: int = 100, n_items: int = 200, worlds: Sequence[str] = (HOME_WORLD,)
) -> dict[str, Mean]:
    """Score a model: how it plays with itself, in each of its worlds, and how it answers held-out tasks."""
    return play_exam(LocalPolicy(loaded), n_games, worlds) | {
        task: task_score(loaded, task, n_items) for task in tasks.TASKS
    }


def play_exam(player: Policy, n_games: int, worlds: Sequence[str] = (HOME_WORLD,)) -> dict[str, Mean]:
    """Let a player play with itself, and score it; success by world only where there are several."""
    home = play(exam_games(n_games), player)
    scores = playing_scores(home) | stated_suspicion(home)
    for place, (world, knobs) in examined(worlds).items() if len(worlds) > 1 else ():
        games = exam_games(n_games, world, knobs)
        scores |= world_scores(place, games, home if world == HOME_WORLD else play(games, player))
    return scores


def playing_scores(played: Played) -> dict[str, Mean]:
    """Legal first replies, civilians' votes that name a culprit, civilians' wins; intervals resample whole games."""
    games, actions = played.table("games"), played.table("actions")
    votes = actions[(actions["kind"] == "vote") & (actions["faction"] == "civilian")]
    culprits = games.set_index("game")["culprits"]
    right = [float(v.target in culprits[v.game]) for v in votes.itertuples()]
    return {
        "legal first replies": legal_share(played),
        "civilians' right votes": _rate(right, votes["game"]),
        "civilians win": win_rate(games["winner"] == "civilian"),
    }


def stated_suspicion(played: Played) -> dict[str, Mean]:
    """How much civilians suspect culprits and innocents after the last round, from 0 to 2; nothing if nobody rates."""
    factions = played.table("games", ["game", "factions"]).set_index("game")["factions"]
    actions = played.table("actions")
    rated = actions[(actions["kind"] == "rate") & (actions["faction"] == "civilian")]
    last = rated[rated["round"] == rated["round"].max()]
    said = [(row.game, factions[row.game][seat] == "culprit", s)
            for row in last.itertuples() for seat, s in enumerate(row.suspicion) if s >= 0]  # fmt: skip
    table = pd.DataFrame(said, columns=["game", "is_culprit", "suspicion"])
    parts = {CULPRITS: table[table["is_culprit"]], INNOCENTS: table[~table["is_culprit"].astype(bool)]}
    return {name: bootstrap_mean(part["suspicion"], 0, groups=part["game"]) for name, part in parts.items()
            if len(part)}  # fmt: skip


def world_scores(place: str, games: Sequence[Game], played: Played) -> dict[str, Mean]:
    """Legal first replies in a world, and the share of seats that succeed, beside random and skilled players'."""
    marks = {f"{place}: success of {name} players": success(play(games, policy)) for name, policy in MARKS.items()}
    return {f"{place}: legal first replies": legal_share(played), f"{place}: success": success(played)} | marks


def legal_share(played: Played) -> Rate:
    """The share of first replies that are legal."""
    actions = played.table("actions")
    first = actions[~actions["retry"]]
    return _rate(first["legal"].astype(float), first["game"])


def success(played: Played) -> Rate:
    """The share of seats that succeed."""
    seats = played.table("games")[["game", "success"]].explode("success")
    return _rate(seats["success"].astype(float), seats["game"])


def _rate(values: Sequence[float], games: pd.Series) -> Rate:
    """A share whose interval resamples whole games."""
    return Rate(**asdict(bootstrap_mean(values, 0, groups=games)))


def task_score(loaded: Loaded, task: str, n: int) -> Rate:
    """The share of held-out items of one task that are answered rightly."""
    asked = tasks.items(task, n, EXAM_SEED, held_out=True)
    said = answers(loaded, [i.prompt for i in asked])
    return win_rate([tasks.is_right(i, s) for i, s in zip(asked, said, strict=True)])
