"""Cold start: a language model that can talk, but has never seen the game, is told how it is played.

As it comes, next to none of its moves are legal, so there is nothing that MARO could learn from. It imitates scripted
players, good and bad ones, each of whom keeps its skill for a whole game; what they said wrongly and were corrected for
is read, not imitated. The same training does it (`objective: sft`), with every action desirable. Taught in notebook 11.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from maro_lib.embedded.lessons import HOME, Slips
from maro_lib.learn.corpus import Corpus, make_corpus, steps
from maro_lib.learn.settings import Settings
from maro_lib.model.adapter_files import CONFIG, WEIGHTS, read_adapter, seal
from maro_lib.model.chat import Chat
from maro_lib.model.loading import Loaded, token_logps
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.policies import Mixture
from maro_lib.play.rollout import Game, play
from maro_lib.runs import located, make_folder, read_record, write_atomic
from maro_lib.statistics import Rate, win_rate
from maro_lib.world.mystery import Rules

CARD, CARD_TEXT = "card.json", Path(__file__).with_name("cold_start_card.md")
ENGLISH = Path(__file__).with_name("english.txt")  # what it must not forget: the beginning of Alice in Wonderland


def start_book(register: str = "compact") -> Gamebook:
    """The games of a cold start: the kind that the notebooks play, on mysteries of its own."""
    return Gamebook(seed=1_000_000, n_scripts=200, knobs=replace(HOME, register=register), rules=Rules(rounds=2))


def imitation(games: Sequence[Game], chat: Chat, *, share_good: float = 0.4, window: int = 0) -> Corpus:
    """What scripted players said in some games, as a corpus of actions that are all desirable."""
    played = play(games, Slips(Mixture(share_good)))
    actions = played.table("actions")
    said = actions[actions["legal"]].assign(desirable=True, weight=1.0)
    return make_corpus(played.table("dialogues"), said, chat=chat, window=window)


@dataclass(frozen=True)
class Listening:
    """At each look: how many of its first replies are legal, who wins, and what it has kept of its English."""

    games: Sequence[Game]
    sampling: Sampling = field(default_factory=Sampling)
    options: Mapping[str, int | float | bool] = field(default_factory=dict)  # the other settings of a LocalPolicy
    names = ("legal", "civilians win", "english")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        played = play(self.games, LocalPolicy(loaded, self.sampling, **self.options))
        legal = first_replies(played.table("actions"))["legal"].mean()
        won = (played.table("games")["winner"] == "civilian").mean()
        return dict(zip(self.names, (float(legal), float(won), english_loss(loaded)), strict=True))


def first_replies(actions: pd.DataFrame) -> pd.DataFrame:
    """The replies that were no second try after a correction."""
    return actions[~actions["retry"]]


def english_loss(loaded: Loaded) -> float:
    """Nats a token on a page of English: what a model that learns to play should not lose."""
    ids = loaded.tokenizer.encode(ENGLISH.read_text(encoding="utf-8"), add_special_tokens=False)
    with torch.no_grad():
        return float(-token_logps(loaded.active(), [ids])[0].mean())


# --- what a cold start made, and what is known of it ---------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What a model could do after so many tokens."""

    tokens: int
    legal: float
    civilians_win: float
    english: float


@dataclass(frozen=True)
class Exam:
    """How many first replies were legal, by what was asked, and how often civilians won, one model in all seats."""

    legal: dict[str, Rate]
    civilians_win: Rate


@dataclass(frozen=True)
class Card:
    """card.json: how a cold start went, and what its model can do."""

    model: str
    n_dialogues: int
    n_tokens: int
    looks: list[Look]
    exam: Exam
    about: str


def looks_of(curve: pd.DataFrame, corpus: Corpus, settings: Settings) -> list[Look]:
    """The looks of a training's curve, each with the tokens that were read until then."""
    plan = steps(corpus, settings.batch, settings.epochs, settings.seed)
    read = np.cumsum([0, *(sum(len(corpus.ids[k]) for k in step) for step in plan)])
    looked = curve[curve["english"].notna()]
    columns = (looked[name] for name in ("step", *Listening.names))
    return [Look(int(read[int(step)]), *map(float, numbers)) for step, *numbers in zip(*columns, strict=True)]


def examine(policy: LocalPolicy, games: Sequence[Game], folder: Path | None = None, *, progress: bool = False) -> Exam:
    """Let a model play all seats: are its first replies legal, by what was asked, and how often do civilians win?"""
    played = play(games, policy, folder=folder, progress=progress)
    first = first_replies(played.table("actions"))
    by_phase = {"all": first, **dict(list(first.groupby("phase")))}
    won = win_rate(played.table("games")["winner"] == "civilian")
    return Exam({phase: win_rate(rows["legal"]) for phase, rows in by_phase.items()}, won)


def read_start(folder: Path) -> Card:
    return read_record(located(str(folder)) / CARD, Card, "params/cold_start.yaml makes it again")


def ship_start(adapter: Path, card: Card, target: Path) -> None:
    """Put a cold start's adapter, in bfloat16, where the kit has it, with its card."""
    target = located(str(target))
    make_folder(target)
    files = read_adapter(adapter)
    write_atomic(target / CONFIG, (adapter / CONFIG).read_bytes())
    write_atomic(target / WEIGHTS, save({name: tensor.bfloat16() for name, tensor in files.tensors.items()}))
    seal(target, files.origin)
    write_atomic(target / CARD, json.dumps(asdict(card), indent=1) + "\n")
    text = CARD_TEXT.read_text(encoding="utf-8")
    rows = "\n".join(f"| {phase} | {legal} |" for phase, legal in card.exam.legal.items())
    write_atomic(target / "README.md", text.format(**asdict(card), rows=rows, civilians=card.exam.civilians_win))
