"""Lessons of other worlds than the mystery: whole games between players by rule, and drills in what is asked there.

Who is what (skilled, one of its world's other styles, or random) is drawn per game and seat and stays so for the whole
game, as good and bad players of a mystery do. Half of the games have the knobs that a world is shipped with. A drill is
the beginning of a game and some of its prompts, answered at random: every command and every range of numbers is seen.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maro_lib.play.policies import RANDOM, Policy, Reply, Request
from maro_lib.play.rollout import Game, run_sessions, start
from maro_lib.world.protocol import Command, Message
from maro_lib.worlds.registry import find_world, knobs_of
from maro_lib.worlds.wordbook import FOLDER, read_registers, words_file
from maro_lib.worlds.world import NAMES, World, WorldRules, random_style

HOME_WORLD = "mystery"
TAUGHT = ("mystery", "commons", "buying", "trust", "donor", "public_goods", "coordination")  # not TextArena's prose
OTHER_TASKS = {"coordination": ({"task": "consensus"}, {"task": "leader"})}  # examined besides the one that is shipped
SHARE_SHIPPED = 0.5  # of the games: with the knobs that a world is shipped with
ASKED = 6  # prompts in a drill
READ_OF_EACH = 2  # views of each game that are read: a table of six would fill the lessons
TURNED: Mapping[str, Mapping[str, Sequence[Any]]] = {  # what the other games' knobs may be; all fit the window
    "commons": {"players": (2, 3, 4, 5), "rounds": (1, 2, 3, 5), "capacity": (20, 40, 60, 100), "growth": (2, 2, 3),
                "dead_below": (0, 4, 8), "talk": (True, True, False)},
    "buying": {"rounds": (1, 2, 3, 5), "max_price": (60, 100), "least": (10, 20), "most": (40, 60),
               "no_deal": (0.0, 0.1, 0.5), "opens": ("either", "seller", "buyer"), "persona": ("none", "any")},
    "trust": {"rounds": (1, 2, 3, 5), "kinds": (1, 1, 2), "pile": (6, 10, 20), "values": ("sharp", "wide"),
              "talks": (0, 1), "reveal": (True, False)},
    "donor": {"players": (4, 6), "rounds": (2, 4, 6), "start": (5, 10, 20), "factor": (2, 3), "memory": (0, 1, 3),
              "punish": (False, True), "generations": (1, 2)},
    "public_goods": {"players": (3, 4, 5), "rounds": (1, 2, 3, 4), "endowment": (5, 10, 20), "factor": (1.5, 1.6),
                     "punishment": ("none", "direct", "third_party"), "partners": ("everybody", "chosen"),
                     "reputation": (False, True), "talk": (True, False)},
    "coordination": {"players": (4, 5, 6, 8), "rounds": (1, 2, 3), "task": ("colouring", "consensus", "leader"),
                     "graph": ("ring", "small_world", "random", "complete"), "payoff": ("solved", "share")},
}  # fmt: skip


def examined(worlds: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return where a model is examined, a world and its knobs: each as it is shipped, and with its other tasks."""
    places: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for world in worlds:
        places[world] = world, {}
        for knobs in OTHER_TASKS.get(world, ()):
            places[f"{world}, {', '.join(knobs.values())}"] = world, knobs
    return places


@dataclass(frozen=True)
class Characters:
    """Players by rule, each of one kind for a whole game; now and then one slips, and is corrected."""

    share_good: float = 0.4
    share_slips: float = 0.03
    name: str = "characters"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self._slip(r) or self._reply(r)) for r in requests]

    def character(self, request: Request) -> str:
        """What this seat is in this game: skilled, or one of all else that its world has."""
        rng, styles = request.rng("character"), _styles(request)
        is_good = rng.random() < self.share_good
        return "skilled" if is_good else rng.choice(sorted(styles.keys() - {"skilled"}))

    def _reply(self, request: Request) -> str:
        return _styles(request)[self.character(request)](request, request.rng())

    def _slip(self, request: Request) -> str:
        rng, commands = request.rng("slip", request.t), request.prompt.commands
        if not commands or request.prompt.retry or rng.random() >= self.share_slips:
            return ""
        return _too_much(rng.choice(commands), rng) or rng.choice(request.brief.words.chatter)


def _styles(request: Request) -> dict[str, Any]:
    return {"random": random_style, **find_world(request.brief.world).styles}


def _too_much(command: Command, rng: random.Random) -> str:
    """A command with a number above all that are allowed; nothing where it takes no number first."""
    options = command.blanks[0].options if command.blanks else ()
    return f"{command.word} {int(options[-1]) + rng.randint(1, 9)}" if options and options[0].isdigit() else ""


def world_game(rng: random.Random, world: str, order: int) -> Game:
    """Draw a game of a world, which no run plays: its scenario comes from a seed above 2**32."""
    kind, seed = find_world(world), rng.randrange(2**32, 2**48)
    return Game(f"g{order}", order, kind.generate(seed, world_knobs(rng, kind)), seed, WorldRules())


def world_knobs(rng: random.Random, kind: type[World]) -> Any:
    """The shipped knobs, or others that go together."""
    if rng.random() < SHARE_SHIPPED:
        return kind.knobs()
    while True:
        try:
            return knobs_of(kind, {name: rng.choice(choices) for name, choices in TURNED[kind.name].items()})
        except ValueError:  # they don't
            continue


def world_views(rng: random.Random, world: str, share_good: float, n_games: int = 16) -> Iterator[list[Message]]:
    """Play games of a world without end, and yield the views of two players of each."""
    for views in _played(rng, world, Characters(share_good), n_games):
        yield from rng.sample(views, min(READ_OF_EACH, len(views)))


def command_drills(rng: random.Random, world: str, n_games: int = 16) -> Iterator[list[Message]]:
    """Views of nothing but some prompts of a world, answered at random, without end."""
    for views in _played(rng, world, RANDOM, n_games):
        for view in views:
            asked = [(message.content.split("\n")[-1], reply)
                     for message, reply in zip(view[1::2], view[2::2], strict=False)]  # fmt: skip
            picked = rng.sample(asked, min(ASKED, len(asked)))
            yield [view[0], *(m for prompt, reply in picked for m in (Message("user", prompt), reply))]


def _played(rng: random.Random, world: str, players: Policy, n_games: int) -> Iterator[list[list[Message]]]:
    """Play games of a world without end, and yield the views of each in which somebody was asked something."""
    while True:
        started = (start(world_game(rng, world, k), players) for k in range(n_games))
        for session in run_sessions(started, n_games):
            views = (list(session.env.private_view(seat)) for seat in range(len(session.seats)))
            yield [view for view in views if view[2:]]


def world_words(world: str) -> list[str]:
    """Every word of a world's compact sentences, and the names that sit there."""
    files = (FOLDER / "common.yaml", words_file(find_world(world)))
    said = " ".join(text for path in files for text in _texts(read_registers(path)["compact"]))
    return sorted({*NAMES, *re.findall(r"[A-Za-z]+", re.sub(r"{\w+}", " ", said))})


def _texts(sentences: Any) -> Iterator[str]:
    """All texts of a tree of sentences."""
    if isinstance(sentences, str):
        yield sentences
    else:
        for part in sentences.values() if isinstance(sentences, Mapping) else sentences:
            yield from _texts(part)
