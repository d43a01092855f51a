"""Many games at once: whatever waits for a reply is batched across games, policy by policy.

A game's course depends on its script, its seed and the players' replies alone, never on the other games, so a
run that was killed and taken up again ends with the same tables as one that was not.

Taught in notebook 02.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from maro_lib.environment import Action, Environment, MurderMystery, Rules
from maro_lib.policies import Policy, Reply, Request
from maro_lib.scripts import FACTIONS, Script
from maro_lib.shards import Rows, Shards, as_table, empty_rows, read_table
from maro_lib.tables import SCHEMAS

DECIDING = ("phrases", "replies", "environment", "solver", "policies")  # games of other code are other games
Seating = Policy | Mapping[str, Policy]  # one for all, or by character name or faction


@dataclass(frozen=True)
class Game:
    """A game that is to be played."""

    name: str
    order: int
    script: Script
    seed: int
    rules: Rules = field(default_factory=Rules)


@dataclass
class Session:
    """A game under way, its players, and what the tables need of it."""

    game: Game
    env: Environment
    seats: list[Policy]
    salts: Mapping[tuple[int, int], str] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)  # replies given so far, by seat
    replies: list[list[Reply]] = field(default_factory=list)  # by seat

    def __post_init__(self) -> None:
        self.taken = self.taken or [0] * len(self.seats)
        self.replies = self.replies or [[] for _ in self.seats]

    def requests(self) -> Iterator[Request]:
        """What is wanted now, of every pending player."""
        env = self.env
        for p in env.pending_players():
            t = self.taken[p] + 1
            yield Request(
                self.game.name, p, t, self.game.seed, self.salts.get((p, t), ""),
                env.private_view(p), env.prompt(p), env.events(p), env.brief(p),
            )  # fmt: skip

    def take(self, player: int, reply: Reply) -> None:
        """Give a player's reply to the game."""
        self.taken[player] += 1
        self.replies[player].append(reply)
        self.env.step(reply.text, player)


@dataclass(frozen=True)
class Played:
    """The tables of a finished rollout, in memory or on disk, and what happened on the way."""

    folder: Path | None
    rows: Rows | None
    n_games: int
    n_resumed: int
    seconds: float
    notes: tuple[str, ...] = ()

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read `games`, `actions` or `dialogues`, in the order of the run."""
        if self.folder is not None:
            return read_table(self.folder, name, columns)
        table = as_table(name, self.rows[name]).to_pandas()
        return table if columns is None else table[list(columns)]


def schedule(scripts: Sequence[Script], n_games: int, seed: int, rules: Rules | None = None) -> list[Game]:
    """List `n_games` games over the scripts in turn, each with its own seed."""
    if not scripts:
        raise ValueError("no scripts given: at least one is needed")
    rules = rules or Rules()
    seeds = np.random.SeedSequence(seed).generate_state(n_games, np.uint64) >> np.uint64(1)
    return [Game(f"g{k:06d}", k, scripts[k % len(scripts)], int(s), rules) for k, s in enumerate(seeds)]


def seat_policies(policies: Seating, script: Script) -> list[Policy]:
    """Say who plays each seat: by character name, else by faction, else the one policy for all."""
    if not isinstance(policies, Mapping):
        return [policies] * len(script.characters)
    seated = [policies.get(c.name, policies.get(c.faction)) for c in script.characters]
    empty = [c.name for c, p in zip(script.characters, seated, strict=True) if p is None]
    if empty:
        raise ValueError(
            f"{script.title}: nobody plays {', '.join(empty)}; give a policy for the name or for the faction "
            f"({' or '.join(FACTIONS)}); given: {', '.join(policies)}"
        )
    return seated


def start(game: Game, policies: Seating) -> Session:
    """Seat the players and begin a game."""
    env = MurderMystery(game.script, game.rules)
    env.reset(len(game.script.characters), game.seed)
    return Session(game, env, seat_policies(policies, game.script))


def advance(sessions: Sequence[Session]) -> int:
    """Give every pending player of every session one reply; return how many that were."""
    waiting: dict[int, tuple[Policy, list[Session], list[Request]]] = {}
    for session in sessions:
        for request in session.requests():
            policy = session.seats[request.player]
            _, whose, requests = waiting.setdefault(id(policy), (policy, [], []))
            whose.append(session)
            requests.append(request)
    for policy, whose, requests in waiting.values():
        replies = policy.act(requests)
        if len(replies) != len(requests):
            raise RuntimeError(f"{policy.name}: {len(replies)} replies to {len(requests)} requests")
        for session, request, reply in zip(whose, requests, replies, strict=True):
            session.take(request.player, reply)
    return sum(len(requests) for _, _, requests in waiting.values())


def run_sessions(sessions: Iterable[Session], concurrency: int, on_step: Callable[[int], None]) -> Iterator[Session]:
    """Play sessions, `concurrency` at a time, and yield each as it ends."""
    queue, live = iter(sessions), []
    while live := live + list(islice(queue, concurrency - len(live))):
        on_step(advance(live))
        yield from (s for s in live if not s.env.pending_players())
        live = [s for s in live if s.env.pending_players()]


def play(
    games: Sequence[Game], policies: Seating, *, folder: Path | str | None = None, concurrency: int = 256,
    shard_size: int = 256, shard_seconds: float = 60.0, progress: bool = False,
) -> Played:  # fmt: skip
    """Play games to their end; with a folder, save as you go and go on where an earlier call was stopped."""
    began = time.perf_counter()
    if folder is None:
        rows = empty_rows()
        for session in sorted(_sessions(games, policies, concurrency, progress, 0), key=lambda s: s.game.order):
            _add_rows(rows, session)
        return Played(None, rows, len(games), 0, time.perf_counter() - began)
    scripts = {g.script.digest: g.script for g in games}
    with Shards(Path(folder), _request(games, policies), scripts.values()) as shards:
        done = shards.done()
        left = [g for g in games if g.order not in done]
        for note in shards.notes:
            print(f"rollout: {note}", file=sys.stderr)
        _play_into(shards, _sessions(left, policies, concurrency, progress, len(done)), shard_size, shard_seconds)
        return Played(shards.folder, None, len(games), len(done), time.perf_counter() - began, tuple(shards.notes))


def _play_into(shards: Shards, sessions: Iterable[Session], size: int, seconds: float) -> None:
    """Save finished games as they come; what is finished when something fails is saved too."""
    rows, last = empty_rows(), time.monotonic()
    try:
        for session in sessions:
            _add_rows(rows, session)
            if len(rows["games"]) >= size or time.monotonic() - last > seconds:
                full, rows, last = rows, empty_rows(), time.monotonic()
                shards.write(full)
    finally:
        shards.write(rows)


def _sessions(
    games: Sequence[Game], policies: Seating, concurrency: int, progress: bool, n_done: int
) -> Iterator[Session]:
    """Play games and yield them finished, showing how far, how fast, and how much goes wrong per faction."""
    n_actions, illegal = 0, dict.fromkeys(FACTIONS, 0)
    total = len(games) + n_done
    with tqdm(total=total, initial=n_done, unit="game", disable=not progress, mininterval=0.5) as bar:

        def count(n: int) -> None:
            nonlocal n_actions
            n_actions += n

        for session in run_sessions((start(g, policies) for g in games), concurrency, count):
            for a in session.env.log:
                illegal[session.game.script.characters[a.player].faction] += not a.legal
            bar.update()
            wrong = " ".join(f"{f} {n}" for f, n in illegal.items())
            bar.set_postfix_str(f"{n_actions} actions, illegal: {wrong}", refresh=False)
            yield session


def _request(games: Sequence[Game], policies: Seating) -> dict[str, object]:
    """Say what is to be played, so that a folder can tell whether its games are these."""
    digest = hashlib.sha256()
    for g in games:
        names = [p.name for p in seat_policies(policies, g.script)]
        digest.update(json.dumps([g.name, g.order, g.script.digest, g.seed, asdict(g.rules), names]).encode())
    columns = {name: [str(f) for f in schema] for name, schema in SCHEMAS.items()}
    digest.update(json.dumps(columns).encode())
    for module in DECIDING:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return {"n_games": len(games), "digest": digest.hexdigest()}


def count_replies(actions: pd.DataFrame) -> pd.DataFrame:
    """Count per faction: replies, illegal ones, those given after a correction, and turns lost for good."""
    faction = actions["faction"]
    illegal, retries = (~actions["legal"]).groupby(faction).sum(), actions["retry"].groupby(faction).sum()
    corrected = (actions["retry"] & actions["legal"]).groupby(faction).sum()
    # an illegal reply is followed by one retry, or the turn is lost
    counts = {"replies": faction.value_counts(), "illegal": illegal, "corrected": corrected, "lost": illegal - retries}
    return pd.DataFrame(counts).sort_index()


# --- rows of the tables ------------------------------------------------------------------------------


def _add_rows(rows: Rows, session: Session) -> None:
    """Add a finished game to the tables."""
    rows["games"].append(_game_row(session))
    rows["actions"] += _action_rows(session)
    rows["dialogues"] += _dialogue_rows(session)


def _game_row(session: Session) -> tuple:
    game, env, script = session.game, session.env, session.game.script
    return (
        game.name, game.order, script.title, script.digest, script.cell, script.language, script.register_, game.seed,
        json.dumps(asdict(game.rules)), list(script.names), [c.faction for c in script.characters],
        [p.name for p in session.seats], list(script.culprits), env.votes, env.accused(), env.winner(),
        env.successes(), env.ending(), env.n_rounds, len(env.log), sum(not a.legal for a in env.log),
        env.n_passes, env.n_cut, len(env.found), len(script.clues),
    )  # fmt: skip


def _action_rows(session: Session) -> Iterator[tuple]:
    game, env, characters = session.game, session.env, session.game.script.characters
    names, success, taken = game.script.names, env.successes(), [0] * len(characters)
    culprits = [i for i, c in enumerate(characters) if c.faction == "culprit"]
    for step, a in enumerate(env.log):
        me = characters[a.player]
        taken[a.player] += 1
        suspicion, trust = _by_seat(a, names)
        belief = [suspicion[i] for i in culprits if i != a.player] if suspicion else []
        yield (
            game.name, game.order, step, game.script.title, me.name, a.player, me.role or me.faction, me.faction,
            session.seats[a.player].name, success[a.player], taken[a.player], session.taken[a.player], a.round,
            a.phase, a.kind, a.target, a.place, a.clue, a.text, a.legal, a.retry, a.public, suspicion, trust,
            sum(belief) / len(belief) if belief else None,
        )  # fmt: skip


def _by_seat(a: Action, names: Sequence[str]) -> tuple[list[int] | None, list[int] | None]:
    if a.ratings is None:
        return None, None
    pairs = [a.ratings.get(n, (-1, -1)) for n in names]
    return [s for s, _ in pairs], [b for _, b in pairs]


def _dialogue_rows(session: Session) -> Iterator[tuple]:
    for i, name in enumerate(session.game.script.names):
        messages = [m._asdict() for m in session.env.private_view(i)]
        yield session.game.name, session.game.order, name, i, 0, messages, False, None, None, None
