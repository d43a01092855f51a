"""A model on a server: does it answer, with what, or can it be started? Used by `maro_lib.run.doctor`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping

from maro_lib.model.players import Player
from maro_lib.play.policies import WindowError
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding
from maro_lib.wording import first_line


def check_command(player: Player) -> Finding:
    """Check that a server's program is there, and its port free; it is not started."""
    from maro_lib.model.server_process import ServerStartError, startable

    try:
        words, _ = startable(player.server_command, player.server_url)
    except ServerStartError as error:
        return Finding(PROBLEM, "server", str(error))
    return Finding(OK, "server", f"`{words[0]}` is there, and the port of {player.server_url} is free; not started now")


def check_server(player: Player) -> tuple[Finding, int]:
    """Ask a running server for its models, then one token of ours; return its context length too, or 0."""
    from maro_lib.model.endpoint import ServerError
    from maro_lib.model.server import ServerPolicy

    model, url, models = player.adapter or player.model, player.server_url, {}
    try:
        models = _models(url)
        policy = ServerPolicy(url, player.model, adapter=player.adapter, timeout=min(player.server_timeout, 60),
                              retries=0, temperature=player.temperature)  # fmt: skip
        began = time.perf_counter()
        with contextlib.closing(policy):
            note = policy.note
    except (ServerError, WindowError, ValueError) as error:
        lists = f"; it lists {_some(models)}" if models else ""
        why = first_line(error).partition(". Finished games")[0]
        return Finding(PROBLEM, "server", f"{why}{lists}", f"an answer by model `{model}`",
                       "start it, name a model that it has, or give `server_command`; a key goes into the environment "
                       "as OPENAI_API_KEY"), 0  # fmt: skip
    found = f"{url} answers as `{model}`, one token in {time.perf_counter() - began:.2f} s{f'; {note}' if note else ''}"
    if models and model not in models:
        return Finding(WARNING, "server", found, f"`{model}` among its models: {_some(models)}", "is it that one?"), 0
    return Finding(WARNING if note.startswith("no token ids") else OK, "server", found), models.get(model, 0)


def _models(url: str) -> dict[str, int]:
    """The models that a server lists, each with its context length where it says that (vLLM), else 0."""
    from maro_lib.model.endpoint import Endpoint, ServerError, Unreached

    try:
        answer = Endpoint(url, "OPENAI_API_KEY", 10.0).ask_once("/v1/models")
        listed = json.loads(answer.body)["data"] if answer.status == 200 else []
    except Unreached as error:
        raise ServerError(f"{url} does not answer ({error})") from None
    except (ValueError, KeyError, TypeError):  # not every server lists its models, and not every answer is a list
        listed = []
    entries = [m for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)]
    return {m["id"]: n if isinstance(n := m.get("max_model_len"), int) else 0 for m in entries}


def _some(models: Mapping[str, int]) -> str:
    """A few names, on one line whatever they hold."""
    names = ["".join(c for c in name if c.isprintable())[:80] for name in list(models)[:5]]
    return ", ".join(names) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
