"""A sweep's file: a question, and the runs that answer it, as one base with a grid, arms and seeds.

    question: Which beta wins?
    prediction: 1, as in the paper
    of: params/cpu.yaml       a parameter file; `values` change it, or stand alone
    grid: {beta: [0.5, 1.0, 2.0]}
    arms: {with anchor: {}, no anchor: {anchor: 0.0}}
    seeds: 3                  each arm with each value of the grid, on the base's seed and the two after it
    only: 02,03,04,05,06      the stages, as ONLY names them; empty: all but the experiments
    measures: [games won]     what the question is about: of notebook 06, or a headline's (05 margin)
    map: true                 the page begins with where it learns, does nothing, collapses: each arm changes one thing
    spread: 6.0               how far a difference between two cells is expected to lie apart from seed to seed (SD)
    like: [balancing]         other sweeps, whose finished stages are taken over where they are the same
    kept: x.parquet           rows of trials that were finished elsewhere or before (`--keep`), and are not run again
    cpus: 2                   of a trial, with `gpus`, for Ray to find a place for it

Everything that is wrong is said before anything runs: keys, names, types, ranges, what does not go together, what would
change nothing. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maro_lib.fingerprints import text_digest
from maro_lib.run.arrangement import ROUNDS, Series, StageRun, arrange, find_notebooks
from maro_lib.run.parameters import (
    OF_THE_SERIES,
    Parameter,
    ParameterError,
    declared,
    effective,
    load_params,
    problems_of,
)
from maro_lib.run.parameters import read_entries as read_mapping
from maro_lib.run.prefixes import Asked, Branch, Chain, branches
from maro_lib.run.sweep_kept import keep_rows, read_kept
from maro_lib.run.takeover import why_not
from maro_lib.runs import RESULTS, ROUND, RunError, in_round, located, run_folder
from maro_lib.wording import counted, nearest

DECIDED = ("run", *OF_THE_SERIES)  # decided by the sweep
LONGEST_NAME = 80  # characters of a trial's name


class SweepFile(BaseModel):
    """What a sweep's file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str = Field(min_length=1)
    prediction: str = ""
    of: str = ""
    values: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    arms: dict[str, dict[str, Any]] = {}
    seeds: int = Field(default=1, ge=1, le=1000)
    only: str = ""
    measures: list[str] = Field(default=["games won"], min_length=1)
    map: bool = False
    spread: float | None = Field(default=None, gt=0)
    like: list[str] = []
    kept: str = ""
    cpus: float = Field(default=1, gt=0, le=10_000)
    gpus: float = Field(default=0, ge=0, le=10_000)


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, and what sets it apart."""

    name: str
    arm: str
    varied: dict[str, Any]  # its values of the grid
    seed: int | None  # None: no stage of it has one
    series: Series


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file asks for."""

    name: str
    file: SweepFile
    trials: tuple[Trial, ...]
    branches: tuple[Branch, ...]
    notebooks: tuple[Path, ...]
    kept: pd.DataFrame  # rows of trials that are not run again

    def series(self, branch: Branch) -> Series:
        """Return the series of a branch: its stages, in its own folder, going on from its parent, or a run like it."""
        whole = next(trial.series for trial in self.trials if trial.name == branch.trials[0])
        run = f"{self.name}/{branch.name}"
        steps = tuple(step for step in whole.steps if step.number in branch.stages)
        alone = replace(whole, run=run, params=whole.params | {"run": run}, steps=steps)
        source = f"{self.name}/{branch.parent}" if branch.parent else self._run_like(alone)
        return replace(alone, params=alone.params | {"from_run": source}) if source else alone

    def _run_like(self, series: Series) -> str:
        """Return a run of another sweep that has finished the first stage just as this series would; else nothing."""
        first = series.steps[0].notebook
        runs = [f"{sweep}/{p.parent.name}" for sweep in self.file.like
                for p in sorted(run_folder(sweep).glob("*/summary.json"))]  # fmt: skip
        fingerprint = series.fingerprint(first) if runs else None
        return next((run for run in runs if not why_not(run, series.run, first.stem, fingerprint)), "")


def read_sweep(path: Path, folder: Path) -> Sweep:
    """Read a sweep's file, and check everything that can be checked before a notebook runs."""
    notebooks = find_notebooks(folder.absolute())
    known = declared(notebooks)
    file = _checked(path, read_mapping(path))
    base = _base(path, file, known)
    if problems := [*_problems(path, file, base, known)]:
        raise ParameterError("\n".join(problems))
    _check_folder(path)
    trials = tuple(_trials(path, file, base, notebooks, known))
    if problems := [*_idle(path, file, trials)]:
        raise ParameterError("\n".join(problems))
    chains = {t.name: chain(t.series) for t in trials}
    defaults = {name: parameter.default for name, parameter in known.items()}
    kept = read_kept(located(file.kept), chains, defaults) if file.kept else pd.DataFrame({"trial": []})
    there = {*kept["trial"]}
    left = {name: stages for name, stages in chains.items() if name not in there}
    return Sweep(path.stem, file, trials, branches(left), tuple(notebooks), kept)


def keep(sweep: Sweep) -> str:
    """Keep the rows of all trials that are finished here; say how many there are."""
    if not sweep.file.kept:
        raise ParameterError(f"{sweep.name}: say where its rows are to be kept: kept: notebooks/evidence/x.parquet")
    chains = {t.name: chain(t.series) for t in sweep.trials}
    return keep_rows(located(sweep.file.kept), run_folder(sweep.name) / RESULTS, chains)


def chain(series: Series) -> Chain:
    """Return the stages of a series, each with what decides it."""
    return tuple(Asked(step.number, _asked(series, step)) for step in series.steps)


def _asked(series: Series, step: StageRun) -> str:
    """Write down the values that decide a stage; a later round's adapter is what the stages before it have made."""
    values = series.in_round(step.round).deciding(step.notebook)
    left_out = (*DECIDED, *(["adapter"] if step.round > 1 else []))
    return json.dumps({name: value for name, value in values.items() if name not in left_out}, sort_keys=True)


# --- the file ------------------------------------------------------------------------------------------


def _checked(path: Path, entries: Mapping[Any, Any]) -> SweepFile:
    try:
        return SweepFile.model_validate(dict(entries))
    except ValidationError as error:
        raise ParameterError("\n".join(f"{path}: {_told(e)}" for e in error.errors(include_url=False))) from None


def _told(error: Mapping[str, Any]) -> str:
    """Say one of pydantic's errors in a line."""
    keys, place = tuple(SweepFile.model_fields), ".".join(map(str, error["loc"]))
    known = f"; known: {', '.join(keys)}"
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return f"unknown key `{place}`{nearest(place, keys) or known}"
    if error["type"] == "missing":
        return f"`{place}` is missing"
    return f"`{place}`: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r:.60}"


def _base(path: Path, file: SweepFile, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return what all trials are set with, where neither grid nor arms say otherwise."""
    if not (file.of or file.values):
        raise ParameterError(f"{path}: gives no base; write `of: params/cpu.yaml`, or `values:`")
    given = load_params(located(file.of), known) if file.of else {}
    return {name: value for name, value in (given | file.values).items() if name not in DECIDED}


def _problems(path: Path, file: SweepFile, base: Mapping, known: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield what is wrong with values, grid and arms."""
    yield from problems_of(f"{path}: values", file.values, known)
    for name, values in file.grid.items():
        yield from dict.fromkeys(p for value in values for p in problems_of(f"{path}: grid", {name: value}, known))
        if not values:
            yield f"{path}: grid: `{name}` is empty; give it a list of values, or leave it out"
        if twice := [value for value, n in Counter(map(json.dumps, values)).items() if n > 1]:
            yield f"{path}: grid: `{name}` holds {twice[0]} twice; `seeds` makes a trial again on another seed"
    for arm, changed in file.arms.items():
        yield from problems_of(f"{path}: arms: {arm}", changed, known)
        for name in sorted(changed.keys() & file.grid.keys()):
            yield f"{path}: arms: {arm}: `{name}` is set by the grid too; keep one"
    for place, name in [("grid", n) for n in file.grid] + [(f"arms: {a}", n) for a in file.arms for n in file.arms[a]]:
        if name in DECIDED:
            yield f"{path}: {place}: `{name}` is decided by the sweep; leave it out"
        elif name == "seed":
            yield f"{path}: {place}: `seed`: write `seeds: 3` for three seeds, and the first under `values`"
    if path.stem in file.like:
        yield f"{path}: like: names the sweep itself"
    if file.seeds > 1 and ("seed" not in known or base.get("seed", 0) + file.seeds > 4_000_000_000):
        yield f"{path}: seeds: no notebook has a `seed`, or it becomes too large"


def _check_folder(path: Path) -> None:
    """Refuse a name that is no folder's, or that a run has taken."""
    if (run_folder(path.stem) / "summary.json").exists():
        raise RunError(f"{path}: outputs/{path.stem} is the folder of a run; give the sweep's file another name")


def _idle(path: Path, file: SweepFile, trials: tuple[Trial, ...]) -> Iterator[str]:
    """Yield what is varied but changes no stage, so that trials would be the same run under several names."""
    steps, known = trials[0].series.steps, trials[0].series.known
    stages = {step.notebook.stem for trial in trials for step in trial.series.steps}
    used = {name for name, p in known.items() if stages & {*p.notebooks}}
    for name in [n for n in file.grid if n not in used]:
        yield f"{path}: grid: `{name}` changes nothing in {' '.join(s.number for s in steps)}; " \
              f"{', '.join(known[name].notebooks)} would read it"  # fmt: skip
    if file.seeds > 1 and "seed" not in used:
        yield f"{path}: seeds: no stage that is run has a seed"
    first: dict[Chain, str] = {}
    for trial in trials:
        if (same := first.setdefault(chain(trial.series), trial.name)) != trial.name and not file.grid.keys() - used:
            yield f"{path}: {trial.name} and {same} are the same run; let them differ, or leave one out"


# --- the trials ----------------------------------------------------------------------------------------


def _trials(
    path: Path, file: SweepFile, base: dict[str, Any], notebooks: list[Path], known: dict[str, Parameter]
) -> Iterator[Trial]:
    """Yield every arm with every value of the grid on every seed."""
    names: dict[str, str] = {}
    first = base.get("seed", known["seed"].default) if "seed" in known else None
    for arm, values, k in product(file.arms or {"": {}}, product(*file.grid.values()), range(file.seeds)):
        varied = dict(zip(file.grid, values, strict=True))
        seed = None if first is None else first + k
        told = json.dumps([arm, varied, seed])
        name = _trial_name(arm, varied, seed, told)
        name = f"{name}-{text_digest([told])[:6]}" if names.setdefault(name, told) != told else name
        params = base | file.arms.get(arm, {}) | varied | {"run": f"{path.stem}/{name}"}
        params |= {} if seed is None else {"seed": seed}
        try:
            only = _in_all_rounds(file.only, effective(params, known).get(ROUNDS, 1))
            yield Trial(name, arm, varied, seed, arrange(params, notebooks, known, path, only))
        except RunError as error:
            raise RunError(f"{name}: {error}") from None


def _in_all_rounds(only: str, n_rounds: int) -> str:
    """Name the stages of all rounds: where a sweep says 02 it means it in each of them."""
    again = {stem[:2] for stem in ROUND}
    numbers = [n.strip() for n in only.split(",") if n.strip()]
    return ",".join(in_round(k, n) for n in numbers for k in range(1, 1 + (n_rounds if n in again else 1)))


def _trial_name(arm: str, varied: Mapping[str, Any], seed: int | None, told: str) -> str:
    """Call a trial by what sets it apart, as a folder may be called."""
    parts = [arm] if arm else []
    parts += [f"{name}-{value if isinstance(value, str) else json.dumps(value)}" for name, value in varied.items()]
    parts += [f"seed-{seed}"] if seed is not None else []
    name = re.sub(r"[^\w.-]+", "_", ".".join(parts) or "trial").strip("_.-") or "trial"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{text_digest([told])[:6]}"


def described(sweep: Sweep) -> str:
    """Say how many trials there are, of what: 12 trials (2 arms, 3 of beta, 2 seeds)."""
    file = sweep.file
    parts = [counted(len(file.arms), "arm")] if file.arms else []
    parts += [f"{len(values)} of {name}" for name, values in file.grid.items()] + [counted(file.seeds, "seed")]
    return f"{counted(len(sweep.trials), 'trial')} ({', '.join(parts)})"
