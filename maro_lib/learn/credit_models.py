"""Credit that is learned: a small model tells a character's outcome from the sum of what it did.

`latent` and `progress` predict R, by one ridge regression per faction f:

    R  ~  b_f + sum over t of theta_f . x(a_t)
    w(a_t) = R / T + theta_f . x(a_t) - mean over the trajectory of theta_f . x

which is the action's share of the prediction, theta_f . x(a_t) + b_f / T, plus an equal share of what the prediction
missed: the weights of a trajectory sum to R. Where nothing is learned, theta = 0, this is R / T.

`implicit` tells the won of two trajectories of one mystery and role, and does not sum to R:

    P(won, lost) = sigmoid( sum over won of theta_f . u(a)  -  sum over lost of theta_f . u(a) )
    w(a) = theta_f . u(a),    u(a) = x(a) - mean x of the faction's actions in that phase

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
from maro_lib.learn.rulebook import centred, check_range, measured, outcome_of, register
from maro_lib.play.tables import encode, trajectories
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


@register(
    "theta . u(a), a step model's log-ratio to the usual play: u = x(a) - mean x in that phase, theta fitted so that"
    " the won of two trajectories of one mystery and role has the larger sum",
    "OPRL / iStar, arXiv 2509.19199",
    needs=f"{_NEEDS} role phase",
)
def implicit(
    actions: pd.DataFrame, *, features: Path | str = FEATURES, ridge: float = _RIDGE, n_folds: int = _N_FOLDS,
    seed: int = 0, values: pd.Series | str | None = None,
) -> np.ndarray:  # fmt: skip
    """Weigh actions by how much likelier a model makes them that was fitted by DPO on won and lost trajectories.

    OPRL fits a language model and takes beta log(pi_phi / pi_old) of a step. Here pi_phi(a) ~ pi_old(a) exp(theta .
    x(a)), log-linear in the features of `latent`, with pi_old the faction's actions in the same phase and the
    normaliser to first order: DPO's loss is then a logistic regression on differences of sums, and beta cancels.
    Nothing is fitted where `values` are given: an adapter's log-ratios (`log_ratios`), a Series or a column's name.
    """
    if values is not None:
        return measured(actions, values, "implicit")
    return _learn_pairs(actions, features, ridge, n_folds, seed)[0]


def credit_fit(
    actions: pd.DataFrame, rule: str = "latent", *, features: Path | str = FEATURES, ridge: float = _RIDGE,
    n_folds: int = _N_FOLDS, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return the models behind a rule's weights: a row for each fold, faction and feature.

    `coefficient` is what one more of the feature adds to R, `n` the trajectories fitted on, `explained` the share of
    the variance of R that the fit explains in its fold, whose mysteries it has not seen (below 0: worse than the mean).
    Of `implicit`, `n` counts pairs, and `explained` is the share of the log-loss of a coin that the fit saves.
    """
    check_name("rule", rule, ("latent", "progress", "implicit"))
    options = (features, ridge, n_folds, seed)
    _, fits = _learn_pairs(actions, *options) if rule == "implicit" else _learn(actions, rule, *options)
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


def _learn_pairs(
    actions: pd.DataFrame, features: Path | str, ridge: float, n_folds: int, seed: int
) -> tuple[np.ndarray, list[CrossFit]]:
    """Do as `_learn`, by pairs of trajectories and with features centred in their phase."""
    check_range("ridge", ridge, 1e-6, 1e9)
    if not len(actions):
        return np.zeros(0), []
    x, _ = measure_features(actions, features)
    usual, phase = x.to_numpy(float), encode(actions, ["faction", "phase"])
    trajectory, _, seats = _by_trajectory(actions, x)
    fold, faction = folds_of(seats["script"], n_folds, seed, "rule 'implicit'"), seats["faction"].to_numpy()
    won, lost = _pairs(outcome_of(seats), encode(seats, ["script", "role"]), seed)
    value, fits = np.zeros(len(actions)), []
    for k, side in product(range(fold.max() + 1), sorted(set(faction))):
        u = usual - _phase_means(usual, phase, fold[trajectory] != k)[phase]
        _, sums, _ = _by_trajectory(actions, pd.DataFrame(u, columns=x.columns))
        gap, of_side, seen = sums[won] - sums[lost], faction[won] == side, fold[won] != k
        theta = _logistic(gap[of_side & seen], ridge)
        rows = ((fold == k) & (faction == side))[trajectory]
        value[rows] = u[rows] @ theta
        coefficients = pd.Series(theta, pd.Index(x.columns, name="feature"), name="coefficient")
        saved = _saved(gap[of_side & ~seen] @ theta)
        fits.append(CrossFit(k, side, coefficients, 0.0, int((of_side & seen).sum()), saved))
    return value, fits


def _pairs(r: np.ndarray, group: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair won and lost trajectories of a group, each at least once; one group's outcomes move no other's pairs."""
    won, lost = [], []
    for code in np.unique(group):
        rng = np.random.default_rng([seed, code])
        sides = [rng.permutation(np.flatnonzero((group == code) & (r == sign))) for sign in (1, -1)]
        n = max(map(len, sides)) if all(map(len, sides)) else 0
        for pairs, side in zip((won, lost), sides, strict=True):
            pairs.append(np.resize(side, n))
    return np.concatenate(won), np.concatenate(lost)


def _phase_means(x: np.ndarray, phase: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the mean features of each phase (of a faction) among the actions seen."""
    n = np.bincount(phase[seen], minlength=phase.max() + 1)
    sums = [np.bincount(phase[seen], column[seen], minlength=len(n)) for column in x.T]
    return np.stack(sums, axis=1) / np.maximum(n, 1)[:, None]


def _logistic(gap: np.ndarray, ridge: float) -> np.ndarray:
    """Minimise sum log(1 + exp(-gap theta)) + ridge |std theta|^2 / 2 by Newton's steps."""
    scale = np.sqrt((gap**2).mean(0)) if len(gap) else np.zeros(gap.shape[1])
    scale = np.where(scale > 1e-9, scale, 1.0)
    z, theta = gap / scale, np.zeros(gap.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(z @ theta))  # (n_pairs,) of the wrong order
        step = np.linalg.solve((z.T * (p * (1 - p))) @ z + ridge * np.eye(len(theta)), z.T @ p - ridge * theta)
        theta = theta + step
    return theta / scale


def _saved(margin: np.ndarray) -> float:
    return float(1 - np.logaddexp(0, -margin).mean() / np.log(2)) if len(margin) else np.nan


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
