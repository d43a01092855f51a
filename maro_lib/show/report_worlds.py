"""What a report says of experiments and of other worlds: what was asked, what was found, who got what in which game.

A run that holds nothing of the method's own notebooks is not asked their question, and no word of a mystery is said of
games that are none. Parts of `maro_lib.show.report`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maro_lib.markup import Html, fold, join, tag
from maro_lib.play.shards import read_table
from maro_lib.runs import EXPERIMENTS, WATCH_PAGE, run_folder
from maro_lib.show.game_sets import GameSet, set_places
from maro_lib.show.noted import MYSTERY, about_world, by_seat, own_columns, said_value
from maro_lib.show.page import Part, number, table_of
from maro_lib.show.reported import LABELS, Run
from maro_lib.show.watch import move_link
from maro_lib.wording import counted, signed

GAMES_TOLD = 20  # of a set, in its table


def asked_of(run: Run) -> list[str]:
    """Return what a run asks that holds experiments alone, or games of other worlds alone; of any other, nothing."""
    stages = [*run.summary.stages]
    if stages:
        is_apart = {*stages} <= {*EXPERIMENTS}
        return [_question(run_folder(run.name) / f"{stage}.ipynb") for stage in stages] if is_apart else []
    worlds = [*_worlds_played(run)]
    return [] if MYSTERY in worlds else [about_world(world).question or f"{world}: how did it go?" for world in worlds]


def _question(notebook: Path) -> str:
    """The question at the head of a notebook; a copy that can't be read costs its question alone."""
    try:
        cell = json.loads(notebook.read_bytes())["cells"][0]["source"]
        lines = [line.replace("*", "").strip() for line in "".join(cell).splitlines()]
        return next(line for line in lines if line.endswith("?"))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return LABELS.notebooks


def _headline(run: Run, stage: str) -> Mapping[str, Any]:
    return run.summary.stages[stage].headline


def _said(value: object) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else str(value)


def found_part(run: Run) -> Iterator[Part]:
    """The headline numbers of every experiment of the run."""
    for stage in run.summary.stages:
        if stage in EXPERIMENTS and (found := _headline(run, stage)):
            rows = [[name, _said(value)] for name, value in found.items()]
            yield Part(f"What notebook {stage[:2]} found", table_of(["what", "value"], rows), dict(found))


def worlds_part(run: Run) -> Iterator[Part]:
    """How far players by rule come in each world, as notebook 14 has measured it."""
    table = run.table("worlds.parquet")
    rows = [[r.world, f"{r.random:.1f}", f"{r.skilled:.1f}", signed(r.skilled - r.random, 1), *about_world(r.world)]
            for r in table.itertuples()]  # fmt: skip
    heads = ["world", "random", "skilled", "difference, points", "its question", "the goal"]
    html = join(tag("p", LABELS.worlds, class_="muted"), table_of(heads, rows))
    yield Part("Every world, played by rule", html, table.to_dict("records"))


# --- games of other worlds ---------------------------------------------------------------------------


def _worlds_played(run: Run) -> dict[str, None]:
    """The worlds of all games that a run holds, in order."""
    tables = (_games(run, place, ["world"]) for place in set_places(run.name))
    return dict.fromkeys(chain.from_iterable(table["world"] for table in tables))


def _games(run: Run, place: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    return read_table(run_folder(run.name) / place, "games", columns)


def world_games_part(run: Run) -> Iterator[Part]:
    """Each game of another world: who got what, who reached the goal, and what the world notes of it."""
    folded, numbers = [], {}
    for place in set_places(run.name):
        for world in {*_games(run, place, ["world"])["world"]} - {MYSTERY}:
            games = _games(run, place).query("world == @world")
            title = _titled(place, world)
            folded.append(fold(join(tag("b", title), f", {in_short(games)}"), _games_of(run, place, world, games),
                               is_open=not folded))  # fmt: skip
            numbers[title] = {"games": len(games), "reached": _share(games), "payoff": _payoff(games)}
    if folded:
        yield Part("Games of other worlds", join(*folded), numbers)


def _titled(place: str, world: str) -> str:
    """Name a set, with its world where the set's name does not say it."""
    title = GameSet(place, None, None).title
    return title if world.replace("_", " ") in title else f"{title}: {world}"


def _share(games: pd.DataFrame) -> float:
    return float(np.mean([s for row in games["success"] for s in row]))


def _payoff(games: pd.DataFrame) -> float:
    return float(np.mean([p for row in games["payoffs"] for p in row]))


def in_short(games: pd.DataFrame) -> str:
    """Say of games of one world how they went, all seats taken together."""
    return (f"{counted(len(games), 'game')}: {100 * _share(games):.0f} % of the seats reached their goal, a seat got "
            f"{said_value(_payoff(games))} on average")  # fmt: skip


def _games_of(run: Run, place: str, world: str, games: pd.DataFrame) -> Html:
    """A table of games, the world's own columns among its own."""
    own, first = own_columns(world, "games", games), games.head(GAMES_TOLD)
    whole = [name for name in own if not _is_by_seat(first, name)]
    rows = [[_linked(run, place, row["game"]), row["script"], _who_got_what(row), _reached(row["success"]),
             *(said_value(row[name]) for name in whole)] for _, row in first.iterrows()]  # fmt: skip
    heads = ["game", "scenario", "who got what", "reached their goal", *(name.replace("_", " ") for name in whole)]
    policies = ", ".join(dict.fromkeys(chain.from_iterable(games["policies"])))
    goal = f"{LABELS.world_games.format(success=about_world(world).success)} " if about_world(world).success else ""
    meanings = "; ".join(f"{name.replace('_', ' ')}: {own[name]}" for name in whole if own[name])
    cut = LABELS.more_games.format(shown=len(first), n=len(games)) if len(first) < len(games) else ""
    notes = [f"{goal}Played by {policies}.", f"{meanings[:1].upper()}{meanings[1:]}.", cut]
    return join(*(tag("p", note, class_="muted") for note in notes if note.strip(".")), table_of(heads, rows))


def _is_by_seat(games: pd.DataFrame, name: str) -> bool:
    """Whether a column holds a value for each seat."""
    return any(by_seat(row[name], len(row["players"])) is not None for _, row in games.iterrows())


def _reached(success: Sequence[int]) -> str:
    return f"{sum(success)} of {len(success)}"


def _who_got_what(row: pd.Series) -> str:
    pairs = zip(row["players"], row["payoffs"], strict=True)
    return ", ".join(f"{name} {said_value(payoff)}" for name, payoff in pairs)


def _linked(run: Run, place: str, game: str) -> Html | str:
    """A game's name, which leads to the page on which it is watched, if there is one."""
    if not (run_folder(run.name) / WATCH_PAGE).exists():
        return game
    return tag("a", game, href=f"{WATCH_PAGE}#{move_link(place, game)}")
