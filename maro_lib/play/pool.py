"""Games that several runs need alike are played once: who plays them first leaves a copy, the others take one.

The trials of a sweep are matched with the same base in the same held-out games. Each keeps a copy of its own, so that
a trial's folder stays whole wherever it is moved. Used by `maro_lib.measure.matches`.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maro_lib.runs import make_folder, outputs_folder, round_of

POOL = "_games"  # in a sweep's folder; no trial is called so


def pool_of(run: str) -> Path | None:
    """Return where the trials of a sweep share games that all of them need; nothing for a run of its own."""
    name, _ = round_of(run)
    return outputs_folder() / name.partition("/")[0] / POOL if "/" in name else None


@contextmanager
def played_once(folder: Path, pool: Path | None, name: str) -> Iterator[None]:
    """Play games into `folder` inside of this; `name` says which. Another run that plays them is waited for."""
    if pool is None:
        yield
        return
    make_folder(pool)
    with open(pool / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it, however the process ends
        if (pool / name).exists() and not folder.exists():
            _copy(pool / name, folder)
        yield
        if not (pool / name).exists():
            _copy(folder, pool / name)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder wholly or not at all."""
    half = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(source, half)
    half.rename(target)
