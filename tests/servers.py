"""Servers for tests: a good one that plays by rule, and every way in which one misbehaves. Also run as a program.

python servers.py PORT [--die-after N] [--ids] [--stubborn] [--worker FILE] [--never] [--talk]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START, END, ROLES = 1, 2, {"system": 3, "user": 4, "assistant": 5}
KNOWN = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "logprobs"}
VLLM = {"return_token_ids", "top_k", "min_p", "repetition_penalty"}


def play_by_rule(messages: list[dict], seed: int) -> str:
    """Answer the prose register's prompts legally; the seed alone decides what."""
    asked, rng = messages[-1]["content"], random.Random(seed)
    if found := re.search(r"You can vote for: (.*)\.$", asked):
        return "VOTE " + rng.choice(found[1].split(", "))
    if found := re.search(r"^Rate: (.*)\.$", asked, re.M):
        return "\n".join(f"{n}: suspicion {rng.randrange(3)}, trust {rng.randrange(3)}" for n in found[1].split(", "))
    if found := re.search(r"^Places that still hold something: (.*)\.$", asked, re.M):
        return "SEARCH " + rng.choice(found[1].split(", "))
    if found := re.search(r"^You can ask: (.*)\.$", asked, re.M):
        return f"ASK {rng.choice(found[1].split(', '))}: Where were you?"
    return f"I was at home, as I said {rng.randrange(1000)} times."


def tokens(text: str) -> list[int]:
    """Four signs are a token."""
    return [10 + zlib.crc32(text[k : k + 4].encode("utf-8", "replace")) % 50_000 for k in range(0, len(text), 4)]


def prompt_tokens(messages: list[dict]) -> list[int]:
    ids = [i for m in messages for i in (START, ROLES[m["role"]], *tokens(m["content"]), END)]
    return [*ids, START, ROLES["assistant"]]


class Server:
    """A server on a thread; `trouble` says what happens to the next chats instead of an answer, one by one."""

    def __init__(self, port: int = 0, *, ids: bool = False, fields: set[str] | None = None, say=play_by_rule,
                 broken: Callable[[dict], Callable | None] = lambda body: None, rewrites: bool = False,
                 die_after: int | None = None, context: int = 10**9):  # fmt: skip
        self.ids, self.fields, self.say, self.broken, self.rewrites = ids, fields, say, broken, rewrites
        self.die_after, self.context = die_after, context
        self.trouble: deque[Callable[[Handler], None]] = deque()
        self.always: Callable[[Handler], None] | None = None
        self.chats: list[dict] = []  # every body that came, the probe's too
        self.headers: list[dict[str, str]] = []
        self.adapters: dict[str, str] | None = None
        self.gone = threading.Event()
        handler = type("Bound", (Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def games(self) -> list[dict]:
        """The chats but the probe's."""
        return [body for body in self.chats if len(body["messages"]) > 1]


class Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the other end left
            self.close_connection = True

    def do_GET(self) -> None:
        self.give(200 if self.path in ("/v1/models", "/health") else 404, {"data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.headers.append(dict(self.headers))
        if self.path == "/v1/chat/completions":
            self.chat(body)
        elif self.owner.adapters is not None and self.path.endswith("load_lora_adapter"):
            self.adapter(body)
        else:
            self.give(404, {"detail": "Not Found"})

    def chat(self, body: dict) -> None:
        owner = self.owner
        owner.chats.append(body)
        if len(body["messages"]) > 1:  # not the probe
            if owner.die_after is not None and len(owner.games) > owner.die_after:
                os._exit(9)
            trouble = owner.always or owner.broken(body) or (owner.trouble.popleft() if owner.trouble else None)
            if trouble:
                trouble(self)
                return
        if owner.fields is not None and (strange := sorted(body.keys() - owner.fields)):
            self.give(422, {"detail": f"Unexpected fields in the request: {strange}"})
        elif len(prompt_tokens(body["messages"])) + body["max_tokens"] > owner.context:
            why = f"This model's maximum context length is {owner.context} tokens. Please reduce the length."
            self.give(400, {"error": {"message": why, "type": "BadRequestError", "code": 400}})
        else:
            self.give(200, answer(owner, body))

    def adapter(self, body: dict) -> None:
        loaded, name = self.owner.adapters, body["lora_name"]
        if self.path == "/v1/load_lora_adapter" and name in loaded:
            self.give(400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}})
        elif self.path == "/v1/load_lora_adapter":
            loaded[name] = body["lora_path"]
            self.give(200, f"Success: LoRA adapter '{name}' added successfully.")
        elif name not in loaded:
            self.give(404, {"error": {"message": f"The lora adapter '{name}' cannot be found."}})
        else:
            del loaded[name]
            self.give(200, f"Success: LoRA adapter '{name}' removed successfully.")

    def give(self, status: int, body: object, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def answer(owner: Server, body: dict) -> dict:
    """What vLLM would answer, or without ids, what others would."""
    text = owner.say(body["messages"], body.get("seed", 0))
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole = {"id": "chat", "created": 0, "object": "chat.completion", "model": body["model"], "choices": [choice]}
    if owner.ids and body.get("return_token_ids"):
        sampled = [*tokens(text), END]
        whole["prompt_token_ids"] = [*([7] * owner.rewrites * len(body["messages"])), *prompt_tokens(body["messages"])]
        choice["token_ids"] = sampled
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "?", "logprob": logp(i)} for i in sampled]}
    return whole


def logp(token: int) -> float:
    return -(token % 100) / 8


# --- trouble: what happens to a chat instead of an answer ----------------------------------------------


def free_port() -> int:
    """A port of this machine at which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def status(code: int, body: object = None, **headers: str) -> Callable[[Handler], None]:
    return lambda h: h.give(code, {"error": {"message": "no luck"}} if body is None else body, **headers)


def says(body: object) -> Callable[[Handler], None]:
    return lambda h: h.give(200, body)


def hang(h: Handler) -> None:
    h.owner.gone.wait(30)
    h.close_connection = True


def endless(h: Handler) -> None:
    """Send bytes without end, as fast as they are read."""
    h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not h.owner.gone.is_set():
        h.wfile.write(b"x" * 2**16)


def drip(h: Handler) -> None:
    """Send a byte now and then: no single read ever takes long."""
    h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not h.owner.gone.wait(0.02):
        h.wfile.write(b" ")


def drip_headers(h: Handler) -> None:
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not h.owner.gone.wait(0.02):
        h.wfile.write(b"X-A: b\r\n")


def half(h: Handler) -> None:
    """Close the connection in the middle of the answer."""
    h.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [')
    h.close_connection = True


def leave(h: Handler) -> None:
    """Close the connection without a word."""
    h.connection.shutdown(socket.SHUT_RDWR)
    h.close_connection = True


def bomb(h: Handler) -> None:
    """Send what unpacks to a thousand times its size."""
    h.give(200, zlib.compress(b" " * 10**7), Content_Encoding="deflate")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--never", action="store_true")
    parser.add_argument("--worker")
    parser.add_argument("--talk", action="store_true", help="say all that it knows")
    parser.add_argument("--api-key")
    parser.add_argument("--name")
    a = parser.parse_args()
    print("KEYWORD", os.environ.get("KEYWORD"), flush=True)
    if a.talk:
        print(sys.argv, *(f"{name}={value}\n" for name, value in os.environ.items()), flush=True)
    if a.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if a.worker:
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(a.worker).write_text(f"{os.getpid()} {worker.pid}")
    if a.never:
        time.sleep(60)
    Server(a.port, die_after=a.die_after, ids=a.ids).http.serve_forever()


if __name__ == "__main__":
    main()
