"""One HTTP server, asked many things at once, with bounds on everything: attempts, time, bytes, pauses.

Every request is a task on one event loop in a thread of its own, at most `concurrency` of them at once. An attempt has
a deadline for all of it and a bound on what is read: neither a byte a minute nor an endless answer holds up a run. What
may pass (429, 5xx, a broken connection or answer) is tried again after growing pauses; what won't is an error at once.
When one request has used up its attempts and no other was answered meanwhile, the server is down, and whatever
waits for it fails with it instead of each going through its own attempts.

The key is read from the environment when a request is signed, and kept in no variable. httpx is the client because
jupyterlab brings it already; the `openai` package wraps the same httpx, and its retries and timeouts (per read, not for
the whole) are not the ones wanted here. Used by `maro_lib.model.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from maro_lib.play.policies import WindowError
from maro_lib.strict_json import read_json

MAX_BYTES = 8 * 2**20  # of one answer; 32,000 token ids and as many log-probs are under 6 MB
LONGEST_PAUSE = 60.0  # seconds between two attempts, whatever the server asks for
CONNECT = 10.0  # seconds to reach the server at all

_TOO_LONG = re.compile(r"context.{0,9}(length|window|size)|maximum (context|model) len|prompt is too long", re.I)


class ServerError(RuntimeError):
    """A server gave no usable answer; the message says which, what was tried, why it failed, and the way on."""


class Refused(ServerError):
    """A server does not accept the form of a request (400, 422)."""


class Unreached(Exception):
    """One attempt came to nothing, in a way that may pass; `pause` is what the server asks for."""

    def __init__(self, reason: str, pause: float = 0.0):
        super().__init__(reason)
        self.pause = pause


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """A server's address, and the event loop on which it is asked."""

    def __init__(
        self, url: str, key_env: str, timeout: float, concurrency: int = 1, retries: int = 0, backoff: float = 0.5
    ):
        self.url, self.key_env, self.timeout = base_url(url), key_env, timeout
        self.concurrency, self.retries, self.backoff = concurrency, retries, backoff
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine) -> Future:
        """Start something on the loop."""
        with self._lock:
            if self._loop is None:
                self._begin()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def ask_once(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Get a page, or post something there; end the connection when the answer has come."""
        try:
            return self.run(self.exchange(path, body)).result()
        finally:
            self.close()

    def _begin(self) -> None:
        self._loop, self._client = asyncio.new_event_loop(), _new_client(self.url)
        self._places = asyncio.Semaphore(self.concurrency)
        self._answered = 0  # answers to anybody
        self._down = self._loop.create_future()  # gets a reason: then whatever waits now fails for it
        threading.Thread(target=_run_loop, args=(self._loop, self._client), name="server", daemon=True).start()
        self._end = weakref.finalize(self, _stop_loop, self._loop)

    def close(self) -> None:
        """Give up what is under way, and end the connections."""
        with self._lock:
            if self._loop is not None:
                self._end()
                self._loop = None

    async def chat(self, body: Mapping[str, Any], rng: random.Random) -> dict:
        """Ask for a reply until there is one, unless the server turns out to be down meanwhile."""
        down, work = self._down, asyncio.ensure_future(self._attempts(body, rng))
        try:
            await asyncio.wait({down, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise ServerError(down.result())
        finally:
            work.cancel()

    async def _attempts(self, body: Mapping[str, Any], rng: random.Random) -> dict:
        async with self._places:
            began, answered, reasons = time.monotonic(), self._answered, []
            for k in range(self.retries + 1):
                try:
                    answer = await self._attempt(body)
                except Unreached as error:
                    reasons.append(str(error))
                    if k < self.retries:
                        wanted = max(self.backoff * 2**k * (0.5 + rng.random() / 2), error.pause)
                        await asyncio.sleep(min(wanted, LONGEST_PAUSE))
                else:
                    self._answered += 1
                    return answer
        why = self._given_up(body["model"], reasons, time.monotonic() - began)
        if answered == self._answered and not self._down.done():  # nobody else got through meanwhile
            self._down.set_result(why)
            self._down = self._loop.create_future()  # who comes later tries anew
        raise ServerError(why)

    async def _attempt(self, body: Mapping[str, Any]) -> dict:
        answer = await self.exchange("/v1/chat/completions", body)
        status, message = answer.status, "" if answer.status == 200 else error_message(answer)
        if status == 200:
            return _check_answer(answer.body)
        if status in (408, 409, 425, 429) or status >= 500:
            raise Unreached(f"status {status} ({message})", _retry_after(answer.headers))
        why = f"{self.url}: model `{body['model']}`: status {status}: {message}"
        if status in (400, 413, 422) and _TOO_LONG.search(message):
            raise WindowError(f"{why}. The view outgrew the server's context: set `window` to its length, and a "
                              "character sums up what it knows before that")  # fmt: skip
        if status in (401, 403):
            why += f". The key is read from the environment variable {self.key_env or '(none: `key_env` is empty)'}"
        if 300 <= status < 400:
            why += ". Redirects are not followed: give the address where the server really is"
        raise (Refused if status in (400, 422) else ServerError)(why)

    async def exchange(self, path: str, body: Mapping[str, Any] | None) -> Answer:
        """Post one thing (or nothing) and read the answer: both within the deadline, and no more than MAX_BYTES."""
        content = None if body is None else json.dumps(body).encode()  # ASCII: a lone surrogate breaks nothing
        try:
            async with asyncio.timeout(self.timeout):
                return await self._send(path, content)
        except TimeoutError:
            failed = f"no whole answer within {self.timeout:g} s"
        except httpx.ConnectTimeout:
            failed = f"not reached within {CONNECT:g} s"
        except httpx.ConnectError as error:
            failed = f"can't connect ({_one_line(str(error))})"
        except httpx.HTTPError as error:
            failed = f"the connection broke ({type(error).__name__})"
        raise Unreached(failed)  # here, where no httpx error (it knows the key) is its context

    async def _send(self, path: str, content: bytes | None) -> Answer:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream(
            "GET" if content is None else "POST", self.url + path, content=content, headers=headers, auth=self._sign
        ) as response:
            data = bytearray()
            async for part in response.aiter_raw():  # as it came: what is compressed all the same is no JSON
                data += part
                if len(data) > MAX_BYTES:
                    raise Unreached(f"an answer of more than {MAX_BYTES // 2**20} MB")
            if self._key():
                data = data.replace(self._key().encode(), b"[key]")  # a server may repeat it, and errors repeat that
            return Answer(response.status_code, response.headers, bytes(data))

    def _sign(self, request: httpx.Request) -> httpx.Request:
        if self._key():
            request.headers["Authorization"] = f"Bearer {self._key()}"
        return request

    def _key(self) -> str:
        """Read the key; no variable holds it, so that no traceback can show one."""
        if not self.key_env:
            return ""
        if not re.fullmatch(r"[\x21-\x7e]*", os.environ.get(self.key_env, "").strip()):
            raise ServerError(f"{self.url}: what the environment variable {self.key_env} holds can't be a key: "
                              "there is a space, a line's end or a typographic sign in it")  # fmt: skip
        return os.environ.get(self.key_env, "").strip()

    def _given_up(self, model: str, reasons: Sequence[str], seconds: float) -> str:
        counts = "; ".join(f"{n} x {reason}" for reason, n in Counter(reasons).most_common(4))
        return (
            f"{self.url}: model `{model}` gave no answer in {len(reasons)} attempts over {seconds:.0f} s: {counts}; "
            f"the last: {reasons[-1]}. Finished games are saved: when the server answers again, the same command goes "
            "on from there"
        )


def base_url(url: str) -> str:
    """Return a server's address without `/v1`; refuse one that could not be meant, or that holds a password."""
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError("server_url: an address must hold no key or password; put it into an environment variable")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"server_url: {url!r}; an address like http://localhost:8000 is needed")
    return url.rstrip("/").removesuffix("/v1")


def _run_loop(loop: asyncio.AbstractEventLoop, client: httpx.AsyncClient) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    for task in (tasks := asyncio.all_tasks(loop)):
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, client.aclose(), return_exceptions=True))
    loop.close()


def _stop_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)


def _new_client(url: str) -> httpx.AsyncClient:
    """Proxies of the environment are for servers elsewhere; how many connections there are is bounded by the tasks."""
    is_local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=CONNECT), limits=httpx.Limits(max_connections=None),
        follow_redirects=False, trust_env=not is_local,
    )  # fmt: skip


def _check_answer(body: bytes) -> dict:
    """Return a chat's answer as JSON, or say what is wrong with it."""
    try:
        answer = read_json(body)
    except ValueError:
        raise Unreached("an answer that is not JSON") from None
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise Unreached("an answer without choices")
    message = choices[0].get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content") or "", str):
        raise Unreached("an answer without a message")
    return answer


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: a number, or a date."""
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < math.inf else 0.0
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


def error_message(answer: Answer) -> str:
    """What a server says about an error, in one short line."""
    text = answer.body[:20_000].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        text = _find_message(read_json(text))
    return _one_line(text) or "no message"


def _find_message(answer: Any) -> str:
    """An error's text, wherever servers put it: error.message, error, message, detail."""
    for name in ("error", "message", "detail"):
        if isinstance(answer, dict) and answer.get(name):
            return _find_message(answer[name])
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _one_line(text: str, most: int = 300) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[:most] + " […]"
