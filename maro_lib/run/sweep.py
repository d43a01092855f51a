"""A sweep: every trial of a file as a run of its own; what trials share is run once.

    outputs/<sweep>/<trial>/         a run like any other: its notebooks, its report
    outputs/<sweep>/shared-<...>/    stages that several trials share; trials take them over (`maro_lib.run.takeover`)
    outputs/<sweep>/sweep.html       the question, the answer, what failed, what it cost (`maro_lib.run.sweep_results`)
    outputs/<sweep>/results.parquet  a row per trial, trained faction and measure
    outputs/<sweep>/sweep.json       what there is to run and what ended (`maro_lib.run.sweep_record`), to be watched

A trial that fails is named, and the others go on; what had failed is tried again by the same command. A killed sweep
goes on where it was, since each of its runs does. A training that diverged is a result: its run reached its end.
Where Ray is installed it runs them (`maro_lib.run.on_ray`), otherwise they run here, one after the other.

`python -m maro_lib sweep params/sweeps/beta.yaml` calls this.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maro_lib.run.arrangement import Series
from maro_lib.run.locks import held, reading
from maro_lib.run.on_ray import Executor, has_ray, on_ray
from maro_lib.run.parameters import ParameterError
from maro_lib.run.prefixes import Branch
from maro_lib.run.remaining import left_in_words, seconds_left
from maro_lib.run.series import INTERRUPTED, INTERRUPTION, conclude, run_stages, say
from maro_lib.run.sweep_file import Sweep, described, keep, read_sweep
from maro_lib.run.sweep_record import begin_record, write_record
from maro_lib.run.sweep_results import Collected
from maro_lib.run.takeover import check_source
from maro_lib.runs import ROOT, RunError, run_folder, shown
from maro_lib.statistics import detectable_shift
from maro_lib.wording import between, counted

if TYPE_CHECKING:
    from maro_lib.run.doctor import RunPace

ENDING = 120.0  # seconds in which the locks of a node that is lost are given up, also on a shared file system


def run_sweep(file: str, *, is_dry: bool = False, is_to_keep: bool = False, notebooks: str = "") -> int:
    """Run a sweep, only say what it would run, or keep what it has left.

    Return the exit code: 1 if a trial failed, 130 when interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sweep = read_sweep(Path(file), Path(notebooks or ROOT / "notebooks"))
        if is_to_keep:
            say(keep(sweep))
            return 0
        say(announcement(sweep))
        if is_dry:
            say(expected(sweep))
            return 0
        with held(sweep.name):
            failed = run_trials(sweep)
        folder = run_folder(sweep.name)
        say(f"\n{(folder / 'sweep.txt').read_text(encoding='utf-8')}\nRead all of it in {shown(folder)}/sweep.html")
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
    there = {*sweep.kept["trial"]}
    alone = sum(len(trial.series.steps) for trial in sweep.trials if trial.name not in there)
    n = sum(len(b.own) for b in sweep.branches)
    lines = [sweep.file.question, *([f"Predicted: {sweep.file.prediction}"] if sweep.file.prediction else [])]
    lines += [f"{described(sweep)} -> {shown(run_folder(sweep.name))}: {counted(n, 'stage')} to run"
              + (f" instead of {alone:,}, since trials share some" if n < alone else "")]  # fmt: skip
    lines += [f"  {b.name}: {' '.join(b.own)}, for {counted(len(b.trials), 'trial')}" for b in shared]
    if n_kept := sweep.kept["trial"].nunique():
        lines.append(f"  {counted(n_kept, 'trial')} kept in {sweep.file.kept}: not run again")
    return "\n".join([*lines, *power(sweep)])


def power(sweep: Sweep) -> Iterator[str]:
    """Say, before anything runs, how small a difference the sweep could find, if its file says how far seeds differ."""
    n, spread = sweep.file.seeds, sweep.file.spread
    if n == 1:
        yield "One seed: what another seed would find can't be told from what differs between cells."
    elif spread:
        yield f"Found in 4 of 5 such sweeps: a difference between two cells of {detectable_shift(spread, n):.1f}, if " \
              f"it lies {spread:g} apart from seed to seed (SD), and it is the only one that is looked at"  # fmt: skip


def expected(sweep: Sweep) -> str:
    """Say how long a sweep takes on this machine, from what the doctor measures for its first trial."""
    from maro_lib.run.doctor import measure_pace
    from maro_lib.run.stages import TIMED

    stages = {step.notebook.stem for trial in sweep.trials for step in trial.series.steps}
    is_known = sweep.notebooks[0].parent == ROOT / "notebooks" and stages <= {*TIMED}
    pace = measure_pace(sweep.trials[0].series.values) if is_known else None
    if pace is None:
        return "How long that takes is not known: another series, an experiment, a server, or no model to ask."
    together = _total(_span(pace, sweep.series(branch), branch.own) for branch in sweep.branches)
    if not sweep.branches:
        return "Nothing is left to run: the rows of all trials are kept."
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
    collected = Collected(sweep)
    with on_ray(sweep, run_branch) if has_ray() else alone(sweep) as executor:
        say(f"{executor.name}\n")
        record = begin_record(sweep, executor.at_a_time)
        write_record(sweep.name, record)
        for branch, error in executor.outcomes:
            collected.add(branch, error)
            record.end(branch.name, error)
            write_record(sweep.name, record)
            told = [f"failed: {error}" if error else "done", *left_in_words(seconds_left(sweep.name, record))]
            say(f"== {len(collected.seconds)}/{len(sweep.branches)} {branch.name}: {', '.join(told)}")
    record.is_over = True
    write_record(sweep.name, record)
    return collected.failed


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
