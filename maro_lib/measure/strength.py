"""Strength: who plays better, as which side, and how much that decides, from games of everybody against everybody.

    log p / (1 - p) = v (m - d) + edge        p: the culprits win

m is the strength of whoever plays the culprits, d of whoever plays the civilians, v how much skill decides in a kind of
mystery. Games show differences only, in an unknown unit. So one contender, the reference, stands at 0 on both sides,
and v is 1 in the first kind. The edge is what the culprits' role brings in a kind, where the reference plays itself.
Strengths are log-odds: 0.7 more doubles the odds. Mini-Mafia (arXiv 2509.23023) has no edge: within one kind it is part
of m; between kinds it would pass for skill.

Fitted by maximum likelihood. Every pair is given half a game more that each side wins: who wins all games would else be
infinitely strong. Intervals resample mysteries. Taught in notebook 12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

EXTRA = 0.5  # games that each side of a pair wins besides
EDGE, SKILL = "edge", "v"  # what a fit tells besides how strong contenders are as a faction
PAIR = ["kind", "civilians", "culprits"]
LONGEST_STEP, DAMPING = 2.0, 1e-3  # of the fit: where it ends does not depend on them


def pair_counts(games: pd.DataFrame) -> pd.DataFrame:
    """Count, per pair and kind of mystery, the games of known outcome, and those that the culprits won."""
    counted = games.assign(culprits_won=1 - games["civilians_won"]).groupby(PAIR, sort=False)["culprits_won"]
    return counted.agg(games="count", culprits_won="sum").reset_index()


def fit_strengths(pairs: pd.DataFrame, reference: str) -> pd.Series:
    """Fit the counts of pairs; return strengths by faction and contender, edge and v by kind."""
    model = Model.of(pairs, reference)
    return model.told(model.fit(pairs[["games"]].to_numpy().T, pairs[["culprits_won"]].to_numpy().T)).loc[0]


def strengths(games: pd.DataFrame, reference: str, seed: int = 0, n_boot: int = 200) -> pd.DataFrame:
    """Fit games, a row each; return every strength with its interval over mysteries."""
    pairs = pair_counts(games)
    model, drawn = Model.of(pairs, reference), _drawn(games, pairs, seed, n_boot)
    low, high = np.percentile(model.told(model.fit(*drawn)), [2.5, 97.5], axis=0)
    return pd.DataFrame({"strength": fit_strengths(pairs, reference), "low": low, "high": high})


def chance_of_culprits(found: pd.Series, civilians: str, culprits: str, kind: str) -> float:
    """Return p of a pair, from what was fitted."""
    more = found["culprit", culprits] - found["civilian", civilians]
    return float(expit(found[SKILL, kind] * more + found[EDGE, kind]))


def _drawn(games: pd.DataFrame, pairs: pd.DataFrame, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw mysteries anew, of each kind as many as there are; return games and culprits' wins, (n, n_pairs) each."""
    rng, of_pair = np.random.default_rng(seed), pd.MultiIndex.from_frame(pairs[PAIR])
    counted = games.assign(won=1 - games["civilians_won"]).groupby(["script", *PAIR])["won"].agg(["count", "sum"])
    counts = counted.unstack("script", fill_value=0).reindex(of_pair)
    played, won = counts["count"].to_numpy(float), counts["sum"].to_numpy(float)  # (n_pairs, n_scripts)
    times = np.zeros((n, played.shape[1]), int)
    for kind in pairs["kind"].unique():
        own = np.flatnonzero(played[pairs["kind"] == kind].any(axis=0))
        times[:, own] += rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=n)
    return times @ played.T, times @ won.T


@dataclass(frozen=True)
class Model:
    """Who meets whom: of each pair the places of its civilians, its culprits and its kind."""

    names: list[str]  # the reference first
    kinds: list[str]
    civilians: np.ndarray  # (n_pairs,)
    culprits: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, pairs: pd.DataFrame, reference: str) -> Model:
        names = [*dict.fromkeys([reference, *pairs["civilians"], *pairs["culprits"]])]
        for side in ("civilians", "culprits"):
            if absent := {*names} - {*pairs[side]}:
                raise ValueError(f"nobody knows how strong {', '.join(sorted(absent))} is as {side}: no games; let "
                                 "everybody play both sides")  # fmt: skip
        kinds = [*dict.fromkeys(pairs["kind"])]
        places = [pairs[column].map(known.index).to_numpy() for column, known in
                  (("civilians", names), ("culprits", names), ("kind", kinds))]  # fmt: skip
        return cls(names, kinds, *places)

    def parts(self, x: np.ndarray) -> list[np.ndarray]:
        """Take m, d, the edges and v apart, (n_fits, ...); m and d of the reference are 0, v of the first kind is 1."""
        n, k, first = len(self.names) - 1, len(self.kinds), np.zeros((len(x), 1))
        m, d, edge, v = np.split(x, [n, 2 * n, 2 * n + k], axis=1)
        return [np.hstack([first, m]), np.hstack([first, d]), edge, np.hstack([first + 1, v])]

    def fit(self, games: np.ndarray, won: np.ndarray) -> np.ndarray:
        """Return the likeliest unknowns of each row of counts, (n_fits, n_unknown), by Fisher's scoring."""
        games, won, n, k = games + 2 * EXTRA, won + EXTRA, len(self.names), len(self.kinds)
        x = np.tile(np.repeat([0.0, 1.0], [2 * (n - 1) + k, k - 1]), (len(games), 1))  # equals; skill decides alike
        is_m, is_d = np.eye(n)[self.culprits][:, 1:], np.eye(n)[self.civilians][:, 1:]  # (n_pairs, ...)
        is_kind = np.broadcast_to(np.eye(k)[self.kind], (len(x), len(self.kind), k))
        for _ in range(100):
            m, d, edge, v = self.parts(x)
            more, v = m[:, self.culprits] - d[:, self.civilians], v[:, self.kind]  # (n_fits, n_pairs)
            p = expit(v * more + edge[:, self.kind])
            slope = np.concatenate(
                [v[..., None] * np.hstack([is_m, -is_d]), is_kind, more[..., None] * is_kind[..., 1:]], axis=-1
            )
            information = np.einsum("bpi,bpj->bij", slope * (games * p * (1 - p))[..., None], slope)
            information += DAMPING * np.eye(x.shape[1])
            step = np.linalg.solve(information, np.einsum("bpi,bp->bi", slope, won - games * p)[..., None])[..., 0]
            x += step / np.maximum(1, np.abs(step).max(axis=1, keepdims=True) / LONGEST_STEP)
            if np.abs(step).max() < 1e-8:
                break
        return x

    def told(self, x: np.ndarray) -> pd.DataFrame:
        """Name what was fitted, a row for each fit."""
        m, d, edge, v = self.parts(x)
        index = [(faction, name) for faction in ("civilian", "culprit") for name in self.names]
        index += [(what, kind) for what in (EDGE, SKILL) for kind in self.kinds]
        return pd.DataFrame(np.hstack([d, m, edge, v]), columns=pd.MultiIndex.from_tuples(index))
