"""The training benchmark: what is compared is the same work, and arithmetic is what a hand counts."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from closeness import LOGP, SHARE, near
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config

from maro_lib.model.estimates import kept_per_token, shape
from maro_lib.study.trainbench import (
    ALONE,
    OURS,
    TRL_BEST,
    TRL_DEFAULT,
    Bench,
    BenchError,
    Held,
    Ledger,
    Size,
    Work,
    arithmetic,
    as_rows,
    backward_memory,
    build,
    gap,
    make_config,
    make_dialogues,
    make_model,
    make_tokenizer,
    teach,
    times_faster,
    work_of,
)  # fmt: skip

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 300}  # fmt: skip
SIZE = Size(script=12, n_actions=3, action=4, observed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_model(path, Qwen2Config(**SMALL, tie_word_embeddings=False), dtype=torch.float32, device="cpu")
    return path


# --- the same work -----------------------------------------------------------------------------------


def test_trl_reads_the_same_rows():
    tokenizer = make_tokenizer()
    corpus = make_dialogues(SIZE, 2, tokenizer)
    rows = as_rows(corpus, tokenizer)
    assert len(rows) == 6
    assert [len(tokenizer(r["prompt"] + r["completion"])["input_ids"]) for r in rows] == [21, 30, 39] * 2
    for row, a in zip(rows, corpus.actions.itertuples(), strict=True):
        ids = corpus.ids[a.row]
        assert tokenizer(row["prompt"])["input_ids"] == ids[: a.start].tolist()
        assert tokenizer(row["prompt"] + row["completion"])["input_ids"] == ids[: a.end].tolist()
        assert row["completion"].endswith(tokenizer.eos_token)
        assert row["label"] == a.desirable


def test_a_corpus_holds_what_its_size_says():
    corpus = make_dialogues(SIZE, 2, make_tokenizer())
    assert (SIZE.n_tokens, SIZE.rows) == (39, [21, 30, 39])  # 12 + 3 x 9
    assert (corpus.n_tokens, corpus.n_separate, corpus.n_action_tokens) == (78, 180, 24)
    assert corpus.actions[["start", "end"]].to_numpy().tolist() == [[17, 21], [26, 30], [35, 39]] * 2
    assert set(corpus.actions["desirable"]) == {True, False}
    assert not np.array_equal(corpus.ids[0], corpus.ids[1])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_same_rows_same_loss_same_gradient_as_trl(folder, tmp_path, checkpointing):
    bench = Bench(str(folder), SIZE, n_dialogues=2, checkpointing=checkpointing)
    ours, theirs = (build(bench, way, tmp_path / way) for way in (OURS, TRL_BEST))
    teach([ours, theirs])
    (loss, gradient), (loss_trl, gradient_trl) = ours.learned(), theirs.learned()
    r = ours.trainer.numbers["r_pos"]
    assert abs(r) > 1e-3, "the adapter has to differ from the base"
    assert loss == near(loss_trl, size=LOGP)
    assert len(gradient) == 2 * 2 * 7
    assert gap(gradient, gradient_trl) < 10 * SHARE


def test_dialogues_of_one_script_have_the_loss_and_gradient_of_dialogues_one_by_one_and_of_trl(folder, tmp_path):
    bench = Bench(str(folder), SIZE._replace(script=40), n_dialogues=3, one_script=True)
    ways = {way: build(bench, way, tmp_path / way) for way in (OURS, ALONE, TRL_BEST)}
    teach(ways.values())
    packs = [ways[way].trainer.packs(ways[way].trainer.material, range(3)) for way in (OURS, ALONE)]
    assert [[p.ids.shape[1] for p in own] for own in packs] == [[40 + 3 * 27], [67] * 3], "the script is read once"
    (loss, gradient), (loss_alone, alone), (loss_trl, trl) = (ways[way].learned() for way in ways)
    assert loss == near(loss_alone)
    assert loss == near(loss_trl, size=LOGP)
    assert gap(gradient, alone) < SHARE
    assert gap(gradient, trl) < 10 * SHARE


def test_references_are_read_with_the_adapter_off(folder, tmp_path):
    bench = Bench(str(folder), SIZE)
    ours, theirs = (build(bench, way, tmp_path / way) for way in (OURS, TRL_BEST))
    teach([ours])
    ours.trainer.compute_references(ours.trainer.model, ours.trainer.material)
    found = np.add.reduceat(ours.trainer.material.reference.numpy(), [0, 4, 8])
    assert found == near(theirs.trainer.train_dataset["ref_logps"])


def test_every_way_can_take_its_step_again(folder, tmp_path):
    bench = Bench(str(folder), SIZE, n_dialogues=3)
    for way in (OURS, TRL_BEST, TRL_DEFAULT):
        contender = build(bench, way, tmp_path / way)
        seconds = [contender.step() for _ in range(2)]
        assert min(seconds) > 0
        assert contender.trainer.state.global_step == 1, "one optimiser step over all actions"
        assert not list(tmp_path.rglob("checkpoint-*"))
        assert way == OURS or contender.trainer.args.max_length is None, "TRL would drop long rows silently"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_keeps_no_copies_in_float32(folder, tmp_path, monkeypatch, checkpointing):
    """PEFT's copies of what its layers are given, which autocast turns back: the same gradient takes more memory."""
    bench = Bench(str(folder), SIZE, precision="bfloat16", half=True, checkpointing=checkpointing)
    trainer = build(bench, OURS, tmp_path).trainer
    trainer.model = trainer.accelerator.prepare(trainer.model)
    (copies, gradient), (kept, other) = (saved_step(trainer, monkeypatch, copied=c) for c in (True, False))
    assert gap(gradient, other) < 0.01
    assert SMALL["vocab_size"] not in {t.shape[-1] for t in kept if t.ndim}, "no logit is kept"
    if not checkpointing:
        assert n_bytes(kept) < 0.9 * n_bytes(copies)


def saved_step(trainer, monkeypatch, *, copied: bool) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """What a step keeps for its backward pass, each storage once, and its gradient."""
    kept = {}
    with monkeypatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.update({t.untyped_storage().data_ptr(): t}) or t, lambda t: t
    ):  # fmt: skip
        if copied:
            patch.setattr(trainer, "uncopied", lambda _model: contextlib.nullcontext())
        trainer.training_step(trainer.model, {"step": 0})
    gradient = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    return list(kept.values()), gradient


def n_bytes(tensors: list[torch.Tensor]) -> int:
    return sum(t.untyped_storage().nbytes() for t in tensors)


def test_a_gradient_of_other_parameters_is_an_error():
    with pytest.raises(BenchError, match="other parameters"):
        gap({"a": torch.ones(1)}, {"b": torch.ones(1)})
    assert gap({"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([3.0, 4.5])}) == pytest.approx(0.1)


# --- arithmetic --------------------------------------------------------------------------------------


def test_arithmetic_is_what_a_hand_counts():
    """One layer of hidden size 4 with 2 heads of 2, 1 of them for keys and values, inner size 6, 10 words, rank 1.

    Weights: q 16, k 8, v 8, o 16: 48, of which q, k, v 32; gate, up, down 24 each: 72. in + out: 8 + 6 + 6 + 8 = 28, of
    which the inputs of q, k, v 12; 3 x 10 = 30. Three tokens, two of them predicted: only these go through the MLP.
    """
    config = make_config("toy")
    assert arithmetic(config, 1, [(3, 2)]) == Work(
        linear=2 * (3 * 48 + 2 * 72) + 2 * (3 * (48 - 32) + 2 * 72),  # 960: forward, and back to the layer's inputs
        adapters=2 * 2 * (3 * 28 + 2 * 30) + 2 * (3 * (28 - 12) + 2 * 30),  # 792: forward, their own gradient, and back
        attention=6 * 2 * 6 * 4,  # 288: six products of 6 pairs of tokens, 2 operations for each of 2 x 2 numbers
        head=2 * 2 * 40 + 2 * 2 * 40,  # 320
    )


def test_arithmetic_of_matrices_is_what_torch_counts(folder, tmp_path):
    bench = Bench(str(folder), SIZE, n_dialogues=2)
    ours = build(bench, OURS, tmp_path)
    with FlopCounterMode(display=False) as counter:
        ours.trainer.training_step(ours.trainer.model, {"step": 0})
    counts = {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}
    matrices = sum(n for op, n in counts.items() if op in ("aten.mm", "aten.addmm"))
    work = work_of(bench, ours.trainer.model.config)
    assert matrices == work.linear + work.adapters + work.head


def test_arithmetic_behind_what_is_read_already_is_the_rest():
    """A sequence in two parts is the sequence: 3 tokens, then 4 behind them, of which 2 are predicted."""
    config = make_config("toy")
    parts, whole = (arithmetic(config, 1, x) for x in ([(3, 0), (4, 2, 3)], [(7, 2)]))
    assert parts == whole
    assert arithmetic(config, 1, [(1, 0, 9)]).attention == 12 * 10 * 4, "one token looks at 9 and at itself"


def test_a_script_that_is_shared_is_counted_once():
    """Of 3 dialogues of 12 script tokens and 27 others, 24 fewer tokens are read, none of them predicted."""
    config = Qwen2Config(**SMALL)
    together, alone = (work_of(Bench("", SIZE, n_dialogues=3, one_script=True), config, way) for way in (OURS, ALONE))
    assert alone == work_of(Bench("", SIZE, n_dialogues=3), config)
    assert alone.linear - together.linear == 24 * (4 * (2 * 3072 + 4608) - 2 * 2048)
    assert alone.attention - together.attention == 12 * 2 * (12 * 13 // 2) * 32 * 2  # two scripts' pairs, both layers
    assert together.head == alone.head


def test_a_dialogue_has_less_arithmetic_than_its_rows():
    """Rows read 21 + 30 + 39 tokens where a dialogue reads 39; of those 51 more none is predicted.

    Such a token passes q, k, v, o of both layers and the first MLP. In SMALL q, k, v have 32 x (32 + 16 + 16) = 2048
    weights, o 1024, an MLP 3 x 32 x 48 = 4608; in + out is 224 for q, k, v, o, of which 96 go into q, k, v, and 240 for
    an MLP. Forward and back take 2 operations each, an adapter's own gradient 2 more; below the first q, k, v nothing
    learns.
    """
    bench = Bench("", SIZE, lora_rank=16)
    dialogue, rows = (work_of(bench, Qwen2Config(**SMALL), way) for way in (OURS, TRL_BEST))
    assert rows.linear - dialogue.linear == 51 * (4 * (2 * 3072 + 4608) - 2 * 2048)
    assert rows.adapters - dialogue.adapters == 51 * 16 * (6 * (2 * 224 + 240) - 2 * 96)
    assert rows.attention / dialogue.attention == (231 + 465 + 780) / 780  # pairs of them
    assert rows.head == dialogue.head
    assert rows.total > dialogue.total == sum(dialogue)


# --- time and memory ---------------------------------------------------------------------------------


def test_ratios_are_taken_within_a_round():
    """The second round met a machine ten times slower: the ratio is what it was."""
    seconds = {0: (1, 6), 1: (10, 60), 2: (1, 7)}
    rounds = [(k, way, t) for k, both in seconds.items() for way, t in zip((OURS, TRL_BEST), both, strict=True)]
    table = pd.DataFrame(rounds, columns=["round", "way", "seconds"])
    assert times_faster(table, other=TRL_BEST) == 6.0


def test_the_most_that_is_kept_at_one_time_is_that_of_the_longest_sequence(folder, tmp_path):
    """Rows are read one after the other: what the shorter ones kept is gone by then, and weights don't count."""
    ours, theirs = (build(Bench(str(folder), SIZE), way, tmp_path / way) for way in (OURS, TRL_BEST))
    once = [backward_memory(contender) for contender in (ours, theirs)]
    assert once == [backward_memory(contender) for contender in (ours, theirs)], "nothing is left of the step before"
    assert once[1] == pytest.approx(once[0], rel=0.2)
    longer = build(Bench(str(folder), SIZE._replace(script=12 + 39)), OURS, tmp_path / "longer")
    assert 1.8 < backward_memory(longer) / once[0] < 2.3, "twice the tokens"


def test_what_is_kept_twice_is_counted_once_and_weights_never():
    weight, x = torch.nn.Linear(4, 4, bias=False), torch.ones(2, 4, requires_grad=True)
    ledger = Ledger(weight)
    one, other = Held(x, ledger), Held(x[1:], ledger)
    kept = Held(weight.weight, ledger)
    assert (ledger.now, ledger.most) == (32, 32)
    del one
    assert ledger.now == 32
    del other, kept
    assert (ledger.now, ledger.most) == (0, 32)


@pytest.mark.parametrize(("precision", "compute"), [("float32", 4), ("bfloat16", 2)])
def test_what_is_kept_is_what_one_more_layer_keeps(tmp_path, monkeypatch, precision, compute):
    found = []
    for layers in (2, 3):
        config = Qwen2Config(**SMALL | {"num_hidden_layers": layers}, tie_word_embeddings=False)
        (folder := tmp_path / str(layers)).mkdir()
        make_model(folder, config, dtype=torch.float32, device="cpu")
        bench = Bench(str(folder), Size(400, 1, 10, 90), precision=precision, half=compute == 2, lora_rank=2)
        trainer = build(bench, OURS, folder / "made").trainer
        trainer.model = trainer.accelerator.prepare(trainer.model)
        found.append(n_bytes([t for t in saved_step(trainer, monkeypatch, copied=False)[0] if 500 in t.shape]))
    layer = 500 * kept_per_token(shape(config), 2, compute) / 3
    assert found[1] - found[0] == layer
    unread = 500 * compute * 4 * 48  # the last layer's MLP is kept only where an action is predicted
    assert found[0] == pytest.approx(2 * layer - unread, rel=0.1)
