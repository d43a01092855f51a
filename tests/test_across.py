"""Across worlds: a player in every party's seats, beside its base and beside greedy ones; changes paired by game."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from maro_lib.measure.encounters import encounter
from maro_lib.measure.matches import BASE, CONTROL, MARO
from maro_lib.play.policies import RANDOM, SKILLED, Mixture, Styled
from maro_lib.run.quick import quick_problems
from maro_lib.run.sweep_results import _abroad
from maro_lib.runs import run_folder
from maro_lib.study.across import (
    COLUMNS,
    EVERYBODY,
    GREEDY,
    PARTY,
    Venue,
    by_temperature,
    changed,
    changes_everywhere,
    companies,
    in_tasks,
    matrix,
    meet,
    paid_at_home,
)
from maro_lib.study.maps import GOALS
from maro_lib.study.scenes import GOAL, NO_GOAL
from maro_lib.worlds.registry import WorldError

FAIR = Styled("fair")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Greedy fishers in the place of fair ones, and the fair ones themselves."""
    games, at = Venue("commons").held_out(12, 6, 0), tmp_path_factory.mktemp("lake")
    return {
        name: meet(games, player, FAIR, at / name) for name, player in (("greedy", Styled("greedy")), ("fair", FAIR))
    }


def found(table, who, measure):
    return table.set_index(["who", "measure"]).loc[(who, measure)]


def test_greed_pays_one_and_costs_all(lake):
    table = changed(MARO, "commons", lake["greedy"], lake["fair"])
    assert list(table) == COLUMNS
    assert found(table, PARTY, "own payoff")["low"] > 0
    assert found(table, PARTY, "payoff of the others")["high"] < 0
    assert found(table, EVERYBODY, "payoff of all")["high"] < 0
    assert found(table, EVERYBODY, GOALS)["change"] == -100, "in points: all of them reached it, now nobody does"
    assert "payoff of the others" not in set(table.loc[table["who"] == EVERYBODY, "measure"]), "there are no others"
    assert (table["change"] - (table["trained"] - table["base"])).abs().max() < 1e-9


def test_a_player_is_also_met_beside_greedy_ones_where_a_world_has_such(lake):
    assert companies("commons") == ("", GREEDY)
    assert companies("coordination") == companies("mystery") == ("",)
    assert set(lake["fair"]) == {(PARTY, ""), (PARTY, GREEDY), (EVERYBODY, "")}
    alone, among = (lake["fair"][PARTY, beside]["payoff"].mean() for beside in (GREEDY, ""))
    assert alone < among / 2, "a fair fisher among greedy ones is eaten"


def test_parties_of_a_table_are_averaged(tmp_path):
    games = Venue("buying").held_out(8, 4, 0)
    met = meet(games, SKILLED, RANDOM, tmp_path)
    folders = {folder.name for folder in tmp_path.iterdir() if folder.suffix != ".lock"}
    assert {"base-seller", "base-buyer", "base-all_seats", "greedy-seller", "greedy-buyer"} == folders
    assert len(met[PARTY, ""]) == 8, "a row per game, not per party"
    by_party = [encounter(games, SKILLED, RANDOM, party)["payoff"].mean() for party in ("seller", "buyer")]
    assert met[PARTY, ""]["payoff"].mean() == pytest.approx(np.mean(by_party)), "as often the one as the other"


def test_a_team_of_all_is_everybody_and_sides_are_parties(tmp_path):
    assert set(meet(Venue("coordination").held_out(2, 1, 0), RANDOM, RANDOM, tmp_path / "graph")) == {(EVERYBODY, "")}
    assert set(meet(Venue("mystery").held_out(2, 1, 0), RANDOM, RANDOM, tmp_path / "case")) == {(PARTY, "")}


def test_held_out_scenarios_are_not_those_of_the_run():
    place = Venue("donor")
    mine, theirs = ({game.script.digest for game in games(60, 30, 0)} for games in (place.games, place.held_out))
    assert len(mine) == len(theirs) == 30
    assert not mine & theirs


def test_a_venue_that_there_is_not_is_refused_when_it_is_named():
    with pytest.raises(WorldError, match="did you mean 'commons'"):
        Venue("comons")
    with pytest.raises(WorldError, match="commons has no 'playrs'"):
        Venue("commons", ["playrs=3"])
    [game] = Venue("commons", ["players=3"], "prose").games(1, 1, 0)
    assert (len(game.script.names), game.script.register_) == (3, "prose")


def test_base_is_played_once_for_all_trials_of_a_sweep(tmp_path, monkeypatch):
    games, pool = Venue("commons").held_out(2, 1, 0), tmp_path / "pool"
    first = meet(games, FAIR, FAIR, tmp_path / "a", pool=pool)
    monkeypatch.setattr(Styled, "act", lambda *_: pytest.fail("played again"))
    again = meet(games, FAIR, FAIR, tmp_path / "b", pool=pool)
    for key, table in first.items():
        pd.testing.assert_frame_equal(table, again[key])


def test_a_sweep_has_a_row_per_world_and_measure_and_the_matrix_finds_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    rows = [(learned, world, who, GOALS, 3.0, 1.0, 5.0, 9, 40.0, 43.0)
            for learned in (MARO, CONTROL) for world in ("commons", "trust") for who in (PARTY, EVERYBODY)]  # fmt: skip
    run_folder("s/commons").mkdir(parents=True)
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(run_folder("s/commons") / "abroad.parquet")
    series = SimpleNamespace(steps=[SimpleNamespace(number="15")], run="s/commons")
    told = pd.DataFrame(_abroad(SimpleNamespace(series=series)))
    assert set(told["measure"]) == {f"{GOALS}, in commons", f"{GOALS}, in trust"}
    assert {"learned", "who", "measure", "value", "low", "high", "n", "base", "trained"} == set(told)
    cells = told["learned"].map({MARO: "commons", CONTROL: f"commons, {CONTROL}"})
    tiles = matrix(told.assign(trial="t", cell=cells, seed=0))
    assert tiles.set_index(["learned", "who", "kind"])["own"].to_dict() == {
        (learned, who, world): world == "commons"
        for learned in (MARO, CONTROL) for who in (PARTY, EVERYBODY) for world in ("commons", "trust")
    }  # fmt: skip
    assert set(tiles["cell"]) == {"commons"}
    assert np.allclose(tiles["change"], 3.0)
    seeds = [told.assign(trial="t", cell=cells, seed=seed) for seed in range(3)]
    assert matrix(pd.concat(seeds[:2]))["low"].isna().all(), "two that came out alike are no interval"
    assert np.allclose(matrix(pd.concat(seeds))["low"], 3.0)
    other = SimpleNamespace(series=SimpleNamespace(steps=[SimpleNamespace(number="05")], run="s/commons"))
    assert not [*_abroad(other)], "a trial without notebook 15 has none"


def test_what_a_training_paid_is_read_at_home_of_one_party_and_of_all():
    own, others, welfare = (f"{what}, in trust" for what in ("own payoff", "payoff of the others", "payoff of all"))
    rows = [
        ("trust", PARTY, own, 4.0, 1.0, 7.0), ("trust", PARTY, others, -3.0, -5.0, -1.0),
        ("trust", PARTY, welfare, 9.0, 8.0, 10.0), ("trust", EVERYBODY, own, 9.0, 8.0, 10.0),
        ("trust", EVERYBODY, welfare, -2.0, -4.0, 0.0), (f"trust, {CONTROL}", PARTY, own, 0.5, -1.0, 2.0),
        ("trust", PARTY, "own payoff, beside greedy ones, in trust", 9.0, 8.0, 10.0),
        ("trust", PARTY, "own payoff, in commons", 9.0, 8.0, 10.0),
    ]  # fmt: skip
    results = pd.DataFrame(rows, columns=["cell", "who", "measure", "value", "low", "high"])
    paid = paid_at_home(results.assign(arm="trust", seed=0, base=10.0))
    assert paid.set_index(["learned", "part"])[["change", "clear"]].T.to_dict("list") == {
        (MARO, "own"): [4.0, 1], (MARO, "others"): [-3.0, -1], (MARO, "all"): [-2.0, 0], (CONTROL, "own"): [0.5, 0],
        (MARO, "own, beside greedy"): [9.0, 1],
    }  # fmt: skip


def test_a_task_is_a_place_whose_goal_is_a_right_answer():
    right = {BASE: [0, 0, 1, 1], MARO: [0, 1, 1, 1], CONTROL: [0, 0, 1, 1]}
    skill = {"family": "skills", "task": "maro_where", "level": "1", "scene": None, "misled": None}
    asked = [skill | {"arm": arm, "item": str(k), "right": x} for arm, of in right.items() for k, x in enumerate(of)]
    scene = {"family": "skills", "task": "maro_honesty", "scene": "a", "right": 1, "misled": 0}
    scenes = [scene | {"arm": arm, "level": level, "item": level} for arm in right for level in (GOAL, NO_GOAL)]
    answers = pd.DataFrame([*asked, *scenes]).astype({"misled": "Int64"})
    table = in_tasks(answers)
    assert list(table) == COLUMNS
    assert set(table["world"]) == {"where", "honesty"}, "answers where a goal asks for a lie; neither lies nor no goal"
    assert set(table["measure"]) == {GOALS}
    own = table.set_index(["learned", "world"])
    assert own.loc[(MARO, "where"), ["change", "base", "trained", "n"]].tolist() == [25.0, 50.0, 75.0, 4]
    assert own.loc[(CONTROL, "where"), "change"] == 0
    assert in_tasks(answers.head(0)).empty


def test_a_task_that_there_is_not_is_refused_before_anything_is_played():
    assert "asked: maro_wher: there is no such task" in " ".join(quick_problems({"asked": ["maro_wher"]}))
    assert not [*quick_problems({"asked": ["maro_where"]})]


def test_changes_are_those_of_every_world_and_player_and_none_where_nothing_is_played(tmp_path):
    places = [Venue(world).held_out(2, 1, 0) for world in ("commons", "coordination")]
    table = changes_everywhere(places, {"a": SKILLED, "b": RANDOM}, RANDOM, tmp_path)
    assert set(zip(table["learned"], table["world"], strict=True)) == {
        (name, world) for name in "ab" for world in ("commons", "coordination")
    }
    same = table[(table["learned"] == "b") & table["change"].notna()]
    assert not same["change"].any(), "base in the place of base changes nothing"
    assert list(changes_everywhere([], {"a": SKILLED}, RANDOM, tmp_path)) == COLUMNS


def test_base_in_all_seats_is_played_once_whatever_the_party(tmp_path):
    games = Venue("buying").held_out(4, 2, 0)
    met = meet(games, FAIR, FAIR, tmp_path)
    assert {folder.name for folder in tmp_path.iterdir() if folder.is_dir()} == {
        "base", "greedy-seller", "greedy-buyer"}  # fmt: skip
    alone = [encounter(games, FAIR, FAIR, party)["payoff"] for party in ("seller", "buyer")]
    assert met[PARTY, ""]["payoff"].to_numpy() == pytest.approx(sum(alone).to_numpy() / 2)


def test_players_are_compared_by_temperature(tmp_path):
    """Here: by the share of random moves; where no choice is declared as cooperative, by success."""
    games = Venue("commons").held_out(12, 6, 0)
    players = {"fair": lambda t: Mixture(1 - t, 1.0, 0.0), "greedy": lambda _: Styled("greedy")}
    table = by_temperature(games, players, (0.0, 1.0), tmp_path)
    assert list(table["who"]) == ["fair", "fair", "greedy", "greedy"]
    assert set(table["measure"]) == {"cooperation"}
    fair, greedy = (table[table["who"] == who] for who in players)
    assert fair["change"].iloc[1] < -0.2
    assert greedy["change"].iloc[1] == 0, "the same player in the same games"
    assert fair["mean"].iloc[0] > greedy["mean"].iloc[0]
    mysteries = Venue("mystery").held_out(4, 2, 0)
    assert set(by_temperature(mysteries, {"it": lambda _: RANDOM}, (1.0,), tmp_path)["measure"]) == {"success"}


def test_no_temperature_is_refused_before_anything_is_played():
    assert "temperatures: none is given" in " ".join(quick_problems({"temperatures": []}))
    assert not [*quick_problems({"temperatures": [1.0]})]
