"""The embedded model: a small Qwen2 that learned to play from scripted players, made from a seed.

What it reads stands in `lessons`. The loss weighs almost only the tokens that it is to say itself:

    L = sum_i w_i * -log p(x_i | x_<i) / sum_i w_i,     w_i = 1 on replies, `observed` elsewhere.

The hard part is copying (choosing among this game's names, and going through them in order), then reading evidence. A
model learns to copy early with a wide initialisation, heads that write back what they read, both spellings of a word
starting as one vector, Muon, and drills. Taught in notebook 00.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from tokenizers import pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from maro_lib.embedded import tasks
from maro_lib.embedded.lessons import (
    Example,
    Maker,
    Recipe,
    any_game,
    default_game,
    lesson_games,
    lessons,
    views,
    width,
)
from maro_lib.embedded.other_worlds import HOME_WORLD, world_views, world_words
from maro_lib.model.bfloat16 import bfloat16_pays, products
from maro_lib.model.chat import Chat
from maro_lib.model.loading import load, quiet
from maro_lib.play.policies import Mixture
from maro_lib.play.rollout import run_sessions, start
from maro_lib.progress import Bar
from maro_lib.runs import make_folder
from maro_lib.world.generator import vocabulary
from maro_lib.world.protocol import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TURN_START, TURN_END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


# --- tokenizer and model -----------------------------------------------------------------------------


def train_tokenizer(texts: Iterable[str], vocab_size: int = 896) -> Qwen2Tokenizer:
    """Learn byte-level pairs from the texts, and add the turn markers and a chat template of Qwen2.5's form.

    It is Qwen2's class, which cuts texts as Qwen2 does: `AutoTokenizer` makes that of whatever lies beside a Qwen2.
    """
    backend = Qwen2Tokenizer().backend_tokenizer
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PADDING, TURN_START, TURN_END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    ))  # fmt: skip
    learned = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]], eos_token=TURN_END,
        pad_token=PADDING, extra_special_tokens=[TURN_START], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tokenizer_texts(n_games: int = 300, worlds: Sequence[str] = (HOME_WORLD,)) -> list[str]:
    """The texts that the tokenizer learns from: every word that can occur, games, and tasks."""
    rng = random.Random("tokenizer")
    words = " ".join(vocabulary())
    played = islice(views(rng, any_game, 0.4), 6 * n_games)
    told = [m.content for view in played for m in view]
    asked = [t for _ in range(3000) for i in [tasks.draw_item(rng)] for t in (i.prompt, i.answer)]
    texts = [*[words, "\n".join(vocabulary())] * 50, *told, *asked, *["system\nuser\nassistant\n"] * 5000]
    return texts + [text for world in worlds[1:] for text in _texts_of_world(rng, world, n_games)]


def _texts_of_world(rng: random.Random, world: str, n_games: int) -> list[str]:
    """Every word that another world can say, and games in which all of its characters sit."""
    words = world_words(world)
    played = islice(world_views(rng, world, 0.4), n_games)
    return [*[" ".join(words), "\n".join(words)] * 50, *(m.content for view in played for m in view)]


def new_model(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> Qwen2ForCausalLM:
    """Make an untrained Qwen2 that leans towards copying.

    What is read and what is written starts as one vector, in both spellings of a word, and a head writes back a part
    of what it reads (its output matrix starts as the transpose of its values').
    """
    torch.manual_seed(recipe.seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden, intermediate_size=4 * recipe.hidden,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.hidden // 32,
        num_key_value_heads=recipe.hidden // 64, max_position_embeddings=recipe.window,
        tie_word_embeddings=False, initializer_range=recipe.init_std, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, dtype="float32",
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    model.generation_config.do_sample = True  # or servers that obey this file ignore a request's temperature
    table = model.model.embed_tokens.weight
    with torch.no_grad():
        for bare, spaced in same_words(tokenizer):
            table[spaced] = table[bare]
        model.lm_head.weight.copy_(table)  # untied, but a rare word can be copied as soon as a frequent one
        for attention in (layer.self_attn for layer in model.model.layers):
            torch.nn.init.orthogonal_(attention.v_proj.weight)
            values = attention.v_proj.weight.unflatten(0, (config.num_key_value_heads, -1))
            shared = values.repeat_interleave(attention.num_key_value_groups, dim=0)  # (heads, head_dim, hidden)
            attention.o_proj.weight.copy_(shared.flatten(0, 1).T)
    return model


def same_words(tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, int]]:
    """Pairs of tokens that are one word, without and with a space before it."""
    vocab = tokenizer.get_vocab()
    return sorted((i, vocab[f"Ġ{t}"]) for t, i in vocab.items() if re.fullmatch(r"\w+", t) and f"Ġ{t}" in vocab)


# --- learning ----------------------------------------------------------------------------------------


class LearningStep(NamedTuple):
    """What one step of learning looked like."""

    step: int
    tokens: int  # seen so far
    loss: float
    accuracy: float  # of the model's own tokens
    seconds: float


def tensors(batch: Sequence[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right, where a causal model can't look: ids and weights, (n, width)."""
    longest = max(map(width, batch))
    ids = torch.full((len(batch), longest), pad)
    weights = torch.zeros(len(batch), longest)
    for k, e in enumerate(batch):
        ids[k, : len(e.ids)] = torch.tensor(e.ids)
        weights[k, : len(e.ids)] = torch.tensor(e.weights)
    return ids, weights


def pretrain(model: Qwen2ForCausalLM, chat: Chat, recipe: Recipe) -> Iterator[LearningStep]:
    """Train in place, short games first; yield after every step."""
    model.train()
    optimisers = new_optimisers(model, recipe)
    seen, began = 0, time.perf_counter()
    for k, batch in enumerate(lessons(chat, recipe), start=1):
        ids, weights = tensors(batch, chat.tokenizer.pad_token_id)
        for group in (g for o in optimisers for g in o.param_groups):
            group["lr"] = group["initial_lr"] * pace(seen / recipe.tokens, recipe.warmup)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half and bfloat16_pays()):
            logits = model(input_ids=ids, use_cache=False).logits
        loss, accuracy = weighted_loss(logits, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with products():  # Muon multiplies in bfloat16
            for optimiser in optimisers:
                optimiser.step()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        seen += sum(len(e.ids) for e in batch)
        yield LearningStep(k, seen, loss.item(), accuracy.item(), time.perf_counter() - began)
        if seen >= recipe.tokens:
            return


def new_optimisers(model: Qwen2ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (it learns to copy in half the tokens that AdamW needs), AdamW for the rest."""
    layers = {id(p) for p in model.model.layers.parameters() if p.ndim == 2}
    matrices = [p for p in model.parameters() if id(p) in layers]
    others = [p for p in model.parameters() if id(p) not in layers]
    optimisers = [
        torch.optim.Muon(matrices, lr=recipe.lr_matrices, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(others, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for group in (g for o in optimisers for g in o.param_groups):
        group["initial_lr"] = group["lr"]
    return optimisers


def weighted_loss(logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted mean of -log p, and the share of the model's own tokens that it would have chosen."""
    logits, targets, weights = logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), weights[:, 1:].flatten()
    loss = (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    own = weights >= 1
    return loss, (logits[own].argmax(-1) == targets[own]).float().mean()


def pace(done: float, warmup: float) -> float:
    """The learning rate's share of its peak: up in a line, then down to nothing in another."""
    return min((done + 1e-3) / warmup, max(0.0, 1 - done) / (1 - warmup))


class Probe(NamedTuple):
    """What a model would vote, given views of good players: the probability of a legal and of a right name."""

    legal: float
    right: float


def vote_exam(n: int, maker: Maker | None = None, seed: int = 1) -> list[tuple[list[Message], tuple[str, ...]]]:
    """Civilians' views up to the vote, each with its culprits; by games that no lesson shows."""
    rng, found = random.Random(f"votes/{seed}"), []
    started = (start(g, Mixture(1.0)) for g in lesson_games(rng, maker or default_game, n))
    for session in run_sessions(started, n):
        culprits = session.game.script.culprits
        seat = next(i for i, name in enumerate(session.game.script.names) if name not in culprits)
        found.append((session.env.private_view(seat)[:-1], culprits))
    return found


def probe_votes(model: torch.nn.Module, chat: Chat, views: Sequence[tuple[list[Message], tuple[str, ...]]]) -> Probe:
    """Put the vote to a model, and sum the probabilities of the names that it may say, and of the culprits."""
    legal = right = 0.0
    with torch.inference_mode():
        for view, culprits in views:
            names = view[-1].content.removeprefix("Vote? ").rstrip(".").split()
            ids = torch.tensor([[*chat.encode(view), *chat.text_ids("Vote")]])
            p = model(input_ids=ids, logits_to_keep=1).logits[0, -1].float().softmax(-1)
            mass = {name: p[chat.text_ids(f" {name}")[0]].item() for name in names}
            legal += sum(mass.values())
            right += sum(mass[c] for c in culprits)
    return Probe(legal / len(views), right / len(views))


def make(recipe: Recipe) -> tuple[Qwen2ForCausalLM, Chat]:
    """Make tokenizer and untrained model, or take those that the recipe starts from."""
    if recipe.start:
        begun = load(recipe.start, precision="float32", device="cpu")
        is_, told = begun.model.config, (recipe.hidden, recipe.layers)
        if (is_.hidden_size, is_.num_hidden_layers) != told:
            raise ValueError(f"lesson_start: {recipe.start} is {is_.hidden_size} wide and has {is_.num_hidden_layers} "
                             f"layers; `hidden` and `layers` say {recipe.hidden} and {recipe.layers}")  # fmt: skip
        return begun.model, Chat(begun.tokenizer)
    tokenizer = train_tokenizer(tokenizer_texts(worlds=recipe.worlds), recipe.vocabulary)
    return new_model(tokenizer, recipe), Chat(tokenizer)


def learn(
    recipe: Recipe, n_points: int = 12, n_views: int = 32, progress: bool = False, folder: Path | None = None
) -> tuple[Qwen2ForCausalLM, Chat, pd.DataFrame]:
    """Make a model, whose weights then lie in `folder`; return it, its chat, and a table of what was learned when."""
    model, chat = make(recipe)
    exam, rows, since = vote_exam(n_views), [], []
    with Bar(recipe.tokens, "token", shown=progress, unit_scale=True) as bar:
        for step in pretrain(model, chat, recipe):
            bar.update(step.tokens - bar.n)
            since.append(step)
            if step.tokens >= recipe.tokens * (len(rows) + 1) / n_points:
                model.eval()
                probe = probe_votes(model, chat, exam)
                model.train()
                means = {name: float(np.mean([getattr(s, name) for s in since])) for name in ("loss", "accuracy")}
                rows.append({"step": step.step, "tokens": step.tokens} | means | probe._asdict())
                since = []
    model.eval()
    if folder:
        _save(model, chat.tokenizer, folder)
    return model, chat, pd.DataFrame(rows)


def _save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights (safetensors) and tokenizer."""
    make_folder(folder)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
