"""Learning online: the model plays anew before every step, and learns from those games alone, once.

    play n games -> decompose -> one optimiser step -> play the next n games with what was learned -> ...

So SPIRAL, MARSHAL and Dr. MAS learn: `policy_gradient` on the weights of `role_baseline`, `turn_normalised` or
`agent_normalised` (see `decomposition`). The games are the run's own, of the same mysteries and seeds; all games of a
mystery are played one after the other, so a step can compare them. Nothing is balanced: a rule that subtracts what a
role usually gets leaves little to balance.

    games/00001.parquet     the actions of the first step's games, beside the checkpoints

What a kill leaves between two checkpoints is played again. Used in notebook 05.

Differs from the papers: LoRA, one step for each batch of games, no KL term, no clipping (there is nothing to clip in a
first step), no bonus for legal moves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from maro_lib.fingerprints import text_digest
from maro_lib.learn.corpus import TAKEN, Corpus, make_corpus
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.guard import Live, Watch
from maro_lib.learn.rows import Material
from maro_lib.learn.settings import Settings
from maro_lib.learn.trainer import MaroTrainer
from maro_lib.learn.training import Trained, carry_out
from maro_lib.model.loading import Loaded
from maro_lib.model.players import Player
from maro_lib.play.rollout import Game, play
from maro_lib.runs import make_folder, write_atomic

ANEW = "games"  # the folder of what was played, beside the checkpoints
GOES_ON = ("role_baseline",)  # rules with a running mean, which goes on from step to step
NOTHING = Corpus([], pd.DataFrame(columns=[*TAKEN, "row", "start", "end"]), pd.DataFrame(), 0)


@dataclass(frozen=True)
class Online:
    """What is played anew, by whom, and how its outcomes become weights."""

    games: Sequence[Game]
    n_online: int  # games before a step
    rule: str
    options: Mapping[str, float] = field(default_factory=dict)  # of the rule
    player: Player = field(default_factory=Player)  # how it plays; which model, training says
    concurrency: int = 32

    @cached_property
    def batches(self) -> list[list[Game]]:
        """The games of each step, in the order of play."""
        first: dict[str, int] = {}
        for game in self.games:
            first.setdefault(game.script.digest, len(first))
        by_script = sorted(self.games, key=lambda game: first[game.script.digest])
        games = [replace(game, order=k) for k, game in enumerate(by_script)]
        return [games[k : k + self.n_online] for k in range(0, len(games), self.n_online)]

    @property
    def digest(self) -> str:
        """All that decides what is played, but the model."""
        games = [(g.name, g.script.digest, g.seed, asdict(g.rules)) for batch in self.batches for g in batch]
        return text_digest(map(repr, (games, self.n_online, self.rule, {**self.options}, asdict(self.player))))


def train_online(
    loaded: Loaded, online: Online, settings: Settings, folder: Path, *,
    watch: Watch | None = None, live: Live | None = None,
) -> Trained:  # fmt: skip
    """Train an adapter into `folder` on games that it plays itself; called again it resumes, or finds the work done."""
    folder = Path(folder)

    def trainer_of(learner: Loaded) -> OnlineTrainer:
        return OnlineTrainer(learner, online, settings, folder)

    deciding = (settings.deciding, loaded.name, loaded.precision, loaded.fingerprint, online.digest)
    return carry_out(trainer_of, loaded, settings, folder, text_digest(map(repr, deciding)), watch, live)


class OnlineTrainer(MaroTrainer):
    """A trainer whose steps are played, by the model as it is then, before they are learned from."""

    def __init__(self, loaded: Loaded, online: Online, settings: Settings, folder: Path):
        self.online, self.games_at = online, folder / ANEW
        super().__init__(loaded, NOTHING, settings, folder)

    def steps_of(self, _corpus: Corpus) -> list[np.ndarray]:
        """As many steps as there are batches of games; what each reads is not known yet."""
        return [np.arange(0) for _ in self.online.batches]

    def training_step(self, model: torch.nn.Module, inputs: dict[str, int], n_items: object = None) -> torch.Tensor:
        """Play, then take the gradient of what was played."""
        began, step = time.perf_counter(), inputs["step"]
        model.eval()
        corpus, played = self.play(step)
        self.material, self.plan[step] = Material(corpus), np.arange(len(corpus))
        self.planned = self.plan[step]
        self.seconds += time.perf_counter() - began
        loss = super().training_step(model, inputs, n_items)
        self.numbers |= played
        return loss

    def play(self, step: int) -> tuple[Corpus, dict[str, float]]:
        """Play a step's games; return what is to be learned from them, and how much was played."""
        batch, policy = self.online.batches[step], self.online.player.playing(self.loaded)
        played = play(batch, policy, concurrency=self.online.concurrency)
        dialogues = played.table("dialogues")
        credited = self.credit(step, played.table("actions"))
        corpus = make_corpus(dialogues, credited, window=policy.window, chat=policy.chat)
        n_sampled = dialogues.loc[dialogues["exact"], "logps"].map(len).sum()
        return corpus, {"games": float(len(batch)), "sampled": float(n_sampled)}

    def credit(self, step: int, actions: pd.DataFrame) -> pd.DataFrame:
        """Label a step's actions, and keep them for the steps to come; what has no weight is read all the same."""
        make_folder(self.games_at)
        write_atomic(self.games_at / f"{step + 1:05}.parquet", actions.to_parquet(index=False))
        earlier = range(step) if self.online.rule in GOES_ON else ()
        before = [pd.read_parquet(self.games_at / f"{k + 1:05}.parquet") for k in earlier]
        weights = decompose(pd.concat([*before, actions], ignore_index=True), self.online.rule, **self.online.options)
        weights = weights.to_numpy()[-len(actions) :]
        return actions.assign(desirable=weights > 0, weight=np.abs(weights))
