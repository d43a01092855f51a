"""What a sweep's trials left, in one table: a row per trial, trained faction and measure; and in words, and as a page.

    outputs/<sweep>/results.parquet   tidy: what sets a trial apart, who was trained, the measure, its value
    outputs/<sweep>/sweep.html        question, answer, figures, what failed, what it cost
    outputs/<sweep>/sweep.txt         the same without figures, as the terminal shows it

Measures are the changes against base that notebook 06 left (in points, with `base` and `trained`, and an interval over
mysteries), and the numbers of every stage's headline (`05 margin`). What was trained beside (a control on shuffled
labels) is a cell of its own. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from maro_lib.measure.metrics import with_judge
from maro_lib.run.prefixes import Branch
from maro_lib.run.sweep_file import Sweep, Trial, described
from maro_lib.runs import round_name, run_folder, write_atomic
from maro_lib.show.sweep_page import Swept, sweep_page
from maro_lib.study.effects import cell_effects, cell_of, conclusion
from maro_lib.summary import StageRecord, peek_summary
from maro_lib.wording import as_text

METHOD = "MARO"  # what notebook 06 calls the adapter of a run; it compares others beside it
RESULTS = "results.parquet"


def write_results(sweep: Sweep, tried: Iterable[Branch], failed: Mapping[str, str]) -> None:
    """Write the table of what has come to its end so far, and the errors of what has not."""
    tried = [*tried]
    done = {branch.name for branch in tried} - failed.keys()
    results = results_of([trial for trial in sweep.trials if trial.name in done], [*sweep.file.grid])
    seconds = {branch.name: _seconds(sweep, branch) for branch in tried}
    errors = {trial.name: failed[trial.name] for trial in sweep.trials if trial.name in failed}
    file = sweep.file
    swept = Swept(sweep.name, file.question, file.prediction, described(sweep), file.measures, results, errors, seconds)
    folder = run_folder(sweep.name)
    if len(results):
        write_atomic(folder / RESULTS, results.to_parquet(index=False))
    write_atomic(folder / "sweep.txt", in_words(swept))
    write_atomic(folder / "sweep.html", sweep_page(swept))


def results_of(trials: Iterable[Trial], grid: Iterable[str]) -> pd.DataFrame:
    """Return a row per trial, trained faction and measure."""
    rows = [row for trial in trials for row in _rows(trial)]
    columns = ["trial", "cell", "arm", *grid, "seed", "who", "measure", "value", "base", "trained", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    mixed = [name for name in grid if table[name].map(type).nunique() > 1 and table[name].dtype == object]
    return table.assign(**{name: table[name].map(_as_words, na_action="ignore") for name in mixed})


def _rows(trial: Trial) -> Iterator[dict[str, Any]]:
    varied = {name: _as_words(v) if isinstance(v, list | dict) else v for name, v in trial.varied.items()}
    about = {"trial": trial.name, "cell": cell_of(trial.arm, varied), "arm": trial.arm, "seed": trial.seed} | varied
    for number, record in _records(trial):
        for name, value in record.headline.items():
            if isinstance(value, int | float):
                yield about | {"who": "", "measure": f"{number} {name}", "value": float(value)}
    if "06" in {step.number for step in trial.series.steps}:
        compared = pd.read_parquet(run_folder(trial.series.run) / "comparison.parquet")
        for row in compared.itertuples():
            beside = "" if row.arm == METHOD else row.arm
            points = {name: 100 * getattr(row, name) for name in ("base", "trained", "low", "high")}
            measure = {"who": row.who, "measure": with_judge(row.metric, row.judge), "value": 100 * row.change}
            yield about | {"cell": cell_of(trial.arm, varied, beside)} | measure | points


def _records(trial: Trial) -> Iterator[tuple[str, StageRecord]]:
    for step in trial.series.steps:
        yield step.number, peek_summary(round_name(trial.series.run, step.round)).stages[step.notebook.stem]


def _seconds(sweep: Sweep, branch: Branch) -> float:
    """Return how long a branch's own stages took, also those of earlier calls."""
    series = sweep.series(branch)
    stages = [
        peek_summary(round_name(series.run, step.round)).stages.get(step.notebook.stem)
        for step in series.steps if step.number in branch.own
    ]  # fmt: skip
    return sum(record.seconds for record in stages if record and not record.taken_from)


def _as_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def in_words(swept: Swept) -> str:
    """Say what came out, for a terminal."""
    n = swept.results["trial"].nunique()
    lines = [swept.question, *([f"Predicted: {swept.prediction}"] if swept.prediction else [])]
    lines += [f"{n:,} finished of {swept.trials}.", "", conclusion(swept.results, swept.measures), ""]
    effects = cell_effects(swept.results, swept.measures).drop(columns="p")
    lines += [as_text(effects, 1, p=["holm"]), ""] if len(effects) else []
    return "\n".join([*lines, *(f"{name} failed: {error}" for name, error in swept.failed.items())]).rstrip() + "\n"
