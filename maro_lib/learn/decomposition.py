"""Decomposition: one sparse outcome per character becomes a weight on each of its actions, by a credit rule.

    R = 2 Success(a_i, G) - 1  in {-1, +1},   t = 1..T counts the character's own actions in game G
    weight > 0: desirable, < 0: undesirable, |weight|: the sample's weight, 0: dropped

`credit_rules()` lists the rules with their formulas. A rule is one function under `@register` (actions, **options) ->
weights. Those here are closed formulas; those that are fitted or replayed stand in modules of their own.
No weight depends on the order of the table's rows.

Taught in notebook 03. The paper (MARO, arXiv 2601.12323) has only `uniform`; the others are baselines.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maro_lib.learn import credit_models, interaction, shapley  # noqa: F401  (importing them registers their rules)
from maro_lib.learn.rulebook import (
    CREDIT_RULES,
    OUTCOMES,
    CreditRule,
    aligned,
    centred,
    check_range,
    graded,
    group_mean,
    measured,
    outcome_of,
    register,
    settled,
)
from maro_lib.play.tables import encode, finite, require, trajectories
from maro_lib.statistics import Mean, bootstrap_mean
from maro_lib.wording import check_name, nearest

_RATING_DUST = 1e-6  # a difference of beliefs this small is rounding: they are stored as float32


def credit_rules() -> pd.DataFrame:
    """Return the rules' names, formulas and sources, to be shown."""
    rows = [{"name": name, "formula": rule.formula, "source": rule.source} for name, rule in _listed().items()]
    return pd.DataFrame(rows)


def cheap_rules() -> list[str]:
    """Return the names of the rules that weigh a table by itself: all that need no option, such as measured values."""
    return [name for name, rule in _listed().items() if not _needed_options(rule.weigh)]


def _listed() -> dict[str, CreditRule]:
    """Order the rules: this module's first, then by module, whichever was imported first."""
    modules = {name: rule.weigh.__module__ for name, rule in CREDIT_RULES.items()}
    order = sorted(CREDIT_RULES, key=lambda name: (modules[name] != __name__, modules[name]))
    return {name: CREDIT_RULES[name] for name in order}


def decompose(actions: pd.DataFrame, rule: str = "uniform", *, outcome: str = "success", **options) -> pd.Series:
    """Return every action's signed weight under a rule, on the index of `actions`.

    R is the outcome that the rule hands out: 1 or -1 by `success`, or graded by `payoff` (`rulebook.graded`).
    """
    check_name("rule", rule, _listed())
    check_name("outcome", outcome, OUTCOMES)
    if outcome == "payoff":
        actions = actions.assign(outcome=graded(actions))
    weigh, needs = CREDIT_RULES[rule].weigh, CREDIT_RULES[rule].needs
    _check_options(rule, weigh, options)
    require(actions, needs, f"rule {rule!r}")
    return pd.Series(weigh(actions, **options), index=actions.index, name="weight", dtype="float64")


def label(weights: pd.Series) -> pd.DataFrame:
    """Return `desirable` (the weight's sign) and `weight` (its absolute value), without the zeros."""
    if n_bad := int((~np.isfinite(weights)).sum()):
        raise ValueError(f"weights: {n_bad} of {len(weights)} are not finite numbers")
    kept = weights[weights != 0]
    return pd.DataFrame({"desirable": kept > 0, "weight": kept.abs()})


# --- rules: the outcome alone ------------------------------------------------------------------------


@register("R  (per_trajectory: R / T)", "MARO, arXiv 2601.12323", needs="success n_actions")
def uniform(actions: pd.DataFrame, *, per_trajectory: bool = False) -> np.ndarray:
    share = actions["n_actions"].to_numpy(float) if per_trajectory else 1.0
    return outcome_of(actions) / share


@register("R if t = T else 0", "the sparse outcome itself", needs="success t n_actions")
def terminal(actions: pd.DataFrame) -> np.ndarray:
    return np.where(_n_left(actions) == 0, outcome_of(actions), 0.0)


@register("gamma^(T - t) R", "discounted return", needs="success t n_actions")
def discounted(actions: pd.DataFrame, *, gamma: float = 0.9) -> np.ndarray:
    check_range("gamma", gamma, 0, 1)
    return gamma ** _n_left(actions) * outcome_of(actions)


# --- rules: the outcome against what the role usually gets -------------------------------------------


@register(
    "R - b(role) as it stood before this game; then b <- alpha b + (1 - alpha) mean R of the role; b = 0 at first",
    "SPIRAL (RAE), arXiv 2506.24119",
    needs="game order agent role success",
)
def role_baseline(actions: pd.DataFrame, *, alpha: float = 0.95) -> np.ndarray:
    check_range("alpha", alpha, 0, 1)
    trajectory, first = trajectories(actions)
    seats = actions.iloc[first][["order", "game", "role"]].assign(r=outcome_of(actions)[first])  # a row per trajectory
    place = ["order", "game", "role"]
    means = seats.groupby(place, dropna=False)["r"].mean()  # of a role in a game; in order of play
    before = pd.Series(_means_before(means, means.index.get_level_values("role"), alpha), means.index, name="b")
    baseline = seats.merge(before.reset_index(), on=place, how="left")["b"].to_numpy()  # (n_trajectories,)  b(role)
    return (seats["r"].to_numpy() - baseline)[trajectory]


@register(
    "A - mean_role A, with A = sum over k = t..T of (r_k - mean_role r)",
    "MARS, arXiv 2510.15414",
    needs="game agent role t n_actions success",
)
def turn_normalised(actions: pd.DataFrame, *, reward: str | None = None) -> np.ndarray:
    """Weigh turns by centred rewards to come; `reward` names a column, else R is paid at the last action.

    Paid so, a role that always won would still get weights, by the place of the payment alone: it gets zeros.
    """
    role = encode(actions, ["role"])
    turn_rewards = terminal(actions) if reward is None else _reward(actions, reward)  # (n_actions,)  r_t
    to_end = _sum_to_end(actions, centred(turn_rewards, role))
    varied = True if reward is not None else centred(outcome_of(actions), role) != 0
    return np.where(varied, centred(to_end, role), 0.0)


@register(
    "(R - mean R) / (std R + 1e-6), over the characters of one role in all games of one script",
    "Dr. MAS",
    needs="game agent role script success",
)
def agent_normalised(actions: pd.DataFrame) -> np.ndarray:
    trajectory, first = trajectories(actions)
    group = encode(actions, ["script", "role"])[first]
    above = centred(outcome_of(actions)[first], group)  # (n_trajectories,)  R - mean R
    std = np.sqrt(group_mean(above**2, group))
    return (above / (std[group] + 1e-6))[trajectory]


# --- rules: what the action itself changed -----------------------------------------------------------


@register(
    "+ (civilian) or - (culprit) change in the others' mean stated suspicion of the culprits from one rating to the"
    " next, shared equally by the public actions in between; before the first rating: prior",
    "Among Us, arXiv 2502.06060",
    needs="game agent faction step phase public belief",
)
def belief_shift(actions: pd.DataFrame, *, prior: float = 1.0) -> np.ndarray:
    """Weigh public actions by how the civilian raters moved; after the last rating, and in private: 0.

    Each rater moves from its own last statement, so one that was not understood in a round shifts no mean.
    """
    check_range("prior", prior, 0, 2)
    coded = _coded(actions)
    moves = _moves(coded[coded["belief"].notna() & ~coded["culprit"]], prior)
    deeds = _to_next_rating(coded[coded["public"]], moves)  # a row per public action that a rating follows
    n_others = deeds["n_raters"] - deeds["own"].notna()  # raters but the actor
    change = settled(deeds["total"] - deeds["own"].fillna(0.0), _RATING_DUST)  # of theirs, summed
    n_deeds = deeds.groupby(["game", "block"])["row"].transform("size")  # that share it
    sign = np.where(deeds["culprit"], -1.0, 1.0)
    weights = np.zeros(len(actions))
    weights[deeds["row"]] = np.where(n_others > 0, sign * change / n_others.clip(lower=1) / n_deeds, 0.0)
    return weights


@register(
    "R(G) - mean outcome with action t resampled from a snapshot  (given as `values`)",
    "the gold standard; scores the other rules",
    needs="",
)
def counterfactual(actions: pd.DataFrame, *, values: pd.Series | str) -> np.ndarray:
    """Take over measured values (`counterfactuals`): a Series on the index of `actions`, or a column's name.

    An action without a value was never resampled: nothing is known of it, so it gets 0 and is dropped.
    """
    return measured(actions, values, "counterfactual")


# --- comparing rules ---------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Agreement(Mean):
    """A mean rank correlation; `n` counts the trajectories (or games) that it is the mean of."""

    n_games: int
    n_silent: int  # counted as 0: here the first weights are constant, so they rank nothing
    n_skipped: int  # left out: fewer than two actions, or the second weights (the reference) are constant


def rank_agreement(
    weights_a: pd.Series, weights_b: pd.Series, actions: pd.DataFrame, seed: int, *,
    within: str = "trajectory", n_boot: int = 1000,
) -> Agreement:  # fmt: skip
    """Return the mean Spearman correlation of a rule's weights with a reference's, bootstrapped over games.

    Compared are the actions that have both. Where only the rule is constant it counts as 0: left out, a rule
    would be judged by the few trajectories on which it speaks. Where the reference is constant nothing can be ranked.
    """
    places = {"trajectory": ["game", "agent"], "game": ["game"]}
    check_name("within", within, places)
    require(actions, places[within], "rank_agreement")
    a, b = aligned(weights_a, actions, "weights_a"), aligned(weights_b, actions, "weights_b")
    both = (a.notna() & b.notna()).to_numpy()
    known = actions.loc[both, places[within]]
    place, game = encode(known, places[within]), encode(known, ["game"])
    rho, silent, skipped = _spearman(a[both].to_numpy(float), b[both].to_numpy(float), place)
    game_of = np.empty(rho.size, np.int64)
    game_of[place] = game
    mean = bootstrap_mean(rho[~skipped], seed, game_of[~skipped], n_boot=n_boot)
    return Agreement(
        mean.mean, mean.low, mean.high, n=int((~skipped).sum()), n_games=mean.n,
        n_silent=int((silent & ~skipped).sum()), n_skipped=int(skipped.sum()),
    )  # fmt: skip


def _spearman(a: np.ndarray, b: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per group: the rank correlation (0 if undefined), whether a is constant, whether b is."""
    ranks = pd.DataFrame({"a": a, "b": b}).groupby(groups).rank()  # ties share their mean rank
    x, y = (centred(ranks[c].to_numpy(), groups) for c in "ab")
    xx, yy, xy = np.bincount(groups, x * x), np.bincount(groups, y * y), np.bincount(groups, x * y)
    defined = (xx > 0) & (yy > 0)
    rho = np.where(defined, xy / np.sqrt(np.where(defined, xx * yy, 1.0)), 0.0)
    return rho, xx == 0, yy == 0


# --- values in groups --------------------------------------------------------------------------------


def _means_before(values: Iterable[float], groups: Iterable[str], alpha: float) -> list[float]:
    """Return for each value its group's running mean before it, 0 at first."""
    running, before = defaultdict(float), []
    for group, value in zip(groups, values, strict=True):
        before.append(running[group])
        running[group] = alpha * running[group] + (1 - alpha) * value
    return before


def _sum_to_end(actions: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Sum each trajectory's values from the action to the trajectory's last one."""
    trajectory = encode(actions, ["game", "agent"])
    latest_first = np.lexsort((-actions["t"].to_numpy(np.int64), trajectory))
    sums = np.empty(len(values))
    sums[latest_first] = pd.Series(values[latest_first]).groupby(trajectory[latest_first]).cumsum()
    return sums


# --- stated beliefs ----------------------------------------------------------------------------------


def _coded(actions: pd.DataFrame) -> pd.DataFrame:
    """Return what `belief_shift` reads, names as codes, by place in the table."""
    return pd.DataFrame(
        {
            "row": np.arange(len(actions)),
            "game": encode(actions, ["game"]),
            "agent": encode(actions, ["agent"]),
            "block": _rating_blocks(actions),
            "step": actions["step"].to_numpy(np.int64),
            "belief": actions["belief"].to_numpy(float, na_value=np.nan),
            "culprit": (actions["faction"] == "culprit").to_numpy(bool),
            "public": actions["public"].to_numpy(bool),
        }
    )


def _rating_blocks(actions: pd.DataFrame) -> np.ndarray:
    """Number ratings so that those given at one time, one after the other, share a number within their game."""
    by_step = np.lexsort((actions["step"].to_numpy(np.int64), encode(actions, ["game"])))
    blocks = np.empty(len(actions), np.int64)
    blocks[by_step] = np.cumsum((actions["phase"] != "rate").to_numpy()[by_step])
    return blocks


def _moves(ratings: pd.DataFrame, prior: float) -> pd.DataFrame:
    """Return each rater's change of belief per block of ratings, with the block's total, raters and first step."""
    ratings = ratings.sort_values(["game", "step"])
    last = ratings.groupby(["game", "agent"])["belief"].shift().fillna(prior)
    ratings = ratings.assign(own=ratings["belief"] - last)
    place = ["game", "block"]
    moves = ratings.groupby([*place, "agent"], as_index=False).agg(own=("own", "sum"), step=("step", "min"))
    blocks = moves.groupby(place).agg(total=("own", "sum"), n_raters=("agent", "size"), step=("step", "min"))
    return moves.drop(columns="step").join(blocks, on=place)


def _to_next_rating(deeds: pd.DataFrame, moves: pd.DataFrame) -> pd.DataFrame:
    """Join to each deed the first block of ratings after it (none: dropped) and the actor's own move there."""
    blocks = moves.drop_duplicates(["game", "block"])[["game", "block", "step", "total", "n_raters"]]
    deeds = deeds[["row", "game", "agent", "step", "culprit"]].sort_values("step")
    deeds = pd.merge_asof(deeds, blocks.sort_values("step"), on="step", by="game", direction="forward")
    deeds = deeds.dropna(subset="block")
    return deeds.merge(moves[["game", "block", "agent", "own"]], on=["game", "block", "agent"], how="left")


# --- reading the table -------------------------------------------------------------------------------


def _n_left(actions: pd.DataFrame) -> np.ndarray:
    t, n_actions = (actions[c].to_numpy(np.int64) for c in ("t", "n_actions"))
    if (bad := (t < 1) | (t > n_actions)).any():
        raise ValueError(f"column `t`: {bad.sum()} of {len(actions)} actions lie outside 1..n_actions")
    return n_actions - t  # (n_actions,)  T - t


def _reward(actions: pd.DataFrame, column: str) -> np.ndarray:
    require(actions, [column], "option `reward`")
    return finite(actions, column)


def _check_options(rule: str, weigh: Callable, options: dict) -> None:
    known = _options(weigh)
    for name in options:
        if name not in known:
            have = f"it has: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"rule {rule!r}: unknown option `{name}`{nearest(name, known)} ({have})")
    for name in _needed_options(weigh):
        if name not in options:
            raise ValueError(f"rule {rule!r} needs the option `{name}`: decompose(actions, {rule!r}, {name}=...)")


def _options(weigh: Callable) -> dict[str, inspect.Parameter]:
    return {n: p for n, p in inspect.signature(weigh).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _needed_options(weigh: Callable) -> list[str]:
    return [name for name, p in _options(weigh).items() if p.default is p.empty]
