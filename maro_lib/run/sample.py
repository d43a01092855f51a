"""One game by scripted players, to know beforehand what all games of a run will take: actions, tokens, bytes.

Scripted players speak briefly. A model says more: how much more a view can grow is counted from the longest reply
that is allowed. Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from maro_lib.model.players import Player
from maro_lib.model.shipped import SHIPPED
from maro_lib.play.policies import SKILLED
from maro_lib.play.rollout import Game, Session, advance, schedule, start
from maro_lib.world.casebook import find_playable
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules
from maro_lib.world.protocol import Message
from maro_lib.world.scripts import Script

if TYPE_CHECKING:
    from maro_lib.model.chat import Chat

MAX_SCRIPTS = 30  # whose beginnings are counted
CountView = Callable[[Sequence[Message]], int]


@dataclass(frozen=True)
class Sample:
    """One game by scripted players, who speak briefly; sizes in tokens."""

    n_players: int
    n_actions: int
    first: int  # the longest beginning of a view
    longest: int  # a whole view, as scripted players talk
    typical: int  # as a model may talk: half as long as allowed, or, the embedded one, like its scripted teachers
    at_most: int  # if every reply in it were as long as allowed
    bytes: int  # what it leaves on disk, as models would play it
    counted: str  # how tokens were counted
    beginnings: Sequence[tuple[str, int]] = ()  # of each script


def play_one(values: Mapping[str, Any], player: Player, chat: Chat | None) -> Sample:
    """Begin a game of every script, and play the one whose beginning is longest."""
    count, counted = _counter(player, chat)
    scripts = scripts_of(values)[:MAX_SCRIPTS]
    games = schedule(scripts, len(scripts), values["seed"], Rules(rounds=values["rounds"]))
    begun = beginnings(games, count)
    (_, first), game = max(zip(begun, games, strict=True), key=lambda pair: pair[0][1])
    session = start(game, SKILLED)
    while session.env.pending_players():
        advance([session])
    sizes = [_view_sizes(session, seat, count, player.max_new_tokens) for seat in range(len(session.seats))]
    longest, at_most = (max(size) for size in zip(*sizes, strict=True))
    typical = longest if player.is_scripted or player.model in SHIPPED else (longest + at_most) // 2
    n_bytes = _disk_bytes(session, at_most)
    return Sample(len(session.seats), len(session.env.log), first, longest, typical, at_most, n_bytes, counted, begun)


def beginnings(games: Sequence[Game], count: CountView) -> list[tuple[str, int]]:
    """Return how many tokens each game's script begins a view with, at most."""
    return [(game.script.title, _longest_beginning(start(game, SKILLED), count)) for game in games]


def at_least(view: Sequence[Message]) -> int:
    """A bound from below on a view's tokens, whatever the tokenizer and the language."""
    return sum(len(m.content.encode()) for m in view) // 6


def scripts_of(values: Mapping[str, Any]) -> list[Script]:
    """Find or generate the scripts that a run plays, as notebook 02 does."""
    if values["script"]:
        return find_playable(values["script"])
    knobs = Knobs(**{f.name: values[f.name] for f in fields(Knobs)})
    return generate_many(min(values["n_scripts"], MAX_SCRIPTS), values["seed"], knobs)


def _counter(player: Player, chat: Chat | None) -> tuple[CountView, str]:
    """Count as the policy will: by its tokenizer; on a server by that policy's estimate."""
    if player.server_url:
        from maro_lib.model.server import estimate_tokens

        return estimate_tokens, "tokens estimated from characters, rather too many"
    if chat:
        return lambda view: len(chat.encode(view)), "tokens counted by the model's tokenizer"
    why = "scripted players have no tokenizer" if player.is_scripted else "the tokenizer is not here"
    return lambda view: sum(len(m.content) for m in view) // 4, f"tokens taken as characters / 4: {why}"


def _longest_beginning(session: Session, count: CountView) -> int:
    """Tokens of the longest system message, as `check_window` counts it."""
    seats = range(len(session.seats))
    return max(count([*session.env.private_view(seat)[:1], Message("user", "")]) for seat in seats)


def _view_sizes(session: Session, seat: int, count: CountView, max_new_tokens: int) -> tuple[int, int]:
    """Tokens of a view up to its last prompt, and what they were if every reply in it were as long as allowed."""
    view = session.env.private_view(seat)
    view = view if view[-1].role == "user" else view[:-1]
    n, n_chars = count(view), sum(len(m.content) for m in view)
    replies = [a.text for a in session.env.log if a.public or a.player == seat]
    return n, n + sum(max(0, max_new_tokens - round(len(text) * n / n_chars)) for text in replies)


def _disk_bytes(session: Session, n_tokens: int) -> int:
    """Bytes of a game's tables before compression: texts of all views and actions, ids and log-probs of every token."""
    seats = range(len(session.seats))
    texts = sum(len(m.content.encode()) for seat in seats for m in session.env.private_view(seat))
    return texts + sum(len(a.text.encode()) for a in session.env.log) + 2 * 4 * n_tokens * len(seats)
