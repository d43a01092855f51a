"""A page on which a run's games are watched: a list with filters, a slider through a game, who suspects and asks whom.

    outputs/<run>/watch.html    self-contained; its one script is known by its hash, and no network is asked
    watch.html#game=matches/civilian/game-00007&step=12    a move, for ever

A list of all games and, fifty at a time, the games themselves lie in the page as compressed JSON, in base64: no text of
a model can end the element that holds it, and the script (watch.js) makes elements of text alone. A game is unpacked
when it is opened, so that a page of ten thousand opens at once.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from maro_lib.markup import Html, Shown, join, tag, visible
from maro_lib.runs import WATCH_PAGE, RunError, run_folder, shown, write_atomic
from maro_lib.show.game_sets import GameSet, read_set, set_places
from maro_lib.show.looks import BLAME, PRAISE, SEATS, SUSPICION, TRUST
from maro_lib.show.noted import MYSTERY, about_world, by_seat, ended_as, own_columns, said_value
from maro_lib.show.transcript import VERBS
from maro_lib.wording import amount, counted, first_line

WATCH_FILES = ("watch.css", "watch_pictures.js", "watch_worlds.js", "watch.js")
CHUNK = 50  # games that are unpacked together
MOST_WATCHED = 20_000  # of a page, which somebody has to open; the first of each set
LONGEST_TEXT = 4_000  # characters of one text
POLICY_OF = "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"
OF_GAME = ("world", "cell", "language", "seed", "players", "roles", "factions", "policies", "success", "payoffs")
OF_MYSTERY = ("ending", "accused", "culprits", "votes")  # a mystery's own columns, as far as a game has them
OF_ACTION = ("seat", "round", "phase", "kind", "target", "place", "text", "retry")
OWN_NOTE = "note "  # before the name of another world's own column of actions

Packed = dict[str, Any]  # what JSON holds


def write_watch(run: str) -> Path:
    """Make outputs/<run>/watch.html of all games that a run has left."""
    places = set_places(run)
    if not places:
        raise RunError(f"{shown(run_folder(run))}: holds no games yet; notebook 02 plays them")
    sets, left_out = [], {}
    for place in places:
        try:
            sets.append(read_set(run, place, places))
        except Exception as error:  # what is damaged on disk may cost its set, never the page
            left_out[place] = first_line(error)
    if not sets:
        raise RunError("\n".join(left_out.values()))
    path = run_folder(run) / WATCH_PAGE
    write_atomic(path, watch_page(run, sets, left_out))
    return path


def watch_run(run: str, place: str = "", game: str = "", step: int = 0, height: int = 720) -> Shown:
    """Make a run's page, and show it in a notebook's cell: at a move of a game, if one is named."""
    path = write_watch(run)
    at, move = os.path.relpath(path), move_link(place, game, step) if game else ""
    # the move is the frame's name, since JupyterLab takes a `#` for a part of the file's name
    edge = "border:1px solid rgba(128,128,128,0.4)"
    frame = tag("iframe", src=at, name_=move, width="100%", height=height, style=edge)
    return Shown(said_of(path), join(frame, tag("div", said_of(path), style="opacity:0.75;font-size:12px")))


def said_of(path: Path) -> str:
    """Say where a page is, and how large it is."""
    return f"{shown(path)} ({amount(path.stat().st_size)})"


def move_link(place: str, game: str, step: int = 0) -> str:
    """Return what stands behind the `#` of a page's address for one move of a game."""
    return f"game={quote(f'{place}/{game}')}&step={step}"


# --- the page ----------------------------------------------------------------------------------------


def watch_page(title: str, sets: Sequence[GameSet], left_out: Mapping[str, str] | None = None) -> str:
    """Put games on one page."""
    style, *scripts = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in WATCH_FILES)
    script = "\n".join(scripts)
    policy = POLICY_OF.format(script=_source(script), style=_source(style))
    blocks = list(_blocks(title, sets, left_out or {}))
    head = tag(
        "head", Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"Games of {title}"), tag("style", Html(style)),
    )  # fmt: skip
    body = tag(
        "body", tag("main", tag("p", "This page needs a browser of 2023 or later, with scripts allowed."), id="page"),
        *blocks, tag("script", Html(script), type="module"),
    )  # fmt: skip
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _source(text: str) -> str:
    """Return what a policy knows an element's text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _blocks(title: str, sets: Sequence[GameSet], left_out: Mapping[str, str]) -> Iterator[Html]:
    """Yield what the page holds: the list of all games, then the games, some at a time."""
    most = fitting([len(one.games) for one in sets])
    listed, waiting, n = [], [], 0
    base = {one.place: one for one in sets}
    for k, one in enumerate(sets):
        gains = _gains(one, base.get(one.base))
        for entry, game in _games(one, most):
            listed.append({"set": k, **entry, "gain": gains.get(entry["game"], 0)})
            waiting.append(game)
            if len(waiting) == CHUNK:
                yield _block(f"chunk-{n}", waiting)
                waiting, n = [], n + 1
    yield _block(f"chunk-{n}", waiting)
    told = [{"place": s.place, "title": s.title, "base": s.base, "trained": s.trained} for s in sets]
    cut = {s.place: f"only the first {most:,} of {counted(len(s.games), 'game')}" for s in sets if len(s.games) > most}
    index = {"title": title, "sets": told, "games": _columns(listed), "left_out": {**left_out, **cut}, "chunk": CHUNK}
    index["worlds"] = {world: _about(world, sets) for world in {e["world"]: 0 for e in listed} if world != MYSTERY}
    colours = {"praise": PRAISE, "blame": BLAME, "suspicion": SUSPICION, "trust": TRUST}
    yield _block("index", _clean(index) | {"seats": SEATS, "colours": colours, "verbs": VERBS})


def fitting(sizes: Sequence[int], most: int = MOST_WATCHED) -> int:
    """Return how many games of a set there may be: as many of each, where a page can't hold all."""
    for k, size in enumerate(sorted(sizes)):
        if size > (share := most // (len(sizes) - k)):
            return share
        most -= size
    return max(sizes, default=0)


def _block(name: str, what: Any) -> Html:
    data = json.dumps(what, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    packed = base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
    return tag("script", Html(packed), type="application/octet-stream", id=name)


def _columns(rows: Sequence[Packed]) -> dict[str, list]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _about(world: str, sets: Sequence[GameSet]) -> Packed:
    """What the page says of another world than the mystery: its rule of success, what its own columns mean."""
    columns = {table: {name: 0 for s in sets for name in getattr(s, table)} for table in ("games", "actions")}
    meanings = {table: own_columns(world, table, names) for table, names in columns.items()}
    return about_world(world)._asdict() | {"meanings": meanings}


def _gains(one: GameSet, base: GameSet | None) -> dict[str, int]:
    """Say of each game whether the trained party did better than base in its place (1), worse (-1), or alike (0)."""
    if base is None or not {"success", "factions"} <= {*one.games} & {*base.games}:
        return {}
    before = dict(zip(base.games["game"], _party_success(base.games, one.trained), strict=True))
    after = zip(one.games["game"], _party_success(one.games, one.trained), strict=True)
    return {game: (own > before[game]) - (own < before[game]) for game, own in after if game in before}


def _party_success(games: pd.DataFrame, party: str) -> list[int]:
    """In each game, how many seats of a party reached their goal."""
    sides = zip(games["success"], games["factions"], strict=True)
    return [sum(int(s) for s, side in zip(success, factions, strict=True) if side == party)
            for success, factions in sides]  # fmt: skip


# --- a game, as the page has it ----------------------------------------------------------------------


def _games(one: GameSet, most: int) -> Iterator[tuple[Packed, Packed]]:
    """Yield a set's games: what the list says of each, and what is shown when it is opened."""
    games, actions = one.games.head(most), one.actions.sort_values(["order", "step"])
    columns = _action_columns(actions, one)
    ends = np.searchsorted(actions["order"], games["order"], side="right")
    starts = np.searchsorted(actions["order"], games["order"], side="left")
    expected = games["game"].map(one.expected) if one.expected is not None else pd.Series(np.nan, games.index)
    for game, start, end, mean in zip(games.to_dict("records"), starts, ends, expected, strict=True):
        yield _listed(game, mean), _shown_game(game, columns, slice(start, end), one)


def _world(game: Mapping[str, Any]) -> str:
    return game.get("world", MYSTERY)


def _per_seat(game: Mapping[str, Any], name: str) -> list:
    """A column of values by seat; nothing where a game lacks it."""
    value = game.get(name)
    return list(value) if isinstance(value, list | np.ndarray) else []


def _listed(game: Mapping[str, Any], expected: float) -> Packed:
    return _clean({
        "game": game["game"], "script": game["script"], "world": _world(game),
        "winner": game.get("winner", "") if _world(game) == MYSTERY else None,
        "reached": sum(map(int, _per_seat(game, "success"))), "seats": len(game["players"]),
        "payoffs": [_rounded(x) for x in _per_seat(game, "payoffs")],
        "actions": int(game["n_actions"]), "illegal": int(game["n_illegal"]), "expected": _rounded(expected),
    })  # fmt: skip


def _action_columns(actions: pd.DataFrame, one: GameSet) -> dict[str, list]:
    """Return the actions as lists, by name; what a kind of game does not know is not among them."""
    columns = {name: _clean(actions[name].tolist()) for name in OF_ACTION if name in actions}
    columns |= {"illegal": (~actions["legal"]).tolist(), "private": (~actions["public"]).tolist()}
    ratings = {name: actions[name] for name in ("suspicion", "trust") if name in actions}
    columns |= {name: [_numbers(given) for given in column] for name, column in ratings.items()}
    columns["clue"] = actions["clue"].tolist() if "clue" in actions else [""] * len(actions)
    for name in {own: 0 for world in _worlds(one) for own in own_columns(world, "actions", actions)}:
        columns[OWN_NOTE + name] = [_clean(said_value(x)) for x in actions[name]]
    rules = {f"credit {name}": weights.reindex(actions.index) for name, weights in one.credit.items()}
    return columns | {name: [_rounded(x) for x in weights.tolist()] for name, weights in rules.items()}


def _worlds(one: GameSet) -> set[str]:
    """The worlds of a set but the mystery, whose own columns are shown in their own ways."""
    return {*one.games.get("world", ())} - {MYSTERY}


def _shown_game(game: Mapping[str, Any], columns: Mapping[str, list], part: slice, one: GameSet) -> Packed:
    """Return a game with its actions; a column in which nothing stands is left out."""
    own = {name: column[part] for name, column in columns.items()}
    clues = one.clues.get(game.get("digest", ""), {})
    found = [clues.get(clue) for clue in own.pop("clue")]
    own["found"] = [_clean(clue.text) if clue else "" for clue in found]
    own["secret"] = [bool(clue and clue.private_to) for clue in found]
    about = {name: list(value) if isinstance(value, np.ndarray) else value for name, value in game.items()}
    about |= {"seed": str(game["seed"])}  # beyond what a script of a page counts exactly
    about |= {"world": _world(game), "payoffs": [_rounded(x) for x in _per_seat(game, "payoffs")]}
    kept = {name: values for name, values in own.items() if _is_known(name, values)}
    shown = (*OF_GAME, *OF_MYSTERY) if _world(game) == MYSTERY else OF_GAME
    noted = {} if _world(game) == MYSTERY else _noted(game)
    return _clean({name: about[name] for name in shown if name in about} | noted) | {"actions": kept}


def _noted(game: Mapping[str, Any]) -> Packed:
    """What another world notes of a game: of the whole, and of each seat."""
    said = ended_as(game)
    seats = {name: values for name in said if (values := by_seat(game[name], len(game["players"]))) is not None}
    return {"facts": {name: text for name, text in said.items() if name not in seats}, "by_seat": seats}


def _is_known(name: str, values: list) -> bool:
    """Whether a column says something; zeros say something as seats, and as what a rule gives."""
    unknown = (None,) if name == "seat" or name.startswith("credit ") else ("", None, False)
    return any(x not in unknown for x in values)


def _numbers(given: Iterable[int] | None) -> list[int] | None:
    return None if given is None or len(given) == 0 else [int(x) for x in given]


def _rounded(x: float) -> float | None:
    return float(f"{x:.3g}") if math.isfinite(x) else None


def _clean(what: Any) -> Any:
    """Return what JSON can hold, and a page can show: every text visible, and bounded."""
    if isinstance(what, str):
        more = f"… ({len(what) - LONGEST_TEXT:,} more characters)" if len(what) > LONGEST_TEXT else ""
        return (what if what.isprintable() else visible(what))[:LONGEST_TEXT] + more
    if isinstance(what, Mapping):
        return {_clean(key): _clean(value) for key, value in what.items()}
    if isinstance(what, list | tuple):
        return [_clean(x) for x in what]
    return what.item() if isinstance(what, np.generic) else what
