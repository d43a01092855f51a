"""A sweep: every trial of a file as a run of its own; what trials share is run once.

    outputs/<sweep>/<trial>/         a run like any other: its notebooks, its report
    outputs/<sweep>/shared-<...>/    stages that several trials share; trials take them over (`maro_lib.run.takeover`)
    outputs/<sweep>/trials.parquet   a row per finished trial: arm, values of the grid, seed, headline numbers
    outputs/<sweep>/trials.txt       question, prediction, the same table to be read, and which trials failed with what

A trial that fails is named, and the others go on; what had failed is tried again by the same command. A killed sweep
goes on where it was, since each of its runs does. A training that diverged is a result: its run reached its end.
Where Ray is installed it runs them (`maro_lib.run.on_ray`), otherwise they run here, one after the other.

`python -m maro_lib sweep params/sweeps/beta.yaml` calls this.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from maro_lib.run.on_ray import Executor, has_ray, on_ray
from maro_lib.run.parameters import ParameterError
from maro_lib.run.prefixes import Branch
from maro_lib.run.remaining import Remaining
from maro_lib.run.series import INTERRUPTED, INTERRUPTION, Series, conclude, held, reading, run_stages, say
from maro_lib.run.sweep_file import Sweep, Trial, described, read_sweep
from maro_lib.run.takeover import check_source
from maro_lib.runs import EXPERIMENTS, ROOT, RunError, round_name, run_folder, shown, write_atomic
from maro_lib.summary import peek_summary
from maro_lib.wording import as_text, between, counted

if TYPE_CHECKING:
    from maro_lib.run.doctor import RunPace

ENDING = 120.0  # seconds in which the locks of a node that is lost are given up, also on a shared file system


def run_sweep(file: str, *, is_dry: bool = False, notebooks: str = "") -> int:
    """Run a sweep, or only say what it would run; return the exit code: 1 if a trial failed, 130 when interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sweep = read_sweep(Path(file), Path(notebooks or ROOT / "notebooks"))
        say(announcement(sweep))
        if is_dry:
            say(expected(sweep))
            return 0
        with held(sweep.name):
            failed = run_trials(sweep)
        folder = run_folder(sweep.name)
        say(f"\n{(folder / 'trials.txt').read_text(encoding='utf-8')}\nAll of it is in {shown(folder)}/trials.parquet")
        return int(bool(failed))
    except (ParameterError, RunError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTION}", file=sys.stderr)
        return 130


def announcement(sweep: Sweep) -> str:
    """Say what there is to run, and what is shared."""
    shared = [branch for branch in sweep.branches if not branch.is_trial]
    alone, n = sum(len(trial.series.steps) for trial in sweep.trials), sum(len(b.own) for b in sweep.branches)
    lines = [sweep.file.question, *([f"Predicted: {sweep.file.prediction}"] if sweep.file.prediction else [])]
    lines += [f"{described(sweep)} -> {shown(run_folder(sweep.name))}: {counted(n, 'stage')} to run"
              + (f" instead of {alone:,}, since trials share some" if n < alone else "")]  # fmt: skip
    lines += [f"  {b.name}: {' '.join(b.own)}, for {counted(len(b.trials), 'trial')}" for b in shared]
    return "\n".join(lines)


def expected(sweep: Sweep) -> str:
    """Say how long a sweep takes on this machine, from what the doctor measures for its first trial."""
    from maro_lib.run.doctor import measure_pace

    stages = {step.notebook.stem for trial in sweep.trials for step in trial.series.steps}
    is_known = sweep.notebooks[0].parent == ROOT / "notebooks" and not stages & {*EXPERIMENTS}
    pace = measure_pace(sweep.trials[0].series.values) if is_known else None
    if pace is None:
        return "How long that takes is not known: another series, an experiment, a server, or no model to ask."
    together = _total(_span(pace, sweep.series(branch), branch.own) for branch in sweep.branches)
    alone = _total(_span(pace, trial.series, [s.number for s in trial.series.steps]) for trial in sweep.trials)
    return f"About {between(*together)} on this machine, one after the other; {between(*alone)} if nothing was shared."


def _span(pace: RunPace, series: Series, numbers: Container[str]) -> tuple[float, float]:
    """Return the seconds of some stages of a series, from at least to at most."""
    spans = pace.spans(series.values)
    return _total(spans[step.notebook.stem] for step in series.steps if step.number in numbers)


def _total(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*spans, strict=True)
    return sum(lows), sum(highs)


def run_trials(sweep: Sweep) -> dict[str, str]:
    """Run all branches; return the trials that failed, with their errors."""
    failed: dict[str, str] = {}
    done: list[Branch] = []
    with on_ray(sweep, run_branch) if has_ray() else alone(sweep) as executor:
        say(f"{executor.name}\n")
        remaining = Remaining(sweep, executor.at_a_time)
        for branch, error in executor.outcomes:
            done.append(branch)
            failed |= {branch.name: error} if error else {}
            told = [f"failed: {error}" if error else "done", *remaining.after(branch)]
            say(f"== {len(done)}/{len(sweep.branches)} {branch.name}: {', '.join(told)}")
            write_results(sweep, done, failed)
    return {trial.name: failed[trial.name] for trial in sweep.trials if trial.name in failed}


@contextlib.contextmanager
def alone(sweep: Sweep) -> Iterator[Executor]:
    """Yield what runs a sweep where Ray is not installed."""
    yield Executor("One after the other (pip install -e '.[ray]' runs several at a time)", 1, in_turn(sweep))


def in_turn(sweep: Sweep) -> Iterator[tuple[Branch, str]]:
    """Run one branch after the other in this process; yield each with its error."""
    errors = {"": ""}
    for branch in sweep.branches:
        error = errors[branch.parent]
        if not error:
            say(f"== {branch.name}")
            error = run_branch(sweep.series(branch), branch)
            error = f"{branch.name}: {error}" if error and not branch.is_trial else error
        errors[branch.name] = error
        yield branch, error


def run_branch(series: Series, branch: Branch) -> str:
    """Run a branch, or what is left of it; return its error, or nothing."""
    try:
        check_source(series.run, series.source)
        with held(series.run, ENDING), reading(series.source):
            stop = run_stages(series, fresh=False)
            if stop and stop.error == INTERRUPTED:
                raise KeyboardInterrupt
            if branch.is_trial:
                conclude(series, stop)
    except (RunError, OSError) as error:
        return str(error)
    return f"{stop.error} ({stop.stage})" if stop else ""


# --- what came out -------------------------------------------------------------------------------------


def write_results(sweep: Sweep, tried: Iterable[Branch], failed: Mapping[str, str]) -> None:
    """Write the tables of what has come to its end so far, and the errors of what has not."""
    done = {branch.name for branch in tried} - failed.keys()
    table = results_table([trial for trial in sweep.trials if trial.name in done])
    folder = run_folder(sweep.name)
    if len(table):
        write_atomic(folder / "trials.parquet", table.to_parquet(index=False))
    write_atomic(folder / "trials.txt", results_text(sweep, table, failed))


def results_table(trials: Iterable[Trial]) -> pd.DataFrame:
    """Return a row per trial: what sets it apart, the seconds of its own stages, the headline numbers of all."""
    table = pd.DataFrame([_row(trial) for trial in trials])
    mixed = [name for name in table if table[name].map(type).nunique() > 1 and table[name].dtype == object]
    return table.assign(**{name: table[name].map(_as_words, na_action="ignore") for name in mixed})


def _row(trial: Trial) -> dict[str, Any]:
    row = {"trial": trial.name, "arm": trial.arm, "seed": trial.seed}
    row |= {name: _as_words(v) if isinstance(v, list | dict) else v for name, v in trial.varied.items()}
    records = [
        (step, peek_summary(round_name(trial.series.run, step.round)).stages[step.notebook.stem])
        for step in trial.series.steps
    ]
    row["seconds"] = round(sum(record.seconds for _, record in records if not record.taken_from), 1)
    return row | {f"{step.number} {name}": v for step, record in records for name, v in record.headline.items()}


def _as_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def results_text(sweep: Sweep, table: pd.DataFrame, failed: Mapping[str, str]) -> str:
    """Lay the table out to be read, with what differs between trials, and name what failed."""
    lines = [sweep.file.question, *([f"Predicted: {sweep.file.prediction}"] if sweep.file.prediction else [])]
    lines += [f"{len(table)} of {counted(len(sweep.trials), 'trial')} finished.", ""]
    if len(table):
        differing = [n for n in table if n in ("trial", "seconds") or (len(table) > 1 and table[n].nunique() > 1)]
        lines += [as_text(table[[n for n in differing if n not in ("arm", "seed", *sweep.file.grid)]], 3)]
    names = [trial.name for trial in sweep.trials if trial.name in failed]
    lines += ["", *(f"{name} failed: {failed[name]}" for name in names)] if names else []
    return "\n".join(lines) + "\n"
