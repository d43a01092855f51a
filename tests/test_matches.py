"""Matches: the same games for trained and base, gains by hand, and quick games that leave no trace in training."""

import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import torch
from test_models import lora
from worlds import Says

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.balancing import balance
from maro_lib.learn.corpus import make_corpus
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.guard import QuickGames
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import train
from maro_lib.measure.matches import (
    BASE,
    CONTROL,
    LINE_UPS,
    MARO,
    MEASURES,
    OF_ERRORS,
    against_base,
    gains,
    known_measures,
    match,
    outcomes,
    play_ahead,
    play_base,
    rematch,
    saved,
)
from maro_lib.measure.metrics import reciprocal_rank
from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy
from maro_lib.model.players import BOTH, NOBODY, Player, line_up
from maro_lib.play.policies import RANDOM, Reply
from maro_lib.play.pool import played_once
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

SHORT = Player(precision="float32", max_new_tokens=10)


@pytest.fixture(scope="module")
def tuned():
    """The embedded model with an adapter that has changed what it says."""
    loaded = load("embedded", precision="float32")
    return SHORT.playing(replace(loaded, model=lora(loaded.model), adapter="tuned"))


def some_games(n, seed=3):
    return schedule(generate_many(2, seed, HOME), n, seed, Rules(rounds=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("match")


@pytest.fixture(scope="module")
def table(tuned, folder):
    return match(some_games(3), tuned, folder=folder)


def seated(played):
    return played.table("actions").groupby("faction")["policy"].unique().map(list).to_dict()


@pytest.mark.parametrize(
    ("who", "civilian", "culprit"),
    [(NOBODY, False, False), (BOTH, True, True), ("civilian", True, False), ("culprit", False, True)],
)
def test_the_trained_model_sits_where_it_is_said_to_and_base_elsewhere(tuned, who, civilian, culprit):
    names = {True: tuned.name, False: tuned.with_adapter(False).name}
    played = play(some_games(1), line_up(tuned, who))
    assert seated(played) == {"civilian": [names[civilian]], "culprit": [names[culprit]]}
    assert "tuned" in names[True]
    assert "tuned" not in names[False]


def test_matches_and_quick_games_play_as_the_run_does(tuned, tmp_path, monkeypatch):
    """Replies as long, windows as wide, and for both sides together as much memory as the parameter file says."""
    player = Player(precision="float32", temperature=0.5, max_new_tokens=7, window=900, cache_gb=0.1, batch_tokens=999)
    seen, act = [], LocalPolicy.act
    monkeypatch.setattr(LocalPolicy, "act", lambda self, asked: seen.append((self, len(asked))) or act(self, asked))
    assert len(play_base(some_games(1), player, tuned.loaded, tmp_path).table("games")) == 1
    match(some_games(1), player.playing(tuned.loaded), line_ups=("civilian",))
    QuickGames(some_games(6), player, concurrency=1)(tuned.loaded)
    assert {(p.sampling.temperature, p.sampling.max_new_tokens, p.window, p.batch_tokens) for p, _ in seen} == {
        (0.5, 7, 900, 999)
    }
    assert max(n for _, n in seen) == 5, "one game at a time: five who rate"
    kept = {p.cache_gb for p, _ in seen}
    assert kept == {0.1, 0.1 * 0.75, 0.1 * 0.25}, "base alone; two sides that share it"


def test_every_line_up_plays_the_same_games(table):
    assert list(table["trained"].unique()) == list(LINE_UPS)
    alone = table.groupby("trained")[["order", "game", "script"]].agg(list)
    assert (alone == alone.iloc[0]).all().all()
    assert alone.iloc[0]["order"] == [0, 1, 2]


def test_a_match_of_base_against_itself_has_no_gain(tuned):
    """The seeds are those of the game, whoever sits there."""
    same = match(some_games(2), replace(tuned, loaded=load("embedded", precision="float32")))
    by_who = {who: rows.drop(columns="trained").reset_index(drop=True) for who, rows in same.groupby("trained")}
    for who in ("civilian", "culprit"):
        pd.testing.assert_frame_equal(by_who[who], by_who[NOBODY])
    assert {g.mean for g in gains(same).values()} == {0.0}


def test_a_match_that_was_played_is_read_from_its_folder(tuned, table, folder, monkeypatch):
    monkeypatch.setattr(LocalPolicy, "act", lambda *_: pytest.fail("a game was played again"))
    pd.testing.assert_frame_equal(match(some_games(3), tuned, folder=folder), table)
    assert {p.name for p in folder.iterdir() if p.is_dir()} == set(LINE_UPS)


def test_nothing_is_played_ahead_where_a_model_works_in_one_process(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(type(tuned.loaded), "n_side_by_side", 1)
    play_ahead(some_games(1), SHORT, tuned.loaded, {tmp_path: "tuned"})
    assert not list(tmp_path.iterdir())


def test_a_rematch_is_base_and_a_contender_in_the_same_games(tuned, table, folder, tmp_path, monkeypatch):
    """Each in its own folder; what was played is read there."""
    for who in LINE_UPS:
        shutil.copytree(folder / who, tmp_path / ("" if who == NOBODY else "own") / who)
    monkeypatch.setattr(LocalPolicy, "act", lambda *_: pytest.fail("a game was played again"))
    found = rematch(some_games(3), SHORT, {tmp_path / "own": tuned.loaded}, tmp_path)
    pd.testing.assert_frame_equal(found.pop(tmp_path / "own"), table)
    assert not found


class Mumbles:
    """Plays at random, but every third of its replies is none."""

    name = "mumbles"

    def act(self, asked):
        return [Reply("Hm.") if k % 3 == 0 else reply for k, reply in enumerate(RANDOM.act(asked))]


def n_lost(actions):
    """Turns and votes to which the last reply was still illegal."""
    last = {(a.seat, a.round, a.phase): a.legal for a in actions.itertuples() if a.phase in ("turn", "vote")}
    return sum(not legal for legal in last.values())


def assert_outcomes_are_what_the_games_say(played):
    found = outcomes(played)
    games, actions = played.table("games").set_index("game"), played.table("actions")
    assert found["game"].tolist() == games.index.tolist()
    for row in found.itertuples():
        own, game = actions[actions["game"] == row.game], games.loc[row.game]
        assert row.civilians_won == float(game["winner"] == "civilian")
        votes = [a.target in game["culprits"] for a in own.itertuples() if (a.kind, a.faction) == ("vote", "civilian")]
        assert row.right_votes == pytest.approx(sum(votes) / len(votes) if votes else np.nan, nan_ok=True)
        assert row.victory == reciprocal_rank(game["votes"], game["players"], game["culprits"], game["seed"])
        for faction in ("civilian", "culprit"):
            firsts = [a.legal for a in own.itertuples() if a.faction == faction and not a.retry]
            assert getattr(row, f"legal_{faction}") == pytest.approx(sum(firsts) / len(firsts))
            turns = [a.kind for a in own.itertuples() if (a.faction, a.phase, a.legal) == (faction, "turn", True)]
            assert getattr(row, f"lost_{faction}") == n_lost(own[own["faction"] == faction])
            asks = turns.count("ask") / len(turns) if turns else np.nan
            assert getattr(row, f"asks_{faction}") == pytest.approx(asks, nan_ok=True)


def test_outcomes_are_what_the_games_say(tuned, table, folder):
    assert_outcomes_are_what_the_games_say(play(some_games(3), line_up(tuned, "civilian"), folder=folder / "civilian"))


def test_outcomes_of_players_who_break_rules_are_what_the_games_say():
    played = play(some_games(12), Mumbles())
    assert_outcomes_are_what_the_games_say(played)
    actions = played.table("actions")
    assert actions["retry"].any()
    assert not actions.loc[actions["phase"] == "turn", "legal"].all()
    found = outcomes(played)
    assert found["civilians_won"].nunique() == 2
    lost = found[["lost_civilian", "lost_culprit"]]
    assert (lost > 0).any().all()
    assert (lost.sum(axis=1) == 0).any()


def test_wins_are_split_by_whether_the_losers_lost_a_move():
    """Games 0 and 4 without errors; 1 won by error; 2 lost by error; 3 won although the winners lost a move."""
    columns = ["civilians_won", "lost_civilian", "lost_culprit"]
    table = pd.DataFrame([(1, 0, 0), (1, 0, 1), (0, 2, 0), (1, 1, 0), (0, 0, 0)], columns=columns)
    split = {who: [MEASURES[name](table, who).tolist() for name in OF_ERRORS] for who in ("civilian", "culprit")}
    gone = [pytest.approx(np.nan, nan_ok=True)] * 3
    assert split["civilian"] == [[1, *gone, 0], [0, 1, 0, 0, 0]]
    assert split["culprit"] == [[0, *gone, 1], [0, 0, 1, 0, 0]]


def test_errors_apart_compares_games_in_which_nobody_erred_on_either_side_of_the_pair():
    won, lost = {NOBODY: [0, 0, 0], "civilian": [1, 1, 0]}, {NOBODY: [0, 0, 1], "civilian": [0, 1, 0]}
    rows = [(who, k, "A", won[who][k], lost[who][k], 0) for who in won for k in range(3)]
    columns = ["trained", "order", "script", "civilians_won", "lost_civilian", "lost_culprit"]
    found = against_base(pd.DataFrame(rows, columns=columns), "civilian", OF_ERRORS[0])
    assert [mean.mean for mean in found] == [1, 0, 1], "the first game alone"


def test_rows_from_before_errors_were_counted_lack_what_is_said_of_errors():
    """Absent, not zero."""
    columns = ["civilians_won", "lost_civilian", "lost_culprit"]
    assert set(known_measures(pd.DataFrame(columns=columns))) == {*MEASURES}
    assert set(known_measures(pd.DataFrame(columns=columns[:1]))) == {*MEASURES} - {*OF_ERRORS}


def test_who_makes_no_legal_move_has_asked_no_share_of_turns():
    """As a language model that was never told the game's forms plays."""
    found = outcomes(play(some_games(2), Says("hm", lambda _: "Hm.")))
    assert found[["asks_civilian", "asks_culprit"]].isna().all(axis=None)
    assert (found[["legal_civilian", "legal_culprit"]] < 1).all(axis=None)
    against = against_base(pd.concat([found.assign(trained=who) for who in (NOBODY, "civilian")]), "civilian")
    assert against.change.mean == 0


def test_gains_by_hand():
    """Six games of three mysteries; in each, did the civilians win with nobody, civilians, culprits trained?"""
    won = {NOBODY: [1, 0, 0, 1, 0, 1], "civilian": [1, 1, 1, 1, 0, 0], "culprit": [0, 0, 0, 0, 0, 1]}
    scripts = ["A", "B", "C", "A", "B", "C"]
    rows = [(who, k, scripts[k], float(v)) for who, values in won.items() for k, v in enumerate(values)]
    table = pd.DataFrame(rows, columns=["trained", "order", "script", "civilians_won"])
    found = gains(table.sample(frac=1, random_state=1))
    assert list(found) == ["civilian", "culprit"]
    assert found["civilian"].mean == pytest.approx((0 + 1 + 1 + 0 + 0 - 1) / 6)
    assert found["culprit"].mean == pytest.approx((1 + 0 + 0 + 1 + 0 + 0) / 6), "civilians' losses are culprits' wins"
    assert found["civilian"].n == found["culprit"].n == 3, "whole mysteries are resampled"
    assert found["culprit"].low == 0
    assert found["culprit"].high == 1
    assert set(gains(table[table["trained"] != "culprit"])) == {"civilian"}


def test_games_that_one_line_up_lacks_are_left_out():
    rows = [(NOBODY, 0, "A", 0.0), (NOBODY, 1, "B", 1.0), ("civilian", 0, "A", 1.0)]
    found = against_base(pd.DataFrame(rows, columns=["trained", "order", "script", "civilians_won"]), "civilian")
    assert [mean.mean for mean in found] == [1.0, 0.0, 1.0]
    assert {mean.n for mean in found} == {1}


@pytest.mark.parametrize(
    ("who", "trained"),
    [("civilian", (1, 1, 0, 0.2, 0.3, 0.4, 0.6)), ("culprit", (0, 0, 0, 0.2, 0.3, 0.5, 0.7))],
)
def test_measures_are_of_the_trained_faction_or_of_all(who, trained):
    columns = ["civilians_won", "victory", "right_votes", "legal_civilian", "legal_culprit", "asks_civilian",
               "asks_culprit", "lost_civilian", "lost_culprit"]  # fmt: skip
    table = pd.DataFrame([(0.0,) * 9, (1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0, 0)], columns=columns)
    table = table.assign(trained=[NOBODY, who], order=0, script="A")
    assert [against_base(table, who, measure).trained.mean for measure in MEASURES] == list(trained)


def test_saved_games_are_found_by_whose_adapter_played_and_as_whom(tmp_path):
    for place in ("nobody", "civilian", "control/nobody", "control/civilian", "control/culprit"):
        (tmp_path / place).mkdir(parents=True)
    assert saved(tmp_path) == {
        (BASE, NOBODY): tmp_path / "nobody", (MARO, "civilian"): tmp_path / "civilian",
        (CONTROL, "civilian"): tmp_path / "control/civilian", (CONTROL, "culprit"): tmp_path / "control/culprit",
    }  # fmt: skip


def corpus():
    played = play(some_games(3), LocalPolicy(load("embedded", precision="float32")))
    actions = played.table("actions")
    actions["weight"] = decompose(actions, "uniform")
    return make_corpus(played.table("dialogues"), balance(actions, "all").actions)


def numbers():
    return random.random(), np.random.random(), torch.rand(3).tolist()


def seed():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_quick_games_tell_what_they_promise_and_leave_no_trace(tuned):
    watch = QuickGames(some_games(2), SHORT)
    seed()
    expected = numbers()
    seed()
    told = watch(tuned.loaded)
    assert numbers() == expected, "the generators have moved"
    assert tuple(told) == watch.names
    games = some_games(2)
    halves = {"civilian": games[:1], "culprit": games[1:]}
    found = {who: outcomes(play(part, line_up(tuned, who))) for who, part in halves.items()}
    assert told["civilians win"] == found["civilian"]["civilians_won"].mean()
    assert told["culprits win"] == 1 - found["culprit"]["civilians_won"].mean()
    own = [found[who][f"legal_{who}"].mean() for who in halves]
    assert told["legal"] == pytest.approx(sum(own) / 2)


def test_training_is_the_same_whether_it_is_watched_or_not(tmp_path):
    settings, given = Settings(epochs=2, batch=100, check_every=2, warmup=0.0, learning_rate=2e-2), corpus()
    loaded = load("embedded", precision="float32")
    alone = train(loaded, given, settings, tmp_path / "alone")
    watch = QuickGames(some_games(2, seed=9), SHORT)
    watched = train(loaded, given, settings, tmp_path / "watched", watch=watch)
    one, other = ((t.folder / "adapter_model.safetensors").read_bytes() for t in (alone, watched))
    assert one == other
    seen = watched.curve.set_index("step")[list(QuickGames.names)].dropna()
    assert seen.index.tolist() == [0, 2]
    trained = load("embedded", precision="float32", adapter=str(alone.folder))
    assert seen.loc[2].to_dict() == watch(trained), "it is the model in training that plays"
    assert seen.loc[0].to_dict() != seen.loc[2].to_dict()
    shared = [name for name in alone.curve if name in watched.curve]
    pd.testing.assert_frame_equal(watched.curve[watched.curve["step"] > 0][shared].reset_index(drop=True), alone.curve)


def test_what_all_trials_are_compared_with_is_played_once(tuned, tmp_path):
    """By whichever trial comes first; each has a copy of its own, whatever its adapter."""
    games, pool = some_games(2), tmp_path / "pool"
    first = play_base(games, SHORT, tuned.loaded, tmp_path / "a", pool=pool)
    other = load("embedded", precision="float32")
    other = replace(other, model=lora(other.model, seed=1), adapter="another")
    second = play_base(games, SHORT, other, tmp_path / "b", pool=pool)
    assert (first.n_resumed, second.n_resumed) == (0, 2)
    pd.testing.assert_frame_equal(first.table("actions"), second.table("actions"))
    assert len([p for p in pool.iterdir() if p.is_dir()]) == 1
    third = play_base(some_games(2, seed=4), SHORT, tuned.loaded, tmp_path / "c", pool=pool)
    assert third.n_resumed == 0, "other games are not these"
    assert len([p for p in pool.iterdir() if p.is_dir()]) == 2


def test_games_that_fail_are_not_shared_and_another_trial_is_waited_for(tmp_path):
    pool, order = tmp_path / "pool", []

    def play_them(folder: Path, seconds: float = 0.0) -> None:
        with played_once(folder, pool, "games"):
            order.append(folder.name if folder.exists() else f"{folder.name} plays")
            folder.mkdir(exist_ok=True)
            time.sleep(seconds)

    (tmp_path / "a" / "shard").mkdir(parents=True)
    with pytest.raises(FileExistsError), played_once(tmp_path / "a", pool, "games"):
        (tmp_path / "a" / "shard").mkdir()
    assert not (pool / "games").exists()
    threads = [Thread(target=play_them, args=(tmp_path / name, 0.3)) for name in "bc"]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert order == ["b plays", "c"]
