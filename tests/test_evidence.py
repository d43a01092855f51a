"""Laws of the evidence: its control is fair, its intervals resample mysteries, what is kept is what was found."""

import numpy as np
import pandas as pd
import pytest
from synthetic import make_actions

from maro_lib.learn.balancing import shuffle_outcomes
from maro_lib.model.loading import STUDY_ADAPTER
from maro_lib.runs import MissingInput, located
from maro_lib.study.evidence import (
    BASE,
    Findings,
    arms_of,
    collected,
    gains_table,
    leads,
    read_findings,
    save_findings,
    select_arms,
    spread,
    summarise,
)
from maro_lib.study.habits import HABITS, force


@pytest.fixture(scope="module")
def actions():
    return make_actions(80, seed=1)


def outcomes(actions):
    return actions.groupby(["game", "faction"])["success"].first().unstack()


def test_shuffled_labels_keep_every_share_of_wins(actions):
    before, after = outcomes(actions), outcomes(shuffle_outcomes(actions, 0))
    assert before.mean().tolist() == after.mean().tolist()
    assert (after["civilian"] + after["culprit"] == 1).all(), "one side wins each game, as before"


def test_shuffled_labels_say_nothing_about_the_game(actions):
    before = outcomes(actions)["civilian"]
    agree = [np.mean(outcomes(shuffle_outcomes(actions, s))["civilian"] == before) for s in range(40)]
    p = before.mean()
    assert np.mean(agree) == pytest.approx(p * p + (1 - p) * (1 - p), abs=0.03)


def test_shuffling_depends_on_the_seed_and_not_on_the_order_of_rows(actions):
    one = shuffle_outcomes(actions, 7)["success"]
    mixed = shuffle_outcomes(actions.sample(frac=1, random_state=0), 7)["success"]
    assert mixed.sort_index().tolist() == one.tolist()
    assert shuffle_outcomes(actions, 8)["success"].tolist() != one.tolist()


def toy(gain_civilian: float, gain_culprit: float, seed: int = 0) -> pd.DataFrame:
    """200 games of 20 mysteries: base civilians win every fifth; the trained ones some more, or let fewer win."""
    order = np.arange(200)
    base = order % 5 == 0
    won = {"nobody": base, "civilian": base | (order % 200 < 200 * gain_civilian),
           "culprit": base & (order % 200 >= 200 * gain_culprit)}  # fmt: skip
    constant = {"victory": 0.5, "right_votes": 0.5, "legal_civilian": 1.0, "legal_culprit": 0.9, "seed": seed}
    constant |= {"asks_civilian": 0.3, "asks_culprit": 0.7}
    return pd.concat(
        pd.DataFrame({"game": order, "order": order, "script": [f"m{k % 20}" for k in order], "trained": who,
                      "civilians_won": w.astype(float), **constant, "arm": BASE if who == "nobody" else "MARO"})
        for who, w in won.items()
    )  # fmt: skip


def changes(results, measure="games won"):
    table = summarise(results)
    return table[table["measure"] == measure].set_index(["seed", "who"]).drop(columns=["arm", "measure"])


def test_summary_has_a_row_per_seed_and_one_for_all():
    table = changes(pd.concat([toy(0.5, 0.5), toy(0.0, 0.0, seed=1)]))
    assert table.loc[("0", "civilian"), "change"] == 40.0  # of the first 100 games 80 were lost by base
    assert table.loc[("0", "civilian"), ["trained", "base"]].tolist() == [60.0, 20.0]
    assert table.loc[("0", "culprit"), "change"] == 10.0  # and 20 won
    assert table.loc[("0", "culprit"), ["trained", "base"]].tolist() == [90.0, 80.0]
    assert table.loc[("1", "civilian"), "change"] == 0.0
    assert table.loc[("all", "civilian"), "change"] == 20.0
    # Student, two seeds: 20 +- 12.706 * 28.28 / sqrt(2)
    assert table.loc[("all", "civilian"), ["low", "high"]].tolist() == [pytest.approx(-234.1), pytest.approx(274.1)]
    assert (table["low"] <= table["change"]).all()
    assert (table["change"] <= table["high"]).all()
    fewer = changes(toy(0.5, 0.5).query("order < 150"))
    assert fewer.loc[("0", "civilian"), "trained"] == 73.3, "110 of 150, to one place"


def test_an_arm_on_fewer_seeds_is_compared_with_base_on_those():
    other = toy(0.5, 0.5, seed=1)
    other = other[other["arm"] == BASE].assign(civilians_won=1.0)
    assert changes(pd.concat([toy(0.5, 0.5), other])).loc[("all", "civilian"), "base"] == 20.0


def test_one_seed_has_no_interval_for_all_of_them():
    found = changes(toy(0.25, 0.05))
    assert found.loc[("0", "civilian"), ["low", "high"]].notna().all()
    assert found.loc[("all", "civilian"), ["low", "high"]].isna().all()
    assert found.loc[("all", "civilian"), "n"] == 1
    words = gains_table(summarise(toy(0.25, 0.05)))
    assert "[" in words.loc[("MARO", "civilian"), "0"]
    assert words.loc[("MARO", "civilian"), "all"] == "+20"


def test_a_seed_without_a_game_free_of_errors_says_nothing_of_them():
    erring = pd.concat([toy(0.5, 0.5, seed=k).assign(lost_civilian=k, lost_culprit=0) for k in (0, 1)])
    apart = changes(erring, "games won, errors apart")
    assert apart.loc[("0", "civilian"), "change"] == 40.0
    assert {*apart.index.get_level_values("seed")} == {"0", "all"}
    assert apart.loc[("all", "civilian"), "n"] == 1
    both = changes(erring[erring["seed"] == 1], "games won, errors apart")
    assert both.empty


def test_the_interval_of_all_seeds_is_that_of_the_seeds():
    """Ten times the games would not make two seeds agree: the unit is the seed."""
    table = changes(pd.concat([toy(0.5, 0.5), toy(0.5, 0.5, seed=1), toy(0.5, 0.5, seed=2)]))
    assert table.loc[("0", "civilian"), "n"] == 20, "mysteries"
    assert table.loc[("all", "civilian"), "n"] == 3, "seeds"
    assert table.loc[("all", "civilian"), ["low", "high"]].tolist() == [40.0, 40.0], "seeds that agree"


def test_beyond_the_control_is_paired_by_seed():
    gained = {"MARO": (10.0, 20.0, 30.0), "shuffled labels": (0.0, 11.0, 18.0)}
    rows = [(arm, str(k), "civilian", "games won", x) for arm, xs in gained.items() for k, x in enumerate(xs)]
    table = pd.DataFrame(rows, columns=["arm", "seed", "who", "measure", "change"])
    (found,) = leads(table).itertuples()  # 10, 9, 12: mean 31/3, sd 1.528, t(2) = 4.303
    assert (found.arm, found.who, found.n) == ("shuffled labels", "civilian", 3)
    assert found.mean == pytest.approx(31 / 3)
    assert found.high - found.mean == pytest.approx(4.303 * 1.5275 / 3**0.5, rel=1e-3)
    assert found.p == pytest.approx(0.0072, abs=1e-4), "t = 11.72 on 2 degrees of freedom"
    assert leads(table[table["seed"] != "2"])["n"].tolist() == [2], "two seeds are several"


def test_what_is_compared_beside_the_control_is_adjusted_for_its_number():
    gained = {"MARO": (10.0, 20.0, 30.0), "shuffled labels": (0.0, 11.0, 18.0), "one seed": (0.0,)}
    gained |= {"near": (9.0, 22.0, 31.0), "far": (0.0, 11.0, 18.0)}
    rows = [(arm, str(k), "civilian", "games won", x) for arm, xs in gained.items() for k, x in enumerate(xs)]
    found = leads(pd.DataFrame(rows, columns=["arm", "seed", "who", "measure", "change"])).set_index("arm")
    assert set(found.index) == {"shuffled labels", "near", "far"}, "one seed says nothing of others"
    assert np.isnan(found.loc["shuffled labels", "holm"]), "that is the question, and only one"
    assert found.loc["far", "holm"] == pytest.approx(2 * found.loc["far", "p"])
    assert found.loc["near", "holm"] == found.loc["near", "p"]


def test_among_arms_only_the_seeds_that_all_of_them_have_count():
    def arm(name, seed):
        games = toy(0.5, 0.5, seed)
        return games.assign(arm=games["arm"].replace("MARO", name))

    results = pd.concat([arm("MARO", 0), arm("MARO", 1), arm("beta 2", 1), arm("terminal", 0), arm("terminal", 1)])
    found = select_arms(results, ["beta 2", "MARO"])
    assert list(found["arm"].unique()) == [BASE, "beta 2", "MARO"]
    assert set(found["seed"]) == {1}
    assert found.index.equals(pd.RangeIndex(len(found))), "rows have no names"


def test_other_measures_are_those_of_the_trained_faction():
    results = pd.concat([toy(0.5, 0.5), toy(0.0, 0.0, seed=1)])
    assert changes(results, "legal moves")["trained"].tolist() == [100.0] * 3 + [90.0] * 3
    assert changes(results, "Victory")["base"].tolist() == [50.0] * 6


def test_spread_is_between_seeds():
    found = spread(pd.concat([toy(0.5, 0.1, 0), toy(0.4, 0.1, 1), toy(0.3, 0.05, 2)]))
    assert found["MARO", "civilian"] == {"least": 24.0, "most": 40.0, "n": 3}
    assert found["MARO", "culprit"] == {"least": 1.0, "most": 2.0, "n": 3}


def test_told_has_a_row_per_arm_and_faction_and_a_column_per_seed():
    table = gains_table(summarise(pd.concat([toy(0.5, 0.5), toy(0.0, 0.0, seed=1)])))
    assert list(table.columns) == ["0", "1", "all"]
    assert table.loc[("MARO", "civilian"), "0"].startswith("+40 [3")
    assert table.loc[("MARO", "culprit"), "1"] == "0 [0, 0]"


def test_what_is_kept_is_what_was_found(tmp_path):
    results, curves = toy(0.5, 0.5), pd.DataFrame({"step": [1], "kl": [0.5], "arm": ["MARO"], "seed": [0]})
    save_findings(Findings(results, curves, "two cores, 21 November 2026"), tmp_path)
    found = read_findings(tmp_path)
    pd.testing.assert_frame_equal(summarise(found.results), summarise(results))
    assert "game" not in found.results, "its place in the order is its name"
    assert found.results.index.equals(pd.RangeIndex(len(results))), "rows have no names"
    assert found.curves[["arm", "seed", "step", "kl"]].to_numpy().tolist() == [["MARO", 0, 1, 0.5]]
    assert found.about == "two cores, 21 November 2026"


def swept(folder, *cells, curves=()):
    """Write what a sweep leaves: games of each cell, with those of base beside them."""
    folder.mkdir(parents=True)
    games = [toy(0.5, 0.5).drop(columns="arm").assign(cell=cell, arm=cell, trial=f"{cell}.seed-0") for cell in cells]
    pd.concat(games).to_parquet(folder / "games.parquet", index=False)
    if curves:
        pd.concat([pd.DataFrame({"step": [1, 2], "kl": [0.1, 0.2], "cell": cell, "seed": 0}) for cell in curves]) \
            .to_parquet(folder / "curves.parquet", index=False)  # fmt: skip


def test_sweeps_are_read_together_and_what_they_share_stands_there_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    swept(tmp_path / "one", "MARO", "terminal", curves=("MARO", "terminal"))
    swept(tmp_path / "two", "MARO", "beta 2", curves=("MARO", "beta 2"))
    swept(tmp_path / "habit", "always searches")
    found = collected(["one", "two", "habit"])
    assert found.results.groupby("arm").size().to_dict() == {
        BASE: 200, "MARO": 400, "always searches": 400, "beta 2": 400, "terminal": 400
    }  # fmt: skip
    assert (found.results["arm"] == BASE).eq(found.results["trained"] == "nobody").all()
    assert found.curves.groupby("arm").size().to_dict() == {"MARO": 2, "beta 2": 2, "terminal": 2}
    assert changes(found.results[found.results["arm"].isin([BASE, "beta 2"])]).loc[("0", "civilian"), "change"] == 40.0
    with pytest.raises(MissingInput, match=r"three/games.parquet is missing; `make sweep PARAMS=params/sweeps/three"):
        collected(["one", "three"])


def test_arms_of_notebooks_08_and_10_are_different_methods_and_maro_comes_first():
    for sweep in ("evidence", "culprits"):
        arms = arms_of(sweep)
        assert next(iter(arms.items())) == ("MARO", {}), "which the others are compared with"
        assert len({str(changed) for changed in arms.values()}) == len(arms)
    assert [name for name, changed in arms_of("evidence").items() if "outcomes" in changed] == ["shuffled labels"]
    kept = set(read_findings().results["arm"])
    assert kept == {BASE, *arms_of("evidence"), *arms_of("culprits"), *HABITS}, "what is kept is what these files name"


# --- what comes along --------------------------------------------------------------------------------------


def test_the_adapter_that_comes_along_is_that_of_the_kept_studys_first_seed():
    adapter, table = located(STUDY_ADAPTER), summarise(select_arms(read_findings().results, ["MARO"]))
    card = (adapter / "README.md").read_text()
    for row in table.query("seed == '0' and measure == 'games won'").itertuples():
        assert f"| {row.who}s | {row.base:.0f} | {row.trained:.0f} | {row.change:+.0f} [" in card
    assert (adapter / "adapter_model.safetensors").stat().st_size < 2_000_000


def test_a_habit_is_forced_and_the_others_play_as_before(tmp_path):
    games = force("always searches", [0, 1], 2, 2, tmp_path).set_index("trained")
    assert len(games) == 2 * 3 * 2, "seeds, line-ups, games"
    alone = games.loc["nobody"]
    for who in ("civilian", "culprit"):
        forced, free = games.loc[who, f"asks_{who}"].mean(), alone[f"asks_{who}"].mean()
        assert forced <= 0.25 < free, "it asks where no place is open"
    assert alone.groupby("seed")["script"].agg(set).map(len).eq(2).all()
