"""Will a long run work? What a parameter file asks for, against what this machine has, before anything is played.

Each check is one line: ok, a warning (it will work, but not as one might think), or a problem (it won't), with what was
found, what was expected, and what to do. Nothing is downloaded and nothing is written; relative paths begin where the
notebooks run. `python -m maro_lib doctor params/x.yaml` prints it. The checks are in

    quick      values that don't go together, files that aren't there: a series looks at these by itself
    machine    Python and packages, device, 4 bits, disk
    models     the model's files, its template, its adapter; a model on a server
    fit        memory, training, reuse, context, time of the games
    stages     time of the whole run, memory of the evaluation, the evaluations' data
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from maro_lib.model.estimates import Plan, Speed
from maro_lib.model.players import Player
from maro_lib.run import fit, machine, models, stages
from maro_lib.run.arrangement import check_rounds, find_notebooks
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding
from maro_lib.run.parameters import ParameterError, declared, effective, load_params
from maro_lib.run.quick import not_asked, quick_problems
from maro_lib.run.sample import Sample, play_one
from maro_lib.runs import ROOT, RunError, outputs_folder
from maro_lib.wording import counted, first_line


def doctor(params: str, changed: Sequence[str] = ()) -> int:
    """Print what was found, and return the exit code: 1 if there is a problem."""
    statuses = []
    print(f"{params}: will this run work?")
    try:
        known = declared(find_notebooks(ROOT / "notebooks"))
        values = effective(load_params(params, known, changed), known)
        check_rounds(values, known)
    except (ParameterError, RunError) as error:
        print(Finding(PROBLEM, "parameters", str(error)))
        return 1
    for finding in findings(values):
        print(finding, flush=True)
        statuses.append(finding.status)
    print(", ".join(counted(statuses.count(status), status) for status in (PROBLEM, WARNING)))
    return int(PROBLEM in statuses)


def findings(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield one finding after the other; a later check leaves out what an earlier one found missing."""
    if problems := list(quick_problems(values)):
        yield Finding(PROBLEM, "parameters", "; ".join(problems))
        return
    player = Player(**{f.name: values[f.name] for f in fields(Player) if f.name in values})
    who = f"{player.model} on {player.server_url}" if player.server_url else player.model
    yield Finding(OK, "parameters", f"run `{values['run']}`: {values['n_games']:,} games, played by {who}")
    for task in not_asked(values):
        yield Finding(WARNING, "evals", task)
    yield machine.check_packages((ROOT / "requirements.txt").read_text(encoding="utf-8"), machine.installed_version)
    yield machine.check_device(player)
    model, chat = None, None
    if not (player.is_scripted or player.server_url):
        from huggingface_hub import constants

        try:
            model, offline = models.find_model(player.model), constants.HF_HUB_OFFLINE
        except ValueError as error:  # a GGUF file that can't be read, an adapter without a base
            yield Finding(PROBLEM, "model", str(error))
            return
        yield models.check_model(model, offline)
        if model.folder:
            finding, chat = models.check_template(player, model, offline)
            yield finding
    try:
        sample = play_one(values, player, chat)
    except (ValueError, OSError) as error:  # what a script, a knob or a rule refuses
        yield Finding(PROBLEM, "scripts", str(error))
        return
    yield Finding(OK, "scripts", f"a game of {sample.n_players} has about {sample.n_actions} actions; views of "
                  f"{sample.first:,} to {sample.longest:,} tokens, up to {sample.at_most:,} if every reply were "
                  f"as long as allowed ({sample.counted})")  # fmt: skip
    if player.is_scripted:
        span, how = fit.pace_measured(player, values)
        yield fit.time_of(span, values, sample, how)
    elif player.server_url:
        yield from _on_server(player, values, sample)
    else:
        yield from _on_this_machine(player, values, model, sample)
    yield from stages.check_data(values)
    n_games = values["n_games"] * values.get("maro_iterations", 1)
    yield machine.check_disk(outputs_folder(), sample.bytes * n_games)


def _on_this_machine(
    player: Player, values: Mapping[str, Any], model: models.FoundModel, sample: Sample
) -> Iterator[Finding]:
    if player.precision == "nf4":
        yield machine.check_bitsandbytes()
    if player.adapter:
        yield models.check_adapter(player.adapter)
    plan, why = _plan(player, values, model, sample)
    if plan is None:
        yield Finding(WARNING, "memory", f"not estimated, {why}")
        return
    yield fit.check_memory(plan.memory(player.cache_gb), machine.free_memory())
    yield fit.check_training(plan, values, machine.free_memory())
    yield fit.check_reuse(plan, player.cache_gb, sample.n_players)
    yield fit.check_context(sample, plan.window, fit.room_of(plan.window, player))
    speed = machine.measure_speed(plan.compute)
    span, how = fit.pace_estimated(player, sample, plan, speed)
    if not model.missing() and model.size <= fit.TIMED_BYTES:
        try:
            span, how = fit.pace_measured(player, values)
        except (ValueError, RuntimeError) as error:  # a model, a template, a window: each says what to do
            yield Finding(PROBLEM, "model", f"it does not play: {error}")
            return
    yield fit.time_of(span, values, sample, how)
    yield stages.check_evaluation(plan, values, machine.free_memory())
    yield stages.total([*stages.stages(values, sample, plan, speed, span, span)], values["maro_iterations"])


class RunPace(NamedTuple):
    """How fast a run goes on this machine: what the times of its stages follow from."""

    sample: Sample
    plan: Plan
    speed: Speed
    reply: fit.ReplySeconds

    def spans(self, values: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """Return the seconds of each notebook with some values, from at least to at most."""
        times = stages.stages(values, self.sample, self.plan, self.speed, self.reply, self.reply)
        crossed = {"12_strength": stages.cross_play_seconds(values, self.sample, self.reply)}
        return stages.by_notebook([*times], values["maro_iterations"]) | crossed


def measure_pace(values: Mapping[str, Any]) -> RunPace | None:
    """Measure how fast a run would go; nothing where that is not known (a server plays, the model is not here)."""
    player = Player(**{f.name: values[f.name] for f in fields(Player) if f.name in values})
    if player.is_scripted or player.server_url:
        return None
    model = models.find_model(player.model)
    if not model.folder:
        return None
    sample = play_one(values, player, models.check_template(player, model, offline=True)[1])
    plan, _ = _plan(player, values, model, sample)
    if plan is None:
        return None
    speed = machine.measure_speed(plan.compute)
    is_small = not model.missing() and model.size <= fit.TIMED_BYTES
    span, _ = fit.pace_measured(player, values) if is_small else fit.pace_estimated(player, sample, plan, speed)
    return RunPace(sample, plan, speed, span)


def _plan(
    player: Player, values: Mapping[str, Any], model: models.FoundModel, sample: Sample
) -> tuple[Plan | None, str]:
    """How a model would play, or why that can't be said."""
    if not model.folder:
        return None, "nor context and time: the model's config.json is not here"
    try:
        return fit.plan_of(player, values, model.config(), sample), ""
    except (OSError, ValueError, AttributeError) as error:  # said before, as the model's problem
        return None, first_line(error)


def _on_server(player: Player, values: Mapping[str, Any], sample: Sample) -> Iterator[Finding]:
    """Check that a server answers, or that it can be started."""
    finding, serves = (models.check_command(player), 0) if player.server_command else models.check_server(player)
    yield finding
    if window := min(filter(None, (player.window, serves)), default=0):
        yield fit.check_context(sample, window, fit.room_of(window, player))
    else:
        yield Finding(WARNING, "context", f"not known; views grow to {sample.longest:,} tokens", "",
                      "set `window` to the context length that the server runs with")  # fmt: skip
    n = values["n_games"] * sample.n_actions
    yield Finding(OK, "time", f"unknown: it depends on the server ({n:,} replies, {player.server_requests} at a time)")
    yield from _here_besides(player, values, sample)


def _here_besides(player: Player, values: Mapping[str, Any], sample: Sample) -> Iterator[Finding]:
    """What a run that plays on a server does on this machine: training, matches, evaluation."""
    here = replace(player, server_url="", server_command="", precision="nf4" if values["load_in_4bit"] else "auto")
    if here.is_scripted:
        return
    model = models.find_model(here.model)
    found = models.check_model(model, offline=False)
    yield found._replace(found=f"notebooks 05 to 07 load it here: {found.found}")
    at_once = values["match_concurrency"] or values["concurrency"]
    plan, why = _plan(here, values | {"concurrency": at_once, "n_games": values["n_matches"]}, model, sample)
    if plan is None:
        yield Finding(WARNING, "memory", f"of training and matches here: not estimated, {why}")
        return
    yield fit.check_memory(plan.memory(here.cache_gb), machine.free_memory())
    yield fit.check_training(plan, values, machine.free_memory())
    yield fit.check_reuse(plan, here.cache_gb, sample.n_players)
    speed = machine.measure_speed(plan.compute)
    span, _ = fit.pace_estimated(here, sample, plan, speed)
    yield stages.check_evaluation(plan, values, machine.free_memory())
    unknown = fit.ReplySeconds(0, 0)
    yield stages.total([*stages.stages(values, sample, plan, speed, unknown, span)], values["maro_iterations"])
