"""A sweep's record, outputs/<sweep>/sweep.json: what there is to run, and what came to its end.

It is written when the sweep starts and whenever something ends, whole or not at all; so whoever looks on from another
process (`maro_lib.run.sweep_watch`) needs no more than the folder. What a branch's stages do stands in the summary of
its own folder. Written by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import BaseModel

from maro_lib.run.prefixes import Branch
from maro_lib.run.sweep_file import Sweep, described
from maro_lib.runs import RunError, make_folder, read_record, run_folder, write_atomic
from maro_lib.summary import StageRecord, Summary, peek_summary

STAGE_ENDED = ("ran", "skipped")  # of a stage


class BranchRecord(BaseModel):
    """A branch: a trial, or what several share."""

    name: str
    is_trial: bool
    stages: list[str]  # that it makes itself: 02_rollout, round_2/05_maro_training
    error: str | None = None  # None: it has not come to its end; empty: it has, and well


class SweepRecord(BaseModel):
    """outputs/<sweep>/sweep.json."""

    question: str
    trials: str  # how many there are, of what
    measures: list[str]  # that the question is about
    n_kept: int  # trials whose rows are kept, and which are not run
    at_a_time: int
    work: list[BranchRecord]
    is_over: bool = False  # the sweep reached its end

    def end(self, name: str, error: str) -> None:
        """Take note of a branch that ended."""
        next(work for work in self.work if work.name == name).error = error


def begin_record(sweep: Sweep, at_a_time: int) -> SweepRecord:
    """Return the record of a sweep of which nothing has run."""
    file, work = sweep.file, [_work(sweep, branch) for branch in sweep.branches]
    return SweepRecord(question=file.question, trials=described(sweep), measures=file.measures,
                       n_kept=sweep.kept["trial"].nunique(), at_a_time=at_a_time, work=work)  # fmt: skip


def _work(sweep: Sweep, branch: Branch) -> BranchRecord:
    stages = [step.name for step in sweep.series(branch).steps if step.number in branch.own]
    return BranchRecord(name=branch.name, is_trial=branch.is_trial, stages=stages)


def write_record(sweep: str, record: SweepRecord) -> None:
    """Write outputs/<sweep>/sweep.json."""
    make_folder(run_folder(sweep))
    write_atomic(record_path(sweep), record.model_dump_json(indent=1) + "\n")


def peek_record(sweep: str) -> SweepRecord:
    """Return a sweep's record, and change nothing."""
    mend = f"run the sweep: `python -m maro_lib sweep params/sweeps/{sweep}.yaml`"
    return read_record(record_path(sweep), SweepRecord, mend)


def record_path(sweep: str) -> Path:
    return run_folder(sweep) / "sweep.json"


def stages_of(sweep: str, work: BranchRecord) -> dict[str, StageRecord]:
    """Return what is known of a branch's own stages, of those that have begun."""
    summaries: dict[str, Summary] = {}
    found = {}
    for stage in work.stages:
        run, _, stem = f"{sweep}/{work.name}/{stage}".rpartition("/")
        if run not in summaries:
            with contextlib.suppress(RunError):  # damaged, or another's: as if nothing had begun
                summaries[run] = peek_summary(run)
        if run in summaries and (record := summaries[run].stages.get(stem)):
            found[stage] = record
    return found
