"""The contract of worlds: games are played under watch, and a law that is broken is named, with the game and the step.

Seeds decide everything, views only grow, every game ends, what one seat alone knows reaches nobody, payoffs and columns
are as declared. `python -m maro_lib audit WORLD` checks it, and so do the tests. A world that goes on and on without
asking anybody is stopped: by its agenda's length, or by the clock. Taught in notebook 14.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maro_lib.play.policies import RANDOM, SKILLED, Policy, Reply, Request, Styled
from maro_lib.play.rollout import Game, Session, start
from maro_lib.play.tables import COMMON, schemas_of
from maro_lib.wording import first_line
from maro_lib.world.protocol import Action, Environment
from maro_lib.world.replies import MAX_REPLY
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import EndlessError, TurnGame
from maro_lib.worlds.registry import WorldError
from maro_lib.worlds.world import World

_MOST_SEATS = 8  # whose own knowledge is changed, in a game of many
_REPLIES_PER_SEAT = 1000  # that a game may take
_MOST_SECONDS = 120  # from a reply to the next question


@dataclass(frozen=True)
class _Silent:
    """A player that says nothing, to see that a game ends all the same."""

    name: str = "silent"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply("") for _ in requests]


@dataclass
class _Watched:
    """One game that is watched, played from its beginning as often as is wanted."""

    world: type[TurnGame]
    script: Any
    seed: int
    rules: Any = None  # else the world's own
    n_taken: int = 0  # replies in the play that is under way

    def begin(self, players: Policy, script: Any = None) -> Session:
        self.n_taken = 0
        rules = self.rules or self.world(self.script).rules
        with _timed():
            return start(Game("watched", 0, script or self.script, self.seed, rules, self.world), players)

    def broken(self, law: str) -> WorldError:
        place = f"{self.script.title} ({self.script.register_}), seed {self.seed}, step {self.n_taken}"
        return WorldError(f"{self.world.name} breaks its contract in {place}: {law}")

    def name(self, seat: int) -> str:
        return self.script.names[seat]


def players_of(world: type[TurnGame]) -> dict[str, Policy]:
    """Every player by rule that a world has, by name."""
    fixed = {"random": RANDOM, "skilled": SKILLED}
    return fixed | {style: Styled(style) for style in world.styles if style not in fixed}


def check_contract(world: type[TurnGame], script: Any, seed: int, rules: Any = None) -> None:
    """Play one game in every way that a law is about; raise a `WorldError` that names the first broken one."""
    game = _Watched(world, script, seed, rules)
    with _told(game):
        _check_scenario(game)
        for players in players_of(world).values():
            _finish(game, game.begin(players), is_legal=True)
        _finish(game, game.begin(_Silent()), is_legal=False)
        _check_same(game)
        _check_snapshots(game)
        if leak := _find_leak(game, RANDOM):
            raise game.broken(leak)


@contextmanager
def _timed() -> Iterator[None]:
    """Stop a world that takes far too long to ask the next question, where the system has a clock for that."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise EndlessError(f"nobody was asked for anything within {_MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _told(game: _Watched) -> Iterator[None]:
    """Say of any error in which game it came, and at which step."""
    try:
        yield
    except WorldError:
        raise
    except EndlessError as error:
        raise game.broken(f"it goes on without asking anybody: {error}") from error
    except Exception as error:  # whatever a world's code raises
        raise game.broken(f"its code fails with {type(error).__name__}: {first_line(error)}") from error


# --- playing -----------------------------------------------------------------------------------------


def _finish(game: _Watched, session: Session, *, is_legal: bool) -> Session:
    """Play to the end, and look at every step and at the end."""
    if not session.env.pending_players():
        raise game.broken("nobody is asked for anything")
    for _ in _steps(game, session, is_legal=is_legal):
        pass
    _check_end(game, session.env)
    return session


def _steps(game: _Watched, session: Session, *, is_legal: bool = False, last_first: bool = False) -> Iterator[None]:
    """Take one reply after another, of whom is asked first (or last)."""
    env = session.env
    views, reached = _views(env), env.progress
    while env.pending_players():
        yield
        _check_pending(game, env)
        request = list(session.requests())[-1] if last_first else next(session.requests())
        became = _take(game, session, request)
        if is_legal and not became["legal"]:
            who, text = session.seats[0].name, session.replies[request.player][-1].text
            raise game.broken(
                f"{who} players say what is on offer, but {game.name(request.player)}'s {text!r} is refused"
            )
        views = _check_views(game, views, env)
        reached = _check_progress(game, reached, env)


def _take(game: _Watched, session: Session, request: Request) -> Mapping[str, Any]:
    """Give a game one reply, and return what became of it."""
    seat, env = request.player, session.env
    reply = session.seats[seat].act([request])[0]
    session.taken[seat] += 1
    session.replies[seat].append(reply)
    game.n_taken += 1
    if game.n_taken > (most := _REPLIES_PER_SEAT * len(session.seats)):
        raise game.broken(f"the game does not end within {most:,} replies")
    with _timed():
        done, became = env.step(reply.text[:MAX_REPLY], seat)
    if not env.pending_players() and env.progress < 1:
        raise game.broken(f"nobody is asked, but the game is not over (progress {env.progress:.3g})")
    if done == bool(env.pending_players()):
        raise game.broken(
            f"`step` says {done} for whether the game is over, but those asked are {env.pending_players()}"
        )
    return became


def _rest(game: _Watched, session: Session, **how: bool) -> tuple:
    """Play to the end, and return all that can be seen there."""
    for _ in _steps(game, session, **how):
        pass
    env = session.env
    events = [list(env.events(i)) for i in range(len(session.seats))]
    return _views(env), events, list(env.log), env.record(), env.payoffs(), env.successes()


_SEEN = ("the views", "the events", "the log", "the record", "the payoffs", "the successes")


def _differing(one: tuple, other: tuple) -> str:
    return next((name for name, a, b in zip(_SEEN, one, other, strict=True) if a != b), "")


def _views(env: Environment) -> list[list]:
    return [env.private_view(i) for i in range(len(env.script.names))]


# --- laws of a step ----------------------------------------------------------------------------------


def _check_pending(game: _Watched, env: Environment) -> None:
    for i in env.pending_players():
        if not 0 <= i < len(game.script.names):
            raise game.broken(f"player {i} is asked, whom there is not")
        if env.private_view(i)[-1].role != "user":
            raise game.broken(f"{game.name(i)} is asked, but its view does not end with a question")


def _check_views(game: _Watched, before: list[list], env: Environment) -> list[list]:
    now = _views(env)
    for i, (view, old) in enumerate(zip(now, before, strict=True)):
        if len(view) < len(old):
            raise game.broken(f"the view of {game.name(i)} shrank from {len(old)} to {len(view)} messages")
        if view[: len(old)] != old:
            k = next(k for k, (a, b) in enumerate(zip(view, old, strict=False)) if a != b)
            raise game.broken(f"message {k} in the view of {game.name(i)} changed after it was read")
    return now


def _check_progress(game: _Watched, before: float, env: Environment) -> float:
    if not before <= env.progress <= 1:
        raise game.broken(f"the progress went from {before:.3g} to {env.progress:.3g}; it grows, up to 1")
    return env.progress


# --- laws of the end ---------------------------------------------------------------------------------


def _check_end(game: _Watched, env: Environment) -> None:
    payoffs, successes = env.payoffs(), env.successes()
    _check_numbers(game, payoffs, successes)
    rewards, infos = env.close()
    if rewards != dict(enumerate(payoffs)) or [infos[i]["success"] for i in infos] != list(successes):
        raise game.broken("`close` tells other payoffs or successes than `payoffs` and `successes`")
    if len(env.log) != game.n_taken:
        raise game.broken(f"the log holds {len(env.log)} of {game.n_taken} replies")
    _check_columns(game, "games", env.record().own)
    for action in env.log:
        _check_columns(game, "actions", env.own_columns(action))
        _check_notes(game, action)


def _check_numbers(game: _Watched, payoffs: Sequence[float], successes: Sequence[int]) -> None:
    n, (low, high) = len(game.script.names), game.world.payoff_range(game.script)
    if len(payoffs) != n or len(successes) != n:
        raise game.broken(f"{len(payoffs)} payoffs and {len(successes)} successes for {n} seats")
    for i, (payoff, success) in enumerate(zip(payoffs, successes, strict=True)):
        if not low <= payoff <= high:
            raise game.broken(f"the payoff of {game.name(i)} is {payoff:g}; declared are {low:g} to {high:g}")
        if success not in (0, 1) or isinstance(success, bool | float):  # the tables hold whole numbers
            raise game.broken(f"the success of {game.name(i)} is {success!r}; 0 or 1 are allowed")


def _check_columns(game: _Watched, table: str, row: Mapping[str, Any]) -> None:
    declared = game.world.columns.get(table, {})
    if both := sorted(declared.keys() & {c.name for c in COMMON[table]}):
        raise game.broken(f"its own column `{both[0]}` of `{table}` is one that all worlds have; rename it")
    if odd := sorted(declared.keys() ^ row.keys()):
        how = "is declared but not written" if odd[0] in declared else "is written but not declared"
        raise game.broken(f"column `{odd[0]}` of `{table}` {how}")
    schema = schemas_of(game.world.name)[table]
    for name, value in row.items():
        try:
            pa.array([value], schema.field(name).type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            kind = declared[name][0]
            raise game.broken(f"column `{name}` of `{table}` is declared as {kind}, but holds {value!r}") from None


def _check_notes(game: _Watched, action: Action) -> None:
    """What a `World` notes of an action is told under the same names; a misspelt one would be lost."""
    if issubclass(game.world, World) and (odd := sorted(action.own.keys() - game.world.columns.get("actions", {}))):
        raise game.broken(f"`do` or `note` says `{odd[0]}`, which is no declared column of `actions`")


# --- laws of the whole -------------------------------------------------------------------------------


def _check_scenario(game: _Watched) -> None:
    script, sides = game.script, {*game.world.sides, ""}
    if odd := [c for c in script.characters if c.faction not in sides]:
        raise game.broken(f"{odd[0].name} is on the side {odd[0].faction!r}, which `sides` does not name")
    if isinstance(script, Scenario):
        data = script.model_dump(mode="json", by_alias=True)
        if Scenario.model_validate(data).model_dump() != script.model_dump():
            raise game.broken("its scenario, written and read again, is another: facts hold lists, not tuples, by text")


def _check_same(game: _Watched) -> None:
    """One seed, one game: again, and with the replies of those who are asked together in another order."""
    first = _rest(game, game.begin(RANDOM))
    if odd := _differing(first, _rest(game, game.begin(RANDOM))):
        raise game.broken(f"two games of one seed and the same replies differ in {odd}")
    if odd := _differing(first, _rest(game, game.begin(RANDOM), last_first=True)):
        raise game.broken(f"{odd} depend on who of those that are asked together answers first")


def _check_snapshots(game: _Watched) -> None:
    """A game that is restored ends as it did, from its beginning and from its middle, and twice."""
    _rest(game, game.begin(RANDOM))
    for n_before in (0, game.n_taken // 2):
        session = game.begin(RANDOM)
        steps = _steps(game, session)
        for _ in range(n_before + 1):
            next(steps)
        _check_snapshot(game, session)


def _check_snapshot(game: _Watched, session: Session) -> None:
    env, n_taken = session.env, game.n_taken
    snapshot, seen, back = env.snapshot(), _views(env), _bookkeeping(session)
    first = _rest(game, session)
    for _ in range(2):
        env.restore(snapshot)
        back()
        game.n_taken = n_taken
        if _views(env) != seen:
            raise game.broken("a restored game shows other views than when the snapshot was taken")
        if odd := _differing(first, _rest(game, session)):
            raise game.broken(f"a restored game ends otherwise, with the same replies: {odd} differ")


def _bookkeeping(session: Session) -> Callable[[], None]:
    """Remember what a session knows of the replies so far, and return what sets it back."""
    taken, replies = [*session.taken], [[*r] for r in session.replies]

    def back() -> None:
        session.taken, session.replies = [*taken], [[*r] for r in replies]

    return back


# --- what one seat alone knows -----------------------------------------------------------------------


def private_leak(world: type[TurnGame], script: Any, seed: int, rules: Any = None, players: Policy = RANDOM) -> str:
    """Say where what one seat alone knows reaches another seat, apart from its owner's words and acts; else "".

    Two games are played with the same draws and replies; in one of them a seat knows something else.
    """
    return _find_leak(_Watched(world, script, seed, rules), players)


def _find_leak(game: _Watched, players: Policy) -> str:
    if not getattr(game.script, "private", ()):
        return ""
    n = len(game.script.names)
    owners = random.Random(game.seed).sample(range(n), min(n, _MOST_SEATS))
    return next((leak for owner in owners if (leak := _leak_of(game, owner, players))), "")


def _leak_of(game: _Watched, owner: int, players: Policy) -> str:
    """Play both games side by side until they part."""
    one, other = game.begin(players), game.begin(players, _with_another_secret(game, owner))
    readers = [i for i in range(len(one.seats)) if i != owner]
    while True:
        if one.env.pending_players() != other.env.pending_players():
            return f"what {game.name(owner)} alone knows decides who is asked"
        for i in readers:
            if what := _noticed(one.env, other.env, i):
                return f"what {game.name(owner)} alone knows reached {game.name(i)}, whose {what} depend on it"
        if not one.env.pending_players():
            return ""
        for request in list(one.requests()):
            became = _take(game, one, request)
            with _timed():
                _, told = other.env.step(one.replies[request.player][-1].text[:MAX_REPLY], request.player)
            if request.player == owner and became != told:
                return ""  # its own reply, allowed in one game alone: an act, from which others may learn


def _with_another_secret(game: _Watched, owner: int) -> Any:
    """The scenario in which one seat knows something else; the digest stays, so that all draws are the same."""
    private = [*game.script.private]
    private[owner] = {k: game.world.another(k, v) for k, v in private[owner].items()}
    if same := [k for k, v in private[owner].items() if v == game.script.private[owner][k]]:
        raise game.broken(f"`another` gives no other value for `{same[0]}`, so that no leak of it could be seen")
    changed = game.script.model_copy(update={"private": tuple(private)})
    changed.__dict__["digest"] = game.script.digest
    return changed


def _noticed(one: Environment, other: Environment, reader: int) -> str:
    """What another seat sees differently in the two games."""
    if one.private_view(reader) != other.private_view(reader):
        return "views"
    if list(one.events(reader)) != list(other.events(reader)):
        return "events"
    if one.brief(reader) != other.brief(reader):
        return "facts"
    is_asked = reader in one.pending_players()
    return "prompts" if is_asked and one.prompt(reader) != other.prompt(reader) else ""
