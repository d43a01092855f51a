"""Looking on while a sweep runs: what is done, what runs, what failed, how long it still takes, and the answer so far.

    from maro_lib.run import watch_sweep
    watch_sweep("balancing")      in a cell: a table that is drawn anew under it, until the sweep ends or is stopped

Only files of outputs/<sweep>/ are read, which another process writes, each of them whole; nothing is written. Whether
a branch runs is told by the lock of its folder, so that a sweep that was killed is seen to stand still.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import pandas as pd

from maro_lib.markup import Html, Shown, card, fold, join, tag
from maro_lib.progress import Place, in_view
from maro_lib.run.pulse import how_far
from maro_lib.run.remaining import left_in_words, seconds_left
from maro_lib.run.sweep_record import STAGE_ENDED, BranchRecord, SweepRecord, peek_record, record_path, stages_of
from maro_lib.runs import RESULTS, run_folder
from maro_lib.wording import counted, duration

RUNNING, FAILED, DONE, WAITING = STATES = ("running", "failed", "done", "waiting")


class BranchState(NamedTuple):
    """A trial, or what several share, as it stands."""

    name: str
    is_trial: bool
    state: str  # of STATES
    about: str  # the stage that it is at, its error, or how long it took
    spent: float = 0.0  # seconds of the stage that it is at


class SweepState(NamedTuple):
    """A sweep as it stands."""

    record: SweepRecord
    is_alive: bool  # a process runs it
    branches: list[BranchState]
    left: float | None  # seconds; None: not known
    answer: list[str]

    def named(self, state: str) -> list[BranchState]:
        """Return the branches in one state."""
        return [branch for branch in self.branches if branch.state == state]

    def n_trials(self, state: str) -> int:
        """Count the trials in one state; those whose rows are kept are done."""
        return sum(b.is_trial for b in self.named(state)) + (self.record.n_kept if state == DONE else 0)


def watch_sweep(sweep: str, every: float = 5.0) -> Shown:
    """Show how far a sweep is until it ends or is stopped; return what is to be seen then.

    In a notebook it is drawn anew under the cell, elsewhere a line is printed whenever something ended or began.
    """
    place, said = Place() if in_view() else None, ""
    while (state := sweep_state(sweep)).is_alive:
        counts = in_counts(state)
        if place:
            place.show(shown_state(state))
        elif counts != said:
            print(in_line(state), flush=True)
        said = counts
        time.sleep(every)
    if place:
        place.show("")
    return shown_state(state)


def sweep_state(sweep: str) -> SweepState:
    """Read how a sweep stands from its folder."""
    is_alive = is_held(sweep)  # first: what ends in between has written its last record before it lets go
    record = _record(sweep, is_alive)
    branches = [_branch(sweep, work) for work in record.work]
    left = seconds_left(sweep, record, {b.name: b.spent for b in branches})
    return SweepState(record, is_alive, branches, left, _answer(sweep, record))


def is_held(run: str) -> bool:
    """Whether a process runs in a run's folder."""
    with suppress(FileNotFoundError), open(run_folder(run) / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of at once: whoever starts waits for a moment
        except BlockingIOError:
            return True
    return False


def _record(sweep: str, is_alive: bool) -> SweepRecord:
    """Return the record; of a sweep that has started and not yet written one, an empty one."""
    if is_alive and not record_path(sweep).exists():
        return SweepRecord(question=f"{sweep} is being made ready", trials="", measures=[], n_kept=0, at_a_time=1,
                           work=[])  # fmt: skip
    return peek_record(sweep)


def _branch(sweep: str, work: BranchRecord) -> BranchState:
    stages = stages_of(sweep, work)
    if work.error is None and is_held(run := f"{sweep}/{work.name}"):
        return _at_work(run, work, [name for name, stage in stages.items() if stage.status == "running"])
    if work.error is None:
        n = sum(stage.status in STAGE_ENDED for stage in stages.values())
        return BranchState(work.name, work.is_trial, WAITING, f"{n} of {counted(len(work.stages), 'stage')}")
    took = duration(sum(stage.seconds for stage in stages.values() if not stage.taken_from))
    return BranchState(work.name, work.is_trial, FAILED if work.error else DONE, work.error or took)


def _at_work(run: str, work: BranchRecord, stages: Sequence[str]) -> BranchState:
    """Say how far a branch is that runs; between two stages it is at none."""
    if not stages:
        return BranchState(work.name, work.is_trial, RUNNING, "")
    name = stages[-1]
    place = f"{run}/{name}".rpartition("/")[0]
    with suppress(FileNotFoundError):
        began = (run_folder(place) / "summary.json").stat().st_mtime  # written when a stage begins
        return BranchState(work.name, work.is_trial, RUNNING, f"{name}: {how_far(place, began, 0.0)}",
                           time.time() - began)  # fmt: skip
    return BranchState(work.name, work.is_trial, RUNNING, name)


def _answer(sweep: str, record: SweepRecord) -> list[str]:
    """Return what the finished trials say so far."""
    from maro_lib.study.effects import conclusion

    with suppress(FileNotFoundError):
        return conclusion(pd.read_parquet(run_folder(sweep) / RESULTS), record.measures)
    return ["Not known yet: no trial has finished."]


# --- in words --------------------------------------------------------------------------------------------


def in_counts(state: SweepState) -> str:
    """Say how many trials are in which state: 3 trials done, 1 running, 0 failed, 2 waiting."""
    done = counted(state.n_trials(DONE), "trial")
    return ", ".join([f"{done} done", *(f"{state.n_trials(s)} {s}" for s in (RUNNING, FAILED, WAITING))])


def in_line(state: SweepState) -> str:
    """Say in a line how a sweep stands."""
    if state.record.is_over and not state.is_alive:
        return f"{in_counts(state)}: it is over"
    left = [] if state.record.is_over else left_in_words(state.left)
    stopped = [] if state.is_alive else ["stopped; the same command goes on"]
    return "; ".join([in_counts(state), *left, *stopped])


def shown_state(state: SweepState) -> Shown:
    """Return a sweep's state, to be looked at in a notebook."""
    answer, *lines = state.answer
    about = tag("div", "; ".join(filter(None, [in_line(state), state.record.trials])), style="opacity:0.75")
    found = tag("div", f"So far: {answer}" if not state.record.is_over else answer, style="margin:8px 0")
    html = card(tag("b", state.record.question), about, found, *(tag("div", line) for line in lines), *_tables(state))
    return Shown(f"{in_line(state)}. {' '.join(state.answer)}", html)


def _tables(state: SweepState) -> Iterator[Html]:
    """What runs and what failed in sight, the others folded away."""
    for name in STATES:
        if branches := state.named(name):
            rows = [tag("tr", *(tag("td", x, style=_CELL) for x in (b.name, b.about))) for b in branches]
            yield fold(f"{len(rows)} {name}", tag("table", *rows), is_open=name in (RUNNING, FAILED))
    if state.record.n_kept:
        yield join(f"{counted(state.record.n_kept, 'trial')} kept, not run again")


_CELL = "text-align:left;vertical-align:top;overflow-wrap:anywhere;padding:2px 12px 2px 0"
