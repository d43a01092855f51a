"""Symbolic features of an action: what can be said of it in a number, from the columns of the `actions` table.

    x_f(a) = product over the tests of feature f          a test gives a number to every action

Features are data (`action_features.yaml`), not code: a file names tests of a fixed list and columns, and nothing in
it is ever run. LaRe (arXiv 2412.11120) lets a language model write such features as Python; here a person writes them.

    [equals, column, value]      1 where the column holds the value
    [flag, column]               1 where the column is true
    [filled, column]             1 where the column is not empty
    [first, column]              1 where its value is not empty and occurs for the first time in the game
    [faction, column, faction]   1 where the column names a character of that faction
    [names, column, faction]     1 where the text holds the name of a character of that faction, other than the actor
    [words, column, n]           the text's words beyond the first n, in units of n, at least 0
    [number, column]             the column's number
    [again, column]              log(1 + the actor's own earlier actions in the game with the same value)

Taught in notebook 03.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from maro_lib.play.tables import COMMON, encode, finite, require
from maro_lib.strict_yaml import StrictLoader, read_text
from maro_lib.wording import counted, nearest

FEATURES = Path(__file__).with_name("action_features.yaml")
GROUPS = ("action", "moment")


class Feature(NamedTuple):
    """One feature: its name, what it means, and the tests whose product it is."""

    name: str
    meaning: str
    tests: tuple[tuple, ...]


def read_features(path: Path | str = FEATURES) -> dict[str, list[Feature]]:
    """Read a file of features: those of the action and those of its moment."""
    try:
        groups = yaml.load(read_text(Path(path)), StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(groups, dict) or not groups.get("action") or set(groups) - set(GROUPS):
        raise ValueError(f"{path}: must hold features under `action`, and under `moment` if there are any")
    features = {group: [_feature(path, name, told) for name, told in (groups.get(group) or {}).items()]
                for group in GROUPS}  # fmt: skip
    if twice := {f.name for f in features["action"]} & {f.name for f in features["moment"]}:
        raise ValueError(f"{path}: feature `{min(twice)}` stands under `action` and under `moment`")
    return features


def describe_features(path: Path | str = FEATURES) -> pd.DataFrame:
    """Return the features with what they are of and what they mean, to be shown."""
    rows = [(group, f.name, f.meaning) for group, features in read_features(path).items() for f in features]
    return pd.DataFrame(rows, columns=["of", "feature", "meaning"])


def measure_features(actions: pd.DataFrame, path: Path | str = FEATURES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features of each action and of its moment, a column each, on the index of `actions`."""
    groups = _features_for(actions, path)
    by_step = np.lexsort((actions["step"].to_numpy(np.int64), encode(actions, ["game"])))
    ordered = actions.iloc[by_step].reset_index(drop=True)
    place = np.argsort(by_step)  # where each action stands in that order
    own, moment = (pd.DataFrame({f.name: _value(f, ordered)[place] for f in groups[group]}, actions.index)
                   for group in GROUPS)  # fmt: skip
    return own, moment


def _features_for(actions: pd.DataFrame, path: Path | str) -> dict[str, list[Feature]]:
    """Those of a file; of another world's actions, unless a file is given: their kinds, and the numbers they bear."""
    features = read_features(path)
    if Path(path) != FEATURES or "clue" in actions:  # a mystery's column
        return features
    kinds = [Feature(f"kind {k}", f"was of the kind {k}", (("equals", "kind", k),)) for k in sorted({*actions["kind"]})]
    common = {column.name for column in COMMON["actions"]} | {"weight", "outcome"}
    own = [c for c in actions.select_dtypes("number").columns if c not in common]
    return features | {"action": [*kinds, *(Feature(c, f"its {c}", (("amount", c),)) for c in own)]}


# --- tests -------------------------------------------------------------------------------------------
# (actions in order of game and step, the test's words) -> a number for each action


def _equals(actions: pd.DataFrame, column: str, value) -> np.ndarray:
    return (actions[column] == value).to_numpy(bool, na_value=False)


def _flag(actions: pd.DataFrame, column: str) -> np.ndarray:
    return (actions[column] == True).to_numpy(bool, na_value=False)  # noqa: E712 (a column of objects may hold None)


def _filled(actions: pd.DataFrame, column: str) -> np.ndarray:
    return (actions[column].notna() & (actions[column] != "")).to_numpy(bool)


def _first(actions: pd.DataFrame, column: str) -> np.ndarray:
    return _filled(actions, column) & ~actions.duplicated(["game", column]).to_numpy()


def _faction(actions: pd.DataFrame, column: str, faction: str) -> np.ndarray:
    characters = _characters(actions, faction)
    named = zip(actions["game"], actions[column], strict=True)
    return np.array([name in characters.get(game, ()) for game, name in named], dtype=bool)


def _names(actions: pd.DataFrame, column: str, faction: str) -> np.ndarray:
    characters = _characters(actions, faction)
    said = zip(actions["game"], actions["agent"], actions[column].fillna(""), strict=True)
    return np.array([any(name in text for name in characters.get(game, ()) if name != agent)
                     for game, agent, text in said], dtype=bool)  # fmt: skip


def _words(actions: pd.DataFrame, column: str, n: int) -> np.ndarray:
    counts = actions[column].fillna("").str.split().str.len().to_numpy(float)
    return np.maximum(counts / n - 1, 0)


def _number(actions: pd.DataFrame, column: str) -> np.ndarray:
    return finite(actions, column)


def _amount(actions: pd.DataFrame, column: str) -> np.ndarray:
    values = actions[column].fillna(0).to_numpy(float)
    return values / (np.abs(values).max(initial=0.0) or 1.0)


def _again(actions: pd.DataFrame, column: str) -> np.ndarray:
    return np.log1p(actions.groupby(["game", "agent", column], dropna=False).cumcount().to_numpy(float))


TESTS: dict[str, Callable[..., np.ndarray]] = {
    "equals": _equals, "flag": _flag, "filled": _filled, "first": _first, "faction": _faction, "names": _names,
    "words": _words, "number": _number, "amount": _amount, "again": _again,
}  # fmt: skip


def _characters(actions: pd.DataFrame, faction: str) -> dict[str, list[str]]:
    """Name a faction's characters by game."""
    cast = actions.loc[actions["faction"] == faction, ["game", "agent"]].drop_duplicates()
    return cast.groupby("game")["agent"].agg(list).to_dict()


def _value(feature: Feature, actions: pd.DataFrame) -> np.ndarray:
    value = np.ones(len(actions))
    for test, *words in feature.tests:
        require(actions, words[:1], f"feature {feature.name!r}")
        value *= TESTS[test](actions, *words)
    return value


# --- reading the file --------------------------------------------------------------------------------


def _feature(path: Path | str, name: str, told) -> Feature:
    place = f"{path}: feature `{name}`"
    if not isinstance(told, list) or len(told) < 2 or not isinstance(told[0], str):
        raise ValueError(f'{place}: must be ["its meaning", [test, ...], ...]')
    for test in told[1:]:
        if not isinstance(test, list) or not test or test[0] not in TESTS:
            word = test[0] if isinstance(test, list) and test else test
            raise ValueError(f"{place}: {word!r} is no test{nearest(word, TESTS)} (there are {', '.join(TESTS)})")
        n_words = len(inspect.signature(TESTS[test[0]]).parameters) - 1
        if len(test) - 1 != n_words or not all(isinstance(word, str | int | float) for word in test):
            raise ValueError(f"{place}: the test `{test[0]}` takes {counted(n_words, 'word')}")
    return Feature(name, told[0], tuple(map(tuple, told[1:])))
