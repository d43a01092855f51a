"""The house rules, which no tool checks: for notebooks, parameter files, and the code."""

import ast
import contextlib
import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from ipykernel.kernelspec import get_kernel_dict
from papermill.inspection import inspect_notebook

from maro_lib.run.parameters import declared, load_params, read_parameters
from maro_lib.runs import ROOT, STAGES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMS = sorted((ROOT / "params").glob("*.yaml"))  # a sweep is no run; tests/test_sweep.py reads those
KERNEL = get_kernel_dict()
GOOD = Path(__file__).parent / "fixtures" / "notebooks" / "good" / "02_rollout.ipynb"
MADE = re.compile(r"\..*cache|\.(venv|git|hypothesis|ipynb_checkpoints)|outputs|build|__pycache__|.*egg-info")


# --- rules for a notebook: each yields what is wrong -------------------------------------------------


def code(notebook: dict) -> list[dict]:
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def tree(cell: dict) -> Iterator[ast.AST]:
    """Walk a cell's syntax; a cell with a magic has none, and another rule for it."""
    try:
        return ast.walk(ast.parse(source(cell)))
    except SyntaxError:
        return iter(())


def executed_in_order(notebook: dict) -> Iterator[str]:
    counts = [c["execution_count"] for c in code(notebook)]
    if counts != list(range(1, len(counts) + 1)):  # nbval compares nothing for a cell without a count
        yield f"executed as {counts}, not 1..{len(counts)}; run `make refresh`"


def no_errors(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"In [{cell['execution_count']}] holds the error {output['ename']}"


def no_warnings(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        if not is_ignored(cell) and any(output.get("name") == "stderr" for output in cell["outputs"]):
            yield f"In [{cell['execution_count']}] wrote to stderr (a bar or a warning), which no second run repeats"


def one_parameter_cell(notebook: dict) -> Iterator[str]:
    if (n := sum("parameters" in tags(c) for c in notebook["cells"])) != 1:
        yield f"{n} cells are tagged `parameters`"


def short_cells(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        if "parameters" in cell["metadata"].get("tags", []):
            continue  # a list of names, however many there are
        if (n := len(source(cell).splitlines())) > 30:
            yield f"In [{cell['execution_count']}] has {n} lines (at most 30; more belongs into the library)"


def short_functions(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        for node in tree(cell):
            if isinstance(node, ast.FunctionDef) and (n := node.end_lineno - node.lineno + 1) > 10:
                yield f"{node.name} has {n} lines (at most 10; more belongs into the library)"


def nothing_set_up_by_hand(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        if found := re.search(r"sys\.path|[%!]\s*pip|os\.chdir|%cd", source(cell)):
            yield f"In [{cell['execution_count']}] has {found[0]!r}; the package is installed, paths come from runs"


def is_ignored(cell: dict) -> bool:
    marks = {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"}
    return bool(marks & set(tags(cell)) or re.search(r"#\s*NBVAL_", source(cell)))


def most_cells_compared(notebook: dict) -> Iterator[str]:
    ignored = [c for c in code(notebook) if is_ignored(c)]
    if len(ignored) * 4 > len(code(notebook)):
        yield f"{len(ignored)} of {len(code(notebook))} code cells are not compared (at most a quarter)"


def nothing_raises_on_purpose(notebook: dict) -> Iterator[str]:
    if any("raises-exception" in tags(c) or "NBVAL_RAISES" in source(c) for c in code(notebook)):
        yield "a cell is marked as raising: nbval lets it pass, but papermill stops there"


def title_and_question(notebook: dict) -> Iterator[str]:
    first = notebook["cells"][0]
    if first["cell_type"] != "markdown" or not source(first).startswith("# "):
        yield "the first cell has no title (`# ...`)"
    elif not re.search(r"[?？][*_]*\s*$", source(first), re.MULTILINE):
        yield "the first cell has no question: a line that ends in `?`"


def opens_unchanged(notebook: dict) -> Iterator[str]:
    """JupyterLab writes its own name for the kernel into a notebook, and then it has been changed by being opened."""
    if (name := notebook["metadata"]["kernelspec"]["display_name"]) != KERNEL["display_name"]:
        yield f"names its kernel {name!r}, JupyterLab {KERNEL['display_name']!r}"


def ends_with_finish(notebook: dict) -> Iterator[str]:
    calls = (n.func for n in tree(code(notebook)[-1]) if isinstance(n, ast.Call))
    if "finish" not in {getattr(f, "id", getattr(f, "attr", "")) for f in calls}:
        yield "the last code cell does not call `finish(run, notebook, headline)`"


def a_sitting_long(notebook: dict) -> Iterator[str]:
    if not 25 <= (n := len(notebook["cells"])) <= 40:
        yield f"{n} cells (25 to 40)"


def imports_in_one_cell(notebook: dict) -> Iterator[str]:
    n = [sum(isinstance(node, ast.Import | ast.ImportFrom) for node in tree(cell)) for cell in code(notebook)]
    if sum(map(bool, n)) > 1 or sum(n) > 8:
        yield f"{sum(n)} imports in {sum(map(bool, n))} cells (at most 8, in one; import from rooms)"


def no_setup_wall(notebook: dict) -> Iterator[str]:
    """What stands between the parameters and the first content."""
    cells = notebook["cells"][1:]
    before = cells[: next((i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown"), len(cells))]
    lines = [line for c in before if "parameters" not in tags(c) for line in source(c).splitlines() if line.strip()]
    if len(lines) > 25:
        yield f"{len(lines)} lines before the first content (at most 25; `filled` makes settings of parameters)"


def said_after(cells: list[dict]) -> str:
    """The prose right after an output, up to the next code, heading, prediction or check; nothing that is folded."""
    prose = "\n\n".join(source(c) for c in takewhile(lambda c: c["cell_type"] == "markdown", cells))
    unfolded = re.sub(r"<details>.*?</details>", "", prose, flags=re.DOTALL)
    return re.split(r"^(?:#|\*\*(?:Predict|Check|By hand)|!\[)", unfolded, maxsplit=1, flags=re.MULTILINE)[0]


def short_prose_after_outputs(notebook: dict) -> Iterator[str]:
    for i, cell in enumerate(notebook["cells"]):
        if cell.get("outputs") and (n := len(said_after(notebook["cells"][i + 1 :]).split())) > 60:
            yield f"{n} words after the output of In [{cell['execution_count']}] (at most 60)"


def solutions_folded(notebook: dict) -> Iterator[str]:
    for cell in code(notebook):
        calls = {getattr(n.func, "id", "") for n in tree(cell) if isinstance(n, ast.Call)}
        hidden = cell["metadata"].get("jupyter", {}).get("source_hidden") and source(cell).startswith("#")
        if "check" in calls and not (hidden and "solution" in tags(cell)):  # JupyterLab shows its first line
            yield f"In [{cell['execution_count']}] shows an answer (`source_hidden`, tag `solution`, a comment on top)"
    for cell in notebook["cells"]:
        told = re.sub(r"<details>.*?</details>", "", source(cell), flags=re.DOTALL)
        if cell["cell_type"] == "markdown" and re.search(r"\*\*(Answer|Solution)|<summary>", told):
            yield "an answer in prose stands outside <details>"


def colours_by_meaning(notebook: dict) -> Iterator[str]:
    """A hexadecimal colour is for what COLOURS has no name for."""
    named = re.compile(r"\b(BLUE|ORANGE)\b|[\"'](tab|C\d|red|blue|orange|green)\b")
    for cell in code(notebook):
        if found := named.search(source(cell)):
            yield f"In [{cell['execution_count']}] has the colour {found[0]}; take one of figures.COLOURS"


def the_loop_on_top(notebook: dict) -> Iterator[str]:
    first = source(notebook["cells"][0])
    if (number := re.match(r"# (0[1-6]) ·", first)) and f"](images/loop_{number[1]}.png)" not in first:
        yield f"the picture of the loop (images/loop_{number[1]}.png) does not stand under the title"


RULES = (executed_in_order, no_errors, no_warnings, one_parameter_cell, short_cells, short_functions,
         nothing_set_up_by_hand, most_cells_compared, nothing_raises_on_purpose, title_and_question,
         opens_unchanged, ends_with_finish, a_sitting_long, imports_in_one_cell, no_setup_wall,
         short_prose_after_outputs, solutions_folded, colours_by_meaning, the_loop_on_top)  # fmt: skip
HELD = [(rule, path) for rule in RULES for path in [*NOTEBOOKS, GOOD] if (rule, path) != (a_sitting_long, GOOD)]


def test_the_series_has_notebooks():
    assert [path.stem for path in NOTEBOOKS] == list(STAGES)


@cache
def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("rule", "path"), HELD, ids=[f"{rule.__name__}-{path.stem}" for rule, path in HELD])
def test_every_notebook_keeps_the_rule(rule, path):
    assert not list(rule(read(path)))


# --- every rule is broken once -----------------------------------------------------------------------


def add(text: str, **metadata) -> Callable[[dict], None]:
    """Return what puts one more code cell before the last one."""

    def change(notebook: dict) -> None:
        n = len(code(notebook))
        cell = {"cell_type": "code", "execution_count": n, "metadata": metadata, "source": text, "outputs": []}
        notebook["cells"][-1]["execution_count"] = n + 1
        notebook["cells"].insert(-1, cell)

    return change


def put(output: dict) -> Callable[[dict], None]:
    return lambda notebook: code(notebook)[2]["outputs"].append(output)


def retitle(text: str) -> Callable[[dict], None]:
    return lambda notebook: notebook["cells"][0].update(source=text)


def say(text: str) -> Callable[[dict], None]:
    """Return what puts prose after an output."""

    def change(notebook: dict) -> None:
        after = next(i for i, cell in enumerate(notebook["cells"]) if cell.get("outputs")) + 1
        notebook["cells"].insert(after, {"cell_type": "markdown", "metadata": {}, "source": text})

    return change


def uncount(notebook: dict) -> None:
    code(notebook)[1]["execution_count"] = None


BREAKS = [
    (executed_in_order, uncount),
    (executed_in_order, lambda notebook: notebook["cells"].reverse()),
    (no_errors, put({"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []})),
    (no_warnings, put({"output_type": "stream", "name": "stderr", "text": "UserWarning"})),
    (one_parameter_cell, add("a = 1", tags=["parameters"])),
    (one_parameter_cell, lambda notebook: code(notebook)[0]["metadata"].clear()),
    (short_cells, add("x = 1\n" * 31)),
    (short_functions, add("def f():\n" + "    x = 1\n" * 10)),
    (nothing_set_up_by_hand, add("import sys\nsys.path.append('..')")),
    (nothing_set_up_by_hand, add("%pip install x")),
    (nothing_set_up_by_hand, add("import os\nos.chdir('..')")),
    (most_cells_compared, lambda notebook: [add("x", tags=["nbval-ignore-output"])(notebook) for _ in range(2)]),
    (most_cells_compared, lambda notebook: [add("# NBVAL_IGNORE_OUTPUT\nx")(notebook) for _ in range(2)]),
    (nothing_raises_on_purpose, add("1 / 0", tags=["raises-exception"])),
    (title_and_question, retitle("# Title\n\nA statement.")),
    (title_and_question, retitle("A question without a title?")),
    (opens_unchanged, lambda notebook: notebook["metadata"]["kernelspec"].update(display_name="Python 3")),
    (ends_with_finish, lambda notebook: notebook["cells"].pop()),
    (a_sitting_long, lambda notebook: [add("x")(notebook) for _ in range(40)]),
    (a_sitting_long, lambda notebook: notebook["cells"].__delitem__(slice(10, None))),
    (imports_in_one_cell, add("import math")),
    (imports_in_one_cell, lambda notebook: code(notebook)[1].update(source="import math\n" * 9)),
    (no_setup_wall, lambda notebook: code(notebook)[1].update(source="x = 1\n" * 26)),
    (short_prose_after_outputs, say("word " * 61)),
    (short_prose_after_outputs, say("word " * 40 + "\n<details>word</details>\n\n" + "word " * 30)),
    (solutions_folded, add("# Solution\ncheck(my_answer, 4)", tags=["solution"])),
    (solutions_folded, add("# Solution\ncheck(my_answer, 4)", jupyter={"source_hidden": True})),
    (solutions_folded, add("check(my_answer, 4)", tags=["solution"], jupyter={"source_hidden": True})),
    (solutions_folded, say("**Answer:** 4")),
    (colours_by_meaning, add("plt.plot(x, color=ORANGE)")),
    (colours_by_meaning, add("plt.plot(x, color='red')")),
    (the_loop_on_top, retitle("# 03 · Title\n\n![The loop](images/loop_02.png)\n\nA question?")),
]


@pytest.mark.parametrize(("rule", "break_it"), BREAKS, ids=[f"{r.__name__}-{i}" for i, (r, _) in enumerate(BREAKS)])
def test_rule_sees_its_own_break(rule, break_it):
    notebook = read(NOTEBOOKS[4] if rule is a_sitting_long else GOOD)
    broken = copy.deepcopy(notebook)
    break_it(broken)
    assert not list(rule(notebook))
    assert len(list(rule(broken))) == 1


@pytest.mark.parametrize("end", ["\n## Next\n\n", "\n**Predict:** ", "\n**Check.** ", "\n<details>"])
def test_prose_after_an_output_ends_where_something_new_begins(end):
    notebook = copy.deepcopy(read(GOOD))
    say("word " * 40 + end + "word " * 40 + "</details>")(notebook)
    assert not list(short_prose_after_outputs(notebook))


def test_every_rule_is_broken_once():
    assert {rule for rule, _ in BREAKS} == set(RULES)


# --- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*NOTEBOOKS, GOOD], ids=lambda path: path.stem)
def test_papermill_sees_every_declared_parameter(path):
    assert list(inspect_notebook(path)) == list(read_parameters(path))  # it misses `str | None`, or `=` in a comment


def test_every_notebook_runs_by_default_in_the_folder_notebook():
    run = declared(NOTEBOOKS)["run"]
    assert run.notebooks == tuple(path.stem for path in NOTEBOOKS)
    assert run.default == "notebook"


@pytest.mark.parametrize("path", PARAMS, ids=lambda path: path.stem)
def test_every_parameter_file_sets_declared_names_with_their_type(path):
    params = load_params(path, declared(NOTEBOOKS))
    assert params["run"] == path.stem, "a file's run is named after it, so that two files never share a folder"


# --- what no file may hold -------------------------------------------------------------------------

# Written so that the patterns do not find themselves.
FORBIDDEN = {
    "a package registry's host": re.compile(r"\b(?:pypi[.]org|python[h]osted[.]org|download[.]pytorch[.]org)"),
    "an absolute path of somebody's machine": re.compile(r"(?<![\w.~])/(?:[h]ome|[U]sers|[r]oot|[w]ork)/[\w.-]"),
}


def text_files() -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not MADE.fullmatch(name)]  # not walked into: .venv is large
        for path in (Path(folder, name) for name in files if name != ".git"):  # of a worktree, a file
            with contextlib.suppress(UnicodeDecodeError):  # weights, pictures
                yield path, path.read_text(encoding="utf-8")


def test_no_file_names_a_registry_or_a_machine():
    broken = [
        f"{path.relative_to(ROOT)}: {what}: {found[0]!r}"
        for path, text in text_files()
        for what, pattern in FORBIDDEN.items()
        if (found := pattern.search(text))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("text", ["see /" + "home/me/x", "https://pypi" + ".org/simple", '"/' + 'root/.cache"'])
def test_forbidden_text_is_seen(text):
    assert any(pattern.search(text) for pattern in FORBIDDEN.values())


def unsafe(program: str) -> list[str]:
    """Find what would run somebody else's code on reading a file."""
    found = []
    for node in ast.walk(ast.parse(program)):
        names = [getattr(node, field, None) for field in ("id", "attr", "module", "name")]
        found += [name for name in names if isinstance(name, str) and re.search("pickle|^dill$|^joblib$", name)]
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            found += ["trust_remote_code"] if getattr(node.value, "value", True) is not False else []
    return found


def test_no_code_unpickles_or_trusts_remote_code():
    programs = [(path, path.read_text()) for path in sorted((ROOT / "maro_lib").rglob("*.py"))]
    programs += [(p, source(c)) for p in NOTEBOOKS for c in code(json.loads(p.read_text())) if any(tree(c))]
    broken = [f"{path.relative_to(ROOT)}: {what}" for path, program in programs for what in unsafe(program)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "program",
    ["import pickle", "from pickle import loads", "import cloudpickle as p", "pd.read_pickle('x')",
     "load(x, trust_remote_code=True)", "load(x, trust_remote_code=flag)"],
)  # fmt: skip
def test_unsafe_code_is_seen(program):
    assert unsafe(program)
    assert not unsafe("load(x, trust_remote_code=False)")
