"""Loading: 4 bits that train rightly, adapters that can be switched off, and nothing that runs foreign code."""

import pytest
import torch

from maro_lib.model.loading import ModelError, load, token_logps
from maro_lib.model.local import LocalPolicy
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules

LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(model, seed=0):
    """Attach an adapter that changes what the model says."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    wrapped = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.0, target_modules=LAYERS, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.05)
    return wrapped


@pytest.fixture
def adapter(tmp_path):
    lora(load("embedded").model).save_pretrained(tmp_path / "adapter")
    return str(tmp_path / "adapter")


def sequences():
    rng = torch.Generator().manual_seed(1)
    return [torch.randint(3, 600, (n,), generator=rng).tolist() for n in (30, 50)]


def gradients(model):
    model.zero_grad()
    torch.cat(token_logps(model, sequences())).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_an_eval_forward_leaves_the_4_bit_gradients_alone():
    """bitsandbytes would repack the weights here on processors with AVX512-BF16."""
    model = lora(load("embedded", precision="nf4").model)
    before = gradients(model.train())
    with torch.inference_mode():
        token_logps(model.eval(), sequences())
    after = gradients(model.train())
    assert before.keys() == after.keys()
    assert before
    for name, gradient in before.items():
        assert torch.equal(gradient, after[name]), name


def test_4_bits_are_near_the_full_weights_and_not_the_same():
    full, nf4 = load("embedded"), load("embedded", precision="nf4")
    with torch.inference_mode():
        a, b = (torch.cat(token_logps(m.model, sequences())) for m in (full, nf4))
    assert 1e-3 < (a - b).abs().mean() < 1.5
    layer = nf4.model.model.layers[0].self_attn.q_proj
    assert type(layer).__name__ == "Linear4bit"
    assert layer.weight.quant_state.nested  # double quantisation
    assert layer.weight.quant_state.quant_type == "nf4"


def test_an_adapter_is_switched_off_and_on_without_a_second_copy(adapter):
    plain, tuned = load("embedded"), load("embedded", adapter=adapter)
    with torch.inference_mode():
        base = torch.cat(token_logps(plain.model, sequences()))
        on = torch.cat(token_logps(tuned.model, sequences()))
        with tuned.base() as model:
            off = torch.cat(token_logps(model, sequences()))
        again = torch.cat(token_logps(tuned.model, sequences()))
    assert torch.equal(base, off)
    assert torch.equal(on, again)
    assert (on - off).abs().max() > 0.01


def test_trained_against_its_own_base_in_one_game(adapter):
    games = schedule(generate_many(2, 3, Knobs(characters=4, clues=3)), 2, 3, Rules(rounds=1))
    tuned = LocalPolicy(load("embedded", adapter=adapter))
    base = tuned.with_adapter(False)
    assert tuned.loaded is base.loaded
    assert tuned.name != base.name
    alone = play(games, LocalPolicy(load("embedded"))).table("actions")["text"].tolist()
    assert play(games, base).table("actions")["text"].tolist() == alone
    mixed = play(games, {"civilian": tuned, "culprit": base}).table("actions")
    assert set(mixed["policy"]) == {tuned.name, base.name}


def test_an_adapter_without_safetensors_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors"):
        load("embedded", adapter=str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}')
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="can't be loaded"):
        load(str(tmp_path))
