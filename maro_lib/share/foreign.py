"""Other people's games as a run of this kit: `python -m maro_lib import FILE_OR_FOLDER --to RUN`.

    file, folder -> records -> games (see `forms`) -> [games, actions, dialogues] -> outputs/<run>/rollout

Notebooks 03 to 05 then read them as if they had been played here; so do `decompose`, `balance` and `train`. A view is a
system message (what the player was told first, else its name and role), then what it saw and said in turn: text, not
tokens, which are those of whatever model is trained on it. Notebook 05's matches are mysteries all the same: what is
learned from others' games is measured there.

Nothing of a file is run, followed or fetched; a file that is too large, or of no known form, ends the import, and a
single game that can't be used is left out and counted. The run's folder gets its name when everything is in it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.embedded.lessons import HOME
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.shards import Rows, Shards, StorageError, TableRow, Wanted, content_digest, empty_rows, read_table
from maro_lib.play.tables import TABLES
from maro_lib.runs import Headline, RunError, make_folder, run_folder, shown, write_atomic
from maro_lib.share.forms import ForeignGame, FormError, Turn, canonical, read_games
from maro_lib.strict_json import read_json
from maro_lib.wording import counted, first_line
from maro_lib.world.mirage_files import language_of
from maro_lib.world.mystery import Rules

MOST_BYTES = 512 * 2**20  # of all files
MOST_LINE = 64 * 2**20  # bytes of a line of JSON, or of a file that is one JSON value
TOO_MUCH = f"at most {MOST_BYTES // 2**20} MB are read: import parts of it into several runs"
KINDS = (".json", ".jsonl", ".parquet")
GAMES_AT_ONCE = 500  # games of a shard
IMPORTED = "imported"  # in the place of the code that played
STAGE = "02_rollout"


class ImportRefused(RunError):
    """Games can't be imported; the message says which file, why, and the way out. Nothing is left behind."""


def import_games(source: str | Path, run: str) -> str:
    """Make a run of other people's games; return what is there and what is missing, as text to print."""
    home = run_folder(run)
    if home.exists():
        raise ImportRefused(f"{shown(home)} is there already; import into a run of another name")
    found = _read(Path(source))
    games = [game for game in found if isinstance(game, ForeignGame)]
    left_out = Counter(str(error) for error in found if isinstance(error, FormError))
    if not games:
        raise ImportRefused(f"{source}: no game there can be used: {_listed(left_out) or 'there are none'}")
    building = home.with_name(f".{home.name}.import")
    shutil.rmtree(building, ignore_errors=True)  # of an import that was cut short
    try:
        make_folder(building)
        _write(building / "rollout", games)
        Gamebook(knobs=HOME, rules=Rules(rounds=2)).save(building / "gamebook.json")
        headline = Headline(STAGE, {"imported games": len(games), "left out": left_out.total()})
        write_atomic(building / f"{STAGE}.json", json.dumps(headline._asdict(), indent=1) + "\n")
        building.rename(home)
    except (StorageError, OSError) as error:
        raise ImportRefused(f"{shown(home)}: can't be written ({first_line(error)}); nothing is left of it") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return _report(home / "rollout", games, left_out)


def _read(source: Path) -> list[ForeignGame | FormError]:
    try:
        return [*read_games(_records(_files(source)))]
    except FormError as error:
        raise ImportRefused(str(error)) from None


# --- files ---------------------------------------------------------------------------------------------


def _files(source: Path) -> list[Path]:
    """The files of an import, in order of their names; hidden ones, and what links lead to, are not looked at."""
    if not source.exists():
        raise ImportRefused(f"{source}: there is no such file or folder")
    if source.is_file():
        files = [source]
    else:
        inside = (p for p in sorted(source.rglob("*")) if p.suffix in KINDS and p.is_file() and not p.is_symlink())
        files = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(source).parts)]
    if not files or any(path.suffix not in KINDS for path in files):
        raise ImportRefused(f"{source}: holds no games; files that end in {', '.join(KINDS)} are read")
    if (n := sum(path.stat().st_size for path in files)) > MOST_BYTES:
        raise ImportRefused(f"{source}: {n // 2**20:,} MB; {TOO_MUCH}")
    return files


def _records(files: Iterable[Path]) -> Iterator[tuple[str, Any]]:
    """The records of files, each with where it lies."""
    for path in files:
        try:
            yield from ((f"{path.name}, record {k}", record) for k, record in enumerate(_records_of(path), start=1))
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ImportRefused(f"{path}: {_first_words(error)}") from None


def _records_of(path: Path) -> Iterator[Any]:
    """The records of a file: a line each, a list of them, or one."""
    if path.suffix == ".parquet":
        n_bytes = 0  # unpacked
        for batch in pq.ParquetFile(path).iter_batches(GAMES_AT_ONCE):
            if (n_bytes := n_bytes + batch.nbytes) > MOST_BYTES:
                raise ValueError(f"unpacked it is larger; {TOO_MUCH}")
            yield from batch.to_pylist()
    elif path.suffix == ".jsonl":
        yield from _lines_of(path)
    elif path.stat().st_size > MOST_LINE:
        raise ValueError(f"more than {MOST_LINE // 2**20} MB as one JSON value; write a line for each game (.jsonl)")
    else:
        value = read_json(path.read_bytes())
        yield from value if isinstance(value, list) else [value]


def _lines_of(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for k, line in enumerate(iter(lambda: file.readline(MOST_LINE + 1), b""), start=1):
            if len(line) > MOST_LINE:
                raise ValueError(f"line {k} has more than {MOST_LINE // 2**20} MB")
            if line.strip():
                try:
                    yield read_json(line)
                except ValueError as error:
                    raise ValueError(f"line {k} {error}") from None


def _first_words(error: Exception) -> str:
    return "is not Parquet" if isinstance(error, pa.ArrowException) else str(error).partition("\n")[0]


# --- tables --------------------------------------------------------------------------------------------


def _write(folder: Path, games: Sequence[ForeignGame]) -> None:
    digests = {order: content_digest(canonical(game).encode()) for order, game in enumerate(games)}
    with Shards(folder, Wanted(IMPORTED, digests)) as shards:
        for first in range(0, len(games), GAMES_AT_ONCE):
            rows = empty_rows()
            for order, game in enumerate(games[first : first + GAMES_AT_ONCE], first):
                _add_rows(rows, order, game)
            shards.write(rows)
    (folder.parent / f".{folder.name}.lock").unlink()


def _add_rows(rows: Rows, order: int, game: ForeignGame) -> None:
    known = {"game": f"{order:06d}", "order": order}
    rows["games"].append(_game_row(game) | known)
    rows["actions"] += [row | known for row in _action_rows(game)]
    rows["dialogues"] += [row | known for row in _dialogue_rows(game)]


def _game_row(game: ForeignGame) -> TableRow:
    """A row of `games`; what others do not tell stays empty."""
    sides = {seat.side for seat in game.seats if seat.success}
    last_votes = {turn.seat: turn.target for turn in game.turns if turn.kind == "vote"}
    words = " ".join(turn.text for turn in game.turns[:100])
    return {
        "world": "mystery",  # whose columns these are
        "script": game.world, "digest": "", "cell": "", "language": language_of(words), "register": "prose",
        "seed": 0, "rules": json.dumps({"id": game.id}, ensure_ascii=False),
        "players": [s.name for s in game.seats], "factions": [s.side for s in game.seats],
        "roles": [s.role for s in game.seats], "payoffs": [2.0 * s.success - 1 for s in game.seats],
        "policies": [s.model for s in game.seats], "culprits": [s.name for s in game.seats if s.side == "culprit"],
        "votes": [last_votes.get(k, "") for k in range(len(game.seats))], "accused": "",
        "winner": sides.pop() if len(sides) == 1 else "", "success": [s.success for s in game.seats],
        "ending": game.ending, "n_rounds": max(t.round for t in game.turns), "n_actions": len(game.turns),
        "n_illegal": sum(not t.legal for t in game.turns), "n_passes": 0, "n_cut": 0, "clues_found": 0,
        "clues_reachable": 0,
    }  # fmt: skip


def _action_rows(game: ForeignGame) -> Iterator[TableRow]:
    of_seat, taken = Counter(turn.seat for turn in game.turns), Counter()
    for step, turn in enumerate(game.turns):
        seat = game.seats[turn.seat]
        taken[turn.seat] += 1
        yield {
            "step": step, "script": game.world, "agent": seat.name, "seat": turn.seat, "role": seat.role,
            "faction": seat.side, "policy": seat.model, "success": seat.success, "t": taken[turn.seat],
            "payoff": 2.0 * seat.success - 1,
            "n_actions": of_seat[turn.seat], "round": turn.round, "phase": turn.kind, "kind": _kind(turn),
            "target": turn.target, "place": "", "clue": "", "text": turn.text, "legal": turn.legal,
            "retry": turn.retry, "public": turn.public, "suspicion": None, "trust": None, "belief": None,
        }  # fmt: skip


def _kind(turn: Turn) -> str:
    return turn.kind if turn.legal else "illegal"


def _dialogue_rows(game: ForeignGame) -> Iterator[TableRow]:
    """One view for each player: what it was told, then what it saw and said in turn."""
    for k, seat in enumerate(game.seats):
        own = [turn for turn in game.turns if turn.seat == k]
        told = game.told[k] if game.told else ""
        chat = [("system", told or f"You are {seat.name} ({seat.role}).")]
        chat += [message for turn in own for message in (("user", turn.seen), ("assistant", turn.text))]
        if own:
            yield {
                "agent": seat.name, "seat": k, "view": 0, "exact": False, "token_ids": None, "logps": None,
                "spans": None, "messages": [{"role": role, "content": content} for role, content in chat],
            }  # fmt: skip


# --- what is there, and what is missing ----------------------------------------------------------------


def _report(folder: Path, games: Sequence[ForeignGame], left_out: Counter[str]) -> str:
    tables = {name: read_table(folder, name) for name in TABLES}
    worlds, winners = Counter(game.world for game in games), Counter(tables["games"]["winner"].replace("", "several"))
    lines = [
        f"{shown(folder)}: {counted(len(games), 'game')} ({_listed(worlds)}), {len(tables['actions']):,} actions of "
        f"{len(tables['dialogues']):,} players; who won: {_listed(winners)}",
        f"left out: {_listed(left_out) or 'none'}",
        *(f"{name}: not told by these logs: {', '.join(empty)}" for name in TABLES if (empty := _empty(tables[name]))),
        *_what_works(tables["actions"]),
    ]
    return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.most_common())


def _empty(table: pd.DataFrame) -> list[str]:
    """The columns that hold nothing anywhere."""
    return [name for name in table if not any(map(_is_something, table[name]))]


def _is_something(value: Any) -> bool:
    return len(value) > 0 if hasattr(value, "__len__") else not pd.isna(value)


def _what_works(actions: pd.DataFrame) -> Iterator[str]:
    """Say which notebooks can go on from here, and what can where they can't."""
    guilty = actions.loc[actions["faction"] == "culprit", ["game", "agent"]].drop_duplicates()
    votes = actions.loc[(actions["kind"] == "vote") & (actions["faction"] == "civilian"), ["game", "target"]]
    hits = pd.MultiIndex.from_frame(votes).isin(pd.MultiIndex.from_frame(guilty))
    if hits.any() and not hits.all():
        yield "notebooks 03 to 05 can run on them (ONLY=03,04,05); the credit rule `belief_shift` has nothing to say"
    else:
        one_sided = "the votes of civilians are all right, or all wrong" if len(votes) else "civilians cast no votes"
        lacks = one_sided if len(guilty) else "no side hides"
        yield (f"notebooks 03 to 05 can't run on them: they show civilians, culprits and their votes, and {lacks}; "
               "`decompose`, `balance` and `train` work (docs/how-to.md)")  # fmt: skip
    yield "notebook 06 measures 05's matches, which are this kit's mysteries: what was learned is tried there"
