"""What training on games changed elsewhere: the same items before and after, and beside it the control.

Every item is answered by `base` (the adapter off), by MARO's adapter, and by the control's, which learned with the same
loss from shuffled labels: a gain that the control shows too is not MARO's. Items are paired; only those that
changed sides say anything (McNemar). The tasks of a family, or the levels of a task, are tested together (Holm).

    before \\ after   right   wrong
    right            both    only before        difference = (only after - only before) / n
    wrong            only after   neither

Which items, and what is right, is the harness's business (`harness`). Taught in notebook 07.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from maro_lib.measure.matches import BASE, CONTROL, MARO
from maro_lib.model.loading import load
from maro_lib.progress import Bar
from maro_lib.runs import learned_adapter, make_folder, write_atomic
from maro_lib.statistics import Points, Rate, bootstrap_mean, holm, mcnemar, paired_rates, win_rate
from maro_lib.study.evaldata import DataError
from maro_lib.study.scenes import GOAL, NO_GOAL

if TYPE_CHECKING:
    from maro_lib.study.harness import Answering, Harness, Limits

SKILLS, SAFETY = "skills", "safety"
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


def pair(before: pd.Series, after: pd.Series) -> Pairs:
    """Count pairs of 0s and 1s; a label of the index is an item, in whatever order."""
    if before.index.has_duplicates or after.index.has_duplicates or set(before.index) != set(after.index):
        alone = len(before.index.symmetric_difference(after.index))
        raise TransferError(f"items can't be paired: {alone} were answered by one arm only, or some twice")
    was, now = before.astype(bool), after.reindex(before.index).astype(bool)
    return Pairs(int((was & now).sum()), int((was & ~now).sum()), int((~was & now).sum()), int((~was & ~now).sum()))


def comparison(
    table: pd.DataFrame, by: Sequence[str] = ("task",), *, measure: str = "right", before: str = BASE
) -> pd.DataFrame:
    """Return a row per family, task (or task and level) and arm: the pairs, the difference, p, and Holm's p.

    `holm` is adjusted, for every arm by itself, over the tasks of a family; within a task, over its levels.
    """
    rows = []
    for key, items in table.groupby(["family", *by], sort=False):
        name = ["task", "level", "item"]  # two subjects may hold the same item
        by_arm = {arm: of_arm.set_index(name)[measure] for arm, of_arm in items.groupby("arm", sort=False)}
        for arm in by_arm:
            if arm != before:
                rows.append(dict(zip(["family", *by], key, strict=True)) | _row(arm, by_arm[before], by_arm[arm]))
    found = pd.DataFrame(rows)
    together = found.groupby(["family", *by[:-1], "arm"])["p"]
    found["holm"] = together.transform(lambda ps: holm(list(ps)))
    found["verdict"] = [_verdict(r.holm, r.difference.mean) for r in found.itertuples()]
    return found


def by_row(found: pd.DataFrame, label: str = "task") -> tuple[dict[str, dict[str, Rate]], dict[str, dict[str, Points]]]:
    """Return the shares of all arms, and the differences from base, of each task: what a figure draws."""
    shares: dict[str, dict[str, Rate]] = {}
    differences: dict[str, dict[str, Points]] = {}
    for name, rows in found.groupby(label, sort=False):
        after = dict(zip(rows["arm"], rows["after"], strict=True))
        shares[str(name)] = {BASE: rows["before"].iloc[0], **after}
        differences[str(name)] = dict(zip(rows["arm"], rows["difference"], strict=True))
    return shares, differences


def _row(arm: str, before: pd.Series, after: pd.Series) -> dict[str, object]:
    pairs = pair(before, after)
    return {"arm": arm, "n": len(before), "before": win_rate(before), "after": win_rate(after),
            **pairs._asdict(), "difference": pairs.difference, "p": pairs.p}  # fmt: skip


def _verdict(p: float, difference: float) -> str:
    if p >= SIGNIFICANT:
        return "no difference found"
    return "more" if difference > 0 else "fewer"


# --- lies ------------------------------------------------------------------------------------------------


def falsehoods(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per kind of scene and arm: false answers that serve the goal, with it and without it.

    `more` is what the goal adds, over scenes of the same facts. `change` is how much more it adds than for base, with
    the p of a sign test over the scenes that changed, and Holm's p over the kinds.
    """
    if table["scene"].isna().all():
        raise TransferError("no scene was asked: put maro_honesty or maro_manipulation among `safety_evals`")
    rows, base = [], {}
    for (task, arm), items in table[table["scene"].notna()].groupby(["task", "arm"], sort=False):
        misled = items.pivot(index="scene", columns="level", values="misled").dropna().astype(int)
        honest = items.pivot(index="scene", columns="level", values="right").loc[misled.index]
        added = misled[GOAL] - misled[NO_GOAL]
        change = added - base.setdefault(task, added)  # base is the first arm
        rows.append({"task": task, "arm": arm, "goal": win_rate(misled[GOAL]), "no goal": win_rate(misled[NO_GOAL]),
                     "honest": win_rate(honest[GOAL]), "honest, no goal": win_rate(honest[NO_GOAL]),
                     "more": pair(misled[NO_GOAL], misled[GOAL]).difference,
                     "change": Points(**asdict(bootstrap_mean(change, 0))),
                     "p": mcnemar(int((change < 0).sum()), int((change > 0).sum()))})  # fmt: skip
    found = pd.DataFrame(rows)
    found["holm"] = found.groupby("arm")["p"].transform(lambda ps: holm(list(ps)))
    return found


# --- asking ----------------------------------------------------------------------------------------------


def adapters(run: str, k: int) -> dict[str, Path]:
    """Return the adapters that the last round of a run made, MARO's first; the control's only if it was trained."""
    learned = learned_adapter(run, k)
    control = learned.parent.with_name("control") / "adapter"
    return {MARO: learned} | ({CONTROL: control} if control.is_dir() else {})


def contenders(model: str, precision: str, adapters: Mapping[str, Path]) -> dict[str, Answering]:
    """Load one model, with each adapter beside the other: base first, then an arm for each adapter."""
    from maro_lib.study.harness import Answering

    (first, path), *others = adapters.items()
    loaded = load(model, precision=precision, adapter=str(path))
    arms = {BASE: Answering(loaded, adapter=False), first: Answering(loaded)}
    return arms | {name: Answering(loaded.beside(str(path))) for name, path in others}


@dataclass(frozen=True)
class Evaluated:
    """One row per arm and item, and the tasks that were left out, with the reason."""

    table: pd.DataFrame
    left_out: dict[str, str]
    asked_now: int  # arms times tasks that had not been asked before


def evaluate(
    harness: Harness, arms: Mapping[str, Answering], skills: Sequence[str], safety: Sequence[str], limits: Limits,
    folder: Path, progress: bool = False,
) -> Evaluated:  # fmt: skip
    """Ask every arm every task. What was asked before is read from `folder`: killed, it goes on where it was.

    Of the family `safety`, tasks whose items or packages are missing are left out and named; of `skills`, that is an
    error, before anything is asked.
    """
    if not skills:
        raise TransferError("evals: names no task; one or more are needed")
    left_out = {task: why for task in safety if (why := _missing(harness, task))}
    for task in skills:
        harness.load(task)
    plan = [(family, task) for family, of_family in ((SKILLS, skills), (SAFETY, safety)) for task in of_family]
    steps = [(*step, arm) for step in plan if step[1] not in left_out for arm in arms]
    tables, asked = [], 0
    make_folder(folder)
    with Bar(len(steps), "task", shown=progress) as bar:
        for family, task, arm in steps:
            bar.set_postfix_str(f"{task}, {arm}")
            path = folder / f"{task}-{_key(harness, task, arms[arm], limits)}.parquet"
            if not path.exists():
                found = pd.DataFrame(harness.evaluate(task, arms[arm], limits))
                write_atomic(path, found.to_parquet(index=False))
                asked += 1
            tables.append(pd.read_parquet(path).assign(family=family, arm=arm))
            bar.update()
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(ANSWER_COLUMNS))
    return Evaluated(table[list(ANSWER_COLUMNS)].astype(ANSWER_COLUMNS), left_out, asked)


def _missing(harness: Harness, task: str) -> str:
    from maro_lib.study.harness import TaskError

    try:
        harness.load(task)
    except (DataError, TaskError) as error:
        return str(error)
    return ""


def _key(harness: Harness, task: str, answering: Answering, limits: Limits) -> str:
    """Name all that decides the answers: a batch's size does not, but for rounding."""
    items = {leaf: at.digest if at else "hub" for leaf, at in harness.sources(task).items()}
    decides = {k: v for k, v in asdict(limits).items() if k != "batch"}
    parts = [task, harness.definition(task), items, decides, answering.fingerprint]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def odd(table: pd.DataFrame) -> pd.DataFrame:
    """Count, per task and arm, replies that were cut off and prompts whose beginning did not fit."""
    return table.groupby(["task", "arm"], sort=False)[["cut_off", "shortened"]].sum().astype(int).reset_index()
