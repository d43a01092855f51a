"""Stages taken over from another run (`from_run: cpu`), which is read and never written.

A stage is taken over when running it would make the same once more: the rule by which a run skips a stage of its own,
with the other run's record in the place of its own. Any other stage is played anew, in this run's folder, with a
sentence that says what differs. The artefacts that are taken over are links into the other run's folder; whoever writes
an artefact lets go of the link first (`maro_lib.runs.artefact`). The executed notebook and the headline are copied,
since a notebook may be opened and saved.

Used by the series runner (`maro_lib.run.series`) and by sweeps, whose trials go on from what they share.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from maro_lib.fingerprints import Fingerprint, changed_parts, output_digest
from maro_lib.runs import RunError, artefact, finish_file, outputs_folder, round_of, run_folder, shown
from maro_lib.summary import StageRecord, peek_summary
from maro_lib.wording import nearest


def check_source(run: str, source: str) -> None:
    """Refuse a `from_run` that names no other run."""
    if not source:
        return
    if source == run:
        raise RunError(f"from_run: {source!r} is the run itself; name another one, or leave `from_run` out")
    if not (path := run_folder(source) / "summary.json").exists():
        runs = [p.parent.name for p in outputs_folder().glob("*/summary.json")]
        raise RunError(f"from_run: {shown(path)} is missing, so there is no run {source!r} yet{nearest(source, runs)}")


def why_not(source: str, run: str, stage: str, fingerprint: Fingerprint) -> list[str]:
    """Say why a stage can't be taken over from another run; nothing when it can."""
    record = peek_summary(source).stages.get(stage)
    if record is None or record.status not in ("ran", "skipped"):
        return ["not finished there"]
    own = ("run", "adapter") if round_of(run)[1] > 1 else ("run",)  # a round's adapter is compared as an input
    if parts := changed_parts(record.fingerprint.without(*own), fingerprint.without(*own)):
        return [f"differs in {', '.join(parts)}"]
    gone = [name for name, was in record.outputs.items() if output_digest(source, name) != was]
    return [f"not as it left it: {', '.join(gone)}"] if gone else []


def take_over(source: str, run: str, stage: str) -> StageRecord:
    """Link a stage's artefacts, copy its notebook and its headline; return its record."""
    record = peek_summary(source).stages[stage]
    for name in record.outputs:
        if name != f"{stage}.json" and (there := run_folder(source) / name).exists():
            link(artefact(run, name), there)
    for path in (run_folder(source) / record.notebook, finish_file(source, stage)):
        shutil.copyfile(path, run_folder(run) / path.name)  # the headline last: it says that all is there
    return record.model_copy(update={"status": "skipped", "taken_from": record.taken_from or source})


def link(path: Path, there: Path) -> None:
    """Link to where something really lies, as seen from the link: folders that are moved together stay linked."""
    path.symlink_to(os.path.relpath(there.resolve(), path.parent.resolve()))
