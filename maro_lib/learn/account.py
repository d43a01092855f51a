"""The account of a training: the numbers of each step, overall and per faction, as a curve and in words.

Kept by `trainer` and `guard`; read in notebook 05.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

# the columns of a step's account, a row for each of its actions; kl is the sum over tokens of exp(r) - 1 - r, which
# estimates KL(base || trained) where the base drew the tokens
ACCOUNT = ("action", "r", "loss", "slope", "kl")
FIRST = (  # columns of a curve; then come those of each faction, and of the quick games
    *("step", "epoch", "loss", "objective", "margin", "r_pos", "r_neg", "z0", "z0_next", "kl", "saturated"),
    *("n", "weight", "tokens", "grad_norm", "learning_rate"),
)
SATURATED = 0.01  # a sigmoid's slope below this share of its steepest teaches next to nothing


def step_numbers(account: torch.Tensor, actions: pd.DataFrame) -> dict[str, float]:
    """Return a step's numbers: all actions, and per faction; names are quantity or quantity/faction."""
    table = pd.DataFrame(account.cpu().numpy(), columns=ACCOUNT)
    known = actions.loc[table["action"].astype(int), ["faction", "desirable", "weight"]].reset_index(drop=True)
    table = table.join(known)
    numbers = _numbers(table)
    for faction, rows in table.groupby("faction"):
        numbers |= {f"{name}/{faction}": value for name, value in _numbers(rows).items()}
    return numbers


def _numbers(rows: pd.DataFrame) -> dict[str, float]:
    r_pos, r_neg = (rows.loc[rows["desirable"] == side, "r"].mean() for side in (True, False))
    return {
        "objective": rows["loss"].mean(),
        "r_pos": r_pos,
        "r_neg": r_neg,
        "margin": r_pos - r_neg,
        "saturated": (rows["slope"] < SATURATED).mean(),
        "kl": rows["kl"].mean(),
        "n": float(len(rows)),
        "weight": rows["weight"].sum(),
    }


def notes_of(history: Sequence[dict[str, float]], objective: str) -> list[str]:
    """Say of each step that taught nothing why."""
    taught = [(h["step"], _taught_nothing(h, objective)) for h in history if "objective" in h]
    return [f"step {step} taught nothing: {why}" for step, why in taught if why]


def _taught_nothing(numbers: dict[str, float], objective: str) -> str:
    if not numbers["weight"]:
        return "all weights are 0"
    flat = objective == "maro" and numbers["saturated"] == 1
    return "all sigmoids are saturated (beta or the learning rate is too high)" if flat else ""


def as_curve(history: list[dict[str, float]]) -> pd.DataFrame:
    """Turn a Trainer's log into one row per step (0: before training); quick games stand in the step they followed."""
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        if "objective" in entry or "legal" in entry:
            rows.setdefault(entry["step"], {}).update(entry)
    curve = pd.DataFrame([rows[step] for step in sorted(rows)])
    first = [name for name in FIRST if name in curve]  # a log that was saved and read again has another order
    return curve[[*first, *sorted({*curve} - {*first, "seconds"})]]  # two trainings that are alike have one curve


def seconds_of(history: Sequence[dict[str, float]]) -> float:
    """Sum the seconds that steps took, also those before an interrupt; of steps that were lost with it, none."""
    return sum(entry.get("seconds", 0.0) for entry in history)
