"""MIRAGE's murder mysteries, read from a user's own checkout and turned into scripts.

A text under a character's name (in place of sections or of clues) is for that character alone, any other text in place
of sections is a narration for all; a list under a character's name is what a search of its things finds; a dictionary
under it holds memories, each released by a word.

Taught in notebook 01. Unlike MIRAGE's code: the culprit of a published title is the one that its truth means (the code
is wrong once), of any other the one that the caller names; nothing is dropped or guessed without a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from maro_lib.world import mirage_files as files
from maro_lib.world.mirage_cast import Cast, gather_cast, share_all_words
from maro_lib.world.mirage_files import Checkout, TitleOnDisk, find_like, folded, joined_text
from maro_lib.world.phrases import WORDS_FOLDER, CheckedWords, Ways, read_words
from maro_lib.world.scripts import Script, ScriptError, parse_script


class Published(BaseModel):
    """What is known of a published title."""

    cell: str
    culprit: str


class MirageWords(CheckedWords):
    """How the files spell the sections, and the published titles."""

    sections: dict[str, Ways]
    published: dict[str, Published]


MIRAGE = read_words(WORDS_FOLDER / "mirage.yaml", MirageWords)
_SECTIONS = {word: name for name, words in MIRAGE.sections.items() for word in words}


def is_mirage(folder: str | Path) -> bool:
    """True when a folder, or one up to two levels below it, has the layout."""
    return bool(files.language_folders(Path(folder)))


def load_mirage(
    folder: str | Path,
    *,
    culprits: Mapping[str, str | Iterable[str]] | None = None,
    cells: Mapping[str, str] | None = None,
) -> Checkout:
    """Read all titles below a folder; `culprits` and `cells` (by title, roughly spelt) overrule all else.

    A title that can't be turned into a script does not stop the others: it is in `failed`, the reason in `notes`.
    """
    homes = files.language_folders(Path(folder))
    if not homes:
        raise ScriptError(f"{folder}: no MIRAGE scripts there; expected <language>/Truth.json and "
                          f"<language>/<title>/script.json (or {files.SCRIPT_FILES[1]})")  # fmt: skip
    checkout = Checkout()
    cases = files.find_titles(homes, checkout)
    titles = [*cases, *checkout.notes]
    named = {t: [who] if isinstance(who, str) else list(who) for t, who in _by_title("culprits", culprits, titles)}
    lettered = dict(_by_title("cells", cells, titles))
    for title, case in cases.items():
        try:
            checkout.scripts[title] = _build(case, named.get(title), lettered.get(title), checkout)
        except ScriptError as error:
            checkout.note(title, f"not loaded: {error}")
    return checkout


def _by_title(what: str, table: Mapping[str, Any] | None, titles: list[str]) -> Iterator[tuple[str, Any]]:
    for key, value in (table or {}).items():
        title = find_like(key, titles)
        if title is None:
            raise ScriptError(f"{what}: no title is like {key!r}; there are {', '.join(titles)}")
        yield title, value


@dataclass
class _Story:
    """What script.json says: stages with their people, narrations, and each character's sections per stage."""

    names: list[str]
    cast: Cast
    background: str
    narrations: list[str]
    sections: dict[str, list[dict[str, str]]]

    def tell(self, name: str, stage: int, section: str, text: str) -> None:
        sections = self.sections[name][stage]
        sections[section] = "\n".join(t for t in (sections.get(section, ""), text) if t)


def _build(case: TitleOnDisk, culprits: list[str] | None, cell: str | None, checkout: Checkout) -> Script:
    notes: list[str] = []
    story = _read_story(case, notes)
    clues = _read_clues(case, story, notes)
    guilty = _find_culprits(case, story.cast, culprits, notes)
    script = parse_script(_assemble(case, story, clues, guilty, _find_cell(case, story, cell, notes)), str(case.folder))
    if outsiders := [c for c in script.truth.culprits if c not in script.names]:
        notes.append(f"the culprit, {', '.join(outsiders)}, is not among the players ({', '.join(script.names)})")
    checkout.note(case.title, *dict.fromkeys(notes))
    return script


def _assemble(case: TitleOnDisk, story: _Story, clues: list[dict], guilty: list[str], cell: str) -> dict:
    characters = [
        {"name": name, "faction": "culprit" if name in guilty else "civilian", "sections": sections,
         "aliases": story.cast.aliases(name)}
        for name, sections in story.sections.items()
    ]  # fmt: skip
    stages = [{"name": n, "narration": text} for n, text in zip(story.names, story.narrations, strict=True)]
    language = files.language_of(" ".join([case.title, case.truth, *story.sections, *(c["text"] for c in clues)]))
    return {"title": case.title, "cell": cell, "language": language, "background": story.background or case.title,
            "stages": stages, "characters": characters, "clues": clues,
            "truth": {"culprits": guilty, "text": case.truth}}  # fmt: skip


def _read_story(case: TitleOnDisk, notes: list[str]) -> _Story:
    path = files.needed_file(case.folder, files.SCRIPT_FILES)
    data = files.read_object(path, notes)
    if not any(_is_person(v) or _is_stage(v) for v in data.values()):  # no script: nothing of it is quoted
        raise ScriptError(f"{path}: expected {{character: {{Story, Script, ...}}}}, alone or by stage; found nobody")
    stages, top = _split_stages(data, path)
    cast = gather_cast(list(stages.values()))
    story = _Story(list(stages), cast, "", [""] * len(stages), {n: [{} for _ in stages] for n in cast.forms})
    story.background = _tell_texts(story, 0, top, path)
    for k, (stage, people) in enumerate(stages.items()):
        story.narrations[k] = _tell_texts(story, k, people, path)
        _tell_people(story, k, people, f"{path}: {stage}{'.' if stage else ''}", notes)
    return story


def _split_stages(data: dict, path: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Return stage -> people, and the texts beside the stages; a single stage has no name."""
    for key, value in data.items():
        if not isinstance(value, dict | str):
            raise ScriptError(f"{path}: {key}: expected a character's sections, a stage or a narration, "
                              f"got {type(value).__name__}")  # fmt: skip
    texts = {k: v for k, v in data.items() if isinstance(v, str)}
    groups = {k: v for k, v in data.items() if isinstance(v, dict)}
    if not any(_is_stage(v) for v in groups.values()):
        return {"": groups}, texts
    for key, value in groups.items():
        if _is_person(value):
            raise ScriptError(f"{path}: {key}: expected a stage as beside it, got one character's sections")
    return groups, texts


def _is_person(value: Any) -> bool:
    return isinstance(value, dict) and any(folded(k) in _SECTIONS for k in value)


def _is_stage(value: Any) -> bool:
    return isinstance(value, dict) and not _is_person(value) and any(_is_person(v) for v in value.values())


def _tell_texts(story: _Story, stage: int, entries: dict[str, Any], path: Path) -> str:
    """Give the texts under characters' names to them alone; return the others, which are for all."""
    narrations = []
    for key, value in entries.items():
        if isinstance(value, dict):
            continue
        text, name = joined_text(value, f"{path}: {key}"), story.cast.find(key)
        if name:
            story.tell(name, stage, "script", text)
        else:
            narrations.append(text)
    return "\n".join(narrations)


def _tell_people(story: _Story, stage: int, people: dict[str, Any], at: str, notes: list[str]) -> None:
    present = {name: (spelt, people[spelt]) for spelt, name in story.cast.met[stage].items()}
    for name in story.sections:
        spelt, sections = present.get(name, (name, {}))
        if not sections and not story.sections[name][stage]:
            notes.append(f"{name} has no part in {story.names[stage]!r}: its sections there are empty")
        if spelt.strip() != name:
            notes.append(f"{spelt!r} in {story.names[stage]!r} is taken to be {name!r}")
        for key, value in sections.items():
            _tell_section(story, stage, name, (key, joined_text(value, f"{at}{spelt}.{key}")), notes)


def _tell_section(story: _Story, stage: int, name: str, entry: tuple[str, str], notes: list[str]) -> None:
    key, text = entry
    section = _SECTIONS.get(folded(key))
    if section is None and text:
        notes.append(f"the section {key!r} is unknown: its text is kept in `story`")
        section, text = "story", f"{key}: {text}"
    if text:
        story.tell(name, stage, section, text)


# --- clues -----------------------------------------------------------------------------------------


def _read_clues(case: TitleOnDisk, story: _Story, notes: list[str]) -> list[dict]:
    path = files.needed_file(case.folder, files.CLUE_FILES)
    data = files.read_object(path, notes)
    inside = [v for value in data.values() for v in (value.values() if isinstance(value, dict) else [value])]
    is_one = any(isinstance(v, list) for v in inside)  # if not, nothing of it is quoted
    clues = [c for entry in _entries(data, story, path) for c in _clues_of(*entry, story)] if is_one else []
    if not clues:
        raise ScriptError(f"{path}: expected {{place: [text, ...]}}, alone or by stage; found no clue")
    return [{"id": f"c{i}", **clue} for i, clue in enumerate(clues, 1)]


def _entries(data: dict, story: _Story, path: Path) -> Iterator[tuple[int, str, Any, str]]:
    """Yield stage, place, what is there, and where that stands."""
    for key, value in data.items():
        stage = _stage_called(key, story, path) if isinstance(value, dict) else None
        if stage is None:
            yield 0, key, value, f"{path}: {key}"
        else:
            yield from ((stage, place, inside, f"{path}: {key}.{place}") for place, inside in value.items())


def _stage_called(key: str, story: _Story, path: Path) -> int | None:
    try:
        name = find_like(key, story.names) if len(story.names) > 1 else None
    except ScriptError as error:
        raise ScriptError(f"{path}: {key}: expected a stage of the script, but {error}") from None
    return None if name is None else story.names.index(name)


def _clues_of(stage: int, key: str, value: Any, at: str, story: _Story) -> Iterator[dict]:
    if isinstance(value, dict):
        yield from _memories(stage, key, value, at, story)
    elif isinstance(value, str) and (name := story.cast.find(key)):
        story.tell(name, stage, "script", joined_text(value, at))
    elif isinstance(value, list | str):
        place = _things_of(key) if story.cast.find(key) else key
        texts = (
            [joined_text(v, f"{at}[{i}]") for i, v in enumerate(value)] if isinstance(value, list) else [value.strip()]
        )
        yield from ({"text": t, "place": place, "stage": stage + 1} for t in texts if t)
    else:
        raise ScriptError(f"{at}: expected a list of clues, a clue or memories by trigger word, "
                          f"got {type(value).__name__}")  # fmt: skip


def _memories(stage: int, key: str, value: dict, at: str, story: _Story) -> Iterator[dict]:
    owner = story.cast.find(key) or story.cast.find_within(key)
    if not owner:
        stages = f", nor a stage ({', '.join(story.names)})" if len(story.names) > 1 else ""
        raise ScriptError(f"{at}: expected a list of clues; memories need a character's name in their key, and this "
                          f"names none of {', '.join(story.sections)}{stages}")  # fmt: skip
    for trigger, memory in value.items():
        text = joined_text(memory, f"{at}.{trigger}")
        yield {"text": text, "private_to": owner, "trigger": trigger, "stage": stage + 1}


def _things_of(name: str) -> str:
    """Call a character's things something else than the character, so that asking and searching differ."""
    return f"{name}的物品" if files.language_of(name) == "zh" else f"{name}'s things"


# --- culprit and cell ------------------------------------------------------------------------------


def known_title(title: str) -> Published | None:
    """Return what is known of a published title, roughly spelt."""
    like = find_like(title, MIRAGE.published, cutoff=0.9)
    return MIRAGE.published[like] if like else None


def _find_culprits(case: TitleOnDisk, cast: Cast, given: list[str] | None, notes: list[str]) -> list[str]:
    """Who did it: as given, else as published."""
    known = known_title(case.title)
    if not (given or known):
        raise ScriptError(f"{case.title}: who did it is not known of this title, so name the culprit: "
                          f"load_mirage(folder, culprits={{{case.title!r}: 'name'}}); players are "
                          f"{', '.join(cast.forms)}")  # fmt: skip
    culprits = list(dict.fromkeys(_resolve(name, cast) for name in given or [known.culprit]))
    notes.append(f"culprit: {', '.join(culprits)} ({'as given' if given else 'as known of this title'})")
    return culprits


def _resolve(name: str, cast: Cast) -> str:
    """The player of that name, also when given with a title more or less; else the name itself."""
    if player := cast.find(name):
        return player
    near = [n for n, forms in cast.forms.items() if any(share_all_words(name, form) for form in forms.values())]
    return near[0] if len(near) == 1 else name.strip()


def _find_cell(case: TitleOnDisk, story: _Story, given: str | None, notes: list[str]) -> str:
    if given:
        return given
    first = "S" if len(story.names) == 1 else "M"
    if known := known_title(case.title):
        return first + known.cell[1:]
    notes.append(f"cell: {first}OC, where O and C are guesses; give cells={{{case.title!r}: ...}} to say otherwise")
    return first + "OC"
