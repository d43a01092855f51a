"""Credit that is learned: a small regressor predicts a character's outcome from the sum of what it did.

    R  ~  b_f + sum over t of theta_f . x(a_t)                           ridge, one fit per faction f
    w(a_t) = R / T + theta_f . x(a_t) - mean over the trajectory of theta_f . x

which is the action's share of the prediction, theta_f . x(a_t) + b_f / T, plus an equal share of what the prediction
missed: the weights of a trajectory sum to R. Where nothing is learned, theta = 0, this is R / T.

Fits are crossed by mystery: the games of one mystery are weighed by a fit on the others. A fit that has seen a game's
outcome recognises the game by its features and gives the outcome back; a weight has to say what such an action is
worth elsewhere. `credit_fit` returns the fitted models as a table.

What a sum can't tell: a kind of action that every character does equally often is worth nothing here. And what goes
along with winning counts as its cause: only `counterfactuals` tell the two apart.

Taught in notebook 03.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from maro_lib.learn.action_features import FEATURES, measure_features
from maro_lib.learn.rulebook import centred, check_range, outcome_of, register
from maro_lib.play.tables import trajectories
from maro_lib.wording import check_name, counted

_NEEDS = "game agent script step faction success"
_RIDGE = 30.0  # as many trajectories hold theta at 0; from 10 to 300 the ranks hardly change
_N_FOLDS = 5


class CrossFit(NamedTuple):
    """One ridge regression: it weighs a fold's trajectories of a faction, and was fitted on the other folds'."""

    fold: int
    faction: str
    coefficients: pd.Series  # theta_f by feature: what one more of it adds to R
    bias: float  # b_f
    n: int  # trajectories that it was fitted on
    explained: float  # share of the variance of R that it explains in its own fold, which it has not seen; NaN: none


@register(
    "R / T + v(a_t) - mean v, with v = theta . x(a_t): x symbolic features, theta fitted so that sum v predicts R",
    "LaRe, arXiv 2412.11120",
    needs=_NEEDS,
)
def latent(
    actions: pd.DataFrame, *, features: Path | str = FEATURES, ridge: float = _RIDGE, n_folds: int = _N_FOLDS,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Weigh actions by what they are: features that a person wrote down, fitted on other mysteries.

    LaRe has a language model write the features, a neural network on top, and no share of the residual.
    """
    value, _ = _learn(actions, "latent", features, ridge, n_folds, seed)
    return _shared(actions, value)


@register(
    "R / T + c_t - mean c + (grounding / T) (legal - mean legal): c_t fitted so that sum c predicts R",
    "SPA, arXiv 2505.20732",
    needs=f"{_NEEDS} legal",
)
def progress(
    actions: pd.DataFrame, *, features: Path | str = FEATURES, grounding: float = 0.5, ridge: float = _RIDGE,
    n_folds: int = _N_FOLDS, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Weigh actions by what they are and when: the features of `latent`, and each times each feature of the moment.

    SPA's estimator is a network on a language model's hidden states; this one fits on the tables, and knows no more of
    a text than its features. SPA's grounding is a bonus for every action that could be executed; here it is centred
    in the trajectory, so that weights still sum to R: added plainly, it would make most of a loser's moves desirable.
    """
    check_range("grounding", grounding, 0, 10)
    value, _ = _learn(actions, "progress", features, ridge, n_folds, seed)
    trajectory, _ = trajectories(actions)
    n_actions = np.bincount(trajectory)[trajectory]  # (n_actions,)  T
    return _shared(actions, value) + grounding / n_actions * centred(actions["legal"].to_numpy(float), trajectory)


def credit_fit(
    actions: pd.DataFrame, rule: str = "latent", *, features: Path | str = FEATURES, ridge: float = _RIDGE,
    n_folds: int = _N_FOLDS, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return the models behind a rule's weights: a row for each fold, faction and feature.

    `coefficient` is what one more of the feature adds to R, `n` the trajectories fitted on, `explained` the share of
    the variance of R that the fit explains in its fold, whose mysteries it has not seen (below 0: worse than the mean).
    """
    check_name("rule", rule, ("latent", "progress"))
    _, fits = _learn(actions, rule, features, ridge, n_folds, seed)
    parts = [f.coefficients.reset_index().assign(fold=f.fold, faction=f.faction, bias=f.bias, n=f.n,
                                                 explained=f.explained) for f in fits]  # fmt: skip
    columns = ["fold", "faction", "feature", "coefficient", "bias", "n", "explained"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


# --- fitting -----------------------------------------------------------------------------------------


def folds_of(scripts: pd.Series, n_folds: int, seed: int, what: str) -> np.ndarray:
    """Deal mysteries to folds and return each row's fold; raise if there is only one mystery."""
    mystery, titles = pd.factorize(scripts, sort=True, use_na_sentinel=False)
    if len(titles) < 2:
        raise ValueError(
            f"{what} learns from some mysteries what actions are worth in others, so it needs at least two; this table "
            f"has {counted(len(titles), 'mystery')}. Play more mysteries, or take a rule that learns nothing: uniform"
        )
    check_range("n_folds", n_folds, 2, 100)
    dealt = np.random.default_rng(seed).permutation(len(titles)) % n_folds
    return dealt[mystery]


def _learn(
    actions: pd.DataFrame, rule: str, features: Path | str, ridge: float, n_folds: int, seed: int
) -> tuple[np.ndarray, list[CrossFit]]:
    """Return what each action is worth to a fit that has not seen its mystery, and the fits by fold and faction."""
    check_range("ridge", ridge, 1e-6, 1e9)
    if not len(actions):
        return np.zeros(0), []
    own, moment = measure_features(actions, features)
    x = own if rule == "latent" else _by_moment(own, moment)
    trajectory, sums, seats = _by_trajectory(actions, x)
    fold, faction = folds_of(seats["script"], n_folds, seed, f"rule {rule!r}"), seats["faction"].to_numpy()
    r, value, fits = outcome_of(seats), np.zeros(len(actions)), []
    for k, side in product(range(fold.max() + 1), sorted(set(faction))):
        seen, held = (faction == side) & (fold != k), (faction == side) & (fold == k)
        theta, bias = _ridge(sums[seen], r[seen], ridge)
        rows = held[trajectory]
        value[rows] = x.to_numpy(float)[rows] @ theta
        missed = r[held] - bias - sums[held] @ theta
        coefficients = pd.Series(theta, pd.Index(x.columns, name="feature"), name="coefficient")
        fits.append(CrossFit(k, side, coefficients, bias, int(seen.sum()), _explained(missed, r[held])))
    return value, fits


def _by_trajectory(actions: pd.DataFrame, x: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return each action's trajectory, and per trajectory: the features' sums (whatever the rows' order), one row."""
    trajectory, first = trajectories(actions)
    by_step = np.lexsort((actions["step"].to_numpy(np.int64), trajectory))
    values, codes = x.to_numpy(float)[by_step], trajectory[by_step]
    sums = np.stack([np.bincount(codes, column) for column in values.T], axis=1)  # (n_trajectories, n_features)
    return trajectory, sums, actions.iloc[first]


def _ridge(sums: np.ndarray, r: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Minimise |r - b - sums theta|^2 + ridge |std theta|^2; a feature that never differs gets 0."""
    if not len(r):
        return np.zeros(sums.shape[1]), 0.0
    centre, std = sums.mean(0), sums.std(0)
    scale = np.where(std > 1e-9, std, 1.0)
    z = (sums - centre) / scale
    theta = np.linalg.solve(z.T @ z + ridge * np.eye(z.shape[1]), z.T @ (r - r.mean())) / scale
    return theta, float(r.mean() - centre @ theta)


def _explained(missed: np.ndarray, r: np.ndarray) -> float:
    varied = ((r - r.mean()) ** 2).sum() if len(r) else 0.0
    return float(1 - (missed**2).sum() / varied) if varied else np.nan


def _by_moment(own: pd.DataFrame, moment: pd.DataFrame) -> pd.DataFrame:
    """Return the features of the actions, and each of them times each feature of the moment."""
    products = {f"{a} x {m}": own[a] * moment[m] for a in own for m in moment}
    return pd.concat([own, pd.DataFrame(products, own.index)], axis=1)


def _shared(actions: pd.DataFrame, value: np.ndarray) -> np.ndarray:
    """Share R among a trajectory's actions: equally, but for what each is worth more than the trajectory's mean."""
    trajectory, _ = trajectories(actions)
    return outcome_of(actions) / np.bincount(trajectory)[trajectory] + centred(value, trajectory)
