"""What credit rules are made of: `register`, which makes a function a rule, and what several rules compute alike.

The rules themselves stand in `decomposition`, which opens all of them, `credit_models`, `interaction` and `shapley`.
Taught in notebook 03.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from maro_lib.play.tables import encode, finite, require, trajectories

_DUST = 1e-9  # a relative difference this small is rounding; left alone, its sign would become a label


class CreditRule(NamedTuple):
    weigh: Callable[..., np.ndarray]  # (actions, **options) -> (n_actions,) weights
    formula: str
    source: str
    needs: tuple[str, ...]


CREDIT_RULES: dict[str, CreditRule] = {}


def register(formula: str, source: str, needs: str):
    """Make a function (actions, **options) -> weights a rule under its own name; `needs` are its columns."""

    def add(weigh):
        CREDIT_RULES[weigh.__name__] = CreditRule(weigh, formula, source, tuple(needs.split()))
        return weigh

    return add


OUTCOMES = ("success", "payoff")  # what R is: won or lost; or what was got, graded


def graded(actions: pd.DataFrame) -> np.ndarray:
    """Return R of each action's trajectory by what was got: above or below its role's mean, the farthest at 1 or -1."""
    require(actions, ["role", "payoff", "game", "agent"], "outcome 'payoff'")
    trajectory, first = trajectories(actions)
    above = centred(finite(actions, "payoff")[first], encode(actions, ["role"])[first])
    return (above / (np.abs(above).max(initial=0.0) or 1.0))[trajectory]


def outcome_of(actions: pd.DataFrame) -> np.ndarray:
    """Return R of each action's trajectory: 1 if it was won, -1 if lost; or what a column `outcome` says."""
    if "outcome" in actions:
        return finite(actions, "outcome")
    success = actions["success"].to_numpy(float, na_value=np.nan)
    if (bad := ~np.isin(success, (0, 1))).any():
        raise ValueError(f"column `success`: {bad.sum()} of {len(actions)} actions hold neither 0 nor 1")
    return 2 * success - 1  # (n_actions,)  R


def group_mean(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return each group's mean, by the group's code."""
    return np.bincount(groups, values) / np.bincount(groups)


def centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Subtract each group's mean; exactly 0 where the group is constant."""
    return settled(values - group_mean(values, groups)[groups], _DUST * np.abs(values).max(initial=0.0))


def settled(values, dust: float):
    """Take for 0 what is no more than rounding."""
    return np.where(np.abs(values) <= dust, 0.0, values)


def aligned(values: pd.Series, actions: pd.DataFrame, name: str) -> pd.Series:
    """Return `values` on the index of `actions`, NaN where there is none."""
    if values.index.has_duplicates or actions.index.has_duplicates:
        raise ValueError(f"{name}: matched by index, but labels occur twice; use actions.reset_index(drop=True) first")
    found = values.reindex(actions.index)
    if len(actions) and found.isna().all():
        raise ValueError(f"{name}: no value for any of the {len(actions)} actions; its index must be that of `actions`")
    return found


def measured(actions: pd.DataFrame, values: pd.Series | str, rule: str) -> np.ndarray:
    """Return measured values, a Series on the index of `actions` or a column's name, as weights; 0 where none is."""
    if isinstance(values, str):
        require(actions, [values], f"option `values` of rule {rule!r}")
        values = actions[values]
    weights = aligned(values, actions, "values").fillna(0.0).to_numpy(float)
    if not np.isfinite(weights).all():
        raise ValueError(f"values: {(~np.isfinite(weights)).sum()} are infinite")
    return weights


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise if an option's value lies outside its bounds."""
    if not low <= value <= high:
        raise ValueError(f"{name}: {value!r} is not between {low} and {high}")
