"""A model that will play: where it is, what it is, what of it is missing; nothing is downloaded.

Nothing is loaded either, but for a GGUF file: that is read into its cache, where its numbers and names can be seen.

On a server: does it answer, with what, or can it be started? Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maro_lib.model import estimates
from maro_lib.model.adapter_files import AdapterError, base_of, read_adapter
from maro_lib.model.gguf import is_gguf, kept
from maro_lib.model.players import Player
from maro_lib.model.shipped import SHIPPED, not_made
from maro_lib.play.policies import WindowError
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding
from maro_lib.runs import located
from maro_lib.strict_json import read_json
from maro_lib.wording import amount, first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from maro_lib.model.chat import Chat

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a tokenizer has one of these


@dataclass(frozen=True)
class FoundModel:
    """Where a model is, without loading it."""

    name: str
    folder: Path | None  # None: not on this machine
    where: str = ""

    def missing(self) -> list[str]:
        """The safetensors that are not there."""
        index = self.folder / "model.safetensors.index.json"
        names = set(_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
        return sorted(name for name in names if not (self.folder / name).exists())

    @property
    def size(self) -> int:
        """Bytes of all safetensors that are there."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def config(self) -> PretrainedConfig:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(str(self.folder), trust_remote_code=False, local_files_only=True)


def find_model(name: str) -> FoundModel:
    """Find a model in the kit, in a folder, or in the hub's cache; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    if name in SHIPPED:
        return FoundModel(name, SHIPPED[name], "in the kit")
    if (base := base_of(name)) != name:
        root = find_model(base)
        return replace(root, name=name, where=f"{base} ({root.where}) with an adapter merged in")
    if is_gguf(name):
        return FoundModel(name, kept(name, located(name)), "read from a GGUF file")
    if located(name).is_dir():
        return FoundModel(name, located(name), "a folder")
    with contextlib.suppress(ValueError):  # not a name that the hub could know
        config = try_to_load_from_cache(name, "config.json")
        if isinstance(config, str):
            return FoundModel(name, Path(config).parent, "in the hub's cache")
    return FoundModel(name, None)


def check_model(source: FoundModel, offline: bool) -> Finding:
    """Say what a model is, and what of it is missing."""
    if source.folder is None:
        return _not_here(source.name, offline)
    if problem := not_made(source.name):
        return Finding(PROBLEM, "model", problem)
    try:
        config = source.config()
        weights = estimates.count_weights(config)
        missing = source.missing()
    except (OSError, ValueError, KeyError) as error:
        return Finding(PROBLEM, "model", f"{source.name} ({source.where}): {first_line(error)}", "",
                       "take a model that transformers knows, without code of its own")  # fmt: skip
    kind = (config.architectures or [config.model_type])[0]
    found = f"{kind}, {_count(sum(weights))} parameters, {source.where}"
    if not missing:
        return Finding(OK, "model", f"{found}, safetensors of {amount(source.size)}")
    unread = " (pickles are there, but are not read)" if any(source.folder.glob("*.bin")) else ""
    found = f"{found}; {missing[0]} is missing{f' and {len(missing) - 1} more' if missing[1:] else ''}{unread}"
    if source.where == "a folder" or offline:
        return Finding(PROBLEM, "model", found, "safetensors", f"put them into {_folder(source)}")
    return Finding(WARNING, "model", f"{found}: downloaded at the first use, {amount(2 * sum(weights))} if in bfloat16")


def _not_here(name: str, offline: bool) -> Finding:
    if offline:
        return Finding(PROBLEM, "model", f"{name}: not in the hub's cache, and the hub is off (HF_HUB_OFFLINE)", "",
                       "set `model` to a folder that holds config.json, tokenizer files and safetensors")  # fmt: skip
    return Finding(WARNING, "model", f"{name}: not in the hub's cache; downloaded at the first use, if that exists and "
                   "you may (gated: `hf auth login`)", "", "to know more first, a few MB: "
                   f"hf download {name} config.json tokenizer.json tokenizer_config.json")  # fmt: skip


def check_template(player: Player, source: FoundModel, offline: bool) -> tuple[Finding, Chat | None]:
    """Take a model's chat template apart."""
    from transformers import AutoTokenizer

    from maro_lib.model.chat import Chat, TemplateError

    if not any((source.folder / name).exists() for name in TOKENIZERS):
        status = PROBLEM if offline or source.where == "a folder" else WARNING
        return Finding(status, "template", "not known: the tokenizer's files are not here", "tokenizer.json",
                       f"put them into {_folder(source)}"), None  # fmt: skip
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source.folder), trust_remote_code=False, local_files_only=True)
        tokenizer.name_or_path = source.name
        chat = Chat(tokenizer, rewriting=True)
    except TemplateError as error:
        return Finding(PROBLEM, "template", str(error)), None
    except Exception as error:  # a tokenizer's files may be broken in any way
        return Finding(PROBLEM, "template", f"the tokenizer can't be read: {first_line(error)}"), None
    if chat.is_append_only:
        return Finding(OK, "template", "append-only: a view is one growing sequence, read once"), chat
    if player.rewriting_template:
        return Finding(WARNING, "template", f"{chat.note}: slower, and one training row per action"), chat
    return Finding(PROBLEM, "template", chat.note.partition(";")[0], "append-only",
                   "take another model, or set `rewriting_template: true`"), chat  # fmt: skip


def _folder(source: FoundModel) -> str:
    return source.name if source.where == "a folder" else "a folder, and name that as `model`"


def check_adapter(name: str) -> Finding:
    """Say what an adapter was trained on, and whether its files are sound."""
    if not (folder := located(name)).is_dir():
        return Finding(WARNING, "adapter", f"{name}: no such folder; looked for on the hub when it is loaded")
    try:
        origin = read_adapter(folder).origin
    except AdapterError as error:
        return Finding(PROBLEM, "adapter", f"{name}: {error}")
    if not (origin and origin.weights):
        return Finding(WARNING, "adapter", f"{name}: made elsewhere: that it was trained on the model is unverified")
    return Finding(OK, "adapter", f"{name}, for {origin.model}")


def _json(path: Path) -> dict[str, Any]:
    return read_json(path.read_bytes())


def _count(n: int) -> str:
    return f"{n / 1e9:.1f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"


# --- on a server -------------------------------------------------------------------------------------


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
    from maro_lib.model.endpoint import Endpoint, ServerError, Unreached

    try:
        answer = Endpoint(url, key_env, 10.0).ask_once("/v1/models")
        listed = read_json(answer.body)["data"] if answer.status == 200 else []
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
