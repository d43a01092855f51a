"""Training: a corpus becomes an adapter in a folder, and what was cut short goes on from its last checkpoint.

What happens in a step is in `trainer`, what is minimised in `loss`. Taught in notebook 05.

Differs from the paper: 4-bit weights where asked for, and an optional anchor (see `loss`).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from accelerate import PartialState
from safetensors import SafetensorError

from maro_lib.learn.account import as_curve, notes_of, seconds_of
from maro_lib.learn.adapters import adapted
from maro_lib.learn.corpus import TAKEN, Corpus
from maro_lib.learn.guard import Guard, Live, Watch
from maro_lib.learn.pairs import paired
from maro_lib.learn.references import REFERENCES_FOLDER, references_path
from maro_lib.learn.settings import Settings
from maro_lib.learn.tracking import tracked
from maro_lib.learn.trainer import Diverged, MaroTrainer, TrainingError, is_on_cpu, whole_checkpoints
from maro_lib.model.adapter_files import Origin, seal
from maro_lib.model.loading import Loaded, quiet
from maro_lib.play.shards import set_aside
from maro_lib.runs import Unreadable, clear_leftovers, make_folder, parse_record, read_record, short_path, write_atomic


@dataclass(frozen=True)
class Trained:
    """What training left behind."""

    folder: Path  # of the adapter
    curve: pd.DataFrame  # one row per step
    status: str  # "finished", or why it stopped early
    notes: tuple[str, ...] = ()
    seconds: float = 0.0  # that its steps took

    @property
    def cost(self) -> dict[str, float]:
        """Games and tokens that were played for it alone, tokens that it read, seconds of its steps."""
        sums = self.curve.reindex(columns=["games", "sampled", "tokens"]).sum().astype(int)
        played = {"games played anew": sums["games"], "tokens sampled anew": sums["sampled"]}
        return played | {"tokens trained": sums["tokens"], "seconds": round(self.seconds, 1)}


class Done(NamedTuple):
    """done.json: that a training came to its end."""

    status: str
    notes: tuple[str, ...]
    seconds: float = 0.0


class JobRecord(NamedTuple):
    """job.json: all that decides what is learned, as a digest."""

    digest: str


_Record = TypeVar("_Record", Done, JobRecord)


def train(
    loaded: Loaded, corpus: Corpus, settings: Settings, folder: Path, *,
    watch: Watch | None = None, live: Live | None = None,
) -> Trained:  # fmt: skip
    """Train an adapter into `folder`; called again it goes on from the last checkpoint, or finds the work done."""
    if not len(corpus):
        raise TrainingError(f"there is nothing to train on. {corpus.statement}")
    folder = Path(folder)
    corpus = paired(corpus) if settings.objective == "dpo" else corpus
    place = partial(references_path, folder.parent / REFERENCES_FOLDER, loaded, half=settings.half)

    def trainer_of(learner: Loaded) -> MaroTrainer:
        return MaroTrainer(learner, corpus, settings, folder, place)

    return carry_out(trainer_of, loaded, settings, folder, _digest(loaded, corpus, settings), watch, live)


def carry_out(
    trainer_of: Callable[[Loaded], MaroTrainer], loaded: Loaded, settings: Settings, folder: Path, digest: str,
    watch: Watch | None, live: Live | None,
) -> Trained:  # fmt: skip
    """Let a trainer do its work into `folder`, or what is left of it; `digest` tells one work from another."""
    origin = loaded.origin  # before FSDP cuts the weights
    with PartialState(cpu=is_on_cpu(loaded)).main_process_first():  # the others find it open
        _open_job(folder, digest)
    if trained := finished(folder):
        return trained
    with quiet(), tracked(settings.report_to, folder), adapted(loaded, settings) as learner:
        trainer = trainer_of(learner)
        trainer.add_callback(Guard(trainer, watch, live))
        status, history = _train(trainer, folder), trainer.state.log_history
        notes = notes_of(history, settings.objective)
        trained = Trained(folder / "adapter", as_curve(history), status, (*notes,), seconds_of(history))
        _save(trainer, trained, origin)
        trainer.accelerator.wait_for_everyone()
    return trained


def _train(trainer: MaroTrainer, folder: Path) -> str:
    """Go on from the last checkpoint to the end, or back to the last good one; say which."""
    good = whole_checkpoints(folder)
    try:
        trainer.train(resume_from_checkpoint=str(good[-1]) if good else None)
        return "finished"
    except Diverged as error:
        if not (good := whole_checkpoints(folder)):
            way_out = "take a smaller learning rate, or a smaller `check_every`"
            raise TrainingError(f"{error}, before there was a checkpoint: {way_out}") from None
        _restore(trainer, good[-1])
        return f"stopped at {error}; this is the last good checkpoint ({good[-1].name})"
    finally:
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


def finished(folder: Path) -> Trained | None:
    """Return what a training left in its folder, if it came to its end."""
    if not (folder / "done.json").exists():
        return None
    done = read_record(folder / "done.json", Done)
    return Trained(folder / "adapter", pd.read_parquet(folder / "curve.parquet"), *done)


def is_finished(folder: Path) -> bool:
    """Whether a training came to its end; with a damaged record it has to say so again."""
    return _told(folder / "done.json", Done) is not None


def _open_job(folder: Path, digest: str) -> None:
    """Make a folder ready for this training; another one's work is set aside, and what was cut short is removed."""
    path, job = folder / "job.json", JobRecord(digest)
    if _told(path, JobRecord) != job and folder.exists() and any(folder.iterdir()):
        set_aside(folder)
    if not is_finished(folder):
        set_aside(folder / "done.json")
    make_folder(folder)
    if not path.exists():
        write_atomic(path, json.dumps(job._asdict()))
    clear_leftovers(folder)
    whole = whole_checkpoints(folder)
    for leftover in (p for p in folder.glob("checkpoint-*") if p not in whole):
        shutil.rmtree(leftover)


def _told(path: Path, kind: type[_Record]) -> _Record | None:
    """Read a record of this folder; one that is damaged is named, and as good as none."""
    try:
        return parse_record(path, kind)
    except Unreadable as error:
        if path.exists():
            print(
                f"training: {path.name} {error}: it is set aside, and what it tells of is done again", file=sys.stderr
            )
        return None


def _digest(loaded: Loaded, corpus: Corpus, settings: Settings) -> str:
    """All that decides what is learned."""
    total = hashlib.blake2b(digest_size=12)
    total.update(json.dumps([settings.deciding, loaded.name, loaded.precision, loaded.fingerprint]).encode())
    for ids in corpus.ids:
        total.update(np.asarray(ids, np.int32).tobytes())
    total.update(corpus.actions[[*TAKEN, "row", "start", "end"]].to_csv().encode())
    return total.hexdigest()


def _restore(trainer: MaroTrainer, good: Path) -> None:
    """Put the adapter back to where it was at a checkpoint."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(trainer.model, load_peft_weights(str(good), device=str(trainer.args.device)))


def _save(trainer: MaroTrainer, trained: Trained, origin: Origin) -> None:
    """Write adapter and curve, then the word that all is done; all processes take part, the first one writes."""
    temporary, folder = trained.folder.with_name(".adapter.tmp"), trained.folder.parent
    try:
        trainer.save_model(str(temporary), _internal_call=True)
        if not trainer.is_world_process_zero():
            return
        (temporary / "README.md").unlink(missing_ok=True)  # PEFT's template, which names a place of this machine
        seal(temporary, origin)
        shutil.rmtree(trained.folder, ignore_errors=True)
        temporary.rename(trained.folder)
        buffer = io.BytesIO()
        trained.curve.to_parquet(buffer, index=False)
        write_atomic(folder / "curve.parquet", buffer.getvalue())
        done = Done(trained.status, trained.notes, trained.seconds)
        write_atomic(folder / "done.json", json.dumps(done._asdict()))
    except (OSError, SafetensorError) as error:
        place = short_path(trained.folder)
        raise TrainingError(f"{place}: can't be written ({error}); the last checkpoint is safe. Free some space and "
                            "run the same command again") from None  # fmt: skip
