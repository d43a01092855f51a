"""Laws of choices: what a move's probability is, and from which views votes are taken."""

import pytest
import torch
from test_corpus import rewriting

from maro_lib.embedded.exam import exam_games
from maro_lib.measure.choices import most_moved, move_probabilities, vote_probabilities, vote_views
from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.rollout import play


@pytest.fixture(scope="module")
def loaded():
    return load("embedded", precision="float32")


@pytest.fixture(scope="module")
def played(loaded):
    return play(exam_games(3), LocalPolicy(loaded))


def test_vote_views_end_where_the_vote_is_asked_for(played):
    games = played.table("games").set_index("game")
    found = list(vote_views(played))
    assert [v.game for v in found[:3]] == ["g000000", "g000001", "g000002"], "one of each game first"
    for view in found:
        assert view.messages[-1].role == "user"
        assert view.messages[-1].content.startswith("Vote?")
        assert len(view.moves) == len(games.loc[view.game, "players"]) - 1
        assert [m for m, good in zip(view.moves, view.right, strict=True) if good] == [
            f"Vote {name}." for name in view.culprits
        ]


def test_votes_that_were_not_understood_are_views_too():
    """A model that breaks every rule was asked for its vote like any other, and asked again."""
    lost = play(exam_games(1), LocalPolicy(load("embedded", precision="float32"), Sampling(max_new_tokens=1)))
    assert not lost.table("actions").query("phase == 'vote'")["legal"].any()
    views = list(vote_views(lost))
    assert len(views) == 4
    assert all("Vote?" in view.messages[-1].content for view in views), "before its first try"


def test_a_moves_probability_is_that_of_its_first_own_token(loaded, played):
    view = next(vote_views(played))
    table = move_probabilities(loaded, view.messages, view.moves)
    chat = LocalPolicy(loaded).chat
    prompt, said = chat.encode(view.messages), [chat.text_ids(m) for m in view.moves]
    n_shared = next(k for k in range(9) if len({tuple(s[: k + 1]) for s in said}) > 1)
    for move, ids in zip(table["base"], said, strict=True):
        logp = 0.0
        for k in range(n_shared + 1):  # one token after the other, each by a forward of its own
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([[*prompt, *ids[:k]]])).logits[0, -1]
            logp += logits.log_softmax(-1)[ids[k]].item()
        assert move == pytest.approx(torch.tensor(logp).exp().item(), rel=1e-4)
    assert table["base"].sum() <= 1 + 1e-6


def test_a_template_that_rewrites_history_has_choices_too(loaded, played):
    view, models = next(vote_views(played)), (loaded, rewriting(loaded))
    here, there = (move_probabilities(model, view.messages, view.moves)["base"] for model in models)
    assert 0 < there.sum() <= 1 + 1e-6
    assert there.tolist() != here.tolist(), "its view has other words"


def test_without_an_adapter_nothing_has_changed(loaded, played):
    votes = vote_probabilities(loaded, played, 4)
    assert len(votes) == 4
    assert votes["base"].tolist() == votes["trained"].tolist()


def test_the_vote_that_moved_most_is_shown_with_all_its_moves(loaded, played):
    votes = vote_probabilities(loaded, played, 4)
    votes.loc[2, "trained"] -= 0.3  # away from the culprit, further than any other
    votes.loc[1, "trained"] += 0.2
    most = most_moved(loaded, played, votes)
    assert (most["game"], most["agent"]) == tuple(votes.loc[2, ["game", "agent"]])
    (view,) = vote_views(played, most["game"], most["agent"])
    assert [move["move"] for move in most["moves"]] == view.moves
    assert most["culprits"] == list(view.culprits)


def test_moves_of_whom_two_begin_alike_share_one_distribution(loaded, played):
    """As in a cast of Mr Hill and Mr Wood: the first differing tokens tell three, and the next ones those two apart."""
    view = next(vote_views(played))
    one, two, three = view.moves[0], view.moves[0].replace(".", " at the mill."), view.moves[1]
    table = move_probabilities(loaded, view.messages, [one, two, three]).set_index("move")["base"]
    alone = move_probabilities(loaded, view.messages, [one, three]).set_index("move")["base"]
    assert table[three] == pytest.approx(alone[three], rel=1e-4)
    assert 0 < table[two] < table[one] < alone[one]
    assert table[one] + table[two] <= alone[one] * (1 + 1e-4), "they share what their common beginning has"


def test_a_move_that_stands_there_twice_is_refused(loaded, played):
    view = next(vote_views(played))
    with pytest.raises(ValueError, match="some are the same"):
        move_probabilities(loaded, view.messages, [view.moves[0], view.moves[0], view.moves[1]])
