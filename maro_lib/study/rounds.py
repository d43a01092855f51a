"""Rounds: what playing, decomposing, balancing and training again and again has brought, round by round.

The series runner drives the rounds (`maro_iterations`, see `maro_lib.run.series`); here they are read, for tables and
figures. A round that has not come so far is there, with nothing in it. Used in notebook 12 and by a run's report.
"""

from __future__ import annotations

from maro_lib.play.shards import read_table
from maro_lib.runs import ROUND, finish_file, learned_adapter, needs, read_headline, round_name, run_folder, shown
from maro_lib.statistics import Mean, win_rate
from maro_lib.world.scripts import FACTIONS

PLAYED = ROUND[0]


def wins_by_round(run: str, n_rounds: int) -> dict[str, list[Mean]]:
    """How often each faction won, round by round, of the games in which the learner played it."""
    rounds = [_wins(round_name(run, k)) for k in range(1, n_rounds + 1)]
    return {faction: [wins[faction] for wins in rounds] for faction in sorted(FACTIONS)}


def adapters_of(run: str, n_rounds: int) -> dict[str, str]:
    """Name what each round has learned, and what the last one's control has, where there is one."""
    learned = {f"round {k}": shown(learned_adapter(run, k)) for k in range(1, n_rounds + 1)}
    control = run_folder(round_name(run, n_rounds)) / "control" / "adapter"
    return learned | ({"control": shown(control)} if control.exists() else {})


def _wins(run: str) -> dict[str, Mean]:
    if not finish_file(run, PLAYED).exists():
        return dict.fromkeys(FACTIONS, win_rate([]))
    games = read_table(needs(run, "rollout"), "games", ["policies", "factions", "winner"])
    learner = read_headline(run, PLAYED).get("learner")
    rates = {}
    for faction in FACTIONS:
        seats = (zip(p, f, strict=True) for p, f in zip(games["policies"], games["factions"], strict=True))
        mine = [learner is None or (learner, faction) in game for game in map(set, seats)]
        rates[faction] = win_rate(games.loc[mine, "winner"] == faction)
    return rates
