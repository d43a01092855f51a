"""Social metrics: what played games say about those who played them.

    Victory    1 / rank of the culprit when all are ranked by the votes they got (MRR); beside it, who won
    TII        S / (S + B): S and B are the suspicion and the trust that others state about a character, as shares of
               the most they could; higher means more suspected. 0 / 0 counts as 1/2
    CIC        distinct clues found / clues that could be found
    ICI        (reasoning + communication + observation + creativity) / 80, each scored 0..20 by a judge
    SCI        (role-play / 20 + mean Rouge-L of the script sections as a judge reconstructs them) / 2

Beside who won stands who won with errors apart: in games in which no side lost a turn or a vote, that is, gave no legal
reply to it, corrections included. To leave out losers' errors alone would drop wins, and keep the losses like them.

`strict` is the default. `mirage` is what MIRAGE's code computes, for comparison with its leaderboard: the ranking adds
suspicion and takes off trust, ties go by seat, vain searches count as clues, and what is 0 / 0 has no value. (There one
neutral model rates each utterance; here the players' own ratings are all there is.) Taught in notebook 06.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from maro_lib.measure.judgements import ABILITIES, ROLE_PLAY, SECTION, TOP, Status
from maro_lib.statistics import bootstrap_mean
from maro_lib.wording import check_name

DEFINITIONS = ("strict", "mirage")
JUDGED = ("ICI", "SCI")
WHO = ["order", "script", "cell", "seat", "agent", "role", "faction"]
GAME = -1  # the seat of what belongs to a whole game
ERRORS_APART = "games won, errors apart"


class Ratings(NamedTuple):
    """What others state about one character: sums of suspicion and trust, and how many pairs of them."""

    suspicion: float
    trust: float
    n: int

    @property
    def shares(self) -> tuple[float, float]:
        """S and B."""
        return (self.suspicion / (2 * self.n), self.trust / (2 * self.n)) if self.n else (np.nan, np.nan)


# --- Victory -----------------------------------------------------------------------------------------


def reciprocal_rank(votes: Sequence[str], players: Sequence[str], culprits: Sequence[str], seed: int) -> float:
    """Return 1 / rank of the best-placed culprit among all players by votes; ties in an order drawn by the seed."""
    got = Counter(votes)
    drawn = np.random.default_rng(seed).permutation(len(players))
    return _first(sorted(range(len(players)), key=lambda seat: (-got[players[seat]], drawn[seat])), players, culprits)


def mirage_rank(
    votes: Sequence[str], players: Sequence[str], culprits: Sequence[str], ratings: Mapping[int, Ratings]
) -> float:
    """Return the same by MIRAGE's ranking: suspicion less trust, and as many points for a vote as there are players."""
    got = Counter(votes)
    points = [ratings[k].suspicion - ratings[k].trust + len(players) * got[p] for k, p in enumerate(players)]
    return _first(sorted(range(len(players)), key=lambda seat: -points[seat]), players, culprits)


def _first(ranking: Sequence[int], players: Sequence[str], culprits: Sequence[str]) -> float:
    return 1 / next(rank for rank, seat in enumerate(ranking, 1) if players[seat] in culprits)


def victory(games: pd.DataFrame) -> pd.Series:
    """Reciprocal rank of the culprits in each game, in the games' order."""
    rows = games[["votes", "players", "culprits", "seed"]].itertuples(index=False)
    return pd.Series([reciprocal_rank(*row) for row in rows], games.index, dtype=float)


def moves_lost(actions: pd.DataFrame) -> pd.Series:
    """Return what sums up to the turns and votes lost: 1 for each illegal reply, less 1 for each retry of it."""
    return ((~actions["legal"]).astype(int) - actions["retry"]) * actions["phase"].isin(("turn", "vote"))


# --- trust and clues ---------------------------------------------------------------------------------


def ratings_about(actions: pd.DataFrame, n_players: int) -> dict[int, Ratings]:
    """Sum up, for each seat, what the others state about it in one game; a rater's own seat holds -1."""
    rated = actions[(actions["kind"] == "rate") & actions["legal"]]
    tables = [np.stack(rated[name].to_list()) if len(rated) else np.zeros((0, n_players), int)
              for name in ("suspicion", "trust")]  # fmt: skip
    known = tables[0] >= 0  # who states the one states the other
    return {
        k: Ratings(*(float(t[known[:, k], k].sum()) for t in tables), n=int(known[:, k].sum()))
        for k in range(n_players)
    }


def trust_inclination(ratings: Ratings, mode: str = "strict") -> float:
    """TII of one character; nobody having said anything about it leaves it without a value."""
    s, b = ratings.shares
    if s + b == 0:
        return 0.5 if mode == "strict" else np.nan
    return s / (s + b)


def clue_investigation(actions: pd.DataFrame, reachable: int, mode: str = "strict") -> float:
    """CIC of those whose actions these are."""
    found = actions["clue"].dropna()
    n = (actions["kind"] == "search").sum() if mode == "mirage" else found[found != ""].nunique()
    return n / reachable if reachable else np.nan


# --- what a judge says -------------------------------------------------------------------------------


def interactivity(scores: Mapping[str, float]) -> float:
    """ICI of one character from its judge's scores; without all four there is none."""
    return sum(scores.get(name, np.nan) for name in ABILITIES) / (len(ABILITIES) * TOP)


def compliance(role_play: float, sections: Sequence[float]) -> float:
    """SCI of one character: its role-play score, and Rouge-L of its script's sections as they were reconstructed."""
    return (role_play / TOP + float(np.mean(sections))) / 2 if len(sections) else np.nan


# --- one table ---------------------------------------------------------------------------------------


def social(
    games: pd.DataFrame, actions: pd.DataFrame, judgements: pd.DataFrame | None = None, mode: str = "strict"
) -> pd.DataFrame:
    """Measure games: a row per game, character and metric; what belongs to the whole game has seat -1."""
    check_name("mode", mode, DEFINITIONS)
    of_game = dict(tuple(actions.groupby("order")))
    judged = dict(tuple(judgements.groupby("order"))) if judgements is not None else {}
    rows = []
    for game in games.itertuples():
        known = {"order": game.order, "script": game.digest, "cell": game.cell}
        for who, values in _measured(game, of_game[game.order], judged.get(game.order), mode):
            rows += [known | who | {"metric": metric, "value": value} for metric, value in values.items()]
    return pd.DataFrame(rows, columns=[*WHO, "metric", "value"])


_Measured = Iterator[tuple[dict[str, Any], dict[str, float]]]  # who it is (columns of WHO), and values by metric


def _measured(game: Any, actions: pd.DataFrame, judgements: pd.DataFrame | None, mode: str) -> _Measured:
    about = ratings_about(actions, len(game.players))
    yield from _whole_game(game, actions, about, mode)
    of_seat, marks = dict(tuple(actions.groupby("seat"))), {} if judgements is None else _marks(judgements, mode)
    for seat, name in enumerate(game.players):
        own = of_seat[seat]
        s, b = about[seat].shares
        values = {"S": s, "B": b, "TII": trust_inclination(about[seat], mode)}
        values["CIC"] = clue_investigation(own, game.clues_reachable, mode)
        if seat in marks:
            scores, sections = marks[seat]
            values["ICI"] = interactivity(scores)
            values["SCI"] = compliance(scores.get(ROLE_PLAY, np.nan), sections)
        role, faction = own[["role", "faction"]].iloc[0]
        yield {"seat": seat, "agent": name, "role": role, "faction": faction}, values


def _whole_game(game: Any, actions: pd.DataFrame, about: Mapping[int, Ratings], mode: str) -> _Measured:
    nobody = {"seat": GAME, "agent": "", "role": "", "faction": ""}
    is_clean = moves_lost(actions).sum() == 0
    for faction in sorted(set(game.factions)):
        won = float(game.winner == faction)
        yield nobody | {"faction": faction}, {"games won": won, ERRORS_APART: won if is_clean else np.nan}
    votes = (game.votes, game.players, game.culprits)
    rank = reciprocal_rank(*votes, game.seed) if mode == "strict" else mirage_rank(*votes, about)
    yield nobody, {"Victory": rank, "CIC, all together": clue_investigation(actions, game.clues_reachable, mode)}


def _marks(judgements: pd.DataFrame, mode: str) -> dict[int, tuple[dict[str, float], list[float]]]:
    """A judge's scores by seat: of abilities by their names, of sections as a list; `strict` leaves out empty ones."""
    counted = (Status.OK, Status.EMPTY) if mode == "mirage" else (Status.OK,)
    marks = {}
    for seat, judged in judgements.groupby("seat"):
        own = judged[judged["status"].isin(counted)]
        is_section = own["kind"] == SECTION
        scores = own[~is_section].set_index("kind")["score"].to_dict()
        marks[int(seat)] = (scores, own.loc[is_section, "score"].tolist())
    return marks


def with_judge(metric: str, judge: str) -> str:
    """A metric's name where its values are shown: what a judge gave carries the judge's name."""
    return f"{metric} ({judge})" if metric in JUDGED else metric


def overall(table: pd.DataFrame) -> pd.Series:
    """One number per metric in percent, over all characters and games, as a leaderboard has them."""
    kept = table[table["metric"].isin(("Victory", "TII", "ICI", "SCI", "CIC, all together"))]
    means = 100 * kept.groupby("metric")["value"].mean()
    return means.rename({"CIC, all together": "CIC"}).reindex(["Victory", "TII", "CIC", "ICI", "SCI"])


def by(table: pd.DataFrame, columns: list[str], seed: int = 0) -> pd.DataFrame:
    """Average a table of `social` by some of its columns and by metric; intervals resample mysteries."""
    known = table.dropna(subset="value")
    rows = []
    for key, part in known.groupby([*columns, "metric"], sort=False):
        mean = bootstrap_mean(part["value"], seed, groups=part["script"])
        values = {"mean": mean.mean, "low": mean.low, "high": mean.high, "games": part["order"].nunique()}
        rows.append(dict(zip([*columns, "metric"], key, strict=True)) | values | {"mysteries": mean.n})
    return pd.DataFrame(rows, columns=[*columns, "metric", "mean", "low", "high", "games", "mysteries"])
