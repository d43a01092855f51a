"""A model on a server: does it answer, with what, or can it be started? Used by `maro_lib.run.doctor`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from maro_lib.model.players import Player
from maro_lib.play.policies import WindowError
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding, first_line
from maro_lib.strict_json import read_json


def check_command(player: Player) -> Finding:
    """Check that a server's program is there, and its port free; it is not started."""
    from maro_lib.model.server_process import ServerStartError, _address, _is_open, _split

    try:
        words, _ = _split(player.server_command)
        address = _address(player.server_url)
    except ServerStartError as error:
        return Finding(PROBLEM, "server", str(error))
    if _is_open(address):
        return Finding(PROBLEM, "server", f"something answers at {player.server_url} already", "a free port",
                       "stop it, choose another port, or leave `server_command` empty to play with it")  # fmt: skip
    return Finding(OK, "server", f"`{words[0]}` is there, and port {address[1]} is free; not started now")


def check_server(player: Player) -> tuple[Finding, int]:
    """Ask a running server for its models, then one token of ours; return its context length too, or 0."""
    from maro_lib.model.endpoint import ServerError
    from maro_lib.model.server import ServerPolicy

    model, url, key, models = player.adapter or player.model, player.server_url, player.server_key_env, {}
    try:
        models = _models(url, key)
        policy = ServerPolicy(url, player.model, adapter=player.adapter, timeout=min(player.server_timeout, 60),
                              retries=0, temperature=player.temperature, key_env=key)  # fmt: skip
        began = time.perf_counter()
        with contextlib.closing(policy):
            note = policy.note
    except (ServerError, WindowError, ValueError) as error:
        lists = f"; it lists {_some(models)}" if models else ""
        why = first_line(error).partition(". Finished games")[0]
        return Finding(PROBLEM, "server", f"{why}{lists}", f"an answer by model `{model}`",
                       "start it, name a model that it has, or give `server_command`; a key goes into the environment "
                       "variable that `server_key_env` names"), 0  # fmt: skip
    found = f"{url} answers as `{model}`, one token in {time.perf_counter() - began:.2f} s{f'; {note}' if note else ''}"
    if models and model not in models:
        return Finding(WARNING, "server", found, f"`{model}` among its models: {_some(models)}", "is it that one?"), 0
    return Finding(WARNING if note.startswith("no token ids") else OK, "server", found), models.get(model, 0)


def _models(url: str, key_env: str) -> dict[str, int]:
    """The models that a server lists, each with its context length where it says that (vLLM), else 0."""
    import httpx

    from maro_lib.model.endpoint import MAX_BYTES, Endpoint, ServerError

    endpoint = Endpoint(url, key_env, 10.0)  # it signs without showing the key to anything else
    is_local = httpx.URL(endpoint.url).host in ("localhost", "127.0.0.1", "::1")
    try:
        with httpx.Client(timeout=endpoint.timeout, trust_env=not is_local) as client:
            data, end = b"", time.monotonic() + endpoint.timeout
            with client.stream("GET", f"{endpoint.url}/v1/models", auth=endpoint._sign) as answer:
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > MAX_BYTES or time.monotonic() > end:
                        raise ValueError("no list of models")
        known = (endpoint._key() or "\0").encode()  # a server may repeat it, and names are printed
        data = data.replace(known, b"[key]")
        listed = read_json(data)["data"] if answer.status_code == 200 else []
    except httpx.HTTPError as error:
        raise ServerError(f"{url} does not answer ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError):  # not every server lists its models, and not every answer is a list
        listed = []
    entries = [m for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)]
    return {m["id"]: n if isinstance(n := m.get("max_model_len"), int) else 0 for m in entries}


def _some(models: Mapping[str, int]) -> str:
    """A few names, on one line whatever they hold."""
    names = ["".join(c for c in name if c.isprintable())[:80] for name in list(models)[:5]]
    return ", ".join(names) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
