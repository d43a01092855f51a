"""Several runs side by side: a line each, and one for all of them together.

Runs are told apart by name; games and mysteries of two runs are different ones, so pooling resamples all mysteries.
`python -m maro_lib compare outputs/a outputs/b` prints it; several seeds are several runs that differ in `seed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maro_lib.comparison import compare
from maro_lib.matches import BASE
from maro_lib.runs import RunError, outputs_folder, run_folder
from maro_lib.summary import read_summary

POOLED = "all together"
METRICS = ("games won", "Victory", "CIC, all together", "TII", "ICI", "SCI")


def named_run(folder: str) -> tuple[str, int]:
    """Return the run that a folder (or a name) means, and how many rounds it has."""
    name = Path(folder).name if Path(folder).is_dir() else folder
    if not (run_folder(name) / "summary.json").exists():
        raise RunError(f"{folder}: there is no run of that name in {outputs_folder()} (no summary.json)")
    summary, _ = read_summary(name)
    return name, int(summary.parameters.get("maro_iterations", 1))


def compare_runs(folders: Sequence[str]) -> str:
    """Return, for each arm, trained faction and metric, the change in each run and in all of them."""
    tables = {name: _social(name) for name, _ in map(named_run, folders)}
    parts = {**tables, POOLED: pooled(tables)} if len(tables) > 1 else tables
    rows = [row for name, table in parts.items() for row in _rows(name, table)]
    found = pd.DataFrame(rows, columns=["arm", "trained", "metric", "run", "change [95 % interval]"])
    wide = found.pivot(index=["arm", "trained", "metric"], columns="run", values="change [95 % interval]")
    return wide.reindex(columns=list(parts)).reindex(METRICS, level="metric").fillna("").to_string()


def pooled(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the games of several runs together, each game and each mystery one of its run."""
    return pd.concat(
        table.assign(order=f"{name}/" + table["order"].astype(str), script=f"{name}/" + table["script"].astype(str))
        for name, table in tables.items()
    )


def _social(name: str) -> pd.DataFrame:
    path = run_folder(name) / "social.parquet"
    if not path.exists():
        raise RunError(f"{path}: not there; run notebook 06 of this run (make run ONLY=06 PARAMS=...)")
    return pd.read_parquet(path)


def _rows(name: str, table: pd.DataFrame):
    of = dict(tuple(table.groupby(["arm", "who"], sort=False)))
    base = pd.concat([part for (arm, _), part in of.items() if arm == BASE])
    for (arm, who), own in of.items():
        if arm != BASE:
            for row in compare(base, own, who).loc[lambda t: t.index.isin(METRICS)].itertuples():
                yield arm, who, row.Index, name, f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}] n={row.games}"
