"""Trackers: what they are told is the curve, in the run's folder; who is missing is said before the run."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from test_training import BASIC, corpus, tiny

from maro_lib.learn.settings import TRACKERS, Settings
from maro_lib.learn.tracking import HOMES, tracked, tracked_name
from maro_lib.learn.training import train
from maro_lib.run.quick import quick_problems
from maro_lib.runs import ROOT

ONE_PASS = replace(BASIC, epochs=1)
TRACKIO = """
import sys; sys.path.insert(0, "tests")
from test_tracking import followed
followed("trackio", sys.argv[1]).to_parquet(sys.argv[1] + "/curve.parquet")
"""


class Always:
    """Quick games that always come out alike."""

    names = ("legal", "civilians win", "culprits win")

    def __call__(self, _loaded):
        return dict.fromkeys(self.names, 0.5)


def followed(tracker, at):
    """Train with a tracker into a run's folder; return the curve."""
    return train(tiny(), corpus(), replace(ONE_PASS, report_to=(tracker,)), Path(at) / "learning", watch=Always()).curve


def told_by(curve):
    """What a tracker should have heard of a curve, by name: the values of each step that has one."""
    return {f"train/{name}": dict(curve.set_index("step")[name].dropna()) for name in {*curve} - {"step"}}


def installed(tracker):
    return pytest.mark.skipif(not find_spec(tracker), reason=f"not installed: pip install -e '.[{tracker}]'")


@installed("tensorboard")
def test_tensorboard_is_told_the_curve(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve = followed("tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "trackers" / "tensorboard" / "learning"))
    events.Reload()
    heard = {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    for name, values in told_by(curve).items():
        own = {step: value for step, value in heard[name].items() if value == value}
        assert own == pytest.approx(values, rel=1e-5), name


@installed("trackio")
def test_trackio_is_told_the_curve_offline(tmp_path):
    """In a process of its own, since it reads its folder once; without a way out."""
    blocked = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", TRACKIO, str(tmp_path)], cwd=ROOT, check=True, env=os.environ | blocked)
    rows = sqlite3.connect(tmp_path / "trackers" / "trackio" / "maro.db").execute("SELECT metrics FROM metrics")
    heard = [json.loads(metrics) for (metrics,) in rows]
    for name, values in told_by(pd.read_parquet(tmp_path / "curve.parquet")).items():
        steps = {row["train/global_step"]: row[name] for row in heard if row.get(name) is not None}
        assert values.items() <= steps.items(), name


@pytest.mark.parametrize("tracker", TRACKERS)
def test_what_is_missing_is_said_before_the_run(tracker):
    problems = [*quick_problems({"report_to": [tracker]})]
    if find_spec(tracker):
        assert not problems
    else:
        install = f".venv/bin/python -m pip install -e '.[{tracker}]'"
        assert problems == [f"report_to: {tracker} is not installed: {install}, or leave it out"]


def test_every_tracker_has_a_home_in_the_runs_folder_that_its_own_variable_overrules(tmp_path, monkeypatch):
    assert {*HOMES} == {*TRACKERS}
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    with tracked(("tensorboard", "wandb", "mlflow"), tmp_path / "learning"):
        at = tmp_path / "trackers"
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(at / "tensorboard" / "learning")
        assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{at}/mlflow/mlflow.db"
        assert os.environ["WANDB_DIR"] == "/elsewhere"
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ, "what comes afterwards is not told"
    assert os.environ["WANDB_DIR"] == "/elsewhere"


def test_a_training_is_called_by_its_place_in_the_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    assert tracked_name(tmp_path / "cpu" / "round_2" / "control") == "cpu/round_2/control"
    assert tracked_name("/somewhere/learning") == "learning"


def test_who_follows_a_training_does_not_decide_what_is_learned():
    assert replace(BASIC, report_to=("wandb",)).deciding == BASIC.deciding
    assert replace(BASIC, beta=0.3).deciding != BASIC.deciding
    with pytest.raises(ValueError, match="report_to: 'tensorbord' is unknown; did you mean 'tensorboard'"):
        Settings(report_to=("tensorbord",))
