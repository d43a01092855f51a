"""What every world is asked for: seats, views, prompts, replies, and how it ended.

The protocol is TextArena's (`reset`, `get_observation`, `step`, `close`) plus what many games at once, leak tests and
counterfactuals need: `pending_players`, `prompt`, `private_view`, `snapshot` and `restore`. A view only ever grows: a
system message, then what the player observed and what it replied, in turn.

Taught in notebook 01. Nothing here knows what a mystery is: a world's own data (`events`, `brief`) is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable


class Message(NamedTuple):
    """One turn of a view, in the form of chat models."""

    role: Literal["system", "user", "assistant"]
    content: str


class Blank(NamedTuple):
    """What a form leaves open: one of the options, or words of one's own where there are none."""

    name: str
    options: tuple[str, ...] = ()


class Command(NamedTuple):
    """A word in capitals, and what goes with it: one way to reply, as data."""

    word: str
    blanks: tuple[Blank, ...] = ()


class Prompt(NamedTuple):
    """What a player is asked for now, and what is allowed: the same as its text says, as data."""

    phase: str  # a mystery's: intro, turn, answer, rate, vote; summary in every world
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    asker: str = ""
    retry: bool = False
    commands: tuple[Command, ...] = ()


class Form(NamedTuple):
    """One way to reply that is allowed now, for who picks rather than writes: what to fill in, and how that is said."""

    title: str
    blanks: tuple[Blank, ...]
    say: Callable[[Mapping[str, str]], str]  # by the blanks' names


class Illegal(NamedTuple):
    """A reply that does not count, and why: a key of the sentences that say so."""

    reason: str


class Action(NamedTuple):
    """One reply in the log of a game."""

    player: int
    round: int
    phase: str
    kind: str
    text: str
    target: str = ""
    legal: bool = True
    retry: bool = False
    public: bool = False
    own: Mapping[str, Any] = {}  # what the world notes of it beside


class GameRecord(NamedTuple):
    """How a game ended, by column of the table `games`."""

    n_rounds: int
    n_passes: int = 0  # turns lost after the last allowed correction
    n_cut: int = 0  # replies shortened to the longest allowed
    own: Mapping[str, Any] = {}  # by the world's own columns


class Refusals(Protocol):
    """Sentences that every world needs."""

    @property
    def summarise(self) -> str: ...
    @property
    def resumed(self) -> str: ...  # {text}
    @property
    def nothing(self) -> str: ...


@runtime_checkable
class Environment(Protocol):
    """A game for `n` players; one object plays one game after each `reset`."""

    def reset(self, num_players: int, seed: int) -> None: ...
    def pending_players(self) -> tuple[int, ...]: ...
    @property
    def progress(self) -> float: ...
    def get_observation(self, player: int | None = None) -> tuple[int, list[Message]]: ...
    def step(self, text: str, player: int | None = None) -> tuple[bool, dict[str, Any]]: ...
    def close(self) -> tuple[dict[int, float], dict[int, dict[str, Any]]]: ...
    def prompt(self, player: int) -> Prompt: ...
    def forms(self, player: int) -> Sequence[Form]: ...
    def events(self, player: int) -> Sequence[Any]: ...
    def brief(self, player: int) -> Any: ...
    def private_view(self, player: int) -> list[Message]: ...
    def views(self, player: int) -> list[list[Message]]: ...
    def summarise(self, player: int) -> None: ...
    def snapshot(self) -> Any: ...
    def restore(self, snapshot: Any) -> None: ...

    # how it went: the tables' rows are made of it
    @property
    def log(self) -> Sequence[Action]: ...
    def payoffs(self) -> list[float]: ...
    def successes(self) -> list[int]: ...
    def record(self) -> GameRecord: ...
    def own_columns(self, action: Action) -> Mapping[str, Any]: ...
