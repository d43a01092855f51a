"""The embedded model: a small Qwen2 that learned to play from scripted players, made from a seed.

What it reads: views of generated games whose players are good or bad for a whole game (`policies.Mixture`), and small
tasks in plain chat form (`tasks`). What it learns: almost only its own tokens,

    L = sum_i w_i * -log p(x_i | x_<i) / sum_i w_i,     w_i = 1 on replies, `observed` elsewhere.

Hard is copying (choosing among this game's names, and going through them in order), then reading evidence. Copying
begins early with a wide initialisation, heads that write back what they read, both spellings of a word starting as one,
Muon, and drills: prompts answered at random, lists said again and again. Evidence is learned only where most players
follow it: so good players come first, and the mixture of good and bad ones, which the model is to imitate, comes last.
Taught in notebook 00.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from tokenizers import pre_tokenizers, trainers
from torch.nn import functional as F
from tqdm import tqdm
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from maro_lib import tasks
from maro_lib.chat import Chat
from maro_lib.environment import Message, Rules, system_message
from maro_lib.generator import Knobs, generate, vocabulary
from maro_lib.phrases import phrasebook
from maro_lib.policies import Mixture, Policy, Reply, Request
from maro_lib.rollout import Game, run_sessions, start

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """All that decides the embedded model."""

    seed: int = 0
    tokens: int = 1_000_000  # to learn from
    hidden: int = 128
    layers: int = 4
    window: int = 2048
    init_std: float = 0.06
    lr: float = 1.5e-3
    lr_matrices: float = 0.01
    warmup: float = 0.03  # share of the tokens
    batch_tokens: int = 4096
    observed: float = 0.1  # weight of tokens that are not the model's own
    share_tasks: float = 0.5  # of the sequences, which are short
    share_drills: float = 0.2  # of the sequences
    shares: tuple[float, float, float] = (0.1, 0.2, 0.3)  # of the tokens: drills, then short games, then longer ones
    share_reserved: float = 0.4  # of the games, in which nobody says whom they suspect
    share_good: float = 0.4  # of the scripted players in the last lessons, which decide how the model plays
    half: bool = True  # compute in bfloat16 where the processor can


BOOK = phrasebook("en", "compact")
Maker = Callable[[random.Random], tuple[Knobs, Rules]]
DECISIVE = {"Vote": 4.0, "Turn": 4.0}  # few tokens on which much depends: they weigh more
CORRECTION = Message("user", BOOK.correction.format(reason=BOOK.reasons["name"], form=BOOK.forms["vote"]))


class Example(NamedTuple):
    """One sequence to learn from."""

    ids: list[int]
    weights: list[float]


# --- what it reads -----------------------------------------------------------------------------------


RECITED = 64  # tokens
SHARE_SHOWN = 0.9  # of good players, while the model learns to reason
HOME = Knobs(characters=5, red_herrings=2)


def short_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """A game that is over soon: the beginning of the lessons."""
    knobs = Knobs(characters=rng.randint(3, 4), places=rng.randint(2, 3), clues=rng.randint(2, 4), red_herrings=1,
                  private_clues=rng.randint(0, 1))  # fmt: skip
    return knobs, Rules(rounds=1)


def longer_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """A game of about the size that the notebooks play."""
    if rng.random() < 0.2:
        return short_game(rng)
    knobs = Knobs(characters=rng.choice((4, 5, 5)), places=rng.randint(3, 4), clues=rng.randint(4, 6),
                  red_herrings=rng.randint(1, 3), private_clues=rng.randint(0, 1))  # fmt: skip
    return knobs, Rules(rounds=2)


def any_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """Half of them as before, half of every size and kind."""
    if rng.random() < 0.5:
        return longer_game(rng)
    n = rng.choice((4, 5, 5, 6, 6, 6, 7, 8))
    clues = rng.choice((4, 6, 6, 6, 8))
    knobs = Knobs(
        stages=rng.choice((1, 1, 1, 2)), special_rules=rng.choice((0, 0, 0, 1)),
        ending=rng.choice(("closed", "closed", "open")), characters=n,
        culprits=2 if n > 5 and rng.random() < 0.2 else 1, places=rng.choice((3, 4, 4, 5)), clues=clues,
        red_herrings=rng.choice((1, 3, 3, 5)), private_clues=rng.choice((0, 1, 1, 2)),
    )  # fmt: skip
    return knobs, Rules(rounds=rng.choice((2, 3, 3)))


def default_game(_: random.Random) -> tuple[Knobs, Rules]:
    """The game that the notebooks play with this model."""
    return HOME, Rules(rounds=2)


def games(rng: random.Random, maker: Maker, n: int) -> Iterator[Game]:
    """Draw `n` games, none of which any run plays: their scripts come from seeds above 2**32."""
    for k in range(n):
        knobs, rules = maker(rng)
        seed = rng.randrange(2**32, 2**48)
        yield Game(f"g{k}", k, generate(seed, knobs), seed, rules)


@dataclass(frozen=True)
class Slips:
    """Scripted players who now and then say what is not allowed, and put it right when they are corrected."""

    players: Mixture
    share: float = 0.03
    name: str = "slips"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        meant = self.players.act(requests)
        return [self._slip(r) or reply for r, reply in zip(requests, meant, strict=True)]

    def _slip(self, request: Request) -> Reply | None:
        rng, me, book = request.rng("slip", request.t), request.brief.me.name, request.brief.book
        if request.prompt.retry or rng.random() >= self.share:
            return None
        closed = [p for p in tasks.PLACES if p not in request.prompt.places]
        wrong = {
            "turn": [book.search.format(place=rng.choice(closed)), book.ask.format(name=me, text=book.question)],
            "vote": [book.voted.format(name=me), book.no_idea], "rate": [book.no_idea, book.voted.format(name=me)],
        }  # fmt: skip
        return Reply(rng.choice(wrong[request.prompt.phase])) if request.prompt.phase in wrong else None


@dataclass(frozen=True)
class Reserved:
    """Players who tell what they know but never whom they suspect: who listens must read the evidence."""

    players: Policy
    name: str = "reserved"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        told = self.players.act(requests)
        return [self._without_suspicion(r, reply.text) for r, reply in zip(requests, told, strict=True)]

    def _without_suspicion(self, request: Request, text: str) -> Reply:
        book = request.brief.book
        for name in request.brief.names:
            text = text.replace(book.suspect.format(name=name), "").replace("  ", " ")
        return Reply(text.strip() or book.no_idea)


def views(
    rng: random.Random, maker: Maker, share_good: float, share_reserved: float = 0.0, n_games: int = 64
) -> Iterator[list[Message]]:
    """Play games by scripted players without end, and yield every player's view."""
    players = Slips(Mixture(share_good))
    reserved = Reserved(players)
    while True:
        played = games(rng, maker, n_games)
        started = (start(g, reserved if rng.random() < share_reserved else players) for g in played)
        for session in run_sessions(started, n_games):
            for seat in range(len(session.seats)):
                yield list(session.env.private_view(seat))


def drill(rng: random.Random) -> list[Message]:
    """A view of nothing but prompts, answered at random: copying names is learned from few tokens."""
    me, *others = rng.sample(tasks.NAMES, rng.randint(3, 8))
    sites = rng.sample(tasks.PLACES, rng.randint(1, 5))
    names, places = " ".join(others), " ".join(sites)
    rate = [BOOK.rating.format(name=n, s=rng.randrange(3), b=rng.randrange(3)) for n in others]
    asked = [
        (f"{BOOK.turn}\n{BOOK.places}", BOOK.search.format(place=rng.choice(sites))),
        (f"{BOOK.turn}\n{BOOK.places}", BOOK.ask.format(name=rng.choice(others), text=BOOK.question)),
        (BOOK.rate, BOOK.rating_joint.join(rate)),
        (BOOK.vote, BOOK.voted.format(name=rng.choice(others))),
    ]
    view = [Message("system", BOOK.you_are.format(name=me, others=names))]
    for prompt, reply in rng.sample(asked, len(asked)):
        view += [Message("user", prompt.format(names=names, places=places)), Message("assistant", reply)]
    return view


def evidence(rng: random.Random) -> list[Message]:
    """A view that holds all the clues and nothing else, and the vote that they prove."""
    script = generate(rng.randrange(2**32, 2**48), longer_game(rng)[0])
    seat = rng.choice([i for i, c in enumerate(script.characters) if c.faction == "civilian"])
    others = [name for name in script.names if name != script.names[seat]]
    clues = rng.sample(script.clues, len(script.clues))
    found = [BOOK.found.format(name=rng.choice(others), place=c.place, text=c.text) for c in clues]
    asked = "\n".join((*found, BOOK.vote.format(names=BOOK.comma.join(others))))
    return [
        Message("system", system_message(script, seat, Rules())), Message("user", asked),
        Message("assistant", BOOK.voted.format(name=rng.choice(script.culprits))),
    ]  # fmt: skip


def examples(rng: random.Random, chat: Chat, recipe: Recipe, maker: Maker, share_good: float) -> Iterator[Example]:
    """Yield games' views, small tasks and drills, tokenised and weighted."""
    played = views(rng, maker, share_good, recipe.share_reserved)
    while True:
        kind = rng.random()
        if kind < recipe.share_tasks:
            yield task_example(chat, tasks.draw(rng), recipe.observed)
        elif kind < recipe.share_tasks + recipe.share_drills:
            yield drill_example(chat, rng, recipe.observed)
        else:
            yield weigh(chat, next(played), recipe.observed)


def weigh(chat: Chat, view: Sequence[Message], observed: float) -> Example:
    """Tokenise a view; full weight where the player spoke, stop token included, but none on what was corrected."""
    ids, weights = [], []
    stop = chat.tokenizer.eos_token_id
    corrected = {k - 1 for k, m in enumerate(view) if m == CORRECTION}
    asked = ""
    for k, message in enumerate(view):
        if message.role == "assistant":
            said = [*chat.text_ids(message.content), stop]
            ids += said
            weights += [0.0 if k in corrected else DECISIVE.get(asked, 1.0)] * len(said)
        elif message.role == "user":
            asked = asked if message == CORRECTION else _last_prompt(message.content)
            new = chat.encode(view[:2]) if k == 1 else chat.observe([stop], message.content)
            ids += new
            weights += [observed] * len(new)
    return Example(ids, weights)


def _last_prompt(content: str) -> str:
    """The word that says what is asked: the last line's that ends it with a question mark."""
    return next((line.partition("?")[0] for line in reversed(content.split("\n")) if re.match(r"\w+\?", line)), "")


def drill_example(chat: Chat, rng: random.Random, observed: float) -> Example:
    """Tokenise a drill, a recital, or evidence; whatever can be foreseen has full weight."""
    kind = rng.randrange(3)
    if kind == 0:
        return weigh(chat, evidence(rng), observed)
    if kind == 1:
        return weigh(chat, drill(rng), 1.0)
    words = rng.sample((*tasks.NAMES, *tasks.PLACES), rng.randint(3, 12))
    once = chat.text_ids("".join(f" {word}" for word in words))
    ids = (once * RECITED)[:RECITED]
    return Example(ids, [0.0] * len(once) + [1.0] * (RECITED - len(once)))


def task_example(chat: Chat, item: tasks.Item, observed: float) -> Example:
    """Tokenise a task in plain chat form."""
    asked = chat.question(item.prompt)
    said = [*chat.text_ids(item.answer), chat.tokenizer.eos_token_id]
    return Example([*asked, *said], [observed] * len(asked) + [1.0] * len(said))


# --- tokenizer and model -----------------------------------------------------------------------------


def train_tokenizer(texts: Iterable[str], vocab_size: int = 896) -> Qwen2Tokenizer:
    """Learn byte-level pairs from the texts, and add the turn markers and a chat template of Qwen2.5's form.

    It is Qwen2's class, which cuts texts as Qwen2 does: `AutoTokenizer` makes that of whatever lies beside a Qwen2.
    """
    backend = Qwen2Tokenizer().backend_tokenizer
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PAD, START, END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    ))  # fmt: skip
    learned = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]], eos_token=END, pad_token=PAD,
        extra_special_tokens=[START], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tokenizer_texts(n_games: int = 300) -> list[str]:
    """The texts that the tokenizer learns from: every word that can occur, games, and tasks."""
    rng = random.Random("tokenizer")
    words = " ".join(vocabulary())
    played = islice(views(rng, any_game, 0.4), 6 * n_games)
    told = [m.content for view in played for m in view]
    asked = [t for _ in range(3000) for i in [tasks.draw(rng)] for t in (i.prompt, i.answer)]
    return [*[words, "\n".join(vocabulary())] * 50, *told, *asked, *["system\nuser\nassistant\n"] * 5000]


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


class Step(NamedTuple):
    """What one step of learning looked like."""

    step: int
    tokens: int  # seen so far
    loss: float
    accuracy: float  # of the model's own tokens
    seconds: float


def batches(stream: Iterable[Example], budget: int) -> Iterator[list[Example]]:
    """Collect sequences of like length until they fill the budget of tokens when padded."""
    waiting: dict[int, list[Example]] = {}
    for example in stream:
        group = waiting.setdefault(width(example), [])
        group.append(example)
        if len(group) == max(1, budget // width(example)):
            yield waiting.pop(width(example))


def width(example: Example) -> int:
    """The length to which a sequence is padded: few different ones, for each costs memory on a processor."""
    return 32 * ceil(len(example.ids) / 32)


def tensors(batch: Sequence[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right, where a causal model can't look: ids and weights, (n, width)."""
    longest = max(map(width, batch))
    ids = torch.full((len(batch), longest), pad)
    weights = torch.zeros(len(batch), longest)
    for k, e in enumerate(batch):
        ids[k, : len(e.ids)] = torch.tensor(e.ids)
        weights[k, : len(e.ids)] = torch.tensor(e.weights)
    return ids, weights


def pretrain(model: Qwen2ForCausalLM, chat: Chat, recipe: Recipe) -> Iterator[Step]:
    """Train in place, short games first; yield after every step."""
    model.train()
    optimisers = new_optimisers(model, recipe)
    seen, began = 0, time.perf_counter()
    for k, batch in enumerate(lessons(chat, recipe), start=1):
        ids, weights = tensors(batch, chat.tokenizer.pad_token_id)
        for group in (g for o in optimisers for g in o.param_groups):
            group["lr"] = group["initial_lr"] * pace(seen / recipe.tokens, recipe.warmup)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            logits = model(input_ids=ids, use_cache=False).logits
        loss, accuracy = weighted_loss(logits, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen += sum(len(e.ids) for e in batch)
        yield Step(k, seen, loss.item(), accuracy.item(), time.perf_counter() - began)
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


def lessons(chat: Chat, recipe: Recipe) -> Iterator[list[Example]]:
    """Drills; then short games and longer ones, by good players, who show how to reason; then all, by good and bad."""
    rng = random.Random(f"lessons/{recipe.seed}")
    plan = (
        (drill_example(chat, rng, recipe.observed) for _ in count()),
        examples(rng, chat, recipe, short_game, SHARE_SHOWN),
        examples(rng, chat, recipe, longer_game, SHARE_SHOWN),
        examples(rng, chat, recipe, any_game, recipe.share_good),
    )
    for stream, share in zip(plan, (*recipe.shares, 1.0), strict=True):
        left = share * recipe.tokens
        for batch in batches(stream, recipe.batch_tokens):
            yield batch
            left -= sum(len(e.ids) for e in batch)
            if left <= 0:
                break


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


def vote_views(n: int, maker: Maker | None = None, seed: int = 1) -> list[tuple[list[Message], tuple[str, ...]]]:
    """Civilians' views up to the vote, each with its culprits; by games that no lesson shows."""
    rng, found = random.Random(f"votes/{seed}"), []
    started = (start(g, Mixture(1.0)) for g in games(rng, maker or default_game, n))
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
    """Make tokenizer and untrained model."""
    tokenizer = train_tokenizer(tokenizer_texts())
    return new_model(tokenizer, recipe), Chat(tokenizer)


def learn(
    recipe: Recipe, n_points: int = 12, n_views: int = 32, progress: bool = False
) -> tuple[Qwen2ForCausalLM, Chat, pd.DataFrame]:
    """Make a model from nothing; return it, its chat, and a table of what was learned when."""
    model, chat = make(recipe)
    exam, rows, since = vote_views(n_views), [], []
    with tqdm(total=recipe.tokens, unit="token", unit_scale=True, disable=not progress) as bar:
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
    return model, chat, pd.DataFrame(rows)
