"""How the embedded model is made: what it reads, what it learns from, and that its card tells the truth."""

import json
import random
import re
from dataclasses import fields
from itertools import islice

import pytest
import torch
import yaml
from closeness import near
from transformers import AutoTokenizer

from maro_lib.embedded.card import read_card
from maro_lib.embedded.exam import exam_games, take_exam
from maro_lib.embedded.lessons import (
    CORRECTION,
    Recipe,
    any_game,
    clue_drill,
    drill,
    longer_game,
    task_example,
    views,
    weigh,
)
from maro_lib.embedded.pretraining import learn, new_model, same_words, tokenizer_texts, train_tokenizer, weighted_loss
from maro_lib.embedded.tasks import items
from maro_lib.model.chat import Chat
from maro_lib.model.loading import EMBEDDED, load
from maro_lib.runs import ROOT
from maro_lib.world.generator import Knobs, generate, generate_many, vocabulary
from maro_lib.world.protocol import Message
from maro_lib.world.solver import is_solvable


@pytest.fixture(scope="module")
def chat():
    return Chat(load("embedded").tokenizer)


@pytest.fixture(scope="module")
def card():
    return read_card()


def test_nearly_every_word_of_the_game_is_one_token(chat):
    split = [w for w in vocabulary() if len(chat.text_ids(f" {w}")) > 1]
    assert len(split) <= 3, split


def test_a_tokenizer_is_loaded_as_it_was_trained(tmp_path):
    """AutoTokenizer has a mind of its own about what lies beside a Qwen2."""
    texts = tokenizer_texts(n_games=3)
    trained = train_tokenizer(texts)
    new_model(trained, Recipe()).save_pretrained(tmp_path)
    trained.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*texts[100:400], *texts[-6000:-5000], "Ünïcödé 谋杀 it's 123 \n\n  x"):
        assert loaded(text).input_ids == trained(text).input_ids


def test_a_drill_is_answered_within_what_it_offers():
    for k in range(50):
        view = drill(random.Random(k))
        names = view[0].content.partition("People: ")[2].strip(".").split()
        for asked, said in zip(view[1::2], view[2::2], strict=True):
            offered = set(re.findall(r"\w+", asked.content))
            if said.content.startswith("Search"):
                assert said.content.removeprefix("Search ").strip(".") in offered
            elif asked.content.startswith("Rate"):
                assert re.findall("[A-Z][a-z]+", said.content) == names
            else:
                assert set(re.findall("[A-Z][a-z]+", said.content)[1:]) <= {*names, "What"}


def test_evidence_proves_the_vote_that_it_is_answered_with():
    for k in range(30):
        system, asked, said = clue_drill(random.Random(k))
        rng = random.Random(k)
        script = generate(rng.randrange(2**32, 2**48), longer_game(rng)[0])
        assert is_solvable(script)
        assert all(clue.text in asked.content for clue in script.clues)
        assert said.content in {f"Vote {name}." for name in script.culprits}
        assert "You did not do it." in system.content


def test_who_is_reserved_tells_facts_but_no_suspicion():
    told = [m.content for v in islice(views(random.Random(5), any_game, 0.9, share_reserved=1.0), 60) for m in v]
    assert not any("suspect" in text for text in told)
    assert any(" wore the " in text for text in told)


def test_template_has_the_form_of_qwen2_5(chat):
    said = [Message("system", "S"), Message("user", "U"), Message("assistant", "A"), Message("user", "V")]
    text = chat.tokenizer.apply_chat_template([m._asdict() for m in said], tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.is_append_only
    assert chat.tokenizer.decode(chat.encode(said)) == text


def test_a_lesson_is_what_a_player_will_read(chat):
    for view in islice(views(random.Random(3), any_game, 0.4), 40):
        example = weigh(chat, view, 0.1)
        assert example.ids == chat.encode([*view, Message("user", "")])[: len(example.ids)]
        assert len(example.ids) == len(example.weights)


def test_only_own_words_weigh_and_corrected_ones_do_not(chat):
    view = [
        Message("system", "You are Jim."), Message("user", "Vote? Tom Zoe."), Message("assistant", "Vote Jim."),
        CORRECTION, Message("assistant", "Vote Tom."),
    ]  # fmt: skip
    example = weigh(chat, view, 0.1)
    decoded = {w: chat.tokenizer.decode([i for i, v in zip(*example, strict=True) if v == w]) for w in (0.0, 4.0)}
    assert decoded == {0.0: "Vote Jim.<|im_end|>", 4.0: "Vote Tom.<|im_end|>"}


def test_tasks_are_in_plain_chat_form(chat):
    item = items("where", 1, 0, held_out=False)[0]
    text = chat.tokenizer.decode(task_example(chat, item, 0.1).ids)
    assert text == f"<|im_start|>user\n{item.prompt}<|im_end|>\n<|im_start|>assistant\n{item.answer}<|im_end|>"


def test_both_spellings_of_a_word_start_as_one(chat):
    model, pairs = new_model(chat.tokenizer, Recipe()), same_words(chat.tokenizer)
    assert len(pairs) > 50
    for table in (model.model.embed_tokens.weight, model.lm_head.weight):
        assert all(torch.equal(table[a], table[b]) for a, b in pairs)


def test_weighted_loss_by_hand():
    p = torch.tensor([[[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]])
    loss, accuracy = weighted_loss(p.log(), torch.tensor([[1, 0, 1]]), torch.tensor([[1.0, 0.5, 1.0]]))
    assert loss.item() == near((0.5 * 0.693147 + 1.0 * 0.287682) / 1.5)
    assert accuracy.item() == 1.0


def test_same_seed_same_model(tmp_path):
    recipe = Recipe(tokens=20_000, batch_tokens=4096)
    one, _, first = learn(recipe, n_points=1, n_views=2)
    two, _, second = learn(recipe, n_points=1, n_views=2, folder=tmp_path)
    assert first.equals(second)
    lies = load(str(tmp_path), precision="float32").model
    for again in (two, lies):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


def test_no_lesson_shows_an_exam_or_a_run():
    """Lessons' scripts come from seeds that `generate_many` never uses for a run's seed below 4,000."""
    exam = {g.script.digest for g in exam_games(25)}
    run = {s.digest for s in generate_many(25, 0, Knobs())}
    assert not exam & run


def test_weights_are_small_and_safe():
    files = {f.name for f in EMBEDDED.iterdir()}
    assert "model.safetensors" in files
    assert not {f for f in files if f.endswith((".bin", ".pt", ".pkl", ".py"))}
    assert sum(f.stat().st_size for f in EMBEDDED.iterdir()) < 10e6


def test_card_names_the_recipe_of_params_embedded(card):
    """What `params/embedded.yaml` sets is what the shipped weights were made with."""
    recipe = {f.name: f.default for f in fields(Recipe)} | {
        k.removeprefix("lesson_"): v
        for k, v in yaml.safe_load((ROOT / "params" / "embedded.yaml").read_text()).items()
        if k.startswith("lesson_") or k in ("hidden", "layers")
    }
    made_before = {name: value for name, value in recipe.items() if name in card["recipe"]}
    assert card["recipe"] == json.loads(json.dumps(made_before))
    assert not Recipe().is_of_worlds, "what the card does not name was not there yet: lessons of other worlds"
    assert 1e6 <= card["parameters"] <= 8e6


def test_card_tells_the_truth(card):
    """The numbers of the card, computed again on the shipped weights, from fewer games and items."""
    again = take_exam(load("embedded"), n_games=48, n_items=150)
    assert again["legal first replies"].n == again["civilians' right votes"].n == 48, "games are resampled"
    for name, told in card["scores"].items():
        score = again[name]
        noise = 2 * ((score.high - score.low) ** 2 + (told["high"] - told["low"]) ** 2) ** 0.5 / 2
        assert abs(score.mean - told["mean"]) < noise, f"{name}: {score}, the card says {told}"


def test_shipped_model_is_legal_and_middling(card):
    scores = card["scores"]
    assert scores["legal first replies"]["mean"] >= 0.97
    assert scores["civilians win"]["low"] > 0.15
    assert scores["civilians win"]["high"] < 0.9
    for task in ("arithmetic", "instructions", "where"):
        assert 0.2 < scores[task]["mean"] < 0.9, task
