"""What leaves the house: other tools read it, it is what was trained on, and nothing half-written has a name."""

import asyncio
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from servers import Server, play_by_rule
from tiny_models import tiny_llama, tiny_qwen
from trl_trainers import trl_trainer
from worlds import Fixed

from maro_lib.__main__ import main
from maro_lib.embedded.lessons import HOME
from maro_lib.learn.balancing import balance
from maro_lib.learn.corpus import make_corpus, told_views
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import train
from maro_lib.measure.matches import CONTROL, MARO
from maro_lib.model.gguf import GgufError
from maro_lib.model.loading import load, token_logps
from maro_lib.model.local import LocalPolicy
from maro_lib.play.gamebook import Gamebook
from maro_lib.play.policies import NAIVE, SKILLED
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_table
from maro_lib.play.tables import TABLES
from maro_lib.runs import ROOT, finish_file, run_folder, write_atomic
from maro_lib.share.cards import Markdown, code, rows_of, write_card
from maro_lib.share.environment import write_package
from maro_lib.share.exporting import export_run
from maro_lib.share.folder import ExportFolder, ShareError
from maro_lib.share.gguf_weights import split_name, write_gguf
from maro_lib.share.source import Source, portable_player
from maro_lib.share.terms import terms_of
from maro_lib.share.training_set import conversations, preferences
from maro_lib.share.weights import weights_header
from maro_lib.summary import Summary, peek_summary, write_summary
from maro_lib.world.mystery import Rules
from maro_lib.world.setups import load_scripts
from maro_lib.worlds.registry import find_world
from maro_lib.worlds.world import WorldRules

PARTS = ("training", "games", "adapter", "merged", "gguf", "environment")
MIRAGE = Path(__file__).parent / "fixtures" / "mirage"
SETTINGS = Settings(learning_rate=5e-4, batch=100, lora_rank=4, lora_alpha=8, epochs=2, seed=3)


def finish_stages(name, *notebooks, **headline):
    for notebook in notebooks:
        write_atomic(finish_file(name, notebook), json.dumps({"notebook": notebook, "headline": headline}))


def change(arm, who, change, low, high, metric="games won", verdict="difference"):
    numbers = {"base": 0.25, "trained": 0.25 + change, "change": change, "low": low, "high": high, "judge": "rules"}
    return {"arm": arm, "who": who, "metric": metric, "games": 30, "mysteries": 10, "verdict": verdict, **numbers}


COMPARED = [
    change(MARO, "civilian", 0.125, 0.0625, 0.1875), change(MARO, "culprit", 0.0, 0.0, 0.0),
    change(CONTROL, "civilian", -0.03125, -0.125, 0.0625), change(CONTROL, "culprit", 0.0, 0.0, 0.0),
]  # fmt: skip


def make_run(name):
    """A run of the embedded model as 02 to 06 leave it, without merged weights; its figures are made up."""
    at, book = run_folder(name), Gamebook(seed=7, n_scripts=3, knobs=HOME, rules=Rules(rounds=1))
    write_atomic_in(at, "gamebook.json", json.dumps(asdict(book)))
    loaded = load("embedded", precision="float32")
    played = play(book.games(3), LocalPolicy(loaded), folder=at / "rollout")
    actions = played.table("actions")
    kept = balance(actions.assign(weight=decompose(actions, "discounted")), lam_pos=1.5, lam_neg=0.5)
    kept.actions.to_parquet(at / "training.parquet", index=False)
    facts = {"mode": "min", "classes": "overall", "lam_pos": kept.lam_pos, "lam_neg": kept.lam_neg}
    write_atomic(at / "training.json", json.dumps(facts | {"statement": kept.statement}))
    corpus = make_corpus(played.table("dialogues"), kept.actions)
    train(loaded, corpus, SETTINGS, at / "learning")
    pd.DataFrame(COMPARED).to_parquet(at / "comparison.parquet")
    write_summary(Summary(run=name, parameters={**asdict(SETTINGS), "model": "embedded", "n_games": 3}))
    finish_stages(name, "02_rollout", learner="embedded(float32,T=1)")
    finish_stages(name, "03_decomposition", rule="discounted")
    finish_stages(name, "04_balancing", "05_maro_training", "06_social_metrics")


def write_atomic_in(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / name, text)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARO_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        make_run("x")
        yield run_folder("x").parent


@pytest.fixture(scope="module")
def told(outputs, tmp_path_factory):
    """A whole export, and what was said of it."""
    folder = tmp_path_factory.mktemp("shared") / "x"
    return folder, export_run("x", 1, str(folder), merging=True)


@pytest.fixture(scope="module")
def exported(told):
    return told[0]


@pytest.fixture
def copied(outputs, tmp_path, monkeypatch):
    """A copy of the run, to take something from."""
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    shutil.copytree(outputs / "x", tmp_path / "outputs" / "x")
    return tmp_path / "outputs" / "x"


def card_of(folder):
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def rows(folder, config):
    return pd.read_parquet(folder / config / "train.parquet")


# --- the training set --------------------------------------------------------------------------------


def test_a_preference_is_what_was_seen_then_what_was_done(outputs, exported):
    training = pd.read_parquet(run_folder("x") / "training.parquet").set_index(["game", "agent", "t"])
    given = rows(exported / "training", "preferences").set_index(["game", "agent", "t"])
    assert sorted(given.index) == sorted(training.index), "every action that was kept, and once"
    for key, row in given.iterrows():
        kept = training.loc[key]
        assert [m["content"] for m in row["completion"]] == [kept["text"]]
        assert [m["role"] for m in row["completion"]] == ["assistant"]
        roles = [m["role"] for m in row["prompt"]]
        assert roles[0] == "system"
        assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]
        assert (row["label"], row["faction"], row["rule"]) == (kept["desirable"], kept["faction"], "discounted")
        assert row["weight"] == pytest.approx(kept["weight"])
    assert given["weight"].nunique() > 2, "else a wrong weight would not be seen"


def test_a_conversation_labels_every_kept_action_once(outputs, exported):
    training = pd.read_parquet(run_folder("x") / "training.parquet")
    found = []
    for row in rows(exported / "training", "conversations").itertuples():
        said = [m["content"] for m in row.messages if m["role"] == "assistant"]
        assert len(said) == len(row.labels) == len(row.weights)
        labelled = [pair for pair in zip(said, row.labels, strict=True) if pair[1] is not None]
        found += [(row.game, row.agent, *pair) for pair in labelled]
    kept = zip(*(training[name] for name in ("game", "agent", "text", "desirable")), strict=True)
    assert sorted(found) == sorted(kept)


def message(role, content):
    return {"role": role, "content": content}


def told_rows(*views):
    made = [{"game": "g", "order": 0, "agent": "Ann", "seat": 0, "view": k, "messages": m} for k, m in enumerate(views)]
    return pd.DataFrame(made)


KEPT = pd.DataFrame({
    "game": "g", "seat": 0, "t": [1, 2, 3], "desirable": [True, False, True], "weight": 1.0, "faction": "civilian",
})  # fmt: skip


def test_views_after_a_summary_go_on_with_the_next_action():
    first = [message("system", "s"), message("user", "Act?"), message("assistant", "one"), message("user", "Sum up."),
             message("assistant", "two")]  # fmt: skip
    second = [message("system", "s"), message("user", "You noted: two. Act?"), message("assistant", "three")]
    dialogues = told_rows(first, second)
    assert [v.replies() for v in told_views(dialogues)] == [[(2, 1), (4, 2)], [(2, 3)]]
    found = [(row["t"], row["completion"][0]["content"], row["label"], len(row["prompt"]))
             for row in preferences(dialogues, KEPT, "uniform")]  # fmt: skip
    assert found == [(1, "one", True, 2), (2, "two", False, 4), (3, "three", True, 2)]
    assert [row["labels"] for row in conversations(dialogues, KEPT, "uniform")] == [[True, False], [True]]


def test_a_template_that_rewrites_has_a_row_per_action_and_no_action_twice():
    first = [message("system", "s"), message("user", "Act?"), message("assistant", "one")]
    dialogues = told_rows(first, [*first, message("user", "Vote?"), message("assistant", "two")])
    kept = KEPT[KEPT["t"] < 3]
    assert [row["t"] for row in preferences(dialogues, kept, "uniform")] == [1, 2]
    assert [row["labels"] for row in conversations(dialogues, kept, "uniform")] == [[True], [None, False]]


def test_datasets_reads_every_config_that_a_card_names(exported, tmp_path, caplog):
    from datasets import load_dataset

    for part, configs in (("training", ["preferences", "conversations"]), ("games", list(TABLES))):
        header, text = card_of(exported / part)
        assert [c["config_name"] for c in header["configs"]] == configs
        for config, info in zip(configs, header["dataset_info"], strict=True):
            read = load_dataset(str(exported / part), config, split="train", cache_dir=str(tmp_path))
            assert len(read) == info["splits"][0]["num_examples"] == len(rows(exported / part, config)) > 0
            assert all(f"| `{column}` |" in text for column in read.column_names)
    assert not caplog.records, "a header that is ignored is said so"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_trl_trains_on_the_tokens_that_were_sampled(exported, tmp_path, monkeypatch):
    from datasets import load_dataset

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # TRL would report its use to the hub
    some = load_dataset(str(exported / "training"), split="train", cache_dir=str(tmp_path)).select(range(8))
    how = {"loss_type": "apo_zero_unpaired", "per_device_train_batch_size": 4, "learning_rate": 1e-3}
    loaded = load("embedded", precision="float32")
    trainer, kept = trl_trainer("KTO", loaded, some, tmp_path / "trl", **how)
    played = read_table(run_folder("x") / "rollout", "dialogues").set_index(["game", "agent"])
    assert len(trainer.train_dataset) == len(some), "none is dropped"
    for row, read in zip(some, trainer.train_dataset, strict=True):
        dialogue = played.loc[row["game"], row["agent"]]
        start, end = next((s["start"], s["end"]) for s in dialogue["spans"] if s["t"] == row["t"])
        assert read["prompt_ids"] == dialogue["token_ids"][:start].tolist()
        assert read["completion_ids"][: end - start] == dialogue["token_ids"][start:end].tolist()
        assert loaded.tokenizer.decode(read["completion_ids"][end - start :]).strip() == "", "what the card says"
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert len(kept.steps) == 2
    assert all(np.isfinite(float(h["loss"])) for h in trainer.state.log_history if "loss" in h)
    moved = [not torch.equal(before[n], p) for n, p in trainer.model.named_parameters() if n in before]
    assert all(moved)


# --- games ---------------------------------------------------------------------------------------------


def test_games_are_read_back_as_they_were_played(outputs, exported):
    for name in TABLES:
        played = read_table(run_folder("x") / "rollout", name)
        pd.testing.assert_frame_equal(rows(exported / "games", name), played)
    assert "title:" in (exported / "games" / "scripts.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "portable"),
    [("/data/ada/models/qwen(nf4,T=1)", "qwen(nf4,T=1)"), ("embedded(float32,T=1)", "embedded(float32,T=1)"),
     ("/data/ada/q+/data/ada/mine/adapter(nf4,T=1)", "q+adapter(nf4,T=1)"),
     ("Qwen/Qwen2.5-7B-Instruct+outputs/a/learning/adapter(nf4,T=1)",) * 2],
)  # fmt: skip
def test_a_players_name_loses_the_places_of_this_machine(name, portable):
    assert portable_player(name) == portable


def test_no_file_names_a_place_of_this_machine(outputs, exported):
    places = [str(outputs.parent).encode(), str(ROOT).encode(), str(exported.parent).encode()]
    for path in (p for p in exported.rglob("*") if p.is_file()):
        held = pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
        assert not [place for place in places if place in held], path.name


# --- weights -------------------------------------------------------------------------------------------


def logps(model):
    with torch.inference_mode():
        return torch.cat(token_logps(model, [[5, 60, 7, 80, 9, 33, 12]]))


def test_the_adapter_plays_on_its_base_and_so_do_the_merged_weights(outputs, exported):
    from peft import PeftModel

    tuned = logps(load("embedded", precision="float32", adapter=str(run_folder("x") / "learning" / "adapter")).model)
    base = load("embedded", precision="float32")
    assert (logps(base.model) - tuned).abs().max() > 1e-3, "else nothing is compared"
    assert torch.equal(logps(load("embedded", precision="float32", adapter=str(exported / "adapter")).model), tuned)
    assert (logps(load(str(exported / "merged"), precision="float32").model) - tuned).abs().max() < 1e-4
    by_peft = PeftModel.from_pretrained(base.model, exported / "adapter").eval()
    assert torch.equal(logps(by_peft), tuned)


def test_a_model_card_says_what_it_is_what_it_gained_and_what_the_control_gained(exported):
    for part, library in (("adapter", "peft"), ("merged", "transformers")):
        header, text = card_of(exported / part)
        assert (header["license"], header["library_name"]) == ("apache-2.0", library)
        assert "| `learning_rate` | 0.0005 |" in text
        assert "| `lam_pos` | 1.5 |" in text
        told = r"+0.125 \[+0.062, +0.188\] | difference | -0.031 \[-0.125, +0.062\] | 30 / 10 |"
        assert f"| civilians | games won | 0.250 | 0.375 | {told}" in text
        assert "Training finished after 2 steps, on the base as float32." in text


@pytest.mark.parametrize(
    ("model", "base"),
    [("embedded", None), ("maro_lib/embedded", None), ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
     ("maro_lib/embedded/adapters/smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct")],
)  # fmt: skip
def test_a_card_names_the_base_as_the_hub_does(copied, model, base):
    write_summary(Summary(run="x", parameters={"model": model}))
    assert weights_header(source(), "peft").get("base_model") == base


def test_a_card_without_figures_or_control_says_so(copied, tmp_path):
    pd.DataFrame(COMPARED[:2]).to_parquet(copied / "comparison.parquet")
    export_run("x", 1, str(tmp_path / "out"))
    assert r"\[+0.062, +0.188\] | difference | no control |" in card_of(tmp_path / "out" / "adapter")[1]
    finish_file("x", "06_social_metrics").unlink()
    export_run("x", 1, str(tmp_path / "other"))
    assert "Not measured: notebook 06 of this run has not been run." in card_of(tmp_path / "other" / "adapter")[1]


def test_merged_weights_that_the_run_has_are_copied(copied, exported, tmp_path):
    shutil.copytree(exported / "merged", copied / "merged")
    export_run("x", 1, str(tmp_path / "out"))
    for name in ("model.safetensors", "merged.json"):
        assert (tmp_path / "out" / "merged" / name).read_bytes() == (copied / "merged" / name).read_bytes()


# --- GGUF ------------------------------------------------------------------------------------------------


def tiny_weights(kind, folder):
    """A tiny model whose heads look somewhere: in random ones no order of queries and keys makes a difference."""
    path = {"qwen2": tiny_qwen, "llama": tiny_llama}[kind](folder) / "model.safetensors"
    sharp = {name: 20 * w if ".q_" in name or ".k_" in name else w for name, w in load_file(path).items()}
    save_file(sharp, path, {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_a_gguf_file_is_read_back_as_the_model_that_it_was_made_of(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_CACHE", str(tmp_path / "cache"))
    model = tiny_weights(kind, tmp_path / kind)
    write_gguf(model, tmp_path / "mine.gguf")
    before, after = (load(str(name), precision="float32") for name in (model, tmp_path / "mine.gguf"))
    assert after.tokenizer.chat_template == before.tokenizer.chat_template
    text = "Ann asks Ben: What's 1234?\n Vote Ben."
    assert after.tokenizer(text).input_ids == before.tokenizer(text).input_ids
    assert (logps(after.model) - logps(before.model)).abs().max() < 0.02, "16 bits round"


def test_an_exported_gguf_file_plays_what_was_learned(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_CACHE", str(tmp_path / "cache"))
    merged, one = (load(str(exported / name), precision="float32") for name in ("merged", "gguf/merged.gguf"))
    assert (logps(one.model) - logps(merged.model)).abs().max() < 0.02
    assert card_of(exported / "gguf")[0]["library_name"] == "gguf"


@pytest.mark.parametrize("change", [{"model_type": "phi3"}, {"rope_parameters": {"rope_type": "llama3"}}])
def test_what_is_not_written_as_gguf_is_named(change, tmp_path):
    model = tiny_weights("llama", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(GgufError, match=r"llama\.cpp's own converter"):
        write_gguf(model, tmp_path / "mine.gguf")
    with pytest.raises(GgufError, match=r"splits text in a way that llama\.cpp has no name for"):
        split_name({"type": "Whitespace"})


def by_llama_cpp(path):
    why = "llama.cpp is not installed: pip install -e '.[llama]' builds it, in a quarter of an hour"
    return pytest.importorskip("llama_cpp", reason=why).Llama(str(path), n_ctx=512, logits_all=True, verbose=False)


def assert_same_by_llama_cpp(llama, loaded, chat):
    """The same tokens, and the same log-probabilities but for 16 bits; they are returned."""
    text = loaded.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
    assert llama.tokenize(text.encode(), add_bos=False, special=True) == ids
    llama.eval(ids)
    theirs = torch.log_softmax(torch.tensor(np.array(llama.scores[: len(ids)])), -1)
    with torch.inference_mode():
        ours = torch.log_softmax(loaded.model(torch.tensor([ids])).logits[0], -1)
    assert (theirs - ours).abs().max() < 0.05
    return torch.tensor([ids])


def test_llama_cpp_says_what_the_merged_weights_say(exported):
    llama, merged = by_llama_cpp(exported / "gguf" / "merged.gguf"), load(str(exported / "merged"), precision="float32")
    view = [dict(m) for m in rows(exported / "training", "preferences")["prompt"][0]]
    ids = assert_same_by_llama_cpp(llama, merged, view)
    said = llama.create_chat_completion(view, max_tokens=24, temperature=0.0)["choices"][0]["message"]["content"]
    by_us = merged.model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    assert said == merged.tokenizer.decode(by_us, skip_special_tokens=True)


def test_llama_cpp_reads_a_llama_rightly(tmp_path):
    model = tiny_weights("llama", tmp_path / "model")
    write_gguf(model, tmp_path / "mine.gguf")
    chat = [message("system", "You are Ann."), message("user", "Act? Ask: Ben Cal. 1234 it's")]
    assert_same_by_llama_cpp(by_llama_cpp(tmp_path / "mine.gguf"), load(str(model), precision="float32"), chat)


def test_no_gguf_file_is_made_of_merged_weights_of_an_earlier_training(copied, exported, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(exported, folder)
    shutil.rmtree(folder / "gguf")
    note = json.loads((folder / "merged" / "merged.json").read_text())
    (folder / "merged" / "merged.json").write_text(json.dumps(note | {"adapter_digest": "0" * 24}))
    assert "gguf/ is left out: there are no merged weights to make it of" in export_run("x", 1, str(folder))


# --- cards -----------------------------------------------------------------------------------------------

HOSTILE = "a | b <script>x</script> [c](http://d)\n---\n# e `f` {{g}} *h* \u202e"


def test_a_fact_is_no_markup(tmp_path):
    cells = rows_of([[HOSTILE, 1]])
    write_card(tmp_path, "adapter", {}, run=HOSTILE, base=code(HOSTILE), learned=cells, terms=Markdown("*kept*"))
    _, text = card_of(tmp_path)
    title, cells = text.strip().splitlines()[0], next(line for line in text.splitlines() if line.startswith("| a"))
    escaped = r"a \| b \<script\>x\</script\> \[c\](http://d) --- \# e \`f\` \{\{g\}\} \*h\*"
    assert title == f"# Adapter of a MARO run ({escaped})"
    assert cells == f"| {escaped} | 1 |"
    assert "`a | b <script>x</script> [c](http://d) --- # e f {{g}} *h*`" in text
    assert "*kept*" in text


# --- the folder ------------------------------------------------------------------------------------------


def test_what_was_written_is_shown_with_the_commands_that_send_it_on(told):
    folder, said = told
    lines = said.splitlines()
    assert lines[0] == f"{folder}/"
    n = len(rows(folder / "training", "preferences"))
    assert any(line.startswith("    preferences/train.parquet") and line.endswith(f"{n} rows") for line in lines)
    for part in PARTS:
        assert f"  {part}/  written" in lines
        kind = " --repo-type dataset" if part in ("training", "games") else ""
        command = f"  hf upload YOUR_NAME/x-{part} {folder / part} .{kind}"
        assert (command in lines) == (part != "environment")


def test_again_it_keeps_what_is_the_same_and_makes_the_rest(copied, exported, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(exported, folder)
    shutil.rmtree(folder / "games")
    (folder / ".games.tmp").mkdir()  # of an export that was killed
    card = folder / "training" / "README.md"
    card.write_text("my own words")
    said = export_run("x", 1, str(folder), merging=True)
    assert [
        f"  {part}/  {how}" in said
        for part, how in zip(PARTS, ("kept", "written", "kept", "kept", "kept", "kept"), strict=True)
    ]
    assert {p.name for p in folder.iterdir()} == {*PARTS, "export.json"}
    assert card.read_text() == "my own words", "what somebody changed stays"


def test_a_changed_run_replaces_a_part_and_sets_aside_what_somebody_changed(copied, tmp_path):
    folder = tmp_path / "out"
    export_run("x", 1, str(folder))
    (folder / "training" / "README.md").write_text("my own words")
    facts = json.loads((copied / "training.json").read_text())
    (copied / "training.json").write_text(json.dumps(facts | {"lam_pos": 9.5}))
    said = export_run("x", 1, str(folder))
    assert "training/  written; the one before was changed by hand, and is kept as training.changed-1" in said
    assert "adapter/  written\n" in said
    assert "games/  kept" in said
    assert "desirable_weight=9.5" in (folder / "training" / "README.md").read_text()
    assert (folder / "training.changed-1" / "README.md").read_text() == "my own words"


@pytest.mark.parametrize("missing", ["04_balancing.json", "training.parquet"])
def test_what_is_missing_is_named_and_the_rest_is_exported(copied, tmp_path, missing):
    (copied / missing).unlink()
    said = export_run("x", 1, str(tmp_path / "out"))
    assert "training/ is left out: outputs/x/training.parquet is" in said
    assert "make run ONLY=04 PARAMS=params/x.yaml" in said
    assert "merged/ is left out: outputs/x/merged is missing (`export_merged: false`); --merge makes it" in said
    assert "gguf/ is left out: there are no merged weights to make it of" in said
    assert (tmp_path / "out" / "games" / "README.md").exists()
    assert not (tmp_path / "out" / "training").exists()


@pytest.mark.parametrize("lost", ["adapter_model.safetensors", "base.json"])
def test_an_adapter_that_lacks_a_file_is_not_exported(copied, tmp_path, lost):
    (copied / "learning" / "adapter" / lost).unlink()
    said = export_run("x", 1, str(tmp_path / "out"))
    assert "adapter/ is left out: " in said
    assert lost in said
    assert "environment/  written" in said


def test_what_is_damaged_is_named_and_the_rest_is_exported(copied, tmp_path):
    (copied / "training.parquet").write_bytes(b"PAR1 no more")
    said = export_run("x", 1, str(tmp_path / "out"))
    assert "training/ is left out: outputs/x/training.parquet: is damaged (" in said
    assert "notebook 04_balancing makes it again" in said
    assert "games/  written" in said


def test_a_folder_of_something_else_is_refused(outputs, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ShareError, match="holds something that no export has written"):
        export_run("x", 1, str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with ExportFolder(tmp_path / "other", "another"):
        pass
    assert main(["export", "x", "--to", str(tmp_path / "other")]) == 1
    assert "holds the export of the run 'another', not of 'x'" in capsys.readouterr().err


def test_two_exports_into_one_folder_are_refused(outputs, tmp_path):
    with ExportFolder(tmp_path, "x"), pytest.raises(ShareError, match="another process is exporting into it"):
        export_run("x", 1, str(tmp_path))


def test_a_full_disk_leaves_nothing_half_written_and_the_same_command_goes_on(outputs, exported, tmp_path):
    folder, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))  # the system's own limit; the adapter is larger
    try:
        with pytest.raises(ShareError, match=r"adapter: can't be written .*run the same command again"):
            export_run("x", 1, str(folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name for p in folder.iterdir()} == {"training", "games", "export.json"}, "and no more is tried"
    said = export_run("x", 1, str(folder))
    assert "training/  kept" in said
    assert "adapter/  written" in said


# --- the environment -------------------------------------------------------------------------------------------


def play_by_verifiers(package, say=play_by_rule, **config):
    """Let the real library play a package's first game, models on a server that plays by rule; its episode and game."""
    import verifiers.v1 as vf
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    env = load_environment(resolve_env_config({"taskset": {"id": package, "n_games": 1}, **config}))
    sampling = vf.SamplingConfig(max_tokens=64, seed=3, temperature=1.0)

    async def play_first(url):
        client = vf.EvalClientConfig(base_url=f"{url}/v1", api_key_var="NO_KEY_IS_READ")
        async with env.serving():
            (slot,) = env.slots(next(iter(env.taskset)))
            return await env.run_slot(slot, vf.ModelContext(model="m", client=client, sampling=sampling))

    with Server(say=say) as server:
        return asyncio.run(play_first(server.url)), env.taskset.games[0]


def test_verifiers_plays_the_exported_games_and_a_trace_is_its_seats_own_view(copied, tmp_path, monkeypatch):
    pytest.importorskip("verifiers.v1", reason="verifiers is not installed: pip install -e '.[verifiers]'")
    other_scripts(copied, "quiet_hours")
    export_run("x", 1, str(tmp_path / "out"))
    monkeypatch.syspath_prepend(str(tmp_path / "out" / "environment"))
    episode, game = play_by_verifiers("maro-x", scripted={"culprit": "skilled"}, learners=[])
    assert episode.ok
    assert game.seed == schedule([game.script], 1, seed=0)[0].seed, "the run's own games"
    said = [[(n.message.role, n.message.content) for n in trace.nodes] for trace in episode.traces]
    begun = game.environment()
    begun.reset(len(game.script.characters), game.seed)
    seats = {begun.private_view(k)[0].content: k for k in range(len(game.script.characters))}
    spoken = {seats[own[0][1]]: [text for role, text in own if role == "assistant"] for own in said}
    replies = {(seat, t): text for seat, texts in spoken.items() for t, text in enumerate(texts, 1)}
    again = play([game], {"civilian": Fixed(replies), "culprit": SKILLED})
    views = {d.seat: [(m["role"], m["content"]) for m in d.messages] for d in again.table("dialogues").itertuples()}
    success = again.table("games")["success"][0]
    assert len(episode.traces) == len(game.script.characters) - game.script.n_culprits
    for own, trace in zip(said, episode.traces, strict=True):
        seat = seats[own[0][1]]
        assert own == views[seat][: len(own)]
        assert len(views[seat]) - len(own) <= 1, "what came after the last reply"
        assert (trace.agent.name, trace.agent.trainable) == ("civilian", False)
        assert (trace.rewards["success"].score, trace.metrics["legal"]) == (success[seat], 1.0)


def test_verifiers_plays_any_world_and_a_seat_by_rule_beside_a_model(tmp_path, monkeypatch):
    pytest.importorskip("verifiers.v1", reason="verifiers is not installed: pip install -e '.[verifiers]'")
    scenario = find_world("commons").generate(0)
    write_package(tmp_path, "lake", [scenario], 3, WorldRules())
    monkeypatch.syspath_prepend(str(tmp_path))
    first, *others = scenario.names
    episode, game = play_by_verifiers(
        "maro-lake", lambda messages, seed: "TAKE 2" if "TAKE" in messages[-1]["content"] else "Two for each of us.",
        scripted={first: "greedy"}, learners=["player"],
    )  # fmt: skip
    assert episode.ok, episode
    assert game == schedule([scenario], 1, 3)[0]
    assert [(t.agent.name, t.agent.trainable) for t in episode.traces] == [("player", True)] * len(others)
    # the greedy one takes all 40 at once; who is served before it gets 2
    assert all(t.rewards["success"].score == 0 and t.metrics["payoff"] in (0, 2) for t in episode.traces)
    for scripted, hint in (
        ({first: "greddy"}, "did you mean 'greedy'"),
        ({"fischer": "greedy"}, "did you mean 'fisher'"),
    ):
        failed, _ = play_by_verifiers("maro-lake", scripted=scripted)
        assert not failed.ok
        assert hint in failed.last_error.message


def test_a_package_plays_the_runs_own_games(outputs, exported):
    package, played = exported / "environment" / "maro_x", read_table(run_folder("x") / "rollout", "games")
    decides = json.loads((package / "game.json").read_text())
    games = schedule(list(load_scripts(package / "scripts.yaml").values()), 3, decides["seed"])
    assert [(g.seed, g.script.digest) for g in games] == list(zip(played["seed"], played["digest"], strict=True))
    assert decides["rules"]["rounds"] == 1


@pytest.mark.walk
def test_the_environment_can_be_installed(exported, tmp_path):
    made = shutil.copytree(exported / "environment", tmp_path / "environment")  # building leaves files beside it
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(tmp_path / "site"), str(made)], check=True)
    assert {"__init__.py", "game.json", "scripts.yaml"} <= {p.name for p in (tmp_path / "site" / "maro_x").iterdir()}


# --- what may be passed on -----------------------------------------------------------------------------------


def other_scripts(copied, script, **parameters):
    """Make the copied run one of other scripts, which scripted players play."""
    book = Gamebook(script=script, rules=Rules(rounds=1))
    (copied / "gamebook.json").write_text(json.dumps(asdict(book)))
    shutil.rmtree(copied / "rollout")
    play(book.games(1), NAIVE, folder=copied / "rollout")
    write_summary(peek_summary("x").model_copy(update={"parameters": {"model": "embedded", **parameters}}))


def test_what_is_mirages_is_not_to_be_published(copied, tmp_path):
    other_scripts(copied, str(MIRAGE))
    said = export_run("x", 1, str(tmp_path / "out"))
    header, text = card_of(tmp_path / "out" / "games")
    assert header["license"] == "unknown"
    assert "The scripts are MIRAGE's." in text
    assert "do not publish this without their leave" in " ".join(text.split())
    assert "nothing should be. The scripts are MIRAGE's." in said
    assert "hf upload" not in said


def test_a_bundled_case_is_the_kits_and_words_of_another_model_are_not(copied):
    other_scripts(copied, "paper_double")
    assert terms_of(source()).licence == "apache-2.0"
    other_scripts(copied, "paper_double", model="/data/ada/qwen")
    terms = terms_of(source())
    assert terms.licence == "unknown"
    assert "The words were written by the model qwen." in terms.told


def source():
    return Source("x", 1, peek_summary("x"), Path())
