"""Laws of a study: its control is fair, its intervals resample mysteries, what is kept is what was found."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import make_actions

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.balancing import shuffle_outcomes
from maro_lib.learn.settings import Settings
from maro_lib.model.adapter_files import ADAPTER_FILES
from maro_lib.model.loading import STUDY_ADAPTER, load
from maro_lib.model.local import Sampling
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.rollout import Played
from maro_lib.progress import Bar
from maro_lib.runs import located
from maro_lib.study import evidence
from maro_lib.study.evidence import (
    ARMS,
    BASE,
    Arm,
    Study,
    _train,
    collect,
    corpus_of,
    gains_table,
    home_games,
    leads,
    play_seed,
    read_findings,
    save_findings,
    select_arms,
    ship_adapter,
    spread,
    summarise,
)
from maro_lib.wording import signed
from maro_lib.world.mystery import Rules


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
    save_findings(results, curves, "two cores, 21 November 2026", tmp_path)
    found = read_findings(tmp_path)
    pd.testing.assert_frame_equal(summarise(found.results), summarise(results))
    assert found.results.index.equals(pd.RangeIndex(len(results))), "rows have no names"
    assert found.curves[["arm", "seed", "step", "kl"]].to_numpy().tolist() == [["MARO", 0, 1, 0.5]]
    assert found.about == "two cores, 21 November 2026"


def test_arms_differ_from_maro_in_what_they_say():
    assert [name for name, arm in ARMS.items() if arm.shuffled] == ["shuffled labels"]
    plain = {str(replace(arm, why="")) for arm in ARMS.values()}
    assert len(plain) == len(ARMS), "no two arms are the same"


# --- a study as it is run ------------------------------------------------------------------------------

TINY = Study(
    Gamebook(n_scripts=4, knobs=HOME, rules=Rules(rounds=1)), Settings(batch=8), n_games=8, n_dialogues=16, n_matches=2,
    n_match_scripts=2,
)  # fmt: skip


def test_a_study_of_home_games_has_four_of_a_mystery_and_other_mysteries_for_every_seed():
    assert [home_games(n).n_scripts for n in (1, 4, 19, 20)] == [1, 1, 4, 5]
    assert [home_games(4, register).knobs.register for register in ("compact", "prose")] == ["compact", "prose"]
    assert [TINY.book(seed).seed - TINY.gamebook.seed for seed in (0, 1, 2)] == [0, 1, 2]


def test_a_studys_players_say_what_they_think_probable_and_no_more_than_they_may():
    policy = TINY.policy()
    assert (policy.loaded.name, policy.loaded.precision, policy.sampling) == ("embedded", "float32", Sampling(1.0, 64))


def test_a_study_is_all_seeds_and_arms_and_its_bar_ends_with_the_last(tmp_path, monkeypatch):
    seen = []

    class Seen(Bar):
        def close(self):
            seen.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(evidence, "Bar", Seen)
    monkeypatch.setattr(evidence, "play_seed", lambda _, seed, __: pd.DataFrame({"at": [f"{seed} base"]}))
    monkeypatch.setattr(evidence, "run_arm", lambda _, name, seed, __: (pd.DataFrame({"at": [f"{seed} {name}"]}),) * 2)
    results, curves = collect(TINY, ["MARO"], [3, 4], tmp_path, progress=True)
    assert results["at"].tolist() == ["3 base", "3 MARO", "4 base", "4 MARO"]
    assert curves["at"].tolist() == ["3 MARO", "4 MARO"]
    assert seen[0] == (4, 4)


def test_a_seeds_games_are_played_before_its_arms_learn_from_them(tmp_path):
    calls = []
    study = SimpleNamespace(
        play=lambda *given: calls.append(given), policy=lambda: "base", match=lambda *given: [*calls, given]
    )
    assert play_seed(study, 3, tmp_path) == [
        (3, tmp_path),
        (BASE, 3, "base", tmp_path / "matches", ("nobody",)),
    ]


def test_an_arm_reads_as_many_dialogues_as_its_study_says(tmp_path, monkeypatch):
    lambdas, played = {"lam_pos": 2.0, "lam_neg": 3.0}, SimpleNamespace(table=lambda name: name)
    study = replace(TINY, n_dialogues=16)
    monkeypatch.setattr(evidence, "corpus_of", lambda *_: (range(10), lambdas))
    monkeypatch.setattr(evidence, "train", lambda *given: given)
    for name, epochs in (("MARO", 1.6), ("twice the steps", 3.2)):
        *_, settings, folder = _train(study, ARMS[name], played, 5, tmp_path)
        assert (settings, folder) == (replace(TINY.settings, epochs=epochs, seed=5, **lambdas), tmp_path)


def test_a_card_has_a_row_for_each_faction_of_the_seed_that_is_shipped(tmp_path):
    learned = tmp_path / "study" / "seed-1" / "learning" / "MARO" / "adapter"
    learned.mkdir(parents=True)
    for name in ADAPTER_FILES:
        (learned / name).write_text(name)
    results, target = pd.concat([toy(0.5, 0.5), toy(0.0, 0.0, seed=1)]), tmp_path / "shipped" / "here"
    ship_adapter(TINY, 1, tmp_path / "study", results, str(target))
    rows = [line for line in (target / "README.md").read_text().splitlines() if line.startswith(("| civ", "| cul"))]
    assert rows == ["| civilians | 20 | 20 | 0 [0, 0] |", "| culprits | 80 | 80 | 0 [0, 0] |"]
    assert all((target / name).read_text() == name for name in ADAPTER_FILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def collected(folder):
    return collect(TINY, ["MARO", "twice the steps", "always searches"], [0], folder)


def test_an_unknown_arm_is_refused_before_a_game_is_played(tmp_path):
    with pytest.raises(ValueError, match="arms: MARRO; known are MARO, shuffled"):
        collect(TINY, ["MARO", "MARRO"], [0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_arm_plays_the_held_out_games_as_either_faction(collected):
    results, _ = collected
    played = results.groupby(["arm", "trained"])["order"].agg(list)
    assert set(played.index) == {(BASE, "nobody")} | {
        (arm, who) for arm in ("MARO", "twice the steps", "always searches") for who in ("civilian", "culprit")
    }
    assert all(orders == [0, 1] for orders in played)


def test_twice_the_steps_is_twice_as_many_steps_and_a_habit_trains_nothing(collected):
    _, curves = collected
    n = curves.groupby("arm")["step"].size()
    assert n["twice the steps"] == 2 * n["MARO"]
    assert set(n.index) == {"MARO", "twice the steps"}


def test_no_arm_reads_references_of_dialogues_that_base_played(collected, folder):
    assert (folder / "seed-0" / "learning").is_dir()
    assert not (folder / "seed-0" / "learning" / "references").exists()


def test_who_always_searches_never_asks_and_the_others_play_as_before(collected):
    results, _ = collected
    forced = results[results["arm"] == "always searches"].set_index("trained")
    assert (forced.loc["culprit", "asks_culprit"] == 0).all()
    assert (forced.loc["civilian", "asks_civilian"] == 0).all()
    alone = results[results["arm"] == BASE]
    assert (alone["asks_civilian"] > 0).any() or (alone["asks_culprit"] > 0).any(), "base does ask"


def test_a_shipped_adapter_is_the_one_that_was_trained_and_its_card_says_what_it_gained(collected, folder, tmp_path):
    results, _ = collected
    ship_adapter(TINY, 0, folder, results, str(tmp_path / "shipped"))
    trained = folder / "seed-0" / "learning" / "MARO" / "adapter"
    one, other = (load("embedded", precision="float32", adapter=str(at)) for at in (trained, tmp_path / "shipped"))
    assert one.fingerprint == other.fingerprint
    row = summarise(select_arms(results, ["MARO"])).query("who == 'culprit' and measure == 'games won'").iloc[0]
    card = (tmp_path / "shipped" / "README.md").read_text()
    assert f"| culprits | {row['base']:.0f} | {row['trained']:.0f} | {signed(row['change'], 0)} [" in card
    assert str(tmp_path) not in (tmp_path / "shipped" / "adapter_config.json").read_text()
    assert (
        json.loads((tmp_path / "shipped" / "adapter_config.json").read_text())["base_model_name_or_path"] == "embedded"
    )


def test_the_adapter_that_comes_along_is_that_of_the_kept_studys_first_seed():
    adapter, table = located(STUDY_ADAPTER), summarise(select_arms(read_findings().results, ["MARO"]))
    card = (adapter / "README.md").read_text()
    for row in table.query("seed == '0' and measure == 'games won'").itertuples():
        assert f"| {row.who}s | {row.base:.0f} | {row.trained:.0f} | {row.change:+.0f} [" in card
    assert (adapter / "adapter_model.safetensors").stat().st_size < 2_000_000


def learned(arm, folder, mode="min"):
    rollout = Played(folder / "seed-0" / "rollout", None, 8, 8, 0.0)
    actions = rollout.table("actions")
    return actions, corpus_of(arm, actions, rollout.table("dialogues"), 0, mode)[0].actions


def test_a_study_says_who_is_kept_where_an_arm_does_not(collected, folder):
    n = {(name, mode): len(learned(ARMS[name], folder, mode)[1])
         for name in ("MARO", "no balancing") for mode in ("min", "all")}  # fmt: skip
    assert n["MARO", "min"] < n["MARO", "all"] == n["no balancing", "all"] == n["no balancing", "min"]


def test_half_the_games_are_the_first_half(collected, folder):
    whole, half = (set(learned(arm, folder)[1]["game"]) for arm in (Arm(""), ARMS["half the games"]))
    assert half == {name for name in whole if name < "g000004"}
    assert half < whole


def test_culprits_only_learns_from_no_civilian(collected, folder):
    _, kept = learned(ARMS["culprits only"], folder)
    assert set(kept["faction"]) == {"culprit"}
