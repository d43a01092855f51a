"""Other people's games: those of the library TextArena (arXiv 2504.11442), played as every other world is.

The library runs the game; here stand its seats. A view is its prompt, then what is new to the player, turn after turn.
Three things differ from the library's own loop. It draws from the one random generator that all share: here each game
has numbers of its own, so games may interleave. It holds an illegal reply against whoever's turn it thinks it is, and
may ask a player that it has put out for ever: here an illegal reply is its author's, and too many of them in a row, or
a reply on which the game's own code fails, end the game at its author's cost. And a reply reaches the game as one line
without the library's own marks ([GAME], [Player 1]), so that nobody's words look like another's or the game's. How
often a player may try again is for the game to say, and not for the rules.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from itertools import takewhile
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from maro_lib.wording import nearest
from maro_lib.world.protocol import Action, Form, Illegal, Message, Prompt
from maro_lib.world.replies import clean
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import SeatState, State
from maro_lib.worlds.commands import SAY, Told
from maro_lib.worlds.registry import WorldError
from maro_lib.worlds.textarena_players import GUIDES, AskedInGame, game_family, play_at_random, play_by_rule
from maro_lib.worlds.world import World, check_knobs

MOST_ILLEGAL = 10  # illegal replies of one player in a row
_MOST_PLAYERS = 15
_ASK_A_SERVER = ("Debate", "GuessWho", "ScenarioPlanning", "TwentyQuestions")  # a model elsewhere is a part of the game
_BRACKETS = str.maketrans("［］", "()")  # full-width ones: they look like the library's marks
_GLOBAL = threading.RLock()  # held while a game draws from the generators that all share


@dataclass(frozen=True)
class TextArenaKnobs:
    """What can be turned."""

    game: str = "SimpleNegotiation-v0"  # as the library names it
    players: int = 0  # 0: the fewest, from two on, that the game begins with
    max_replies: int = 500  # a game that has not ended by then is drawn

    def __post_init__(self) -> None:
        check_knobs(self, players=0, max_replies=1)
        if self.players > _MOST_PLAYERS:
            raise ValueError(f"players: {self.players}; at most {_MOST_PLAYERS} have a seat")


def _library() -> ModuleType:
    """The library; to import it draws from the generator that all share."""
    with _GLOBAL:
        kept = random.getstate(), np.random.get_state()
        try:
            return import_module("textarena")
        except ImportError as error:
            raise WorldError("world: textarena: the package is not installed, or lacks something "
                             f"({error}); pip install -e '.[textarena]'") from None  # fmt: skip
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


class _Heard(NamedTuple):
    """Something that the library shows a player."""

    sender: int  # -1: the game
    text: str


class _Table:
    """One game of the library's, its own random numbers, and who is to reply."""

    def __init__(self, game: str, n: int, seed: int):
        ta = _library()
        self.n, self.over, self.failure = n, False, ""
        self.wrong = self.misblamed = self.was_public = False  # of the last reply
        self._own, self._prompt = ta.ObservationType.PLAYER_ACTION, ta.ObservationType.PROMPT
        self._drawn = random.Random(seed).getstate(), np.random.RandomState(seed).get_state()
        with self._drawing():
            self._wrapped = env = ta.make(game)
            env.reset(num_players=n, seed=seed)
            while isinstance(env, ta.Wrapper):
                env = env.env
            self._env, self.state = env, env.state
            self._refuse, self.state.set_invalid_move = self.state.set_invalid_move, self._note_illegal
            self.prompts = [self._take_prompts(i) for i in range(n)]
            self._observe()

    def reply(self, text: str) -> None:
        """Give the game the reply of the player that is to reply."""
        self.wrong = self.misblamed = False
        author, before = self.player, {i: len(seen) for i, seen in self.state.observations.items()}
        with self._drawing():
            try:
                self.over, _ = self._wrapped.step(action=text)
                self.was_public = any(
                    sender == author and kind is self._own
                    for i, seen in self.state.observations.items() if i != author
                    for sender, _, kind in seen[before[i] :]
                )  # fmt: skip
                self.over = self.over or self._nobody_is_left()
                if not self.over:
                    self._observe()
            except Exception as error:  # whatever their code raises at what a player wrote
                self.over, self.failure = True, f"the game's own code failed: {type(error).__name__}"

    def told(self, name: str, default: Any) -> Any:
        """What the game's own state says of this."""
        state = getattr(self.state, "game_state", None)
        value = state.get(name, default) if isinstance(state, Mapping) else default
        return value.value if isinstance(value, Enum) else value

    @property
    def marks(self) -> list[str]:
        """What may stand between brackets before a message, and says whose it is."""
        return list(map(str, self.state.role_mapping.values()))

    def results(self) -> tuple[dict[int, float], list[str], str]:
        """Each player's reward, what each was, and why the game ended so."""
        rewards, info = self.state.rewards or {}, self.state.game_info
        roles = [str(info.get(i, {}).get("role", "")) for i in range(self.n)]
        reason = next((str(info[i]["reason"]) for i in info if info[i].get("reason")), "no reason given")
        return {i: float(rewards.get(i) or 0) for i in range(self.n)}, roles, reason

    def _nobody_is_left(self) -> bool:
        """Whether all are put out: the library would look for the next player for ever."""
        return {*range(self.n)} <= {*getattr(self.state, "elimination_order", ())}

    def _observe(self) -> None:
        """See whose turn it is, and what is new to that player."""
        self.player, seen = self._env.get_observation()
        self.news = [_Heard(sender, text) for sender, text, kind in seen
                     if not (sender == self.player and kind is self._own)]  # fmt: skip

    def _take_prompts(self, player: int) -> str:
        seen = self.state.observations[player]
        self.state.observations[player] = [o for o in seen if o[2] is not self._prompt]
        return "\n".join(text for _, text, kind in seen if kind is self._prompt)

    def _note_illegal(self, *args: Any, player_id: int | None = None, **more: Any) -> Any:
        """Note that the reply is illegal, and let the game deal with it; some still name who is to blame."""
        self.wrong = True
        self.misblamed = self.player != (self.state.current_player_id if player_id is None else player_id)
        return self._refuse(*args, **more)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Let the game draw its own numbers from the generators that all share."""
        with _GLOBAL:
            others = random.getstate(), np.random.get_state()
            random.setstate(self._drawn[0])
            np.random.set_state(self._drawn[1])
            try:
                yield
            finally:
                self._drawn = random.getstate(), np.random.get_state()
                random.setstate(others[0])
                np.random.set_state(others[1])


@dataclass
class _Borrowed(State):
    seed: int = 0
    said: list[str] = field(default_factory=list)  # as the game got it: from the seed and these it is played again
    n_misblamed: int = 0
    rewards: dict[int, float] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)
    reason: str = ""


class TextArenaGame(World):
    """One of TextArena's games."""

    name = "textarena"
    question = "What do the players learn where the rules are other people's?"
    success = "the reward is above 0, and not below the mean of the table"
    columns: ClassVar = {
        "games": {"true_roles": ("list of text", "what each seat was in the game, known at its end"),
                  "rewards": ("list of float32", "the game's own rewards, by seat; payoffs are these within -1 to 1"),
                  "reason": ("text", "why the game ended so, in its own words"),
                  "n_misblamed": ("int32", "illegal replies that the game held against another than their author")},
    }  # fmt: skip
    knobs = TextArenaKnobs
    state = _Borrowed
    _table: _Table | None = None

    @classmethod
    def deal(cls, knobs: TextArenaKnobs, rng: random.Random) -> dict[str, Any]:
        n = _seats_for(knobs, rng.getrandbits(31))
        facts = {"game": knobs.game, "max_replies": knobs.max_replies, "version": _library().__version__}
        return {"title": knobs.game, "cell": knobs.game, "facts": facts,
                "characters": [{"name": f"Player {i}", "role": "player"} for i in range(n)]}  # fmt: skip

    @classmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:  # noqa: ARG003 - the same for every game
        return -1.0, 1.0

    # --- the course ----------------------------------------------------------------------------------

    def opened(self, rng: random.Random, seats: list[SeatState]) -> _Borrowed:
        state = super().opened(rng, seats)
        state.seed = rng.getrandbits(31)
        self._table = self._seated(state.seed)
        for seat, prompt in zip(seats, self._table.prompts, strict=True):
            seat.messages[0] = Message("system", f"{seat.messages[0].content}\n{prompt}".strip())
        return state

    def plan(self, rng: random.Random) -> list[tuple]:  # noqa: ARG002 - the library draws
        return [("reply",)] * self.facts["max_replies"]

    def beginning(self, player: int) -> str:
        return self.words.rules.format(name=self.names[player], n=len(self.names), game=self.facts["game"])

    def begin(self, entry: tuple) -> None:  # noqa: ARG002 - all are alike
        table, last = self._played(), self.now.log[-1] if self.now.log else None
        self.now.round = _round(table)
        again = last is not None and not last.legal and last.player == table.player
        prompt = Prompt(_phase(table), self.others(table.player), retry=again)
        self.ask(table.player, prompt, "\n".join(map(self._line, table.news)) or self.words.your_turn)

    def read(self, player: int, prompt: Prompt, text: str) -> Told | Illegal:
        if prompt.phase == "summary":
            return super().read(player, prompt, text)
        table, state = self._played(), self.now
        state.n_cut += len(text) > self.rules.max_chars
        state.said.append(_harmless(text[: self.rules.max_chars], table.marks))
        table.reply(state.said[-1])
        state.n_misblamed += table.misblamed
        return Illegal("form") if table.wrong or table.failure else Told("reply")

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:  # noqa: ARG002 - the table knows
        return {"public": self._played().was_public}

    def _refuse(self, player: int, prompt: Prompt, text: str, why: Illegal) -> None:
        """Log an illegal reply; what follows from it is the game's affair."""
        if prompt.phase == "summary":
            super()._refuse(player, prompt, text, why)
            return
        self.now.block.append(Action(player, self.now.round, prompt.phase, "illegal", text, legal=False,
                                     retry=prompt.retry))  # fmt: skip
        del self.now.pending[player]

    def settle(self) -> None:
        state, table, last = self.now, self._played(), self.now.log[-1]
        broken = table.failure or self._endless(last.player)
        over = bool(table.over or broken or not state.agenda)
        state.n_passes += not last.legal and (over or table.player != last.player)
        if over:
            self._end(last.player, broken)

    def _endless(self, player: int) -> str:
        """Say that a player was illegal too often in a row."""
        in_a_row = takewhile(lambda a: not a.legal and a.player == player, reversed(self.now.log))
        return f"{MOST_ILLEGAL} illegal replies in a row" if len([*in_a_row]) >= MOST_ILLEGAL else ""

    def _end(self, player: int, broken: str) -> None:
        """Keep how the game ended; what broke it costs the player whose reply it was."""
        state, table = self.now, self._played()
        state.agenda.clear()
        state.rewards, state.roles, state.reason = table.results()
        if broken:
            state.rewards = {i: -1.0 if i == player else 0.0 for i in range(len(self.names))}
            state.reason = f"{self.names[player]}: {broken}"
        elif not table.over:
            state.reason = f"not over after {self.facts['max_replies']} replies"

    def restore(self, snapshot: _Borrowed) -> None:
        super().restore(snapshot)
        self._table = None

    def _played(self) -> _Table:
        """The library's game as it stands: after going back it is played again up to there."""
        if self._table is None:
            self._table = self._seated(self.now.seed)
            for text in self.now.said:
                self._table.reply(text)
        return self._table

    def _seated(self, seed: int) -> _Table:
        if (there := _library().__version__) != (made := self.facts["version"]):
            raise WorldError(f"world: textarena: {self.script.title} was made with version {made}, and {there} is "
                             "installed; install that one, or make the scenarios again")  # fmt: skip
        return _Table(self.facts["game"], len(self.names), seed)

    def _line(self, heard: _Heard) -> str:
        """Say who said what, marked as the library does."""
        if heard.sender not in range(len(self.names)):
            return f"[GAME] {heard.text}"
        return self.words.marked.format(name=self.names[heard.sender], text=clean(heard.text, self.rules.max_chars)[0])

    # --- how it ended --------------------------------------------------------------------------------

    def payoffs(self) -> list[float]:
        return [min(max(self.now.rewards[i], -1.0), 1.0) for i in range(len(self.names))]

    def successes(self) -> list[int]:
        return succeeded([self.now.rewards[i] for i in range(len(self.names))])

    def close(self) -> tuple[dict[int, float], dict[int, dict[str, Any]]]:
        payoffs, info = super().close()
        return payoffs, {i: info[i] | {"role": role or info[i]["role"]} for i, role in enumerate(self.now.roles)}

    def own_record(self) -> Mapping[str, Any]:
        state = self.now
        return {"true_roles": state.roles, "rewards": [state.rewards[i] for i in range(len(self.names))],
                "reason": state.reason, "n_misblamed": state.n_misblamed}  # fmt: skip

    def forms(self, player: int) -> Sequence[Form]:
        prompt, guide = self.prompt(player), GUIDES.get(game_family(self.facts["game"]))
        if guide is None or prompt.phase == "summary":
            return (SAY,)
        return guide.forms(AskedInGame(player, prompt, tuple(self.private_view(player)), self.words))

    styles: ClassVar = {
        "random": lambda request, rng: play_at_random(request, rng),
        "skilled": lambda request, _: play_by_rule(request, "skilled"),
        "greedy": lambda request, _: play_by_rule(request, "greedy"),
    }


def succeeded(rewards: Sequence[float]) -> list[int]:
    """1 for each whose reward is above 0 and not below the mean."""
    mean = sum(rewards) / len(rewards)
    return [int(reward > 0 and reward >= mean - 1e-9) for reward in rewards]


def _seats_for(knobs: TextArenaKnobs, seed: int) -> int:
    """Begin a game once, to know that it can be, and with how many."""
    from_, to = (knobs.players, knobs.players) if knobs.players else (2, _MOST_PLAYERS)
    known = import_module(f"{_library().__name__}.envs.registration").ENV_REGISTRY
    if knobs.game not in known:
        raise WorldError(f"world_knobs: textarena: game: {knobs.game!r} is unknown{nearest(knobs.game, known)}")
    if game_family(knobs.game) in _ASK_A_SERVER:
        raise WorldError(f"world_knobs: textarena: {knobs.game} asks a model on a server, and is not played here")
    for n in range(from_, to + 1):
        try:
            _Table(knobs.game, n, seed)
            return n
        except Exception as error:  # whatever their code raises
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if not isinstance(error, AssertionError | ValueError):  # that is not about how many
                break
    raise WorldError(f"world_knobs: textarena: {knobs.game} can't be begun with "
                     f"{from_ if from_ == to else f'{from_} to {to}'} players: {why}")  # fmt: skip


def _harmless(text: str, marks: Sequence[str]) -> str:
    """One line, without the marks that tell whose words are whose; [Player 2] is also how some games name a target."""
    line = clean(text, len(text))[0].translate(_BRACKETS)
    pattern = rf"\[\s*(?:player\s*(?P<seat>\d+)|(?P<mark>{'|'.join(map(re.escape, marks))}))\s*\]"
    return re.sub(pattern, lambda m: f"[{m['seat']}]" if m["seat"] else f"({m['mark']})", line, flags=re.I)


def _phase(table: _Table) -> str:
    return str(table.told("phase", "play")).casefold()


def _round(table: _Table) -> int:
    """The game's own round, or how often all have had a turn."""
    told = table.told("round", None)
    return told if isinstance(told, int) else 1 + getattr(table.state, "turn", 0) // table.n
