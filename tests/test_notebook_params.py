"""The notebooks reach their end with parameters other than their defaults, run as users run them.

The files for GPUs and servers are walked: the same notebooks, settings, precisions and chat templates, with tiny models
of random weights in the place of the 7B, few games and short replies. What passes here differs from a 7B in size alone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import free_port
from test_transfer import data  # noqa: F401  tiny data sets in the form of the real ones
from tiny_models import tiny_llama, tiny_qwen
from warm_kernels import warm_kernels

from maro_lib.model.server_process import serving
from maro_lib.runs import ROOT
from maro_lib.world.scripts import bundled

SIZES = {"n_games": 4, "n_scripts": 2, "characters": 4, "rounds": 1, "max_new_tokens": 12, "window": 4096,
         "n_compare": 4, "n_counterfactual": 1, "n_samples": 1, "batch": 12, "check_every": 1, "n_quick": 2,
         "n_matches": 2, "n_match_scripts": 2, "n_views": 2, "n_check_games": 2, "eval_limit": 2,
         "max_gen_toks": 4}  # fmt: skip
FEW = [f"{name}={value}" for name, value in SIZES.items()]
HERE = ["evals=[gsm8k,mmlu_anatomy]"]  # the others need packages that `make test` does not install
TINY = {"qwen": tiny_qwen, "llama": tiny_llama}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Iterator[dict[str, str]]:
    with warm_kernels(tmp_path_factory.mktemp("kernels")) as environment:
        yield environment


@pytest.fixture
def run(kernels, tmp_path) -> Callable[..., None]:
    """A run of the real notebooks to its end, in a process of its own, with its outputs in a folder of the test."""

    def finished(params: Path, *options: str) -> None:
        command = [sys.executable, "-m", "maro_lib", "run", str(params), *options]
        environment = {**os.environ, **kernels, "MARO_OUTPUTS": str(tmp_path / "outputs")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr

    return finished


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in TINY.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """A real `transformers serve` on loopback, which loads what it is asked for."""
    pytest.importorskip("uvicorn", reason="transformers serve needs transformers[serving]")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = f"transformers serve --port {port} --host 127.0.0.1 --device cpu"
    with serving(command, url, log=tmp_path_factory.mktemp("server") / "log", wait=240):
        yield url


def headlines(outputs: Path, name: str) -> dict[str, dict]:
    stages = json.loads((outputs / name / "summary.json").read_text())["stages"]
    assert {stage["status"] for stage in stages.values()} == {"ran"}
    return {stage: record["headline"] for stage, record in stages.items()}


@pytest.mark.parametrize(
    ("name", "model", "changed"),
    [("gpu_qwen2.5_7b", "qwen", []), ("gpu_llama3.1_8b", "llama", ["precision=bfloat16", "load_in_4bit=false"])],
    ids=["qwen-nf4", "llama-bfloat16"],
)
def test_files_for_a_gpu_reach_their_end(name, model, changed, run, models, data, tmp_path):  # noqa: F811
    sizes = [*FEW, *HERE, *changed, f"model={models[model]}", f"eval_data={data}"]
    run(ROOT / "params" / f"{name}.yaml", "--only", "02,03,04,05,06,07", "--set", *sizes)
    made = headlines(tmp_path / "outputs", name)
    assert made["02_rollout"]["learner"].startswith(f"{models[model]}({'nf4' if model == 'qwen' else 'bfloat16'}")
    assert made["05_maro_training"]["status"] == "finished"
    assert made["05_maro_training"]["steps"] > 1
    assert {"gsm8k, points", "mmlu_anatomy, points"} <= made["07_transfer_evals"].keys()


@pytest.mark.parametrize("name", ["gpu_qwen2.5_7b_vllm", "gpu_llama3.1_8b_vllm", "server"])
def test_files_for_a_server_reach_the_end_of_training(name, run, models, server, tmp_path):
    """Played by a server, trained and matched here; what follows is that of the files for a GPU."""
    model = models["llama" if "llama" in name else "qwen"]
    where = [f"server_url={server}", "server_command=''", f"model={model}", "server_requests=2"]
    run(ROOT / "params" / f"{name}.yaml", "--only", "02,03,04,05", "--set", *FEW, *HERE, *where)
    made = headlines(tmp_path / "outputs", name)
    assert made["02_rollout"]["games"] == 4
    assert made["05_maro_training"]["status"] == "finished"


def test_smallest_run_reaches_the_end(run, tmp_path):
    run(ROOT / "params" / "smoke.yaml", "--set", "lesson_tokens=5000", "n_games=8", "precision=float32")
    assert headlines(tmp_path / "outputs", "smoke")["02_rollout"]["games"] == 8


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
