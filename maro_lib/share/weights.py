"""What a run has learned, as weights with a model card: the adapter on its base, and both merged into one model.

The card says on what it was trained and how, what it gained in held-out games, and what the control gained there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from maro_lib.fingerprints import files_of
from maro_lib.learn.balancing import read_lambdas
from maro_lib.learn.export import NOTE, merge
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import finished
from maro_lib.measure.comparison import LEVEL, NOT_JUDGED
from maro_lib.measure.matches import CONTROL, MARO
from maro_lib.measure.metrics import with_judge
from maro_lib.model.adapter_files import ADAPTER_FILES, ORIGIN, WEIGHTS, AdapterError, digest_of, read_adapter
from maro_lib.model.gguf import SMOLLM2
from maro_lib.runs import MissingInput, located, read_record, shown
from maro_lib.share.cards import Markdown, code, filled_words, rows_of, write_card
from maro_lib.share.source import Source
from maro_lib.share.terms import root_model, terms_of
from maro_lib.wording import counted, signed

HUB_NAMES = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}  # of models that the kit knows by another name
BEFORE_TRAINING = ("n_games", "n_scripts", "rule", "mode", "classes")  # told beside the settings of training
FIGURES_HEAD = "| as | metric | base | trained | change, 95 % interval | verdict | control's change | games / scripts |"
NO_FIGURES = "Not measured: notebook 06 of this run has not been run."


def write_adapter_set(source: Source, folder: Path) -> None:
    """Copy a run's adapter, with a card."""
    learned, facts = source.at("learning") / "adapter", weights_facts(source)  # a damaged one is refused
    _copy((learned / name for name in ADAPTER_FILES), folder)
    write_card(folder, "adapter", weights_header(source, "peft"), **facts)


def write_merged_set(source: Source, folder: Path) -> None:
    """Copy a run's merged weights, or merge them where that is asked for, with a card."""
    merged, learned = source.path("merged"), source.at("learning") / "adapter"
    if merged.exists():
        _copy(files_of(source.at("merged")), folder)
    elif source.merging:
        folder.rmdir()
        merge(source.model, learned, folder)
    else:
        raise MissingInput(f"{shown(merged)} is missing (`export_merged: false`); --merge makes it")
    gap = read_record(folder / NOTE, dict[str, Any])["largest_gap"]
    write_card(folder, "merged", weights_header(source, "transformers"), gap=f"{gap:.1g}", **weights_facts(source))


def is_merged_here(merged: Path, adapter: Path) -> bool:
    """Whether a folder holds the merged weights of this adapter, not of one that was trained before."""
    if not (merged / NOTE).exists():
        return False
    return read_record(merged / NOTE, dict[str, Any])["adapter_digest"] == digest_of((adapter / WEIGHTS).read_bytes())


def _copy(files: Iterable[Path], folder: Path) -> None:
    for path in files:
        shutil.copyfile(path, folder / path.name)


def weights_header(source: Source, library: str) -> dict[str, Any]:
    """Return a model card's header; a base is named where the hub knows it."""
    root = root_model(source)
    name = HUB_NAMES.get(root, root)
    on_hub = {"base_model": name} if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not located(root).exists() else {}
    tags = ["maro", "multi-agent", "self-play", *(["lora"] if library == "peft" else [])]
    return {"license": terms_of(source).licence, "library_name": library, **on_hub,
            "pipeline_tag": "text-generation", "tags": tags}  # fmt: skip


def weights_facts(source: Source) -> dict[str, object]:
    """Return what every card of weights says of them: what they were made from, how, and what was gained."""
    learned = source.at("learning")
    origin, training = read_adapter(learned / "adapter").origin, finished(learned)
    if origin is None:
        raise AdapterError(f"{shown(learned)}/adapter: no {ORIGIN} says on which model it was trained; train again")
    n_steps = int(training.curve["objective"].notna().sum())
    known = {name: source.parameter(name) for name in (*BEFORE_TRAINING, *(field.name for field in fields(Settings)))}
    known |= read_lambdas(source.at("training.json"))
    settings = rows_of((code(name), _plain(value)) for name, value in known.items() if value is not None)
    told = filled_words(
        "learned", status=training.status, steps=counted(n_steps, "step"), settings=settings,
        precision=origin.precision, figures=figures(source), level=f"{LEVEL:g}",
    )  # fmt: skip
    return {"run": source.title, "base": code(origin.model), "learned": told, "terms": terms_of(source).told}


def _plain(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def figures(source: Source) -> Markdown:
    """Return a table of what was gained in held-out games, the control's gain beside it."""
    try:
        compared = source.table("comparison.parquet")
    except MissingInput:
        return Markdown(NO_FIGURES)
    control = {(row.who, row.metric): row for row in compared[compared["arm"] == CONTROL].itertuples()}
    own = compared[compared["arm"] == MARO].itertuples()
    rows = [_figure(row, control.get((row.who, row.metric))) for row in own]
    return Markdown("\n".join([FIGURES_HEAD, "|---" * 8 + "|", rows_of(rows)]))


def _figure(row: Any, control: Any) -> list[object]:
    what = [f"{row.who}s", with_judge(row.metric, row.judge)]
    if row.verdict == NOT_JUDGED:
        return [*what, "", "", "", NOT_JUDGED, "", ""]
    blind = "no control" if control is None else _change(control)
    means, n = (f"{row.base:.3f}", f"{row.trained:.3f}"), f"{row.games} / {row.mysteries}"
    return [*what, *means, _change(row), row.verdict, blind, n]


def _change(row: Any) -> str:
    return f"{signed(row.change, 3)} [{signed(row.low, 3)}, {signed(row.high, 3)}]"
