"""Reference log-probs are read once for the same dialogues, and never taken for those of others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import SHARE
from test_training import BASIC, assert_same, corpus, gap, press_ctrl_c, tiny, trainer_of, tuned, weights

from maro_lib.learn.balancing import shuffle_labels
from maro_lib.learn.references import REFERENCES_FOLDER, load_references, references_path, save_references
from maro_lib.learn.trainer import MaroTrainer
from maro_lib.learn.training import train
from maro_lib.model.loading import load

MISMATCHED = replace(BASIC, z0="mismatched")
FEW = torch.arange(5, dtype=torch.float64)


@pytest.fixture
def computed(monkeypatch):
    """How many action tokens have been read with the adapter off, time by time."""
    found, compute = [], MaroTrainer.compute_references

    def counted(self, model, material):
        found.append(material.corpus.n_action_tokens)
        compute(self, model, material)

    monkeypatch.setattr(MaroTrainer, "compute_references", counted)
    return found


def test_a_control_on_the_same_dialogues_reads_no_reference_again_and_learns_the_same(tmp_path, computed):
    blind = replace(corpus(), actions=shuffle_labels(corpus().actions, 0))
    train(tiny(), corpus(), BASIC, tmp_path / "run" / "learning")
    control = train(tiny(), blind, BASIC, tmp_path / "run" / "control")
    assert computed == [corpus().n_action_tokens]
    alone = train(tiny(), blind, BASIC, tmp_path / "other run" / "control")
    assert len(computed) == 2
    assert_same(control, alone)


def test_what_base_itself_sampled_is_its_reference_and_is_not_read_again(tmp_path, computed):
    """But what another player sampled is: its log-probs are others, if only a little."""
    given, once = corpus(), replace(BASIC, epochs=1)
    known = train(load("embedded", precision="float32"), given, once, tmp_path / "known" / "x")
    assert computed == []
    less_likely = [logps - 0.001 for logps in given.actions["logps"]]
    others = replace(given, actions=given.actions.assign(logps=less_likely))
    read = train(load("embedded", precision="float32"), others, once, tmp_path / "read" / "x")
    assert computed == [given.n_action_tokens]
    assert gap(weights(known), weights(read)) < SHARE
    assert len(list((tmp_path / "read" / REFERENCES_FOLDER).iterdir())) == 1
    assert not (tmp_path / "known" / REFERENCES_FOLDER).exists()


def test_a_training_that_goes_on_reads_no_reference_again(tmp_path, computed):
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), corpus(), MISMATCHED, tmp_path / "x", live=press_ctrl_c(3))
    assert len(computed) == 2, "those of the dialogues, and of the crossed ones"
    train(tiny(), corpus(), MISMATCHED, tmp_path / "x")
    assert len(computed) == 2


def test_other_dialogues_actions_weights_or_numbers_are_kept_elsewhere(tmp_path):
    given, loaded = corpus(), tiny()
    fewer = replace(given, actions=given.actions.iloc[1:].reset_index(drop=True))
    other_ids = replace(given, ids=[given.ids[0] + 1, *given.ids[1:]])
    cut_elsewhere = replace(given, ids=[given.ids[0][:-1], *given.ids[1:]])
    corpora = (given, fewer, other_ids, cut_elsewhere)
    places = [references_path(tmp_path, loaded, c, [0, 1], half=False) for c in corpora]
    places += [references_path(tmp_path, loaded, given, [0, 2], half=False)]
    places += [references_path(tmp_path, loaded, given, [0, 1], half=True)]
    places += [references_path(tmp_path, load("embedded", precision="nf4"), given, [0, 1], half=False)]
    assert len(set(places)) == len(places)
    blind = replace(given, actions=shuffle_labels(given.actions, 0))
    assert references_path(tmp_path, tiny(), blind, [0, 1], half=False) == places[0], "labels don't matter"


def test_part_of_an_epoch_needs_part_of_the_references(tmp_path):
    part = replace(MISMATCHED, batch=1, epochs=0.5)
    trainer = trainer_of(tuned(tiny()), corpus(), part, tmp_path)
    assert 0 < len(trainer.planned) < len(corpus())
    trainer.find_references(trainer.model)
    whole = trainer_of(tuned(tiny()), corpus(), replace(part, epochs=1), tmp_path)
    whole.find_references(whole.model)
    for a, b in ((trainer.material, whole.material), (trainer.crossed, whole.crossed)):
        read = a.corpus.token_places(np.concatenate([a.corpus.places[k] for k in trainer.planned]))
        assert torch.allclose(a.reference[read], b.reference[read], rtol=0, atol=1e-4)
        assert a.reference.count_nonzero() == len(read) < b.reference.count_nonzero()


def test_what_is_kept_is_read_back_exactly(tmp_path):
    save_references(path := tmp_path / "new" / "x", FEW / 3)
    assert torch.equal(load_references(path, 5), FEW / 3)


def test_what_is_damaged_or_of_another_length_is_as_good_as_none(tmp_path):
    save_references(path := tmp_path / "x", FEW)
    assert load_references(path, 4) is None
    assert load_references(tmp_path / "y", 5) is None
    whole = path.read_bytes()
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :])
        found = load_references(path, 5)
        assert found is None or torch.equal(found, FEW), f"byte {k}"
        path.write_bytes(whole[:k])
        assert load_references(path, 5) is None, f"cut at {k}"
