"""A MIRAGE checkout on disk: its folders, which title each is of, and its JSON, read with what is odd about it.

The layout, English or Chinese: `<language>/<title>/script.json` and `clues.json` (人物剧本.json, 线索.json) beside
`<language>/Truth.json`. A title need not be spelt like its folder. Taught in notebook 01.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from maro_lib.strict_json import read_json
from maro_lib.world.scripts import Script, ScriptError, text_of

SCRIPT_FILES = ("script.json", "人物剧本.json")
CLUE_FILES = ("clues.json", "线索.json")
TRUTH_FILES = ("Truth.json", "truth.json", "真相.json")


@dataclass
class Checkout:
    """What could be read: scripts by title, and what a user must know of each title."""

    scripts: dict[str, Script] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[str, ...]:
        """The titles that gave no script; their notes say why."""
        return tuple(title for title in self.notes if title not in self.scripts)

    def note(self, title: str, *texts: str) -> None:
        self.notes.setdefault(title, []).extend(texts)


class TitleOnDisk(NamedTuple):
    """One title: where it lies, and its truth."""

    title: str
    folder: Path
    truth: str


def language_folders(root: Path) -> list[Path]:
    """Folders that hold a truth file or titles: the root itself, its children, or theirs."""
    level = [root]
    for _ in range(3):
        if found := [f for f in level if _is_language_folder(f)]:
            return found
        level = [g for f in level for g in _subfolders(f)]
    return []


def _is_language_folder(folder: Path) -> bool:
    return _file(folder, TRUTH_FILES) is not None or any(_file(f, SCRIPT_FILES) for f in _subfolders(folder))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and f.name[0] not in "._") if folder.is_dir() else []


def _file(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_file()), None)


def find_titles(homes: list[Path], checkout: Checkout) -> dict[str, TitleOnDisk]:
    """Return the titles that have a folder and a truth; of two with the same title the first."""
    cases: dict[str, TitleOnDisk] = {}
    for home in homes:
        for case in _cases_of(home, checkout):
            if case.title in cases:
                other = cases[case.title].folder
                checkout.note(case.title, f"{case.folder} was left out: {other} has the same title")
            cases.setdefault(case.title, case)
    return cases


def _cases_of(home: Path, checkout: Checkout) -> Iterator[TitleOnDisk]:
    """Pair the titles of one language with their folders; what has no partner is noted as not loaded."""
    folders = {f.name: f for f in _subfolders(home)}
    truths, notes, reason = _read_truths(home)
    pairs = _pair(list(truths), list(folders), checkout)
    for title, name in pairs.items():
        checkout.note(title, *notes, *([f"its folder is spelt {name!r}"] if folded(title) != folded(name) else []))
        yield TitleOnDisk(title, folders[name], truths[title])
    for title in sorted(truths.keys() - pairs.keys() - checkout.notes.keys()) if pairs else ():  # else: what titles?
        checkout.note(title, f"not loaded: {home}: no folder is called like it")
    for name in sorted(folders.keys() - set(pairs.values())):
        if _file(folders[name], (*SCRIPT_FILES, *CLUE_FILES)):
            checkout.note(name, f"not loaded: {reason or f'{home}: the truth file has no title like it'}")


def _read_truths(home: Path) -> tuple[dict[str, str], list[str], str]:
    """Read title -> truth, with notes; when the file is missing or broken, nothing and the reason."""
    notes: list[str] = []
    try:
        path = needed_file(home, TRUTH_FILES)
        entries = enumerate(read_object(path, notes).items(), start=1)
        truths = {title: _truth(value, f"{path}: entry {i}") for i, (title, value) in entries}
    except ScriptError as error:
        return {}, [], str(error)
    return truths, notes, ""


def _truth(value: Any, at: str) -> str:
    try:
        return joined_text(value, at)
    except ScriptError:  # which quotes keys, and may be of no truth file
        raise ScriptError(f"{at}: expected text") from None


def _pair(titles: list[str], names: list[str], checkout: Checkout) -> dict[str, str]:
    """Pair each title with the folder of that name, else with the nearest one that no other title is near to."""
    plain = {folded(n): n for n in names}
    pairs = {t: plain[folded(t)] for t in titles if folded(t) in plain}
    names = [n for n in names if n not in pairs.values()]
    titles = [t for t in titles if t not in pairs]
    for title in titles:
        try:
            name = find_like(title, names)
            if name and find_like(name, titles) == title:
                pairs[title] = name
        except ScriptError as error:
            checkout.note(title, f"not loaded: {error}; rename the folder")
    return pairs


def find_like(word: str, known: Iterable[str], cutoff: float = 0.8) -> str | None:
    """Return the known name that is spelt like `word`, or the nearest; two that are near are an error."""
    plain = {folded(k): k for k in known}
    if folded(word) in plain:
        return plain[folded(word)]
    near = [plain[p] for p in difflib.get_close_matches(folded(word), plain, n=2, cutoff=cutoff)]
    if len(near) > 1:
        raise ScriptError(f"{word!r} may mean {near[0]!r} or {near[1]!r}")
    return near[0] if near else None


def folded(text: str) -> str:
    """Letters and digits alone, in small letters: spellings that differ in nothing else are the same."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def needed_file(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the file that may be called by any of these names."""
    if path := _file(folder, names):
        return path
    raise ScriptError(f"{folder / names[0]}: is missing (it may also be called {' or '.join(names[1:])})")


def read_object(path: Path, notes: list[str]) -> dict:
    """Read one JSON object; a key that it gives twice is noted."""

    def collect(pairs: list[tuple[str, Any]]) -> dict:
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        notes.extend(f"{path.name}: {key!r} is given twice; the last one is used" for key in twice)
        return dict(pairs)

    try:
        data = read_json(text_of(path), object_pairs_hook=collect)
    except ScriptError:
        raise
    except ValueError as error:
        raise ScriptError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ScriptError(f"{path}: expected an object {{...}}, got {type(data).__name__}")
    return data


def joined_text(value: Any, at: str) -> str:
    """Make one text of a string, or of strings in lists and objects, however deep."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        parts = [joined_text(v, f"{at}[{i}]") for i, v in enumerate(value)]
    elif isinstance(value, dict):
        parts = [f"{k}: {text}" for k, v in value.items() if (text := joined_text(v, f"{at}.{k}"))]
    elif value is None:
        return ""
    else:
        raise ScriptError(f"{at}: expected text, got {type(value).__name__}")
    return "\n".join(p for p in parts if p)


def language_of(text: str) -> str:
    """Tell Chinese (`zh`) from English by its letters."""
    n_chinese = sum("\u4e00" <= c <= "\u9fff" for c in text)
    return "zh" if n_chinese > 0.2 * sum(c.isalpha() for c in text) else "en"
