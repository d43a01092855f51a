"""Played games on disk: shards of Parquet that are there wholly or not at all.

A folder belongs to one request (these games, these players); asking for more games later goes on with it. Each shard
is a folder with one file per table, written under another name, then renamed. Beside its tables lies shard.json: which
games they tell of, and a digest of each file. Whoever opens or reads a folder compares them: a shard that is damaged,
there twice or of another request is named, and when games are played it is set aside, and its games are played again.
Nothing is ever deleted but half-written leftovers.

Taught in notebook 02.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.play.tables import COMMON, KEYS, schemas_of
from maro_lib.runs import Unreadable, clear_leftovers, parse_record, remaking, remedy, short_path, write_atomic
from maro_lib.world.scripts import Script, ScriptError
from maro_lib.world.setups import Scenario, dump_scripts, load_scripts
from maro_lib.worlds.registry import WorldError

TableRow = dict[str, Any]  # column -> value
Rows = dict[str, list[TableRow]]  # by table


class StorageError(RuntimeError):
    """Games can't be written or read; the message says where, why, and what is safe."""


def empty_rows() -> Rows:
    return {name: [] for name in COMMON}


def as_table(name: str, rows: Sequence[TableRow], world: str = "mystery") -> pa.Table:
    """Make an Arrow table of rows, which hold the declared columns, all and no others."""
    schema = schemas_of(world)[name]
    columns = set(schema.names)
    for row in rows:
        if differing := columns ^ row.keys():
            raise ValueError(f"{name}: a row and the declared columns differ in {', '.join(sorted(differing))}")
    return pa.Table.from_pylist(rows, schema=schema)


class Wanted(NamedTuple):
    """What is to be played: a digest of the code that decides games, and one of each game by its `order`."""

    code: str
    games: dict[int, str]

    def goes_on_from(self, earlier: Wanted) -> bool:
        """Whether all that was wanted earlier is among what is wanted now."""
        return earlier.code == self.code and earlier.games.items() <= self.games.items()

    def of(self, orders: Iterable[int]) -> Wanted:
        """What is wanted of some games only."""
        return self._replace(games={order: self.games[order] for order in orders})


class Written(NamedTuple):
    """shard.json: what was wanted of a shard's games, and a digest of each of its files, by table."""

    wanted: Wanted
    files: dict[str, str]


class Shards:
    """The shards of one request in one folder; used with `with`, which keeps others out meanwhile."""

    def __init__(self, folder: Path, wanted: Wanted, scripts: Iterable[Script | Scenario] = ()):
        self.folder, self.wanted, self.scripts, self.notes = Path(folder), wanted, list(scripts), []
        self.world = next((script.world for script in self.scripts), "mystery")  # one folder, one world

    def __enter__(self) -> Shards:
        try:
            self._open()
        except OSError as error:
            raise StorageError(
                f"{short_path(self.folder)}: can't be used ({error.strerror}); no game was played"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _open(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder.parent / f".{self.folder.name}.lock", "w")  # noqa: SIM115 - held until __exit__
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise StorageError(
                f"{short_path(self.folder)}: another process is playing into this folder; wait for it"
            ) from None
        self._set_aside_other_request()
        self.folder.mkdir(exist_ok=True)
        clear_leftovers(self.folder)
        earlier = self._earlier()
        if not self._has_scripts(earlier) or earlier != self.wanted:
            write_atomic(self.folder / "scripts.yaml", dump_scripts(self.scripts))  # first: a request has its scripts
            write_atomic(self.folder / "request.json", json.dumps(self.wanted._asdict(), indent=1))

    def _set_aside_other_request(self) -> None:
        if not self.folder.exists() or (earlier := self._earlier()) is None or self.wanted.goes_on_from(earlier):
            return
        if any(self.folder.glob("shard-*")) or (self.folder / "unfinished.json").exists():
            aside = free_name(self.folder, "other")
            self.folder.rename(aside)
            self.notes.append(f"{self.folder.name} held the games of another request: kept as {aside.name}")
        else:
            shutil.rmtree(self.folder)

    def _earlier(self) -> Wanted | None:
        """What was wanted of this folder before; nothing if that can't be told, and each shard has to tell."""
        path = self.folder / "request.json"
        try:
            return parse_record(path, Wanted) if path.exists() else None
        except Unreadable as error:
            self._set_aside(path, f"{path.name} {error}", "written anew")
            return None

    def _has_scripts(self, earlier: Wanted | None) -> bool:
        """Whether the scripts of the request are there; a file that can't be read, or holds others, is set aside."""
        path = self.folder / "scripts.yaml"
        if not path.exists():
            return False
        try:
            if _read_scripts(path).keys() != {script.digest for script in self.scripts} and earlier == self.wanted:
                raise Unreadable("is damaged (it holds other scripts)")
        except Unreadable as error:
            self._set_aside(path, f"{path.name} {error}", "written anew")
        return path.exists()

    def _set_aside(self, path: Path, why: str, instead: str) -> None:
        aside = free_name(path, "damaged")
        path.rename(aside)
        self.notes.append(f"{why}: kept as {aside.name}, {instead}")

    def done(self) -> set[int]:
        """The `order` of every game that is safely there; damaged shards are set aside first."""
        done: dict[int, str] = {}
        for shard in shard_folders(self.folder):
            try:
                done |= _check_shard(shard, self.wanted, done)
            except Unreadable as error:
                self._set_aside(shard, str(error), "what is missing then is played again")
        return {*done}

    def adopt(self, other: Path) -> None:
        """Take the shards of another folder of the same games, but none whose games are here; the folder goes."""
        done = dict.fromkeys(self.done(), self.folder.name)
        for shard in shard_folders(other):
            with contextlib.suppress(Unreadable):  # its games are played again
                done |= _check_shard(shard, self.wanted, done)
                shard.rename(self._next())
        _sync(self.folder)
        shutil.rmtree(other, ignore_errors=True)

    def _next(self) -> Path:
        numbers = (int(p.name.split("-")[1].split(".")[0]) for p in self.folder.glob("shard-*"))
        return self.folder / f"shard-{1 + max(numbers, default=-1):05d}"

    def write(self, rows: Rows) -> None:
        """Add one shard, wholly or not at all."""
        if not rows["games"]:
            return
        final = self._next()
        tmp = self.folder / f".{final.name}.tmp"
        try:
            tmp.mkdir()
            files = {name: _write_parquet(as_table(name, r, self.world), tmp / f"{name}.parquet")
                     for name, r in rows.items()}  # fmt: skip
            written = Written(self.wanted.of(game["order"] for game in rows["games"]), files)
            _write(tmp / "shard.json", json.dumps({"wanted": written.wanted._asdict(), "files": files}).encode())
            tmp.rename(final)
            _sync(self.folder)
        except OSError as error:
            shutil.rmtree(tmp, ignore_errors=True)
            raise StorageError(
                f"{final}: can't be written ({error.strerror or error}); the games saved before are safe. "
                f"{remedy(error)} and run the same command again: it goes on from there."
            ) from None


def shard_folders(folder: Path) -> list[Path]:
    """The complete shards of a folder, in the order in which they were written."""
    return sorted(p for p in Path(folder).glob("shard-*") if p.name.split("-")[1].isdigit())


def read_table(folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of all shards (or only some columns), in the order of the run; raise if a game is not there."""
    folder = Path(folder)
    if not shard_folders(folder):
        raise StorageError(f"{short_path(folder)}: holds no games; {remaking(folder)}")
    needed = None if columns is None else list(dict.fromkeys([*columns, *KEYS[name]]))
    try:
        table = pa.concat_tables(_parts(folder, name, needed)).sort_by([(k, "ascending") for k in KEYS[name]])
    except Unreadable as error:
        raise StorageError(f"{short_path(folder)}: {error}; {remaking(folder)}; what is damaged is set aside, and "
                           "only its games are played anew") from None  # fmt: skip
    return (table if columns is None else table.select(list(columns))).to_pandas()


def _parts(folder: Path, name: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """Read a table shard by shard; every game that the folder was made for must be there, and once."""
    try:
        request = parse_record(folder / "request.json", Wanted)
    except Unreadable as error:
        raise Unreadable(f"request.json {error}") from None
    found: dict[int, str] = {}
    for shard in shard_folders(folder):
        written = _read_written(shard, request, found)
        found |= dict.fromkeys(written.wanted.games, shard.name)
        yield _open_file(shard, name, written).read(columns)
    if missing := sorted(request.games.keys() - found):
        raise Unreadable(f"lacks {len(missing)} of {len(request.games)} games (order {missing[0]}, ...)")


def read_scripts(folder: Path) -> dict[str, Script | Scenario]:
    """Read the scripts that a folder's games were played with, by digest: the column that `games` knows them by.

    Games without a script (an empty digest) are other people's.
    """
    folder = Path(folder)
    path, needed = folder / "scripts.yaml", {*read_table(folder, "games", ["digest"])["digest"]} - {""}
    try:
        if missing := needed - (scripts := _read_scripts(path)).keys():
            raise Unreadable(f"lacks {len(missing)} of the {len(needed)} scripts that were played")
    except Unreadable as error:
        raise StorageError(f"{short_path(path)}: {error}; {remaking(folder)}") from None
    return scripts


def _read_scripts(path: Path) -> dict[str, Script | Scenario]:
    try:
        return load_scripts(path)
    except ScriptError as error:
        raise Unreadable(f"is damaged ({shorten(str(error).replace(str(path), path.name), 200)})") from None


def _write_parquet(table: pa.Table, path: Path) -> str:
    """Write a table; return a digest of its file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    data = buffer.getvalue()
    _write(path, data)
    return content_digest(data)


def _write(path: Path, data: bytes | pa.Buffer) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _check_shard(shard: Path, request: Wanted, others: Mapping[int, str]) -> dict[int, str]:
    """Return a shard's name by the `order` of its games; raise if any of it is not as it was written."""
    written = _read_written(shard, request, others)
    for name in COMMON:
        _open_file(shard, name, written)
    return dict.fromkeys(written.wanted.games, shard.name)


def _read_written(shard: Path, request: Wanted, others: Mapping[int, str]) -> Written:
    """Read a shard's record; raise if its games are not of this request, or are in other shards."""
    try:
        written = parse_record(shard / "shard.json", Written)
    except Unreadable as error:
        raise Unreadable(f"{shard.name}/shard.json {error}") from None
    if not request.goes_on_from(written.wanted):
        raise Unreadable(f"{shard.name} holds games of another request")
    if twice := written.wanted.games.keys() & others:
        raise Unreadable(f"{shard.name} holds {len(twice)} games that {others[min(twice)]} holds, too")
    return written


def _open_file(shard: Path, name: str, written: Written) -> pq.ParquetFile:
    """Open a table's file; raise if it is not as it was written, or if other columns are declared since."""
    file = f"{name}.parquet"
    try:
        data = (shard / file).read_bytes()
    except OSError as error:
        raise Unreadable(f"{shard.name}/{file} is damaged ({error.strerror})") from None
    if content_digest(data) != written.files.get(name):
        raise Unreadable(f"{shard.name}/{file} is damaged (not as it was written)")
    opened = pq.ParquetFile(pa.BufferReader(data))
    declared = _declared_columns(name, opened.schema_arrow)
    if not opened.schema_arrow.equals(declared):
        had, has = (dict(zip(s.names, s.types, strict=True)) for s in (opened.schema_arrow, declared))
        differing = sorted(column for column in had.keys() | has if had.get(column) != has.get(column))
        raise Unreadable(
            f"{shard.name}/{file} has other columns than declared ({', '.join(differing) or 'their order'})"
        )
    return opened


def _declared_columns(name: str, found: pa.Schema) -> pa.Schema:
    """The columns that a table of its world has; of a world that is not here, those that it came with."""
    world = (found.metadata or {}).get(b"world", b"mystery").decode()
    with contextlib.suppress(WorldError):
        return schemas_of(world)[name]
    return found


def content_digest(data: bytes | pa.Buffer) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> None:
    """Keep what is there under another name, so that it can't be taken for what belongs here."""
    if path.exists():
        path.rename(free_name(path, "other"))


def free_name(path: Path, word: str) -> Path:
    numbered = (path.with_name(f"{path.name}.{word}-{k}") for k in range(1, 1_000_000))
    return next(p for p in numbered if not p.exists())
