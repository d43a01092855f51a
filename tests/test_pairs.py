"""Pairs for DPO: two halves that part in an action, found by hand; and their loss beside TRL's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from closeness import LOGP, SHARE, near
from test_training import BASIC, WHOLE_STEP, by_hand, corpus, gap, gradients, sharing, step, tiny, trainer_of, tuned
from trl_trainers import trl_trainer

from maro_lib.learn.balancing import NothingToLearn
from maro_lib.learn.corpus import Corpus
from maro_lib.learn.pairs import UNPAIRED, paired, paired_steps
from maro_lib.learn.training import train

DPO = replace(BASIC, objective="dpo", anchor=0.0, batch=WHOLE_STEP, beta=0.3)

# dialogues of two actions each: script 10 11, first action (two tokens), observed 20 21, second action (two tokens)
DIALOGUES = {
    "won, says 1": ([10, 11, 1, 9, 20, 21, 3, 9], True),
    "lost, says 1, then another": ([10, 11, 1, 9, 20, 21, 4, 9], False),
    "lost, says 2": ([10, 11, 2, 9, 20, 21, 3, 9], False),
    "won, says 2, then hears others": ([10, 11, 2, 9, 22, 21, 3, 9], True),
    "lost, as the first": ([10, 11, 1, 9, 20, 21, 3, 9], False),
    "won, another script": ([10, 12, 1, 9, 20, 21, 3, 9], True),
}


def given(names=tuple(DIALOGUES)) -> Corpus:
    rows, ids = [], []
    for k, name in enumerate(names):
        tokens, won = DIALOGUES[name]
        ids.append(np.asarray(tokens, np.int32))
        for t, (start, end) in enumerate([(2, 4), (6, 8)], 1):
            rows.append((name, 0, t, "civilian", int(won), won, 1.0, k, start, end))
    columns = ["game", "seat", "t", "faction", "success", "desirable", "weight", "row", "start", "end"]
    return Corpus(ids, pd.DataFrame(rows, columns=columns), pd.DataFrame(), 0)


def halves(pairs: Corpus) -> list[tuple[str, str, int]]:
    games, t = pairs.actions["game"].tolist(), pairs.actions["t"].tolist()
    assert t[::2] == t[1::2]
    return list(zip(games[::2], games[1::2], t[::2], strict=True))


def test_pairs_by_hand():
    first, other, lost, heard, same, _ = DIALOGUES
    assert halves(paired(given())) == [(first, other, 2), (heard, same, 1)]
    assert halves(paired(given([first, same, lost]))) == [(first, lost, 1)], "with one that is the same it has none"
    assert halves(paired(given([lost, first]))) == [(first, lost, 1)], "the desirable half comes first"


def test_each_half_is_read_up_to_its_action_and_the_rest_is_counted():
    pairs = paired(given())
    assert [ids.tolist() for ids in pairs.ids] == [
        [10, 11, 1, 9, 20, 21, 3, 9], [10, 11, 1, 9, 20, 21, 4, 9], [10, 11, 2, 9], [10, 11, 1, 9]
    ]  # fmt: skip
    assert pairs.actions["desirable"].tolist() == [True, False, True, False]
    assert pairs.dropped.loc[UNPAIRED].to_dict() == {"civilian": 8}


@pytest.mark.parametrize(
    "names",
    [
        ["lost, says 2", "won, says 2, then hears others"],
        ["won, says 1", "won, says 2, then hears others"],
        ["won, another script", "lost, says 2"],
        ["won, says 1", "lost, as the first"],
    ],
)
def test_where_games_allow_no_pair_it_says_so(names, tmp_path):
    """They part in what they heard, have one outcome, begin otherwise, or never part."""
    with pytest.raises(NothingToLearn, match=r"no pairs: of 2 dialogues .*mode: all"):
        paired(given(names))
    with pytest.raises(NothingToLearn, match="no pairs"):
        train(tiny(), given(names), DPO, tmp_path / "x")


def test_a_step_holds_whole_pairs_and_an_epoch_all_of_them():
    pairs = sharing_pairs()
    plan = paired_steps(pairs, 4, 1, seed=0)
    assert [len(step) for step in plan] == [4, 4]
    assert all({*step} == {k ^ 1 for k in step} for step in plan)
    assert sorted(np.concatenate(plan)) == list(range(8))


def sharing_pairs() -> Corpus:
    """Four pairs of two scripts, of which several begin alike."""
    rows = [(0, 2), (4, 3), (5, 6), (1, 7)]
    made = sharing()
    first = made.actions.groupby("row").head(1).set_index("row")
    order = [k for pair in rows for k in pair]
    actions = first.loc[order].reset_index(drop=True).assign(row=range(8), desirable=[True, False] * 4)
    ids = [made.ids[k][:end] for k, end in zip(order, actions["end"], strict=True)]
    return Corpus(ids, actions, pd.DataFrame(), 0)


@pytest.mark.parametrize("at_once", [0, 10**6], ids=["one by one", "together"])
def test_the_gradient_is_that_of_pairs_whatever_is_read_together(tmp_path, at_once):
    """By hand: both halves of a pair move."""
    trainer = trainer_of(tuned(tiny()), pairs := sharing_pairs(), DPO, tmp_path)
    trainer.at_once = at_once
    loss, found = step(trainer)
    model = trainer.model
    model.zero_grad()
    logp = torch.stack([x.sum() for x in by_hand(model, pairs)]).double()
    with torch.no_grad(), model.disable_adapter():
        base = torch.stack([x.sum() for x in by_hand(model, pairs)]).double()
    r = logp - base
    expected = -torch.log(torch.sigmoid(0.3 * (r[::2] - r[1::2]))).mean()
    expected.backward()
    assert loss == near(float(expected.detach()), size=LOGP)
    assert gap(gradients(model), found) < 10 * SHARE
    assert float(r.detach().abs().min()) > 0.001


def test_played_games_hold_pairs_of_first_words():
    pairs = paired(corpus())
    assert len(pairs) >= 2
    assert pairs.actions["desirable"].tolist() == [True, False] * (len(pairs) // 2)


@pytest.mark.walk
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_same_pairs_same_loss_and_gradient_as_trl(tmp_path, monkeypatch):
    from datasets import Dataset

    from maro_lib.model.loading import load

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # TRL would report its use to the hub
    rows = [
        {"prompt": "You are Ann.\nVote? Ben Cal.\n", "chosen": "Vote Ben.", "rejected": "Vote Cal."},
        {"prompt": "You are Cal.\nAct? Search: barn mill.\n", "chosen": "Search mill.", "rejected": "Ask Ben."},
    ]
    loaded = load("embedded", precision="float32", device="cpu")
    how = {"beta": 0.3, "per_device_train_batch_size": 2}
    trainer, kept = trl_trainer("DPO", loaded, Dataset.from_list(rows), tmp_path, **how)
    trainer.train()
    told = next(h["loss"] for h in trainer.state.log_history if "loss" in h)

    ids, actions = [], []
    for row in trainer.train_dataset:
        for name, good in (("chosen_ids", True), ("rejected_ids", False)):
            start = len(row["prompt_ids"])
            ids.append(np.asarray([*row["prompt_ids"], *row[name]], np.int32))
            actions.append(("g", 0, 1, "civilian", 1, good, 1.0, len(actions), start, len(ids[-1])))
    columns = ["game", "seat", "t", "faction", "success", "desirable", "weight", "row", "start", "end"]
    pairs = Corpus(ids, pd.DataFrame(actions, columns=columns), pd.DataFrame(), 0)
    ours = trainer_of(replace(loaded, model=trainer.model, adapter="theirs"), pairs, DPO, tmp_path / "ours")
    trainer.model.zero_grad()
    loss, gradient = step(ours)
    assert loss == near(told, size=LOGP)
    assert gap(kept.steps[0], gradient) < 10 * SHARE
