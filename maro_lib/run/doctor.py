"""Will a long run work? What a parameter file asks for, against what this machine has, before anything is played.

Each check is one line: ok, a warning (it will work, but not as one might think), or a problem (it won't), with what was
found, what was expected, and what to do. Nothing is downloaded and nothing is written; relative paths begin where the
notebooks run. The arithmetic is in `maro_lib.model.estimates`. `python -m maro_lib doctor params/x.yaml` prints it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maro_lib.model import estimates
from maro_lib.model.estimates import Memory, Plan, Training
from maro_lib.model.players import SCRIPTED, Player
from maro_lib.play.policies import WindowError
from maro_lib.play.rollout import advance, schedule, start
from maro_lib.run.machine import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
    check_bitsandbytes,
    check_device,
    check_disk,
    check_packages,
    check_python,
    first_line,
    free_memory,
    installed_version,
    measure_speed,
)  # fmt: skip
from maro_lib.run.parameters import ParameterError, declared, effective, load_params
from maro_lib.run.sample import Sample, play_one, scripts_of
from maro_lib.run.series import check_rounds, find_notebooks
from maro_lib.runs import ROOT, RunError, located, outputs_folder
from maro_lib.wording import amount, duration, nearest
from maro_lib.world.mystery import Rules

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from maro_lib.model.chat import Chat

SMALL = 200 * 2**20  # bytes: models up to this size are loaded and timed
TIMED_GAMES, TIMED_SECONDS = 16, 3.0
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a tokenizer has one of these
FULL = 0.95  # of the memory: from here on it may fail for what is not counted


def doctor(params: str) -> int:
    """Print what was found, and return the exit code: 1 if there is a problem."""
    notebooks, found = ROOT / "notebooks", []
    print(f"{params}: will this run work?")
    try:
        values = read(Path(params), notebooks)
    except (ParameterError, RunError) as error:
        print(Finding(PROBLEM, "parameters", str(error)))
        return 1
    for finding in examine(values):
        print(finding, flush=True)
        found.append(finding.status)
    print(", ".join(f"{found.count(s)} {s}{'s' * (found.count(s) != 1)}" for s in (PROBLEM, WARNING)))
    return int(PROBLEM in found)


def read(path: Path, notebooks: Path) -> dict[str, Any]:
    """Read a parameter file as the series runner does; names it does not set have their defaults."""
    known = declared(find_notebooks(notebooks))
    values = effective(load_params(path, known), known)
    check_rounds(values, known)
    return values


def examine(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield one finding after the other; a later check leaves out what an earlier one found missing."""
    player = Player(**{f.name: values[f.name] for f in fields(Player) if f.name in values})
    yield (settings := check_settings(player, values))
    if settings.status == PROBLEM:
        return
    yield check_python(sys.version_info[:3])
    yield check_packages((ROOT / "requirements.txt").read_text(encoding="utf-8"), installed_version)
    yield check_device(player)
    source = None if player.is_scripted or player.server_url else find_model(player.model)
    chat = (yield from _examine_model(player, source)) if source else None
    try:
        sample = play_one(values, player, chat)
    except (ValueError, OSError) as error:  # what a script, a knob or a rule refuses
        sample = None
        yield Finding(PROBLEM, "scripts", str(error))
    else:
        yield Finding(OK, "scripts", f"a game of {sample.n_players} has about {sample.n_actions} actions; views of "
                      f"{sample.first:,} to {sample.longest:,} tokens, up to {sample.at_most:,} if every reply were "
                      f"as long as allowed ({sample.counted})")  # fmt: skip
        if player.is_scripted:
            yield _time(values["n_games"] * sample.seconds, values)
        elif player.server_url:
            yield from _examine_server(player, values, sample)
        else:
            yield from _examine_local(player, values, source, sample)
    n_games = values["n_games"] * values.get("maro_iterations", 1)
    yield check_disk(outputs_folder(), sample.bytes * n_games if sample else 0)


def check_settings(player: Player, values: Mapping[str, Any]) -> Finding:
    """Check values that have the right type but can't be meant."""
    if wrong := list(_wrong_settings(player, values)):
        return Finding(PROBLEM, "parameters", "; ".join(wrong))
    who = f"{player.model} on {player.server_url}" if player.server_url else player.model
    return Finding(OK, "parameters", f"run `{values['run']}`: {values['n_games']:,} games, played by {who}")


def _wrong_settings(player: Player, values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("n_games", "n_scripts", "concurrency", "server_requests", "max_new_tokens", "rounds"):
        if values[name] < 1:
            yield f"{name}: {values[name]}, at least 1 is needed"
    for name in ("temperature", "window", "cache_gb"):
        if values[name] < 0:
            yield f"{name}: {values[name]}, it can't be negative"
    from maro_lib.model.loading import PRECISIONS

    if player.precision not in PRECISIONS:
        hint = nearest(player.precision, PRECISIONS)
        yield f"precision: {player.precision!r}{hint}; one of {', '.join(PRECISIONS)} is needed"
    if player.server_command and not player.server_url:
        yield "server_command without server_url starts nothing; give the address where the server will answer"
    if player.server_url:
        from maro_lib.model.endpoint import base_url

        try:
            base_url(player.server_url)
        except ValueError as error:
            yield str(error)


# --- the model: where it is, and what it is ----------------------------------------------------------


@dataclass(frozen=True)
class Source:
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


def find_model(name: str) -> Source:
    """Find a model in the kit, in a folder, or in the hub's cache; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    from maro_lib.model.loading import EMBEDDED

    if name == "embedded":
        return Source(name, EMBEDDED, "in the kit")
    if located(name).is_dir():
        return Source(name, located(name), "a folder")
    with contextlib.suppress(ValueError):  # not a name that the hub could know
        config = try_to_load_from_cache(name, "config.json")
        if isinstance(config, str):
            return Source(name, Path(config).parent, "in the hub's cache")
    return Source(name, None)


def check_model(source: Source, offline: bool) -> Finding:
    """Say what a model is, and what of it is missing."""
    if source.folder is None:
        return _not_here(source.name, offline)
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
    hint = nearest(name, (*SCRIPTED, "mixture", "embedded"))
    ask = f"hf download {name} config.json tokenizer.json tokenizer_config.json"
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        return Finding(PROBLEM, "model", f"{name}: there is no such folder{hint}", "",
                       "give a folder (as seen from here or the checkout) or a hub name like owner/model")  # fmt: skip
    if offline:
        return Finding(PROBLEM, "model", f"{name}: not in the hub's cache, and the hub is off (HF_HUB_OFFLINE)", "",
                       "set `model` to a folder that holds config.json, tokenizer files and safetensors")  # fmt: skip
    return Finding(WARNING, "model", f"{name}: not in the hub's cache; downloaded at the first use, if that exists and "
                   "you may (gated: `hf auth login`)", "", f"to know more first, a few MB: {ask}")  # fmt: skip


def _examine_model(player: Player, source: Source) -> Generator[Finding, None, Chat | None]:
    """Report on a model that plays here, and return its way to write a chat, if its tokenizer is here."""
    from huggingface_hub import constants

    yield check_model(source, constants.HF_HUB_OFFLINE)
    if source.folder is None:
        return None
    finding, chat = check_template(player, source, constants.HF_HUB_OFFLINE)
    yield finding
    return chat


def check_template(player: Player, source: Source, offline: bool) -> tuple[Finding, Chat | None]:
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


def _folder(source: Source) -> str:
    return source.name if source.where == "a folder" else "a folder, and name that as `model`"


# --- a model on this machine -------------------------------------------------------------------------


def _examine_local(player: Player, values: Mapping[str, Any], source: Source, sample: Sample) -> Iterator[Finding]:
    """Check what only matters when the model is loaded here."""
    if player.precision == "nf4":
        yield check_bitsandbytes()
    if player.adapter:
        yield check_adapter(player.adapter)
    try:
        config = source.config() if source.folder else None
        plan = _plan(player, values, config, sample) if config else None
    except (OSError, ValueError, AttributeError) as error:  # said before, as the model's problem
        plan = None
        yield Finding(WARNING, "memory", f"not estimated: {first_line(error)}")
    if plan is None:
        yield Finding(WARNING, "memory", "not estimated, nor context and time: the model's config.json is not here")
        return
    yield check_memory(plan.memory(player.cache_gb), free_memory())
    yield check_training(plan, values, free_memory())
    yield check_reuse(plan, player.cache_gb, sample.n_players)
    yield check_context(sample, plan.window, _room(plan.window, player))
    yield from _time_local(player, values, source, sample, plan)


def check_adapter(name: str) -> Finding:
    """Look for a LoRA adapter in its folder."""
    if not (folder := located(name)).is_dir():
        return Finding(WARNING, "adapter", f"{name}: no such folder; looked for on the hub when it is loaded")
    lacks = [n for n in ("adapter_config.json", "adapter_model.safetensors") if not (folder / n).exists()]
    if lacks:
        return Finding(PROBLEM, "adapter", f"{name}: {' and '.join(lacks)} missing", "a saved LoRA adapter",
                       "give the folder that training has written")  # fmt: skip
    return Finding(OK, "adapter", f"{name}, for {_json(folder / 'adapter_config.json').get('base_model_name_or_path')}")


def _plan(player: Player, values: Mapping[str, Any], config: PretrainedConfig, sample: Sample) -> Plan:
    import torch

    from maro_lib.model.local import LocalPolicy

    on_gpu, size = torch.cuda.is_available(), estimates.shape(config)
    precision = player.precision if player.precision != "auto" else "bfloat16" if on_gpu else "float32"
    compute = {"float64": 8, "float32": 4, "bfloat16": 2, "nf4": 2 if on_gpu else 4}[precision]
    n_views = min(values["concurrency"], values["n_games"]) * sample.n_players
    return Plan(
        estimates.count_weights(config), size, precision, compute, min(player.window or size.window, size.window),
        sample.first, sample.typical, sample.at_most, n_views, min(LocalPolicy.max_batch, n_views),
        player.batch_tokens,
    )  # fmt: skip


def check_memory(memory: Memory, free: int) -> Finding:
    """Compare an estimate, part by part, with what is free."""
    parts = ", ".join(f"{name} {amount(n)}" for name, n in memory._asdict().items())
    found = f"about {amount(memory.total)} of {amount(free)} free: {parts}"
    if memory.total <= FULL * free:
        return Finding(OK, "memory", found)
    advice = "; ".join(_relief(memory))
    if memory.total <= free:
        return Finding(WARNING, "memory", found, f"at most {amount(FULL * free)}, to be safe", advice)
    return Finding(PROBLEM, "memory", found, f"at most {amount(free)}", advice)


def _relief(memory: Memory) -> Iterator[str]:
    """What to lower, the largest part first."""
    ways = {
        "weights": "`precision: nf4` or a smaller model",
        "kept": "a smaller `cache_gb`",
        "batch": "fewer games at a time (`concurrency`), or a smaller `window`",
        "reading": "a `cache_gb` that keeps all views, for fewer games at a time",
    }
    sizes = memory._asdict()
    yield from (ways[name] for name in sorted(ways, key=lambda name: -sizes[name]) if sizes[name] > memory.total / 5)


def check_training(plan: Plan, values: Mapping[str, Any], free: int) -> Finding:
    """Compare a step of training over the longest dialogue with what is free; playing is over by then."""
    precision = "nf4" if values["load_in_4bit"] else plan.precision
    how = {
        "precision": precision, "compute": 2 if values["half"] else plan.compute, "rank": values["lora_rank"],
        "checkpointing": values["checkpointing"],
    }  # fmt: skip
    n = min(plan.at_most, plan.window)
    memory = estimates.training_memory(plan.weights, plan.shape, n, **how)
    fits = estimates.longest_dialogue(plan.weights, plan.shape, FULL * free, **how)
    parts = ", ".join(f"{name} {amount(size)}" for name, size in memory._asdict().items())
    found = f"a dialogue of {n:,} tokens takes about {amount(memory.total)} of {amount(free)} free: {parts}"
    if fits >= n:
        return Finding(OK, "training", found)
    return Finding(WARNING if fits else PROBLEM, "training", found, f"dialogues of {fits:,} tokens fit",
                   "; ".join(_lighter(memory, values)))  # fmt: skip


def _lighter(memory: Training, values: Mapping[str, Any]) -> Iterator[str]:
    """What makes a step of training smaller."""
    if not values["load_in_4bit"] and memory.weights > memory.total / 5:
        yield "`load_in_4bit: true`"
    if not values["checkpointing"]:
        yield "`checkpointing: true`"
    if not values["half"]:
        yield "`half: true`"
    yield "a smaller `window`, or shorter replies (`max_new_tokens`)"


def check_reuse(plan: Plan, cache_gb: float, n_players: int) -> Finding:
    """Say whether views are read once, or again and again."""
    holds = plan.holds(cache_gb)
    found = f"`cache_gb: {cache_gb:g}` keeps {min(holds, plan.n_views):,} of {plan.n_views:,} views of {plan.usual:,} "
    if holds >= plan.n_views:
        return Finding(OK, "reuse", f"{found}tokens: each is read once")
    if holds >= plan.n_views / 2:
        return Finding(OK, "reuse", f"{found}tokens: towards the end of a game some are read again")
    fits = holds // n_players
    way = f"`concurrency: {fits}` or a larger `cache_gb`" if fits else "a larger `cache_gb`, or 0 to save its memory"
    return Finding(WARNING, "reuse", f"{found}tokens: what is dropped is read again at every turn", "", way)


def _room(window: int, player: Player) -> int:
    """Tokens that a view may have, as the player's own policy counts it."""
    from maro_lib.model.local import SUMMARY_PROMPT

    return window - 2 * player.max_new_tokens - (128 if player.server_url else SUMMARY_PROMPT)


def check_context(sample: Sample, window: int, room: int) -> Finding:
    """Compare views with the window: the beginning must fit, the rest can be summed up."""
    found = f"window {window:,}, of which {room:,} for a view; it begins with {sample.first:,} tokens"
    if sample.first > room:
        return Finding(PROBLEM, "context", found, f"at most {room:,}",
                       "a larger `window`, a smaller `max_new_tokens`, shorter scripts, or another model")  # fmt: skip
    found += f" and grows to {sample.longest:,}"
    if sample.longest > room:
        return Finding(WARNING, "context", f"{found}: views will be continued from summaries", f"at most {room:,}",
                       "a larger `window` or fewer `rounds`, to play with whole views")  # fmt: skip
    if sample.at_most > room:
        found += f" ({sample.at_most:,} if all replies were as long as allowed: then continued from summaries)"
    return Finding(OK, "context", found)


# --- a model on a server -----------------------------------------------------------------------------


def _examine_server(player: Player, values: Mapping[str, Any], sample: Sample) -> Iterator[Finding]:
    """Check that a server answers, or that it can be started."""
    window = player.window
    if player.server_command:
        yield check_command(player)
    else:
        finding, serves = check_server(player)
        yield finding
        window = min(filter(None, (window, serves)), default=0)
    if window:
        yield check_context(sample, window, _room(window, player))
    else:
        yield Finding(WARNING, "context", f"not known; views grow to {sample.longest:,} tokens", "",
                      "set `window` to the context length that the server runs with")  # fmt: skip
    n = values["n_games"] * sample.n_actions
    yield Finding(OK, "time", f"unknown: it depends on the server ({n:,} replies, {player.server_requests} at a time)")


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
    import httpx

    from maro_lib.model.endpoint import Endpoint, ServerError

    endpoint = Endpoint(url, "OPENAI_API_KEY", 10.0)  # it signs without showing the key to anything else
    is_local = httpx.URL(endpoint.url).host in ("localhost", "127.0.0.1", "::1")
    try:
        with httpx.Client(timeout=endpoint.timeout, trust_env=not is_local) as client:
            answer = client.get(f"{endpoint.url}/v1/models", auth=endpoint._sign)
        text = answer.text.replace(endpoint._key() or "\0", "[key]")  # a server may repeat it, and names are printed
        listed = json.loads(text)["data"] if answer.status_code == 200 else []
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


# --- time --------------------------------------------------------------------------------------------


def _time(seconds: float, values: Mapping[str, Any], how: str = "by scripted players, from one game") -> Finding:
    each = f" of each of {n} rounds" if (n := values.get("maro_iterations", 1)) > 1 else ""
    return Finding(OK, "time", f"roughly {duration(seconds)} for the {values['n_games']:,} games{each} ({how})")


def _time_local(
    player: Player, values: Mapping[str, Any], source: Source, sample: Sample, plan: Plan
) -> Iterator[Finding]:
    """Measure a small model that is here; estimate others from what this device does in a second."""
    n_replies = values["n_games"] * sample.n_actions
    if not source.missing() and source.size <= SMALL:
        try:
            per_reply = _timed(player, values)
        except (ValueError, RuntimeError) as error:  # a model, a template, a window: each says what to do
            yield Finding(PROBLEM, "model", f"it does not play: {error}")
        else:
            yield _time(n_replies * per_reply, values, f"measured here: {1 / per_reply:,.0f} replies/s")
        return
    speed, rows = measure_speed(plan.compute), _usual_rows(plan, plan.n_views // sample.n_players)
    is_kept = plan.holds(player.cache_gb) >= plan.n_views
    seconds = n_replies * estimates.reply_seconds(
        plan.weights, plan.precision, plan.compute, rows=rows, speed=speed, n_written=player.max_new_tokens / 2,
        n_read=sample.n_players * plan.usual / sample.n_actions if is_kept else (sample.first + plan.usual) / 2,
    )  # fmt: skip
    yield _time(seconds, values, f"very rough: replies half as long as allowed, {rows} at a time, by a device that "
                f"does {speed.flops / 1e12:.2g} TFLOP/s and moves {amount(speed.bytes)}/s")  # fmt: skip


def _usual_rows(plan: Plan, n_games: int) -> int:
    """How many replies are given together: most phases ask one player of each game."""
    return max(1, min(n_games, plan.rows, plan.batch_tokens // plan.usual))


def _timed(player: Player, values: Mapping[str, Any]) -> float:
    """Seconds per reply while the model plays a few steps of a few games."""
    n = min(values["n_games"], values["concurrency"], TIMED_GAMES)
    games = schedule(scripts_of(values), n, values["seed"], Rules(rounds=values["rounds"]))
    with player.seated() as policy:
        sessions = [start(game, policy) for game in games]
        n_replies, began = 0, time.perf_counter()
        while time.perf_counter() - began < TIMED_SECONDS and any(s.env.pending_players() for s in sessions):
            n_replies += advance(sessions)
        return (time.perf_counter() - began) / n_replies


# --- words -------------------------------------------------------------------------------------------


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _count(n: int) -> str:
    return f"{n / 1e9:.1f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"
