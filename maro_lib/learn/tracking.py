"""Trackers: a training's numbers also go where `report_to` says, through transformers' own integrations.

    trackers/tensorboard/learning     event files; tensorboard --logdir outputs/<run>/trackers/tensorboard
    trackers/trackio                  a SQLite file; TRACKIO_DIR=outputs/<run>/trackers/trackio trackio show
    trackers/wandb, trackers/mlflow   what these two keep here; they are told nothing else, and may need their own login

They lie in the run's folder, beside the adapters. Where one of the tracker's own variables is set, it decides. Scalars
are called as the curve's columns, behind `train/`. No key is read here. Used by `training`; a parameter of notebook 05.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from accelerate import PartialState

from maro_lib.runs import make_folder, outputs_folder

PROJECT = "maro"
HOMES = {  # by tracker: the variable that says where its files lie
    "trackio": "TRACKIO_DIR",  # which it reads once in a process
    "tensorboard": "TENSORBOARD_LOGGING_DIR",
    "wandb": "WANDB_DIR",
    "mlflow": "MLFLOW_TRACKING_URI",
}


def tracked_name(folder: Path) -> str:
    """What a training is called at a tracker: cpu/learning, cpu/round_2/control."""
    folder, outputs = Path(folder).absolute(), outputs_folder()
    return str(folder.relative_to(outputs)) if folder.is_relative_to(outputs) else folder.name


@contextlib.contextmanager
def tracked(trackers: Sequence[str], folder: Path) -> Iterator[None]:
    """Let the trackers of a training into `folder` keep their files in the run's folder."""
    homes = {HOMES[tracker]: _home(tracker, folder) for tracker in trackers if HOMES[tracker] not in os.environ}
    os.environ.update(homes)
    try:
        if "trackio" in trackers and PartialState().is_main_process:
            _begin_trackio(tracked_name(folder))
        yield
    finally:
        for variable in homes:
            del os.environ[variable]


def _home(tracker: str, folder: Path) -> str:
    at = Path(folder).absolute().parent / "trackers" / tracker
    at = at / folder.name if tracker == "tensorboard" else at  # it tells runs apart by their folders
    make_folder(at)
    return f"sqlite:///{at / 'mlflow.db'}" if tracker == "mlflow" else str(at)


def _begin_trackio(name: str) -> None:
    """Begin the run that the integration goes on with: by itself it would put a dashboard into the notebook."""
    import trackio

    trackio.init(project=PROJECT, name=name, resume="allow", embed=False)
