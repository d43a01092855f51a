"""Write the reader's copy of every notebook, and all answers apart from it: `make handout`.

A reader's copy has no outputs, no cell that is tagged `solution`, and no folded answer. It runs as the notebook does.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from maro_lib.runs import ROOT, write_atomic

ANSWER = re.compile(r"\n*<details><summary>Answer</summary>(.*?)</details>", re.DOTALL)


def write_handout(folder: Path) -> list[Path]:
    """Write a copy of each notebook, and solutions.md; return what was written."""
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    notebooks = {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    answers = "\n".join(f"## {path.stem}\n\n" + "\n".join(answers_of(nb)) for path, nb in notebooks.items())
    files = {folder / path.name: json.dumps(for_readers(nb), indent=1, ensure_ascii=False) + "\n"
             for path, nb in notebooks.items()}  # fmt: skip
    files |= {folder / "solutions.md": f"# Solutions\n\n{answers}"}
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        write_atomic(path, text)
    return [*files]


def for_readers(notebook: dict) -> dict:
    """A copy without outputs and answers; its links lead from the handout's folder."""
    cells = [_for_reader(cell) for cell in notebook["cells"] if not _is_solution(cell)]
    return notebook | {"cells": cells}


def _for_reader(cell: dict) -> dict:
    if cell["cell_type"] == "code":
        return cell | {"outputs": [], "execution_count": None}
    text = ANSWER.sub("", "".join(cell["source"]))
    return cell | {"source": text.replace("](images/", "](../notebooks/images/")}


def answers_of(notebook: dict) -> Iterator[str]:
    """Each exercise with its answer, in the notebook's order."""
    asked = ""
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if _is_solution(cell):
            yield f"{asked}\n\n```python\n{text}\n```\n"
        elif cell["cell_type"] == "markdown":
            asked = _last_exercise(ANSWER.sub("", text)) or asked
            yield from (f"{_last_exercise(text[: m.start()])}\n\n{m[1].strip()}\n" for m in ANSWER.finditer(text))


def _last_exercise(text: str) -> str:
    """The last paragraph that begins as an exercise does: a number and a title in bold."""
    found = re.findall(r"^\*\*\d+ · .*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return found[-1] if found else ""


def _is_solution(cell: dict) -> bool:
    return "solution" in cell["metadata"].get("tags", ())


if __name__ == "__main__":
    written = write_handout(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "handout"))
    print(f"{len(written) - 1} notebooks without answers, and solutions.md: {written[0].parent}")
