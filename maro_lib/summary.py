"""A run's record, outputs/<run>/summary.json: what was run, with what, where, and with what result.

It is written after every stage, and before it too, so that a run that was killed still says how far it came.
Where it lies decides whose it is: the record in a copied folder belongs to the copy.

Written by the series runner (`maro_lib.run.series`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from maro_lib.fingerprints import Fingerprint
from maro_lib.runs import RunError, read_record, run_folder, shown, write_atomic


class StageRecord(BaseModel):
    """What the summary says of one stage; seconds, headline and outputs are of the time it last ran."""

    status: Literal["running", "ran", "skipped", "failed"]
    fingerprint: Fingerprint
    notebook: str
    seconds: float = 0.0
    headline: dict[str, str | int | float | bool | None] = {}
    outputs: dict[str, str] = {}  # artefact -> hash of what it holds
    error: str = ""
    taken_from: str = ""  # the run whose artefacts these are


class Stop(BaseModel):
    """Where and why a series stopped before its end."""

    error: str
    stage: str = ""  # 05_maro_training, or round_2/03_decomposition
    notebook: str = ""  # outputs/<run>/05_maro_training.ipynb: everything that the stage printed
    cell: int = 0  # its number there, `In [cell]`; 0 when no cell is to blame

    def __str__(self) -> str:
        cell = f", cell In [{self.cell}]" if self.cell else ""
        return f"{self.error}\n{self.stage} stopped" + (f" in {self.notebook}{cell}" if self.notebook else "")


class Summary(BaseModel):
    """outputs/<run>/summary.json."""

    run: str
    params_file: str = ""
    parameters: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: dict[str, str | bool] = {}
    host: dict[str, str | int | None] = {}
    stages: dict[str, StageRecord] = {}
    stopped: Stop | None = None  # None: the series reached its end
    report: dict[str, Any] = {}  # every number of report.html, by its part
    report_of: str = ""  # hash of what report.html was made from


def read_summary(run: str) -> tuple[Summary, Path | None]:
    """Return a run's summary (a new one if there is none), and where a damaged one was put."""
    try:
        return peek_summary(run), None
    except RunError:
        path = run_folder(run) / "summary.json"
        return Summary(run=run), path.replace(path.with_name("summary.damaged.json"))


def peek_summary(run: str) -> Summary:
    """Return a run's summary, and change nothing; a damaged one is an error."""
    path = run_folder(run) / "summary.json"
    found = read_record(path, Summary) if path.exists() else Summary(run=run)
    if found.stopped and found.stopped.notebook:
        found.stopped.notebook = shown(run_folder(run) / f"{found.stopped.stage}.ipynb")
    return found.model_copy(update={"run": run})


def write_summary(summary: Summary) -> None:
    """Write outputs/<run>/summary.json."""
    write_atomic(run_folder(summary.run) / "summary.json", summary.model_dump_json(indent=1) + "\n")


def in_brief(summary: Summary) -> list[str]:
    """The question, and the sentences that a report answers it with, if it has any."""
    found = (summary.report or {}).get("answer") or {}
    return [found["question"], *found["answer"]] if "answer" in found else []
