"""What can be said in a second about whether a run will work: values that don't go together, files that aren't there.

A series looks at the parameters of the stages that it will run, `doctor` at all of them; each problem is a sentence
that names the parameter and the way out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maro_lib.model.adapter_files import CONFIG, WEIGHTS, AdapterError, base_of
from maro_lib.model.gguf import GgufError, gguf_file, is_gguf
from maro_lib.model.players import SCRIPTED
from maro_lib.model.shipped import SHIPPED, not_made
from maro_lib.runs import ROOT, located
from maro_lib.wording import nearest
from maro_lib.world.scripts import FACTIONS, bundled

Values = Mapping[str, Any]
OWN_MODELS = (*SCRIPTED, "mixture", *SHIPPED)
PACKAGES_OF = {"ifeval": ("langdetect", "immutabledict"), "minerva_math": ("sympy", "math_verify", "antlr4")}
DATA_OF = {"gsm8k": "openai/gsm8k", "minerva_math500": "HuggingFaceH4/MATH-500", "ifeval": "google/IFEval",
           "hendrycks_math500": "HuggingFaceH4/MATH-500", "mmlu": "cais/mmlu"}  # fmt: skip


def quick_problems(values: Values) -> Iterator[str]:
    """Yield what is wrong with parameters; those that are not given are not looked at."""
    for needed, check in CHECKS.items():
        if all(name in values for name in needed.split()):
            yield from check(values)


def _knobs(values: Values) -> Iterator[str]:
    from maro_lib.world.generator import Knobs

    if not values["script"]:
        try:
            Knobs(**{f.name: values[f.name] for f in fields(Knobs)})
        except ValueError as error:
            yield from str(error).splitlines()


def _script(values: Values) -> Iterator[str]:
    if (name := values["script"]) and not located(name).exists() and name not in (cases := bundled()):
        yield f"script: {name}: no script there{nearest(name, cases)}; bundled are {', '.join(cases)}"


def _world(values: Values) -> Iterator[str]:
    from maro_lib.worlds.registry import WorldError, find_world, knob_values, knobs_of

    try:
        knobs_of(find_world(values["world"], allow_code=values["allow_code"]), knob_values(values["world_knobs"]))
    except WorldError as error:
        yield str(error)


_LESSONS = "lesson_worlds lesson_world_shares lesson_share_tasks lesson_share_drills lesson_shares lesson_shown"


def _lessons(values: Values) -> Iterator[str]:
    from maro_lib.embedded.lessons import recipe_of

    try:
        recipe_of({name: values[name] for name in _LESSONS.split()})
    except ValueError as error:
        yield str(error)


def _first_lessons(values: Values) -> Iterator[str]:
    if values["lesson_start"]:
        yield from _model("lesson_start", values["lesson_start"], OWN_MODELS)


def _windows(values: Values) -> Iterator[str]:
    """Say which given scripts are certainly longer than the window; the tokenizer itself counts in notebook 02."""
    if not (values["script"] and values["window"]) or next(_script(values), ""):
        return
    from maro_lib.play.rollout import schedule
    from maro_lib.run.sample import at_least, beginnings
    from maro_lib.world.casebook import find_scripts

    scripts = [s for s in find_scripts(values["script"])[0] if s.culprits]
    room = values["window"] - 2 * values["max_new_tokens"]
    for title, n in beginnings(schedule(scripts, len(scripts), 0), at_least):
        if n > room:
            yield (f"window: {values['window']:,} leaves {room:,} tokens for a view, and {title} begins with {n:,} or "
                   "more; take a larger `window`, or a folder without that script")  # fmt: skip


def _players(values: Values) -> Iterator[str]:
    if values["server_command"] and not values["server_url"]:
        yield "server_command without server_url starts nothing; give the address where the server will answer"
    if values["server_url"]:
        yield from _server("server_url", values)
    else:
        yield from _model("model", values["model"], OWN_MODELS)
        yield from _adapter(values["adapter"])


def _server(name: str, values: Values) -> Iterator[str]:
    from maro_lib.model.endpoint import base_url

    try:
        base_url(values[name])
    except ValueError as error:
        yield str(error)
    key = values[f"{name.removesuffix('url')}key_env"]
    if key and not os.environ.get(key):
        yield f"{name.removesuffix('url')}key_env: the environment variable {key} is not set; export {key}=..."


def _model(parameter: str, name: str, own: tuple[str, ...]) -> Iterator[str]:
    if name in own:
        if problem := not_made(name):
            yield f"{parameter}: {problem}"
        return
    if is_gguf(name):
        yield from _gguf(parameter, name)
    elif located(name).is_dir():
        if not any((located(name) / file).exists() for file in ("config.json", CONFIG)):
            yield f"{parameter}: {name}: no config.json in that folder; give a folder that holds a model or an adapter"
        try:
            if (base := base_of(name)) != name:
                yield from _model(parameter, base, own)
        except AdapterError as error:
            yield f"{parameter}: {error}"
    elif not _is_hub_name(name):
        yield (f"{parameter}: {name}: there is no such folder{nearest(name, own)}; give a folder (as seen from here or "
               "the checkout) or a hub name like owner/model")  # fmt: skip


def _gguf(parameter: str, name: str) -> Iterator[str]:
    try:
        gguf_file(name, located(name))
    except GgufError as error:
        yield f"{parameter}: {error}"


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~", "outputs/")) and not name.endswith("/")


def _adapter(name: str) -> Iterator[str]:
    if name and located(name).is_dir():
        if lacks := [n for n in (CONFIG, WEIGHTS) if not (located(name) / n).exists()]:
            yield f"adapter: {name}: {' and '.join(lacks)} missing; give the folder that training has written"
    elif name and not _is_hub_name(name):
        yield f"adapter: {name}: there is no such folder; give the folder that training has written"


def _camps(values: Values) -> Iterator[str]:
    for faction in values["camp_weights"]:
        if faction not in FACTIONS:
            hint = f"{nearest(faction, FACTIONS)}; there are {', '.join(FACTIONS)}"
            yield f"camp_weights: unknown faction {faction!r}{hint}"


def _elsewhere(values: Values) -> Iterator[str]:
    from maro_lib.measure.kinds import kind_problems

    yield from kind_problems(values["elsewhere"])


def _judge(values: Values) -> Iterator[str]:
    if values["judge_server_url"]:
        yield from _server("judge_server_url", values)
    else:
        yield from _model("judge", values["judge"], ("rules", *SHIPPED))


def _tasks(*parameters: str) -> Callable[[Values], Iterator[str]]:
    def check(values: Values) -> Iterator[str]:
        own = {path.stem for path in (ROOT / "maro_lib" / "study" / "evals").glob("maro_*.yaml")}
        for parameter in parameters:
            for task in values[parameter]:
                if task.startswith("maro_") and task not in own:
                    yield f"{parameter}: {task}: there is no such task{nearest(task, own)}"

    return check


def not_asked(values: Values) -> Iterator[str]:
    """Yield which tasks notebooks 07 and 15 would leave out here, why, and how to get what they lack."""
    for task in [task for name in ("evals", "safety_evals", "asked") for task in values.get(name, ())]:
        packages = next((p for prefix, p in PACKAGES_OF.items() if task.startswith(prefix)), ())
        if lacks := [package for package in packages if find_spec(package) is None]:
            yield f"{task}: not asked: needs {', '.join(lacks)}: .venv/bin/pip install -e '.[evals]'"
        dataset = next((d for prefix, d in DATA_OF.items() if task.startswith(prefix)), "")
        if dataset and values["eval_data"] and not (at := located(values["eval_data"]) / dataset).is_dir():
            yield f"{task}: not asked: {at} is missing: hf download --repo-type dataset {dataset} --local-dir {at}"
        if task == "ifeval" and not _has_punkt(values.get("eval_data", "")):
            yield ("ifeval: not asked: needs NLTK's punkt_tab: python -m nltk.downloader punkt_tab, or copy it to "
                   "<eval_data>/nltk_data/tokenizers/punkt_tab")  # fmt: skip


def _has_punkt(eval_data: str) -> bool:
    """Whether the table is there by which IFEval counts sentences."""
    import nltk.data

    own = [str(located(eval_data) / "nltk_data")] if eval_data else []
    try:
        nltk.data.find("tokenizers/punkt_tab", [*own, *nltk.data.path])
    except LookupError:
        return False
    return True


def _existing(parameter: str, is_there: Callable[[Path], bool], what: str) -> Callable[[Values], Iterator[str]]:
    def check(values: Values) -> Iterator[str]:
        if (name := values[parameter]) and not is_there(located(name)):
            yield f"{parameter}: {name}: there is no such {what}"

    return check


def _sizes(values: Values) -> Iterator[str]:
    if len(values["bench_script"]) != len(values["bench_actions"]):
        yield "bench_script and bench_actions: give as many numbers for one as for the other"


def _online(values: Values) -> Iterator[str]:
    """Say what does not go with playing anew before every step."""
    is_online = values["n_online"] > 0
    if is_online != (values["objective"] == "policy_gradient"):
        yield (f"objective: {values['objective']} with n_online: {values['n_online']}; a policy gradient is "
               "taken on new games: set `objective: policy_gradient` and `n_online` above 0, or neither")  # fmt: skip
    if is_online and values["control"]:
        yield "control: true with n_online: games played anew have no labels to shuffle beforehand; set it to false"
    if is_online and values["num_processes"] > 1:
        yield f"num_processes: {values['num_processes']} with n_online: one process plays and learns; set it to 1"
    if is_online and values["temperature"] != 1:
        yield f"temperature: {values['temperature']:g} with n_online: what is drawn is what is learned; set it to 1"


def _temperatures(values: Values) -> Iterator[str]:
    if not values["temperatures"]:
        yield "temperatures: none is given; at least one is needed"


def _experts(values: Values) -> Iterator[str]:
    if values["experts_first"] and values["maro_iterations"] < 2:
        yield "experts_first: round 1 only imitates; set `maro_iterations` to 2 or more, or leave it out"
    if values["experts_first"] and values["server_url"]:
        yield "experts_first: scripted experts play here, not on a server; leave out one of the two"


def _slices(values: Values) -> Iterator[str]:
    if values["n_slices"] and not find_spec("ray"):
        yield "n_slices: Ray plays them, and is not installed: pip install -e '.[ray]', or set it to 0"
    if values["n_slices"] and values["server_command"]:
        yield "n_slices with server_command: every slice would start a server; start it yourself, and give server_url"
    if values["slices_at"] and not values["n_slices"]:
        yield "slices_at: there are no slices; set `n_slices`"


def _trackers(values: Values) -> Iterator[str]:
    for tracker in values["report_to"]:
        if not find_spec(tracker):
            install = f".venv/bin/python -m pip install -e '.[{tracker}]'"
            yield f"report_to: {tracker} is not installed: {install}, or leave it out"


CHECKS: dict[str, Callable[[Values], Iterator[str]]] = {  # the parameters that a check needs
    "script stages characters clues": _knobs,
    "script": _script,
    "world world_knobs allow_code": _world,
    _LESSONS: _lessons,
    "lesson_start": _first_lessons,
    "script window max_new_tokens": _windows,
    "model adapter server_url server_command server_key_env": _players,
    "camp_weights": _camps,
    "elsewhere": _elsewhere,
    "judge judge_server_url judge_server_key_env": _judge,
    "evals safety_evals": _tasks("evals", "safety_evals"),
    "asked": _tasks("asked"),
    "eval_data": _existing("eval_data", Path.is_dir, "folder"),
    "objective n_online control num_processes temperature": _online,
    "temperatures": _temperatures,
    "experts_first maro_iterations server_url": _experts,
    "n_slices slices_at server_command": _slices,
    "accelerate_config": _existing("accelerate_config", Path.is_file, "file"),
    "bench_script bench_actions": _sizes,
    "report_to": _trackers,
}
