"""Dialogues in one sequence: each has the numbers and the gradient that it has alone, however they are cut."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from closeness import SHARE
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    RecurrentGemmaConfig,
)

from maro_lib.model.pieces import LEAST, in_pieces, lay_out, n_common, reads_pieces

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 16, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 50, "pad_token_id": 0,
         "initializer_range": 0.3}  # fmt: skip


def model(config=Qwen2Config, **more):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(**{**SMALL, **more}), attn_implementation="sdpa").eval()


def dialogues(*parts: str) -> list[np.ndarray]:
    """Sequences of 20 random tokens for each letter; the same letter is the same 20."""
    words = {letter: np.random.default_rng(ord(letter)).integers(1, 50, 20) for letter in "abcdefgh"}
    made = [np.concatenate([words[letter] for letter in part]) for part in parts]
    return sorted(made, key=lambda ids: ids.astype(">i4").tobytes())


CASES = {
    "one": dialogues("ab"),
    "nothing shared": dialogues("ab", "cd", "e"),
    "a script": dialogues("abc", "abd", "abe"),
    "scripts that share rules": dialogues("abcf", "abcg", "abdf", "abdh", "ha"),
    "one ends where the others go on": dialogues("ab", "abc", "abd"),
    "twice the same": dialogues("ab", "ab", "ac"),
    "longer than a strip": [np.tile(x, 20) for x in dialogues("abcde", "abcdf")],
}


@pytest.mark.parametrize("name", CASES)
def test_a_layout_holds_every_dialogue_and_no_beginning_twice(name):
    sequences = CASES[name]
    layout = lay_out(sequences)
    for ids, places in zip(sequences, layout.places, strict=True):
        assert np.array_equal(layout.ids[places], ids)
        assert np.array_equal(layout.positions[places], np.arange(len(ids)))
    read = len(sequences[0]) + sum(len(b) - n_common(a, b) for a, b in pairwise(sequences))
    assert len(layout.ids) == sum(layout.pieces.lengths) == read
    assert min(layout.pieces.lengths) > 0


def test_a_short_common_beginning_is_read_twice_rather_than_cut():
    head = np.arange(1, LEAST)
    sequences = [np.append(head, np.full(30, k)) for k in (40, 41)]
    assert lay_out(sequences).pieces.behind == ((), ())
    assert lay_out([np.append(s[:1], s) for s in sequences]).pieces.behind == ((), (0,), (0,))


@pytest.mark.parametrize("config", [Qwen2Config, LlamaConfig, Qwen3Config, Phi3Config])
@pytest.mark.parametrize("name", CASES)
def test_log_probs_and_gradient_are_those_of_dialogues_alone(name, config):
    """Every dialogue, and every token in it, counts differently."""
    made, sequences = model(config), CASES[name]
    weights = [torch.linspace(-1, 2, len(ids)) * (k + 1) for k, ids in enumerate(sequences)]

    def gradient(logits: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        made.zero_grad()
        sum((w * x.logsumexp(-1)).sum() for w, x in zip(weights, logits, strict=True)).backward()
        return {n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None}

    alone = [made(input_ids=torch.from_numpy(ids)[None], use_cache=False).logits[0] for ids in sequences]
    layout = lay_out(sequences)
    ids, positions = (torch.from_numpy(x)[None] for x in (layout.ids, layout.positions))
    with in_pieces(made):
        out = made(input_ids=ids, position_ids=positions, pieces=layout.pieces, use_cache=False).logits[0]
    together = [out[torch.from_numpy(places)] for places in layout.places]
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * SHARE, atol=10 * SHARE)
    ours, theirs = gradient(together), gradient(alone)
    assert ours.keys() == theirs.keys()
    for n in theirs:
        assert (ours[n] - theirs[n]).norm() < SHARE * max(1, theirs[n].norm()), n


@pytest.mark.parametrize(
    ("config", "more", "reads"),
    [
        (Qwen2Config, {}, True),
        (LlamaConfig, {}, True),
        (MistralConfig, {"sliding_window": None}, True),
        (MistralConfig, {"sliding_window": 4096}, False),  # a window is no matter of the tokens that are tried
        (Qwen2Config, {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 1}, False),
        (Gemma2Config, {}, False),  # caps what it attends by
        (RecurrentGemmaConfig, {"lru_width": 16}, False),  # carries a state from token to token
    ],
)
def test_a_family_that_cannot_read_pieces_is_found_out(config, more, reads):
    made = model(config, **more) if reads else AutoModelForCausalLM.from_config(config(**{**SMALL, **more})).eval()
    before = made.config._attn_implementation
    assert reads_pieces(made) == reads
    assert made.config._attn_implementation == before
