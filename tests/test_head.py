"""The head: log-probabilities and gradients of the textbook, with few logits at a time."""

import pytest
import torch
from closeness import SHARE
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

from maro_lib.model import head as heads
from maro_lib.model.head import bare_head, last_mlp, only_at, scoring

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 50, "pad_token_id": 0}  # fmt: skip
IDS = torch.arange(1, 21)[None]
KEEP, TARGETS = torch.tensor([3, 4, 5, 11, 12, 13, 18]), torch.tensor([7, 0, 49, 7, 21, 22, 3])


def model(config=Qwen2Config, **more):
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config(**{**SMALL, **more}))
    torch.nn.init.normal_(made.get_output_embeddings().weight)
    made.get_output_embeddings().requires_grad_(False)
    return made


def scored(made, **more) -> torch.Tensor:
    with scoring(bare_head(made), TARGETS):
        return made(input_ids=IDS, logits_to_keep=KEEP, use_cache=False, **more).logits[0, :, 0]


def gradient(made, logps: torch.Tensor) -> torch.Tensor:
    """Of a sum in which every token counts differently."""
    (logps * torch.linspace(-1, 2, len(logps))).sum().backward()
    return made.model.layers[0].mlp.up_proj.weight.grad


@pytest.mark.parametrize("at_once", [1, 50, 150, 2**26])  # logits: less than a token's, 1, 3 and all tokens'
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probs_and_gradient_are_the_textbooks(monkeypatch, at_once, dtype):
    monkeypatch.setattr(heads, "LOGITS_AT_ONCE", at_once)
    made, other = model().to(dtype), model().to(dtype)
    logits = other(input_ids=IDS, logits_to_keep=KEEP).logits[0]
    expected = torch.log_softmax(logits, -1)[torch.arange(7), TARGETS]
    found = scored(made)
    assert found.dtype == dtype
    share = SHARE if dtype == torch.float32 else 1e-12
    close = {"rtol": share, "atol": share}
    torch.testing.assert_close(found, expected, **close)
    torch.testing.assert_close(gradient(made, found), gradient(other, expected), **close)


def test_log_probs_are_float32_where_the_head_is_bfloat16():
    made = model().to(torch.bfloat16)
    logits = made(input_ids=IDS, logits_to_keep=KEEP).logits[0].float()
    found = scored(made)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.log_softmax(logits, -1)[torch.arange(7), TARGETS])


def test_no_logit_is_kept_for_the_backward_pass():
    made, kept = model(vocab_size=5000), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        scored(made)
        assert not [shape for shape in kept if shape == (7, 5000)]
        made(input_ids=IDS, logits_to_keep=KEEP).logits.logsumexp(-1)
        assert [shape for shape in kept if shape[-2:] == (7, 5000)], "the textbook keeps them"


def test_as_few_logits_at_a_time_as_the_bound_says(monkeypatch):
    monkeypatch.setattr(heads, "LOGITS_AT_ONCE", 100)
    made, sizes = model(), []
    linear = heads.F.linear
    monkeypatch.setattr(heads.F, "linear", lambda *given: (out := linear(*given), sizes.append(out.shape))[0])
    head = bare_head(made)
    hidden = torch.randn(7, 16)
    sizes.clear()
    with scoring(head, TARGETS):
        head(hidden[None])
    assert [tuple(s) for s in sizes] == [(2, 50), (2, 50), (2, 50), (1, 50)]


@pytest.mark.parametrize(
    ("config", "more", "bare"),
    [
        (Qwen2Config, {}, True),
        (LlamaConfig, {}, True),
        (Gemma2Config, {"final_logit_softcapping": 30.0}, False),  # caps its logits
        (GraniteConfig, {"logits_scaling": 8.0}, False),  # divides them
        (CohereConfig, {"logit_scale": 0.0625}, False),  # multiplies them
    ],
)
def test_a_family_that_changes_its_logits_has_no_bare_head(config, more, bare):
    made = model(config, **more)
    assert (bare_head(made) is not None) == bare
    assert not made.get_output_embeddings()._forward_hooks


def test_a_head_that_learns_is_not_bare():
    made = model()
    made.get_output_embeddings().requires_grad_(True)
    assert bare_head(made) is None


def test_the_head_is_itself_again_also_after_an_error():
    made = model()
    before = made(input_ids=IDS).logits
    scored(made)
    with pytest.raises(RuntimeError), scoring(bare_head(made), TARGETS[:3]):
        made(input_ids=IDS, logits_to_keep=KEEP)
    assert torch.equal(made(input_ids=IDS).logits, before)


# --- the last layer's MLP ------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Qwen2Config, LlamaConfig, Gemma2Config])
def test_what_the_last_mlp_computes_elsewhere_is_never_looked_at(config):
    made, other = model(config, num_hidden_layers=2), model(config, num_hidden_layers=2)
    mlp, seen = last_mlp(made), []
    mlp.down_proj.register_forward_pre_hook(lambda _module, given: seen.append(given[0].shape[1]))
    with only_at(mlp, KEEP):
        found = torch.log_softmax(made(input_ids=IDS, logits_to_keep=KEEP, use_cache=False).logits[0], -1)
    expected = torch.log_softmax(other(input_ids=IDS, logits_to_keep=KEEP, use_cache=False).logits[0], -1)
    assert seen == [len(KEEP)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(made, found[:, 3]), gradient(other, expected[:, 3]))


def test_the_last_mlp_is_itself_again_also_after_an_error():
    made = model()
    before = made(input_ids=IDS).logits
    with pytest.raises(IndexError), only_at(last_mlp(made), torch.tensor([99])):
        made(input_ids=IDS)
    assert torch.equal(made(input_ids=IDS).logits, before)


def test_a_mixture_of_experts_has_no_last_mlp():
    assert last_mlp(model(Qwen3MoeConfig, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8)) is None
