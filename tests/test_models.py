"""Loading: 4 bits that train rightly, adapters that can be switched off, and nothing that runs foreign code."""

import json
import platform
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from maro_lib.model import adapter_files, loading
from maro_lib.model.adapter_files import CONFIG, ORIGIN, WEIGHTS, seal
from maro_lib.model.loading import EMBEDDED, STUDY_ADAPTER, ModelError, load, token_logps
from maro_lib.model.local import LocalPolicy
from maro_lib.play.rollout import play, schedule
from maro_lib.runs import ROOT
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


@pytest.mark.parametrize("pays", [True, False])
def test_4_bits_of_a_large_model_are_multiplied_in_the_fast_type(monkeypatch, pays):
    monkeypatch.setattr(loading, "LARGE", 0)
    monkeypatch.setattr(loading, "bfloat16_pays", lambda: pays)
    model = load("embedded", precision="nf4", device="cpu").model
    fast = torch.bfloat16 if pays else torch.float32
    assert model.dtype == model.model.layers[0].self_attn.q_proj.compute_dtype == fast


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_loaded_model_leaves_no_holes_where_kept_views_were():
    """Views are kept, outgrown and dropped in another order than they came: what is dropped must be given back."""
    script = (
        "import gc, torch\n"
        "from maro_lib.model.loading import load\n"
        "load('embedded')\n"
        "torch.ones(7_900_000)\n"
        "def memory():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6\n"
        "before, kept = memory(), []\n"
        "for k in range(40):\n"
        "    kept += [torch.ones(2_000_000 + 50_000 * k), torch.ones(100_000)]\n"
        "del kept[0::2]\n"
        "gc.collect()\n"
        "print(memory() - before)\n"
    )
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert float(left) < 60, "of 500 MB, 16 are still in use"


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


# --- an adapter's folder -----------------------------------------------------------------------------

A = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"


@pytest.fixture
def sealed(adapter):
    seal(tmp := ROOT / adapter, load("embedded").origin)
    return tmp


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Models of the embedded one's shape: one trained again in its linear layers alone, one in its norms too."""
    folders = {}
    for part in ("proj", "norm"):
        loaded, folder = load("embedded"), tmp_path_factory.mktemp("other") / part
        with torch.no_grad():
            for name, p in loaded.model.named_parameters():
                if "proj.weight" in name or part in name:
                    p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        folders[part] = str(folder)
    return folders


def said(name, **more):
    """What loading warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(name, **more)
    return " ".join(str(w.message) for w in caught if w.category is UserWarning)


@pytest.mark.parametrize("trained_on", ["float64", "float32", "bfloat16", "nf4"])
@pytest.mark.parametrize("here", ["float64", "float32", "bfloat16", "nf4"])
def test_the_same_base_in_another_precision_is_the_same_and_another_base_is_not(adapter, other, trained_on, here):
    seal(folder := ROOT / adapter, load("embedded", precision=trained_on).origin)
    crossing = (trained_on == "nf4") != (here == "nf4")
    told = said("embedded", precision=here, adapter=adapter)
    assert ("close, not the same" in told) == crossing
    assert crossing or not told
    with pytest.raises(ModelError, match=rf"base\.json: .* on other weights \(embedded, {trained_on} .*; load those"):
        load(other["norm" if crossing else "proj"], precision=here, adapter=str(folder))


def test_beside_another_adapter_a_wrong_one_is_refused_and_nothing_is_left_of_it(sealed, other, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(sealed, wrong)
    seal(wrong, load(other["proj"]).origin)
    loaded = load("embedded", adapter=str(sealed))
    before = loaded.model.state_dict().keys()
    with pytest.raises(ModelError, match="other weights"):
        loaded.beside(str(wrong))
    assert loaded.model.state_dict().keys() == before
    assert loaded.beside(str(sealed)).slot == "beside_1"


def test_an_adapter_made_elsewhere_is_said_to_be_unverified_once(adapter):
    assert "was made elsewhere: that it was trained on embedded is unverified" in said("embedded", adapter=adapter)
    assert said("embedded", adapter=adapter) == ""


def test_the_adapter_that_comes_along_is_verified():
    assert said("embedded", adapter=STUDY_ADAPTER) == ""
    assert len(json.loads((ROOT / STUDY_ADAPTER / ORIGIN).read_text())["digests"]) == 57


def change_config(**fields):
    def change(folder):
        config = json.loads((folder / CONFIG).read_text()) | fields
        (folder / CONFIG).write_text(json.dumps(config))

    return change


def change_tensors(change):
    def changed(folder):
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return changed


def truncate(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def cut_in_the_header(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100])


def flip_a_bit(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1000] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def put_number(number):
    return change_tensors(lambda t: t[A].view(-1)[3:4].fill_(number))


BROKEN = {  # what was done, what is said, and whether it is seen also where there is no digest
    "truncated": (truncate, r"adapter_model\.safetensors: base_model.*lora.*: the file ends in it", True),
    "header": (cut_in_the_header, r"adapter_model\.safetensors: damaged", True),
    "bit": (flip_a_bit, r"adapter_model\.safetensors: base_model.*is not what training wrote", False),
    "nan": (put_number(torch.nan), rf"adapter_model\.safetensors: {A}: holds numbers that are not finite", True),
    "inf": (put_number(torch.inf), rf"adapter_model\.safetensors: {A}: holds numbers that are not finite", True),
    "ints": (change_tensors(lambda t: t.update({A: t[A].int()})), rf"{A}: holds torch.int32", True),
    "missing": (change_tensors(lambda t: t.pop(A)), rf"adapter_model\.safetensors: {A}: missing", True),
    "extra": (change_tensors(lambda t: t.update(x=t[A] + 1)), r"adapter_model\.safetensors: x: not asked for", True),
    "shape": (change_tensors(lambda t: t.update({A: t[A][:, 1:].clone()})), rf"safetensors: {A}", True),
    "alpha": (change_config(lora_alpha=9), r"adapter_config\.json: is not what training wrote", False),
    "rank": (change_config(r=3), r"adapter_config\.json|shape is \(4, ", True),
    "no target": (change_config(target_modules=["nothing"]), r"adapter_config\.json", True),
    "a block": (change_config(target_modules=["mlp"]), r"adapter_config\.json", True),
    "pissa": (change_config(init_lora_weights="pissa"), r"adapter_config\.json: init_lora_weights: 'pissa'", True),
    "eva": (change_config(init_lora_weights="eva"), r"adapter_config\.json: init_lora_weights: 'eva'", True),
    "code": (change_config(auto_mapping={"parent_library": "os"}), "auto_mapping: not supported", True),
    "whole": (change_config(modules_to_save=["lm_head"]), "modules_to_save: not supported", True),
    "dora": (change_config(use_dora=True), "use_dora: not supported", True),
    "kind": (change_config(peft_type="LOHA"), r"adapter_config\.json: describes no LoRA adapter", True),
    "pattern": (change_config(target_modules=".*"), r"adapter_config\.json: target_modules: '\.\*'", True),
    "no JSON": (lambda folder: (folder / CONFIG).write_text("{"), r"adapter_config\.json: .*JSON", True),
    "base": (lambda folder: (folder / ORIGIN).write_text("[]"), r"base\.json: ", True),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("noted", [True, False], ids=["sealed", "made elsewhere"])
def test_a_broken_adapter_is_refused_with_file_and_tensor(sealed, broken, noted):
    break_it, message, always = BROKEN[broken]
    if not noted:
        (sealed / ORIGIN).unlink()
    break_it(sealed)
    if noted or always:
        with pytest.raises(ModelError, match=message):
            load("embedded", adapter=str(sealed))
    else:
        load("embedded", adapter=str(sealed))


def test_a_config_never_moves_the_base_nor_is_followed(sealed, monkeypatch):
    change_config(init_lora_weights="gaussian", base_model_name_or_path="/nowhere", lora_dropout=0.5)(sealed)
    (sealed / ORIGIN).unlink()
    loaded, plain = load("embedded", adapter=str(sealed)), load("embedded")
    with loaded.base() as base, torch.inference_mode():
        assert torch.equal(base(torch.tensor([[5]])).logits, plain.model(torch.tensor([[5]])).logits)
    kept = loaded.model.peft_config["default"]
    assert (kept.init_lora_weights, kept.lora_dropout) == (True, 0.0)

    made = adapter_files._peft_config

    def pissa(fields):
        config = made(fields)
        config.init_lora_weights = "pissa"
        return config

    monkeypatch.setattr(adapter_files, "_peft_config", pissa)
    with pytest.raises(ModelError, match="attaching it has changed the base"):
        load("embedded", adapter=str(sealed))


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}')
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="can't be loaded"):
        load(str(tmp_path))


# --- an adapter's folder as a model ------------------------------------------------------------------


def test_an_adapters_folder_is_a_model_its_base_with_it_merged_in():
    attached, found = load("embedded", adapter=STUDY_ADAPTER).model, load(STUDY_ADAPTER).model
    expected, logps = (torch.cat(token_logps(m, sequences())) for m in (attached, found))
    assert (logps - expected).abs().max() < 1e-4
    assert not hasattr(found, "peft_config")


@pytest.mark.parametrize(("precision", "off"), [("float64", 1e-7), ("bfloat16", 0.004), ("nf4", 0.15)])
def test_it_is_merged_before_it_is_made_smaller(precision, off):
    """Merged into weights of 4 bits an adapter would be rounded away."""
    found = load(STUDY_ADAPTER, precision=precision).model
    assert getattr(found, "is_loaded_in_4bit", False) == (precision == "nf4")
    found = (found.dequantize(torch.float32) if precision == "nf4" else found).model.layers[0].mlp.up_proj.weight
    exact = load(STUDY_ADAPTER).model.model.layers[0].mlp.up_proj.weight
    assert (found - exact).norm() < off * exact.norm()


def test_an_adapter_on_top_of_one_is_refused_by_the_plain_base(tmp_path):
    started = load(STUDY_ADAPTER)
    lora(started.model).save_pretrained(tmp_path / "second")
    seal(tmp_path / "second", load(STUDY_ADAPTER).origin)
    both = load(str(tmp_path / "second"))
    assert both.origin.weights not in (started.origin.weights, load("embedded").origin.weights)
    load(STUDY_ADAPTER, adapter=str(tmp_path / "second"))
    with pytest.raises(ModelError, match=f"it was trained on other weights \\({STUDY_ADAPTER}"):
        load("embedded", adapter=str(tmp_path / "second"))


def test_an_adapter_whose_base_is_not_known_is_no_model(adapter):
    with pytest.raises(ModelError, match="says on which model it was trained; give that as `model`"):
        load(adapter)


def test_an_adapter_finds_a_base_that_lay_elsewhere_by_a_link(tmp_path, monkeypatch):
    """Its card names no place on a machine, only the folder's last part."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / STUDY_ADAPTER, tmp_path / "a")
    origin = json.loads((tmp_path / "a" / ORIGIN).read_text())
    (tmp_path / "a" / ORIGIN).write_text(json.dumps(origin | {"model": "my-model"}))
    with pytest.raises(ModelError, match=r"was trained on 'my-model'.*make a link to it by this name"):
        load(str(tmp_path / "a"))
    (tmp_path / "my-model").symlink_to(EMBEDDED)
    load(str(tmp_path / "a"))


def test_an_adapter_that_names_itself_as_its_base_ends(tmp_path):
    shutil.copytree(ROOT / STUDY_ADAPTER, tmp_path / "a")
    origin = json.loads((tmp_path / "a" / ORIGIN).read_text())
    (tmp_path / "a" / ORIGIN).write_text(json.dumps(origin | {"model": str(tmp_path / "a")}))
    with pytest.raises(ModelError, match="was trained on itself"):
        load(str(tmp_path / "a"))
