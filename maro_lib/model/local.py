"""A model on this machine as a player: whatever waits is batched, and no view is read twice.

The keys and values of a view are kept between turns, and those of a beginning for all games that begin so: each
character's script is read once. A request's token ids are compared with those that were kept, and only what differs is
computed, so a kept prefix is right or not used. Rows of a batch end at the same column:

    kept keys and values | new tokens | sampled ...       (filled up on the left, masked, positions counted per row)

Each token is drawn by inverting the distribution function at a number that belongs to (game, player, turn), so what
else is in a batch changes nothing. Taught in notebook 02.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

import torch
from transformers.cache_utils import Cache, DynamicLayer

from maro_lib.model.chat import Chat
from maro_lib.model.grouped import grouped
from maro_lib.model.loading import Loaded
from maro_lib.play.policies import Reply, Request, WindowError
from maro_lib.world.protocol import Message

Key = tuple[str, int, str]  # game, player, salt
STRIP = 32  # columns that are read at a time, where rows differ in length
MAX_BATCH = {"cpu": 64, "cuda": 512}  # rows: a small model's tokens cost a GPU the same for one row and for hundreds
SUMMARY_PROMPT = 100  # tokens kept free for being asked to sum up


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn."""

    temperature: float = 1.0  # 0: always the likeliest token
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.max_new_tokens < 1:
            raise ValueError(f"{self}: temperature >= 0 and max_new_tokens >= 1 are needed")


@dataclass(eq=False)
class LocalPolicy:
    """A model that plays any number of seats."""

    loaded: Loaded
    sampling: Sampling = field(default_factory=Sampling)
    adapter: bool = True  # whether an adapter, if there is one, is used
    window: int = 0  # tokens; 0: as many as the model was made for
    max_batch: int = 0  # rows that are answered together; 0: as `MAX_BATCH` has it
    batch_tokens: int = 65_536  # rows of a batch times its width
    cache_gb: float = 1.0  # for kept keys and values; 0: nothing is kept
    rewriting_template: bool = False

    def __post_init__(self) -> None:
        self.chat = Chat(self.loaded.tokenizer, rewriting=self.rewriting_template)
        made_for = self.loaded.model.config.max_position_embeddings
        self.window = min(self.window or made_for, made_for)
        self.max_batch = self.max_batch or MAX_BATCH[self.loaded.device.type]
        self.store = Store(int(self.cache_gb * 2**30))

    @property
    def name(self) -> str:
        adapter = f"+{self.loaded.adapter}" if self.loaded.adapter and self.adapter else ""
        return f"{self.loaded.name}{adapter}({self.loaded.precision},T={self.sampling.temperature:g})"

    @property
    def fingerprint(self) -> str:
        """All that decides its replies: what was saved under it may be gone on from."""
        weights = self.loaded.fingerprint if self.adapter else self.loaded.base_fingerprint
        return f"{self.name} {weights} {self.sampling} {self.window}"

    def with_adapter(self, on: bool) -> LocalPolicy:
        """The same model with its adapter on or off; what is kept between turns is not shared."""
        return replace(self, adapter=on)

    def sharing(self, share: float) -> LocalPolicy:
        """The same player with a share of what it may keep of views; the rest is another's."""
        return replace(self, cache_gb=self.cache_gb * share)

    @property
    def room(self) -> int:
        """How many tokens a request may have, so that there is room for a reply, and for a summary after it."""
        return self.window - 2 * self.sampling.max_new_tokens - SUMMARY_PROMPT

    def check_window(self, views: Mapping[str, Sequence[Message]]) -> None:
        """Say which of these beginnings don't fit, before any game is played."""
        sizes = {who: len(self.chat.encode([*view[:1], Message("user", "")])) for who, view in views.items()}
        if long := {who: n for who, n in sizes.items() if n > self.room}:
            told = "; ".join(f"{who}: {n} tokens" for who, n in long.items())
            raise WindowError(
                f"{self.loaded.name}: its window of {self.window} tokens leaves {self.room} for a view (two replies of "
                f"{self.sampling.max_new_tokens} must fit beside it), but the script alone takes more: {told}. Take a "
                "model with a longer window, a larger `window`, shorter scripts, or a smaller `max_new_tokens`"
            )

    def fits(self, request: Request) -> bool:
        """Whether a request can be read and answered; a view without any reply must."""
        n = len(self._row(request).ids)
        if n > self.room and len(request.view) < 3:
            raise WindowError(f"{self.loaded.name}: {request.game}, {request.brief.me.name}: {n} tokens don't fit into "
                              f"{self.room} even in a new view; take a larger `window`")  # fmt: skip
        return n <= self.room

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests, in batches of like length."""
        rows = [self._row(r) for r in requests]
        replies: list[Reply | None] = [None] * len(rows)
        with torch.inference_mode(), self._model() as model:
            for batch in (batch for wave in self._waves(rows) for batch in self._batches(rows, wave)):
                for k, reply in zip(batch, self._answer(model, [rows[k] for k in batch]), strict=True):
                    replies[k] = reply
        return replies

    @contextlib.contextmanager
    def _model(self) -> Iterator[torch.nn.Module]:
        chosen = contextlib.nullcontext(self.loaded.active()) if self.adapter else self.loaded.base()
        with chosen as model, grouped(model):
            yield model

    def _row(self, request: Request) -> Row:
        """A request's token ids: the player's sequence so far, as it was sampled, and what is new."""
        said = _sequence(request) if self.chat.is_append_only else []
        if said:
            past = [i for r in said for i in (*r.seen_ids, *r.token_ids)]
            seen = self.chat.observe(said[-1].token_ids, request.view[-1].content)
        else:
            past, seen = [], self.chat.encode(request.view)
        return Row(request, [*past, *seen], seen, not said)

    def _waves(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """One row of each script that is not kept yet; then all others, which find their script read."""
        first = {row.beginning: k for k, row in reversed([*enumerate(rows)]) if row.opens}
        leading = [k for k in first.values() if self.store.budget and rows[k].beginning not in self.store]
        yield sorted(leading)
        yield sorted({*range(len(rows))} - {*leading})

    def _batches(self, rows: Sequence[Row], wave: Sequence[int]) -> Iterator[list[int]]:
        """Rows with about as many new tokens go together, as many as the bounds allow."""
        kept = {k: self.store.find(rows[k])[1] for k in wave}
        new = {k: len(rows[k].ids) - n for k, n in kept.items()}
        batch: list[int] = []
        for k in sorted(wave, key=new.__getitem__):
            widest = max(kept[j] for j in (*batch, k)) + new[k] + self.sampling.max_new_tokens
            if batch and (len(batch) == self.max_batch or widest * (len(batch) + 1) > self.batch_tokens):
                yield batch
                batch = []
            batch.append(k)
        if batch:
            yield batch

    def _answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Reply]:
        batch = Batch(model, [(r.ids, *self.store.find(r)) for r in rows])
        numbers = [r.request.rng("sample", r.request.t, r.request.salt) for r in rows]
        sampled = batch.sample(numbers, self.sampling, self.chat.stop_ids)
        for k, (row, said) in enumerate(zip(rows, sampled, strict=True)):
            self.store.keep(row, said.ids, batch, k)
        return [
            Reply(self.chat.text(said.ids), tuple(said.ids), tuple(said.logps), tuple(row.seen), row.opens)
            for row, said in zip(rows, sampled, strict=True)
        ]


def answers(loaded: Loaded, questions: Sequence[str], max_new_tokens: int = 32, max_batch: int = 64) -> list[str]:
    """Answer single questions outside any game, always with the likeliest token."""
    chat, said = Chat(loaded.tokenizer, rewriting=True), []
    with torch.inference_mode():
        for start in range(0, len(questions), max_batch):
            rows = [(chat.question(q), None, 0) for q in questions[start : start + max_batch]]
            batch = Batch(loaded.model, rows)
            said += batch.sample([Random(0)] * len(rows), Sampling(0.0, max_new_tokens), chat.stop_ids)
    return [chat.text(s.ids) for s in said]


class Row(NamedTuple):
    """A request as tokens."""

    request: Request
    ids: list[int]
    seen: list[int]  # the new ones among them
    opens: bool

    @property
    def key(self) -> Key:
        return self.request.game, self.request.player, self.request.salt

    @property
    def beginning(self) -> Key:
        """What all games have in common in which a player begins with this script."""
        return "", -1, self.request.view[0].content


def _sequence(request: Request) -> list[Reply]:
    """The replies that the sequence of this view was made of; none when they are not known as tokens."""
    n = sum(m.role == "assistant" for m in request.view)
    said = list(request.said[len(request.said) - n :]) if n <= len(request.said) else []
    exact = said and said[0].opens and all(r.token_ids is not None for r in said)
    return said if exact and not any(r.opens for r in said[1:]) else []


# --- what is kept between turns ----------------------------------------------------------------------


@dataclass
class Kept:
    """Keys and values of the tokens `ids`, in a buffer that has room for more: (layers, 2, heads, tokens, size)."""

    ids: list[int]
    buffer: torch.Tensor

    def shared(self, ids: Sequence[int]) -> int:
        """How many of the first tokens are the same; the last one is always read anew, to predict the next."""
        n = min(len(self.ids), len(ids) - 1)
        if self.ids[:n] == ids[:n]:
            return n
        return next(k for k in range(n) if self.ids[k] != ids[k])


class Store:
    """Views' keys and values, the longest unused dropped when there are too many."""

    def __init__(self, budget: int):
        self.budget, self.used = budget, 0
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def find(self, row: Row) -> tuple[Kept | None, int]:
        """What is kept of a row's view (or of one that it was forked from, or began like), and how much that covers."""
        keys = [key for key in (row.key, (*row.key[:2], ""), row.beginning) if key in self._kept]
        sizes = [self._kept[key].shared(row.ids) for key in keys]
        if not any(sizes):
            return None, 0
        best = sizes.index(max(sizes))
        self._kept.move_to_end(keys[best])
        return self._kept[keys[best]], sizes[best]

    def keep(self, row: Row, said: list[int], batch: Batch, place: int) -> None:
        """Keep a row of a batch; of the first one that begins with a script also what it began with."""
        if self.budget:
            self._keep(row.key, [*row.ids, *said], batch, place)
        if self.budget and row.opens and row.beginning not in self and row.key in self:
            buffer = self._kept[row.key].buffer[..., : len(row.ids), :].clone()
            self._kept[row.beginning] = Kept(row.ids, buffer)
            self._make_room(_size(buffer))

    def _keep(self, key: Key, ids: list[int], batch: Batch, row: int) -> None:
        n_before, n = batch.n_kept[row], batch.n_kept[row] + batch.computed(row).shape[-2]
        old = self._kept.pop(key, None)
        if old and old.ids[:n_before] == ids[:n_before] and old.buffer.shape[-2] >= n:
            buffer = old.buffer
            buffer[..., n_before:n, :] = batch.computed(row)
        else:
            whole = torch.cat((batch.kept(row), batch.computed(row)), dim=-2)
            buffer = whole.new_empty((*whole.shape[:-2], n + n // 2, whole.shape[-1]))
            buffer[..., :n, :] = whole
            self.used += _size(buffer) - (_size(old.buffer) if old else 0)
        self._kept[key] = Kept(ids[:n], buffer)
        self._make_room(0)

    def _make_room(self, more: int) -> None:
        """Drop what was unused for longest, until all is within the budget."""
        self.used += more
        while self.used > self.budget:
            self.used -= _size(self._kept.popitem(last=False)[1].buffer)


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# --- one batch ---------------------------------------------------------------------------------------


class Growing(DynamicLayer):
    """One layer's keys and values of a batch, in a buffer that is written in place instead of copied at each token."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, n: int):
        super().__init__()
        self.keys, self.values, self.n = keys, values, n
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor, ...]:
        start, self.n = self.n, self.n + key_states.shape[-2]
        self.keys[:, :, start : self.n] = key_states
        self.values[:, :, start : self.n] = value_states
        return self.keys[:, :, : self.n], self.values[:, :, : self.n]

    def get_seq_length(self) -> int:
        return self.n


@dataclass
class Said:
    """Tokens sampled for one row, and their log-probabilities."""

    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)


class Batch:
    """Rows that are read and answered together; what was kept of each is copied in, right before what is new."""

    def __init__(self, model: torch.nn.Module, rows: Sequence[tuple[list[int], Kept | None, int]]):
        self.model, self.n_kept = model, [n for *_, n in rows]
        self.new = [ids[n:] for ids, _, n in rows]
        self._rows = [(kept, n) for _, kept, n in rows]
        self._alive = sorted(range(len(rows)), key=lambda k: -len(self.new[k]))  # which row is at which place
        self._done: dict[int, torch.Tensor] = {}  # what was computed for rows that have left the batch
        self._said = [Said() for _ in rows]
        self._width = max(self.n_kept), max(map(len, self.new))  # columns of the first two parts

    def sample(self, numbers: Sequence[Random], sampling: Sampling, stop_ids: frozenset[int]) -> list[Said]:
        """Read what is new and draw tokens, each row by its own numbers, until every row has ended its turn."""
        self._allocate(sampling.max_new_tokens)
        logits = self._read_new()
        for _ in range(sampling.max_new_tokens):
            u = [numbers[k].random() for k in self._alive]
            ids, logps = draw(logits, u, sampling.temperature)
            active = [p for p, k in enumerate(self._alive) if not self._ended(k, stop_ids)]
            for p in active:
                self._said[self._alive[p]].ids.append(ids[p])
                self._said[self._alive[p]].logps.append(logps[p])
            active = [p for p in active if not self._ended(self._alive[p], stop_ids)]
            if not active or len(self._said[self._alive[active[0]]].ids) == sampling.max_new_tokens:
                break
            if 2 * len(active) <= len(self._alive):
                self._leave(active)
                ids = [ids[p] for p in active]
            logits = self._forward(torch.tensor(ids)[:, None], self._lengths()[:, None])
        return self._said

    def kept(self, row: int) -> torch.Tensor:
        """Keys and values that were there before: (layers, 2, heads, tokens, size)."""
        kept, n = self._rows[row]
        return kept.buffer[..., :n, :] if kept else self._buffer[:, :, 0, :, :0]

    def computed(self, row: int) -> torch.Tensor:
        """Keys and values that were computed for a row: of what was new, and of all sampled tokens but the last."""
        if row not in self._done:
            place = self._alive.index(row)
            begin = sum(self._width)
            end = begin + len(self._said[row].ids) - 1
            self._done[row] = self._buffer[:, :, place, :, begin - len(self.new[row]) : end].clone()
        return self._done[row]

    def _ended(self, row: int, stop_ids: frozenset[int]) -> bool:
        return bool(self._said[row].ids) and self._said[row].ids[-1] in stop_ids

    def _allocate(self, n_more: int) -> None:
        """Make the buffer and the mask, and copy in what is kept."""
        config, (before, new) = self.model.config, self._width
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, len(self.new), config.num_key_value_heads, before + new + n_more, size)
        self._buffer = torch.zeros(shape, dtype=self.model.dtype, device=self.model.device)
        self._mask = torch.ones(len(self.new), shape[4], dtype=torch.bool)
        for place, row in enumerate(self._alive):
            kept, n = self._rows[row]
            if kept:
                self._buffer[:, :, place, :, before - n : before] = kept.buffer[..., :n, :]
            self._mask[place, : before - n] = False
            self._mask[place, before : before + new - len(self.new[row])] = False

    def _cache_over(self, n: int, rows: int) -> Cache:
        """What is known of the first rows, up to a column."""
        return Cache(layers=[Growing(layer[0, :rows], layer[1, :rows], n) for layer in self._buffer])

    def _read_new(self) -> torch.Tensor:
        """Read what is new, filled up on the left: strip by strip, each for the rows alone that have tokens there."""
        (before, width), sizes = self._width, [len(self.new[k]) for k in self._alive]
        ids = torch.zeros(len(sizes), width, dtype=torch.long)
        positions = torch.zeros_like(ids)
        for place, row in enumerate(self._alive):
            n, new = self.n_kept[row], self.new[row]
            ids[place, width - len(new) :] = torch.tensor(new)
            positions[place, width - len(new) :] = torch.arange(n, n + len(new))
        for rows, begin, end in strips(sizes):
            self._cache = self._cache_over(before + begin, rows)
            logits = self._forward(ids[:rows, begin:end], positions[:rows, begin:end])
        return logits

    def _lengths(self) -> torch.Tensor:
        """The position of each row's last sampled token."""
        return torch.tensor([self.n_kept[k] + len(self.new[k]) + len(self._said[k].ids) - 1 for k in self._alive])

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read one more piece of every row; return the logits after its last token."""
        n, device = self._cache.get_seq_length() + ids.shape[1], self.model.device
        last = torch.tensor([ids.shape[1] - 1])  # not 1: of a slice, torch copies the head's weights for every row
        return self.model(
            input_ids=ids.to(device), position_ids=positions.to(device), past_key_values=self._cache, use_cache=True,
            attention_mask=self._mask[: len(ids), :n].to(device), logits_to_keep=last,
        ).logits[:, -1]  # fmt: skip

    def _leave(self, stay: list[int]) -> None:
        """Let rows that have ended leave the batch: the others need not wait for them."""
        for place, row in enumerate(self._alive):
            if place not in stay:
                self.computed(row)
        n = self._cache.get_seq_length()
        self._alive = [self._alive[p] for p in stay]
        self._buffer, self._mask = self._buffer[:, :, stay], self._mask[stay]
        self._cache = self._cache_over(n, len(stay))


def strips(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Cut columns into strips (rows, begin, end), given the rows' sizes, largest first, all aligned on the right."""
    width = sizes[0]
    cuts = [*range(width % STRIP, width, STRIP), width]
    rows = [sum(size > width - cut for size in sizes) for cut in cuts]
    begin = 0
    for k, (n, cut) in enumerate(zip(rows, cuts, strict=True)):
        if k + 1 == len(cuts) or (cut and rows[k + 1] > n):
            yield n, begin, cut
            begin = cut


def draw(logits: torch.Tensor, u: Sequence[float], temperature: float) -> tuple[list[int], list[float]]:
    """Draw one token per row where its distribution function passes `u`; return tokens and their log-probabilities."""
    exact = logits.double() if logits.dtype == torch.double else logits.float()
    logps = torch.log_softmax(exact / (temperature or 1.0), dim=-1)  # (rows, vocabulary)
    if temperature == 0:
        ids = logps.argmax(-1)
    else:
        below = logps.double().exp().cumsum(-1)
        target = torch.tensor(u, dtype=torch.double, device=logits.device)[:, None] * below[:, -1:]
        ids = torch.searchsorted(below, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return ids.tolist(), logps.gather(1, ids[:, None])[:, 0].tolist()
