"""People at the table: a game in which some seats are theirs.

A person is a policy like any other. The others move at once, as far as they can; a reply that the game would refuse is
explained and does not count; every reply is on disk before the next is asked for. So a closed page, a killed kernel or
a second window loses nothing, and the game can be played on from wherever it was left. Nothing about a person is kept
but the name that was typed. Taught in notebook 13.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from maro_lib.play.journal import Journal, SeatReplies
from maro_lib.play.policies import Policy, Remote, Reply, Request
from maro_lib.play.rollout import (
    Game,
    Played,
    Session,
    factions_of,
    finished_rows,
    games_digest,
    games_folder,
    replay,
    roles_of,
    seats_of,
    start,
)
from maro_lib.play.shards import Shards, StorageError, content_digest, read_table, shard_folders
from maro_lib.runs import RunError
from maro_lib.world.protocol import Form, Message
from maro_lib.world.replies import MAX_REPLY
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import EndlessError

PREFIX = "person "  # of a person's name in the tables
MAX_SIGNS = 40


class SittingError(RunError):
    """A person can't sit down, or play on here; the message says why, and what is safe."""


@dataclass(frozen=True)
class Person:
    """A person in a seat; the name is all that is kept."""

    called: str

    def __post_init__(self) -> None:
        if not self.called.isprintable() or not 0 < len(self.called.strip()) <= MAX_SIGNS:
            raise SittingError(f"name: {self.called[:MAX_SIGNS]!r}; 1 to {MAX_SIGNS} visible signs are needed")

    @property
    def name(self) -> str:
        return PREFIX + self.called.strip()

    def act(self, _: Sequence[Request]) -> list[Reply]:
        """People are not asked in batches."""
        raise SittingError(f"{self.name}: a person plays at the table (`sit`, or `python -m maro_lib play`)")


def is_person(policy_name: str) -> bool:
    """Whether a name in the tables is a person's."""
    return policy_name.startswith(PREFIX)


def find_seat(script: Script | Scenario, seat: str) -> int:
    """Return the seat that a name means: a character's, or the first of a faction or a role; none: any civilian's."""
    if not seat:
        return next((i for i, c in enumerate(script.characters) if c.faction == "civilian"), 0)
    for i, c in enumerate(script.characters):
        if seat in (c.name, c.faction, c.role):
            return i
    groups = factions_of(script) or roles_of(script)
    raise SittingError(f"seat: {seat!r} is at no table of {script.title!r}; {', '.join(groups)}, or one of "
                       f"{', '.join(script.names)}")  # fmt: skip


class Sitting:
    """A game under way with people in some of its seats; one folder holds one game."""

    def __init__(self, game: Game, policies: Mapping[str, Policy], folder: Path):
        self.policies = policies
        self.game = replace(game, name=_game_name(game, policies))
        self.folder = Path(folder) / games_digest([game], policies)
        self.session, self._n_kept = self._taken_up()
        self.people = {i: p.called.strip() for i, p in enumerate(self.session.seats) if isinstance(p, Person)}

    # --- who is asked for what -----------------------------------------------------------------------

    @property
    def awaited(self) -> tuple[int, ...]:
        """The people's seats that a reply is awaited of."""
        return tuple(p for p in self.session.env.pending_players() if p in self.people)

    @property
    def is_over(self) -> bool:
        return not self.session.env.pending_players()

    @property
    def opponent(self) -> Policy | None:
        """Who plays a seat that is no person's, if there is one."""
        return next((p for i, p in enumerate(self.session.seats) if i not in self.people), None)

    def view(self, seat: int) -> list[Message]:
        """All that a seat may know."""
        return self.session.env.private_view(seat)

    def forms(self, seat: int) -> Sequence[Form]:
        """What an awaited seat may reply."""
        return self.session.env.forms(seat)

    def problem(self, seat: int, text: str) -> str:
        """Say why the game would refuse a reply, as it would say it; nothing if the reply would count."""
        env = self.session.env
        before = env.snapshot()
        try:
            _, became = env.step(text[:MAX_REPLY], seat)
            if became["legal"]:
                return ""
            last = env.private_view(seat)[-1]
            return last.content if last.role == "user" else "That does not count here."
        finally:
            env.restore(before)

    # --- replies -------------------------------------------------------------------------------------

    def say(self, seat: int, text: str, on_move: Callable[[], None] = lambda: None) -> str:
        """Give a person's reply to the game; one that would not count is not given, and why is returned.

        The others then move, and `on_move` hears of each time that they did.
        """
        if seat not in self.awaited:
            raise SittingError(f"{self.game.script.names[seat]}: is not asked for a reply now")
        if why := self.problem(seat, text):
            return why
        self.session.take(seat, Reply(text))
        self._keep()
        on_move()
        self.go_on(on_move)
        return ""

    def go_on(self, on_move: Callable[[], None] = lambda: None) -> None:
        """Let the others move until a person's reply is needed."""
        while others := [r for r in self.session.requests() if r.player not in self.people]:
            for policy, asked in _by_policy(self.session, others):
                for request, reply in zip(asked, _moves(policy, asked), strict=True):
                    self.session.take(request.player, reply)
            on_move()
        if sum(self.session.taken) > self._n_kept:
            self._keep()

    def played_by(self, policy: Policy, seat: int) -> None:
        """Let a policy reply for a person until the game is over."""
        while seat in self.awaited:
            request = next(r for r in self.session.requests() if r.player == seat)
            (reply,) = _replies(policy, [request._replace(said=())])
            if why := self.say(seat, reply.text):
                raise SittingError(f"{policy.name} can't play {self.game.script.names[seat]}: {why}")

    # --- on disk -------------------------------------------------------------------------------------

    def tables(self) -> Played:
        """The finished game's tables."""
        if not self.is_over:
            raise SittingError(f"{self.game.script.title}: the game is not over yet")
        return Played(self.folder, None, 1, 1, 0.0)

    def _taken_up(self) -> tuple[Session, int]:
        """The game as it was left, and how many replies of it are kept."""
        with games_folder([self.game], self.policies, self.folder) as shards:
            said = self._said(shards)
        try:
            return replay(start(self.game, self.policies), said), sum(map(len, said))
        except EndlessError as error:
            raise SittingError(f"{self.game.script.title}: the game does not come to a question: {error}") from None

    def _said(self, shards: Shards) -> SeatReplies:
        if shards.done():
            return said_in(read_table(self.folder, "actions"), len(self.game.script.names))
        replies, _ = self._journal(shards).read()
        return replies.get(self.game.order, [])

    def _keep(self) -> None:
        """Write down what was said; a game that went on elsewhere is left as it is there."""
        try:
            with games_folder([self.game], self.policies, self.folder) as shards:
                if sum(map(len, self._said(shards))) != self._n_kept:
                    raise SittingError("This game went on in another window. Sit down again to see it as it is there.")
                self._write(shards)
        except StorageError as error:
            raise SittingError(f"What was said can't be kept: {error}") from None
        self._n_kept = sum(self.session.taken)

    def _write(self, shards: Shards) -> None:
        journal = self._journal(shards)
        if self.is_over:
            shards.write(finished_rows(self.session))
            journal.close()
        else:
            journal.watch({self.game.order: self.session.replies})
            journal.write()

    def _journal(self, shards: Shards) -> Journal:
        return Journal(shards.folder / "unfinished.json", float("inf"), shards.wanted)


def _game_name(game: Game, policies: Mapping[str, Policy]) -> str:
    """Name a game so that those of many tables are told apart, and the same one is called the same everywhere."""
    told = [game.script.digest, game.seed, asdict(game.rules), [p.name for p in seats_of(game, policies)]]
    return f"table-{content_digest(json.dumps(told).encode())[:12]}"


def sit_down(tables: Iterable[tuple[Game, Mapping[str, Policy]]], folder: Path) -> Sitting:
    """Sit down to the first of these games, each with its players, that is not over."""
    return next(s for s in (Sitting(game, policies, folder) for game, policies in tables) if not s.is_over)


def said_in(actions: pd.DataFrame, n_seats: int) -> list[list[Reply]]:
    """The replies of one game's actions, by seat."""
    in_order = actions.sort_values("step")
    return [[Reply(text) for text in in_order.loc[in_order["seat"] == seat, "text"]] for seat in range(n_seats)]


def instead(sitting: Sitting, seat: int, policy: Policy) -> list[str]:
    """What a policy would have said at each of a seat's moves, all else being as it was."""
    session = start(sitting.game, sitting.policies)
    left, asked = [deque(replies) for replies in sitting.session.replies], []
    while known := [r for r in session.requests() if left[r.player]]:
        asked += [r for r in known if r.player == seat]
        for request in known:
            session.take(request.player, left[request.player].popleft())
    return [reply.text for reply in _replies(policy, [r._replace(said=()) for r in asked])]


def people_played(folder: Path) -> pd.DataFrame:
    """The table `games` of every finished game with people that a folder holds."""
    folders = sorted(p for p in Path(folder).glob("*") if p.is_dir() and shard_folders(p))
    return pd.concat([read_table(p, "games") for p in folders], ignore_index=True) if folders else pd.DataFrame()


def _by_policy(session: Session, requests: Sequence[Request]) -> Iterator[tuple[Policy, list[Request]]]:
    """Group requests by who is asked."""
    grouped: dict[int, list[Request]] = {}
    for request in requests:
        grouped.setdefault(id(session.seats[request.player]), []).append(request)
    for asked in grouped.values():
        yield session.seats[asked[0].player], asked


def _moves(policy: Policy | Remote, requests: Sequence[Request]) -> list[Reply]:
    """Have somebody move; who can't says why, and the game waits."""
    try:
        return _replies(policy, requests)
    except (RuntimeError, OSError) as error:
        raise SittingError(
            f"{policy.name} can't move: {error}. What was said is kept: sit down again to go on"
        ) from None


def _replies(policy: Policy | Remote, requests: Sequence[Request]) -> list[Reply]:
    if isinstance(policy, Remote):
        return [future.result() for future in [policy.submit(r) for r in requests]]
    return policy.act(requests)
