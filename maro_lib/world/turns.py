"""What every world has in common: an agenda, prompts, replies that are corrected or lost, views that only grow.

A world says what happens (`plan`, `begin`), what a player reads first (`beginning`), how a reply is understood (`read`)
and what it does (`take`), what becomes of a move that never came (`miss`), and how it ended (`payoffs`, `successes`).
The rest is here, the same for all. Everything random comes from the game's own seed, every retry is bounded.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any

from maro_lib.world.protocol import Action, Form, GameRecord, Illegal, Message, Prompt, Refusals
from maro_lib.world.replies import clean

_MOST_ADDED = 10_000  # entries that a world may add to its agenda between two questions


@dataclass
class SeatState:
    """What one seat has read and is to read next."""

    messages: list[Message]
    lines: list[str] = field(default_factory=list)  # seen since the last prompt
    events: list[Any] = field(default_factory=list)
    ended: list[list[Message]] = field(default_factory=list)  # views that a summary continues
    held: tuple[Prompt, Message] | None = None  # what is asked again after a summary

    def __copy__(self) -> SeatState:
        return SeatState(self.messages.copy(), self.lines.copy(), self.events.copy(), self.ended.copy(), self.held)


@dataclass
class State:
    """All that changes in a game. A world adds its own fields, each a value, or a flat list or dict of values."""

    seats: list[SeatState]
    agenda: list[tuple]  # what comes next, last first
    n_steps: int  # that the agenda held at the beginning
    pending: dict[int, Prompt] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    block: list[Action] = field(default_factory=list)  # replies of the phase that is under way
    log: list[Action] = field(default_factory=list)
    n_settled: int = 0  # replies of the phase that ended last
    round: int = 0
    n_cut: int = 0
    n_passes: int = 0

    def __copy__(self) -> State:
        """Share nothing that changes with the copy."""
        values = {f.name: copy(getattr(self, f.name)) for f in fields(self)}
        return type(self)(**values | {"seats": [copy(s) for s in self.seats]})


class EndlessError(RuntimeError):
    """A world goes on and on without asking anybody."""


class TurnGame(ABC):
    """A game of turns for the seats of a script; see `maro_lib.world.protocol.Environment` for what it is asked."""

    state: type[State] = State

    def __init__(self, script: Any, rules: Any):
        self.script, self.rules = script, rules
        self.names: tuple[str, ...] = script.names
        self._state: State | None = None

    # --- what a world says ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def refusals(self) -> Refusals:
        """The sentences that corrections and summaries are made of."""

    @abstractmethod
    def plan(self, rng: random.Random) -> list[tuple]:
        """List what happens in the whole game, in order; entries are the world's own."""

    @abstractmethod
    def beginning(self, player: int) -> str:
        """Write what a player reads before the game."""

    @abstractmethod
    def begin(self, entry: tuple) -> None:
        """Do what one entry of the plan says; `ask` makes it wait for replies."""

    @abstractmethod
    def read(self, player: int, prompt: Prompt, text: str) -> Any:
        """Understand a reply: a move of the world's own, or `Illegal`."""

    @abstractmethod
    def take(self, player: int, prompt: Prompt, text: str, move: Any) -> Action:
        """Do what a legal reply says, and return it as an entry of the log."""

    def miss(self, player: int, prompt: Prompt) -> None:  # noqa: B027 - most worlds do nothing
        """Go on after a move that never came, corrections included."""

    def settle(self) -> None:  # noqa: B027 - most worlds do nothing
        """Do what follows when all who were asked together have answered."""

    @abstractmethod
    def payoffs(self) -> list[float]:
        """What each seat got, at the end."""

    @abstractmethod
    def successes(self) -> list[int]:
        """1 for each seat that reached its goal, by the world's rule."""

    def own_record(self) -> Mapping[str, Any]:
        """How the game ended, by the world's own columns of the table `games`."""
        return {}

    def own_columns(self, action: Action) -> Mapping[str, Any]:
        """An action of the log by the world's own columns of the table `actions`."""
        return action.own

    @abstractmethod
    def forms(self, player: int) -> Sequence[Form]:
        """What a pending player may reply, to be picked and filled in."""

    @abstractmethod
    def brief(self, player: int) -> Any:
        """What a player knew from the start, as data."""

    # --- the protocol --------------------------------------------------------------------------------

    def reset(self, num_players: int, seed: int) -> None:
        """Start a new game; the seed decides whatever is drawn."""
        if num_players != len(self.names):
            raise ValueError(f"{self.script.title}: {len(self.names)} players are needed, not {num_players}")
        rng = random.Random(f"{seed}/{self.drawn_from}")
        seats = [SeatState([Message("system", self.beginning(i))]) for i in range(num_players)]
        self._state = self.opened(rng, seats)
        self._advance()

    @property
    def drawn_from(self) -> str:
        """What a game's draws depend on beside its seed."""
        return self.script.digest

    def opened(self, rng: random.Random, seats: list[SeatState]) -> State:
        """Return the state in which a game begins."""
        plan = self.plan(rng)
        return self.state(seats=seats, agenda=plan[::-1], n_steps=len(plan))

    def pending_players(self) -> tuple[int, ...]:
        """The players whose reply is awaited now; none when the game is over."""
        return tuple(self.now.pending)

    def get_observation(self, player: int | None = None) -> tuple[int, list[Message]]:
        """Return a pending player (the first unless named) and its view."""
        player = self._pending(player)
        return player, self.private_view(player)

    def step(self, text: str, player: int | None = None) -> tuple[bool, dict[str, Any]]:
        """Take a player's reply; return whether the game is over and what became of the reply."""
        player, state = self._pending(player), self.now
        prompt = state.pending[player]
        text = text.encode("utf-8", "replace").decode("utf-8")
        state.seats[player].messages.append(Message("assistant", text))
        move = self.read(player, prompt, text)
        if isinstance(move, Illegal):
            self._refuse(player, prompt, text, move)
        else:
            self._accept(player, prompt, text, move)
        if not state.pending:
            self._close_phase()
            self._advance()
        return not state.pending, {"legal": not isinstance(move, Illegal), "phase": prompt.phase}

    def close(self) -> tuple[dict[int, float], dict[int, dict[str, Any]]]:
        """Return, once the game is over, each player's payoff and what may now be known of it."""
        if self.now.pending:
            raise RuntimeError("the game is not over: somebody's reply is still awaited")
        success = self.successes()
        info = {
            i: {"name": c.name, "role": c.role or c.faction, "faction": c.faction, "success": success[i]}
            for i, c in enumerate(self.script.characters)
        }
        return dict(enumerate(self.payoffs())), info

    def prompt(self, player: int) -> Prompt:
        """What is asked of a pending player, as data."""
        return self.now.pending[self._pending(player)]

    def events(self, player: int) -> Sequence[Any]:
        """What a player saw happen, as data."""
        return self.now.seats[player].events

    def private_view(self, player: int) -> list[Message]:
        """A player's view so far: all that it ever knew, or its own summary of that and what came after."""
        return self.now.seats[player].messages.copy()

    def views(self, player: int) -> list[list[Message]]:
        """Every view that a player had: those that a summary continues, and the one of now."""
        seat = self.now.seats[player]
        return [*seat.ended, seat.messages.copy()]

    def summarise(self, player: int) -> None:
        """Ask a pending player, before it replies, to sum up what it knows; a new view starts from its summary."""
        seat, prompt = self.now.seats[player], self.now.pending[self._pending(player)]
        if len(seat.messages) < 3 or seat.held:
            raise ValueError(f"{self.names[player]}: there is nothing to sum up yet")
        seat.held = prompt, seat.messages.pop()
        seat.messages.append(Message("user", self.refusals.summarise))
        self.now.pending[player] = Prompt("summary")

    def snapshot(self) -> State:
        """Return the game as it stands; playing on does not change it."""
        return copy(self.now)

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot of this game (which can be restored again)."""
        self._state = copy(snapshot)

    @property
    def log(self) -> list[Action]:
        """Every reply so far, in an order that does not depend on who answered first."""
        return self.now.log

    @property
    def n_cut(self) -> int:
        """How many spoken replies were longer than the rules allow, and shortened."""
        return self.now.n_cut

    @property
    def n_passes(self) -> int:
        """How many prompts got no legal reply, corrections included."""
        return self.now.n_passes

    def record(self) -> GameRecord:
        """Return how the game ended."""
        return GameRecord(self.now.round, self.n_passes, self.n_cut, self.own_record())

    @property
    def progress(self) -> float:
        """How much of the game is over, from 0 to 1."""
        state = self.now
        return 1 - (len(state.agenda) + bool(state.pending)) / state.n_steps

    # --- what a world works with ---------------------------------------------------------------------

    @property
    def now(self) -> Any:
        """The state of the game."""
        if self._state is None:
            raise RuntimeError("call reset(num_players, seed) first")
        return self._state

    def ask(self, player: int, prompt: Prompt, text: str) -> None:
        """Put a prompt to a player, after all that it has seen since its last one."""
        seat = self.now.seats[player]
        seat.messages.append(Message("user", "\n".join((*seat.lines, text))))
        seat.lines.clear()
        self.now.pending[player] = prompt

    def show(self, line: str, *events: Any, but: int = -1, unseen_by: int | None = None) -> None:
        """Let everybody see something; who did it knows already, and who reads it in its own prompt needs no line."""
        for i, seat in enumerate(self.now.seats):
            if i != but:
                seat.events.extend(events)
                if i != unseen_by:
                    seat.lines.append(line)

    def tell(self, player: int, line: str, *events: Any) -> None:
        """Let one player alone see something."""
        self.now.seats[player].lines.append(line)
        self.now.seats[player].events.extend(events)

    def spoken(self, text: str) -> str:
        """What the others may hear of a reply: one harmless line, shortened (and counted) if it is too long."""
        line, cut = clean(text, self.rules.max_chars)
        self.now.n_cut += cut
        return line

    def others(self, player: int) -> tuple[str, ...]:
        """The names of all but one."""
        return self.names[:player] + self.names[player + 1 :]

    # --- replies -------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go through the agenda until somebody's reply is needed."""
        most = len(self.now.agenda) + _MOST_ADDED  # what was planned comes to its end by itself
        for _ in range(most):
            if self.now.pending or not self.now.agenda:
                return
            self.begin(entry := self.now.agenda.pop())
        raise EndlessError(f"{most:,} entries of the agenda began one after another, the last of them {entry!r}, and "
                           "nobody was asked for anything")  # fmt: skip

    def _refuse(self, player: int, prompt: Prompt, text: str, why: Illegal) -> None:
        """Correct an illegal reply as often as the rules allow; after that the turn is lost."""
        state = self.now
        state.block.append(Action(player, state.round, prompt.phase, "illegal", text, legal=False, retry=prompt.retry))
        state.tries[player] = state.tries.get(player, 0) + 1
        if state.tries[player] <= self.rules.corrections:
            state.seats[player].messages.append(Message("user", self.correction(prompt, why)))
            state.pending[player] = prompt._replace(retry=True)
            return
        del state.pending[player]
        state.n_passes += 1
        if prompt.phase == "summary":
            self.resume(player, "")
            return
        state.seats[player].lines.append(self.refusals.nothing)
        self.miss(player, prompt)

    @abstractmethod
    def correction(self, prompt: Prompt, why: Illegal) -> str:
        """Say what was wrong with a reply, and which form is needed."""

    def _accept(self, player: int, prompt: Prompt, text: str, move: Any) -> None:
        del self.now.pending[player]
        action = self.take(player, prompt, text, move)
        self.now.block.append(action._replace(retry=prompt.retry))

    def resume(self, player: int, summary: str) -> None:
        """Start a player's new view from its summary, and put the prompt that was waiting."""
        seat = self.now.seats[player]
        seat.ended.append(seat.messages)
        self.now.pending[player], asked = seat.held
        self.now.tries.pop(player, None)
        seat.held = None
        notes = self.refusals.resumed.format(text=summary)
        seat.messages = [seat.messages[0], asked._replace(content=f"{notes}\n{asked.content}")]

    def _close_phase(self) -> None:
        """Log a phase's replies by seat, whatever order they came in."""
        state = self.now
        state.log += sorted(state.block, key=lambda a: a.player)  # one player's replies stay in their order
        state.n_settled = len(state.block)
        state.block.clear()
        state.tries.clear()
        self.settle()

    def _pending(self, player: int | None) -> int:
        pending = self.now.pending
        if not pending:
            raise RuntimeError("the game is over: nobody's reply is awaited")
        if player is None:
            return next(iter(pending))
        if player not in pending:
            raise ValueError(f"player {player} is not awaited now; pending: {sorted(pending)}")
        return player
