"""The whole series from one parameter file: each notebook run by papermill, in order, into outputs/<run>/.

This only arranges: what is computed stands in the notebooks, and `papermill NOTEBOOK OUT -f params/x.yaml`
by hand makes the same artefacts. A stage that nothing has changed for is skipped, the first failing stage
stops the series, and outputs/<run>/summary.json says after every stage what was run, on what, with what result.

What there is to run stands in `arrangement`. `make run` calls this; `make test` runs the same notebooks by nbval.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from maro_lib import fingerprints
from maro_lib.fingerprints import Fingerprint, output_digest
from maro_lib.progress import WATCHED
from maro_lib.provenance import surroundings
from maro_lib.run.arrangement import ROUNDS, Series, StageRun, last_seconds, opening, plan
from maro_lib.run.locks import held, reading
from maro_lib.run.parameters import ParameterError
from maro_lib.run.pulse import pulse
from maro_lib.run.takeover import take_over, why_not
from maro_lib.runs import (
    REPORT_PAGE,
    ROOT,
    STAGES,
    WATCH_PAGE,
    RunError,
    artefact,
    clear_leftovers,
    finish_file,
    in_round,
    make_folder,
    read_headline,
    round_name,
    round_of,
    run_folder,
    shown,
)
from maro_lib.summary import StageRecord, Stop, Summary, in_brief, read_summary, write_summary

BEFORE = "before"  # where a stage's old artefacts go when it starts anew
INTERRUPTED = "interrupted"
REPORT = "from maro_lib.show.report import write_report"  # what decides how a report looks: all that this reaches
INTERRUPTION = ("Interrupted. What the finished stages made, and what the last one had saved, is kept; the same "
                "command goes on from there.")  # fmt: skip


def run_series(
    params: str, only: str = "", start: str = "", fresh: bool = False, notebooks: str = "", changed: Sequence[str] = ()
) -> int:
    """Run a series and return the exit code: 0, 1 for an error, 130 when interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a batch system's stop is a Ctrl-C too
    try:
        series = plan(Path(params), only, start, Path(notebooks or ROOT / "notebooks"), changed)
        say(opening(series))
        for sentence in series.not_asked:
            say(sentence)
        with held(series.run), reading(series.source):
            stop = run_stages(series, fresh)
            if stop:  # said at once: the report takes some seconds
                print(f"\n{INTERRUPTION if stop.error == INTERRUPTED else stop}", file=sys.stderr, flush=True)
            page = conclude(series, stop)
        if stop:
            print(f"The report says so too: {shown(page)}", file=sys.stderr)
        return 0 if stop is None else 130 if stop.error == INTERRUPTED else 1
    except (ParameterError, RunError, OSError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        print(f"\n{told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTION}", file=sys.stderr)
        return 130


def run_stages(series: Series, fresh: bool) -> Stop | None:
    """Run or skip each stage in turn, until one stops: then say where and why."""
    summaries: dict[int, Summary] = {}
    seconds = last_seconds(series)
    for i, step in enumerate(series.steps, 1):
        part = series.in_round(step.round)
        try:
            if step.round not in summaries:
                summaries[step.round] = open_summary(part)
            label = f"[{i}/{len(series.steps)}] {step.name}"
            with pulse(part.run, label, sum(seconds[i - 1 :])):
                stop = run_or_skip(part, step, label, summaries[step.round], fresh)
            if stop:
                return stop.model_copy(update={"stage": step.name})
        except (RunError, OSError) as error:
            return Stop(error=str(error), stage=step.name)
        except KeyboardInterrupt:
            return Stop(error=INTERRUPTED, stage=step.name)
    say(results(series, summaries))
    return None


def conclude(series: Series, stop: Stop | None) -> Path:
    """Write the report, also of a run that stopped; one that would say the same again is left as it is."""
    n_rounds = series.values.get(ROUNDS, 1)
    page = run_folder(series.run) / REPORT_PAGE
    summary = read_summary(series.run)[0].model_copy(update={"stopped": stop})
    made_of = report_digest([summary, *(read_summary(round_name(series.run, k))[0] for k in range(2, n_rounds + 1))])
    if summary.report_of != made_of or not page.exists():
        _take_pages_away(series.run)
        write_summary(summary)
        _write_pages(series.run, n_rounds)
        summary = read_summary(series.run)[0].model_copy(update={"report_of": made_of})
    write_summary(summary)
    if stop is None:
        say(f"\n{' '.join(in_brief(summary))}\nRead all of it in {shown(page)}")
    return page


def _write_pages(run: str, n_rounds: int) -> None:
    """Write the page on which games are watched, if there are any, then the report, which leads to it."""
    from maro_lib.show.game_sets import set_places
    from maro_lib.show.report import write_report  # it loads torch
    from maro_lib.show.watch import said_of, write_watch

    try:
        if set_places(run):
            say(f"\nIts games, to be watched: {said_of(write_watch(run))}")
    except Exception as error:  # what is damaged on disk may cost this page, never the report of a long run
        say(f"\nIts games can't be watched: {type(error).__name__}: {error}")
    write_report(run, n_rounds)


def _take_pages_away(run: str) -> None:
    """Remove what tells of the time before."""
    for page in (REPORT_PAGE, WATCH_PAGE):
        (run_folder(run) / page).unlink(missing_ok=True)


def report_digest(summaries: Sequence[Summary]) -> str:
    """Hash what a report is made from: what the stages made and said, the parameters, and the code that writes it."""
    told = [
        (s.parameters, s.stopped, [(name, r.headline, r.outputs, r.seconds, r.error) for name, r in s.stages.items()])
        for s in summaries
    ]
    return fingerprints.text_digest([*map(repr, told), fingerprints.library_digest([REPORT])])


def run_or_skip(series: Series, step: StageRun, label: str, summary: Summary, fresh: bool) -> Stop | None:
    """Run a stage if anything has changed for it; say where and why it stopped, if it did."""
    notebook = step.notebook
    fingerprint = series.fingerprint(notebook)
    old = summary.stages.get(notebook.stem)
    why = reasons(series.run, old, fingerprint) if old else []
    if not fresh and old and not why:
        say(f"{label}: skipped, nothing has changed since it ran")
        summary.stages[notebook.stem] = old.model_copy(update={"status": "skipped"})
        write_summary(summary)
        return None
    if series.source and not fresh:
        if not (differ := why_not(series.source, series.run, notebook.stem, fingerprint)):
            return take_stage(series, notebook, label, summary, fingerprint)
        why = [*why, f"not taken over from {series.source}: {'; '.join(differ)}"]
    say(f"{label}: running" + (f" ({'; '.join(why)})" if why and not fresh else ""))
    _take_pages_away(round_of(series.run)[0])
    kept = kept_by(old.fingerprint, fingerprint, notebook.stem) if old and not fresh else ()
    prepare(series.run, notebook.stem, kept)
    spent = old.seconds if old and kept and old.status in ("running", "failed") else 0.0
    if not (stop := run_stage(series, notebook, summary, fingerprint, spent)):
        say(f"{label}: done in {summary.stages[notebook.stem].seconds:.1f} s")
    return stop


def take_stage(series: Series, notebook: Path, label: str, summary: Summary, fingerprint: Fingerprint) -> None:
    """Take a stage over from another run, and record it as done."""
    prepare(series.run, notebook.stem, kept=())
    record = take_over(series.source, series.run, notebook.stem)
    summary.stages[notebook.stem] = record.model_copy(update={"fingerprint": fingerprint})
    write_summary(summary)
    say(f"{label}: taken over from {record.taken_from}")


def open_summary(series: Series) -> Summary:
    """Return the run's summary, with what this run is run with."""
    make_folder(run_folder(series.run))
    clear_leftovers(run_folder(series.run))
    summary, aside = read_summary(series.run)
    if aside:
        say(f"outputs/{series.run}/summary.json is damaged; kept as {shown(aside)}, and the stages run again")
    changed = {"params_file": series.params_file.name, "parameters": series.values, **surroundings()}
    return summary.model_copy(update=changed)


def reasons(run: str, old: StageRecord, new: Fingerprint) -> list[str]:
    """Say why a stage has to run again; nothing when it has not."""
    if old.status in ("running", "failed"):
        return ["it did not end the last time"]
    if parts := fingerprints.changed_parts(old.fingerprint, new):
        return [f"changed: {', '.join(parts)}"]
    gone = [name for name, was in old.outputs.items() if output_digest(run, name) != was]
    gone += [old.notebook] if not (run_folder(run) / old.notebook).exists() else []
    if gone:
        return [f"not as it left it: {', '.join(gone)}"]
    return []


def kept_by(old: Fingerprint, new: Fingerprint, stage: str) -> tuple[str, ...]:
    """Name the artefacts that a stage goes on from: a question more must not cost a training that stays the same."""
    if old.is_same_work(new):
        return STAGES[stage].writes
    return STAGES[stage].labelled if old.is_same_code(new) else ()


def prepare(run: str, stage: str, kept: Collection[str]) -> None:
    """Take away the proof that the stage ended and its old artefacts, but those that it goes on from."""
    finish_file(run, stage).unlink(missing_ok=True)
    for name in STAGES[stage].writes:
        if name not in kept and (path := artefact(run, name)).exists():
            target = run_folder(run) / BEFORE / name
            make_folder(target.parent)
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            path.rename(target)
            say(f"      the old {shown(path)} is kept as {shown(target)}")


def run_stage(series: Series, notebook: Path, summary: Summary, fingerprint: Fingerprint, spent: float) -> Stop | None:
    """Run one notebook and record how it went, also when it is interrupted; `spent`: on what it goes on from."""
    record = StageRecord(status="running", fingerprint=fingerprint, notebook=notebook.name)
    summary.stages[notebook.stem] = record
    write_summary(summary)
    started, stop = time.monotonic(), Stop(error=INTERRUPTED)
    try:
        stop = execute(notebook, run_folder(series.run) / notebook.name, series.given(notebook), series.run)
    finally:
        record.seconds = round(spent + time.monotonic() - started, 1)
        record.status, record.error = ("failed", stop.error) if stop else ("ran", "")
        if not stop:
            record.headline = read_headline(series.run, notebook.stem)
            names = (*STAGES[notebook.stem].writes, f"{notebook.stem}.json")
            record.outputs = {name: output_digest(series.run, name) for name in names}
        write_summary(summary)
    return stop


def execute(notebook: Path, target: Path, parameters: dict[str, Any], run: str) -> Stop | None:
    """Let papermill run a notebook where JupyterLab and nbval run it: in its own folder."""
    sys.modules.setdefault("rfc3987_syntax", None)  # of jsonschema: a grammar of seconds, for what notebooks don't hold
    import papermill  # slow to import, and a series that skips every stage need not wait for it
    from nbclient.exceptions import DeadKernelError

    from maro_lib.run.kernels import LockingKernel

    for name in ("asyncio", "papermill"):  # what they would say of a dead kernel is said below, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not the user's other one
    quiet = ["--IPKernelApp.log_level=CRITICAL"]  # a kernel that is stopped would complain about being stopped
    options = {"kernel_name": "python3", "cwd": notebook.parent, "extra_arguments": quiet, "coalesce_streams": True}
    options |= {"kernel_manager_class": LockingKernel}
    if watched := sys.stderr.isatty():  # then also a long cell's own bar, by way of the notebook's stderr
        options["stderr_file"] = sys.stderr
        os.environ[WATCHED] = "1"
    try:
        papermill.execute_notebook(notebook, target, parameters, progress_bar=watched, **options)
    except papermill.PapermillExecutionError as error:
        return Stop(error=f"{error.ename}: {error.evalue}", notebook=shown(target), cell=error.exec_count or 0)
    except Exception as error:  # a dead kernel, a time-out, a full disk: each has its own type somewhere below
        hint = " (out of memory, most often)" if isinstance(error, DeadKernelError) else ""
        return Stop(error=f"{type(error).__name__}: {error}{hint}", notebook=shown(target), cell=_last_started(target))
    if not finish_file(run, notebook.stem).exists():
        missing = f"it ended without calling `finish(run, {notebook.stem!r}, headline)` for run {run!r}"
        return Stop(error=missing, notebook=shown(target))
    return None


def _last_started(target: Path) -> int:
    """Find the cell that was running when the kernel went away; papermill calls all of them `completed`."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        cells = [c for c in json.loads(target.read_bytes())["cells"] if c["cell_type"] == "code"]
        return max((i for i, c in enumerate(cells, 1) if c["metadata"]["papermill"].get("start_time")), default=0)
    return 0


def say(text: str) -> None:
    print(text, flush=True)  # at once, also into a log file


def results(series: Series, summaries: dict[int, Summary]) -> str:
    """Return the headline numbers of all rounds as a table, and where everything lies."""
    rows = [("stage", "seconds", "headline", "")]
    made = []
    for step in series.steps:
        stage = step.notebook.stem
        record = summaries[step.round].stages[stage]
        numbers = [(key, _short(value)) for key, value in record.headline.items()] or [("", "")]
        where = f" (of {record.taken_from})" if record.taken_from else " (earlier)"
        seconds = f"{record.seconds:.1f}" + (where if record.status == "skipped" else "")
        rows += [(step.name, seconds, *numbers[0]), *(("", "", *n) for n in numbers[1:])]
        paths = [run_folder(series.run) / in_round(step.round, n) for n in (record.notebook, *STAGES[stage].writes)]
        made += [shown(path) for path in paths if path.exists()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    made += [shown(run_folder(series.run) / in_round(k, "summary.json")) for k in summaries]
    return "\n".join(["", *lines, "", "Made:", *(f"  {path}" for path in made)])


def _short(value: Any) -> str:
    return f"{value:z.4g}" if isinstance(value, float) else "n/a" if value is None else str(value)
