"""How long the whole run will take, stage by stage, and what memory the stages after playing and training want.

    lessons       notebook 00's: 6 operations per weight of the layers and token
    playing       games times actions times a reply; the same anew where steps are played (`n_online`)
    quick games   at every checkpoint
    training      4 operations per weight and token (forward, and back to what was read: frozen weights get none),
                  6 with checkpointing, and 2 once for the reference; twice with a control
    matches       base, then each contender as each faction
    judge         a question per ability and section of each character
    evaluation    each arm answers each item
    cross-play    games of all pairs in which a model plays, of notebook 12 alone, which the whole run leaves out

Seconds are estimates, said as a range: how fast replies come is measured or worked out (`fit`), and the rest follows
from it or from what the device does. Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from maro_lib.model import estimates
from maro_lib.model.estimates import Plan, Speed
from maro_lib.model.players import SCRIPTED
from maro_lib.run.fit import FULL, ReplySeconds
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding
from maro_lib.run.sample import Sample
from maro_lib.runs import EXPERIMENTS, ROUND, STAGES, located
from maro_lib.wording import amount, between, first_line

OVERHEAD = 20.0  # seconds of a notebook besides: its kernel, what it imports, its own small examples
N_STAGES = len(STAGES) - len(EXPERIMENTS)
TIMED = ("12_strength", *(name for name in STAGES if name not in EXPERIMENTS))  # stages whose time is estimated
JUDGEMENTS = 9  # judgements of a character: five scores, and the sections of a script
JUDGE_PROMPT = 4000  # tokens: what was said in public, the script, the truth
EVAL_PROMPT = 600  # tokens: a question, and the examples that some tasks show
# items, and requests for each: a choice is read once per answer
ITEMS = {"gsm8k": (1319, 1), "minerva_math": (500, 1), "hendrycks_math500": (500, 1), "ifeval": (541, 1),
         "mmlu": (14_042, 4), "truthfulqa_mc1": (817, 5), "sycophancy": (30_000, 2), "maro_": (400, 1)}  # fmt: skip
SUBJECTS = {"mmlu": 57, "sycophancy": 3}  # single tasks of a name, each of which `eval_limit` bounds
CHOICES = ("mmlu", "truthfulqa_mc1", "sycophancy")  # tasks that are read, not answered in words


MADE_BY = {"lessons": "00_embedded_model", "playing": "02_rollout", "playing anew": "05_maro_training",
           "quick games": "05_maro_training", "training": "05_maro_training", "matches": "05_maro_training",
           "judge": "06_social_metrics", "evaluation": "07_transfer_evals"}  # fmt: skip


class StageTime(NamedTuple):
    """One stage's work: seconds from at least to at most."""

    name: str
    low: float
    high: float


def n_kept(values: Mapping[str, Any], sample: Sample) -> int:
    """How many dialogues a round trains on: of each game two with `min` (one culprit), else all."""
    kept = 2 * values["culprits"] if values["mode"] == "min" and not values["script"] else sample.n_players
    return values["n_games"] * min(kept, sample.n_players)


def n_read(values: Mapping[str, Any], sample: Sample) -> float:
    """How many dialogues a round's training reads in all."""
    return values["n_dialogues"] or values["epochs"] * n_kept(values, sample)


def n_steps(values: Mapping[str, Any], sample: Sample) -> int:
    return max(1, round(n_read(values, sample) / values["batch"]))


def n_held_out(values: Mapping[str, Any]) -> int:
    """How many games each line-up plays: the run's own, and those in other kinds of mystery."""
    return values["n_matches"] + len(values["elsewhere"]) * values["n_elsewhere"]


def replies(values: Mapping[str, Any], sample: Sample) -> dict[str, float]:
    """Count the replies of all games of a round, by what they are for."""
    looks = 1 + -(-n_steps(values, sample) // values["check_every"])
    return {
        "playing": values["n_games"] * sample.n_actions,
        "playing anew": (values["n_online"] > 0) * values["n_games"] * sample.n_actions,
        "quick games": looks * values["n_quick"] * sample.n_actions,
        "matches": (1 + 2 * (1 + values["control"])) * n_held_out(values) * sample.n_actions,
    }


def stages(
    values: Mapping[str, Any], sample: Sample, plan: Plan, speed: Speed, reply: ReplySeconds, match: ReplySeconds
) -> Iterator[StageTime]:
    """Yield all stages of a run; a span is seconds per reply, of the games and of those that are played here."""
    counts, n_rounds = replies(values, sample), values["maro_iterations"]
    yield _about("lessons", 6 * 12 * values["layers"] * values["hidden"] ** 2 * values["lesson_tokens"] / speed.flops)
    for name, n in counts.items():
        low, high = reply if name == "playing" else match
        yield StageTime(name, n_rounds * n * low, n_rounds * n * high)
    yield _about("training", n_rounds * training_seconds(values, sample, plan, speed))
    n_judged = min(values["n_judged"] or values["n_matches"], values["n_matches"])
    if values["judge"] != "rules" and not values["judge_server_url"]:
        games = (1 + 2 * (1 + values["control"])) * n_judged + 6 * values["n_check_games"]
        asked = games * sample.n_players * JUDGEMENTS
        yield _about("judge", asked * _reply(plan, speed, JUDGE_PROMPT, 150, 16))
    yield _about("evaluation", evaluation_seconds(values, plan, speed))


def by_notebook(found: Sequence[StageTime], n_rounds: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of each notebook, from at least to at most; of a round's notebooks, in one round."""
    spans = {name: (OVERHEAD / 3, OVERHEAD * 3) for name in STAGES if name not in EXPERIMENTS}
    for name, low, high in found:
        notebook = MADE_BY[name]
        n = n_rounds if notebook in ROUND else 1
        spans[notebook] = (spans[notebook][0] + low / n, spans[notebook][1] + high / n)
    return spans


def cross_play_seconds(values: Mapping[str, Any], sample: Sample, reply: ReplySeconds) -> tuple[float, float]:
    """Return the seconds of notebook 12, from at least to at most."""
    learners = {"kept": 0, "study": 1, "rounds": values["maro_iterations"] + values["control"]}[values["contenders"]]
    n_models = learners + 1 if learners else 0  # and base
    n_pairs = n_models * (n_models + 2 * len(SCRIPTED))
    low, high = (n_pairs * values["n_cross"] * sample.n_actions * seconds for seconds in reply)
    return low + OVERHEAD / 3, high + OVERHEAD * 3


def _about(name: str, seconds: float) -> StageTime:
    return StageTime(name, seconds / 3, 3 * seconds)


def _reply(plan: Plan, speed: Speed, n_read: float, n_written: float, rows: int) -> float:
    return estimates.reply_seconds(plan.weights, plan.precision, plan.compute, n_read=n_read, n_written=n_written,
                                   rows=rows, speed=speed)  # fmt: skip


def training_seconds(values: Mapping[str, Any], sample: Sample, plan: Plan, speed: Speed) -> float:
    """Seconds of all optimiser steps of a round, with the reference's log-probs, and of the control's."""
    per_dialogue = plan.usual * sum(plan.weights) / speed.flops
    read = n_read(values, sample) * (6 if values["checkpointing"] else 4)
    return per_dialogue * (2 * n_kept(values, sample) + read * (1 + values["control"]))


def evaluation_seconds(values: Mapping[str, Any], plan: Plan, speed: Speed) -> float:
    """Seconds of all arms on all tasks: read for choices, else answered half as long as allowed."""
    total = 0.0
    for task in (*values["evals"], *values["safety_evals"]):
        items, n_requests = next((found for name, found in ITEMS.items() if task.startswith(name)), (1000, 1))
        is_group, limit = SUBJECTS.get(task, 1), values["eval_limit"] or items
        n_written = 1 if task.startswith(CHOICES) else values["max_gen_toks"] / 2
        seconds = _reply(plan, speed, EVAL_PROMPT, n_written, values["eval_batch"])
        total += min(items, limit * is_group) * n_requests * seconds
    return (2 + values["control"]) * total


def total(found: Sequence[StageTime], n_rounds: int = 1) -> Finding:
    """Say what all stages take together, the longest first."""
    besides = OVERHEAD * (N_STAGES + len(ROUND) * (n_rounds - 1))
    low, high = sum(s.low for s in found) + besides / 3, sum(s.high for s in found) + besides * 3
    parts = ", ".join(f"{s.name} {between(s.low, s.high)}" for s in sorted(found, key=lambda s: -s.high) if s.high)
    return Finding(OK, "total", f"{between(low, high)} for the whole run, an estimate: {parts}")


def check_evaluation(plan: Plan, values: Mapping[str, Any], free: int) -> Finding:
    """Compare a batch of notebook 07 with what is free: choices keep the logits of whole prompts."""
    rows, longest = values["eval_batch"], min(EVAL_PROMPT + values["max_gen_toks"], plan.shape.window)
    logits = rows * EVAL_PROMPT * plan.shape.vocabulary * (plan.compute + 4)
    keys = rows * longest * estimates.kv_bytes(plan.shape, plan.compute)
    precision = "nf4" if values["load_in_4bit"] else plan.precision
    weights = estimates.weight_bytes(plan.weights, precision, plan.compute)
    needed = weights + max(logits, keys) + estimates.MARGIN
    found = (f"{rows} items at a time take about {amount(needed)} of {amount(free)} free: weights {amount(weights)}, "
             f"logits {amount(logits)}, keys and values {amount(keys)}")  # fmt: skip
    if needed <= FULL * free:
        return Finding(OK, "evaluation", found)
    return Finding(PROBLEM if needed > free else WARNING, "evaluation", found, f"at most {amount(FULL * free)}",
                   "a smaller `eval_batch`")  # fmt: skip


def check_data(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Say of every task of the harness whether its items are there."""
    asked = {task: name for name in ("evals", "safety_evals") for task in values[name] if not task.startswith("maro_")}
    if not asked:
        return
    if not values["eval_data"]:
        yield Finding(WARNING, "data", f"{', '.join(asked)}: fetched from the hub when notebook 07 asks, after "
                      "hours", "", "fetch them before into a folder, and name it: `eval_data`")  # fmt: skip
        return
    from maro_lib.study.evaldata import DataError
    from maro_lib.study.harness import Harness, TaskError

    folder = located(values["eval_data"])
    harness, lacks = Harness(tuple(asked), folder, folder), dict[str, list[str]]()
    for task, name in asked.items():
        try:
            harness.sources(task)
        except (DataError, TaskError) as error:
            lacks.setdefault(name, []).append(first_line(error))
    for name, whys in lacks.items():
        stops = name == "evals"
        told = "; ".join(whys) + ("" if stops else " (left out)")
        yield Finding(PROBLEM if stops else WARNING, "data", told)
    if not lacks:
        yield Finding(OK, "data", f"{', '.join(asked)}: the items are in {values['eval_data']}")
