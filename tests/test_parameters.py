"""Parameter cells declare, parameter files set; every mistake is named with its place."""

import json
from pathlib import Path

import pytest

from maro_lib.run.parameters import (
    Parameter,
    ParameterError,
    declared,
    effective,
    load_params,
    parameters_page,
    read_parameters,
)
from maro_lib.run.quick import not_asked, quick_problems
from maro_lib.run.ranges import RANGE_OF, RANGES, outside
from maro_lib.runs import ROOT

FIXTURES = Path(__file__).parent / "fixtures" / "notebooks"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GOOD = sorted((FIXTURES / "good").glob("*.ipynb"))
KNOWN = {
    "run": Parameter("str", "notebook", ("02",)),
    "train_epochs": Parameter("int", 3, ("05",)),
    "lr": Parameter("float", 1e-4, ("05",)),
    "is_strict": Parameter("bool", True, ("06",)),
    "rules": Parameter("list[str]", ["uniform"], ("03",)),
    "rates": Parameter("list[float]", [0.1], ("03",)),
    "camp_weights": Parameter("dict[str, float]", {}, ("04",)),
}


def load(tmp_path, text: str) -> dict:
    (tmp_path / "x.yaml").write_text(text)
    return load_params(tmp_path / "x.yaml", KNOWN)


def notebook_with(tmp_path, *sources: str, name: str = "02_rollout") -> Path:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}}
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": [{**cell, "source": source} for source in sources]}))
    return path


def test_declared_names_have_type_default_notebooks_and_help():
    known = declared(GOOD)
    every = ("02_rollout", "03_decomposition", "04_balancing")
    assert known["run"] == Parameter("str", "notebook", every, "names the folder of what this makes")
    assert known["n_games"] == Parameter("int", 4, ("02_rollout",), "how many games")
    assert known["keep"].type == "list[str]"


def test_type_of_a_literal_without_annotation_is_its_own(tmp_path):
    path = notebook_with(tmp_path, 'a = 1\nb = 0.5\nc = [1, 2]\nd = {"x": 1.0}\ne = True\nf = -1')
    kinds = [p.type for p in read_parameters(path).values()]
    assert kinds == ["int", "float", "list[int]", "dict[str, float]", "bool", "int"]


def test_derived_parameter_is_refused():
    with pytest.raises(ParameterError, match="line 3: `n_actions` is not a literal"):
        declared((FIXTURES / "derived_parameter").glob("*.ipynb"))


def test_notebooks_that_disagree_are_both_named():
    with pytest.raises(ParameterError, match="`n_games` is int = 5 in 03_decomposition, but int = 4 in 02_rollout"):
        declared(sorted((FIXTURES / "disagreeing").glob("*.ipynb")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\nrun = 'x'", "line 1: holds something other than `name = literal`"),
        ("a: int = 'x'\nb = 1", "`a` is declared int, but its default is 'x'"),
        ("a: int = True\nb = 1", "`a` is declared int, but its default is True"),
        ("a: str | None = 'x'\nb = 1", r"`a` is of type str \| None"),  # papermill does not see such a parameter
        ("a = None", "`a` is of type NoneType"),
        ("a = []", "`a` is of type list; annotate it"),
        ("a = (", "is not Python"),
        ('run: str = "x"', "magic %run"),
    ],
)
def test_cell_that_declares_nothing_clear_is_refused(tmp_path, source, message):
    with pytest.raises(ParameterError, match=message):
        read_parameters(notebook_with(tmp_path, source))


@pytest.mark.parametrize("sources", [(), ("a = 1", "b = 2")])
def test_exactly_one_cell_declares(tmp_path, sources):
    with pytest.raises(ParameterError, match=f"{len(sources)} cells are tagged `parameters`"):
        read_parameters(notebook_with(tmp_path, *sources))


def test_good_file_is_read_as_it_stands(tmp_path):
    text = "run: x\nlr: 1\nrules: [a, b]\ncamp_weights: {culprit: 1, civilian: 0.5}\nis_strict: no\n"
    assert load(tmp_path, text) == {"run": "x", "lr": 1, "rules": ["a", "b"], "is_strict": False,
                                    "camp_weights": {"culprit": 1, "civilian": 0.5}}  # fmt: skip


def test_what_is_not_set_has_its_default():
    assert effective({"lr": 0.5}, KNOWN)["lr"] == 0.5
    assert effective({"lr": 0.5}, KNOWN)["train_epochs"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian_epochs: 3", r"x.yaml:1: unknown name `trian_epochs`; did you mean 'train_epochs'\?"),
        ("run: x\nzzz: 3", "unknown name `zzz`; known: camp_weights, is_strict, lr"),
        ("lr: 1e-4", r"`lr` must be float, got '1e-4' \(str\); YAML reads this as text, write 1.0e-4"),
        ("lr: 2.5e4", r"write 2.5e\+4"),
        ("rates: [0.1, 3e-2]", "write 3.0e-2"),
        ("train_epochs: 1e1", "write 10$"),
        ("train_epochs: true", r"`train_epochs` must be int, got True \(bool\)"),
        ("train_epochs: 2.0", r"must be int, got 2.0 \(float\)"),
        ("is_strict: 1", "`is_strict` must be bool, got 1"),
        ("run: 007", r"`run` must be str, got 7 \(int\); put it in quotes"),
        ("run: 2026-01-31", "put it in quotes"),
        ("run:", "nothing is given after the colon"),
        ("rules: [a, 3]", r"`rules` must be list\[str\]"),
        ("rules: a", r"`rules` must be list\[str\], got 'a'"),
        ("camp_weights: {culprit: x}", r"`camp_weights` must be dict\[str, float\]"),
        ("lr: 0.1\nlr: 0.2", r"x.yaml:2: `lr` is given twice \(first in .*x.yaml:1\)"),
        ("camp_weights: {a: 1, a: 2}", "a key is given twice"),
        ("run: x\n1: 2", "a name must be text, got 1"),
        ("run: x\n[a]: 2", "a name must be text"),
        ("", "must hold lines `name: value`"),
        ("# nothing\n", "must hold lines `name: value`"),
        ("- run", "must hold lines `name: value`"),
        ("run: [", "is not plain YAML"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(ParameterError, match=message):
        load(tmp_path, text)


def test_every_mistake_is_listed_at_once(tmp_path):
    with pytest.raises(ParameterError) as error:
        load(tmp_path, "trian_epochs: 3\nlr: 1e-4\nrun: x\nrules: 4\n")
    lines = [line.split(":")[1] for line in str(error.value).splitlines()]
    assert lines == ["1", "2", "4"]


def test_missing_file_lists_those_that_are_there(tmp_path):
    (tmp_path / "cpu.yaml").write_text("run: cpu")
    with pytest.raises(ParameterError, match=r"cup.yaml: there is no such file; .* holds: cpu.yaml"):
        load_params(tmp_path / "cup.yaml", KNOWN)


# --- ranges ------------------------------------------------------------------------------------------


def test_every_parameter_of_the_notebooks_has_one_range_and_its_default_is_inside():
    known = declared(NOTEBOOKS)
    assert sorted(known) == sorted(RANGE_OF), "maro_lib/run/ranges.py must name what the notebooks declare, no more"
    assert len(RANGE_OF) == sum(len(names.split()) for names in RANGES.values()), "a name stands under one range"
    assert {name: problem for name, p in known.items() if (problem := outside(name, p.default))} == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n_games: -5", "`n_games` must be 1 to 1,000,000, got -5$"),
        ("n_games: 0", "must be 1 to 1,000,000, got 0$"),
        ("n_games: 1000000000000", "must be 1 to 1,000,000"),
        ("beta: -1", "`beta` must be above 0, got -1$"),
        ("beta: 0", "must be above 0, got 0$"),
        ("batch: 0", "`batch` must be 1 to 100,000, got 0$"),
        ("gamma: 1.5", "must be above 0, at most 1, got 1.5"),
        ("learning_rate: .nan", "must be above 0, at most 10, got nan"),
        ("beta: .inf", "must be above 0, got inf"),
        ("z0: emma", "`z0` must be one of ema, batch, .*mismatched, got 'emma'; did you mean 'ema'"),
        ("rule: counterfactual", "must be one of uniform, terminal, "),
        ("maro_iterations: 0", "`maro_iterations` must be 1 to 100, got 0$"),
        ("opponents: bse", "must be one of self, base, earlier, diverse, got 'bse'; did you mean 'base'"),
        ("illegal: kep", "must be one of keep, drop, got 'kep'; did you mean 'keep'"),
        ("bench_script: [100, 0]", "must be 1 to 100,000, got 0"),
        ("camp_weights: {culprit: -1.0}", "must be 0 or more, got -1.0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(tmp_path, line, message):
    (tmp_path / "x.yaml").write_text(f"run: x\n{line}\n")
    with pytest.raises(ParameterError, match=f"x.yaml:2: .*{message}"):
        load_params(tmp_path / "x.yaml", declared(NOTEBOOKS))


ONLINE = {"objective": "policy_gradient", "n_online": 8}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "embeded"}, "model: embeded: there is no such folder; did you mean 'embedded'"),
        ({"model": "./no/folder"}, "model: ./no/folder: there is no such folder"),
        ({"adapter": "./none"}, "adapter: ./none: there is no such folder"),
        ({"script": "nowhere.yaml"}, "script: nowhere.yaml: no script there"),
        ({"culprits": 4}, "culprits: 4"),
        ({"camp_weights": {"culprits": 1.0}}, "did you mean 'culprit'"),
        ({"server_command": "vllm serve x"}, "server_command without server_url"),
        ({"server_url": "http://me:secret@there"}, "must hold no key"),
        ({"server_url": "http://there", "server_key_env": "NO_SUCH_KEY"}, "variable NO_SUCH_KEY is not set"),
        ({"evals": ["maro_wher"]}, "did you mean 'maro_where'"),
        ({"eval_data": "none"}, "eval_data: none: there is no such folder"),
        ({"objective": "policy_gradient"}, "set `objective: policy_gradient` and `n_online` above 0, or neither"),
        ({"n_slices": 2, "server_url": "http://there", "server_command": "x"}, "every slice would start a server"),
        ({"slices_at": "s3://x"}, "slices_at: there are no slices; set `n_slices`"),
        ({"n_online": 8}, "objective: maro with n_online: 8"),
        ({**ONLINE, "control": True}, "control: true with n_online"),
        ({**ONLINE, "control": False, "num_processes": 2}, "num_processes: 2 with n_online"),
        ({**ONLINE, "control": False, "temperature": 0.7}, "temperature: 0.7 with n_online"),
        ({"experts_first": True}, "experts_first: round 1 only imitates; set `maro_iterations` to 2 or more"),
        ({"experts_first": True, "maro_iterations": 2, "server_url": "http://there"}, "play here, not on a server"),
    ],
)
def test_what_is_not_there_or_does_not_go_together_is_named(values, message):
    problem = "\n".join(quick_problems(effective(values, declared(NOTEBOOKS))))
    assert message in problem
    assert "secret" not in problem


def test_a_task_that_lacks_its_data_is_no_problem_but_said_before_the_run(tmp_path):
    (tmp_path / "openai" / "gsm8k").mkdir(parents=True)
    given = {"evals": ["gsm8k", "mmlu_anatomy", "maro_where"], "safety_evals": [], "eval_data": str(tmp_path)}
    values = effective(given, declared(NOTEBOOKS))
    assert not [*quick_problems(values)]
    (sentence,) = not_asked(values)
    assert sentence.startswith(f"mmlu_anatomy: not asked: {tmp_path / 'cais/mmlu'} is missing: hf download ")
    assert not [*not_asked(values | {"eval_data": ""})], "then it comes from the hub"


def test_choices_are_those_of_the_library():
    from maro_lib.learn.balancing import MODES
    from maro_lib.learn.decomposition import cheap_rules
    from maro_lib.learn.settings import OBJECTIVES, REFERENCE_POINTS
    from maro_lib.model.loading import PRECISIONS

    known = {"mode": MODES, "rule": cheap_rules(), "objective": OBJECTIVES, "z0": REFERENCE_POINTS,
             "precision": PRECISIONS}  # fmt: skip
    for name, choices in known.items():
        assert [outside(name, choice) for choice in choices] == [""] * len(choices)
        assert f"must be one of {', '.join(choices)}, got 'none'" in outside(name, "none")


def test_what_is_set_on_the_command_line_is_checked_like_a_file(tmp_path):
    (tmp_path / "x.yaml").write_text("run: x\nlr: 0.5\n")
    values = load_params(tmp_path / "x.yaml", KNOWN, ["lr=0.25", "train_epochs=4", "rules=[a,b]"])
    assert values == {"run": "x", "lr": 0.25, "train_epochs": 4, "rules": ["a", "b"]}
    with pytest.raises(ParameterError, match=r"SET lr: `lr` must be float.*\nSET trian_epochs: unknown name"):
        load_params(tmp_path / "x.yaml", KNOWN, ["lr=1e-4", "trian_epochs=1"])
    for words in ("lr", "lr=", "=1"):
        with pytest.raises(ParameterError, match="must be name=value"):
            load_params(tmp_path / "x.yaml", KNOWN, [words])


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_are_within_their_ranges(path):
    assert load_params(path, declared(NOTEBOOKS))["run"]


def test_every_parameter_says_what_it_means():
    assert [name for name, parameter in declared(NOTEBOOKS).items() if not parameter.help] == []


def test_the_page_of_parameters_is_the_one_that_is_shipped():
    assert (ROOT / "docs" / "parameters.md").read_text() == parameters_page(declared(NOTEBOOKS)), (
        "write it again: .venv/bin/python -m maro_lib parameters > docs/parameters.md"
    )
