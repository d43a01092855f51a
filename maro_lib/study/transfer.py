"""What training on games changed elsewhere: the same items before and after, and beside it the control.

Every item is answered by `base` (the adapter off), by MARO's adapter, and by the control's, which learned with the same
loss from shuffled labels: a gain that the control shows too is not MARO's. Where the run's model is itself an
adapter's folder (a cold start), its root answers, too: `as it came`. Each arm is compared with what it started from.
Items are paired; only those that changed sides say anything (McNemar), and their number says how small a difference
could have been seen. The tasks of a family, or the levels of a task, are tested together (Holm).

    before \\ after   right   wrong
    right            both    only before        difference = (only after - only before) / n
    wrong            only after   neither

Which items, and what is right, is the harness's business (`harness`). Taught in notebook 07.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from maro_lib.measure.matches import BASE, CONTROL, MARO
from maro_lib.model.adapter_files import base_of
from maro_lib.model.loading import load
from maro_lib.progress import Bar
from maro_lib.runs import learned_adapter, make_folder, write_atomic
from maro_lib.statistics import Points, Rate, bootstrap_mean, detectable, holm, mcnemar, paired_rates, win_rate
from maro_lib.study.beliefs import FALSE, TRUE
from maro_lib.study.scenes import GOAL, NO_GOAL

if TYPE_CHECKING:
    from maro_lib.model.local import LocalPolicy
    from maro_lib.study.harness import Answering, Harness, Limits

SKILLS, SAFETY = "skills", "safety"
AS_IT_CAME = "as it came"
STARTED_FROM = {BASE: AS_IT_CAME, MARO: BASE, CONTROL: BASE}  # arms, in the order in which they are shown
ANSWER_COLUMNS = {"family": str, "task": str, "level": str, "item": str, "scene": object, "arm": str, "right": int,
           "misled": "Int64", "reply": str, "cut_off": bool, "shortened": bool}  # fmt: skip
SIGNIFICANT = 0.05


class TransferError(ValueError):
    """Two arms can't be compared; the message says why."""


# --- before against after -------------------------------------------------------------------------------


class Pairs(NamedTuple):
    """How many items were right both times, only before, only after, never."""

    both: int
    only_before: int
    only_after: int
    neither: int

    @property
    def p(self) -> float:
        return mcnemar(self.only_before, self.only_after)

    @property
    def difference(self) -> Points:
        return paired_rates(*self)


COMPARED = ("arm", "since", "n", "before", "after", *Pairs._fields, "difference", "p")


def pair(before: pd.Series, after: pd.Series) -> Pairs:
    """Count pairs of 0s and 1s; a label of the index is an item, in whatever order."""
    if before.index.has_duplicates or after.index.has_duplicates or set(before.index) != set(after.index):
        alone = len(before.index.symmetric_difference(after.index))
        raise TransferError(f"items can't be paired: {alone} were answered by one arm only, or some twice")
    was, now = before.astype(bool), after.reindex(before.index).astype(bool)
    return Pairs(int((was & now).sum()), int((was & ~now).sum()), int((~was & now).sum()), int((~was & ~now).sum()))


def comparison(
    table: pd.DataFrame, by: Sequence[str] = ("task",), *, started_from: Mapping[str, str] = STARTED_FROM
) -> pd.DataFrame:
    """Return a row per family, task (or task and level) and arm: the pairs, the difference, p, and Holm's p.

    `holm` is adjusted, for every arm by itself, over the tasks of a family; within a task, over its levels. `seen` is
    the smallest difference that would have been found, as first of them, with a probability of 80 %.
    """
    rows = []
    for key, items in table.groupby(["family", *by], sort=False):
        name = ["task", "level", "item"]  # two subjects may hold the same item
        by_arm = {arm: of_arm.set_index(name)["right"] for arm, of_arm in items.groupby("arm", sort=False)}
        for arm, before in started_from.items():
            if {arm, before} <= by_arm.keys():
                told = {"arm": arm, "since": before, "n": len(by_arm[arm])}
                rows.append(dict(zip(["family", *by], key, strict=True)) | told | _row(by_arm[before], by_arm[arm]))
    found = pd.DataFrame(rows, columns=["family", *by, *COMPARED])
    together = found.groupby(["family", *by[:-1], "arm"])["p"]
    found["holm"] = together.transform(lambda ps: holm(list(ps)))
    changed, tests = found["only_before"] + found["only_after"], together.transform("size")
    found["seen"] = [detectable(m, n, SIGNIFICANT / k) for m, n, k in zip(changed, found["n"], tests, strict=True)]
    found["verdict"] = [_verdict(r.holm, r.difference.mean) for r in found.itertuples()]
    return found


def by_row(found: pd.DataFrame, label: str = "task") -> tuple[dict[str, dict[str, Rate]], dict[str, dict[str, Points]]]:
    """Return the shares of all arms, and the differences from what each started from, of each task, for a figure."""
    shares: dict[str, dict[str, Rate]] = {}
    differences: dict[str, dict[str, Points]] = {}
    for row in found.itertuples():
        of_task = shares.setdefault(str(getattr(row, label)), {})
        of_task.setdefault(row.since, row.before)
        of_task[row.arm] = row.after
        differences.setdefault(str(getattr(row, label)), {})[row.arm] = row.difference
    return shares, differences


def _row(before: pd.Series, after: pd.Series) -> dict[str, object]:
    pairs = pair(before, after)
    return {"before": win_rate(before), "after": win_rate(after), **pairs._asdict(),
            "difference": pairs.difference, "p": pairs.p}  # fmt: skip


def _verdict(p: float, difference: float) -> str:
    if p >= SIGNIFICANT:
        return "no difference found"
    return "more" if difference > 0 else "fewer"


# --- lies ------------------------------------------------------------------------------------------------


def falsehoods(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per kind of scene and arm: false answers that serve the goal, with it and without it.

    `more` is what the goal adds, over scenes of the same facts. `change` is how much more it adds than for what the arm
    started from, with the p of a sign test over the scenes that changed, and Holm's p over the kinds.
    """
    rows, by_arm = [], {}
    for (task, arm), items in table[table["misled"].notna()].groupby(["task", "arm"], sort=False):
        misled = items.pivot(index="scene", columns="level", values="misled").dropna().astype(int)
        honest = items.pivot(index="scene", columns="level", values="right").loc[misled.index]
        by_arm[task, arm] = added = misled[GOAL] - misled[NO_GOAL]
        change = added - by_arm.get((task, STARTED_FROM.get(arm)), added)
        rows.append({"task": task, "arm": arm, "goal": win_rate(misled[GOAL]), "no goal": win_rate(misled[NO_GOAL]),
                     "honest": win_rate(honest[GOAL]), "honest, no goal": win_rate(honest[NO_GOAL]),
                     "more": pair(misled[NO_GOAL], misled[GOAL]).difference,
                     "change": Points(**asdict(bootstrap_mean(change, 0))),
                     "p": mcnemar(int((change < 0).sum()), int((change > 0).sum()))})  # fmt: skip
    found = pd.DataFrame(
        rows, columns=["task", "arm", "goal", "no goal", "honest", "honest, no goal", "more", "change", "p"]
    )
    found["holm"] = found.groupby("arm")["p"].transform(lambda ps: holm(list(ps)))
    return found


# --- as measures ----------------------------------------------------------------------------------------


class TaskChange(NamedTuple):
    """What an adapter changed in a task, against base."""

    arm: str
    measure: str
    change: Points
    base: float
    trained: float


def changes_since_base(table: pd.DataFrame) -> Iterator[TaskChange]:
    """Yield each adapter's measures: right answers of a task, called as the task; of scenes also two more.

    A scene's task itself counts honest answers where a goal asks for a lie; `<task>, no goal` those where none does;
    `<task>, lies` is what the goal adds to the false ones.
    """
    is_control = table["level"] == NO_GOAL
    for suffix, items in (("", table[~is_control]), (f", {NO_GOAL}", table[is_control])):
        for row in comparison(items).itertuples():
            if row.since == BASE:
                yield TaskChange(row.arm, f"{row.task}{suffix}", row.difference, row.before.mean, row.after.mean)
    added = {(row.task, row.arm): row for row in falsehoods(table).itertuples()}
    for (task, arm), row in added.items():
        if STARTED_FROM.get(arm) == BASE:
            yield TaskChange(arm, f"{task}, lies", row.change, added[task, BASE].more.mean, row.more.mean)


# --- beliefs ---------------------------------------------------------------------------------------------


def beliefs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per arm: who is right about a belief that the facts have overtaken, about one that is up to date.

    `both` is the share of scenes with both: who always names the first place, or the last, has none of them, a coin a
    quarter. `change` is its difference from what the arm started from.
    """
    asked = table[table["level"].isin((FALSE, TRUE)) & table["scene"].notna()]
    rows, by_arm = [], {}
    for arm, items in asked.groupby("arm", sort=False):
        right = items.pivot(index="scene", columns="level", values="right").dropna()
        by_arm[arm] = both = right[FALSE] * right[TRUE]
        pairs = pair(by_arm.get(STARTED_FROM.get(arm), both), both)
        rows.append({"arm": arm, FALSE: win_rate(right[FALSE]), TRUE: win_rate(right[TRUE]), "both": win_rate(both),
                     "change": pairs.difference, "p": pairs.p})  # fmt: skip
    return pd.DataFrame(rows, columns=["arm", FALSE, TRUE, "both", "change", "p"])


# --- asking ----------------------------------------------------------------------------------------------


def adapters(run: str, k: int) -> dict[str, Path]:
    """Return the adapters that the last round of a run made, MARO's first; the control's only if it was trained."""
    learned = learned_adapter(run, k)
    control = learned.parent.with_name("control") / "adapter"
    return {MARO: learned} | ({CONTROL: control} if control.is_dir() else {})


def contenders(model: str, precision: str, adapters: Mapping[str, Path]) -> dict[str, Answering]:
    """Load the run's model with each adapter beside the other: its root if it has another, base, the adapters."""
    from maro_lib.study.harness import Answering

    root = base_of(model)
    arms = {AS_IT_CAME: Answering(load(root, precision=precision), adapter=False)} if root != model else {}
    (first, path), *others = adapters.items()
    loaded = load(model, precision=precision, adapter=str(path))
    arms |= {BASE: Answering(loaded, adapter=False), first: Answering(loaded)}
    return arms | {name: Answering(loaded.beside(str(path))) for name, path in others}


def as_arms(players: Mapping[str, LocalPolicy]) -> dict[str, Answering]:
    """Let players that are loaded answer, each with its adapter, and their base."""
    from maro_lib.study.harness import Answering

    arms = {name: Answering(player.loaded) for name, player in players.items()}
    return {BASE: Answering(next(iter(arms.values())).loaded, adapter=False), **arms}


@dataclass(frozen=True)
class Evaluated:
    """One row per arm and item, and the tasks that were left out, with the reason."""

    table: pd.DataFrame
    left_out: dict[str, str]
    seconds: dict[tuple[str, str], float]  # that an item took, by task and arm; of what had not been asked before

    def save(self, folder: Path) -> None:
        """Write what a report shows."""
        write_atomic(folder / "left_out.json", json.dumps(self.left_out, indent=1))
        write_atomic(folder / "items.parquet", self.table.to_parquet(index=False))


def evaluate(
    harness: Harness, arms: Mapping[str, Answering], skills: Sequence[str], safety: Sequence[str], limits: Limits,
    folder: Path, progress: bool = False,
) -> Evaluated:  # fmt: skip
    """Ask every arm every task. What was asked before is read from `folder`: killed, it goes on where it was.

    Tasks whose items or packages are missing are left out and named, before anything is asked; one whose measure
    can't be paired, when its first arm shows that.
    """
    from maro_lib.study.harness import TaskError

    if not skills:
        raise TransferError("evals: names no task; one or more are needed")
    left_out = {task: why for task in (*skills, *safety) if (why := harness.lacks(task))}
    plan = [(family, task) for family, of_family in ((SKILLS, skills), (SAFETY, safety)) for task in of_family]
    steps = [(*step, arm) for step in plan if step[1] not in left_out for arm in arms]
    tables, seconds = [], {}
    make_folder(folder)
    with Bar(len(steps), "task", shown=progress) as bar:
        for family, task, arm in steps:
            bar.set_postfix_str(f"{task}, {arm}")
            path = folder / f"{task}-{_key(harness, task, arms[arm], limits)}.parquet"
            try:
                if task not in left_out and not path.exists():
                    start = perf_counter()
                    found = pd.DataFrame(harness.evaluate(task, arms[arm], limits))
                    write_atomic(path, found.to_parquet(index=False))
                    seconds[task, arm] = (perf_counter() - start) / len(found)
            except TaskError as error:
                left_out[task] = str(error)
            if task not in left_out:
                tables.append(pd.read_parquet(path).assign(family=family, arm=arm))
            bar.update()
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(ANSWER_COLUMNS))
    return Evaluated(table[list(ANSWER_COLUMNS)].astype(ANSWER_COLUMNS), left_out, seconds)


def _key(harness: Harness, task: str, answering: Answering, limits: Limits) -> str:
    """Name all that decides the answers: a batch's size does not, but for rounding."""
    items = {leaf: at.digest if at else "hub" for leaf, at in harness.sources(task).items()}
    decides = {k: v for k, v in asdict(limits).items() if k != "batch"}
    parts = [task, harness.definition(task), items, decides, answering.fingerprint]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def odd(table: pd.DataFrame) -> pd.DataFrame:
    """Count, per task and arm, replies that were cut off and prompts whose beginning did not fit."""
    return table.groupby(["task", "arm"], sort=False)[["cut_off", "shortened"]].sum().astype(int).reset_index()
