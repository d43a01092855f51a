"""Files that a user names: none is quoted unless it is of its kind, and none, however made, ends the process."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from test_parameters import KNOWN

from maro_lib.__main__ import main
from maro_lib.learn.launching import LaunchError, _check
from maro_lib.model.adapter_files import CONFIG, WEIGHTS, AdapterError, read_adapter
from maro_lib.model.endpoint import Answer, Unreached, _check_answer, error_message
from maro_lib.run.parameters import ParameterError, load_params
from maro_lib.strict_json import MAX_LISTS, read_json
from maro_lib.strict_yaml import MAX_DEPTH, MAX_TEXT, StrictLoader
from maro_lib.study.evaldata import DataError, item_files
from maro_lib.world.casebook import find_playable
from maro_lib.world.scripts import ScriptError

SECRET = "hunter2-Zq81"
OTHERS = {  # files of other kinds, with a line that must not be quoted
    "text": f"dear diary,\n{SECRET}\n", "one word": SECRET, ".env": f"DB={SECRET}\n{SECRET}=1\n",
    "yaml": f"{SECRET}: 1\npassword: {SECRET}\n", "yaml, a list": f"- {SECRET}\n", "yaml, broken": f"a: {SECRET}: [\n",
    "yaml, twice": f"{SECRET}: 1\n{SECRET}: 2\n", "yaml, a tag": f"a: !{SECRET} b\n", "yaml, an alias": f"*{SECRET}",
    "json": json.dumps({SECRET: SECRET, "b": {SECRET: 3}}), "json, numbers": json.dumps({SECRET: 1, "b": None}),
    "json, a list": json.dumps([SECRET, {SECRET: [1]}]), "json, deeper": json.dumps({SECRET: {SECRET: {SECRET: 1}}}),
    "json, broken": f'{{"a": "{SECRET}\\x', "json, twice": f'{{"{SECRET}": 1, "{SECRET}": 2}}',
    "ini": f"[{SECRET}]\nkey = {SECRET}\n", "binary": b"\x00\xff\x80" + SECRET.encode(), "nothing": "",
}  # fmt: skip


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def script(folder: Path, content: str | bytes) -> None:
    find_playable(str(put(folder / "x", content)))


def scripts(folder: Path, content: str | bytes) -> None:
    put(folder / "x.yaml", content)
    find_playable(str(folder))


def checkout(name: str) -> Callable[[Path, str | bytes], None]:
    whole = {
        "Truth.json": {"T": "Ann did it"},
        "T/clues.json": {"Hall": ["a"]},
        "T/script.json": {"Ann": {"Story": "a"}},
    }

    def read(folder: Path, content: str | bytes) -> None:
        for file, data in whole.items():
            put(folder / "en" / file, content if file == name else json.dumps(data))
        find_playable(str(folder))

    return read


def items(folder: Path, content: str | bytes) -> None:
    put(folder / "d/test.jsonl", content)
    item_files(folder, "d", None, ["test"], "task")()


def table(folder: Path, content: str | bytes) -> None:
    put(folder / "d/test.parquet", content)
    item_files(folder, "d", None, ["test"], "task")()


def adapter(folder: Path, content: str | bytes) -> None:
    put(folder / CONFIG, content)
    put(folder / WEIGHTS, "")
    read_adapter(folder)


def accelerate(folder: Path, content: str | bytes) -> None:
    _check(1, put(folder / "x.yaml", content), None)


def parameters(folder: Path, content: str | bytes) -> None:
    load_params(put(folder / "x.yaml", content), KNOWN)


READERS = {"script": script, "folder of scripts": scripts, **{f"MIRAGE {n}": checkout(n) for n in
           ("Truth.json", "T/clues.json", "T/script.json")}, "eval_data": items, "eval_data, parquet": table,
           "adapter": adapter, "accelerate_config": accelerate, "parameters": parameters}  # fmt: skip
REFUSED = (ScriptError, DataError, AdapterError, LaunchError, ParameterError)
FINE = {("json", "eval_data"), ("json, numbers", "eval_data"), ("json, deeper", "eval_data"),
        ("json, twice", "eval_data")}  # fmt: skip  # these are tables


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_refused_and_not_quoted(tmp_path, capsys, kind, reader):
    if (kind, reader) in FINE:
        READERS[reader](tmp_path, OTHERS[kind])
        return
    with pytest.raises(REFUSED) as error:
        READERS[reader](tmp_path, OTHERS[kind])
    assert error.value.__context__ is None or error.value.__suppress_context__, (
        "a traceback would show what it was from"
    )
    assert SECRET not in str(error.value) + str(capsys.readouterr())


# --- bounds ------------------------------------------------------------------------------------------


def laughs(first: str, again: str) -> str:
    lines = (f"a{k}: &a{k} {again.format(', '.join([f'*a{k - 1}'] * 9))}" for k in range(1, 12))
    return "\n".join([f"a0: &a0 {first}", *lines])


DEEP = 50_000
BOMBS = {
    "deep lists": "[" * DEEP, "deep mappings": "{a: " * DEEP, "deep dashes": "- " * DEEP, "deep keys": "? " * DEEP,
    "laughs": laughs("[x]", "[{}]"), "merged laughs": laughs("{x: 1}", "{{<<: [{}]}}"), "itself": "&a [*a]",
    "a chain": "\n".join(["a0: &a0 [x]", *(f"a{k}: &a{k} [*a{k - 1}]" for k in range(1, DEEP))]),
    "a huge number": "run: " + "9" * 10_000, "a huge hexadecimal": "run: 0x" + "f" * 10_000,
    "a huge clock": "run: 1" + ":1" * 10_000, "no date": "run: 2026-99-99", "no number": "run: 0b_",
    "a tag": "a: !!int x", "wide": f"[{'[],' * 10**6}]",
    "many documents": "---\n- a\n" * 300_000, "long": "a" * (MAX_TEXT + 1),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("command", ["run", "audit"])
def test_yaml_without_bounds_ends_in_a_sentence(tmp_path, monkeypatch, capsys, bomb, command):
    put(tmp_path / "x.yaml", BOMBS[bomb])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    began = time.process_time()
    assert main([command, "x.yaml"]) == 1
    assert time.process_time() - began < 2, "it is a third of a second; without its bound it takes minutes"
    said = capsys.readouterr().err
    assert "x.yaml" in said
    assert "Traceback" not in said
    assert len(said) < 300


def test_yaml_up_to_the_bounds_is_read():
    deep = yaml.load("[" * MAX_DEPTH + "]" * MAX_DEPTH, StrictLoader)
    for _ in range(MAX_DEPTH - 1):
        (deep,) = deep
    assert deep == []
    assert yaml.load("a: &a [1, 1.5, yes, 2026-01-31]\nb: *a\nc: ~", StrictLoader)["b"][0] == 1
    with pytest.raises(yaml.YAMLError, match="40 characters"):
        yaml.load("a: 0x" + "f" * 41, StrictLoader)
    with pytest.raises(yaml.YAMLError, match="100 levels"):
        yaml.load("a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60, StrictLoader)


JSON_BOMBS = {
    "deep": "[" * DEEP, "deep objects": '{"a":' * DEEP, "a number": "9" * 5_000, "one of 300": '{"a": ' + "9" * 300,
    "wide": f"[{'[],' * MAX_LISTS}[]]", "deep beside text": '["\\"", ' * DEEP,
}  # fmt: skip


@pytest.mark.parametrize("bomb", JSON_BOMBS)
@pytest.mark.parametrize("reader", ["MIRAGE Truth.json", "MIRAGE T/clues.json", "MIRAGE T/script.json", "eval_data",
                                    "adapter"])  # fmt: skip
def test_json_without_bounds_ends_in_a_sentence(tmp_path, bomb, reader):
    with pytest.raises(REFUSED) as error:
        READERS[reader](tmp_path, JSON_BOMBS[bomb])
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("bomb", JSON_BOMBS)
def test_a_servers_reply_without_bounds_is_no_answer(bomb):
    with pytest.raises(Unreached, match="not JSON"):
        _check_answer(JSON_BOMBS[bomb].encode())
    assert len(error_message(Answer(400, {}, JSON_BOMBS[bomb].encode()))) < 400


def test_json_up_to_the_bounds_is_read():
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read_json(json.dumps(["[" * 200, 1.5, -(2**63)])) == ["[" * 200, 1.5, -(2**63)]
    with pytest.raises(ValueError, match="40 digits"):
        read_json(f"[1, {'9' * 41}]")
    with pytest.raises(ValueError, match="100 levels"):
        read_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
