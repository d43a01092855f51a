"""Played games on disk: shards of Parquet that are there wholly or not at all.

A folder belongs to one request (these games, these players); asking for more games later goes on with it. Each shard
is a folder with one file per table, written under another name, then renamed. Pages carry checksums, so a damaged shard
is found, named and set aside, and its games are played again. Nothing is ever deleted but half-written leftovers.

Taught in notebook 02.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.play.tables import KEYS, SCHEMAS
from maro_lib.runs import remaking, remedy, write_atomic
from maro_lib.world.scripts import Script, dump_scripts, load_scripts

TableRow = dict[str, Any]  # column -> value
Rows = dict[str, list[TableRow]]  # by table


class StorageError(RuntimeError):
    """Games can't be written or read; the message says where, why, and what is safe."""


def empty_rows() -> Rows:
    return {name: [] for name in SCHEMAS}


def as_table(name: str, rows: Sequence[TableRow]) -> pa.Table:
    """Make an Arrow table of rows, which hold the declared columns, all and no others."""
    schema = SCHEMAS[name]
    columns = set(schema.names)
    for row in rows:
        if differing := columns ^ row.keys():
            raise ValueError(f"{name}: a row and the declared columns differ in {', '.join(sorted(differing))}")
    return pa.Table.from_pylist(rows, schema=schema)


class Wanted(NamedTuple):
    """What is to be played: a digest of the code that decides games, and one of each game by its `order`."""

    code: str
    games: dict[int, str]

    def goes_on_from(self, earlier: object) -> bool:
        """Whether all that was wanted earlier (as read from JSON) is among what is wanted now."""
        if not isinstance(earlier, dict) or earlier.get("code") != self.code:
            return False
        games = earlier.get("games")
        return isinstance(games, dict) and games.items() <= {str(k): v for k, v in self.games.items()}.items()


class Shards:
    """The shards of one request in one folder; used with `with`, which keeps others out meanwhile."""

    def __init__(self, folder: Path, wanted: Wanted, scripts: Iterable[Script] = ()):
        self.folder, self.wanted, self.scripts, self.notes = Path(folder), wanted, scripts, []

    def __enter__(self) -> Shards:
        try:
            self._open()
        except OSError as error:
            raise StorageError(f"{self.folder}: can't be used ({error.strerror}); no game was played") from None
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
            raise StorageError(f"{self.folder}: another process is playing into this folder; wait for it") from None
        self._set_aside_other_request()
        self.folder.mkdir(exist_ok=True)
        for leftover in self.folder.glob(".tmp-*"):
            shutil.rmtree(leftover)
        request = json.dumps(self.wanted._asdict(), indent=1)
        if not (path := self.folder / "request.json").exists() or path.read_text(encoding="utf-8") != request:
            write_atomic(self.folder / "scripts.yaml", dump_scripts(self.scripts))  # first: a request has its scripts
            write_atomic(path, request)

    def _set_aside_other_request(self) -> None:
        path = self.folder / "request.json"
        if not self.folder.exists() or self.wanted.goes_on_from(_read_json(path)):
            return
        if any(self.folder.glob("shard-*")) or (self.folder / "unfinished.json").exists():
            aside = free_name(self.folder, "other")
            self.folder.rename(aside)
            self.notes.append(f"{self.folder.name} held the games of another request: kept as {aside.name}")
        else:
            shutil.rmtree(self.folder)

    def done(self) -> set[int]:
        """The `order` of every game that is safely there; damaged shards are set aside first."""
        orders: list[int] = []
        for shard in shard_folders(self.folder):
            try:
                orders += _check_shard(shard)
            except (OSError, pa.ArrowException) as error:
                aside = free_name(shard, "damaged")
                shard.rename(aside)
                self.notes.append(f"{shard.name} is damaged ({_first_line(error)}): kept as {aside.name}, played again")
        if len(orders) != len(set(orders)):
            raise StorageError(f"{self.folder}: a game is stored twice; move the folder away and play again")
        return set(orders)

    def adopt(self, other: Path) -> None:
        """Take the shards of another folder of the same games, but none whose games are here; the folder goes."""
        done = self.done()
        for shard in shard_folders(other):
            with contextlib.suppress(OSError, pa.ArrowException):  # a damaged one's games are played again
                if done.isdisjoint(orders := _check_shard(shard)):
                    shard.rename(self._next())
                    done.update(orders)
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
        tmp = self.folder / f".tmp-{final.name}"
        try:
            tmp.mkdir()
            for name, table_rows in rows.items():
                _write_parquet(as_table(name, table_rows), tmp / f"{name}.parquet")
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
    """Read a table of all shards (or only some columns), in the order of the run."""
    shards = shard_folders(folder)
    if not shards:
        raise StorageError(f"{folder}: holds no games")
    wanted = None if columns is None else list(dict.fromkeys([*columns, *KEYS[name]]))
    parts = [_read_parquet(shard / f"{name}.parquet", wanted) for shard in shards]
    table = pa.concat_tables(parts).sort_by([(k, "ascending") for k in KEYS[name]])
    return (table if columns is None else table.select(list(columns))).to_pandas()


def read_scripts(folder: Path) -> dict[str, Script]:
    """Read the scripts that a folder's games were played with, by digest: the column that `games` knows them by."""
    return load_scripts(Path(folder) / "scripts.yaml")


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    _sync(path)


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: is damaged ({_first_line(error)}); {remaking(path)}; the damaged shard is set aside, and only "
            "its games are played anew"
        ) from None


def _check_shard(shard: Path) -> list[int]:
    """Read a shard wholly, checksums included; return the `order` of its games, of which every table must tell."""
    tables = {n: pq.read_table(shard / f"{n}.parquet", page_checksum_verification=True) for n in SCHEMAS}
    for name, table in tables.items():
        if table.schema != SCHEMAS[name]:
            raise pa.ArrowInvalid(f"{name}: not the declared columns")
    orders = tables["games"]["order"].to_pylist()
    for name, table in tables.items():
        if differing := set(table["order"].unique().to_pylist()) ^ set(orders):
            raise pa.ArrowInvalid(f"{name} and games differ in {len(differing)} games")
    return orders


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


def _read_json(path: Path) -> object:
    with contextlib.suppress(ValueError, OSError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
