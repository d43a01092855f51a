"""A run's record, outputs/<run>/summary.json: what was run, with what, where, and with what result.

It is written after every stage, and before it too, so that a run that was killed still says how far it came.
Nothing in it says who ran it: no user, host name or path.

Written by the series runner (`maro_lib.run.series`).
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from maro_lib.fingerprints import Fingerprint, versions
from maro_lib.runs import ROOT, run_folder, write_atomic


class Record(BaseModel):
    """What the summary says of one stage; seconds, headline and outputs are of the time it last ran."""

    status: Literal["running", "ran", "skipped", "failed"]
    fingerprint: Fingerprint
    notebook: str
    seconds: float = 0.0
    headline: dict[str, str | int | float | bool | None] = {}
    outputs: dict[str, str] = {}  # artefact -> hash of what it holds
    error: str = ""


class Summary(BaseModel):
    """outputs/<run>/summary.json."""

    run: str
    params_file: str = ""
    parameters: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: dict[str, str | bool] = {}
    host: dict[str, str | int | None] = {}
    stages: dict[str, Record] = {}
    report: dict[str, Any] = {}  # every number of report.html, by its part


def read_summary(run: str) -> tuple[Summary, Path | None]:
    """Return a run's summary (a new one if there is none), and where a damaged one was put."""
    path = run_folder(run) / "summary.json"
    if not path.exists():
        return Summary(run=run), None
    try:
        return Summary.model_validate_json(path.read_bytes()), None
    except ValidationError:
        return Summary(run=run), path.replace(path.with_name("summary.damaged.json"))


def save(summary: Summary) -> None:
    """Write outputs/<run>/summary.json."""
    write_atomic(run_folder(summary.run) / "summary.json", summary.model_dump_json(indent=1) + "\n")


def surroundings() -> dict[str, Any]:
    """Return the summary's fields on where it is run: versions, commit and machine."""
    host = {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()}
    return {"versions": versions(), "git": git_state(), "host": host}


def git_state() -> dict[str, str | bool]:
    """Return the checkout's commit, and whether anything was changed since."""
    try:
        commit, status = (_git("rev-parse", "HEAD"), _git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": "unknown"}
    return {"commit": commit, "dirty": bool(status)}


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()
