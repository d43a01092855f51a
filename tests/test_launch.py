"""Several processes learn what one does, show what they say, and none outlives the one that started them."""

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import accelerate
import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.commands.config import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin, patch_environment
from accelerate.utils.launch import prepare_multi_gpu_env
from closeness import SHARE
from safetensors.torch import load_file

from maro_lib.embedded.exam import exam_games
from maro_lib.learn import launching, training, training_process
from maro_lib.learn.balancing import balance
from maro_lib.learn.corpus import Corpus, make_corpus, steps
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.guard import QuickGames
from maro_lib.learn.launching import (
    DDP,
    INPUTS,
    Job,
    LaunchError,
    _check,
    _command,
    _environment,
    _run,
    _why,
    launch,
    train_ahead,
)
from maro_lib.learn.settings import Settings
from maro_lib.learn.trainer import whole_checkpoints
from maro_lib.learn.training import Trained, train
from maro_lib.learn.training_process import DEPTH, Teller, _end_with_caller, _train, _words, take_part
from maro_lib.model import loading
from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy
from maro_lib.model.players import Player
from maro_lib.play.rollout import play
from maro_lib.runs import RunError

FSDP = DDP.with_name("fsdp_qlora.yaml")
PATIENCE = 300  # seconds, on a machine that has other work too
BASIC = Settings(z0="batch", epochs=2, batch=2, check_every=2, lora_rank=4, warmup=0.0, learning_rate=1e-3)


@cache
def corpus() -> Corpus:
    """Three dialogues, so that a step has two of them or one: then a process of two has none."""
    played = play(exam_games(2), LocalPolicy(load("embedded", precision="float32")))
    actions = played.table("actions")
    actions["weight"] = decompose(actions, "uniform")
    kept, dialogues = balance(actions).actions, played.table("dialogues")
    three = make_corpus(dialogues, kept).actions.query("row < 3")
    return make_corpus(dialogues, kept.merge(three[["game", "seat", "t"]]))


def in_two(folder: Path, settings: Settings, precision: str, watch: QuickGames | None = None) -> Trained:
    return launch(
        2, model="embedded", precision=precision, adapter="", corpus=corpus(), settings=settings, folder=folder,
        watch=watch,
    )  # fmt: skip


def assert_same(a: Trained, b: Trained) -> None:
    """The numbers of every step, and the adapter; what is left is the order in which float32 is summed up."""
    close = {"rtol": 0, "atol": 10 * SHARE}  # a step moves a weight by a hundred times SHARE
    assert (a.status, a.notes) == (b.status, b.notes)
    assert sorted(a.curve) == sorted(b.curve)
    for name in a.curve:
        np.testing.assert_allclose(a.curve[name], b.curve[name], **close, err_msg=name)
    ours, theirs = (load_file(x.folder / "adapter_model.safetensors") for x in (a, b))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **close, msg=name)


def alive(word: object) -> list[int]:
    """Processes with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(word).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it ended just now
            continue
    return found


def await_(condition, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


# --- training ----------------------------------------------------------------------------------------


def test_two_processes_learn_what_one_does(tmp_path, capfd):
    assert [len(s) for s in steps(corpus(), 2, 2, BASIC.seed)] == [2, 1, 2, 1], "a process of two goes without"
    loaded = load("embedded", precision="float32")
    watch = QuickGames(exam_games(2), Player(max_new_tokens=32))
    alone = train(loaded, corpus(), BASIC, tmp_path / "alone" / "one", watch=watch)
    together = in_two(tmp_path / "two", BASIC, "float32", watch)
    assert np.ptp(alone.curve["z0"].dropna()) > 0.01, "z0 is read on all processes"
    assert alone.curve["legal"].notna().sum() == 3
    assert_same(together, alone)
    assert not (tmp_path / "two.inputs").exists()
    said = [line for line in capfd.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.partition(":")[0] for line in said] == ["step 1", "step 2", "step 3", "step 4"]


def test_killed_with_its_caller_it_leaves_nobody_and_goes_on_to_the_same_adapter(tmp_path, capfd):
    settings, folder = replace(BASIC, z0="ema", epochs=6), tmp_path / "two"
    alone = train(load("embedded", precision="nf4"), corpus(), settings, tmp_path / "alone" / "one")
    caller = get_context("fork").Process(target=in_two, args=(folder, settings, "nf4"))
    caller.start()
    assert await_(lambda: whole_checkpoints(folder) or not caller.is_alive())
    began = alive(tmp_path / "two.inputs")
    caller.kill()
    caller.join()
    assert len(began) >= 3, "the launcher and two processes"
    assert await_(lambda: not alive(tmp_path / "two.inputs"), 10)
    assert whole_checkpoints(folder)
    assert not (folder / "done.json").exists()
    capfd.readouterr()
    assert_same(in_two(folder, settings, "nf4"), alone)
    assert "step 1:" not in capfd.readouterr().out, "it went on, and did not begin again"


# --- processes ---------------------------------------------------------------------------------------


def run_script(folder: Path, lines: str, n_processes: int = 2) -> None:
    """Start processes of a few lines each in the way that training is started."""
    (folder / "script.py").write_text(f"import os, signal, sys, time\nrank = int(os.environ['RANK'])\n{lines}")
    command = _command(n_processes, DDP, folder)[:-3]
    _run([*command, str(folder / "script.py"), str(os.getpid())], _environment(n_processes), folder)


def test_what_processes_say_is_shown_and_marked_also_of_two_runs_at_once(tmp_path, capfd):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    lines = "print('cores', os.environ['OMP_NUM_THREADS'])\nprint('I am', rank, __file__, file=sys.stderr)"
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda folder: run_script(folder, lines), folders))
    said = capfd.readouterr().out.splitlines()
    cores = max(1, os.cpu_count() // 2)
    assert said.count(f"cores {cores}") == said.count(f"[process 1] cores {cores}") == 2
    for folder in folders:
        assert f"I am 0 {folder / 'script.py'}" in said
        assert f"[process 1] I am 1 {folder / 'script.py'}" in said


def test_what_went_wrong_reaches_the_caller_ours_in_its_own_words_and_else_with_its_place(tmp_path):
    lines = (
        "from pathlib import Path\nfrom maro_lib import runs\nfrom maro_lib.learn import training_process as process\n"
        "def fail(inputs):\n    time.sleep(rank)\n    raise [runs.RunError('no space left'), KeyError('x')][rank]\n"
        "process._train = fail\nprocess.take_part(Path(__file__).parent)"
    )
    with pytest.raises(LaunchError) as error:
        run_script(tmp_path, lines, 1)
    assert "process 0: RunError: no space left\nThe last lines:" in str(error.value), "and nothing else"
    with pytest.raises(LaunchError) as error:
        run_script(tmp_path, lines.replace("time.sleep(rank)", "time.sleep(60 * (1 - rank))"))
    assert "in fail\n" in str(error.value)
    assert "KeyError: 'x'\nThe last lines:" in str(error.value)


def test_a_process_that_is_killed_ends_all_and_is_named_with_the_last_lines(tmp_path):
    lines = "print('x' * 5000)\nprint('last words of', rank)\nif rank: os.kill(os.getpid(), 9)\ntime.sleep(600)"
    with pytest.raises(LaunchError) as error:
        run_script(tmp_path, lines)
    assert "process 1 was ended by SIGKILL" in str(error.value)
    assert "process 0 was ended" not in str(error.value)
    assert "  [process 1] last words of 1" in str(error.value)
    assert len(str(error.value)) < 15_000, "bounded"
    assert await_(lambda: not alive(tmp_path), 10)


def test_the_launchers_own_words_are_shown_where_it_names_no_process(tmp_path):
    named = "  rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 7)"
    last = ["The last lines:", "  a"]
    assert [*_why(1, tmp_path, ["a"], ["no port"])][1:] == [*last, "accelerate launch (exit code 1):", "  no port"]
    assert [*_why(1, tmp_path, ["a"], named.splitlines())][1:] == last


def test_what_ended_a_process_is_named_unless_it_was_ended_with_the_others(tmp_path):
    ends = ((0, "-15 (pid: 7) (SIGTERM)"), (1, "-9 (pid: 8) (SIGKILL)"), (2, "-11 (pid: 9) (SIGSEGV)"))
    noted = [line for n, end in ends for line in (f"  rank      : {n} (local_rank: {n})", f"  exitcode  : {end}")]
    assert [*_why(1, tmp_path, [], noted)][1:] == [
        "process 1 was ended by SIGKILL (too little memory?)",
        "process 2 was ended by SIGSEGV",
        "The last lines:",
    ]


def test_a_process_that_fails_leaves_its_words_and_a_code(tmp_path, monkeypatch):
    def fail(_):
        raise RunError("no space left")

    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(training_process, "_train", fail)
    monkeypatch.setattr(training_process, "_end_with_caller", lambda: None)
    with pytest.raises(SystemExit) as end:
        take_part(tmp_path)
    assert end.value.code not in (None, 0)
    assert (tmp_path / "failed.3").read_text() == "RunError: no space left"


def test_a_process_ends_when_its_caller_does_and_not_before(monkeypatch):
    heard, ends = [b"", b"x", b"x"], []
    monkeypatch.setattr(training_process, "os", SimpleNamespace(read=lambda *_: heard.pop(), _exit=ends.append))
    _end_with_caller()
    assert heard == []
    assert ends == [1]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_each_process_loads_onto_its_own_device(tmp_path, monkeypatch, kind):
    """Devices are named, not used: GPUs are not to be had here."""
    Job("m", "nf4", "a", corpus(), BASIC, tmp_path / "x").save(inputs := tmp_path / "x.inputs")
    cuts, loaded, trained, ends = [], [], [], []
    here = SimpleNamespace(device=f"{kind}:1", destroy_process_group=lambda: ends.append(1))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(accelerate, "PartialState", lambda cpu: cuts.append(cpu) or here)
    monkeypatch.setattr(loading, "best_device", lambda: kind)
    monkeypatch.setattr(loading, "load", lambda name, **options: loaded.append((name, options)))
    monkeypatch.setattr(training, "train", lambda *given, **_: trained.append(given[3]))
    _train(inputs)
    assert cuts == [kind == "cpu"]
    device = {"cpu": "cpu", "cuda": "cuda:1"}[kind]
    assert loaded == [("m", {"precision": "nf4", "adapter": "a", "device": device, "sharded": True})]
    assert (trained, ends) == ([tmp_path / "x"], [1])


def test_of_a_foreign_error_the_last_calls_are_shown():
    def fall(n: int) -> None:
        rise(n - 1) if n else {}["nothing"]

    def rise(n: int) -> None:
        fall(n - 1)

    with pytest.raises(KeyError) as error:
        fall(20)
    words = _words(error.value)
    assert words.count("File ") == DEPTH
    assert "KeyError: 'nothing'" in words
    assert "in test_of_a_foreign" not in words


def test_each_step_is_told_once_with_what_is_known_of_it(capsys):
    teller = Teller()
    curve = pd.DataFrame({"step": [0, 1], "objective": [np.nan, 0.5], "legal": [0.75, np.nan], "loss": [np.nan, 1]})
    for n in (1, 2, 2):
        teller(curve[:n])
    assert capsys.readouterr().out == "step 1: objective 0.500\n"


def test_who_reads_the_pipe_hears_that_it_closes_also_in_a_session_of_its_own(tmp_path):
    reader = f"import os, pathlib; os.read(0, 1); pathlib.Path({str(tmp_path / 'heard')!r}).touch()"
    starts = f"subprocess.Popen([sys.executable, '-c', {reader!r}], stdout=-3, stderr=-3, start_new_session=True)"
    with pytest.raises(LaunchError) as error:
        _run([sys.executable, "-c", f"import subprocess, sys; {starts}; sys.exit(3)"], os.environ, tmp_path)
    assert await_((tmp_path / "heard").exists, 30), error


@pytest.fixture
def interruptible():
    """Also where the tests run in the background: there a shell lets interrupts be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_all(tmp_path, interruptible):
    lines = "time.sleep(1 - rank)\nif rank == 0: os.kill(int(sys.argv[1]), signal.SIGINT)\ntime.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run_script(tmp_path, lines)
    assert await_(lambda: not alive(tmp_path), 10)


def test_what_cannot_work_is_refused_before_anything_is_started(tmp_path, monkeypatch):
    (broken := tmp_path / "broken.yaml").write_text("distributed_type: SOMETHING\n")
    some = {"model": "embedded", "precision": "float32", "adapter": "", "corpus": corpus(), "settings": BASIC}
    for wrong, message in (
        ({"n_processes": 0}, "num_processes: 0; at least 1"),
        ({"config": str(broken)}, "broken.yaml: accelerate can't read"),
        ({"config": str(tmp_path / "none.yaml")}, "none.yaml: accelerate can't read"),
    ):
        with pytest.raises(LaunchError, match=message):
            launch(**{"n_processes": 2, "folder": tmp_path / "x", **some, **wrong})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(LaunchError, match="FSDP needs GPUs"):
        _check(2, FSDP, None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LaunchError, match="num_processes: 3, but there are 2 GPUs"):
        _check(3, DDP, None)
    with pytest.raises(LaunchError, match="quick games need a whole model"):
        _check(2, FSDP, QuickGames(exam_games(1)))
    _check(2, FSDP, None)
    assert list(tmp_path.iterdir()) == [broken]


# --- what is handed over -----------------------------------------------------------------------------


def test_the_job_lies_there_while_processes_run_and_goes_with_them(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(launching, "_run", lambda _, __, inputs: given.append(Job.read(inputs)))
    launch(
        2, model="m", precision="nf4", adapter="", corpus=corpus(), settings=BASIC, folder=tmp_path / "x"
    )  # fmt: skip
    assert [job.folder for job in given] == [tmp_path / "x"]
    assert not (tmp_path / f"x{INPUTS}").exists()


def test_only_where_several_processes_have_enough_to_read_is_anything_trained_ahead(tmp_path, monkeypatch):
    given, loaded, n = [], load("embedded", precision="float32"), len(corpus())
    jobs = [Job("embedded", "float32", "", corpus(), replace(BASIC, epochs=3), tmp_path / name) for name in "ab"]
    monkeypatch.setattr(launching, "run_tasks", lambda jobs, n, show: given.append((n, [j.folder.name for j in jobs])))
    for few, n_processes, expected in ((6 * n, 2, [(2, ["a", "b"])]), (6 * n + 1, 2, []), (6 * n, 1, [])):
        monkeypatch.setattr(launching, "FEW", few)
        monkeypatch.setattr(type(loaded), "n_side_by_side", n_processes)
        train_ahead(jobs, loaded)
        assert given == expected
        given.clear()


def test_a_job_is_read_as_it_was_written(tmp_path):
    watch = QuickGames(exam_games(3), Player(temperature=0.7, max_new_tokens=40, cache_gb=0.5), 2)
    job = Job("m", "nf4", "a", corpus(), replace(BASIC, beta=1 / 3), tmp_path / "x", watch)
    (inputs := tmp_path / "x.inputs").mkdir()
    (inputs / "failed.1").write_text("a launch that was cut short")
    job.save(inputs)
    assert not (inputs / "failed.1").exists()
    shutil.copytree(inputs, there := tmp_path / "copy" / "x.inputs")
    assert Job.read(there).folder == tmp_path / "copy" / "x", "a copy is a job of its own"
    again = Job.read(inputs)
    assert replace(again, corpus=None) == replace(job, corpus=None)
    assert not list(inputs.glob("*.pkl"))
    assert [i.tolist() for i in again.corpus.ids] == [i.tolist() for i in job.corpus.ids]
    for name in ("actions", "dropped"):
        assert getattr(again.corpus, name).equals(getattr(job.corpus, name))
    assert again.corpus.statement == job.corpus.statement


# --- FSDP: read, not run -----------------------------------------------------------------------------


def test_accelerate_reads_the_fsdp_configuration_as_it_is_meant(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    words = _command(2, FSDP, Path("inputs"))[3:]
    config, parser = load_config_from_file(str(FSDP)), launch_command_parser()
    known = vars(parser.parse_args(words))
    assert not [key for key in config.fsdp_config if key not in known], "what accelerate does not know it ignores"
    arguments, _, _ = _validate_launch_command(parser.parse_args(words))
    assert arguments.use_fsdp
    assert arguments.num_processes == 2
    environment = prepare_multi_gpu_env(arguments)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert environment["FSDP_SYNC_MODULE_STATES"] == "true"
    with patch_environment(**environment | {"FSDP_SYNC_MODULE_STATES": "false"}):  # or it looks for a GPU
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 1
    assert plugin.sharding_strategy.name == "FULL_SHARD"
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert not plugin.cpu_ram_efficient_loading
    assert not plugin.use_orig_params


def test_what_fsdp_cuts_is_floats_of_one_type_with_the_same_values():
    whole, sharded = load("embedded", precision="nf4"), load("embedded", precision="nf4", sharded=True)
    assert {p.dtype for p in sharded.model.parameters()} == {sharded.model.dtype}
    assert not hasattr(sharded.model, "hf_device_map"), "accelerate would refuse to train it elsewhere"
    ids = torch.arange(20)[None]
    assert torch.equal(whole.model(input_ids=ids).logits, sharded.model(input_ids=ids).logits)


def test_the_ddp_configuration_starts_as_many_processes_as_asked_for(monkeypatch):
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(_command(5, DDP, Path("x"))[3:]))
    assert (arguments.num_processes, arguments.multi_gpu, arguments.mixed_precision) == (5, True, "no")
    assert json.loads(_environment(1)["OMP_NUM_THREADS"]) == os.cpu_count()
    assert json.loads(_environment(10**6)["OMP_NUM_THREADS"]) == 1
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert json.loads(_environment(1)["OMP_NUM_THREADS"]) == 1, "nothing is known"
