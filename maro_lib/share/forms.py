"""Forms in which other people keep their games, each read into one: who sat where, and what was seen and said in turn.

    mindgames   a record for each player of a game: `game_id`, `player_id`, `rewards`, and `observations`, which holds
                {"observation": ..., "action": ...} by time; the MindGames data sets of 2025 (arXiv 2605.29512)
    textarena   a game: `steps`, each with `player_id`, `observation` and `action`, and what TextArena's `close`
                returns: `rewards`, and perhaps `game_info`; or a line for each step, and one that has the `rewards`
    werewolf    a game: `players` by name with their `role`, `rounds` with `debate` and `votes`, and the `winner`; the
                game_complete.json of Werewolf Arena (arXiv 2407.13943)
    chat        a game: `players` (names, or `name` with `role`, `side`, `model`, `won`), `messages` (`name`, `content`,
                and perhaps `to`, `kind`, `target`), and perhaps the `winner`: a player, a side, or a list of either

A record is recognised by its names alone. Used by `foreign`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from maro_lib.strict_json import read_json
from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import counted

Record = Mapping[str, Any]

MOST_PLAYERS = 64
MOST_TURNS = 20_000  # of a game
MOST_TEXT = 2**20  # characters of what was seen or said at a time
MOST_HEARD = 2**26  # characters that all players of a game hear together
ROLE = re.compile(r"^(?:\[[^\]\n]*\] ?)?Your role: (.+)$", re.M)
TEAM = re.compile(r"^(?:\[[^\]\n]*\] ?)?Team: (.+)$", re.M)
PHASE = re.compile(
    r"^\[(?:GAME|-1)\] (?:(?P<vote>Voting phase)|(?P<night>Night phase|Night has fallen)|Day breaks)", re.M
)
ILLEGAL = re.compile(r"\b(Player \d+|You) attempted an invalid move")
SEAT_NAMED = re.compile(r"\[(?:Player )?(\d{1,2})\]|\bPlayer (\d{1,2})\b", re.I)


class FormError(ValueError):
    """A record is of no known form, or not what its form promises; the message says what is wrong."""


@dataclass(frozen=True)
class Participant:
    """Who sat there."""

    name: str
    role: str = ""
    side: str = ""
    model: str = ""
    success: int | None = None  # not known


class Turn(NamedTuple):
    """What somebody saw since its last turn, and then said or did."""

    seat: int
    seen: str
    text: str
    kind: str = "answer"  # or vote
    target: str = ""
    round: int = 0
    public: bool = True
    legal: bool = True
    retry: bool = False


@dataclass(frozen=True)
class ForeignGame:
    """One game, whatever form it came in."""

    id: str
    world: str
    seats: tuple[Participant, ...]
    turns: tuple[Turn, ...]
    told: tuple[str, ...] = ()  # by seat: what stands before everything else
    ending: str = ""


def read_games(records: Iterable[tuple[str, Any]]) -> Iterator[ForeignGame | FormError]:
    """Yield each game of some records (and where each lies), or what is wrong with it; its records may lie anywhere."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for place, record in records:
        groups[_recognised(record, place)].append(record)
    for (form, key), group in groups.items():
        try:
            yield _bounded(READERS[form](key, group))
        except FormError as error:
            yield error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            yield FormError(f"a game is not what its form ({form}) promises")


def _recognised(record: Any, place: str) -> tuple[str, str]:
    """The form of a record, and the name of the game that it belongs to."""
    names = set(record) if isinstance(record, dict) else set()
    if {"game_id", "player_id", "observations", "rewards"} <= names:
        return "mindgames", str(record["game_id"])
    if "steps" in names or "episode_end" in names:
        return "textarena", place
    if {"player_id", "action"} <= names or ("rewards" in names and "episode_id" in names):
        return "textarena", f"episode {record.get('episode_id', 0)}"
    if {"players", "rounds", "winner"} <= names:
        return "werewolf", place
    if {"players", "messages"} <= names:
        return "chat", place
    raise FormError(f"{place}: is of no known form; known are {', '.join(READERS)} (docs/how-to.md)")


def _bounded(game: ForeignGame) -> ForeignGame:
    """Clean a game's texts; refuse one without an outcome, or of no bearable size."""
    if not 2 <= len(game.seats) <= MOST_PLAYERS:
        raise FormError(f"with {counted(len(game.seats), 'player')} (2 to {MOST_PLAYERS} are possible)")
    if any(seat.success is None for seat in game.seats):
        raise FormError("nobody says who won")
    if not game.turns:
        raise FormError("nobody says anything")
    if len(game.turns) > MOST_TURNS or any(len(t.seen) > MOST_TEXT or len(t.text) > MOST_TEXT for t in game.turns):
        raise FormError(f"more than {MOST_TURNS:,} turns, or {MOST_TEXT:,} characters at a time")
    if not all(0 <= turn.round <= MOST_TURNS for turn in game.turns):
        raise FormError(f"a round that is not between 0 and {MOST_TURNS:,}")
    if len({seat.name for seat in game.seats}) < len(game.seats):
        raise FormError("two players have one name")
    turns = tuple(t._replace(seen=_clean(t.seen), text=_clean(t.text), target=_clean(t.target)) for t in game.turns)
    seats = (Participant(*map(_clean, (s.name, s.role, s.side, s.model)), s.success) for s in game.seats)
    told, ending = tuple(map(_clean, game.told)), _clean(game.ending)
    return replace(game, world=_clean(game.world), seats=_with_sides([*seats]), turns=turns, told=told, ending=ending)


def _clean(text: Any) -> str:
    """Text that can be stored: half a surrogate pair can't."""
    return str(text).encode("utf-8", "replace").decode()


@cache
def hidden_sides() -> frozenset[str]:
    """Sides and roles that hide who they are."""
    text = Path(__file__).with_name("sides.yaml").read_text(encoding="utf-8")
    return frozenset(yaml.load(text, StrictLoader)["hidden"])


def _with_sides(seats: Sequence[Participant]) -> tuple[Participant, ...]:
    """Call a hidden side `culprit` and the other one `civilian`; without sides all are on one."""
    hides = [{s.side.casefold(), s.role.casefold()} & hidden_sides() for s in seats]
    if any(hides) and not all(hides):
        sides = ["culprit" if h else "civilian" for h in hides]
    else:
        sides = [s.side or "player" for s in seats]
    return tuple(replace(s, role=s.role or s.side or "player", side=side) for s, side in zip(seats, sides, strict=True))


# --- MindGames and TextArena: what each player observed, and what it did ------------------------------


def _mindgames(key: str, records: Sequence[Record]) -> ForeignGame:
    records = sorted(records, key=lambda r: int(r["player_id"]))
    ids = [int(r["player_id"]) for r in records]
    rewards = _parsed(records[0]["rewards"])
    moves = [(str(when), ids.index(int(r["player_id"])), entry)
             for r in records for when, entry in _parsed(r["observations"]).items()]  # fmt: skip
    moves.sort(key=lambda move: move[:2])
    steps = [(seat, entry["observation"], str(entry["action"])) for _, seat, entry in moves if entry.get("action")]
    models = [str(r.get("model_name") or "") for r in records]
    seats = _observed_seats(ids, models, [rewards.get(str(i)) for i in ids], steps, {})
    world, why = str(records[0].get("env_name") or "MindGames"), str(records[0].get("reason") or "")
    return ForeignGame(key, world, seats, _observed_turns(seats, steps), ending=why)


def _textarena(key: str, records: Sequence[Record]) -> ForeignGame:
    whole = records[0] if "steps" in records[0] or "episode_end" in records[0] else {}
    steps = whole["steps"] if whole else [r for r in records if "action" in r]
    last = whole | (whole.get("episode_end") or {}) if whole else next((r for r in records if "rewards" in r), {})
    info, rewards = _parsed(last.get("game_info") or {}), _parsed(last.get("rewards") or {})
    ids = sorted({int(i) for i in [*rewards, *(s["player_id"] for s in steps)]})
    done = [(ids.index(int(s["player_id"])), s["observation"], str(s["action"])) for s in steps]
    roles = {k: str(info.get(str(i), {}).get("role") or "") for k, i in enumerate(ids)}
    models = [str(info.get(str(i), {}).get("model") or "") for i in ids]
    seats = _observed_seats(ids, models, [rewards.get(str(i)) for i in ids], done, roles)
    world = str(last.get("env_id") or records[0].get("env_id") or "TextArena")
    reason = next((str(part["reason"]) for part in info.values() if part.get("reason")), "")
    return ForeignGame(key, world, seats, _observed_turns(seats, done), ending=reason)


def _parsed(value: Any) -> dict[str, Any]:
    """A mapping that may be written as JSON once more, with numbers as its names or not; a list counts from 0."""
    value = read_json(value) if isinstance(value, str) else value
    return {str(k): v for k, v in (enumerate(value) if isinstance(value, list) else value.items())}


def _observed_seats(
    ids: Sequence[int], models: Sequence[str], rewards: Sequence[Any], steps: Sequence[tuple], roles: Mapping[int, str]
) -> tuple[Participant, ...]:
    """Who sat where: role and team are what the game told each player at its beginning."""
    first: dict[int, str] = {}
    for seat, seen, _ in steps:
        first.setdefault(seat, _as_text(seen))
    return tuple(
        Participant(f"Player {i}", _found(ROLE, first.get(k, "")) or roles.get(k, ""), _found(TEAM, first.get(k, "")),
             models[k], None if rewards[k] is None else int(float(rewards[k]) > 0))
        for k, i in enumerate(ids)
    )  # fmt: skip


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1].strip() if match else ""


def _as_text(seen: Any) -> str:
    """An observation: text, or TextArena's list of (who, what, its kind)."""
    if isinstance(seen, str):
        return seen
    return "\n".join(f"[{'GAME' if int(m[0]) < 0 else f'Player {int(m[0])}'}] {m[1]}" for m in seen)


def _observed_turns(seats: Sequence[Participant], steps: Sequence[tuple[int, Any, str]]) -> tuple[Turn, ...]:
    """What was new to each player, and what it did; some logs repeat at every step all that it had seen."""
    turns: list[Turn] = []
    before, phase, last = defaultdict(str), defaultdict(str), {}
    names = [seat.name for seat in seats]
    for seat, seen, action in steps:
        whole = _as_text(seen)
        new, before[seat] = whole.removeprefix(before[seat]).strip(), whole
        for asked in PHASE.finditer(new):
            phase[seat] = asked.lastgroup or ""
        refused = seat in last and any(m[1] in (names[seat], "You") for m in ILLEGAL.finditer(new))
        if refused:
            turns[last[seat]] = turns[last[seat]]._replace(legal=False)
        kind, target = _as_vote(action, names) if phase[seat] == "vote" else ("answer", "")
        n = turns[last[seat]].round + 1 if seat in last else 1
        last[seat] = len(turns)
        turns.append(Turn(seat, new, action, kind, target, n, phase[seat] != "night", retry=refused))
    return tuple(turns)


def _as_vote(action: str, names: Sequence[str]) -> tuple[str, str]:
    """Whom a vote names first, if anybody."""
    named = (f"Player {int(a or b)}" for a, b in SEAT_NAMED.findall(action))
    target = next((name for name in named if name in names), "")
    return ("vote" if target else "answer"), target


# --- werewolf and chats: what all heard, and what only some did ----------------------------------------


CALLED = (("role", "role"), ("side", "team"), ("model", "model"))  # what a chat's player may be told with


class Heard(NamedTuple):
    """A message: who says it (none: whoever leads the game), and who hears it (none: all)."""

    seat: int | None
    text: str
    kind: str = "answer"
    target: str = ""
    round: int = 0
    to: frozenset[int] | None = None


def _werewolf(key: str, records: Sequence[Record]) -> ForeignGame:
    game = records[0]
    players, winner = game["players"], str(game["winner"]).casefold()
    names = [*players]
    roles = [str(players[name]["role"]) for name in names]
    hides = [role.casefold() in hidden_sides() for role in roles]
    won = [int(h == winner.startswith("werewol")) if winner else None for h in hides]
    seats = tuple(Participant(name, role, "Werewolves" if h else "Villagers", str(players[name].get("model") or ""), w)
                  for name, role, h, w in zip(names, roles, hides, won, strict=True))  # fmt: skip
    told = tuple(f"You are {name}. Your role: {role}." for name, role in zip(names, roles, strict=True))
    lines = [line for k, r in enumerate(game["rounds"], 1) for line in _round_lines(k, r, names)]
    return ForeignGame(key, "Werewolf", seats, _heard_turns(seats, lines), told)


def _round_lines(k: int, played: Record, names: Sequence[str]) -> Iterator[Heard]:
    """What happened in one round: the night's victim, the debate, the last votes, and who had to go."""
    gone, saved = played.get("eliminated"), played.get("protected")
    night = f"In the night {gone} was removed." if gone and gone != saved else "In the night nobody was removed."
    yield Heard(None, f"Round {k}. {night}", round=k)
    for who, said in played.get("debate") or ():
        yield Heard(names.index(who), said, round=k)
    votes = played.get("votes") or [{}]
    secret = frozenset()  # all vote at a time
    for who, whom in votes[-1].items():
        yield Heard(names.index(who), f"I vote for {whom}.", "vote", whom, k, secret)
    if votes[-1]:
        exiled = played.get("exiled")
        cast = "; ".join(f"{who} voted for {whom}" for who, whom in votes[-1].items())
        yield Heard(None, f"{cast}. {f'{exiled} was voted out' if exiled else 'Nobody was voted out'}.", round=k)


def _chat(key: str, records: Sequence[Record]) -> ForeignGame:
    game = records[0]
    players = [{"name": p} if isinstance(p, str) else p for p in game["players"]]
    names = [str(p["name"]) for p in players]
    winner = game.get("winner")
    winners = {str(w).casefold() for w in (winner if isinstance(winner, list) else [winner] if winner else [])}
    seats = tuple(
        Participant(name, *(str(p.get(a) or p.get(b) or "") for a, b in CALLED), _has_won(p, winners))
        for name, p in zip(names, players, strict=True)
    )  # fmt: skip
    lines = [_message(m, names) for m in game["messages"]]
    is_told = [line.seat is None and m.get("role") == "system" for line, m in zip(lines, game["messages"], strict=True)]
    told = tuple(
        "\n".join(line.text for line, first in zip(lines, is_told, strict=True) if first and _hears(line, seat))
        for seat in range(len(seats))
    )
    rest = [line for line, first in zip(lines, is_told, strict=True) if not first]
    turns, name = _heard_turns(seats, rest), str(game.get("id") or key)
    return ForeignGame(name, str(game.get("game") or "chat"), seats, turns, told, str(game.get("reason") or ""))


def _has_won(player: Record, winners: set[str]) -> int | None:
    if "won" in player:
        return int(bool(player["won"]))
    known = {str(player.get(name) or "").casefold() for name in ("name", "role", "side", "team")} - {""}
    return int(bool(known & winners)) if winners else None


def _message(message: Record, names: Sequence[str]) -> Heard:
    """A message of a player, or of whoever leads the game; what is said to some is heard by them alone."""
    seat = names.index(message["name"]) if message.get("name") in names else None
    to = message.get("to") or ()
    heard = frozenset(names.index(name) for name in ([to] if isinstance(to, str) else to) if name in names)
    is_vote = message.get("kind") == "vote" and message.get("target") in names
    kind, target = ("vote", message["target"]) if is_vote else ("answer", "")
    return Heard(seat, str(message["content"]), kind, target, int(message.get("round") or 0), heard if to else None)


def _hears(line: Heard, seat: int) -> bool:
    return line.to is None or seat in line.to


def _heard_turns(seats: Sequence[Participant], lines: Sequence[Heard]) -> tuple[Turn, ...]:
    """Turn a common history into what each player had heard when it spoke; who speaks twice, unasked, speaks once."""
    if len(seats) * sum(len(line.text) for line in lines) > MOST_HEARD:
        raise FormError(f"more than {MOST_HEARD:,} characters to be heard")
    turns: list[Turn] = []
    heard: list[list[str]] = [[] for _ in seats]
    last: dict[int, int] = {}  # by seat: its last turn
    for line in lines:
        me = line.seat
        if me is not None:
            if me in last and not heard[me] and line.kind == turns[last[me]].kind == "answer":
                turns[last[me]] = turns[last[me]]._replace(text=f"{turns[last[me]].text}\n{line.text}")
            else:
                last[me] = len(turns)
                public = line.to is None
                turns.append(Turn(me, "\n".join(heard[me]), line.text, line.kind, line.target, line.round, public))
            heard[me] = []
        said = line.text if me is None else f"{seats[me].name}: {line.text}"
        for seat in range(len(seats)):
            if seat != me and _hears(line, seat):
                heard[seat].append(said)
    return tuple(turns)


READERS: dict[str, Callable[[str, Sequence[Record]], ForeignGame]] = {
    "mindgames": _mindgames, "textarena": _textarena, "werewolf": _werewolf, "chat": _chat,
}  # fmt: skip


def canonical(game: ForeignGame) -> str:
    """A game as one text, by which it is known."""
    seats = [[s.name, s.role, s.side, s.model, s.success] for s in game.seats]
    return json.dumps([game.id, game.world, seats, game.turns, game.told], ensure_ascii=False)
