"""How a chat becomes token ids, once and for all: ids = ids so far + what was observed + what was sampled.

A chat template is taken apart into the pieces that it puts around messages. Pieces are encoded with their special
tokens, what anybody wrote is encoded as plain text: nobody's words can end a turn or begin another's. What a model
sampled is never encoded again, so playing can reuse a prefix and training sees the very tokens that were sampled.

A template that rewrites earlier turns (or shows a reply otherwise than it was prompted for) breaks that: it is
detected here, when a tokenizer is taken into use. Taught in notebooks 00 and 02.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maro_lib.world.protocol import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINK_END = "</think>"


class TemplateError(ValueError):
    """A chat template can't be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Pieces:
    """What an append-only template writes: head, system, mid, user, ask, reply, turn, user, ask, reply, ..."""

    head: str
    mid: str
    ask: str
    turn: str


class Chat:
    """One tokenizer's way to write a chat."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, rewriting: bool = False):
        """Take the template apart; one that rewrites history is refused unless `rewriting` allows it."""
        self.tokenizer = tokenizer
        self.pieces, why = take_apart(tokenizer)
        if self.pieces is None and not rewriting:
            raise TemplateError(
                f"{tokenizer.name_or_path}: {why}. A view then can't be one growing sequence: set "
                "`rewriting_template: true` to play with a freshly rendered view, and one training row, per action"
            )
        self.note = f"{tokenizer.name_or_path}: {why}; every action is rendered anew" if why else ""
        self.stop_ids = self._stop_ids()
        pieces = self.pieces or Pieces("", "", "", "")
        self._head, self._mid, self._ask = map(self._template_ids, (pieces.head, pieces.mid, pieces.ask))
        turn = self._template_ids(pieces.turn)
        self._turn, self._after_stop = turn, turn[1:] if turn[:1] and turn[0] in self.stop_ids else turn

    @property
    def is_append_only(self) -> bool:
        """Whether what was written stays as it was while the chat grows."""
        return self.pieces is not None

    def encode(self, view: Sequence[Message]) -> list[int]:
        """Encode a chat that ends with a user's message, up to where the reply begins."""
        if not self.is_append_only:
            return self._render(view)
        ids = [*self._head, *self.text_ids(view[0].content)]
        for k, message in enumerate(view[1:]):
            if message.role == "assistant":
                ids += self.text_ids(message.content)
            else:
                ids += [*(self._turn if k else self._mid), *self.text_ids(message.content), *self._ask]
        return ids

    def observe(self, said: Sequence[int], content: str) -> list[int]:
        """Encode what follows a sampled reply: the rest of its turn, the next user's message, the next prompt."""
        closed = bool(said) and said[-1] in self.stop_ids
        return [*(self._after_stop if closed else self._turn), *self.text_ids(content), *self._ask]

    def question(self, text: str) -> list[int]:
        """Encode a single question outside any game: no system message, one user's message, the prompt for a reply."""
        before, _, after = _render(self.tokenizer, ["user"], [_mark(0)]).partition(_mark(0))
        return [*self._template_ids(before), *self.text_ids(text), *self._template_ids(after)]

    def text_ids(self, text: str) -> list[int]:
        """Encode somebody's words; special tokens in them are plain text."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def text(self, ids: Sequence[int]) -> str:
        """Decode a sampled reply: without the stop token, and without a reasoning model's thoughts."""
        kept = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        return spoken(self.tokenizer.decode(list(kept), skip_special_tokens=False))

    def _template_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _render(self, view: Sequence[Message]) -> list[int]:
        """Render the whole view with stand-ins for the words, then encode scaffold and words apart."""
        marks = [_mark(k) for k in range(len(view))]
        rest, ids = _render(self.tokenizer, [m.role for m in view], marks), []
        for mark, message in zip(marks, view, strict=True):
            before, found, rest_after = rest.partition(mark)
            if not found:
                continue  # the template leaves this message out
            ids += [*self._template_ids(before), *self.text_ids(message.content)]
            rest = rest_after
        return [*ids, *self._template_ids(rest)]

    @property
    def stop_id(self) -> int:
        """The token with which a reply ends when it is written down from its text."""
        return self._turn[0] if self._turn and self._turn[0] in self.stop_ids else self.tokenizer.eos_token_id

    def _stop_ids(self) -> frozenset[int]:
        """The tokens that end a reply: the tokenizer's own, and the special one with which the template ends it."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        turn = self._template_ids(self.pieces.turn)[:1] if self.pieces else []
        return frozenset({self.tokenizer.eos_token_id, *(i for i in turn if i in special)} - {None})


def spoken(text: str) -> str:
    """What of a reply is said aloud: thoughts that a reasoning model writes before are not."""
    return text.rpartition(THINK_END)[2].strip()


def take_apart(tokenizer: PreTrainedTokenizerBase) -> tuple[Pieces | None, str]:
    """Return a template's pieces, or None and why it has none: what it writes does not only grow."""
    roles, marks = ["system", *["user", "assistant"] * 3], [_mark(k) for k in range(7)]
    *shorter, whole = (_render(tokenizer, roles[:n], marks[:n]) for n in (2, 4, 6))
    parts, rest = [], whole
    for mark in marks[:6]:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            return None, "its chat template leaves out or repeats what was said"
        parts.append(before)
    parts.append(rest)
    for text in shorter:
        if not whole.startswith(text):
            return None, "its chat template rewrites earlier turns, or shows a reply otherwise than it asked for it"
    if (parts[2], parts[3]) != (parts[4], parts[5]) or parts[6] != parts[2]:
        return None, "its chat template writes later turns otherwise than the first"
    return Pieces(parts[0], parts[1], parts[2], parts[3]), ""


def _mark(k: int) -> str:
    return f"Xmark{k}X"


def _render(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str], texts: Sequence[str]) -> str:
    """Render messages up to the next reply; the date that some templates print is fixed."""
    chat = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    if not tokenizer.chat_template:
        raise TemplateError(f"{tokenizer.name_or_path}: has no chat template; take a chat (instruct) model")
    try:
        return tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
        )
    except Exception as error:  # a template is a program; it may raise anything
        raise TemplateError(f"{tokenizer.name_or_path}: its chat template fails: {error}") from error
