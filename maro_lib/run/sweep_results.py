"""What a sweep's trials left, in one table: a row per trial, trained faction and measure; and in words, and as a page.

    outputs/<sweep>/results.parquet   tidy: what sets a trial apart, who was trained, the measure, its value
    outputs/<sweep>/games.parquet     every game of its matches; notebook 08 reads those of its methods
    outputs/<sweep>/curves.parquet    every step of its trainings
    outputs/<sweep>/sweep.html        question, answer, figures, what failed, what it cost
    outputs/<sweep>/sweep.txt         the same without figures, as the terminal shows it

Measures are changes against base in the same games, in points (with `base` and `trained`, and an interval over
mysteries), from the matches and from notebook 06; of several rounds those of the last, and each round's by its name
(`games won, round 2`); how far the factions lie apart in a metric (`TII, between factions`);
what matches in other kinds of mystery came to (`games won, in MUC`, and over all others: `games won, elsewhere`); what
changed in other worlds (`goals reached, in commons`, payoffs in their world's units); what
changed in notebook 07's tasks (`maro_where`; of scenes: `maro_honesty`, right answers with a goal, `maro_honesty, no
goal`, and `maro_honesty, lies`, the false ones that the goal adds); and the numbers of every stage's headline (`05
margin`). What was trained beside (a control on shuffled labels) is a cell of its own. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maro_lib.measure.kinds import kind_folder, other_books
from maro_lib.measure.matches import BASE, CONTROL, MARO, MEASURES, against_base, known_measures, outcomes, saved
from maro_lib.measure.metrics import with_judge
from maro_lib.model.players import NOBODY
from maro_lib.play.gamebook import load_gamebook
from maro_lib.play.rollout import Played
from maro_lib.run.prefixes import Branch
from maro_lib.run.sweep_file import Sweep, Trial, described
from maro_lib.runs import GAMES, RESULTS, STEPS, maker, round_name, run_folder, write_atomic
from maro_lib.show.sweep_page import Swept, sweep_page
from maro_lib.statistics import Mean
from maro_lib.study import transfer
from maro_lib.study.effects import COSTS, cell_effects, cell_of, conclusion
from maro_lib.study.maps import MapPlace, in_kind, map_places, verdicts, verdicts_in_words
from maro_lib.summary import StageRecord, peek_summary
from maro_lib.wording import as_text
from maro_lib.world.scripts import FACTIONS

ELSEWHERE = ", elsewhere"  # of a measure: its mean over other kinds of mystery than the run's own
GAP = "between factions"  # how far a metric of trained civilians lies from that of trained culprits


class Collected:
    """What has come to its end so far; written anew whenever something does."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.rows: list[dict[str, Any]] = sweep.kept.to_dict("records")
        self.games: list[pd.DataFrame] = []
        self.curves: list[pd.DataFrame] = []
        self.seconds: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        if self.rows:
            self._write()

    @property
    def failed(self) -> dict[str, str]:
        """The trials that failed, each with its error."""
        return {trial.name: self.errors[trial.name] for trial in self.sweep.trials if trial.name in self.errors}

    def add(self, branch: Branch, error: str) -> None:
        """Take what a branch left, or its error."""
        self.seconds[branch.name] = _seconds(self.sweep, branch)
        if error:
            self.errors[branch.name] = error
        for trial in self.sweep.trials:
            if trial.name == branch.name and not error:
                matches = matches_of(trial)
                found = (*_headlines(trial), *_costs(trial), *_matched(matches), *_by_round(trial),
                         *_in_kinds(trial, matches), *_social(trial, matches), *_transferred(trial),
                         *_abroad(trial))  # fmt: skip
                self.rows += [_about(trial, row.pop("learned", "")) | row for row in found]
                self.games += [table.assign(**_about(trial, learned)) for learned, table in matches.items()]
                self.curves += [table.assign(**_about(trial, learned)) for learned, table in curves_of(trial).items()]
        self._write()

    def table(self) -> pd.DataFrame:
        """Return a row per trial, trained faction and measure, in the order of the trials."""
        grid = [*self.sweep.file.grid]
        columns = ["trial", "cell", "arm", *grid, "seed", "who", "measure", "value", "base", "trained", "low", "high",
                   "n"]  # fmt: skip
        order = {trial.name: k for k, trial in enumerate(self.sweep.trials)}
        rows = sorted(self.rows, key=lambda row: order[row["trial"]])
        table = pd.DataFrame(rows, columns=columns)
        mixed = [name for name in grid if table[name].map(type).nunique() > 1 and table[name].dtype == object]
        return table.assign(**{name: table[name].map(_as_words, na_action="ignore") for name in mixed})

    def _write(self) -> None:
        sweep, folder, results = self.sweep, run_folder(self.sweep.name), self.table()
        file = sweep.file
        swept = Swept(sweep.name, file.question, file.prediction, described(sweep), file.measures, results,
                      self.failed, self.seconds, _places(sweep) if file.map else {})  # fmt: skip
        if len(results):
            write_atomic(folder / RESULTS, results.to_parquet(index=False))
        for name, tables in ((GAMES, self.games), (STEPS, self.curves)):
            if tables:
                write_atomic(folder / name, pd.concat(tables, ignore_index=True).to_parquet(index=False))
        write_atomic(folder / "sweep.txt", in_words(swept))
        write_atomic(folder / "sweep.html", sweep_page(swept))


def _places(sweep: Sweep) -> dict[str, list[MapPlace]]:
    """Say where the cells stand on a map: by what each changes."""
    changes = {_about(t)["cell"]: sweep.file.arms.get(t.arm, {}) | t.varied for t in sweep.trials}
    first = next((t for t in sweep.trials if not changes[_about(t)["cell"]]), sweep.trials[0])
    return map_places(changes, first.series.values)


def _about(trial: Trial, learned: str = MARO) -> dict[str, Any]:
    """Say which trial a row is of, and its cell: what was trained beside MARO has one of its own."""
    varied = {name: _as_words(v) if isinstance(v, list | dict) else v for name, v in trial.varied.items()}
    cell = cell_of(trial.arm, varied, "" if learned in (MARO, "") else learned)
    return {"trial": trial.name, "cell": cell, "arm": trial.arm, "seed": trial.seed} | varied


def _headlines(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield the numbers of every stage's headline."""
    for number, record in _records(trial):
        for name, value in record.headline.items():
            if isinstance(value, int | float):
                yield {"who": "", "measure": f"{number} {name}", "value": float(value)}


def _costs(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield what learning cost in all rounds: what an arm would pay alone, also where trials share a stage.

    Games that are played anew in notebook 05 stand in the place of the run's own, from which nothing was learned then.
    Seconds are those of notebook 02, and of the steps of notebook 05.
    """
    records, total = dict(_records(trial)), np.zeros(len(COSTS))
    for number, trained in records.items():
        played = records.get(number.removesuffix("05") + "02") if number.endswith("05") else None
        if played and "tokens trained" in trained.headline:
            total += _cost_of_round(played, trained.headline)
    if total.any():
        yield from ({"who": "", "measure": name, "value": value} for name, value in zip(COSTS, total, strict=True))


def _cost_of_round(played: StageRecord, trained: Mapping[str, Any]) -> tuple[float, ...]:
    anew = trained["games played anew"]
    if anew:
        return anew, trained["tokens sampled anew"], trained["tokens trained"], trained["seconds"]
    own = played.headline
    return own["games"], own["tokens sampled"], trained["tokens trained"], played.seconds + trained["seconds"]


def rounds_of(trial: Trial, artefact: str = "matches") -> list[int]:
    """Return the rounds of a trial in which a stage makes an artefact."""
    return [step.round for step in trial.series.steps if step.notebook.stem == maker(artefact)]


def matches_of(trial: Trial) -> dict[str, pd.DataFrame]:
    """Return the games of a trial's matches, a row per line-up and game, by what was trained; base's are in each."""
    return _games_in(folder) if (folder := _last(trial, "matches")) else {}


def _last(trial: Trial, artefact: str) -> Path | None:
    """Where the last round of a trial left an artefact, if a stage of it makes one."""
    known = rounds_of(trial, artefact)
    return _folder(trial, known[-1], artefact) if known else None


def _folder(trial: Trial, k: int, artefact: str) -> Path:
    return run_folder(round_name(trial.series.run, k)) / artefact


def _games_in(folder: Path) -> dict[str, pd.DataFrame]:
    folders = saved(folder)
    tables = {key: outcomes(Played(folder, None, 0, 0, 0.0)).assign(trained=key[1]) for key, folder in folders.items()}
    base = tables.pop((BASE, NOBODY), None)
    learned = dict.fromkeys(name for name, _ in tables)
    return {name: pd.concat([base, *(table for key, table in tables.items() if key[0] == name)]) for name in learned}


def curves_of(trial: Trial) -> dict[str, pd.DataFrame]:
    """Return the curves of a trial's trainings, a row per step, by what was trained."""
    curves = {learned: _last(trial, name) for learned, name in ((MARO, "learning"), (CONTROL, "control"))}
    files = {learned: folder / "curve.parquet" for learned, folder in curves.items() if folder}
    return {learned: pd.read_parquet(path) for learned, path in files.items() if path.exists()}


def _matched(matches: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield changes against base in the same games, in points."""
    for learned, table in matches.items():
        for who, measure in product(FACTIONS, known_measures(table)):
            if who in set(table["trained"]):
                found = against_base(table, who, measure)
                yield _row(learned, who, measure, found.change, base=found.base.mean, trained=found.trained.mean)


def _by_round(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield the same of every round, if there are several."""
    known = rounds_of(trial)
    for k in known if len(known) > 1 else ():
        for row in _matched(_games_in(_folder(trial, k, "matches"))):
            yield row | {"measure": f"{row['measure']}, round {k}"}


def _in_kinds(trial: Trial, matches: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield the same for each kind of mystery, its own by its own matches, and means over the others."""
    folder, kinds = _last(trial, "matches"), trial.series.values.get("elsewhere")
    if not (folder and kinds):
        return
    others = other_books(load_gamebook(folder.with_name("gamebook.json")), kinds)
    games = {kind: _games_in(kind_folder(folder, kind)) if kind in others else matches for kind in kinds}
    rows = {kind: [*_matched(played)] for kind, played in games.items()}
    yield from (row | {"measure": in_kind(row["measure"], kind)} for kind, own in rows.items() for row in own)
    if table := [row for kind in others for row in rows[kind]]:
        same = pd.DataFrame(table).groupby(["learned", "who", "measure"], sort=False)
        means = same[["value", "base", "trained"]].mean().reset_index()
        yield from means.assign(measure=means["measure"] + ELSEWHERE).to_dict("records")


def _social(trial: Trial, matches: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield what notebook 06 measured beside."""
    if "06" not in {step.number for step in trial.series.steps}:
        return
    compared = pd.read_parquet(run_folder(trial.series.run) / "comparison.parquet")
    beside = compared[~compared["metric"].isin(MEASURES if matches else ())]
    for row in beside.itertuples():
        change = Mean(row.change, row.low, row.high, row.mysteries)
        yield _row(row.arm, row.who, with_judge(row.metric, row.judge), change, base=row.base, trained=row.trained)
    for (learned, metric, judge), own in beside.groupby(["arm", "metric", "judge"], sort=False):
        if set(own["who"]) == {*FACTIONS}:
            gaps = own.set_index("who")[["base", "trained"]].diff().iloc[-1].abs()
            change = Mean(gaps["trained"] - gaps["base"], np.nan, np.nan, 1)
            yield _row(learned, "", f"{with_judge(metric, judge)}, {GAP}", change, **gaps)


def _transferred(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield what changed in notebook 07's tasks."""
    if "07" in {step.number for step in trial.series.steps}:
        items = pd.read_parquet(run_folder(trial.series.run) / "transfer" / "items.parquet")
        for row in transfer.changes_since_base(items):
            yield _row(row.arm, "", row.measure, row.change, base=row.base, trained=row.trained)


def _abroad(trial: Trial) -> Iterator[dict[str, Any]]:
    """Yield what changed in each world that notebook 15 played in."""
    if "15" in {step.number for step in trial.series.steps}:
        rows = pd.read_parquet(run_folder(trial.series.run) / "abroad.parquet").rename(columns={"change": "value"})
        rows["measure"] = [in_kind(*names) for names in zip(rows["measure"], rows["world"], strict=True)]
        yield from rows.drop(columns="world").to_dict("records")


def _row(learned: str, who: str, measure: str, change: Mean, **means: float) -> dict[str, Any]:
    points = {"value": change.mean, "low": change.low, "high": change.high} | means
    name = {"learned": learned, "who": who, "measure": measure, "n": change.n}
    return name | {key: 100 * x for key, x in points.items()}


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
    lines += [f"{n:,} finished of {swept.trials}.", "", "\n  ".join(conclusion(swept.results, swept.measures)), ""]
    lines += [*verdicts_in_words(verdicts(swept.results)), ""] if swept.places else []
    effects = cell_effects(swept.results, swept.measures).drop(columns="p")
    lines += [as_text(effects, 1, p=["holm"]), ""] if len(effects) else []
    return "\n".join([*lines, *(f"{name} failed: {error}" for name, error in swept.failed.items())]).rstrip() + "\n"
