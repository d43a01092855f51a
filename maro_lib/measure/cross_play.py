"""Cross-play: every contender as the civilians against every contender as the culprits, all in the same games.

All pairs play at once, so a model is asked by many games at a time. One folder holds them: a killed call goes on, and
more games, or a contender who comes last, leave what was played as it is. Taught in notebook 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd

from maro_lib.measure.matches import BASE, games_won, outcomes, without_errors
from maro_lib.model.loading import load
from maro_lib.model.players import SCRIPTED, Player
from maro_lib.play.policies import Policy
from maro_lib.play.rollout import Game, play
from maro_lib.statistics import Mean, bootstrap_mean

MOST_GAMES = 1_000_000  # of a pair: where the next pair's places begin


def seat_contenders(player: Player, adapters: Mapping[str, str]) -> dict[str, Policy]:
    """Seat the scripted players, base and the model with each adapter, by name; on one base, with the memory of one."""
    player = player.sharing(1 / (1 + len(adapters)))
    first, *others = adapters.values()
    tuned = load(player.model, precision=player.precision, adapter=first)
    policies = [player.playing(tuned), *(player.playing(tuned.beside(adapter)) for adapter in others)]
    return SCRIPTED | {BASE: policies[0].with_adapter(False)} | dict(zip(adapters, policies, strict=True))


def play_pairs(
    games: Sequence[Game], players: Mapping[str, Policy], folder: Path | None = None, *, concurrency: int = 32,
    progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Play the games in every pair; return a row per pair and game, with what matches tell and the mystery's kind."""
    names = [*players]
    pairs = sorted(product(names, repeat=2), key=lambda pair: max(map(names.index, pair)))  # who is new comes last
    seats = [{"civilian": players[civilians], "culprit": players[culprits]} for civilians, culprits in pairs]
    crossed = [
        replace(game, name=f"{civilians}-{culprits}-{game.name}", order=MOST_GAMES * k + game.order)
        for k, (civilians, culprits) in enumerate(pairs) for game in games
    ]  # fmt: skip
    played = play(crossed, lambda game: seats[game.order // MOST_GAMES], folder=folder, concurrency=concurrency,
                  progress=progress)  # fmt: skip
    table, kinds = outcomes(played), {game.order: game.script.cell for game in games}
    sides = pd.DataFrame([pairs[order // MOST_GAMES] for order in table["order"]], columns=["civilians", "culprits"])
    return table.join(sides).assign(kind=(table["order"] % MOST_GAMES).map(kinds))


def errors_apart(games: pd.DataFrame) -> pd.DataFrame:
    """Leave the outcome of a game open in which a side lost a turn or a vote."""
    return games.assign(civilians_won=games["civilians_won"].where(without_errors(games)))


def curve_of(games: pd.DataFrame, learners: Sequence[str], seed: int = 0) -> dict[str, list[Mean]]:
    """Say of each learner of a cross-play how often it wins against base, as either faction, and its legal moves."""
    curve = {"civilians": [], "culprits": [], "legal moves": []}
    for name in learners:
        own = {side: games[games[f"{side}s"] == name] for side in ("civilian", "culprit")}
        for side, other in (("civilian", "culprits"), ("culprit", "civilians")):
            against = own[side][own[side][other] == BASE].dropna(subset="civilians_won")
            curve[f"{side}s"].append(bootstrap_mean(games_won(against, side), seed, groups=against["script"]))
        legal = pd.concat([part.set_index("script")[f"legal_{side}"] for side, part in own.items()])
        curve["legal moves"].append(bootstrap_mean(legal, seed, groups=legal.index))
    return curve
