"""An adapter's log-ratio as credit: it is what the model says of each action's own tokens, adapter on against off."""

import numpy as np
import pandas as pd
import pytest
import torch

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.corpus import make_corpus
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.log_ratios import log_ratios
from maro_lib.model.chat import Chat
from maro_lib.model.loading import STUDY_ADAPTER, load
from maro_lib.play import Mixture, play, schedule
from maro_lib.world import Rules, generate_many


@pytest.fixture(scope="module")
def played():
    return play(schedule(generate_many(1, 3, HOME), 1, 3, Rules(rounds=1)), Mixture())


@pytest.fixture(scope="module")
def loaded():
    return load("embedded", precision="float32", device="cpu", adapter=STUDY_ADAPTER)


def log_pi(model, ids, start, end):
    """Log pi of some tokens, from all logits of everything before them."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*map(int, ids[:end])]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[k - 1, int(ids[k])]) for k in range(start, end))


def test_a_log_ratio_is_that_of_the_action_s_own_tokens(played, loaded):
    actions, dialogues = played.table("actions"), played.table("dialogues")
    r = log_ratios(loaded, dialogues, actions)
    assert r.index.equals(actions.index)
    assert r.notna().all()
    corpus = make_corpus(dialogues, actions.assign(desirable=True, weight=1.0), chat=Chat(loaded.tokenizer))
    some = corpus.actions.iloc[:: len(corpus.actions) // 4]
    for a in some.itertuples():
        with loaded.base() as base:
            before = log_pi(base, corpus.ids[a.row], a.start, a.end)
        after = log_pi(loaded.active(), corpus.ids[a.row], a.start, a.end)
        own = actions[(actions["game"] == a.game) & (actions["seat"] == a.seat) & (actions["t"] == a.t)].index
        assert r[own].item() == pytest.approx(after - before, abs=1e-4)
    assert r.std() > 0.01, "this adapter has learned something"
    shuffled = actions.sample(frac=1, random_state=0)
    np.testing.assert_allclose(log_ratios(loaded, dialogues, shuffled)[r.index], r, atol=1e-5)


def test_what_is_not_read_has_no_log_ratio(played, loaded):
    actions, dialogues = played.table("actions"), played.table("dialogues")
    r = log_ratios(loaded, dialogues[dialogues["seat"] != 0], actions)
    assert r.isna().tolist() == (actions["seat"] == 0).tolist()
    assert log_ratios(loaded, dialogues, actions, window=1).isna().all()


def test_implicit_takes_log_ratios_in_the_place_of_its_own_fit():
    actions = pd.DataFrame({"game": "g", "agent": "Ann", "script": "s", "step": [0, 1, 2], "faction": "civilian",
                            "success": 1, "role": "civilian", "phase": "turn", "r": [0.5, np.nan, -2.0]})  # fmt: skip
    assert decompose(actions, "implicit", values="r").tolist() == [0.5, 0, -2]
    assert decompose(actions, "implicit", values=actions["r"]).tolist() == [0.5, 0, -2]


def test_without_an_adapter_or_its_column_that_is_said(played):
    actions = played.table("actions")
    with pytest.raises(ValueError, match=r"'embedded' carries no adapter, .*Train one by DPO .notebook 05"):
        log_ratios(load("embedded", precision="float32", device="cpu"), played.table("dialogues"), actions)
    with pytest.raises(ValueError, match=r"option `values` of rule 'implicit'.*log_ratio"):
        decompose(actions, "implicit", values="log_ratio")
