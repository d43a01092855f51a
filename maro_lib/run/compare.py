"""Several runs side by side: a column each, and one for their mean.

A run's interval resamples its mysteries: what it says holds for the adapter of that run. The mean's interval is
Student's over the runs, since another seed learns another adapter; of two or three runs it is wide, and rightly so.
Runs of one seed have no such mean: they are one run, made twice.
`python -m maro_lib compare outputs/a outputs/b` prints it; several seeds are several runs that differ in `seed`. Of a
sweep it prints what the sweep itself has compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maro_lib.measure.comparison import NOT_JUDGED
from maro_lib.measure.metrics import with_judge
from maro_lib.runs import RunError, outputs_folder, run_folder, short_path
from maro_lib.statistics import t_mean
from maro_lib.summary import read_summary
from maro_lib.wording import signed

MEAN = "mean of the runs"
METRICS = ("games won", "Victory", "CIC, all together", "TII", "ICI", "SCI")


def named_run(folder: str) -> tuple[str, int]:
    """Return the run that a folder (or a name) means, and how many rounds it has."""
    name = run_name(folder)
    if not (run_folder(name) / "summary.json").exists():
        raise RunError(f"{folder}: there is no run of that name in {short_path(outputs_folder())} (no summary.json)")
    summary, _ = read_summary(name)
    return name, int(summary.parameters.get("maro_iterations", 1))


def run_name(folder: str) -> str:
    """Return the name of the run that a folder (or a name) means."""
    outputs, at = outputs_folder().resolve(), Path(folder).resolve()
    if at.is_dir() and at.is_relative_to(outputs):
        return str(at.relative_to(outputs))
    if (at / "summary.json").exists():
        raise RunError(
            f"{folder}: lies outside {short_path(outputs_folder())}; set MARO_OUTPUTS to the folder that holds it"
        )
    return folder


def compare_runs(folders: Sequence[str]) -> str:
    """Return, for each arm, trained faction and metric, the change in each run, and the mean of the runs.

    A sweep has its own comparison: what its cells reached, as it was left.
    """
    if sweeps := {folder: text for folder in folders if (text := _of_sweep(folder))}:
        if alone := [folder for folder in folders if folder not in sweeps]:
            raise RunError(f"{alone[0]}: is a run, and {next(iter(sweeps))} a sweep; compare runs with runs, or name "
                           "the sweep's trials (outputs/<sweep>/<trial>)")  # fmt: skip
        return "\n".join(sweeps.values())
    found = {name: changes(name) for name, _ in map(named_run, folders)}
    columns = {
        name: [_told(r.change, r.low, r.high, f"n={r.games}") for r in table.itertuples()]
        for name, table in found.items()
    }
    wide = pd.concat({name: pd.Series(columns[name], table.index) for name, table in found.items()}, axis=1)
    if len(found) > 1 and len(set(map(_seed, found))) == len(found):
        alone = pd.concat({name: table["change"] for name, table in found.items()}, axis=1)
        means = [t_mean(row.dropna()) for _, row in alone.iterrows()]
        wide[MEAN] = [_told(m.mean, m.low, m.high, f"n={m.n} runs") for m in means]
    return wide.fillna("").to_string()


def _of_sweep(folder: str) -> str:
    """Return what came out of a sweep, in words; nothing if there is no sweep in this folder."""
    for place in (Path(folder), outputs_folder() / folder):
        if (place / "sweep.txt").exists():
            return (place / "sweep.txt").read_text(encoding="utf-8")
    return ""


def changes(name: str) -> pd.DataFrame:
    """Return a run's changes against base: a row per arm, trained faction and metric, as notebook 06 left them."""
    path = run_folder(name) / "comparison.parquet"
    if not path.exists():
        raise RunError(f"{short_path(path)}: not there; run notebook 06 of this run (make run ONLY=06 PARAMS=...)")
    table = pd.read_parquet(path)
    table = table[table["metric"].isin(METRICS)]
    metric = [with_judge(r.metric, r.judge) for r in table.itertuples()]
    return table.assign(metric=metric).set_index(["arm", "who", "metric"])


def _seed(name: str) -> object:
    return read_summary(name)[0].parameters.get("seed", "as the notebooks have it")


def _told(mean: float, low: float, high: float, n: str) -> str:
    if mean != mean:
        return NOT_JUDGED
    interval = "no interval" if low != low else f"[{signed(low, 3)}, {signed(high, 3)}]"
    return f"{signed(mean, 3)} {interval} {n}"
