"""Any OpenAI-compatible server as a player: vLLM, SGLang, transformers serve, llama.cpp, hosted ones.

Where the server returns token ids and log-probs (vLLM: `return_token_ids`), a reply carries them as sampled: they are
the server's own rendering of the chat, and where that begins with what the player read and said before, its replies
are one growing sequence. Where there are none, a reply is a text, and training tokenises it again.

Sampling is seeded per game, player and reply. How many requests are under way, how often each is tried and what
becomes of them when the server is down: `maro_lib.model.endpoint`. Taught in notebook 02.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maro_lib.model.adapter_files import AdapterError, read_adapter
from maro_lib.model.chat import spoken
from maro_lib.model.endpoint import Endpoint, Refused, ServerError, Unreached, error_message
from maro_lib.play.policies import Reply, Request, WindowError
from maro_lib.world.protocol import Message

# What not every server accepts: without it playing goes on, and `note` says what is missing.
PLAIN_SAMPLING = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # else a model's own defaults filter
OPTIONAL = ({"return_token_ids": True} | PLAIN_SAMPLING, {"logprobs": True}, {"seed": 0}, {"top_p": 1.0})

_SPECIAL = re.compile(r"<(?=[|｜/<]|[^\W_]*+_\w*+>|(?:s|bos|eos|pad|unk|mask)>)|\[(?=/?[A-Z][A-Z_]+\])")


class ServerPolicy:
    """A model on a server. Its name says which model plays and how, not where: a run may go on with another host."""

    def __init__(
        self, url: str, model: str, *, concurrency: int = 32, timeout: float = 120.0, retries: int = 6,
        max_new_tokens: int = 256, temperature: float = 1.0, window: int | None = None, key_env: str = "OPENAI_API_KEY",
        adapter: str = "", backoff: float = 0.5,
    ):  # fmt: skip
        """Ask `model` (or its `adapter`, by the name it was loaded with); `backoff` is the first pause in seconds."""
        if concurrency < 1 or retries < 0 or timeout <= 0 or max_new_tokens < 1:
            raise ValueError("server: concurrency >= 1, retries >= 0, timeout > 0 and max_new_tokens >= 1 are needed")
        self.model, self.adapter, self.temperature = model, adapter, temperature
        self.max_new_tokens, self.window = max_new_tokens, window
        self._endpoint = Endpoint(url, key_env, timeout, concurrency, retries, backoff)
        self._probing: asyncio.Task[_Fields] | None = None

    @property
    def name(self) -> str:
        model = f"{self.model}+{self.adapter}" if self.adapter else self.model
        window = f",window={self.window}" if self.window else ""
        return f"server({model},temperature={self.temperature:g},max_new_tokens={self.max_new_tokens}{window})"

    def __repr__(self) -> str:
        return f"<{self.name} at {self._endpoint.url}>"

    @property
    def note(self) -> str:
        """What this server does not give, in one line; it is asked once, by the first request or here."""
        return self._endpoint.run(self._fields()).result().note(self.temperature)

    def submit(self, request: Request) -> Future[Reply]:
        """Ask for one reply; it comes in its own time."""
        return self._endpoint.run(self._reply(request))

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask for replies to all requests, and wait for them."""
        futures = [self.submit(r) for r in requests]
        try:
            return [f.result() for f in futures]
        finally:
            for f in futures:
                f.cancel()

    def close(self) -> None:
        """Give up what is under way, and end the connections."""
        self._endpoint.close()
        self._probing = None

    # --- the window: counted from ids where there are any, else estimated from characters --------------

    def check_window(self, views: Mapping[str, Sequence[Message]]) -> None:
        """Raise if somebody's first view, a reply to it, and a summary of both would not fit."""
        for who, view in views.items():
            if self.window and (n := estimate_tokens(view) + self._room) > self.window:
                raise WindowError(
                    f"{who}: the game begins with a view of about {n - self._room} tokens (estimated); with room for a "
                    f"reply and a summary {n} are needed, but {self.name} reads {self.window}. Serve the model with a "
                    "longer context and raise `window`, lower `max_new_tokens`, or play shorter scripts"
                )

    def fits(self, request: Request) -> bool:
        """Whether the view, a reply, and later a summary of both fit into the window."""
        if not self.window or request.prompt.phase == "summary":
            return True
        n, shortest = _view_tokens(request), len(request.view) < 3  # nothing there that could be summed up
        if shortest and n + self.max_new_tokens > self.window:
            raise WindowError(
                f"{request.game}, player {request.player}: even a view that begins with a summary has some {n} tokens; "
                f"{self.name} reads {self.window}, {self.max_new_tokens} of them for the reply; raise `window`"
            )
        return shortest or n + self._room <= self.window

    @property
    def _room(self) -> int:
        """Tokens to keep free: a reply, the request for a summary, and the summary."""
        return 2 * self.max_new_tokens + 128

    # --- one reply -------------------------------------------------------------------------------------

    async def _reply(self, request: Request) -> Reply:
        seed = request.rng().randrange(2**31)
        chat = [{"role": m.role, "content": defuse(m.content)} for m in request.view]
        try:
            fields = await self._fields()
            answer = await self._ask(fields, chat, self.max_new_tokens, seed)
        except WindowError as error:
            raise WindowError(f"{request.game}, player {request.player}, reply {request.t}: {error}") from None
        return _read_reply(answer, request)

    async def _ask(self, fields: _Fields, chat: list[dict[str, str]], n: int, seed: int) -> dict:
        body = {"model": self.adapter or self.model, "messages": chat, "temperature": self.temperature, fields.limit: n}
        body |= fields.optional | ({"seed": seed} if "seed" in fields.optional else {})
        return await self._endpoint.chat(body, random.Random(f"pauses/{seed}"))

    async def _fields(self) -> _Fields:
        """Find out once what the server accepts; who asks meanwhile waits, and fails with it."""
        if self._probing is None:
            self._probing = asyncio.ensure_future(self._probe())
            self._probing.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be left
        probing = self._probing
        try:
            return await asyncio.shield(probing)  # one request given up does not end it for the others
        except (ServerError, WindowError) as error:
            if self._probing is probing:
                self._probing = None  # who comes later tries anew
            raise type(error)(str(error)) from None

    async def _probe(self) -> _Fields:
        """Ask for one token with everything, then without what the server refuses."""
        fields = _Fields({k: v for group in OPTIONAL for k, v in group.items()})
        while True:
            try:
                answer = await self._ask(fields, [{"role": "user", "content": "Hi"}], 1, 0)
            except Refused as refused:
                fields = fields.without(str(refused))
            else:
                return fields.returned(answer)


@dataclass(frozen=True)
class _Fields:
    """What a server accepts beyond the chat itself, and what it gives for that."""

    optional: Mapping[str, Any]
    limit: str = "max_tokens"
    missing: tuple[str, ...] = ("token ids", "log-probs")

    def without(self, why: str) -> _Fields:
        """Leave out what a refusal names, else the next group; with nothing left to leave out, the refusal stands."""
        if self.limit == "max_tokens" and "max_completion_tokens" in why:
            return replace(self, limit="max_completion_tokens")  # hosted reasoning models
        named = {name for name in self.optional if re.search(rf"\b{name}\b", why)}
        group = named or next((group.keys() for group in OPTIONAL if group.keys() & self.optional.keys()), None)
        if group is None:
            raise ServerError(why)
        return replace(self, optional={k: v for k, v in self.optional.items() if k not in group})

    def returned(self, answer: dict) -> _Fields:
        """Look at what came back; ask no more for what leads to nothing."""
        if _read_ids(answer):
            return replace(self, missing=())
        useless = ("return_token_ids", "logprobs")
        missing = ("log-probs",) if _are_ids(answer["choices"][0].get("token_ids")) else self.missing
        return replace(self, missing=missing, optional={k: v for k, v in self.optional.items() if k not in useless})

    def note(self, temperature: float) -> str:
        says = []
        if self.missing:
            says.append(f"no {' and no '.join(self.missing)}: training will tokenise the text again")
        elif temperature != 1:
            says.append("log-probs are those of the sampling only with vLLM's --logprobs-mode processed_logprobs")
        if "seed" not in self.optional:
            says.append("no seed: another run gets other replies")
        if left := [name for name in ("top_p", *PLAIN_SAMPLING) if name not in self.optional]:
            says.append(f"the server's own {', '.join(left)} hold: they are not accepted")
        return "; ".join(says)


# --- what comes back ---------------------------------------------------------------------------------


def _read_reply(answer: dict, request: Request) -> Reply:
    text = spoken(answer["choices"][0]["message"].get("content") or "")
    if (ids := _read_ids(answer)) is None:
        return Reply(text)
    prompt, sampled, logps = ids
    so_far = _sequence(request)
    grows = bool(so_far) and prompt[: len(so_far)] == so_far
    return Reply(text, sampled, logps, prompt[len(so_far) :] if grows else prompt, opens=not grows)


def _read_ids(answer: dict) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]] | None:
    """Return the ids of the prompt, those sampled, and their log-probs, if all are there and belong together."""
    choice = answer["choices"][0]
    prompt, sampled = answer.get("prompt_token_ids"), choice.get("token_ids")
    try:
        logps = [token["logprob"] for token in choice["logprobs"]["content"]]
    except (KeyError, TypeError):
        return None
    if not (_are_ids(prompt) and _are_ids(sampled) and len(sampled) == len(logps)):
        return None
    if not all(type(x) in (int, float) and math.isfinite(x) for x in logps):
        return None
    return tuple(prompt), tuple(sampled), tuple(map(float, logps))


def _are_ids(ids: object) -> bool:
    return isinstance(ids, list) and bool(ids) and all(type(i) is int and 0 <= i < 2**31 for i in ids)


def _sequence(request: Request) -> tuple[int, ...]:
    """The ids of the sequence that a player's last replies are; empty if the last one has none."""
    ids: list[tuple[int, ...]] = []
    for reply in reversed(request.said):
        if reply.token_ids is None:
            return ()
        ids += [reply.token_ids, reply.seen_ids]
        if reply.opens:
            return tuple(i for part in reversed(ids) for i in part)
    return ()


# --- what goes out -----------------------------------------------------------------------------------


def defuse(text: str) -> str:
    """Break what a server would read as a special token (`<|im_end|>`, `</s>`, `[INST]`), as far as it can be told.

    A server tokenises the whole chat at once: what is spelled like the end of a turn would end one. Locally this is
    exact (`maro_lib.model.chat`); here it goes by the common spellings.
    """
    return _SPECIAL.sub(r"\g<0> ", text)


def estimate_tokens(view: Sequence[Message]) -> int:
    """Estimate a view's tokens, rather too many: three letters each, two for any other sign, eight per message."""
    text = "".join(m.content for m in view)
    n_ascii = sum(map(str.isascii, text))
    return math.ceil(n_ascii / 3) + 2 * (len(text) - n_ascii) + 8 * len(view)


def _view_tokens(request: Request) -> int:
    """Count what the server counted (prompt and reply of the last turn), estimate only what is new since."""
    n_replies = sum(m.role == "assistant" for m in request.view)
    known = len(_sequence(request)) if n_replies else 0  # without a reply in it, this view is new
    return known + estimate_tokens(request.view[-1:]) if known else estimate_tokens(request.view)


# --- adapters on vLLM --------------------------------------------------------------------------------


def load_adapter(url: str, name: str, path: str, *, key_env: str = "OPENAI_API_KEY", timeout: float = 120.0) -> None:
    """Have a vLLM server load a LoRA adapter; `name` is then a model's name. A new version needs a new name.

    A folder that is here, too, is checked first; only the server knows the base.
    """
    if Path(path).is_dir():
        try:
            read_adapter(Path(path))
        except AdapterError as error:
            raise ServerError(f"adapter `{name}` is not loaded: {path}: {error}") from None
    _change_adapter("load", url, {"lora_name": name, "lora_path": str(path)}, key_env, timeout)


def unload_adapter(url: str, name: str, *, key_env: str = "OPENAI_API_KEY", timeout: float = 120.0) -> None:
    """Have a vLLM server forget a LoRA adapter."""
    _change_adapter("unload", url, {"lora_name": name}, key_env, timeout)


def _change_adapter(verb: str, url: str, body: Mapping[str, str], key_env: str, timeout: float) -> None:
    endpoint = Endpoint(url, key_env, timeout)
    what = f"{endpoint.url}: adapter `{body['lora_name']}` can't be {verb}ed"
    try:
        answer = endpoint.ask_once(f"/v1/{verb}_lora_adapter", body)
    except Unreached as error:
        raise ServerError(f"{what}: {error}") from None
    if answer.status == 200:
        return
    why = error_message(answer)
    if answer.status in (404, 405) and "adapter" not in why.lower():  # vLLM has this page only when told to
        raise ServerError(f"{what}: the server changes no adapters while it runs; start vLLM with --enable-lora and "
                          "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment")  # fmt: skip
    raise ServerError(f"{what}: status {answer.status}: {why}")
