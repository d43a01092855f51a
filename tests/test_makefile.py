"""The commands of the Makefile, with a stand-in for the Python that they would install."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from maro_lib.runs import ROOT

PYTHON = """#!/bin/sh
echo "$OMP_WAIT_POLICY: $*"
case "$TRY $*" in *$FAILS*) exit 1;; esac
"""
INHERITED = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "OMP_"))}


@pytest.fixture
def make(tmp_path):
    """Run make in a folder whose python says what it was asked for, and fails where it is told to."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()

    def run(*words: str, fails: str = "nothing") -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", *words], cwd=tmp_path, env=INHERITED | {"FAILS": fails}, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    ("word", "advice"),
    [("PARAM=x", "did you mean PARAMS?"), ("only=02", "did you mean ONLY?"), ("ZZZZ=1", "the variables are PARAMS ")],
)
def test_a_misspelt_variable_is_refused(make, word, advice):
    done = make("run", word)
    assert done.returncode
    assert f"{word.partition('=')[0]}: unknown; {advice}" in done.stderr
    assert done.stdout == "", "nothing was run"


def test_a_variable_that_is_known_reaches_the_command(make):
    done = make("run", "PARAMS=a b.yaml", "ONLY=02, 03")
    assert done.stdout == "passive: -m maro_lib run a b.yaml --only 02, 03\n", "and threads that wait sleep"


@pytest.mark.parametrize(
    ("fails", "part"), [("ruff", "lint"), ("-n 2", "unit"), ("2-7", "notebooks"), ("9]", "notebooks")]
)
def test_a_part_that_fails_stops_no_other_and_is_named(make, fails, part):
    done = make("test", fails=fails)
    assert done.returncode
    verdicts = re.findall(r"^ +\d+ s  (\w+) +(\w+)$", done.stdout, re.MULTILINE)
    assert verdicts == [("FAILED" if name == part else "passed", name) for name in ("lint", "unit", "notebooks")]
    assert f"Failed: {part}\n" in done.stdout
    assert done.stdout.count("--nbval-current-env") == 2


def test_when_nothing_fails_all_passed(make):
    done = make("test")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "All passed.")


def test_numbers_are_tried_as_other_processors_would_and_the_variant_that_fails_is_named(make):
    done = make("numerics", "VARIANTS=TRY=one TRY=two", "NUMERIC=tests/test_loss.py", fails="two -m pytest -n")
    assert done.returncode
    assert "Failed: TRY=two/numbers\n" in done.stdout
    assert done.stdout.count("-m pytest -n 2 tests/test_loss.py") == 2
    assert done.stdout.count("--nbval-current-env") == 4


def test_root_may_open_jupyterlab(make):
    """Jupyter refuses root unless told; in a container there is nobody else."""
    assert ("--allow-root" in make("lab").stdout) == (os.geteuid() == 0)


def test_threads_that_wait_sleep_where_the_library_comes_before_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import maro_lib, torch"], env=INHERITED | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
