"""Quick games: a few games during training, to see whether it still plays and plays better. Used by `training`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maro_lib.model.loading import Loaded
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.model.players import line_up
from maro_lib.play.rollout import Game, play


@dataclass(frozen=True)
class QuickGames:
    """Each faction in turn is played by the model in training, the other one by its base."""

    games: Sequence[Game]
    sampling: Sampling = field(default_factory=Sampling)
    options: Mapping[str, int | float | bool] = field(default_factory=dict)  # the other settings of a LocalPolicy
    names = ("legal", "civilians win", "culprits win")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        trained, half = LocalPolicy(loaded, self.sampling, **self.options), len(self.games) // 2
        sides = {"civilian": self.games[:half], "culprit": self.games[half:]}
        results = {who: _result(games, trained, who) for who, games in sides.items()}
        return {
            "legal": sum(legal for legal, _ in results.values()) / 2,
            "civilians win": results["civilian"][1],
            "culprits win": results["culprit"][1],
        }


def _result(games: Sequence[Game], trained: LocalPolicy, who: str) -> tuple[float, float]:
    """How many of a faction's first replies are legal (the mean over games), and how many games it wins."""
    played = play(games, line_up(trained, who))
    actions = played.table("actions", ["game", "faction", "legal", "retry"])
    first = actions[~actions["retry"] & (actions["faction"] == who)]
    won = played.table("games", ["winner"])["winner"] == who
    return first.groupby("game")["legal"].mean().mean(), won.mean()
