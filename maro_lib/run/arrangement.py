"""What a run is to do: which notebooks, in which rounds, with what; and all that can be refused before one runs.

With `maro_iterations` above 1 the notebooks of `ROUND` come again, each later round in a folder of its own, on other
games and with what the round before it learned; the notebooks after them come once, for what the last round learned:

    00 01 | 02 03 04 05 | round_2: 02 03 04 05 | round_3: 02 03 04 05 | 06 07
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from maro_lib import fingerprints
from maro_lib.fingerprints import Fingerprint
from maro_lib.model.players import SCRIPTED
from maro_lib.provenance import surroundings
from maro_lib.run.parameters import Parameter, declared, effective, load_params
from maro_lib.run.quick import not_asked, quick_problems
from maro_lib.run.takeover import check_source
from maro_lib.runs import (
    EXPERIMENTS,
    GAMES,
    ROUND,
    STAGES,
    RunError,
    in_round,
    learned_adapter,
    located,
    maker,
    needs,
    opposing,
    round_name,
    round_of,
    run_folder,
    shown,
)
from maro_lib.summary import peek_summary
from maro_lib.wording import counted, duration

ROUNDS = "maro_iterations"  # how many rounds: decides which stages there are, never what one of them does
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
