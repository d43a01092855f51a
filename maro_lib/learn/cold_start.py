"""Cold start: a language model that can talk, but has never seen the game, is told how it is played.

As it comes, next to none of its moves are legal, so there is nothing that MARO could learn from. It imitates scripted
players, good and bad ones, each of whom keeps its skill for a whole game; what they said wrongly and were corrected for
is read, not imitated. The same training does it (`objective: sft`), with every action desirable. It may be told several
worlds at once. Taught in notebook 11.
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
from maro_lib.embedded.other_worlds import HOME_WORLD, Characters
from maro_lib.learn.corpus import Corpus, make_corpus, steps
from maro_lib.learn.settings import Settings
from maro_lib.model.adapter_files import CONFIG, WEIGHTS, read_adapter, seal
from maro_lib.model.chat import Chat
from maro_lib.model.loading import Loaded, token_logps
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.gamebook import HELD_OUT, Gamebook
from maro_lib.play.policies import Mixture, Policy
from maro_lib.play.rollout import Game, Played, play, schedule
from maro_lib.runs import located, make_folder, read_record, write_atomic
from maro_lib.statistics import Rate, win_rate
from maro_lib.world.mystery import Rules
from maro_lib.worlds.registry import scenarios

START_SEED = 1_000_000  # of games that no run plays
CARD, CARD_TEXT = "card.json", Path(__file__).with_name("cold_start_card.md")
ENGLISH = Path(__file__).with_name("english.txt")  # what it must not forget: the beginning of Alice in Wonderland


def start_games(
    worlds: Sequence[str], n: int, register: str = "compact", *, held_out: bool = False
) -> list[list[Game]]:
    """Games of a cold start, `n` of each world, in scenarios of its own; mysteries are of the notebooks' kind."""
    return [_games_of(world, n, register, held_out) for world in worlds]


def _games_of(world: str, n: int, register: str, held_out: bool) -> list[Game]:
    n_scripts = n if held_out else min(n, 200)
    if world == HOME_WORLD:
        knobs = replace(HOME, register=register)
        book = Gamebook(seed=START_SEED, n_scripts=200, knobs=knobs, rules=Rules(rounds=2))
        return book.held_out(n, n_scripts) if held_out else book.games(n)
    seed = START_SEED + HELD_OUT * held_out
    return schedule(scenarios(world, n_scripts, seed, register=register), n, seed)


def shown_games(games: Sequence[Sequence[Game]], share_good: float = 0.4) -> list[Played]:
    """What is imitated: players by rule, good and bad ones, some of whom slip and are corrected."""
    return [play(of_world, _teachers(of_world[0].script.world, share_good)) for of_world in games]


def _teachers(world: str, share_good: float) -> Policy:
    return Slips(Mixture(share_good)) if world == HOME_WORLD else Characters(share_good)


def imitation(shown: Sequence[Played], chat: Chat, *, window: int = 0) -> Corpus:
    """What players said in some games, as a corpus of actions that are all desirable."""
    dialogues, actions = (in_one_table(shown, name) for name in ("dialogues", "actions"))
    said = actions[actions["legal"]].assign(desirable=True, weight=1.0)
    return make_corpus(dialogues, said, chat=chat, window=window)


def in_one_table(shown: Sequence[Played], name: str) -> pd.DataFrame:
    """The games of all worlds; of several, each is called by its world, too."""
    tables = [(played.table("games", ["world"])["world"].iloc[0], played.table(name)) for played in shown]
    if len(tables) == 1:
        return tables[0][1]
    return pd.concat([t.assign(game=f"{world} " + t["game"]) for world, t in tables], ignore_index=True)


@dataclass(frozen=True)
class Listening:
    """At each look: how many first replies are legal and goals are reached, and what it has kept of its English."""

    games: Sequence[Sequence[Game]]  # of each world
    sampling: Sampling = field(default_factory=Sampling)
    options: Mapping[str, int | float | bool] = field(default_factory=dict)  # the other settings of a LocalPolicy
    names = ("legal", "goals", "english")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        exam = examine(LocalPolicy(loaded, self.sampling, **self.options), self.games)
        return dict(zip(self.names, (exam.legal["all"].mean, exam.goals.mean, english_loss(loaded)), strict=True))


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
    goals: float
    english: float


@dataclass(frozen=True)
class Exam:
    """One model in all seats: how many first replies were legal, by what was asked, and how many reached their goal."""

    legal: dict[str, Rate]
    goals: Rate  # games that civilians won in mysteries, seats elsewhere


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


def examine(
    policy: Policy, games: Sequence[Sequence[Game]], folder: Path | None = None, *, progress: bool = False
) -> Exam:
    """Let a model play all seats in each world: are its first replies legal, by what was asked, and who succeeds?"""
    first, reached = [], []
    for of_world in games:
        world = of_world[0].script.world
        at = folder / world if folder and len(games) > 1 else folder
        played = play(of_world, policy, folder=at, progress=progress)
        asked = f"{world} " if len(games) > 1 else ""
        first.append(first_replies(played.table("actions")).assign(phase=lambda a, of=asked: of + a["phase"]))
        reached += goals_reached(played)
    replies = pd.concat(first, ignore_index=True)
    by_phase = {"all": replies, **dict(list(replies.groupby("phase")))}
    return Exam({phase: win_rate(rows["legal"]) for phase, rows in by_phase.items()}, win_rate(reached))


def goals_reached(played: Played) -> list[bool]:
    """Who reached a goal: the civilians of each mystery, since half of a table always does; each seat elsewhere."""
    games = played.table("games")
    if "winner" in games:
        return (games["winner"] == "civilian").tolist()
    return [bool(won) for seats in games["success"] for won in seats]


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
    write_atomic(target / "README.md", text.format(**asdict(card), rows=rows, goals=card.exam.goals))
