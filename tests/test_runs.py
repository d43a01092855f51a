"""A run's folder: one place per artefact, and errors that name the way out."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maro_lib.play.shards import StorageError, read_table
from maro_lib.run.compare import changes, named_run
from maro_lib.runs import (
    ROOT,
    STAGES,
    MissingInput,
    RunError,
    artefact,
    finish,
    maker,
    needs,
    outputs_folder,
    read_record,
    remedy,
    run_folder,
    short_path,
    shown,
    write_atomic,
)
from maro_lib.summary import Summary


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def test_run_folder_is_the_same_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MARO_OUTPUTS")
    monkeypatch.chdir(tmp_path)
    assert run_folder("cpu") == ROOT / "outputs" / "cpu"
    assert (ROOT / "maro_lib" / "runs.py").exists()


def test_environment_moves_the_outputs(outputs):
    assert outputs_folder() == outputs
    assert shown(run_folder("cpu") / "rollout") == "outputs/cpu/rollout"


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b/c", "a/../b", "a/round_1", "/etc", "a\\b", "two words", "line\n"]
)
def test_no_run_name_leaves_the_outputs(name):
    with pytest.raises(RunError, match="can't name a folder"):
        run_folder(name)


@pytest.mark.parametrize("name", ["cpu", "gpu_qwen2.5_7b", "sweep-1", "试验", "sweep/trial", "sweep/trial/round_2"])
def test_plain_run_names_are_taken(name, outputs):
    assert run_folder(name) == outputs / name


def test_every_stage_reads_what_an_earlier_one_writes():
    for i, stage in enumerate(STAGES.values()):
        for name in stage.reads:
            assert maker(name) in list(STAGES)[:i]


def test_artefact_unknown_to_the_table_is_refused():
    with pytest.raises(RunError, match=r"no notebook writes 'credits'.*credit\.parquet"):
        artefact("cpu", "credits")


def test_missing_input_names_the_command_that_makes_it():
    with pytest.raises(MissingInput) as error:
        needs("cpu", "rollout")
    assert str(error.value).startswith("outputs/cpu/rollout is missing; notebook 02_rollout makes it: ")
    assert "make run ONLY=02 PARAMS=params/cpu.yaml" in str(error.value)


def test_missing_input_of_a_reader_names_the_notebook():
    with pytest.raises(MissingInput, match=r"run notebooks/02_rollout\.ipynb first"):
        needs("notebook", "rollout")


def test_half_made_input_is_not_taken_for_whole():
    artefact("cpu", "rollout").mkdir()
    with pytest.raises(MissingInput, match=r"02_rollout did not reach its last cell.*make run ONLY=02"):
        needs("cpu", "rollout")
    write_atomic(artefact("cpu", "gamebook.json"), "{}")
    finish("cpu", "02_rollout", {})
    assert needs("cpu", "rollout").is_dir()


def test_finish_records_the_headline_and_shows_nothing(outputs, capsys):
    headline = {"games": np.int64(40), "rate": np.float32(0.5), "none": float("nan"), "who": "civilian", "ok": True}
    assert finish("cpu", "01_environment", headline) is None
    assert capsys.readouterr().out == ""
    record = json.loads((outputs / "cpu" / "01_environment.json").read_text())
    assert record["headline"] == {"games": 40, "rate": 0.5, "none": None, "who": "civilian", "ok": True}


def test_stage_does_not_finish_without_what_it_writes():
    with pytest.raises(RunError, match=r"03_decomposition ends, but outputs/cpu/credit\.parquet was not written"):
        finish("cpu", "03_decomposition", {})


def test_what_is_optional_may_be_missing():
    for name in STAGES["06_social_metrics"].writes:
        if name not in STAGES["06_social_metrics"].optional:
            write_atomic(artefact("cpu", name), "")
    finish("cpu", "06_social_metrics", {})
    assert not artefact("cpu", "judgements.jsonl").exists()


def test_finish_refuses_unknown_stages_and_odd_values():
    with pytest.raises(RunError, match=r"no stage is called '99_none'.*01_environment"):
        finish("cpu", "99_none", {})
    with pytest.raises(RunError, match="headline 'table': a list is no number"):
        finish("cpu", "01_environment", {"table": [1]})


def test_writing_replaces_the_whole_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "old and long")
    with path.open() as reader:
        write_atomic(path, b"new")
        assert reader.read() == "old and long"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_unwritable_folder_is_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"file/cpu: can't be written \(Not a directory\).*Make its folder writable"):
        artefact("cpu", "rollout")


def test_a_message_names_a_path_as_short_as_it_is_found_by(outputs, monkeypatch, tmp_path):
    """Of the outputs, wherever they are, as the commands take it; of anything else, from here or whole."""
    assert short_path(run_folder("cpu") / "rollout") == "outputs/cpu/rollout"
    assert short_path(outputs) == "outputs"
    assert short_path(ROOT / "params" / "cpu.yaml") == "params/cpu.yaml"
    assert short_path(tmp_path / "elsewhere" / "x") == str(tmp_path / "elsewhere" / "x"), "its last part is no path"
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "elsewhere" / "x") == "elsewhere/x"


@pytest.mark.parametrize("fail", [
    lambda: read_table(run_folder("cpu") / "rollout", "games"),
    lambda: write_atomic(run_folder("cpu") / "nowhere" / "x.json", "{}"),
    lambda: read_record(run_folder("cpu") / "summary.json", Summary),
    lambda: named_run("cpu"),
    lambda: changes("cpu"),
])  # fmt: skip
def test_no_message_names_the_place_of_foreign_outputs(outputs, tmp_path, fail):
    outputs.mkdir()
    with pytest.raises(RuntimeError, match=r"\boutputs\b") as raised:
        fail()
    assert str(tmp_path) not in str(raised.value)


def test_space_is_asked_for_only_when_it_is_short(tmp_path):
    (tmp_path / f".a.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"No space left on device.*Free some space, then run the same command again"):
        write_atomic(tmp_path / "a.json", "x")
    assert "space" not in remedy(PermissionError(13, "Permission denied"))


@pytest.mark.parametrize(
    ("place", "advice"),
    [("cpu/rollout", "notebook 02_rollout makes it again: make run ONLY=02 PARAMS=params/cpu.yaml"),
     ("cpu/round_2/rollout", "notebook 02_rollout makes it again: make run ONLY=round_2/02 PARAMS=params/cpu.yaml"),
     ("beta/beta-2.0/round_2/rollout", "notebook 02_rollout makes it again: run the sweep 'beta' again"),
     ("cpu/matches/culprit", "notebook 05_maro_training makes it again: make run ONLY=05 PARAMS=params/cpu.yaml"),
     ("notebook/rollout", "makes it again: run notebooks/02_rollout.ipynb first"), ("mine", "run again the stage that"),
     ("../mine", "run again the stage that")],
)  # fmt: skip
def test_a_damaged_shard_names_the_stage_that_makes_it_wherever_that_is_noticed(outputs, place, advice):
    shard = outputs / place / "shard-00000"
    shard.mkdir(parents=True)
    (shard.parent / "request.json").write_text('{"code": "", "games": {}}')
    (shard / "games.parquet").write_text("of a kit that wrote no shard.json")
    with pytest.raises(StorageError, match=r"shard-00000/shard\.json is missing") as error:
        read_table(outputs / place, "games")
    assert advice in str(error.value)


def test_a_run_is_named_by_its_folder_only_where_the_runs_are(tmp_path):
    for folder in (tmp_path / "elsewhere" / "cpu", run_folder("cpu/round_2")):
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text('{"run": "cpu"}')
    assert named_run(str(run_folder("cpu/round_2"))) == ("cpu/round_2", 1)
    with pytest.raises(RunError, match="elsewhere/cpu: lies outside"):
        named_run(str(tmp_path / "elsewhere" / "cpu"))


def test_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    code = (
        f"from pathlib import Path; from maro_lib.runs import write_atomic; write_atomic(Path({str(path)!r}), 'x' * 99)"
    )
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))  # noqa: E731 - the system's own limit
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, preexec_fn=full)
    assert "a.json: can't be written (File too large); nothing was left half-written. Raise the limit" in done.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]
