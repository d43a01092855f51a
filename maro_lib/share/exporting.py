"""Export: what a run has made, in the forms of other tools, each in a folder of its own with a card.

    training/      the balanced training set, for `datasets` and TRL
    games/         its self-play games, for `datasets`
    adapter/       the adapter, for PEFT
    merged/        base and adapter as one model, for transformers
    gguf/          the same in one file, for llama.cpp
    environment/   its mysteries as a package, for `verifiers`

A part whose stage has not been run is named, and the others are exported. Nothing is sent anywhere: what is said at the
end are the commands with which the user may do that. `python -m maro_lib export outputs/x --to FOLDER`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from maro_lib.fingerprints import files_of, library_digest, output_digest, text_digest
from maro_lib.learn.export import ExportError
from maro_lib.model.adapter_files import AdapterError
from maro_lib.model.gguf import GgufError
from maro_lib.play.shards import StorageError
from maro_lib.runs import RunError
from maro_lib.share.environment import write_environment
from maro_lib.share.folder import ExportFolder, ShareError
from maro_lib.share.game_set import write_game_set
from maro_lib.share.gguf_weights import write_gguf_set
from maro_lib.share.source import Source
from maro_lib.share.terms import terms_of
from maro_lib.share.training_set import write_training_set
from maro_lib.share.weights import write_adapter_set, write_merged_set
from maro_lib.summary import peek_summary
from maro_lib.wording import amount, counted


class ExportPart(NamedTuple):
    """One form in which something leaves the house: its folder, what it is made of, and what the hub calls it."""

    name: str
    write: Callable[[Source, Path], None]
    reads: tuple[str, ...]
    kind: str  # dataset or model; empty: the hub has no place for it


GAMES_MADE = ("rollout", "gamebook.json", "02_rollout.json")  # by these a card knows whose words it holds
SET_MADE = ("training.parquet", "training.json", "03_decomposition.json")
LEARNED = ("learning", "training.json", "comparison.parquet")
FORMS = (
    ExportPart("training", write_training_set, (*GAMES_MADE, *SET_MADE), "dataset"),
    ExportPart("games", write_game_set, GAMES_MADE, "dataset"),
    ExportPart("adapter", write_adapter_set, (*GAMES_MADE, *LEARNED), "model"),
    ExportPart("merged", write_merged_set, (*GAMES_MADE, *LEARNED, "merged"), "model"),
    ExportPart("gguf", write_gguf_set, (*GAMES_MADE, *LEARNED, "merged"), "model"),
    ExportPart("environment", write_environment, GAMES_MADE, ""),
)


def export_run(run: str, n_rounds: int, target: str, *, merging: bool = False) -> str:
    """Export a run into a folder; return what is there now, what is missing, and how to send it on."""
    folder = Path(target)
    source = Source(run, n_rounds, peek_summary(run), folder, merging)
    sources, done, missing = _digests(source), {}, {}
    with ExportFolder(folder, run) as export:
        for part in FORMS:
            try:
                done[part] = export.put(part.name, sources[part], partial(part.write, source))
            except ShareError:
                raise
            except (RunError, AdapterError, ExportError, GgufError, StorageError) as error:
                missing[part] = str(error)
    return "\n".join(_told(folder, source, done, missing))


def _digests(source: Source) -> dict[ExportPart, str]:
    """Digest all that decides what each part holds."""
    common = [library_digest([f"import {__name__}"]), str(source.n_rounds), str(source.summary.parameters)]
    made = {name: output_digest(source.of(name), name) for part in FORMS for name in part.reads}
    return {part: text_digest([*common, *(made[name] for name in part.reads)]) for part in FORMS}


# --- what is said --------------------------------------------------------------------------------------


def _told(folder: Path, source: Source, done: dict[ExportPart, str], missing: dict[ExportPart, str]) -> Iterator[str]:
    yield f"{folder}/"
    for part, how in done.items():
        yield f"  {part.name}/  {how}"
        yield from (f"    {line}" for line in _listed(folder / part.name))
    for part, why in missing.items():
        is_there = (folder / part.name).exists()
        old = "; the one that is there is of an earlier state of the run" if is_there else ""
        yield f"{part.name}/ is left out: {why}{old}"
    if done:
        yield from _sending(folder, source, done)


def _listed(folder: Path) -> Iterator[str]:
    """Say of each file of a part how large it is, and of tables how many rows they have."""
    for path in files_of(folder):
        rows = f", {counted(pq.read_metadata(path).num_rows, 'row')}" if path.suffix == ".parquet" else ""
        yield f"{path.relative_to(folder)}  {amount(path.stat().st_size)}{rows}"


def _sending(folder: Path, source: Source, done: Iterable[ExportPart]) -> Iterator[str]:
    """Say how to send it on, or why not to."""
    if (terms := terms_of(source)).is_restricted:
        yield f"Nothing has been sent anywhere, and nothing should be. {terms.told}"
        return
    yield "Nothing has been sent anywhere. Read the README.md of each part; then these commands publish it:"
    for part in (part for part in done if part.kind):
        name = f"YOUR_NAME/{source.run.replace('/', '-')}-{part.name}"
        kind = " --repo-type dataset" if part.kind == "dataset" else ""
        yield f"  hf upload {name} {shlex.quote(str(folder / part.name))} .{kind}"
