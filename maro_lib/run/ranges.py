"""What each parameter may be: `RANGES` says it in the words that an error and docs/parameters.md use.

    0 to 1, above 0, 1 or more          numbers; of a list or mapping, each of its values
    one of keep, drop                   texts
    one of learn.settings.REFERENCE_POINTS   what the library knows: a tuple, the keys of a dict, a function's answer
    any text, any number, yes or no     nothing to check beyond the type

Ranges are wide: they refuse what can't be meant, and what would end in memory or in years. What depends on several
parameters or on this machine is looked at by `maro_lib.run.quick`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

from maro_lib.runs import ROOT
from maro_lib.wording import nearest

RANGES = {
    "yes or no": "progress rewriting_template load_in_4bit checkpointing half control study_adapter export_merged "
    "experts_first allow_code learns "
    "bench_half bench_checkpointing start_half",
    "any text": "run from_run script model adapter server_url server_command server_key_env optimiser "
    "accelerate_config judge judge_server_url judge_server_key_env evals safety_evals eval_data keep_as keep_in "
    "ship_adapter start_model lesson_start ship_start sweeps slices_at opponent person_name world world_knobs "
    "played_in asked",
    "any number": "z0_fixed",
    "traits of a mystery as notebook 02 has them": "elsewhere",
    "0 to 4,000,000,000": "seed lesson_seed",
    "0 or more": "anchor slice_gpus camp_weights lam_pos lam_neg",
    "above 0": "beta max_grad_norm",
    "above 0, at most 1": "gamma",
    "0 to 1": "share_good start_share_good z0_decay warmup max_illegal lesson_share_good lesson_share_skilled "
    "lesson_share_candid lesson_share_tasks lesson_share_drills lesson_share_orders lesson_shares",
    "above 0, at most 10": "lesson_lr lesson_lr_matrices learning_rate start_learning_rate",
    "above 0, at most 1,000": "epochs",
    "above 0, at most 86,400": "server_timeout server_wait",
    "0 to 100": "temperature temperatures judge_retries",
    "0 to 10,000": "cache_gb n_quick",
    "0 to 100,000": "match_concurrency n_online n_slices",
    "0 to 10,000,000": "window eval_limit n_judged n_dialogues n_asked",
    "1,000 to 1,000,000,000,000": "lesson_tokens",
    "64 to 10,000,000": "lesson_batch_tokens",
    "8 to 8,192": "hidden",
    "above 0, at most 100": "lesson_world_shares lesson_weight_ratings",
    "300 to 100,000": "lesson_vocabulary",  # each byte is a token
    "one of embedded.other_worlds.TAUGHT": "lesson_worlds lesson_shown start_worlds",
    "1 to 100": "layers rounds maro_iterations n_samples",
    "1 to 1,000": "n_check n_forced_seeds num_processes bench_rounds",
    "2 to 1,000": "n_checkpoints",
    "2 to 100,000": "n_counterfactual",  # rules that learn need two mysteries
    "1 to 1,024": "lora_rank lora_alpha start_rank",
    "1 to 100,000": "n_exam_games n_exam_items n_points max_new_tokens concurrency server_requests "
    "batch check_every n_views n_matches n_match_scripts n_elsewhere n_check_games eval_batch max_gen_toks "
    "n_forced n_forced_scripts n_cross n_cross_scripts n_stand_in bench_script bench_actions bench_action_tokens "
    "bench_observed_tokens start_games start_batch start_check_every start_look_games start_end_games",
    "1 to 1,000,000": "n_games n_scripts n_compare n_world_games n_world_scenarios n_home_games n_away_games",
    "1 to 1,000,000,000": "batch_tokens",
    "1 to 4": "stages",
    "0 to 3": "special_rules",
    "3 to 12": "characters",
    "1 to 11": "culprits",
    "1 to 12": "places",
    "1 to 24": "clues",
    "0 to 24": "red_herrings",
    "0 to 48": "private_clues",
    "one of closed, open": "ending",
    "one of study.scenes.REGISTERS": "register start_register",
    "one of world.generator.LANGUAGES": "language",
    "one of world.scripts.bundled": "case",
    "one of model.loading.PRECISIONS": "precision judge_precision start_precision",
    "one of runs.OPPONENTS": "opponents",
    "one of learn.decomposition.cheap_rules": "rule",
    "one of own, shuffled": "outcomes",
    "one of learn.balancing.MODES": "mode",
    "one of keep, drop": "illegal",
    "one of kept, study, rounds": "contenders",
    "one of you, skilled, naive, random": "person",
    "one of overall, per_faction": "classes",
    "one of seats, games": "across",
    "one of success, payoff": "outcome",
    "one of learn.settings.OBJECTIVES": "objective",
    "one of learn.settings.REFERENCE_POINTS": "z0",
    "one of learn.settings.TRACKERS": "report_to",
    "one of measure.metrics.DEFINITIONS": "metrics_mode",
    "one of study.trainbench.SHAPES": "bench_model",
    "one of float32, bfloat16, nf4": "bench_precision",
    "one of auto, cpu, cuda": "bench_device",
}
RANGE_OF = {name: told for told, names in RANGES.items() for name in names.split()}
_NUMBERS = re.compile(r"(?P<open>above )?(?P<low>[\d,]*\d)(?:(?: to |, at most )(?P<high>[\d,]+)| or more)?")


def range_of(name: str) -> str:
    """Say what a parameter may be; a name that has no range may be anything of its type."""
    told = RANGE_OF.get(name, "")
    return f"one of {', '.join(_choices(told))}" if told.startswith("one of") else told


def outside(name: str, value: Any) -> str:
    """Say what is wrong with a value of the right type; nothing when it may be."""
    told = RANGE_OF.get(name, "")
    values = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
    wrong = next((x for x in values if not _may_be(told, x)), None)
    if wrong is None:
        return ""
    hint = nearest(wrong, _choices(told)) if told.startswith("one of") else ""
    return f"must be {range_of(name)}, got {wrong!r}{hint}"


def _may_be(told: str, x: Any) -> bool:
    if told.startswith("one of"):
        return x in _choices(told)
    if isinstance(x, float) and not math.isfinite(x):
        return False
    if not (bounds := _NUMBERS.fullmatch(told)):
        return True
    low, high = (float((bounds[side] or "inf").replace(",", "")) for side in ("low", "high"))
    return (low < x if bounds["open"] else low <= x) and x <= high


@cache
def _choices(told: str) -> tuple[str, ...]:
    words = told.removeprefix("one of ").split(", ")
    return tuple(choice for word in words for choice in (_known(word) if "." in word else [word]))


def _known(place: str) -> Iterable[str]:
    """Read a tuple or a dict's keys from a module's text, since importing it may load torch; ask a function."""
    module, _, name = f"maro_lib.{place}".rpartition(".")
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return [ast.literal_eval(part) for part in getattr(node.value, "keys", None) or node.value.elts]
    return getattr(import_module(module), name)()
