"""Training: the gradient is the one that is written down, base stays base, and nothing that happens costs the work."""

import contextlib
import gc
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from closeness import LOGP, SHARE, near
from pyarrow.parquet import read_schema
from safetensors.torch import load_file
from test_models import lora
from transformers import Qwen2Config, Qwen2ForCausalLM

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.account import FIRST
from maro_lib.learn.adapters import adapt
from maro_lib.learn.balancing import balance
from maro_lib.learn.corpus import Corpus, crossed, make_corpus, steps
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.guard import TrainingWarning
from maro_lib.learn.settings import REFERENCE_POINTS, Settings
from maro_lib.learn.trainer import (
    KEPT,
    KEPT_SHARE,
    MaroTrainer,
    TrainingError,
    _arguments,
    _tokens_at_once,
    is_on_cpu,
    whole_checkpoints,
)
from maro_lib.learn.training import _digest, finished, is_finished, train
from maro_lib.model.adapter_files import ADAPTER_FILES, read_adapter
from maro_lib.model.head import last_mlp
from maro_lib.model.loading import Loaded, load, token_logps
from maro_lib.model.local import LocalPolicy
from maro_lib.model.pieces import LEAST
from maro_lib.play.rollout import play, schedule
from maro_lib.runs import ROOT, RunError
from maro_lib.study.trainbench import gap
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

WHOLE_STEP = 10**6  # sequences in a step: all there are
BASIC = Settings(  # 6 steps, 3 checkpoints
    beta=0.2, learning_rate=5e-4, anchor=0.02, epochs=2, batch=4, check_every=2, lora_rank=4, lora_alpha=8
)
KEPT_FILES = {
    "adapter_config.json", "adapter_model.safetensors", "README.md", "optimizer.pt", "scheduler.pt", "rng_state.pth",
    "trainer_state.json", "whole",
}  # fmt: skip
PICKLES = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}


@pytest.fixture(scope="module", autouse=True)
def few_objects():
    """Trainer collects garbage at every beginning: half a second with all these imports, if they are looked at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# --- what is trained ---------------------------------------------------------------------------------


@cache
def corpus() -> Corpus:
    """A few games that the embedded model has played: sequences with 1 to 5 actions, of both factions and outcomes."""
    games = schedule(generate_many(3, 7, HOME), 6, 7, Rules(rounds=1))
    played = play(games, LocalPolicy(load("embedded", precision="float32")))
    actions = played.table("actions")
    actions["weight"] = decompose(actions, "uniform")
    kept = balance(actions).actions
    kept = kept[np.random.default_rng(1).random(len(kept)) < 0.6]
    return make_corpus(played.table("dialogues"), kept.assign(weight=kept["weight"] * (1 + kept["t"] % 2)))


def separate(given: Corpus) -> Corpus:
    """The same actions, a sequence for each."""
    ids = [given.ids[a.row][: a.end] for a in given.actions.itertuples()]
    return Corpus(ids, given.actions.assign(row=range(len(ids))), given.dropped, given.n_separate)


@cache
def tokenizer():
    return load("embedded", precision="float32").tokenizer


def tiny(**settings) -> Loaded:
    """A model of no skill that trains fast."""
    torch.manual_seed(5)
    shape = Qwen2Config(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2048, initializer_range=0.2, **settings,
    )  # fmt: skip
    return Loaded(Qwen2ForCausalLM(shape).eval(), tokenizer(), "tiny", "float32")


def tuned(loaded: Loaded) -> Loaded:
    """The same with an adapter that has learned something, so that r is not 0."""
    return replace(loaded, model=lora(loaded.model), adapter="earlier")


def trainer_of(loaded: Loaded, given: Corpus, settings: Settings, folder: Path) -> MaroTrainer:
    return MaroTrainer(adapt(loaded, settings), given, settings, folder)


def step(trainer: MaroTrainer) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the plan's first step."""
    loss = trainer.training_step(trainer.model, {"step": 0})
    return float(loss), gradients(trainer.model)


def gradients(model) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def weights(trained) -> dict[str, torch.Tensor]:
    return load_file(trained.folder / "adapter_model.safetensors")


def is_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def by_hand(model, given: Corpus) -> list[torch.Tensor]:
    """Log pi of the tokens of each action, in the order of `actions`, by the plainest way there is."""
    logps = [token_logps(model, [ids.tolist()])[0] for ids in given.ids]
    return [logps[a.row][a.start - 1 : a.end - 1] for a in given.actions.itertuples()]


# --- the gradient ------------------------------------------------------------------------------------


def test_one_forward_per_dialogue_is_one_row_per_action(tmp_path):
    settings = replace(BASIC, batch=WHOLE_STEP)
    loss, together = step(trainer_of(tuned(tiny()), corpus(), settings, tmp_path))
    loss_alone, alone = step(trainer_of(tuned(tiny()), separate(corpus()), settings, tmp_path))
    assert len(separate(corpus())) > 2 * len(corpus())
    assert loss == near(loss_alone)
    assert gap(together, alone) < SHARE


@pytest.mark.parametrize("objective", ["maro", "sft"])
def test_the_mean_is_over_the_actions_of_the_whole_step(tmp_path, objective):
    """By hand, with dialogues of different numbers of actions."""
    s = replace(BASIC, batch=WHOLE_STEP, objective=objective, z0="fixed", z0_fixed=0.3, beta=0.7, lam_pos=1.5,
                lam_neg=0.8, anchor=0.05)  # fmt: skip
    loss, gradient = step(trainer := trainer_of(tuned(tiny()), corpus(), s, tmp_path))
    assert len({len(places) for places in corpus().places}) > 2
    model, actions = trainer.model, corpus().actions
    model.zero_grad()
    logp = torch.stack([x.sum() for x in by_hand(model, corpus())]).double()
    with torch.no_grad(), model.disable_adapter():
        base = torch.stack([x.sum() for x in by_hand(model, corpus())]).double()
    total = 0
    for a, p, p_ref in zip(actions.itertuples(), logp, base, strict=True):
        sign, lam = (1, 1.5) if a.desirable else (-1, 0.8)
        own = a.weight * (lam - lam * torch.sigmoid(0.7 * sign * (p - p_ref - 0.3)))
        imitated = -1.5 * a.weight * p * a.desirable
        total = total + (own if objective == "maro" else imitated) - 0.05 * p
    expected = total / len(actions)
    expected.backward()
    assert loss == near(float(expected.detach()))
    assert gap(gradients(model), gradient) < 10 * SHARE


def test_no_gradient_flows_through_z0(tmp_path):
    """A step whose z0 is its own mean has the gradient of one whose z0 is that number."""
    s = replace(BASIC, batch=WHOLE_STEP, z0="batch")
    _, gradient = step(trainer := trainer_of(tuned(tiny()), corpus(), s, tmp_path))
    s = replace(s, z0="fixed", z0_fixed=trainer.numbers["z0"])
    assert abs(s.z0_fixed) > 0.01
    assert gap(gradient, step(trainer_of(tuned(tiny()), corpus(), s, tmp_path))[1]) < SHARE


def test_checkpointing_reads_twice_and_changes_nothing(tmp_path):
    found = {}
    for on in (False, True):
        trainer, n = trainer_of(tuned(tiny()), corpus(), replace(BASIC, checkpointing=on), tmp_path), []
        trainer.find_references(trainer.model)
        layer = trainer.model.get_submodule("base_model.model.model.layers.1.input_layernorm")
        layer.register_forward_hook(lambda *_, n=n: n.append(1))
        found[on] = (*step(trainer), len(n))
    assert found[True][0] == found[False][0]
    assert gap(found[True][1], found[False][1]) < SHARE
    n = len(trainer.packs(trainer.material, trainer.plan[0]))
    assert (found[False][2], found[True][2]) == (2 * n, 3 * n), "z0, the loss, and once more for the gradient"


# --- several dialogues in a forward ------------------------------------------------------------------

SCRIPT = 60  # tokens


N_ACTIONS, OTHER = (2, 3, 4, 2, 3, 4, 2, 2), (0, 1, 0, 1, 0, 1, 4, 4)  # of eight dialogues; how each begins
SHARED = (0, 0, SCRIPT, SCRIPT, SCRIPT, SCRIPT, SCRIPT + 22, SCRIPT + 24)  # tokens of that: up to within an action


def sharing() -> Corpus:
    """Eight dialogues of two scripts, among them one that parts from another within an action, and one's beginning."""
    rng, ids, rows = np.random.default_rng(0), [], []
    for k, (n_actions, other, shared) in enumerate(zip(N_ACTIONS, OTHER, SHARED, strict=True)):
        ids.append(rng.integers(3, 300, SCRIPT + 12 * n_actions).astype(np.int32))
        ids[k][:shared] = ids[other][:shared]
        for t in range(1, n_actions + 1):
            end = SCRIPT + 12 * t
            side = ("civilian", "culprit")[k % 2], 1, (k + t) % 3 > 0
            rows.append((f"game {k}", 0, t, *side, 1.0 + t % 2, k, end - 4, end))
    columns = ["game", "seat", "t", "faction", "success", "desirable", "weight", "row", "start", "end"]
    return Corpus(ids, pd.DataFrame(rows, columns=columns), pd.DataFrame(), 0)


def both_ways(folder: Path, settings: Settings, given: Corpus | None = None) -> list[MaroTrainer]:
    """A trainer that reads a step together, and one that reads it one by one."""
    trainers = [trainer_of(tuned(tiny()), given or sharing(), settings, folder) for _ in range(2)]
    trainers[1].at_once = 0
    return trainers


@pytest.mark.parametrize(
    "how",
    [
        *({"z0": z0} for z0 in REFERENCE_POINTS),
        {"checkpointing": True},
        {"objective": "sft"},
        {"z0": "batch", "seed": 3},
    ],
    ids=str,
)
def test_dialogues_together_have_the_loss_gradient_and_account_of_dialogues_one_by_one(tmp_path, how):
    together, alone = trainers = both_ways(tmp_path, replace(BASIC, batch=WHOLE_STEP, **how))
    n_tokens = [sum(p.ids.shape[1] for p in t.packs(t.material, t.plan[0])) for t in trainers]
    assert n_tokens[0] == n_tokens[1] - 4 * SCRIPT - 2 * (SCRIPT + 22), "each script is read once, and what follows"
    (loss, gradient), (loss_alone, gradient_alone) = map(step, trainers)
    assert loss == near(loss_alone)
    assert gap(gradient_alone, gradient) < SHARE
    assert together.numbers == pytest.approx(alone.numbers, rel=SHARE, abs=SHARE * LOGP)


def test_a_model_that_cannot_read_pieces_reads_one_by_one(tmp_path):
    windowed = tiny(use_sliding_window=True, sliding_window=32, max_window_layers=1)
    trainer = trainer_of(windowed, sharing(), replace(BASIC, batch=WHOLE_STEP), tmp_path)
    assert not trainer.in_pieces
    assert len(trainer.packs(trainer.material, trainer.plan[0])) == 8
    assert np.isfinite(step(trainer)[0])


def test_what_is_read_together_is_bounded_and_what_shares_nothing_is_not_put_together_on_a_processor(tmp_path):
    (trainer, _), n = both_ways(tmp_path, replace(BASIC, batch=WHOLE_STEP)), SCRIPT + 48
    for at_once in (1, n, 2 * n, 10**6):
        trainer.at_once = at_once
        packs = trainer.packs(trainer.material, range(8))
        assert sorted(k for p in packs for k in p.actions.tolist()) == list(range(len(sharing().actions)))
        assert all(p.ids.shape[1] <= max(at_once, n) + LEAST for p in packs), "two tokens are too few for a piece"
    assert len(packs) == 2, "a pack for each script"


def test_every_process_gets_as_many_packs_and_all_actions_count_once(tmp_path):
    trainer = trainer_of(tuned(tiny()), sharing(), replace(BASIC, batch=WHOLE_STEP), tmp_path)
    for n_processes, rows in itertools.product((1, 2, 3, 5), ([0], [0, 2], range(8))):
        shares = []
        for index in range(n_processes):
            trainer.args = Process(trainer.args.device, n_processes, index)
            shares.append(trainer.packs(trainer.material, rows))
        assert len({len(packs) for packs in shares}) == 1
        assert sum(any(p.n for p in packs) for packs in shares) >= min(n_processes, len(rows), 2), "one reads both"
        counted = [k for packs in shares for p in packs for k in p.actions[: p.n].tolist()]
        assert sorted(counted) == sorted(np.concatenate([sharing().places[k] for k in rows]))


class Process(NamedTuple):
    """What a process knows of itself."""

    device: torch.device
    world_size: int
    process_index: int


def test_rows_of_all_processes_are_gathered_without_what_fills_them_up():
    here, there = torch.tensor([[0, math.nan], [2, 0.5]]), torch.tensor([[1, 0.3], [math.nan, math.nan]])
    both = SimpleNamespace(pad_across_processes=lambda x, pad_index: x, gather=lambda x: torch.cat((x, there)))
    for n_processes, expected in ((1, [0, 2]), (2, [0, 2, 1])):
        trainer = SimpleNamespace(args=Process(here.device, n_processes, 0), accelerator=both)
        assert MaroTrainer.gathered(trainer, here)[:, 0].tolist() == expected


def test_processes_exchange_their_gradient_once_a_step(tmp_path, monkeypatch):
    _, one_by_one = both_ways(tmp_path, replace(BASIC, batch=WHOLE_STEP))
    held = []
    monkeypatch.setattr(one_by_one.accelerator, "no_sync", lambda _: contextlib.nullcontext(held.append(1)))
    step(one_by_one)
    assert len(held) == 7, "all of eight packs but the last"


def test_a_gpu_reads_together_what_a_share_of_its_free_memory_keeps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * KEPT / KEPT_SHARE, 0))
    on_gpu = SimpleNamespace(device=torch.device("cuda"), model=tiny().model)
    assert _tokens_at_once(on_gpu, BASIC) == pytest.approx(2 * _tokens_at_once(tiny(), BASIC), abs=1)


def test_a_number_that_is_none_is_not_hidden_by_its_neighbours(tmp_path):
    trainer, _ = both_ways(tmp_path, replace(BASIC, batch=WHOLE_STEP, z0="fixed"))
    trainer.find_references(trainer.model)
    embed = trainer.model.get_input_embeddings()
    embed.weight.data[sharing().ids[2][-2]] = torch.nan
    loss, gradient = step(trainer)
    assert math.isnan(loss)
    assert any(t.isnan().any() for t in gradient.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_mlp_computes_where_an_action_is_predicted_and_nowhere_else(tmp_path, checkpointing):
    """Except where all else is computed again for the gradient: there it would be kept whole."""
    s = replace(BASIC, batch=WHOLE_STEP, z0="fixed", checkpointing=checkpointing)
    trainer, n = trainer_of(tuned(tiny()), corpus(), s, tmp_path), []
    trainer.find_references(trainer.model)
    last_mlp(trainer.model).down_proj.register_forward_hook(lambda _, args, out: n.append(out.shape[1]))
    step(trainer)
    packs = trainer.packs(trainer.material, trainer.plan[0])
    assert sum(n) == sum(pack.ids.shape[1] if checkpointing else len(pack.unique) for pack in packs)
    assert sum(n) <= (corpus().n_tokens if checkpointing else corpus().n_action_tokens)


def test_a_family_that_changes_its_logits_has_the_same_log_probs_from_all_of_them(tmp_path):
    trainer, _ = both_ways(tmp_path, BASIC)
    (pack, *_) = trainer.packs(trainer.material, range(8))
    with torch.no_grad(), trainer.together():
        few = trainer.read(trainer.model, pack)
        trainer.head = None  # as `bare_head` has it then
        torch.testing.assert_close(trainer.read(trainer.model, pack), few, rtol=SHARE, atol=SHARE * LOGP)


def test_what_is_to_be_sharded_does_not_train_on_the_processor_where_it_is_loaded():
    assert is_on_cpu(tiny())
    assert not is_on_cpu(replace(tiny(), sharded=True))


@pytest.mark.parametrize("sharded", [False, True])
def test_on_a_processor_and_where_weights_are_cut_the_optimiser_is_plain_adamw(tmp_path, sharded):
    assert _arguments(replace(tiny(), sharded=sharded), BASIC, tmp_path, 3).optim == "adamw_torch"


def test_half_computes_in_bfloat16(tmp_path):
    full = step(trainer_of(tuned(tiny()), corpus(), BASIC, tmp_path))
    trainer = trainer_of(tuned(tiny()), corpus(), replace(BASIC, half=True), tmp_path)
    trainer.model = trainer.accelerator.prepare(trainer.model)
    half = step(trainer)
    assert 1e-4 < gap(full[1], half[1]) < 0.1
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    trained = train(tiny(), corpus(), replace(BASIC, half=True, epochs=1), tmp_path / "x")
    assert np.isfinite(trained.curve["loss"]).all()
    assert abs(trained.curve["r_pos"].iloc[0]) < 0.01, "references are rounded as the steps are"


def dequantised(loaded: Loaded) -> Loaded:
    return replace(loaded, model=loaded.model.dequantize(torch.float32), precision="float32")


def test_4_bits_have_the_gradient_of_the_same_weights_in_float32(tmp_path):
    """Also after the references were read in eval mode, and after an optimiser step."""
    nf4, full = load("embedded", precision="nf4"), dequantised(load("embedded", precision="nf4"))
    names = {type(m).__name__ for m in nf4.model.modules()}
    assert "Linear4bit" in names
    trainers = [trainer_of(tuned(m), corpus(), BASIC, tmp_path) for m in (nf4, full)]
    for _ in range(2):
        (loss, a), (loss_full, b) = map(step, trainers)
        assert loss == near(loss_full)
        assert gap(b, a) < 10 * SHARE
        for trainer in trainers:
            torch.optim.SGD([p for p in trainer.model.parameters() if p.requires_grad], lr=1e-3).step()
            trainer.model.zero_grad()
            trainer.model.eval()
            with torch.inference_mode():
                by_hand(trainer.model, corpus())


# --- base and adapter --------------------------------------------------------------------------------


def test_the_reference_is_base_also_where_an_adapter_is_trained_on(tmp_path):
    plain = [float(x.sum()) for x in by_hand(tiny().model.requires_grad_(False), corpus())]
    with torch.no_grad():
        trained = [float(x.sum()) for x in by_hand(tuned(tiny()).model, corpus())]
    trainer = trainer_of(tuned(tiny()), corpus(), BASIC, tmp_path)
    trainer.find_references(trainer.model)
    ends = np.cumsum(corpus().spans[:, 1] - corpus().spans[:, 0])
    found = [float(x.sum()) for x in np.split(trainer.material.reference, ends[:-1])]
    assert found == near(plain)
    assert np.abs(np.subtract(found, trained)).mean() > 0.01


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "nf4"])
def test_base_does_not_move_and_every_linear_layer_learns(tmp_path, precision):
    loaded = load("embedded", precision=precision)
    before = {n: t.clone() for n, t in loaded.model.state_dict().items()}
    linear = {n for n, m in loaded.model.named_modules() if "Linear" in type(m).__name__ and n != "lm_head"}
    unknown = replace(corpus(), actions=corpus().actions.drop(columns="logps"))  # so base is read
    trained = train(loaded, unknown, replace(BASIC, epochs=1, warmup=0.0), tmp_path / "x")
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    adapter = weights(trained)
    assert {t.dtype for t in adapter.values()} == {torch.float32}
    parts = {n.removeprefix("base_model.model.").rpartition(".lora_")[0] for n in adapter}
    assert parts == linear
    assert all(t.abs().max() > 0 for t in adapter.values())
    first = trained.curve.iloc[0]
    rounding = 0.02 if precision == "bfloat16" else 1e-4  # references are read in other packs than a step's
    assert first[["r_pos", "r_neg", "kl"]].abs().max() <= rounding, "a fresh adapter is base"
    assert trained.curve.iloc[-1]["kl"] > 0


def test_the_adapter_that_was_saved_is_what_was_trained_and_says_on_which_weights(tmp_path):
    trained = train(load("embedded", precision="nf4"), corpus(), replace(BASIC, epochs=1), tmp_path / "x")
    again = load("embedded", precision="nf4", adapter=str(trained.folder))
    assert any(t.abs().max() > 0 for n, t in weights(trained).items() if "lora_B" in n)
    state = again.model.state_dict()
    assert all(torch.equal(state[n.replace(".weight", ".default.weight")], t) for n, t in weights(trained).items())
    origin = read_adapter(trained.folder).origin
    assert origin.model_copy(update={"digests": {}}) == again.origin == load("embedded", precision="nf4").origin
    assert origin.digests.keys() == {"adapter_config.json", *weights(trained)}
    assert str(ROOT) not in "".join((trained.folder / n).read_text() for n in ("adapter_config.json", "base.json"))


@pytest.mark.parametrize("where", ["base", "adapter"])
def test_dropout_never_comes_between_policy_and_reference(tmp_path, where):
    """Of a base that was made with it, and of an adapter of other making that is trained on."""
    from peft import LoraConfig, get_peft_model

    found = []
    for p in (0.0, 0.5):
        loaded = tiny(attention_dropout=p * (where == "base"))
        config = LoraConfig(lora_dropout=p * (where == "adapter"), target_modules="all-linear", init_lora_weights=False)
        loaded = replace(loaded, model=get_peft_model(loaded.model, config), adapter="of other making")
        trainer = trainer_of(loaded, corpus(), replace(BASIC, batch=WHOLE_STEP), tmp_path)
        trainer.in_pieces, trainer.at_once = False, 0  # the attention of pieces knows no dropout
        step(trainer)
        found.append(trainer.numbers)
    assert found[1] == pytest.approx(found[0], rel=SHARE)


def test_unknown_names_and_impossible_numbers_are_refused():
    for wrong, match in (
        (
            {"objective": "ppo"},
            r"objective: 'ppo' is unknown; did you mean 'dpo'\? \(known: maro, sft, dpo, policy_gradient\)",
        ),
        ({"z0": "mean"}, "z0: 'mean' is unknown .*known: ema, batch"),
        ({"beta": 0}, "beta: 0; a number above 0"),
        ({"learning_rate": -1e-4}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"batch": 0}, "batch"),
        ({"n_checkpoints": 1}, "n_checkpoints: 1; .* 2"),
    ):
        with pytest.raises(ValueError, match=match):
            Settings(**wrong)


def test_nothing_to_train_on_is_a_clear_error(tmp_path):
    empty = Corpus([], corpus().actions.iloc[:0], corpus().dropped, 0)
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(tiny(), empty, BASIC, tmp_path / "x")


# --- where z0 is -------------------------------------------------------------------------------------


def mean_r(rows: pd.DataFrame, side: str = "") -> pd.Series:
    """The mean of r over a step's actions, from what the curve says of both classes."""
    n_pos = rows[f"n_pos{side}"]
    return (
        rows[f"r_pos{side}"].fillna(0) * n_pos + rows[f"r_neg{side}"].fillna(0) * (rows[f"n{side}"] - n_pos)
    ) / rows[f"n{side}"]


@cache
def curve_of(z0: str, folder: Path) -> pd.DataFrame:
    settings = replace(BASIC, z0=z0, z0_fixed=-0.2, learning_rate=3e-3, batch=3)
    return train(tiny(), corpus(), settings, folder / z0).curve


@pytest.mark.parametrize("z0", REFERENCE_POINTS)
def test_every_way_to_set_z0_trains(tmp_path_factory, z0):
    curve = curve_of(z0, tmp_path_factory.getbasetemp())
    assert len(curve) >= 6
    assert np.isfinite(curve[["loss", "grad_norm", "objective", "kl", "z0", "z0_next"]]).all().all()
    assert curve["margin"].iloc[-1] > 0, "nothing was learned"


def test_z0_is_what_its_name_says(tmp_path_factory):
    """All r of a step, as it was: both classes' means, weighted by how many there were."""
    curves = {z0: curve_of(z0, tmp_path_factory.getbasetemp()) for z0 in REFERENCE_POINTS}
    assert (curves["fixed"]["z0"] == -0.2).all()
    batch = curves["batch"]
    assert batch["z0"].iloc[2:].abs().min() > 0
    for curve in (curves["batch"], curves["ema"], curves["fixed"]):
        mean = ((curve["z0_next"] - 0.9 * curve["z0"]) / 0.1).to_numpy()
        low, high = curve[["r_pos", "r_neg"]].min(axis=1), curve[["r_pos", "r_neg"]].max(axis=1)
        assert ((mean >= low - 1e-9) & (mean <= high + 1e-9)).all()
    assert np.allclose((batch["z0_next"] - 0.9 * batch["z0"]) / 0.1, batch["z0"])
    ema = curves["ema"]
    assert np.allclose(ema["z0"].iloc[1:], ema["z0_next"].iloc[:-1], rtol=0, atol=1e-12)
    assert ema["z0"].iloc[-1] != 0
    assert (curves["clamped"]["z0"] >= 0).all()
    assert (curves["mismatched"]["z0"] >= 0).all()
    assert {"z0/civilian", "z0/culprit"} <= set(curves["per_faction"])
    assert not {"z0/civilian", "z0/culprit"} & set(batch)


def test_z0_of_each_faction_is_the_mean_of_its_own_r(tmp_path):
    trainer = trainer_of(tuned(tiny()), corpus(), replace(BASIC, z0="per_faction", batch=WHOLE_STEP), tmp_path)
    step(trainer)
    r = r_by_hand(trainer.model, corpus())
    for faction in ("civilian", "culprit"):
        own = r[(corpus().actions["faction"] == faction).to_numpy()]
        assert trainer.numbers[f"z0/{faction}"] == near(own.mean(), size=LOGP)
    assert trainer.numbers["z0/civilian"] != pytest.approx(trainer.numbers["z0/culprit"], abs=1e-3)


def test_mismatched_z0_is_the_mean_r_of_actions_behind_other_views(tmp_path):
    s = replace(BASIC, z0="mismatched", batch=WHOLE_STEP)
    step(trainer := trainer_of(tuned(tiny()), corpus(), s, tmp_path))
    expected = r_by_hand(trainer.model, crossed(corpus(), s.seed)).mean()
    assert trainer.numbers["z0"] == near(max(0.0, expected), size=LOGP)
    assert trainer.numbers["z0"] != pytest.approx(r_by_hand(trainer.model, corpus()).mean(), abs=1e-3)


@pytest.mark.parametrize("side", ["civilian", "culprit"])
def test_a_step_of_one_faction_has_the_z0_of_that_faction(tmp_path, side):
    trainer = trainer_of(tuned(tiny()), corpus(), replace(BASIC, z0="per_faction", batch=1), tmp_path)
    faction = corpus().actions.groupby("row")["faction"].first()
    alone = next(k for k, sequences in enumerate(trainer.plan) if (faction[sequences] == side).all())
    trainer.training_step(trainer.model, {"step": alone})
    assert {name for name in trainer.numbers if name.startswith("z0/")} == {f"z0/{side}"}
    assert trainer.numbers[f"z0/{side}"] == trainer.numbers["z0"] != 0


def r_by_hand(model, given: Corpus) -> np.ndarray:
    with torch.no_grad():
        logp = np.array([float(x.double().sum()) for x in by_hand(model, given)])
        with model.disable_adapter():
            return logp - np.array([float(x.double().sum()) for x in by_hand(model, given)])


# --- the curve ---------------------------------------------------------------------------------------

TOLD = ("objective", "r_pos", "r_neg", "margin", "saturated", "kl", "n", "weight")


def test_the_curve_has_a_row_per_step_and_its_columns_per_faction(tmp_path):
    shown = []
    trained = train(tiny(), corpus(), BASIC, tmp_path / "x", live=shown.append)
    assert trained.curve["step"].tolist() == [1, 2, 3, 4, 5, 6]
    per_faction = {f"{name}/{faction}" for name in TOLD for faction in ("civilian", "culprit")}
    others = {"z0", "z0_next", "loss", "grad_norm", "learning_rate", "epoch", "step", "tokens"}
    assert set(trained.curve) == {*TOLD, *per_faction, *others}
    plan = steps(corpus(), BASIC.batch, BASIC.epochs, BASIC.seed)
    assert trained.curve["n"].tolist() == [sum(len(corpus().places[k]) for k in step) for step in plan]
    assert trained.curve["n"].sum() == 2 * len(corpus().actions)
    assert trained.curve["tokens"].tolist() == [sum(len(corpus().ids[k]) for k in step) for step in plan]
    assert trained.cost["tokens trained"] == 2 * corpus().n_tokens
    assert trained.cost["games played anew"] == 0 < trained.cost["seconds"]
    assert [len(c) for c in shown] == [1, 2, 3, 4, 5, 6]
    pd.testing.assert_frame_equal(shown[-1], trained.curve)
    assert trained.status == "finished"
    assert [*trained.curve][: len(FIRST)] == [*FIRST]
    assert read_schema(tmp_path / "x" / "curve.parquet").names == [*trained.curve]


def test_a_steps_numbers_by_hand(tmp_path):
    s = replace(BASIC, batch=WHOLE_STEP, z0="fixed", z0_fixed=2.0, beta=2.5, lam_pos=1.5, lam_neg=0.5, anchor=0)
    loss, _ = step(trainer := trainer_of(tuned(tiny()), corpus(), s, tmp_path))
    with torch.no_grad():
        on = by_hand(trainer.model, corpus())
        with trainer.model.disable_adapter():
            off = by_hand(trainer.model, corpus())
    rows = []
    for a, p, p_ref in zip(corpus().actions.itertuples(), on, off, strict=True):
        tokens = (p.double() - p_ref.double()).tolist()
        r = sum(tokens)
        sigmoid = 1 / (1 + math.exp(-2.5 * (r - 2.0 if a.desirable else 2.0 - r)))
        value = a.weight * (1 - sigmoid) * (1.5 if a.desirable else 0.5)
        kl = sum(math.exp(t) - 1 - t for t in tokens)
        rows.append((a.faction, a.desirable, r, value, 4 * sigmoid * (1 - sigmoid) < 0.01, kl, a.weight))
    table = pd.DataFrame(rows, columns=["faction", "desirable", "r", "value", "flat", "kl", "weight"])
    for side in ("", "civilian", "culprit"):
        own, told = (table[table["faction"] == side] if side else table), {}
        for name in TOLD:
            told[name] = trainer.numbers[f"{name}/{side}" if side else name]
        assert told["objective"] == near(own["value"].mean(), size=LOGP)
        assert told["r_pos"] == near(own["r"][own["desirable"]].mean(), size=LOGP)
        assert told["r_neg"] == near(own["r"][~own["desirable"]].mean(), size=LOGP)
        assert told["margin"] == told["r_pos"] - told["r_neg"]
        assert told["saturated"] == pytest.approx(own["flat"].mean())
        assert told["kl"] == pytest.approx(own["kl"].mean(), rel=1e-3)
        assert (told["n"], told["weight"]) == (len(own), own["weight"].sum())
    assert loss == near(table["value"].mean(), size=LOGP)
    assert 0 < table["flat"].mean() < 1


# --- the same again ----------------------------------------------------------------------------------


@contextlib.contextmanager
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with one_thread():
        return train(tiny(), corpus(), BASIC, tmp_path_factory.mktemp("undisturbed") / "x")


@pytest.fixture
def undisturbed(whole):
    """Equal to the bit are as many threads, and a process that forks, as the killed ones', has one."""
    with one_thread():
        yield whole


def assert_same(trained, undisturbed) -> None:
    assert is_equal(weights(trained), weights(undisturbed))
    pd.testing.assert_frame_equal(trained.curve, undisturbed.curve, check_exact=True)
    assert (trained.status, trained.notes) == (undisturbed.status, undisturbed.notes)


def test_same_seed_same_adapter_and_another_seed_another(tmp_path, undisturbed):
    random.seed(time.time())
    torch.manual_seed(int(time.time()))
    assert_same(train(tiny(), corpus(), BASIC, tmp_path / "x"), undisturbed)
    other = train(tiny(), corpus(), replace(BASIC, seed=1), tmp_path / "y")
    assert gap(weights(undisturbed), weights(other)) > 0.1


def test_training_leaves_the_model_as_it_was(tmp_path, undisturbed):
    """So that one that was loaded once is trained again, with other settings, from the same beginning."""
    loaded = tiny()
    train(loaded, corpus(), replace(BASIC, seed=1, epochs=1, checkpointing=True), tmp_path / "other")
    assert type(loaded.model) is Qwen2ForCausalLM
    assert loaded.model.state_dict().keys() == tiny().model.state_dict().keys(), "an adapter was left in it"
    assert not loaded.model.training
    assert_same(train(loaded, corpus(), BASIC, tmp_path / "x"), undisturbed)
    going_on = tuned(tiny())
    before = {n: t.clone() for n, t in going_on.model.state_dict().items()}
    first = train(going_on, corpus(), BASIC, tmp_path / "first")
    assert all(torch.equal(t, before[n]) for n, t in going_on.model.state_dict().items())
    assert is_equal(weights(first), weights(train(going_on, corpus(), BASIC, tmp_path / "again")))
    assert gap(weights(first), weights(undisturbed)) > 0.1


def test_training_says_nothing_outside_its_curve(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tiny(), corpus(), replace(BASIC, checkpointing=True), tmp_path / "x")
    assert "".join(capfd.readouterr()) == ""


# --- cut short ---------------------------------------------------------------------------------------


def press_ctrl_c(at: int):
    """What is told of a training until a step, and then interrupts it."""

    def live(curve):
        if curve["step"].iloc[-1] == at:
            raise KeyboardInterrupt

    return live


@pytest.fixture(scope="module")
def whole_continued(tmp_path_factory):
    with one_thread():
        return train(tuned(tiny()), corpus(), BASIC, tmp_path_factory.mktemp("continued") / "x")


@pytest.mark.parametrize("at", [1, 3, 5])
def test_what_was_interrupted_goes_on_in_the_same_process(tmp_path, undisturbed, whole_continued, at):
    """Also an adapter that is trained on."""
    for loaded, whole in ((tiny(), undisturbed), (tuned(tiny()), whole_continued)):
        folder = tmp_path / (loaded.adapter or "fresh")
        with pytest.raises(KeyboardInterrupt):
            train(loaded, corpus(), BASIC, folder, live=press_ctrl_c(at))
        n_done = len(whole_checkpoints(folder))
        assert n_done == at // 2
        steps = []
        assert_same(train(loaded, corpus(), BASIC, folder, live=steps.append), whole)
        assert len(steps) == 6 - 2 * n_done, "what was done before is not done again"


def test_a_checkpoint_without_its_mark_is_not_gone_on_from(tmp_path, undisturbed):
    folder = tmp_path / "x"
    shutil.copytree(undisturbed.folder.parent, folder)
    for name in ("done.json", "curve.parquet", "checkpoint-6/whole", "checkpoint-6/optimizer.pt"):
        (folder / name).unlink()
    shutil.rmtree(folder / "adapter")
    (folder / "checkpoint-6" / "adapter_model.safetensors").write_bytes(b"half")
    steps = []
    trained = train(tiny(), corpus(), BASIC, folder, live=steps.append)
    assert_same(trained, undisturbed)
    assert len(steps) == 2


class Worker:
    """Trains in a process that can be killed, or whose disk becomes full, at any file that it touches."""

    def __init__(self):
        program = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_training as t; t.serve()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip

    def start(self, folder: Path, what: str = "", at: int = 0) -> int:
        """Let it begin; `what` is to happen `at` so many touched files; return the process's id."""
        self.process.stdin.write(json.dumps([str(folder), what, at]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> tuple[int, str]:
        """How it ended: a signal's or an exit's number, and what it said."""
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.process.stdin.close()
    worker.process.wait()


def serve() -> None:
    """Train what is asked for, each time in a process of its own."""
    corpus()
    gc.freeze()
    for line in sys.stdin:
        folder, what, at = json.loads(line)
        read_end, write_end = os.pipe()
        if not (child := os.fork()):
            os.close(read_end)
            try:
                sys.addaudithook(Trouble(folder, what, at))
                train(tiny(), corpus(), BASIC, Path(folder))
                os._exit(0)
            except Exception as error:
                os.write(write_end, f"{type(error).__name__}: {error}".encode())
                os._exit(1)
        os.close(write_end)
        print(child, flush=True)
        with os.fdopen(read_end) as said:
            text = said.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, text]), flush=True)


class Trouble:
    """Comes when so many files or folders in a folder have been opened for writing, renamed or removed."""

    def __init__(self, folder: str, what: str, at: int):
        self.folder, self.what, self.left = folder, what, at

    def __call__(self, event: str, args: tuple) -> None:
        within_a_tree = event in ("os.remove", "os.rmdir") and args[1] != -1  # of rmtree: a name in an open folder
        touched = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        written = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not within_a_tree and not ((touched or written) and str(args[0]).startswith(self.folder)):
            return
        self.left -= within_a_tree or self.what != "kill while a tree is removed"
        if self.left == 0 and self.what.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.left == 0 and self.what == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def assert_whole(folder: Path) -> None:
    for checkpoint in whole_checkpoints(folder):
        assert {p.name for p in checkpoint.iterdir()} == KEPT_FILES, f"{checkpoint.name} is marked whole, and is not"


def test_killed_at_any_file_it_goes_on_to_the_same_adapter(tmp_path, undisturbed, worker):
    rng, folder, n_kills = random.Random(3), tmp_path / "x", 0
    for at in (*range(1, 6), *(rng.randrange(5, 40) for _ in range(7))):
        worker.start(folder, "kill", at)
        n_kills += worker.end()[0] == -signal.SIGKILL
        assert_whole(folder)
        if (folder / "done.json").exists():
            break
    assert n_kills >= 8
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)


def test_killed_while_an_old_checkpoint_is_removed_it_is_no_checkpoint(tmp_path, undisturbed, worker):
    folder = tmp_path / "x"
    worker.start(folder, "kill while a tree is removed", 3)
    assert worker.end()[0] == -signal.SIGKILL
    assert [p.name for p in whole_checkpoints(folder)] == ["checkpoint-4", "checkpoint-6"]
    assert len(list((folder / "checkpoint-2").iterdir())) == len(KEPT_FILES) - 3
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)
    assert not (folder / "checkpoint-2").exists()


def test_killed_while_the_end_is_written_it_is_written_again(tmp_path, undisturbed, worker):
    folder, ended = tmp_path / "x", []
    shutil.copytree(undisturbed.folder.parent, folder)
    (folder / "done.json").unlink()
    for at in range(1, 30):
        worker.start(folder, "kill", at)
        ended.append(worker.end()[0])
        if (folder / "done.json").exists():
            break
    assert set(ended[:-1]) == {-signal.SIGKILL}
    assert len(ended) > 5
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)
    names = {p.name for p in undisturbed.folder.parent.iterdir()}
    assert {p.name for p in folder.iterdir() if p.suffix != ".tmp"} == names


def test_a_full_disk_is_a_clear_error_and_what_was_saved_before_is_safe(tmp_path, undisturbed, worker):
    folder, before = tmp_path / "x", []
    for at in (2, 14, 19, 26, 31, 36, 20):
        worker.start(folder, "full", at)
        code, said = worker.end()
        assert_whole(folder)
        if code == 0:
            break
        assert code == 1
        assert "can't be written" in said
        assert "run the same command again" in said
        if (now := [p.name for p in whole_checkpoints(folder)]) and "checkpoint-" in said:
            assert f"{now[-1]} is safe" in said
        assert len(before) <= len(now) <= BASIC.n_checkpoints
        before = now
    assert before, "no disk was full after a checkpoint"
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)


def test_no_process_goes_on_before_the_end_is_written(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(Accelerator, "wait_for_everyone", lambda _: ended.append((tmp_path / "done.json").exists()))
    train(tiny(), corpus(), replace(BASIC, check_every=10), tmp_path)
    assert ended == [False, True], "at the checkpoint, and at the end"


# --- what is kept ------------------------------------------------------------------------------------


def test_checkpoints_are_bounded_in_number_and_hold_no_pickle_of_ours(tmp_path, monkeypatch):
    settings, counts, folder = replace(BASIC, check_every=1, n_checkpoints=3), [], tmp_path / "x"
    train(tiny(), corpus(), settings, folder, live=lambda _: counts.append(len(list(folder.glob("checkpoint-*")))))
    assert counts == [0, 1, 2, 3, 3, 3]
    assert [p.name for p in whole_checkpoints(folder)] == ["checkpoint-4", "checkpoint-5", "checkpoint-6"]
    assert_whole(folder)
    assert not list(folder.rglob("*.bin"))
    assert {p.name for p in (folder / "adapter").iterdir()} == set(ADAPTER_FILES)


def test_what_is_pickled_is_read_as_weights_only(tmp_path, monkeypatch, undisturbed):
    folder, read, plain = tmp_path / "x", [], torch.load
    shutil.copytree(undisturbed.folder.parent, folder)
    (folder / "done.json").unlink()
    shutil.rmtree(folder / "checkpoint-6")

    def watched(file, *args, **options):
        read.append((Path(file).name, options.get("weights_only")))
        return plain(file, *args, **options)

    monkeypatch.setattr(torch, "load", watched)
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)
    assert {name for name, _ in read} == PICKLES
    assert {weights_only for _, weights_only in read} == {True}


def test_done_work_is_found_done(tmp_path, undisturbed):
    folder = tmp_path / "x"
    shutil.copytree(undisturbed.folder.parent, folder)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
    trained = train(tiny(), corpus(), BASIC, folder, live=lambda _: pytest.fail("a step was trained again"))
    assert_same(trained, undisturbed)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("other", ["settings", "corpus", "model"])
def test_the_work_of_another_job_is_set_aside(tmp_path, undisturbed, other):
    folder, aside = tmp_path / "x", tmp_path / "x.other-1"
    shutil.copytree(undisturbed.folder.parent, folder)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    settings = replace(BASIC, beta=0.3 if other == "settings" else BASIC.beta)
    actions = corpus().actions
    shuffled = replace(corpus(), actions=actions.assign(desirable=~actions["desirable"]))
    loaded = tiny()
    if other == "model":
        loaded.model.lm_head.weight.data[0] += 1
    trained = train(loaded, shuffled if other == "corpus" else corpus(), settings, folder)
    assert before == {p.relative_to(aside): p.read_bytes() for p in aside.rglob("*") if p.is_file()}
    assert not is_equal(weights(trained), weights(undisturbed))
    assert {p.name for p in tmp_path.iterdir()} == {"x", "x.other-1", "references"}


@pytest.mark.parametrize(
    ("file", "text", "kept"),
    [("done.json", "{", "x/done.json.other-1"), ("done.json", '{"status": 1, "notes": []}', "x/done.json.other-1"),
     ("job.json", "{}", "x.other-1/job.json")],
)  # fmt: skip
def test_a_damaged_record_is_named_and_kept_and_what_it_told_of_is_done_again(
    tmp_path, undisturbed, capsys, file, text, kept
):
    folder = tmp_path / "x"
    shutil.copytree(undisturbed.folder.parent, folder)
    (folder / file).write_text(text)
    (folder / ".curve.parquet.99.tmp").write_text("PAR1 half")
    if file == "done.json":
        assert not is_finished(folder)
        with pytest.raises(RunError, match=r"done\.json: is damaged .*; run again the stage that made it"):
            finished(folder)
    assert_same(train(tiny(), corpus(), BASIC, folder), undisturbed)
    assert f"training: {file} is damaged" in capsys.readouterr().err
    assert (tmp_path / kept).read_text() == text
    assert [*folder.glob(".*.tmp")] == []


def test_all_that_decides_what_is_learned_makes_another_job():
    given, moved = corpus(), tiny()
    moved.model.lm_head.weight.data[0] += 1
    models = (tiny(), moved, replace(tiny(), precision="nf4"), replace(tiny(), name="y"))
    turned = [{name: given.actions[name].to_numpy()[::-1]} for name in ("desirable", "weight", "start")]
    corpora = [given.relabelled(given.actions.assign(**column)) for column in turned]
    corpora += [replace(given, ids=[given.ids[0] + 1, *given.ids[1:]])]
    jobs = [_digest(loaded, given, BASIC) for loaded in models]
    jobs += [_digest(tiny(), other, BASIC) for other in corpora]
    jobs += [_digest(tiny(), given, replace(BASIC, beta=0.3))]
    assert len(set(jobs)) == len(jobs)
    assert _digest(tiny(), given, BASIC) == jobs[0]


def test_an_empty_folder_is_taken_as_it_is(tmp_path, undisturbed):
    (tmp_path / "x").mkdir()
    assert_same(train(tiny(), corpus(), BASIC, tmp_path / "x"), undisturbed)
    assert {p.name for p in tmp_path.iterdir()} == {"x", "references"}


# --- what goes astray --------------------------------------------------------------------------------


def test_a_step_that_teaches_nothing_is_a_warning_and_a_note(tmp_path):
    no_weight = replace(corpus(), actions=corpus().actions.assign(weight=0.0))
    short = replace(BASIC, epochs=1)
    with pytest.warns(TrainingWarning, match="step 1 taught nothing: all weights are 0"):
        trained = train(tiny(), no_weight, short, tmp_path / "weights")
    assert len(trained.notes) == len(trained.curve) == 3
    far = replace(short, z0="fixed", z0_fixed=60.0, beta=1.0)
    with pytest.warns(TrainingWarning, match="all sigmoids are saturated"):
        trained = train(tiny(), corpus(), far, tmp_path / "saturated")
    assert len(trained.notes) == 3
    assert (trained.curve["saturated"] == 1).all()
    assert train(tiny(), corpus(), far, tmp_path / "saturated").notes == trained.notes, "found done, with its notes"
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        assert not train(tiny(), corpus(), replace(far, objective="sft"), tmp_path / "sft").notes


def test_notes_outlive_an_interruption(tmp_path):
    no_weight = replace(corpus(), actions=corpus().actions.assign(weight=0.0))
    with pytest.warns(TrainingWarning), pytest.raises(KeyboardInterrupt):
        train(tiny(), no_weight, BASIC, tmp_path / "x", live=press_ctrl_c(5))
    with pytest.warns(TrainingWarning):
        notes = train(tiny(), no_weight, BASIC, tmp_path / "x").notes
    assert [n.split()[1] for n in notes] == ["1", "2", "3", "4", "5", "6"]


def poison(loaded: Loaded, at: int):
    """Make one number of an adapter none, after so many steps."""

    def live(curve):
        if len(curve) == at:
            weight = next(p for n, p in loaded.model.named_parameters() if "lora_B" in n)
            weight.data[0, 0] = torch.nan

    return live


@pytest.mark.parametrize(
    ("at", "seen", "good"), [(3, "step 4: the gradient", 2), (4, "step 4: a weight", 2), (5, "step 6: the gradient", 4)]
)
def test_what_is_no_number_stops_training_at_the_last_good_checkpoint(tmp_path, at, seen, good):
    """Also where it comes right before a checkpoint: none with such a number is kept."""
    loaded, folder = tiny(), tmp_path / "x"
    trained = train(loaded, corpus(), BASIC, folder, live=poison(loaded, at))
    assert trained.status.startswith(f"stopped at {seen} is not a finite number")
    assert f"checkpoint-{good}" in trained.status
    assert is_equal(weights(trained), load_file(folder / f"checkpoint-{good}" / "adapter_model.safetensors"))
    assert all(torch.isfinite(t).all() for t in weights(trained).values())
    again = train(tiny(), corpus(), BASIC, folder)
    assert again.status == trained.status, "it is found done, as it ended"


def test_going_astray_before_the_first_checkpoint_is_a_clear_error(tmp_path):
    loaded = tiny()
    with pytest.raises(TrainingError, match=r"step 2: .* before there was a checkpoint: take a smaller"):
        train(loaded, corpus(), BASIC, tmp_path / "x", live=poison(loaded, 1))
    assert not (tmp_path / "x" / "done.json").exists()


class Falling:
    """Quick games that find fewer and fewer legal moves."""

    names = ("legal", "civilians win")

    def __init__(self, *legal: float):
        self.legal = iter(legal)

    def __call__(self, loaded):
        return {"legal": next(self.legal), "civilians win": 0.5}


def test_illegal_moves_stop_training_at_the_last_good_checkpoint(tmp_path):
    folder = tmp_path / "x"
    trained = train(tiny(), corpus(), BASIC, folder, watch=Falling(0.95, 0.88, 0.84))
    assert trained.status.startswith("stopped at step 4: only 84 % of its moves are legal (before training 95 %)")
    assert is_equal(weights(trained), load_file(folder / "checkpoint-2" / "adapter_model.safetensors"))
    seen = trained.curve.set_index("step")[["legal", "civilians win"]].dropna()
    assert seen["legal"].to_dict() == {0: 0.95, 2: 0.88, 4: 0.84}
    assert train(tiny(), corpus(), BASIC, tmp_path / "y", watch=Falling(0.95, 0.88, 0.86, 0.9)).status == "finished"


def test_what_was_legal_before_training_is_remembered_over_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), corpus(), BASIC, tmp_path / "x", watch=Falling(0.95, 0.9), live=press_ctrl_c(3))
    trained = train(tiny(), corpus(), BASIC, tmp_path / "x", watch=Falling(0.8))
    assert "stopped at step 4: only 80 %" in trained.status


class AtRest(Falling):
    """Quick games that look at the model, too: in training, with checkpointing, it would play without its cache."""

    def __call__(self, loaded):
        assert not loaded.model.training
        return super().__call__(loaded)


def test_as_many_illegal_moves_as_are_allowed_stop_nothing(tmp_path):
    settings = replace(BASIC, max_illegal=0.5, checkpointing=True)
    assert train(tiny(), corpus(), settings, tmp_path / "x", watch=AtRest(1.0, 0.5, 0.5, 0.5)).status == "finished"
