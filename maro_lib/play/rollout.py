"""Many games at once: whatever waits for a reply is batched across games, policy by policy.

A game's course depends on its script, its seed and the players' replies alone, never on the other games, so a
run that was killed and taken up again ends with the same tables as one that was not.

Taught in notebook 02.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from maro_lib.play.journal import Journal, SeatReplies
from maro_lib.play.policies import Policy, Remote, Reply, Request, Windowed
from maro_lib.play.shards import Rows, Shards, TableRow, Wanted, as_table, empty_rows, read_table
from maro_lib.play.tables import parties, schemas_of
from maro_lib.progress import Bar
from maro_lib.runs import ROOT, RunError
from maro_lib.world.mystery import Rules
from maro_lib.world.protocol import Environment
from maro_lib.world.replies import MAX_REPLY
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario
from maro_lib.worlds.registry import find_world
from maro_lib.worlds.wordbook import words_file
from maro_lib.worlds.world import WorldRules

# games of other code, or told in other words, are other games
_ALL_GAMES = ("world/protocol", "world/turns", "world/replies", "play/policies")
GAME_MODULES = (*_ALL_GAMES, "world/phrases", "world/mystery", "world/solver", "world/detectives")
WORLD_MODULES = (*_ALL_GAMES, "worlds/world", "worlds/commands", "worlds/wordbook")
Seats = Policy | Mapping[str, Policy]  # one for all seats, or by character name, faction or role
Seating = Seats | Callable[["Game"], Seats]  # the same in every game, or by game: always the same for one game


@dataclass(frozen=True)
class Game:
    """A game that is to be played."""

    name: str
    order: int
    script: Script | Scenario
    seed: int
    rules: Rules | WorldRules = field(default_factory=Rules)
    kind: Callable[[Any, Any], Environment] | None = None  # where it is not the world's own

    def environment(self) -> Environment:
        """Make the environment that it is played in, not begun yet."""
        return (self.kind or find_world(self.script.world))(self.script, self.rules)


@dataclass
class Session:
    """A game under way, its players, and what the tables need of it."""

    game: Game
    env: Environment
    seats: list[Policy]
    salts: Mapping[tuple[int, int], str] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)  # replies given so far, by seat
    replies: list[list[Reply]] = field(default_factory=list)  # by seat
    asked: set[int] = field(default_factory=set)  # players whose reply is on its way

    def __post_init__(self) -> None:
        self.windowed = [isinstance(p, Windowed) for p in self.seats]  # asked once: a protocol is slow to tell
        self.remote = [isinstance(p, Remote) for p in self.seats]
        self.taken = self.taken or [0] * len(self.seats)
        self.replies = self.replies or [[] for _ in self.seats]

    def requests(self) -> Iterator[Request]:
        """What is wanted now and was not asked for yet, of every pending player."""
        for p in self.env.pending_players():
            if p not in self.asked:
                yield self._within_window(p)

    def take(self, player: int, reply: Reply) -> None:
        """Give a player's reply to the game."""
        if reply.token_ids is None:  # else ids, log-probs and text tell the same, and `max_new_tokens` bounds them
            reply = reply._replace(text=reply.text[:MAX_REPLY])  # all later prompts hold it
        self.asked.discard(player)
        self.taken[player] += 1
        self.replies[player].append(reply)
        self.env.step(reply.text, player)

    def _within_window(self, player: int) -> Request:
        """What is asked of a player: to sum up first, if its policy can't read on."""
        request, policy = self._request(player), self.seats[player]
        if self.windowed[player] and request.prompt.phase != "summary" and not policy.fits(request):
            self.env.summarise(player)
            request = self._request(player)
        return request

    def _request(self, p: int) -> Request:
        env, t = self.env, self.taken[p] + 1
        return Request(
            self.game.name, p, t, self.game.seed, self.salts.get((p, t), ""),
            env.private_view(p), env.prompt(p), env.events(p), env.brief(p), self.replies[p],
        )  # fmt: skip


@dataclass(frozen=True)
class Played:
    """The tables of a finished rollout, in memory or on disk, and what happened on the way."""

    folder: Path | None
    rows: Rows | None
    n_games: int
    n_resumed: int
    seconds: float
    notes: tuple[str, ...] = ()
    world: str = "mystery"

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read `games`, `actions` or `dialogues`, in the order of the run."""
        if self.folder is not None:
            return read_table(self.folder, name, columns)
        table = as_table(name, self.rows[name], self.world).to_pandas()
        return table if columns is None else table[list(columns)]


def schedule(
    scripts: Sequence[Script | Scenario], n_games: int, seed: int, rules: Rules | WorldRules | None = None
) -> list[Game]:
    """List `n_games` games over the scripts (or scenarios of one world) in turn, each with its own seed."""
    if not scripts:
        raise ValueError("no scripts given: at least one is needed")
    rules = rules or (Rules() if scripts[0].world == "mystery" else WorldRules())
    seeds = np.random.SeedSequence(seed).generate_state(n_games, np.uint64) >> np.uint64(1)
    return [Game(f"g{k:06d}", k, scripts[k % len(scripts)], int(s), rules) for k, s in enumerate(seeds)]


def seats_of(game: Game, policies: Seating) -> list[Policy]:
    """Say who plays each seat of a game."""
    return seat_policies(policies(game) if callable(policies) else policies, game.script)


def seat_policies(policies: Seats, script: Script | Scenario) -> list[Policy]:
    """Say who plays each seat: by character name, else by faction, else by role, else the one policy for all."""
    if not isinstance(policies, Mapping):
        return [policies] * len(script.characters)
    seated = [policies.get(c.name, policies.get(c.faction, policies.get(c.role))) for c in script.characters]
    empty = [c.name for c, p in zip(script.characters, seated, strict=True) if p is None]
    if empty:
        what, groups = ("faction", factions_of(script)) if factions_of(script) else ("role", roles_of(script))
        raise ValueError(
            f"{script.title}: nobody plays {', '.join(empty)}; give a policy for the name or for the {what} "
            f"({' or '.join(groups)}); given: {', '.join(policies)}"
        )
    return seated


def factions_of(script: Script | Scenario) -> list[str]:
    """The sides of a script, each once, in the world's order; none in a world without sides."""
    there = {c.faction for c in script.characters}
    return [side for side in find_world(script.world).sides if side in there]


def roles_of(script: Script | Scenario) -> list[str]:
    """The roles of a script, each once."""
    return list(dict.fromkeys(c.role for c in script.characters))


def start(game: Game, policies: Seating) -> Session:
    """Seat the players and begin a game; who can't read even its own beginning says so now."""
    env = game.environment()
    env.reset(len(game.script.characters), game.seed)
    seats = seats_of(game, policies)
    for policy in {id(p): p for p in seats if isinstance(p, Windowed)}.values():
        policy.check_window({f"{game.script.title}, {game.script.names[i]}": env.private_view(i)
                             for i, p in enumerate(seats) if p is policy})  # fmt: skip
    return Session(game, env, seats)


def replay(session: Session, said: SeatReplies) -> Session:
    """Give a game the replies that were given before, up to where it was left."""
    left = [deque(replies) for replies in said]
    while known := [r.player for r in session.requests() if left and left[r.player]]:
        for player in known:
            session.take(player, left[player].popleft())
    return session


class Exchange:
    """Sessions under way: what waits for a reply goes to its policy, in one batch or one by one as that likes it."""

    def __init__(self) -> None:
        self._flying: dict[Future[Reply], tuple[Session, int]] = {}

    def advance(self, sessions: Sequence[Session]) -> int:
        """Ask for whatever is wanted, take what is there (wait for it, if nothing else can be done); count replies."""
        waiting: dict[int, list[tuple[Session, Request]]] = {}
        for session in sessions:
            for request in session.requests():
                policy = session.seats[request.player]
                if session.remote[request.player]:
                    session.asked.add(request.player)
                    self._flying[policy.submit(request)] = session, request.player
                else:
                    waiting.setdefault(id(policy), []).append((session, request))
        if not waiting and not self._flying:
            raise RuntimeError("games are under way, but nobody is asked for a reply: an environment or a policy errs")
        n = sum(_answer(asked) for asked in waiting.values())
        return n + self._land(timeout=0 if n else None)

    def _land(self, timeout: float | None) -> int:
        """Take the replies that have come."""
        done = wait(self._flying, timeout, FIRST_COMPLETED).done if self._flying else ()
        for future in done:
            session, player = self._flying.pop(future)
            session.take(player, future.result())
        return len(done)

    def close(self) -> None:
        """Give up what is still on its way."""
        for future in self._flying:
            future.cancel()


def advance(sessions: Sequence[Session]) -> int:
    """Give every pending player of every session one reply; return how many that were."""
    return Exchange().advance(sessions)


def _answer(asked: Sequence[tuple[Session, Request]]) -> int:
    """Have one policy answer all that it is asked."""
    policy = asked[0][0].seats[asked[0][1].player]
    replies = policy.act([request for _, request in asked])
    if len(replies) != len(asked):
        raise RuntimeError(f"{policy.name}: {len(replies)} replies to {len(asked)} requests")
    for (session, request), reply in zip(asked, replies, strict=True):
        session.take(request.player, reply)
    return len(asked)


def run_sessions(
    sessions: Iterable[Session], concurrency: int, on_step: Callable[[int, Sequence[Session]], None] = lambda *_: None
) -> Iterator[Session]:
    """Play sessions, `concurrency` at a time, and yield each as it ends; tell of every step, and who plays on."""
    if concurrency < 1:
        raise ValueError(f"concurrency: {concurrency}; at least one game at a time is needed")
    table, queue, live = Exchange(), iter(sessions), []
    try:
        while live := live + list(islice(queue, concurrency - len(live))):
            on_step(0, live)
            on_step(table.advance(live), live)
            yield from (s for s in live if not s.env.pending_players())
            live = [s for s in live if s.env.pending_players()]
    finally:
        table.close()


def play(
    games: Sequence[Game], policies: Seating, *, folder: Path | str | None = None, concurrency: int = 32,
    shard_size: int = 256, shard_seconds: float = 60.0, progress: bool = False,
    on_step: Callable[[float], None] = lambda _: None,
) -> Played:  # fmt: skip
    """Play games to their end; with a folder, save as you go and go on where an earlier call was stopped.

    `on_step` hears after every step how many games are over; those under way count for as much as is over of them.
    """
    began = time.perf_counter()
    _check_names(games)
    world = next((g.script.world for g in games), "mystery")
    if folder is None:
        rows = empty_rows()
        sessions = _sessions(games, policies, concurrency, progress, 0, on_step)
        for session in sorted(sessions, key=lambda s: s.game.order):
            _add_rows(rows, session)
        return Played(None, rows, len(games), 0, time.perf_counter() - began, world=world)
    with games_folder(games, policies, Path(folder)) as shards:
        done = shards.done()
        left = [g for g in games if g.order not in done]
        for note in shards.notes:
            print(f"rollout: {note}", file=sys.stderr)
        journal = Journal(shards.folder / "unfinished.json", shard_seconds, shards.wanted)
        sessions = _sessions(left, policies, concurrency, progress, len(done), on_step, journal)
        _play_into(shards, sessions, shard_size, shard_seconds, journal)
        return Played(
            shards.folder, None, len(games), len(done), time.perf_counter() - began, tuple(shards.notes), world
        )


def games_folder(games: Sequence[Game], policies: Seating, folder: Path) -> Shards:
    """The folder of these games, played by these players."""
    return Shards(folder, _request(games, policies), {g.script.digest: g.script for g in games}.values())


def _check_names(games: Sequence[Game]) -> None:
    """Two games of one name or place, or scripts of one title, could not be told apart in the tables."""
    for what in ("name", "order"):
        if twice := [v for v, n in Counter(getattr(g, what) for g in games).items() if n > 1]:
            raise ValueError(f"games: {what} {twice[0]!r} occurs more than once; make one list with one `schedule`")
    if len(worlds := {g.script.world for g in games}) > 1:
        raise ValueError(f"games: of several worlds ({', '.join(sorted(worlds))}); play each into a folder of its own")
    titles = Counter(title for title, _ in {(g.script.title, g.script.digest) for g in games})
    if twice := [title for title, n in titles.items() if n > 1]:
        raise ValueError(f"scripts: {twice[0]!r} is the title of two different ones; give each a title of its own")


def _play_into(shards: Shards, sessions: Iterable[Session], size: int, seconds: float, journal: Journal) -> None:
    """Save finished games as they come; when something fails, what is finished is saved and what is not is noted."""
    rows, last = empty_rows(), time.monotonic()
    try:
        for session in sessions:
            _add_rows(rows, session)
            if len(rows["games"]) >= size or time.monotonic() - last > seconds:
                full, rows, last = rows, empty_rows(), time.monotonic()
                shards.write(full)
    except BaseException:  # an interrupt too: nothing that was said is lost
        shards.write(rows)
        with contextlib.suppress(RunError):  # a full disk, say: what went wrong first is what is told
            journal.write()
        raise
    shards.write(rows)
    journal.close()


def _sessions(
    games: Sequence[Game], policies: Seating, concurrency: int, progress: bool, n_done: int,
    on_step: Callable[[float], None], journal: Journal | None = None,
) -> Iterator[Session]:  # fmt: skip
    """Play games and yield them finished, showing how far, how fast, and how much goes wrong per faction."""
    said, note = journal.read() if journal else ({}, "")
    print(f"rollout: {note}\n" if note else "", end="", file=sys.stderr)
    n_actions, n_over, illegal = 0, n_done, Counter()
    with Bar(len(games) + n_done, "game", shown=progress, initial=n_done) as bar:

        def count(n: int, live: Sequence[Session]) -> None:
            nonlocal n_actions
            n_actions += n
            reached = n_over + sum(s.env.progress for s in live)
            on_step(reached)
            if progress:
                bar.reach(reached, _told(live, n_actions, illegal))
            if journal and not n:
                journal.watch({s.game.order: s.replies for s in live})

        begun = (replay(start(g, policies), said.get(g.order, ())) for g in games)
        for session in run_sessions(begun, concurrency, count):
            for a in session.env.log:
                who = session.game.script.characters[a.player]
                illegal[who.faction or who.role] += not a.legal
            n_over += 1
            yield session


def _told(live: Sequence[Session], n_actions: int, illegal: Mapping[str, int]) -> str:
    """Say how far the games under way are, and how much went wrong in those that ended."""
    slowest = min((s.env.log[-1].round if s.env.log else 0 for s in live), default=0)
    wrong = ", ".join(f"{faction} {n}" for faction, n in illegal.items())
    return f"{n_actions:,} actions, slowest in round {slowest}, illegal: {wrong}"


def _request(games: Sequence[Game], policies: Seating) -> Wanted:
    """Say what is to be played, so that a folder can tell whether its games are among these."""
    wanted = {}
    for g in games:
        players = [getattr(p, "fingerprint", p.name) for p in seats_of(g, policies)]
        kind = g.kind.__name__ if g.kind else g.script.world
        deciding = [g.name, kind, g.script.digest, g.seed, asdict(g.rules), players]
        wanted[g.order] = _digest(json.dumps(deciding))
    return Wanted(_code(next((g.script.world for g in games), "mystery")), wanted)


def games_digest(games: Sequence[Game], policies: Seating) -> str:
    """Name some games and their players: what is named alike comes out alike."""
    return _digest(json.dumps(_request(games, policies)))


@cache
def _code(world: str = "mystery", package: Path = ROOT / "maro_lib") -> str:
    """A digest of the code and the words that decide a game's course, and of the columns; comments decide nothing."""
    own = find_world(world)
    files = [package / f"{m}.py" for m in (GAME_MODULES if world == "mystery" else WORLD_MODULES)]
    folder = "world/words/phrases_*" if world == "mystery" else "worlds/words/*"
    words = sorted(package.glob(f"{folder}.yaml"))
    if world != "mystery":
        files.append(Path(inspect.getfile(own)))
        words.append(words_file(own))
    modules = [ast.dump(ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    books = [yaml.load(p.read_bytes(), yaml.CSafeLoader) for p in dict.fromkeys(words)]
    columns = {name: [str(f) for f in schema] for name, schema in schemas_of(world).items()}
    return _digest(json.dumps([columns, books, *modules]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def count_replies(actions: pd.DataFrame) -> pd.DataFrame:
    """Count per faction (or role): replies, illegal ones, those given after a correction, and turns lost for good."""
    faction = parties(actions)
    illegal, retries = (~actions["legal"]).groupby(faction).sum(), actions["retry"].groupby(faction).sum()
    corrected = (actions["retry"] & actions["legal"]).groupby(faction).sum()
    # an illegal reply is followed by one retry, or the turn is lost
    counts = {"replies": faction.value_counts(), "illegal": illegal, "corrected": corrected, "lost": illegal - retries}
    return pd.DataFrame(counts).sort_index()


# --- rows of the tables ------------------------------------------------------------------------------


def finished_rows(session: Session) -> Rows:
    """The rows of one finished game."""
    rows = empty_rows()
    _add_rows(rows, session)
    return rows


def _add_rows(rows: Rows, session: Session) -> None:
    """Add a finished game to the tables."""
    rows["games"].append(_game_row(session))
    rows["actions"] += _action_rows(session)
    rows["dialogues"] += _dialogue_rows(session)


def _game_row(session: Session) -> TableRow:
    game, env, script = session.game, session.env, session.game.script
    record = env.record()._asdict()
    return record.pop("own") | record | {
        "game": game.name, "order": game.order, "seed": game.seed, "rules": json.dumps(asdict(game.rules)),
        "world": script.world, "script": script.title, "digest": script.digest, "cell": script.cell,
        "language": script.language, "register": script.register_, "players": list(script.names),
        "roles": [c.role or c.faction for c in script.characters],
        "factions": [c.faction for c in script.characters], "policies": [p.name for p in session.seats],
        "success": env.successes(), "payoffs": env.payoffs(), "n_actions": len(env.log),
        "n_illegal": sum(not a.legal for a in env.log),
    }  # fmt: skip


def _action_rows(session: Session) -> Iterator[TableRow]:
    game, env, characters = session.game, session.env, session.game.script.characters
    success, payoffs, taken = env.successes(), env.payoffs(), [0] * len(characters)
    for step, action in enumerate(env.log):
        row = action._asdict()
        seat = row.pop("player")
        del row["own"]
        me = characters[seat]
        taken[seat] += 1
        yield env.own_columns(action) | row | {
            "game": game.name, "order": game.order, "step": step, "script": game.script.title, "seat": seat,
            "agent": me.name, "role": me.role or me.faction, "faction": me.faction, "policy": session.seats[seat].name,
            "success": success[seat], "payoff": payoffs[seat], "t": taken[seat], "n_actions": session.taken[seat],
        }  # fmt: skip


def _dialogue_rows(session: Session) -> Iterator[TableRow]:
    """One row for each sequence that a player read and wrote: mostly a whole view."""
    for seat, name in enumerate(session.game.script.names):
        t, number = 0, 0
        for messages in session.env.views(seat):
            ends = [k + 1 for k, m in enumerate(messages) if m.role == "assistant"]
            replies = session.replies[seat][t : t + len(ends)]
            for first, last in _sequences(replies):
                yield _tokens(replies[first:last], t + first + 1) | {
                    "game": session.game.name, "order": session.game.order, "agent": name, "seat": seat,
                    "view": number, "messages": [m._asdict() for m in messages[: ends[last - 1]]],
                }  # fmt: skip
                number += 1
            t += len(ends)


def _sequences(replies: Sequence[Reply]) -> Iterator[tuple[int, int]]:
    """Where one growing sequence of tokens begins and ends among the replies to one view."""
    starts = [k for k, r in enumerate(replies) if r.opens and k]
    return zip([0, *starts], [*starts, len(replies)], strict=True) if replies else iter(())


def _tokens(replies: Sequence[Reply], t: int) -> TableRow:
    """Join what was read and sampled: token ids, log-probs of the sampled ones, and where each action lies."""
    if any(r.token_ids is None or r.logps is None for r in replies) or not replies[0].opens:
        return {"exact": False, "token_ids": None, "logps": None, "spans": None}
    ids, logps, spans = [], [], []
    for k, r in enumerate(replies):
        ids += r.seen_ids
        spans.append({"t": t + k, "start": len(ids), "end": len(ids) + len(r.token_ids)})
        ids += r.token_ids
        logps += r.logps
    return {"exact": True, "token_ids": ids, "logps": logps, "spans": spans}
