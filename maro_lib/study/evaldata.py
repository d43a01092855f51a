"""Where the items of an evaluation lie, and how those of this kit are made and scored.

A folder of data holds <dataset>/<configuration>/<split>.jsonl (or .parquet, also in numbered pieces as the hub has
them); the part <configuration> is left out where a task has none. `hf download --repo-type dataset` writes most
data sets in that form. Files are read as plain tables: nothing in them is run, and a row that lacks what its task reads
is named before anything is asked. Taught in notebook 07.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maro_lib.embedded import tasks
from maro_lib.embedded.exam import EXAM_SEED
from maro_lib.embedded.tasks import Item
from maro_lib.runs import make_folder, write_atomic
from maro_lib.strict_json import read_json
from maro_lib.study import scenes
from maro_lib.study.beliefs import belief_items
from maro_lib.study.scenes import Scene

if TYPE_CHECKING:
    from datasets import Dataset

OWN = "maro"  # what the YAML files in evals/ call the data set
N_ITEMS = 400  # of each task, at most
LARGEST = 2**30  # bytes of a file
LONGEST_ROW = 2**24  # bytes of a line; what is longer is cut, and then is no JSON
MEND = "Get the data set again, or delete that row"


class DataError(RuntimeError):
    """The items of a task are not there; the message says which file was expected where."""


class ItemRow(BaseModel):
    """What a task reads of a row; there may be more in it."""

    model_config = ConfigDict(strict=True)


class Gsm8k(ItemRow):
    question: str
    answer: Annotated[str, Field(pattern="#### ")]


class Math(ItemRow):
    problem: str
    solution: str
    answer: str
    level: int


class Ifeval(ItemRow):
    key: int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]


class Mmlu(ItemRow):
    question: str
    choices: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Annotated[int, Field(ge=0, le=3)]


ROWS: dict[str, type[ItemRow]] = {"openai/gsm8k": Gsm8k, "HuggingFaceH4/MATH-500": Math, "google/IFEval": Ifeval,
                              "cais/mmlu": Mmlu}  # fmt: skip  # of other data sets each row has what the first has


@dataclass(frozen=True)
class ItemFiles:
    """The local files that a task reads, by split."""

    dataset: str
    files: Mapping[str, tuple[Path, ...]]

    def __str__(self) -> str:
        return ", ".join(str(path) for paths in self.files.values() for path in paths)

    @property
    def digest(self) -> str:
        """A hash of what the files hold, wherever they lie."""
        total = hashlib.blake2b(digest_size=8)
        for split, paths in sorted(self.files.items()):
            total.update(b"\0".join([split.encode(), *(path.read_bytes() for path in paths)]))
        return total.hexdigest()

    def __call__(self, **_: object) -> dict[str, Dataset]:
        """Read all splits, as the harness asks for them."""
        from datasets import Dataset

        return {split: Dataset.from_list([row for at in paths for row in self._checked(at)])
                for split, paths in self.files.items()}  # fmt: skip

    def _checked(self, path: Path) -> list[dict[str, Any]]:
        """Read a file whose every row has what its task reads."""
        numbered = _rows(path)
        first, what = next(iter(numbered.values())), "line" if path.suffix == ".jsonl" else "row"
        for number, row in numbered.items():
            if problem := _problem(row, first, ROWS.get(self.dataset)):
                raise DataError(f"{path}, {what} {number}: {problem}. {MEND}")
        return list(numbered.values())


def item_files(folder: Path, dataset: str, name: str | None, splits: Sequence[str], task: str) -> ItemFiles:
    """Find the files of a task's splits in a folder of data."""
    places = [folder / dataset / (name or "")] + ([folder / dataset] if name == "default" else [])
    files = {split: _files(places, split) for split in splits}
    if missing := [split for split in splits if not files[split]]:
        expected = ", ".join(str(places[-1] / f"{split}.jsonl") for split in missing)
        raise DataError(
            f"{task}: {expected} is missing (or the same as .parquet). Copy the data set {dataset} there, for example: "
            f"hf download --repo-type dataset {dataset} --local-dir {folder / dataset}"
        )
    return ItemFiles(dataset, files)


def write_items(folder: Path, seed: int, register: str) -> Path:
    """Write the items of this kit's own tasks into a folder of data, and return it."""
    for task in tasks.TASKS:
        _write(folder / OWN / task, [asdict(i) for i in tasks.items(task, N_ITEMS, EXAM_SEED, held_out=True)])
    for kind in scenes.SCENE_KINDS:
        _write(folder / OWN / kind, [asdict(s) | {"kind": kind} for s in scenes.scenes(kind, N_ITEMS, seed, register)])
    _write(folder / OWN / "beliefs", [asdict(item) for item in belief_items(N_ITEMS, seed)])
    return folder


def score_item(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, int]:
    """Score a reply to a small task, for the harness."""
    return {"right": int(tasks.is_right(Item(**{name: doc[name] for name in Item.__annotations__}), results[0]))}


def score_scene(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, int]:
    """Score a reply in a scene, for the harness: honest or not, and whether it serves the goal by a falsehood."""
    scene = Scene(**{name: doc[name] for name in Scene.__annotations__})
    said = scenes.truthfulness(doc["kind"], results[0], scene.true, scene.false)
    return {"right": int(said == "honest"), "misled": int(said == "false")}


def _files(places: Sequence[Path], split: str) -> tuple[Path, ...]:
    """Return a split's files in the first of these places that has any."""
    patterns = [f"{split}{more}.{ending}" for ending in ("jsonl", "parquet") for more in ("", "-[0-9]*")]
    found = (tuple(sorted(place.glob(pattern))) for place in places for pattern in patterns)
    return next(filter(None, found), ())


def _rows(path: Path) -> dict[int, dict[str, Any]]:
    """Read a file's rows, by number; of lines, the empty ones are left out."""
    place = str(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"holds more than {LARGEST // 2**20} MB")
        if path.suffix == ".parquet":
            rows = dict(enumerate(pq.read_table(path).to_pylist(), 1))
        else:
            rows = {}
            with open(path, "rb") as file:
                for number, line in enumerate(iter(lambda: file.readline(LONGEST_ROW), b""), 1):
                    place = f"{path}, line {number}"
                    if line.strip():
                        rows[number] = _object(line)
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        why = str(error).replace("line 1, ", "")  # of the line that was read
        raise DataError(f"{place}: can't be read as a table: {why}. {MEND}") from None
    if not rows:
        raise DataError(f"{path}: holds no rows. {MEND.partition(',')[0]}")
    return rows


def _object(line: bytes) -> dict[str, Any]:
    row = read_json(line.strip())
    if not isinstance(row, dict):
        raise ValueError("a line must be an object {...}")
    return row


def _problem(row: Mapping[str, Any], first: Mapping[str, Any], kind: type[ItemRow] | None) -> str:
    """Say what a row lacks, or has of a type that its task can't read; nothing if it is sound."""
    if kind is None:
        lacks = [name for name in first if name not in row]
        return f"{lacks[0]}: is missing, which the first row has" if lacks else ""
    try:
        kind.model_validate(row)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        return f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
    return ""


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    make_folder(folder)
    write_atomic(folder / "test.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
