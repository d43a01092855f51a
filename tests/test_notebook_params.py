"""The notebooks reach their end with parameters other than their defaults, run as users run them.

Every shipped file is walked: the same notebooks, settings, precisions and chat templates, with tiny models of random
weights in the place of the large ones, few games and short replies. What passes here differs from a 7B in size alone.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import free_port
from test_transfer import data  # noqa: F401  tiny data sets in the form of the real ones
from tiny_models import tiny_adapter, tiny_llama, tiny_qwen
from warm_kernels import IMPORTED, LOADS, NOTES, SECONDS

from maro_lib.__main__ import main
from maro_lib.learn.cold_start import read_start
from maro_lib.model.adapter_files import read_adapter
from maro_lib.model.server_process import serving
from maro_lib.run.arrangement import Series, plan
from maro_lib.runs import ROOT, STAGES
from maro_lib.world.scripts import bundled

FILES = ROOT / "params"
SIZES = {"n_games": 2, "n_scripts": 2, "characters": 4, "rounds": 1, "max_new_tokens": 12, "window": 4096,
         "n_compare": 4, "n_counterfactual": 2, "n_samples": 1, "batch": 8, "check_every": 1, "n_quick": 1,
         "n_matches": 2, "n_match_scripts": 2, "n_views": 2, "n_check_games": 2, "eval_limit": 2,
         "max_gen_toks": 4}  # fmt: skip
FEW = [f"{name}={value}" for name, value in SIZES.items()]
HERE = ["evals=[gsm8k,mmlu_anatomy]"]  # the others need packages that `make test` does not install
MADE_BEFORE = {"embedded_worlds_2": ["lesson_start=worlds"]}  # in the place of what another file makes first
PRETRAINING = ["lesson_tokens=2000", "n_points=2", "n_exam_games=1", "n_exam_items=2"]
BENCH = ["bench_model=tiny", "bench_script=[40,60]", "bench_actions=[3,4]", "bench_action_tokens=4",
         "bench_observed_tokens=6", "bench_rounds=1"]  # fmt: skip
ABROAD = ["n_home_games=24", "n_scripts=6", "batch=8", "n_dialogues=16", "played_in=[trust,coordination]",
          "n_away_games=2", "n_world_scenarios=1", "n_asked=4"]  # fmt: skip
START = ["start_games=2", "start_batch=4", "start_check_every=4", "start_look_games=1", "start_end_games=1"]

ONE = ["n_games=4", "n_scripts=2", "batch=16", "n_matches=2", "n_match_scripts=2", "n_compare=4",
       "n_counterfactual=2", "n_samples=1", "n_views=2", "n_check_games=2", "eval_limit=2"]  # fmt: skip

STARTS = ("cold_start", "cold_start_worlds")
TOYS = {  # played by the model of 1.2 million weights
    "cpu": [*PRETRAINING, *ONE, "n_quick=1"],
    "study": [*PRETRAINING, *ONE, "n_dialogues=16"],
    "smoke": [*PRETRAINING, *ONE, "precision=float32", "study_adapter=false"],
}  # fmt: skip
LEARNERS = {
    "gpu_qwen2.5_7b": ("qwen", []),
    "gpu_llama3.1_8b": ("llama", ["precision=bfloat16", "load_in_4bit=false"]),
    "smollm2": ("adapter", []),
}
SERVED = {"gpu_qwen2.5_7b_vllm": "qwen", "gpu_llama3.1_8b_vllm": "llama", "server": "qwen"}
ALONE = (
    {
        "embedded": PRETRAINING,
        "embedded_worlds": [*PRETRAINING, "layers=1"],
        "embedded_worlds_2": [*PRETRAINING, *MADE_BEFORE["embedded_worlds_2"]],
        "adapter": [*ONE, "n_dialogues=16"],
        "habit": ["n_forced=1", "n_forced_scripts=1", "n_forced_seeds=1"],
        "benchmark": BENCH,
        "benchmark_smollm2": BENCH,
        "benchmark_7b": [*BENCH, "bench_script=[40]", "bench_actions=[3]", "bench_device=cpu"],
        "strength": ["n_cross=1", "n_cross_scripts=1", "max_new_tokens=12"],
        "zh": ["n_games=4", "n_scripts=2", "n_compare=4", "n_counterfactual=2", "n_samples=1"],
    }
    | dict.fromkeys(STARTS, START)
    | dict.fromkeys(("commons", "buying", "trust", "donor", "public_goods", "coordination"), ABROAD)
)
LIKE_OTHERS = (
    "gpu_qwen2.5_7b",
    "gpu_llama3.1_8b",
    "adapter",
    "habit",
    "embedded",
    "embedded_worlds",
    "embedded_worlds_2",
    "benchmark",
    "benchmark_smollm2",
    "benchmark_7b",
    "strength",
    "zh",
    "cold_start_worlds",
    "commons",  # the notebook itself is run by nbval
    "buying",
    "trust",
    "donor",
    "public_goods",
    "coordination",
)  # `make test` walks one of each kind, `make walk` all


def or_in_walk(names):
    """Files for `make test`, those like others marked for `make walk`."""
    return [pytest.param(name, marks=[pytest.mark.walk] if name in LIKE_OTHERS else []) for name in names]


@pytest.fixture
def run(kernels, tmp_path) -> Callable[..., None]:
    """A run of the real notebooks to its end, in a process of its own, with its outputs in a folder of the test."""

    def finished(params: Path, *options: str) -> None:
        command = [sys.executable, "-m", "maro_lib", "run", str(params), *options]
        environment = {**os.environ, **kernels, "MARO_OUTPUTS": str(tmp_path / "outputs"), NOTES: str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=2400)
        assert done.returncode == 0, done.stderr

    return finished


@pytest.fixture
def walk(run, tmp_path) -> Callable[..., dict[str, dict]]:
    """A shipped file's run with some parameters replaced; what each stage found."""

    def walked(name: str, *changed: str, last: str = "15") -> dict[str, dict]:
        stages = [stage for stage in stages_of(name) if stage <= last]
        run(FILES / f"{name}.yaml", "--only", ",".join(stages), "--set", *changed)
        return headlines(tmp_path / "outputs", name)

    return walked


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    qwen, llama = tiny_qwen(tmp_path_factory.mktemp("qwen")), tiny_llama(tmp_path_factory.mktemp("llama"))
    return {"qwen": qwen, "llama": llama, "adapter": tiny_adapter(llama, tmp_path_factory.mktemp("adapter"))}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """A real `transformers serve` on loopback, which loads what it is asked for."""
    pytest.importorskip("uvicorn", reason="transformers serve needs transformers[serving]")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = f"transformers serve --port {port} --host 127.0.0.1 --device cpu"
    with serving(command, url, log=tmp_path_factory.mktemp("server") / "log", wait=240):
        yield url


def series_of(name: str) -> Series:
    """The series that a file's header says to run (ONLY=...), or all."""
    path = FILES / f"{name}.yaml"
    named = re.search(rf"make run PARAMS=params/{name}\.yaml ONLY=(\S+)", path.read_text())
    return plan(path, named[1] if named else "", "", ROOT / "notebooks", MADE_BEFORE.get(name, []))


def stages_of(name: str) -> list[str]:
    """The numbers of its stages, but those that read nothing and are given nothing: the smallest run has them."""
    series = series_of(name)
    own = [s for s in series.steps if STAGES[s.notebook.stem].reads or series.given(s.notebook).keys() - {"run"}]
    return [step.number for step in (series.steps if name == "smoke" else own)]


def headlines(outputs: Path, name: str) -> dict[str, dict]:
    stages = json.loads((outputs / name / "summary.json").read_text())["stages"]
    assert {stage["status"] for stage in stages.values()} == {"ran"}
    return {stage: record["headline"] for stage, record in stages.items()}


def beside_others(folder: Path) -> set[str]:
    """The lines of notebooks that loaded a model while one of an earlier cell was still alive."""
    loads = [json.loads(line) for line in (folder / LOADS).read_text().splitlines()]
    assert loads, "every kernel notes what it loads"
    return {line for n_others, line in loads if n_others}


def test_every_shipped_file_is_walked():
    """Each in one of the tests below; stages that a file leaves as they are, in that of the smallest run."""
    assert sorted([*TOYS, *LEARNERS, *SERVED, *ALONE]) == sorted(path.stem for path in FILES.glob("*.yaml"))
    assert stages_of("gpu_qwen2.5_7b") == stages_of("server") == ["02", "03", "04", "05", "06", "07"]
    assert stages_of("smoke") == ["00", "01", "02", "03", "04", "05", "06", "07"]
    assert stages_of("adapter") == ["02", "03", "04", "05", "08"]
    alone = [stages_of(name) for name in ALONE if name != "adapter"]
    several = [*[["09"]] * 3, ["12"], ["01", "02", "03"], *[["11"]] * 2, *[["15"]] * 6]
    assert alone == [*[["00"]] * 3, ["10"], *several]


@pytest.mark.parametrize("name", or_in_walk(LEARNERS))
def test_files_for_a_model_reach_their_end(name, walk, models, data, tmp_path):  # noqa: F811
    kind, changed = LEARNERS[name]
    made = walk(name, *FEW, *HERE, *changed, f"model={models[kind]}", f"eval_data={data}")
    precision = "bfloat16" if changed else "nf4"
    assert made["02_rollout"]["learner"].startswith(f"{models[kind]}({precision}")
    assert made["05_maro_training"]["status"] == "finished"
    assert made["05_maro_training"]["steps"] >= series_of(name).values["epochs"], "a pass is a step here"
    assert {"gsm8k, points", "mmlu_anatomy, points"} <= made["07_transfer_evals"].keys()
    if name != "smollm2":  # which merges its adapter, and writes merged weights: a model of a size for that
        assert not beside_others(tmp_path), "a 7B would be there twice"


@pytest.mark.parametrize(
    ("name", "last"), [("server", "05"), *(pytest.param(name, "07", marks=pytest.mark.walk) for name in SERVED)]
)
def test_files_for_a_server_reach_their_end(name, last, walk, models, server, data):  # noqa: F811
    """Played by a server; trained, matched and evaluated here."""
    where = [f"server_url={server}", "server_command=''", f"model={models[SERVED[name]]}", "server_requests=2"]
    made = walk(name, *FEW, *HERE, *where, f"eval_data={data}", last=last)
    assert made["02_rollout"]["games"] == 2
    assert made["05_maro_training"]["status"] == "finished"
    if last == "07":
        assert {"gsm8k, points", "mmlu_anatomy, points"} <= made["07_transfer_evals"].keys()


@pytest.mark.parametrize("name", or_in_walk(ALONE))
def test_files_for_one_notebook_reach_its_end(name, walk, models, tmp_path):
    shipped = {"adapter": "ship_adapter"} | dict.fromkeys(STARTS, "ship_start")
    changed = [*ALONE[name], *([f"{shipped[name]}={tmp_path / 'shipped'}"] if name in shipped else [])]
    changed += [f"start_model={models['llama']}"] if name in STARTS else []
    assert walk(name, *changed)
    if name in shipped:
        assert read_adapter(tmp_path / "shipped").origin.weights
        assert (tmp_path / "shipped" / "README.md").exists()
    if name in STARTS:
        assert read_start(tmp_path / "shipped").looks[-1].tokens > 0
        assert not beside_others(tmp_path), "a 7B would be there twice"


@pytest.mark.walk
@pytest.mark.parametrize("name", ["cpu", "study"])
def test_the_toys_file_reaches_its_end(name, walk):
    made = walk(name, *TOYS[name])
    assert made["02_rollout"]["games"] == 4
    assert made["05_maro_training"]["status"] == "finished"


def test_smallest_run_reaches_the_end_in_the_time_that_the_doctor_says(walk, kernels, capsys, tmp_path):
    """By the processor's clock; its notebooks' imports, spared here, are counted as they were for the first kernel."""
    assert walk("smoke", *TOYS["smoke"])["02_rollout"]["games"] == 4
    assert main(["doctor", str(FILES / "smoke.yaml"), "--set", *TOYS["smoke"]]) == 0
    told = re.search(r"total +(\d.*) to (\d.*) for the whole run", capsys.readouterr().out)
    low, high = (float(n) * {"s": 1, "min": 60, "h": 3600}[unit] for n, unit in map(str.split, told.groups()))
    spent = [json.loads(line) for line in (tmp_path / SECONDS).read_text().splitlines()]
    imports = float((Path(kernels["JUPYTER_PATH"]) / IMPORTED).read_text())
    assert len(spent) == 8, "a kernel for every notebook"
    assert low / 2 <= sum(spent) + len(spent) * imports <= high, "another processor may be twice as fast at one thing"


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
