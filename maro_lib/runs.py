"""A run's folder: where a notebook puts what it makes, and finds what the notebook before it made.

A run of several rounds has a folder in it for each later round, outputs/<run>/round_<k> (k = 2, 3, ...). That is a run
of its own, called `<run>/round_<k>`; round 1 is the run itself. A trial of a sweep is a run called `<sweep>/<trial>`.

`STAGES` says, here and nowhere else, which notebook reads and writes what. Every artefact lies at
outputs/<run>/<name>, whatever folder the notebook was started in, so JupyterLab, papermill and nbval
(each starts elsewhere) meet the same files. `finish` leaves outputs/<run>/<notebook>.json behind: the one
proof that a notebook reached its end, since papermill marks every cell `completed` after a killed kernel too.

Used by every notebook from 01 on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

ROOT = Path(__file__).resolve().parent.parent  # the checkout: the package is installed editable


class Artefacts(NamedTuple):
    """What a stage reads and writes."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # of both: what some parameters leave out
    labelled: tuple[
        str, ...
    ] = ()  # of what it writes: holds what it was made for, and sets itself aside when it differs


STAGES = {
    "00_embedded_model": Artefacts(writes=("embedded",)),
    "01_environment": Artefacts(),
    "02_rollout": Artefacts(writes=("rollout", "gamebook.json"), labelled=("rollout",)),
    "03_decomposition": Artefacts(reads=("rollout",), writes=("credit.parquet",)),
    "04_balancing": Artefacts(reads=("rollout", "credit.parquet"), writes=("training.parquet", "training.json")),
    "05_maro_training": Artefacts(
        reads=("rollout", "gamebook.json", "training.parquet", "training.json"),
        writes=("learning", "control", "references", "choices.json", "matches", "merged"),
        optional=("control", "references", "merged"),
        labelled=("learning", "control", "references", "matches"),
    ),
    "06_social_metrics": Artefacts(
        reads=("matches",),
        writes=("social.parquet", "comparison.parquet", "judge.parquet", "judgements.jsonl"),
        optional=("judgements.jsonl",),
    ),
    "07_transfer_evals": Artefacts(reads=("learning", "control"), writes=("transfer",), optional=("control",)),
    "08_evidence": Artefacts(reads=("learning", "matches"), optional=("learning", "matches")),
    "09_benchmarks": Artefacts(),
    "10_culprits": Artefacts(writes=("forced", "games.parquet"), labelled=("forced",)),
    "11_cold_start": Artefacts(writes=("cold_start",), labelled=("cold_start",)),
    "12_strength": Artefacts(
        reads=("gamebook.json", "learning", "control"),
        writes=("cross_play", "strengths.parquet"),
        optional=("gamebook.json", "learning", "control", "cross_play"),
        labelled=("cross_play",),
    ),
    "13_at_the_table": Artefacts(writes=("people",)),
    "14_worlds": Artefacts(writes=("worlds.parquet",)),
    "15_across_worlds": Artefacts(writes=("abroad", "abroad.parquet"), labelled=("abroad",)),
}
ROUND = ("02_rollout", "03_decomposition", "04_balancing", "05_maro_training")  # what every round runs
EXPERIMENTS = (  # run only when they are asked for
    "08_evidence",
    "09_benchmarks",
    "10_culprits",
    "11_cold_start",
    "12_strength",
    "13_at_the_table",
    "14_worlds",
    "15_across_worlds",
)
OPPONENTS = ("self", "base", "earlier", "diverse")
REPORT_PAGE, WATCH_PAGE = "report.html", "watch.html"  # of a run, written at its end
RESULTS = "results.parquet"  # of a sweep: a row per trial, trained faction and measure
GAMES, STEPS = "games.parquet", "curves.parquet"  # of a sweep: every game of its matches, every step of its trainings


class RunError(RuntimeError):
    """A run can't go on; the message says what is wrong, where, and what to do."""


class Unreadable(ValueError):
    """A file does not hold what was written; the message says so in a few words, without the file's name."""


class Headline(NamedTuple):
    """outputs/<run>/<notebook>.json: what a notebook's last cell leaves behind."""

    notebook: str
    headline: dict[str, str | int | float | bool | None]


class MissingInput(RunError):
    """An artefact that a notebook needs has not been made; the message names the command that makes it."""


def outputs_folder() -> Path:
    """Return the folder of all runs: outputs/ of the checkout, or what MARO_OUTPUTS names."""
    return Path(os.environ.get("MARO_OUTPUTS") or ROOT / "outputs").absolute()


def run_folder(run: str) -> Path:
    """Return the absolute folder of a run; it need not exist yet."""
    if not re.fullmatch(r"\w[\w.-]*(/(?!round_)\w[\w.-]*)?(/round_([2-9]|[1-9][0-9]+))?", run):
        raise RunError(f"run: {run!r} can't name a folder; use letters, digits, `_`, `-` and `.`, not `.` first; of a "
                       "sweep's trial, the sweep's name and its own, with `/` between them")  # fmt: skip
    return outputs_folder() / run


def round_of(run: str) -> tuple[str, int]:
    """Return the run that a name means, and the number of its round."""
    run_folder(run)  # refuses what names no run
    name, _, number = run.partition("/round_")
    return name, int(number or 1)


def round_name(run: str, k: int) -> str:
    """Return what a round of a run is called."""
    return run if k == 1 else f"{run}/round_{k}"


def in_round(k: int, name: str) -> str:
    """Return where something of a round lies below the folder of its run."""
    return name if k == 1 else f"round_{k}/{name}"


def located(path: str, here: Path = Path()) -> Path:
    """Return a path as a parameter file means it: outputs/... as `shown`, else as it stands, or from the checkout."""
    at, outputs = Path(os.path.expanduser(path)), outputs_folder()
    places = (outputs.parent, here) if at.parts[:1] == (outputs.name,) else (here,)
    return next((place / at for place in places if os.path.exists(place / at)), ROOT / at)


def shown(path: Path) -> str:
    """Return a path below the outputs as it reads on every machine: outputs/<run>/<name>."""
    return str(path.relative_to(outputs_folder().parent))


def short_path(path: Path) -> str:
    """Return the shortest name that finds a path: below the outputs as `shown`, else from here or the checkout."""
    whole = Path(path).absolute()
    if whole.is_relative_to(outputs_folder()):
        return shown(whole)
    names = [str(whole.relative_to(place)) for place in (Path.cwd(), ROOT) if whole.is_relative_to(place)]
    return min(*names, str(whole), key=len) if names else str(whole)


def portable(name: str) -> str:
    """Return the name of a model or an adapter as it reads on every machine; of a folder elsewhere, its last part."""
    path = Path(name)
    places = (outputs_folder().parent, ROOT, path.parent) if path.is_absolute() else ()
    return next((str(path.relative_to(place)) for place in places if path.is_relative_to(place)), name)


def artefact(run: str, name: str) -> Path:
    """Return where an artefact is to be written; its folder is made, and a link to another run's is let go of."""
    maker(name)
    path = run_folder(run) / name
    make_folder(path.parent)
    if path.is_symlink():
        path.unlink()
    return path


def needs(run: str, name: str) -> Path:
    """Return where an artefact lies that an earlier notebook made, whole."""
    path, notebook = run_folder(run) / name, maker(name)
    if not path.exists():
        raise MissingInput(f"{shown(path)} is missing; notebook {notebook} makes it: {_command(run, notebook)}")
    if not finish_file(run, notebook).exists():
        raise MissingInput(f"{shown(path)} is not whole: notebook {notebook} did not reach its last cell; "
                           f"run it again: {_command(run, notebook)}")  # fmt: skip
    return path


def remaking(path: Path) -> str:
    """Say what makes again whatever is damaged at a path."""
    with contextlib.suppress(ValueError, IndexError, RunError):  # it is of no run, or made by no notebook
        *names, made = _as_artefact(path.absolute().relative_to(outputs_folder()).parts)
        return f"notebook {maker(made)} makes it again: {_command('/'.join(names), maker(made))}"
    return "run again the stage that made it"


def _as_artefact(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Cut a path below the outputs after the artefact that it leads into."""
    made = {name for notebook, stage in STAGES.items() for name in (*stage.writes, f"{notebook}.json")}
    return parts[: 2 + [part in made for part in parts[1:]].index(True)]


def maker(name: str) -> str:
    """Return the notebook that writes an artefact."""
    for notebook, stage in STAGES.items():
        if name in (*stage.writes, f"{notebook}.json"):
            return notebook
    known = ", ".join(name for stage in STAGES.values() for name in stage.writes)
    raise RunError(f"no notebook writes {name!r}; STAGES in maro_lib/runs.py has: {known}")


def learned_adapter(run: str, k: int) -> Path:
    """Return the adapter that a round made; what the last round made is what the whole run has learned."""
    return needs(round_name(run, k), "learning") / "adapter"


def opposing(run: str, opponents: str, adapter: str) -> tuple[str, ...]:
    """Return the adapters (empty: none, the base) of those that the learner plays against; with none it plays itself.

    base     the model without its adapter
    earlier  whoever played in an earlier round: the base in round 1, what round j learned in round j + 1
    diverse  these, and scripted players, good and bad ones
    """
    if opponents not in OPPONENTS:
        raise RunError(f"opponents: {opponents!r} is unknown; one of {', '.join(OPPONENTS)} is needed")
    if opponents == "self" or not adapter:  # without an adapter the learner is the base
        return ()
    name, k = round_of(run)
    before = range(1, k - 1) if opponents in ("earlier", "diverse") else ()
    scripted = ("naive", "skilled") if opponents == "diverse" else ()
    return ("", *scripted, *(shown(learned_adapter(name, j)) for j in before))


def imitates(run: str, experts_first: bool) -> bool:
    """Whether a round plays with experts and imitates them, instead of playing itself: the first one, if so asked."""
    return experts_first and round_of(run)[1] == 1


def finish(run: str, notebook: str, headline: dict[str, Any]) -> None:
    """Record that a notebook reached its last cell, with its headline numbers (NaN is written as null)."""
    if notebook not in STAGES:
        raise RunError(f"no stage is called {notebook!r}; STAGES in maro_lib/runs.py has: {', '.join(STAGES)}")
    for name in STAGES[notebook].writes:
        if name not in STAGES[notebook].optional and not (path := run_folder(run) / name).exists():
            raise RunError(f"{notebook} ends, but {shown(path)} was not written; write it before `finish`")
    path = finish_file(run, notebook)
    make_folder(path.parent)
    record = Headline(notebook, {key: _plain(key, value) for key, value in headline.items()})
    write_atomic(path, json.dumps(record._asdict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def finish_file(run: str, notebook: str) -> Path:
    """Return the file that only the last cell of a notebook writes."""
    return run_folder(run) / f"{notebook}.json"


def read_headline(run: str, notebook: str) -> dict[str, Any]:
    """Return the headline numbers that a notebook's last cell wrote; nothing when it was not reached."""
    path = finish_file(run, notebook)
    return read_record(path, Headline).headline if path.exists() else {}


def make_folder(folder: Path) -> None:
    """Make a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a whole file or nothing: a reader, also after a crash, sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


_Kind = TypeVar("_Kind")


def read_record(path: Path, kind: type[_Kind], mend: str = "") -> _Kind:
    """Read a JSON file as what it is declared to hold; an error says what is wrong with it, and what mends it."""
    try:
        return parse_record(path, kind)
    except Unreadable as error:
        raise RunError(f"{short_path(path)}: {error}; {mend or remaking(path)}") from None


def parse_record(path: Path, kind: type[_Kind]) -> _Kind:
    """Read a JSON file as what it is declared to hold, for those who mend it themselves."""
    try:
        return parse_text(path.read_bytes(), kind)
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except OSError as error:
        raise Unreadable(f"can't be read ({error.strerror})") from None


def parse_text(text: bytes, kind: type[_Kind]) -> _Kind:
    """Read JSON as what it is declared to hold: no other key or type; pydantic bounds its depth and its numbers."""
    try:
        return _reader(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = repr(".".join(map(str, first["loc"])))[1:-1]  # a key may hold anything
        raise Unreadable(f"is damaged ({place[:80]}{': ' if place else ''}{first['msg']})") from None


_reader = cache(TypeAdapter)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written; only for who keeps all others out of the folder."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{short_path(path)}: can't be written ({error.strerror}); nothing was left half-written. "
                    f"{remedy(error)}, then run the same command again")  # fmt: skip


def remedy(error: Exception) -> str:
    """Say what to do about a file that can't be written: free space only when space is short."""
    if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "Free some space"
    if getattr(error, "errno", 0) == errno.EFBIG:
        return "Raise the limit on the size of files (`ulimit -f`)"
    return "Make its folder writable"


def _command(run: str, notebook: str) -> str:
    """Say how to make what is missing."""
    name, k = round_of(run)
    if name == "notebook":  # the notebooks' own default: somebody works through them in JupyterLab
        return f"run notebooks/{notebook}.ipynb first" + (f", with run = {run!r}" if k > 1 else "")
    if "/" in name:
        return f"run the sweep {name.partition('/')[0]!r} again"
    return f"make run ONLY={in_round(k, notebook[:2])} PARAMS=params/{name}.yaml (the file that says `run: {name}`)"


def _plain(key: str, value: Any) -> str | int | float | bool | None:
    """Turn one headline value into plain JSON; NumPy's scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise RunError(f"headline {key!r}: a {type(value).__name__} is no number, text or truth value")
