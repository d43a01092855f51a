"""The notebooks reach their end with parameters other than their defaults, run as users run them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maro_lib.runs import ROOT
from maro_lib.world.scripts import bundled


@pytest.fixture
def run(tmp_path) -> Callable[..., None]:
    """A run of the real notebooks to its end, in a process of its own, with its outputs in a folder of the test."""

    def finished(params: Path, *options: str) -> None:
        command = [sys.executable, "-m", "maro_lib", "run", str(params), *options]
        environment = {**os.environ, "MARO_OUTPUTS": str(tmp_path / "outputs")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr

    return finished


def test_smallest_run_reaches_the_end(run, tmp_path):
    run(ROOT / "params" / "smoke.yaml")
    stages = json.loads((tmp_path / "outputs" / "smoke" / "summary.json").read_text())["stages"]
    assert {stage["status"] for stage in stages.values()} == {"ran"}
    assert stages["02_rollout"]["headline"]["games"] == 20


def test_unfit_rule_is_refused_before_anything_is_read(tmp_path):
    notebook = ROOT / "notebooks" / "03_decomposition.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-p", "rule", "counterfactual"]
    environment = {**os.environ, "MARO_OUTPUTS": str(tmp_path / "outputs")}  # no rollout lies there
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "rule: 'counterfactual' can't label a whole run; take one of: uniform, terminal" in done.stderr


@pytest.mark.parametrize("case", [name for name in bundled() if name != "stroke_before_quarter"])  # it is the default
def test_every_bundled_case_can_be_the_first_notebooks(case, run, tmp_path):
    (tmp_path / "case.yaml").write_text(f"run: case\ncase: {case}\n")
    run(tmp_path / "case.yaml", "--only", "01")


def test_expectations_about_the_toy_stop_nobody(run, tmp_path):
    """A precision in which batches change replies, and a rule under which `ips` blinds no lazy learner."""
    sizes = "n_games: 4\nn_scripts: 2\nn_compare: 4\nn_counterfactual: 2\nn_samples: 1\n"
    (tmp_path / "other.yaml").write_text(f"run: other\nprecision: bfloat16\nrule: belief_shift\nmode: all\n{sizes}")
    run(tmp_path / "other.yaml", "--only", "02,03,04")
    played = (tmp_path / "outputs" / "other" / "04_balancing.ipynb").read_text()
    assert "NOT as expected: this run: under `ips` the lazy learner is blind" in played
