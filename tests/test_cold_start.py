"""The cold start: what is shown and imitated, what is watched, and that the shipped one is what its card says."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from maro_lib.embedded.lessons import HOME
from maro_lib.learn import cold_start
from maro_lib.learn.cold_start import (
    CARD,
    START_SEED,
    Card,
    Exam,
    Listening,
    Look,
    Slips,
    english_loss,
    examine,
    imitation,
    looks_of,
    read_start,
    ship_start,
    shown_games,
    start_games,
)
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import train
from maro_lib.model.adapter_files import CONFIG, WEIGHTS, read_adapter
from maro_lib.model.chat import Chat
from maro_lib.model.loading import START_ADAPTER, STUDY_ADAPTER, load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play import SKILLED, Mixture, play
from maro_lib.play.gamebook import HELD_OUT, Gamebook
from maro_lib.runs import ROOT, located
from maro_lib.statistics import win_rate
from maro_lib.world.mystery import Rules


def games_of(n, *worlds, register="compact", held_out=False):
    return start_games(worlds or ("mystery",), n, register, held_out=held_out)


def shown(n, *worlds, share_good=0.4):
    return shown_games(games_of(n, *worlds), share_good)


SETTINGS = Settings(objective="sft", anchor=0.0, lora_rank=4, lora_alpha=8, batch=8, check_every=2, max_illegal=1.0)


@pytest.fixture(scope="module")
def chat():
    return Chat(load("embedded").tokenizer)


def test_its_games_are_of_the_embedded_models_kind_on_mysteries_of_its_own():
    for register in ("compact", "prose"):
        [games] = games_of(3, register=register)
        book = Gamebook(seed=START_SEED, n_scripts=200, knobs=replace(HOME, register=register), rules=Rules(rounds=2))
        assert games == book.games(3)
        [later] = games_of(3, register=register, held_out=True)
        assert later == book.held_out(3, 3)
    assert START_SEED >= 2 * HELD_OUT, "neither played nor held out elsewhere"


@pytest.mark.parametrize("register", ["compact", "prose"])
def test_all_that_was_said_rightly_is_imitated_and_no_slip(chat, register):
    [games] = games_of(40, register=register)
    actions = play(games, Slips(Mixture(0.8))).table("actions")
    corpus = imitation(shown_games([games], 0.8), chat)
    key = ["game", "seat", "t"]
    imitated = set(corpus.actions[key].itertuples(index=False, name=None))
    assert imitated == set(actions[actions["legal"]][key].itertuples(index=False, name=None))
    assert not actions["legal"].all(), "somebody slips"
    assert corpus.actions["desirable"].all()
    assert corpus.actions["success"].nunique() == 2, "winners and losers"


def test_what_is_imitated_is_the_very_words_and_the_end_of_the_turn(chat):
    [games] = games_of(2)
    said = play(games, Slips(Mixture(0.4))).table("actions").set_index(["game", "seat", "t"])["text"]
    corpus = imitation(shown_games([games]), chat)
    for a in corpus.actions.itertuples():
        *words, stop = corpus.ids[a.row][a.start : a.end].tolist()
        assert stop in chat.stop_ids
        assert chat.text(words) == said[a.game, a.seat, a.t]


def test_it_is_looked_at_before_the_first_step_and_at_every_checkpoint(chat, tmp_path):
    loaded = load("embedded")
    corpus = imitation(shown(6), chat)
    trained = train(loaded, corpus, SETTINGS, tmp_path, watch=Listening(games_of(2, held_out=True), Sampling(1.0, 48)))
    looks = looks_of(trained.curve, corpus, SETTINGS)
    exam = examine(LocalPolicy(load("embedded"), Sampling(1.0, 48)), games_of(2, held_out=True))
    assert (looks[0].legal, looks[0].goals) == (exam.legal["all"].mean, exam.goals.mean)
    assert [look.tokens > 0 for look in looks] == [False, *[True] * (len(looks) - 1)]
    assert len(looks) == 1 + -(-len(trained.curve[1:]) // 2), "every second step, and at the end"
    assert looks[-1].tokens == corpus.n_tokens, "one pass reads all"
    assert looks[0].english == pytest.approx(english_loss(loaded), rel=1e-5)


def test_what_is_heard_is_how_scripted_players_would_do(monkeypatch):
    games = games_of(6)
    legal = examine(Slips(SKILLED), games).legal["all"].mean
    monkeypatch.setattr(cold_start, "play", lambda games, _, **how: play(games, Slips(SKILLED), **how))
    monkeypatch.setattr(cold_start, "english_loss", lambda _: 2.5)
    assert Listening(games)(load("embedded")) == {"legal": pytest.approx(legal), "goals": 1.0, "english": 2.5}


def test_english_is_its_own_tokens_and_none_before_them(monkeypatch):
    tokenizer = SimpleNamespace(encode=lambda _, add_special_tokens: [0] * add_special_tokens + [5, 6, 7])
    monkeypatch.setattr(cold_start, "token_logps", lambda _, given: [-torch.tensor(ids).float() for ids in given])
    assert english_loss(SimpleNamespace(tokenizer=tokenizer, active=lambda: None)) == 6.0


def test_a_look_has_the_tokens_that_were_read_until_then(chat):
    corpus, nothing = imitation(shown(2), chat), float("nan")
    numbers = {"legal": [0.1, nothing, 0.3], "goals": [0.5, nothing, 0.75], "english": [2.0, nothing, 3.0]}
    settings = replace(SETTINGS, batch=len(corpus), epochs=2)
    looks = looks_of(pd.DataFrame({"step": [0, 1, 2], **numbers}), corpus, settings)
    assert looks == [Look(0, 0.1, 0.5, 2.0), Look(2 * corpus.n_tokens, 0.3, 0.75, 3.0)]


def test_an_exam_counts_first_replies_by_what_was_asked_and_the_games_that_goals():
    games = games_of(6)
    exam = examine(Slips(SKILLED), games)
    first = [a for a in play(games[0], Slips(SKILLED)).table("actions").itertuples() if not a.retry]
    assert {phase: rate.n for phase, rate in exam.legal.items()} == {
        "all": len(first),
        **Counter(a.phase for a in first),
    }
    assert exam.legal["all"].mean == pytest.approx(sum(a.legal for a in first) / len(first))
    assert exam.legal["all"].mean < 1, "a slip that was put right is a slip"
    assert exam.goals.mean == 1


def test_several_worlds_are_told_at_once_each_by_its_own_players(chat):
    worlds = ("mystery", "commons", "trust")
    played = shown(4, *worlds)
    corpus = imitation(played, chat)
    by_world = corpus.actions["game"].str.partition(" ")[0]
    assert set(by_world) == set(worlds), "games of one name in two worlds stay two games"
    said = sum(int(p.table("actions")["legal"].sum()) for p in played)
    assert len(corpus.actions) == said
    assert {p.table("actions")["policy"].iloc[0] for p in played} == {"slips", "characters"}
    exam = examine(Mixture(1.0), games_of(3, *worlds))
    assert {"all", "mystery vote", "commons harvest", "trust claim"} <= exam.legal.keys()
    n_seats = sum(len(g.script.names) for games in games_of(3, "commons", "trust") for g in games)
    assert exam.goals.n == 3 + n_seats, "a mystery counts once, elsewhere every seat"


def test_what_is_shipped_is_the_adapter_in_bfloat16_with_its_origin_and_its_card(tmp_path):
    adapter, target, rate = located(STUDY_ADAPTER), tmp_path / "shipped", win_rate([True, False])
    card = Card("embedded", 20, 9_000, [Look(0, 0.5, 0.5, 2.0)], Exam({"all": rate, "vote": rate}, rate), "About.")
    ship_start(adapter, card, target)
    assert read_start(target) == card
    assert (target / CONFIG).read_bytes() == (adapter / CONFIG).read_bytes()
    before, after = read_adapter(adapter), read_adapter(target)
    assert after.origin.model_dump(exclude={"digests"}) == before.origin.model_dump(exclude={"digests"})
    assert after.tensors.keys() == before.tensors.keys()
    assert all(torch.equal(after.tensors[name], t.bfloat16()) for name, t in before.tensors.items())
    assert f"| vote | {rate} |" in (target / "README.md").read_text()


def test_a_shipped_start_is_a_model_and_its_card_is_read_back(chat, tmp_path):
    loaded = load("embedded")
    trained = train(loaded, imitation(shown(4), chat), replace(SETTINGS, learning_rate=1e-2), tmp_path / "job")
    exam = examine(LocalPolicy(loaded), games_of(2, held_out=True))
    card = Card("embedded", 20, 9_000, [], exam, "About.")
    ship_start(trained.folder, card, tmp_path / "shipped")
    assert read_start(tmp_path / "shipped") == card
    assert {t.dtype for t in read_adapter(tmp_path / "shipped").tensors.values()} == {torch.bfloat16}
    told = load(str(tmp_path / "shipped"))
    assert english_loss(told) == pytest.approx(english_loss(load("embedded", adapter=str(trained.folder))), rel=0.01)
    assert english_loss(told) != pytest.approx(english_loss(loaded), rel=1e-4)


def test_the_shipped_start_is_small_and_plays_as_its_card_says():
    """A few games again; all numbers of the card are of more games of the same kind."""
    card, folder = read_start(START_ADAPTER), ROOT / START_ADAPTER
    assert (folder / WEIGHTS).stat().st_size < 10e6
    assert json.loads((folder / CARD).read_text())["model"] == "smollm2"
    policy = LocalPolicy(load(START_ADAPTER, precision="float32"), Sampling(1.0, 48))
    found = examine(policy, games_of(2, held_out=True)).legal["all"]
    assert card.exam.legal["all"].low > 0.9
    assert found.low <= card.exam.legal["all"].mean <= found.high
