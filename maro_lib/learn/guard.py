"""The guard of a training: quick games at its checkpoints, a warning of every step that taught nothing, a stop.

Quick games are a few games with the model in training, to see whether it still plays, and plays better. Used by
`training`; taught in notebook 05.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd
import torch
from transformers import TrainerCallback

from maro_lib.learn.account import as_curve, notes_of
from maro_lib.learn.trainer import Diverged, MaroTrainer
from maro_lib.model.loading import Loaded
from maro_lib.model.local import LocalPolicy
from maro_lib.model.players import Player, line_up
from maro_lib.play.rollout import Game, play


class Watch(Protocol):
    """Quick games with the model in training; `names` says which numbers it returns, `legal` among them."""

    names: tuple[str, ...]

    def __call__(self, loaded: Loaded) -> dict[str, float]: ...


Live = Callable[[pd.DataFrame], None]  # is shown the curve after every step


class TrainingWarning(UserWarning):
    """A step taught nothing."""


class Guard(TrainerCallback):
    """Plays quick games at checkpoints, warns of steps that taught nothing, stops what diverges."""

    def __init__(self, trainer: MaroTrainer, watch: Watch | None, live: Live | None):
        self.trainer, self.watch, self.live = trainer, watch, live

    def on_train_begin(self, _args, state, _control, **_):
        if self.watch and not state.global_step:
            self._look()

    def on_pre_optimizer_step(self, _args, state, _control, **_):
        gradients = [p.grad for p in self.trainer.model.parameters() if p.grad is not None]
        if not all(torch.isfinite(g).all() for g in gradients):
            raise Diverged(f"step {state.global_step + 1}: the gradient is not a finite number")

    def on_step_end(self, _args, state, control, **_):
        step = state.global_step
        for note in notes_of([self.trainer.numbers | {"step": step}], self.trainer.settings.objective):
            warnings.warn(note, TrainingWarning, stacklevel=2)
        if self.watch and control.should_save:
            base = next(h["legal"] for h in state.log_history if "legal" in h)
            legal = self._look()["legal"]
            if legal < base - self.trainer.settings.max_illegal:
                raise Diverged(
                    f"step {step}: only {100 * legal:.0f} % of its moves are legal (before training {100 * base:.0f} %)"
                )

    def on_log(self, args, state, _control, logs=(), **_):
        if self.live and "loss" in logs and args.process_index == 0:
            self.live(as_curve(state.log_history))

    def _look(self) -> dict[str, float]:
        """Play on the first process; all learn what came out."""
        t, names = self.trainer, self.watch.names
        numbers = torch.zeros(len(names), dtype=torch.float64)
        if t.args.process_index == 0:
            t.model.eval()
            results = self.watch(t.loaded)
            numbers = torch.tensor([results[name] for name in names], dtype=torch.float64)
        shared = t.accelerator.reduce(numbers.to(t.args.device), "sum")
        shared = dict(zip(names, shared.tolist(), strict=True))
        t.state.log_history.append(shared | {"step": t.state.global_step})
        t.callback_handler.call_event("on_log", t.args, t.state, t.control, logs=shared)  # trackers hear of it, too
        return shared


# --- quick games -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuickGames:
    """Each faction in turn is played by the model in training, the other one by its base."""

    games: Sequence[Game]
    player: Player = field(default_factory=Player)  # how it plays; which model, training says
    concurrency: int = 32
    names = ("legal", "civilians win", "culprits win")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        trained, half = self.player.playing(loaded), len(self.games) // 2
        sides = {"civilian": self.games[:half], "culprit": self.games[half:]}
        results = {who: _result(games, trained, who, self.concurrency) for who, games in sides.items()}
        return {
            "legal": sum(legal for legal, _ in results.values()) / 2,
            "civilians win": results["civilian"][1],
            "culprits win": results["culprit"][1],
        }


def _result(games: Sequence[Game], trained: LocalPolicy, who: str, concurrency: int) -> tuple[float, float]:
    """How many of a faction's first replies are legal (the mean over games), and how many games it wins."""
    played = play(games, line_up(trained, who), concurrency=concurrency)
    actions = played.table("actions", ["game", "faction", "legal", "retry"])
    first = actions[~actions["retry"] & (actions["faction"] == who)]
    won = played.table("games", ["winner"])["winner"] == who
    return first.groupby("game")["legal"].mean().mean(), won.mean()
