"""An export's folder: each part of it is there wholly or not at all, and what somebody changed is never lost.

`export.json` says which run it is of, what each part was made from, and what it held when it was made. A part whose
sources are the same is kept; one that is made anew takes the old one's place, which is set aside if it was changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError

from maro_lib.fingerprints import digest, files_of
from maro_lib.play.shards import free_name
from maro_lib.runs import RunError, clear_leftovers, make_folder, read_record, remedy, write_atomic
from maro_lib.wording import first_line

RECORD = "export.json"


class ShareError(RunError):
    """Something can't be exported; the message says what, why, and what to do."""


class Made(NamedTuple):
    """A part as it was made: digests of its sources, and of its files."""

    of: str
    holds: str


class Exported(NamedTuple):
    """export.json."""

    run: str
    parts: dict[str, Made]


class ExportFolder:
    """The folder of one run's export; used with `with`, which keeps others out meanwhile."""

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, run

    def __enter__(self) -> ExportFolder:
        self.record = _claimed(self.folder, self.run)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ShareError(f"{self.folder}: another process is exporting into it; wait for it") from None
        clear_leftovers(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def put(self, name: str, of: str, write: Callable[[Path], None]) -> str:
        """Make a part unless it is there and of these sources; say what was done."""
        place, made, temporary = self.folder / name, self.record.parts.get(name), self.folder / f".{name}.tmp"
        if place.exists() and made and made.of == of:
            return "kept"
        try:
            temporary.mkdir()
            write(temporary)
            new, aside = Made(of, _held(temporary)), _make_room(place, made)
            temporary.rename(place)
            self._note(name, new)
        except (OSError, SafetensorError) as error:
            raise ShareError(f"{place}: can't be written ({first_line(error)}); nothing was left half-written, and the "
                             f"parts before it are whole. {remedy(error)}, then run the same command again"
                             ) from None  # fmt: skip
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return f"written; the one before was changed by hand, and is kept as {aside.name}" if aside else "written"

    def _note(self, name: str, made: Made) -> None:
        self.record.parts[name] = made
        _write_record(self.folder, self.record)


def _claimed(folder: Path, run: str) -> Exported:
    """Return what was exported into a folder; refuse one that holds anything else."""
    if (folder / RECORD).exists():
        if (record := read_record(folder / RECORD, Exported, "give another folder")).run != run:
            raise ShareError(
                f"{folder}: holds the export of the run {record.run!r}, not of {run!r}; give another folder"
            )
        return record
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ShareError(f"{folder}: holds something that no export has written; give a new or an empty folder")
    make_folder(folder)
    record = Exported(run, {})
    _write_record(folder, record)
    return record


def _write_record(folder: Path, record: Exported) -> None:
    parts = {name: made._asdict() for name, made in record.parts.items()}
    write_atomic(folder / RECORD, json.dumps({"run": record.run, "parts": parts}, indent=1) + "\n")


def _make_room(place: Path, made: Made | None) -> Path | None:
    """Remove a part that is as it was made; set aside and return one that somebody has changed."""
    if not place.exists():
        return None
    if made and _held(place) == made.holds:
        old = place.with_name(f".{place.name}.old.tmp")
        place.rename(old)
        shutil.rmtree(old)
        return None
    aside = free_name(place, "changed")
    place.rename(aside)
    return aside


def _held(place: Path) -> str:
    return digest(files_of(place), place)
