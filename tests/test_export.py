"""Export: merged weights are the model that was trained, and what is not is refused and leaves nothing behind."""

import json
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from test_models import lora, sequences

from maro_lib.learn import export
from maro_lib.learn.export import NOTE, ExportError, merge
from maro_lib.model import loading
from maro_lib.model.adapter_files import ORIGIN, WEIGHTS, seal
from maro_lib.model.loading import ModelError, load, token_logps


@pytest.fixture(scope="module", params=["nf4", "float32", "bfloat16"])
def trained(request, tmp_path_factory):
    """An adapter, and the precision of the weights that it was made for."""
    return save_adapter(tmp_path_factory.mktemp(request.param) / "adapter", request.param), request.param


@pytest.fixture
def on_nf4(tmp_path):
    return save_adapter(tmp_path / "adapter", "nf4")


def save_adapter(folder, precision):
    base = load("embedded", precision=precision)
    origin = base.origin
    lora(base.model).save_pretrained(folder)
    seal(folder, origin)
    return folder


def logps(model):
    with torch.inference_mode():
        return torch.cat(token_logps(model, sequences()))


def test_merged_weights_are_the_model_that_was_trained(trained, tmp_path):
    adapter, precision = trained
    gap = merge("embedded", adapter, tmp_path / "merged", precision=precision)
    assert gap < 1e-4
    merged = load(str(tmp_path / "merged"), precision="float32")
    assert {type(m).__name__ for m in merged.model.modules() if "Linear" in type(m).__name__} == {"Linear"}
    if precision != "bfloat16":  # computed in bfloat16 it is off by rounding alone
        tuned = load("embedded", precision=precision, adapter=str(adapter))
        assert (logps(merged.model) - logps(tuned.model)).abs().max() < 1e-4
        with tuned.base() as base:
            assert (logps(merged.model) - logps(base)).abs().max() > 1


def test_merged_weights_of_4_bits_are_not_rounded_to_the_type_they_are_multiplied_in(tmp_path, monkeypatch):
    """Where a processor is fast at bfloat16, a model trained there could not be merged: off by 0.1."""
    monkeypatch.setattr(loading, "fast_type", lambda *_: "bfloat16")
    assert merge("embedded", save_adapter(tmp_path / "adapter", "nf4"), tmp_path / "merged") < 1e-4


def test_merged_onto_the_original_weights_it_is_another_model(on_nf4):
    """So that the law above can fail."""
    right = load("embedded", precision="nf4", adapter=str(on_nf4)).model
    original = load("embedded", precision="float32", adapter=str(on_nf4)).model.merge_and_unload()
    assert (logps(right) - logps(original)).abs().max() > 1


def test_what_an_adapter_was_trained_on_is_known_and_nothing_else_is_taken(on_nf4, tmp_path):
    assert merge("embedded", on_nf4, tmp_path / "merged") < 1e-4
    assert json.loads((tmp_path / "merged" / NOTE).read_text())["precision"] == "nf4"
    with pytest.raises(ExportError, match="was trained on nf4 weights in float32, not on float32"):
        merge("embedded", on_nf4, tmp_path / "other", precision="float32")
    (on_nf4 / ORIGIN).write_text(json.dumps({"model": "embedded", "precision": "nf4", "dtype": "bfloat16"}))
    with pytest.raises(ExportError, match="nf4 weights in bfloat16"):
        merge("embedded", on_nf4, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_other_weights_of_the_same_shape_are_not_merged_onto(on_nf4, tmp_path):
    origin = load("embedded", precision="nf4").origin
    seal(on_nf4, origin.model_copy(update={"weights": "0" * 16}))
    with pytest.raises(ModelError, match="trained on other weights"):
        merge("embedded", on_nf4, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def onto_the_original(plain, adapter):
    return load("embedded", precision="float32", adapter=str(adapter)).model.merge_and_unload()


def into_4_bits(plain, adapter):
    merged = load("embedded", precision="nf4", adapter=str(adapter)).model.merge_and_unload()
    return merged.dequantize(torch.float32)


def not_at_all(plain, adapter):
    return plain.model.dequantize(torch.float32)


def with_a_number_that_is_none(plain, adapter):
    model = plain.model.dequantize(torch.float32)
    model.lm_head.weight.data[5, 5] = torch.nan
    return model


@pytest.mark.parametrize("wrong", [onto_the_original, into_4_bits, not_at_all, with_a_number_that_is_none])
@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")
def test_a_wrong_merge_is_seen_and_gets_no_name(on_nf4, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(export, "merged", lambda plain, _files: wrong(plain, on_nf4))
    with pytest.raises(ExportError, match=r"not written.*off by up to"):
        merge("embedded", on_nf4, tmp_path / "merged")
    assert {p.name for p in tmp_path.iterdir()} == {"adapter"}


def test_merged_folder_holds_all_that_a_player_needs_and_says_where_it_is_from(on_nf4, tmp_path):
    gap = merge("embedded", on_nf4, tmp_path / "merged")
    files = {p.name for p in (tmp_path / "merged").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", NOTE} <= files
    assert not {f for f in files if f.endswith((".bin", ".pt", ".pkl", ".py"))}
    assert "quantization_config" not in (tmp_path / "merged" / "config.json").read_text()
    note = json.loads((tmp_path / "merged" / NOTE).read_text())
    assert note["model"] == "embedded"
    assert note["adapter"] == "adapter", "a file that stores its own place is wrong after a copy"
    assert note["largest_gap"] == gap
    assert len(note["adapter_digest"]) == 24
    ours, theirs = load("embedded").tokenizer, load(str(tmp_path / "merged")).tokenizer
    chat = [
        {"role": "user", "content": "Who did it? Ünïcödé 谋杀 it's 123"},
        {"role": "assistant", "content": "Vote Ann."},
    ]
    assert ours.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(chat, tokenize=False)
    assert ours(chat[0]["content"]).input_ids == theirs(chat[0]["content"]).input_ids


def test_merging_again_takes_the_place_of_what_was_merged_and_of_nothing_else(on_nf4, tmp_path):
    merge("embedded", on_nf4, tmp_path / "merged")
    (tmp_path / "merged" / "left").write_text("")
    merge("embedded", on_nf4, tmp_path / "merged")
    assert not (tmp_path / "merged" / "left").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"adapter", "merged"}
    with pytest.raises(ExportError, match="holds something that `merge` did not make"):
        merge("embedded", on_nf4, on_nf4)
    assert (on_nf4 / "adapter_model.safetensors").exists()


def test_a_missing_adapter_is_a_clear_error(tmp_path):
    with pytest.raises(ExportError, match=r"there is no adapter_model\.safetensors"):
        merge("embedded", tmp_path / "none", tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_a_damaged_adapter_is_not_merged(on_nf4, tmp_path):
    (on_nf4 / WEIGHTS).write_bytes((on_nf4 / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(ExportError, match=r"adapter_model\.safetensors: .*: the file ends in it"):
        merge("embedded", on_nf4, tmp_path / "merged")


def test_an_unwritable_place_is_a_clear_error(on_nf4, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="can't be written"):
        merge("embedded", on_nf4, tmp_path / "file" / "merged")


CHILD = """
import sys
from maro_lib.learn.export import merge
merge("embedded", sys.argv[1], sys.argv[2])
"""


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def test_a_full_disk_is_a_clear_error_and_what_was_there_is_safe(on_nf4, tmp_path):
    merge("embedded", on_nf4, tmp_path / "merged")
    before = {p.name: p.read_bytes() for p in (tmp_path / "merged").iterdir()}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(on_nf4), str(tmp_path / "merged")],
        stderr=subprocess.PIPE, text=True, preexec_fn=limit_file_size,
    )  # fmt: skip
    assert child.returncode == 1
    assert "merged: can't be written" in child.stderr
    assert "run the same command again" in child.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"adapter", "merged"}
    assert {p.name: p.read_bytes() for p in (tmp_path / "merged").iterdir()} == before


def test_a_killed_merge_is_done_again(on_nf4, tmp_path):
    """Whatever an interrupted call left under another name is in nobody's way."""
    merge("embedded", on_nf4, tmp_path / "merged")
    for name in (".merged.tmp", ".merged.old"):
        shutil.copytree(tmp_path / "merged", tmp_path / name)
    assert merge("embedded", on_nf4, tmp_path / "merged") < 1e-4
    assert {p.name for p in tmp_path.iterdir()} == {"adapter", "merged"}
