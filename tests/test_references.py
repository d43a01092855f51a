"""Reference log-probs are read once for the same dialogues, and never taken for those of others."""

from dataclasses import replace

import pytest
import torch
from test_training import BASIC, assert_same, corpus, tiny

from maro_lib import references
from maro_lib.balancing import shuffle_labels
from maro_lib.models import load
from maro_lib.training import MaroTrainer, train

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


def test_a_training_that_goes_on_reads_no_reference_again(tmp_path, computed):
    class Enough(Exception):
        pass

    def interrupt(curve):
        if len(curve) == 3:
            raise Enough

    with pytest.raises(Enough):
        train(tiny(), corpus(), MISMATCHED, tmp_path / "x", live=interrupt)
    assert len(computed) == 2, "those of the dialogues, and of the crossed ones"
    train(tiny(), corpus(), MISMATCHED, tmp_path / "x")
    assert len(computed) == 2


def test_other_dialogues_actions_weights_or_numbers_are_kept_elsewhere(tmp_path):
    given, loaded = corpus(), tiny()
    fewer = replace(given, actions=given.actions.iloc[1:].reset_index(drop=True))
    other_ids = replace(given, ids=[given.ids[0] + 1, *given.ids[1:]])
    cut_elsewhere = replace(given, ids=[given.ids[0][:-1], *given.ids[1:]])
    places = [references.place(tmp_path, loaded, c, half=False) for c in (given, fewer, other_ids, cut_elsewhere)]
    places += [references.place(tmp_path, loaded, given, half=True)]
    places += [references.place(tmp_path, load("embedded", precision="nf4"), given, half=False)]
    assert len(set(places)) == len(places)
    blind = replace(given, actions=shuffle_labels(given.actions, 0))
    assert references.place(tmp_path, tiny(), blind, half=False) == places[0], "labels don't matter"


def test_what_is_kept_is_read_back_exactly(tmp_path):
    references.keep(path := tmp_path / "new" / "x", FEW / 3)
    assert torch.equal(references.kept(path, 5), FEW / 3)


def test_what_is_damaged_or_of_another_length_is_as_good_as_none(tmp_path):
    references.keep(path := tmp_path / "x", FEW)
    assert references.kept(path, 4) is None
    assert references.kept(tmp_path / "y", 5) is None
    whole = path.read_bytes()
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :])
        found = references.kept(path, 5)
        assert found is None or torch.equal(found, FEW), f"byte {k}"
        path.write_bytes(whole[:k])
        assert references.kept(path, 5) is None, f"cut at {k}"
