"""What is kept of a sweep's finished trials: their rows, in a file that outlives the machine that made them.

    kept: notebooks/evidence/sweeps/balancing.parquet     in a sweep's file
    python -m maro_lib sweep params/sweeps/balancing.yaml --keep     adds the rows of all trials that are finished here

A sweep does not run a trial again whose rows are kept, if all that decides it is the same: every value but those
that only say how fast, and of names that were declared since, the default. What the code computes may have changed; the
commit of the file tells of which code they are. Used by `maro_lib.run.sweep_file`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maro_lib.run.prefixes import Chain
from maro_lib.runs import RunError, portable, shown, write_atomic
from maro_lib.wording import counted

SPEED = ("concurrency", "match_concurrency", "cache_gb", "batch_tokens", "progress")  # change how fast, not what
_DECIDED = b"decided_by"  # of the file's metadata: trial -> stage -> the values that decide it


def read_kept(path: Path, chains: Mapping[str, Chain], defaults: Mapping[str, Any]) -> pd.DataFrame:
    """Return the kept rows of these trials, of each that is decided by the same values."""
    if not path.exists():
        return pd.DataFrame({"trial": []})
    table, decided = _opened(path)
    same = [name for name, chain in chains.items() if name in decided and _agree(decided[name], chain, defaults)]
    return table[table["trial"].isin(same)]


def keep_rows(path: Path, results: Path, chains: Mapping[str, Chain]) -> str:
    """Add the rows of finished trials to what is kept; say how many there are now."""
    if not results.exists():
        raise RunError(f"{shown(results)}: is not there: no trial has finished; there is nothing to keep")
    new, (old, decided) = pd.read_parquet(results), _opened(path) if path.exists() else (pd.DataFrame(), {})
    ours = [name for name in dict.fromkeys(new["trial"]) if name in chains]
    earlier = old[~old["trial"].isin(ours)] if len(old) else old
    table = pa.Table.from_pandas(pd.concat([earlier, new], ignore_index=True), preserve_index=False)
    decided |= {name: _values(chains[name]) for name in ours}
    table = table.replace_schema_metadata({**table.schema.metadata, _DECIDED: json.dumps(decided)})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue().to_pybytes())
    n = table["trial"].to_pandas().nunique()
    return f"{portable(str(path))}: holds {counted(n, 'trial')}, {len(ours)} of this folder"


def _opened(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        table = pq.read_table(path)
        return table.to_pandas(), json.loads(table.schema.metadata[_DECIDED])
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError, OSError):
        told = f"{portable(str(path))}: holds no kept trials; take the file that `sweep --keep` has written"
        raise RunError(told) from None


def _values(chain: Chain) -> dict[str, dict[str, Any]]:
    return {asked.number: _what(json.loads(asked.values)) for asked in chain}


def _what(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in SPEED}


def _agree(kept: Mapping[str, Mapping[str, Any]], chain: Chain, defaults: Mapping[str, Any]) -> bool:
    """Whether all that decides a trial is the same; what was declared since must stand at its default."""
    now = _values(chain)
    return kept.keys() == now.keys() and all(
        not _what(kept[stage]).keys() - values.keys()
        and all(kept[stage].get(name, defaults.get(name)) == value for name, value in values.items())
        for stage, values in now.items()
    )
