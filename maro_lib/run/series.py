"""The whole series from one parameter file: each notebook run by papermill, in order, into outputs/<run>/.

This only arranges: what is computed stands in the notebooks, and `papermill NOTEBOOK OUT -f params/x.yaml`
by hand makes the same artefacts. A stage that nothing has changed for is skipped, the first failing stage
stops the series, and outputs/<run>/summary.json says after every stage what was run, on what, with what result.

With `maro_iterations` above 1 the notebooks of `ROUND` come again, each later round in a folder of its own, on other
games and with what the round before it learned; the notebooks after them come once, for what the last round learned:

    00 01 | 02 03 04 05 | round_2: 02 03 04 05 | round_3: 02 03 04 05 | 06 07

`make run` calls this; `make test` runs the same notebooks with nbval.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple

from maro_lib import fingerprints
from maro_lib.fingerprints import Fingerprint, output_digest
from maro_lib.model.players import SCRIPTED
from maro_lib.progress import WATCHED
from maro_lib.provenance import surroundings
from maro_lib.run.parameters import Parameter, ParameterError, declared, effective, load_params
from maro_lib.run.pulse import pulse
from maro_lib.run.quick import not_asked, quick_problems
from maro_lib.run.takeover import check_source, take_over, why_not
from maro_lib.runs import (
    EXPERIMENTS,
    GAMES,
    REPORT_PAGE,
    ROOT,
    ROUND,
    STAGES,
    WATCH_PAGE,
    RunError,
    artefact,
    clear_leftovers,
    finish_file,
    in_round,
    learned_adapter,
    located,
    make_folder,
    maker,
    needs,
    opposing,
    read_headline,
    round_name,
    round_of,
    run_folder,
    shown,
)
from maro_lib.summary import StageRecord, Stop, Summary, in_brief, peek_summary, read_summary, write_summary
from maro_lib.wording import counted, duration

BEFORE = "before"  # where a stage's old artefacts go when it starts anew
INTERRUPTED = "interrupted"
HELD_OPEN = "MARO_LOCK"  # in the environment: the number of the open file that locks the run's folder, for its kernels
KERNEL_ENDS = 3.0  # seconds in which the kernel of a process that was killed ends
REPORT = "from maro_lib.show.report import write_report"  # what decides how a report looks: all that this reaches
ROUNDS = "maro_iterations"  # how many rounds: decides which stages there are, never what one of them does
INTERRUPTION = ("Interrupted. What the finished stages made, and what the last one had saved, is kept; the same "
                "command goes on from there.")  # fmt: skip
SEED_STEP = 1000  # between the seeds of two rounds


class StageRun(NamedTuple):
    """A notebook, in one of the rounds."""

    notebook: Path
    round: int = 1

    @property
    def name(self) -> str:
        return in_round(self.round, self.notebook.stem)

    @property
    def number(self) -> str:
        """What ONLY and FROM call it: 02, or round_2/02."""
        return in_round(self.round, self.notebook.stem[:2])


@dataclass(frozen=True)
class Series:
    """The steps of one run and what they are run with."""

    run: str
    steps: tuple[StageRun, ...]  # those chosen, in order
    known: dict[str, Parameter]
    params: dict[str, Any]  # as the parameter file gives them
    params_file: Path
    part: str = ""  # ONLY=02,03 or FROM=03, where that was asked for
    not_asked: tuple[str, ...] = ()  # tasks that 07 will leave out, and why

    @property
    def values(self) -> dict[str, Any]:
        return effective(self.params, self.known)

    @property
    def source(self) -> str:
        """The run whose stages are taken over; empty: none."""
        return self.params.get("from_run", "")

    def in_round(self, k: int) -> Series:
        """Return the series as a round runs it: in its own folder, on other games, with what the last one learned."""
        if k == 1:
            return self
        adapter = run_folder(round_name(self.run, k - 1)) / "learning" / "adapter"  # need not be there yet
        own = {"run": round_name(self.run, k), "seed": self.values["seed"] + SEED_STEP * (k - 1)}
        own |= {"from_run": round_name(self.source, k)} if self.source else {}
        return replace(self, run=own["run"], params=self.params | own | {"adapter": shown(adapter)})

    def given(self, notebook: Path) -> dict[str, Any]:
        """Return what is set of the names that this notebook declares."""
        return {name: value for name, value in self.params.items() if notebook.stem in self.known[name].notebooks}

    def deciding(self, notebook: Path) -> dict[str, Any]:
        """Return the values that decide what a stage does; without an adapter the learner plays itself."""
        values = {k: self.values[k] for k in self.known if notebook.stem in self.known[k].notebooks and k != ROUNDS}
        plays_itself = "opponents" in values and not values.get("adapter")
        return values | ({"opponents": "self"} if plays_itself else {})

    def fingerprint(self, notebook: Path) -> Fingerprint:
        """Take a stage's fingerprint; a missing input is an error that says what makes it."""
        values = self.deciding(notebook)
        swept = [run_folder(sweep) / GAMES for sweep in values.get("sweeps", ())]
        return fingerprints.take(notebook, values, [*self._inputs(notebook), *self._adapters(values), *swept])

    def _inputs(self, notebook: Path) -> Iterator[Path]:
        """Find what a stage reads; the stages after the rounds read what the last round made."""
        stage = STAGES[notebook.stem]
        for name in stage.reads:
            is_after = notebook.stem not in ROUND and maker(name) in ROUND
            run = round_name(self.run, self.values.get(ROUNDS, 1)) if is_after else self.run
            if name not in stage.optional or (run_folder(run) / name).exists():
                yield needs(run, name)

    def _adapters(self, values: dict[str, Any]) -> list[Path]:
        """Find the adapters that a stage plays with or goes on from."""
        name, k = round_of(self.run)
        own = [learned_adapter(name, k - 1)] if k > 1 and "adapter" in values else []
        others = opposing(self.run, values["opponents"], values.get("adapter", "")) if "opponents" in values else ()
        return [*own, *(located(adapter) for adapter in others if adapter and adapter not in SCRIPTED)]


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


def plan(params: Path, only: str, start: str, folder: Path, changed: Sequence[str] = ()) -> Series:
    """Check everything that can be checked before a notebook runs."""
    notebooks = find_notebooks(folder.absolute())
    known = declared(notebooks)
    values = load_params(params, known, changed)
    series = arrange(values, notebooks, known, params, only, start)
    if "/" in series.run:
        raise RunError(f"{params}: run: {series.run!r} is what a sweep calls a trial; write a name without `/`")
    check_source(series.run, series.source)
    return series


def arrange(
    params: dict[str, Any], notebooks: list[Path], known: dict[str, Parameter], file: Path, only: str = "",
    start: str = "",
) -> Series:  # fmt: skip
    """Make a series of what is set, and check what can be checked without looking at any run."""
    everything = effective(params, known)
    check_rounds(everything, known)
    chosen = choose(notebooks, only, start, everything.get(ROUNDS, 1))
    stages = {step.notebook.stem for step in chosen}
    for stage in sorted(stages):
        if "run" not in known or stage not in known["run"].notebooks:
            raise RunError(f"{stage}: its parameter cell does not declare `run`, the name of the run's folder")
    part = f"ONLY={only}" if only else f"FROM={start}" if start else ""
    used = {name: value for name, value in everything.items() if stages & {*known[name].notebooks}}
    if problems := list(quick_problems(used)):
        raise RunError("\n".join(f"{file}: {problem}" for problem in problems))
    return Series(everything["run"], tuple(chosen), known, params, file, part, tuple(not_asked(used)))


def opening(series: Series) -> str:
    """Say in a line what is going to run, from which file, into which folder, and how long that takes."""
    what = f"{counted(len(series.steps), 'stage')} ({' '.join(step.number for step in series.steps)})"
    return f"{series.params_file} -> {shown(run_folder(series.run))}: {what}, {expected_time(series)}"


def expected_time(series: Series) -> str:
    """Say how long a series took here the last time, else what its parameter file says of the whole."""
    if seconds := last_seconds(series):
        return f"{duration(sum(seconds))} the last time"
    lines = series.params_file.read_text(encoding="utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    if takes := re.search(rf"{re.escape(series.part)}\b takes ([^.;]*)" if series.part else r"\bTakes ([^.;]*)", head):
        return takes[1]
    return f"how long is not known; `doctor {series.params_file}` estimates the games"


def last_seconds(series: Series) -> list[float]:
    """Return how long each step took on this machine the last time; nothing if one of them is not known."""
    with contextlib.suppress(RunError):  # a damaged summary is set aside later
        summaries = [peek_summary(round_name(series.run, step.round)) for step in series.steps]
        records = [s.stages.get(step.notebook.stem) for s, step in zip(summaries, series.steps, strict=True)]
        if all(r and r.status in ("ran", "skipped") for r in records) and summaries[0].host == surroundings()["host"]:
            return [record.seconds for record in records]
    return []


def check_rounds(values: dict[str, Any], known: dict[str, Parameter]) -> None:
    """Refuse what would go wrong in a later round only, hours from now."""
    name, k = round_of(values["run"]) if "run" in values else ("", 1)
    if k > 1:
        raise RunError(f"run: {values['run']!r} is round {k} of the run {name!r}, which plays its rounds itself: write "
                       f"`run: {name}` and `{ROUNDS}: {k}` or more")  # fmt: skip
    n = values.get(ROUNDS, 1)
    for name, notebook in (("seed", ROUND[0]), ("adapter", ROUND[0]), ("adapter", ROUND[-1])):
        if n > 1 and (name not in known or notebook not in known[name].notebooks):
            raise RunError(f"{ROUNDS}: {n}; for more than one round notebook {notebook} must be there, and declare "
                           f"`{name}`")  # fmt: skip


def find_notebooks(folder: Path) -> list[Path]:
    """Return a folder's numbered notebooks in order."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise RunError(f"{folder}: holds no notebook named like 01_environment.ipynb")
    for path in found:
        if path.stem not in STAGES:
            raise RunError(f"{path}: add {path.stem!r} to STAGES in maro_lib/runs.py, with what it reads and writes")
    return found


def in_order(notebooks: list[Path], n_rounds: int) -> list[StageRun]:
    """List what there is to run: all notebooks, those of later rounds right after those of the first."""
    again = [path for path in notebooks if path.stem in ROUND]
    later = [StageRun(path, k) for k in range(2, n_rounds + 1) for path in again]
    end = 1 + max((notebooks.index(path) for path in again), default=-1)
    return [*map(StageRun, notebooks[:end]), *later, *map(StageRun, notebooks[end:])]


def choose(notebooks: list[Path], only: str, start: str, n_rounds: int = 1) -> list[StageRun]:
    """Return the steps that ONLY=02,03 and FROM=03 leave.

    A number alone means round 1: ONLY=05 trains in that round only, FROM=05 goes on with all later rounds. A later
    round is named as it is shown: ONLY=round_2/05, FROM=round_2/02. Experiments run only when they are named.
    """
    steps = {step.number: step for step in in_order(notebooks, n_rounds)}
    numbers = list(steps)
    wanted = [_number(n) for n in only.split(",") if n.strip()]
    first = _number(start) if start.strip() else numbers[0]
    for number in (*wanted, first):
        if number not in steps:
            names = ", ".join(step.name for step in steps.values())
            hint = f" ({ROUNDS} is {n_rounds})" if "/" in number else ""
            raise RunError(f"there is no notebook {number!r} to run{hint}; there are: {names}")
    left_out = () if steps[first].notebook.stem in EXPERIMENTS else EXPERIMENTS
    after = numbers[numbers.index(first) :]
    chosen = [steps[n] for n in after if (n in wanted if wanted else steps[n].notebook.stem not in left_out)]
    if not chosen:
        raise RunError(f"ONLY={only} and FROM={start} leave nothing to run")
    return chosen


def _number(text: str) -> str:
    """Return a number as a step has it: 2 is 02, round_2/2 is round_2/02."""
    where, slash, number = text.strip().rpartition("/")
    return where + slash + number.zfill(2)


@contextlib.contextmanager
def held(run: str, patience: float = KERNEL_ENDS) -> Iterator[None]:
    """Keep a run's folder to this process and its kernels; the system lets go of it when all have ended, however."""
    folder = run_folder(run)
    make_folder(folder)
    with open(folder / ".lock", "a+") as file:
        if not _locked(file, patience):
            file.seek(0)
            raise RunError(f"{shown(folder)} is in use by {file.read().strip()}; wait until it ends, or stop it, "
                           "or give this run another name (`run:` in its parameter file)")  # fmt: skip
        file.truncate(0)
        file.write(f"process {os.getpid()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        with _told_to_kernels(file.fileno()):
            yield


def _locked(file: IO[str], patience: float) -> bool:
    """Lock a file, also one that is let go of within some seconds; say whether it worked."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)


@contextlib.contextmanager
def _told_to_kernels(lock: int) -> Iterator[None]:
    """Let kernels hold the innermost lock of this process too."""
    outer = os.environ.get(HELD_OPEN)
    os.environ[HELD_OPEN] = str(lock)
    try:
        yield
    finally:
        del os.environ[HELD_OPEN]
        os.environ |= {HELD_OPEN: outer} if outer else {}


@contextlib.contextmanager
def reading(run: str) -> Iterator[None]:
    """Keep a run from being run while another one takes its stages over; nothing of it is written."""
    lock = run_folder(run) / ".lock" if run else None
    if lock is None or not lock.exists():
        yield
        return
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"from_run: {shown(lock.parent)} is in use by {file.read().strip()}; wait until it ends, or "
                           "stop it") from None  # fmt: skip
        yield


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
