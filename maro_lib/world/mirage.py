"""MIRAGE's murder mysteries, read from a user's own checkout and turned into scripts.

The layout, English or Chinese: `<language>/<title>/script.json` and `clues.json` (人物剧本.json, 线索.json) beside
`<language>/Truth.json`. A text under a character's name (in place of sections or of clues) is for that character
alone, any other text in place of sections is a narration for all; a list under a character's name is what a search
of its things finds; a dictionary under it holds memories, each released by a word.

Taught in notebook 01. Unlike MIRAGE's code: the culprit comes from the truth, not from the code (which is wrong
once); a title need not be spelt like its folder; a character whose name changes between stages stays one character;
nothing is dropped or guessed without a note.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from maro_lib.world.replies import spelling
from maro_lib.world.scripts import Script, ScriptError, parse_script

SCRIPT_FILES = ("script.json", "人物剧本.json")
CLUE_FILES = ("clues.json", "线索.json")
TRUTH_FILES = ("Truth.json", "truth.json", "真相.json")

# title -> cell and culprit; the truth texts of some name the culprit only in passing, or under another name
PUBLISHED = {
    "Bride in Filial Dress": ("SOC", "Doctor Fang"),
    "The Eastern Star Cruise Ship": ("SOO", "Manager Xiu"),
    "Night at the Museum": ("SUC", "Security Wei"),  # MIRAGE's code says Manager Sa, its truth file Security Wei
    "Li Chuan Strange Talk Book": ("SUO", "Elderly in Tattered"),
    "The Final Performance of a Big Star": ("MOC", "Richard Li"),  # no player's character
    "Raging Sea of Rest Life": ("MOO", "John"),
    "Article 22 School Rules": ("MUC", "Fuqing Huang"),
    "Fox Hotel": ("MUO", "Nopperabo"),
    "孝衣新娘": ("SOC", "方医生"),
    "东方之星号游轮事件": ("SOO", "修经理"),
    "博物馆奇妙夜": ("SUC", "魏保安"),
    "漓川怪谈簿": ("SUO", "衣衫褴褛的老人"),
    "大明星最后的演出": ("MOC", "李察德"),
    "怒海余生": ("MOO", "约翰"),
    "第二十二条校规": ("MUC", "皇甫青"),
    "狐狸旅馆": ("MUO", "滑头鬼"),
}

_SPELLINGS = {
    "story": "story background 人物故事 故事 人物背景 背景 故事背景",
    "script": "script 人物剧本 剧本 个人剧本",
    "relationship": "relationship relationships 人物关系 关系",
    "performance": "performance 人物表现 表现 人物表演 表演",
    "purpose": "purpose purposes goal goals 人物目的 目的 人物目标 目标 任务",
    "ability": "ability abilities 人物能力 能力 技能",
}
_SECTIONS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}


@dataclass
class Loaded:
    """What could be read: scripts by title, and what a user must know of each title."""

    scripts: dict[str, Script] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[str, ...]:
        """The titles that gave no script; their notes say why."""
        return tuple(title for title in self.notes if title not in self.scripts)

    def note(self, title: str, *texts: str) -> None:
        self.notes.setdefault(title, []).extend(texts)


class _Case(NamedTuple):
    """One title on disk."""

    title: str
    folder: Path
    truth: str


def is_mirage(folder: str | Path) -> bool:
    """True when a folder, or one up to two levels below it, has the layout."""
    return bool(_language_folders(Path(folder)))


def load_mirage(
    folder: str | Path,
    *,
    culprits: Mapping[str, str | Iterable[str]] | None = None,
    cells: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all titles below a folder; `culprits` and `cells` (by title, roughly spelt) overrule all else.

    A title that can't be turned into a script does not stop the others: it is in `failed`, the reason in `notes`.
    """
    homes = _language_folders(Path(folder))
    if not homes:
        raise ScriptError(f"{folder}: no MIRAGE scripts there; expected <language>/Truth.json and "
                          f"<language>/<title>/script.json (or {SCRIPT_FILES[1]})")  # fmt: skip
    loaded = Loaded()
    cases = _find_cases(homes, loaded)
    titles = [*cases, *loaded.notes]
    named = {t: [who] if isinstance(who, str) else list(who) for t, who in _by_title("culprits", culprits, titles)}
    lettered = dict(_by_title("cells", cells, titles))
    for title, case in cases.items():
        try:
            loaded.scripts[title] = _build(case, named.get(title), lettered.get(title), loaded)
        except ScriptError as error:
            loaded.note(title, f"not loaded: {error}")
    return loaded


def read_culprits(truth: str, names: Iterable[str] = ()) -> list[str]:
    """Read from a truth text whom it calls the culprit: names in 【】 or `names`, beside the words that say so.

    What calls somebody the murderer goes before what says who killed somebody. Nobody is returned when nothing
    is said, or when what is said does not agree: a guess would be worse.
    """
    text = _bracket(truth.replace("**", ""), names)
    for patterns in (_CALLED, _DID):
        groups = [_listed(m["who"]) for pattern in patterns for m in pattern.finditer(text)]
        if groups:
            most = max(groups, key=len)
            return most if all(set(g) <= set(most) for g in groups) else []
    return []


# --- files and titles ------------------------------------------------------------------------------


def _language_folders(root: Path) -> list[Path]:
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


def _find_cases(homes: list[Path], loaded: Loaded) -> dict[str, _Case]:
    cases: dict[str, _Case] = {}
    for home in homes:
        for case in _cases_of(home, loaded):
            if case.title in cases:
                other = cases[case.title].folder
                loaded.note(case.title, f"{case.folder} was left out: {other} has the same title")
            cases.setdefault(case.title, case)
    return cases


def _cases_of(home: Path, loaded: Loaded) -> Iterator[_Case]:
    """Pair the titles of one language with their folders; what has no partner is noted as not loaded."""
    folders = {f.name: f for f in _subfolders(home)}
    truths, notes, reason = _read_truths(home)
    pairs = _pair(list(truths), list(folders), loaded)
    for title, name in pairs.items():
        loaded.note(title, *notes, *([f"its folder is spelt {name!r}"] if _plain(title) != _plain(name) else []))
        yield _Case(title, folders[name], truths[title])
    for title in sorted(truths.keys() - pairs.keys() - loaded.notes.keys()):
        loaded.note(title, f"not loaded: {home}: no folder is called like it")
    for name in sorted(folders.keys() - set(pairs.values())):
        if _file(folders[name], (*SCRIPT_FILES, *CLUE_FILES)):
            loaded.note(name, f"not loaded: {reason or f'{home}: the truth file has no title like it'}")


def _read_truths(home: Path) -> tuple[dict[str, str], list[str], str]:
    """Read title -> truth, with notes; when the file is missing or broken, nothing and the reason."""
    notes: list[str] = []
    try:
        path = _need(home, TRUTH_FILES)
        truths = {title: _text(v, f"{path}: {title}") for title, v in _read_json(path, notes).items()}
    except ScriptError as error:
        return {}, [], str(error)
    return truths, notes, ""


def _pair(titles: list[str], names: list[str], loaded: Loaded) -> dict[str, str]:
    """Pair each title with the folder of that name, else with the nearest one that no other title is near to."""
    plain = {_plain(n): n for n in names}
    pairs = {t: plain[_plain(t)] for t in titles if _plain(t) in plain}
    names = [n for n in names if n not in pairs.values()]
    titles = [t for t in titles if t not in pairs]
    for title in titles:
        try:
            name = _match(title, names)
            if name and _match(name, titles) == title:
                pairs[title] = name
        except ScriptError as error:
            loaded.note(title, f"not loaded: {error}; rename the folder")
    return pairs


def _by_title(what: str, table: Mapping[str, Any] | None, titles: list[str]) -> Iterator[tuple[str, Any]]:
    for key, value in (table or {}).items():
        title = _match(key, titles)
        if title is None:
            raise ScriptError(f"{what}: no title is like {key!r}; there are {', '.join(titles)}")
        yield title, value


def _match(word: str, known: Iterable[str], cutoff: float = 0.8) -> str | None:
    """Return the known name that is spelt like `word`, or the nearest; two that are near are an error."""
    plain = {_plain(k): k for k in known}
    if _plain(word) in plain:
        return plain[_plain(word)]
    near = [plain[p] for p in difflib.get_close_matches(_plain(word), plain, n=2, cutoff=cutoff)]
    if len(near) > 1:
        raise ScriptError(f"{word!r} may mean {near[0]!r} or {near[1]!r}")
    return near[0] if near else None


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _need(folder: Path, names: tuple[str, ...]) -> Path:
    if path := _file(folder, names):
        return path
    raise ScriptError(f"{folder / names[0]}: is missing (it may also be called {' or '.join(names[1:])})")


def _read_json(path: Path, notes: list[str]) -> dict:
    """Read one JSON object; a key that it gives twice is noted."""

    def collect(pairs: list[tuple[str, Any]]) -> dict:
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        notes.extend(f"{path.name}: {key!r} is given twice; the last one is used" for key in twice)
        return dict(pairs)

    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=collect)
    except OSError as error:
        raise ScriptError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ScriptError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ScriptError(f"{path}: is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ScriptError(f"{path}: expected an object {{...}}, got {_shown(data)}")
    return data


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _text(value: Any, at: str) -> str:
    """Make one text of a string, or of strings in lists and objects, however deep."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        parts = [_text(v, f"{at}[{i}]") for i, v in enumerate(value)]
    elif isinstance(value, dict):
        parts = [f"{k}: {text}" for k, v in value.items() if (text := _text(v, f"{at}.{k}"))]
    elif value is None:
        return ""
    else:
        raise ScriptError(f"{at}: expected text, got {_shown(value)}")
    return "\n".join(p for p in parts if p)


# --- who plays -------------------------------------------------------------------------------------


@dataclass
class _Cast:
    """Who plays, and how the files spell each name."""

    forms: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> plain form -> as written
    met: list[dict[str, str]] = field(default_factory=list)  # by stage: as written there -> name

    def find(self, word: str) -> str:
        """Whose name this is; nobody's is empty."""
        named = [n for n in self.forms if _plain(n) == _plain(word)]
        owners = named or [n for n, forms in self.forms.items() if _forms(word).keys() & forms.keys()]
        return owners[0] if len(owners) == 1 else ""

    def find_within(self, text: str) -> str:
        """Who is named in a phrase such as "Memory of Ada": the one with the longest spelling there."""
        pairs = [(form, name) for name, forms in self.forms.items() for form in forms.values()]
        found = spelling(tuple(pairs)).find(unicodedata.normalize("NFKC", text))
        return max(found, key=lambda hit: hit[2] - hit[1])[0] if found else ""

    def aliases(self, name: str) -> list[str]:
        """Spellings that are nobody else's."""
        others = {p for n, forms in self.forms.items() if n != name for p in forms}
        return [form for p, form in self.forms[name].items() if p != _plain(name) and p not in others]


def _forms(name: str) -> dict[str, str]:
    """`Ichi (Fox)` is also Ichi, and Fox."""
    whole = unicodedata.normalize("NFKC", name).strip()
    parts = [re.sub(r"\(.*?\)", "", whole), *re.findall(r"\((.*?)\)", whole), *whole.split("/")]
    return {_plain(p): p.strip() for p in (*parts, whole) if _plain(p)}


def _gather(stages: list[dict[str, Any]]) -> _Cast:
    """Collect the characters of all stages; one whose name grows or shrinks between stages is one character."""
    cast = _Cast()
    for people in stages:
        names = {n: n.strip() for n, value in people.items() if isinstance(value, dict)}
        known = _meet_again(list(names.values()), cast)
        for name in names.values():
            cast.forms.setdefault(known[name], {}).update(_forms(name))
        cast.met.append({spelt: known[name] for spelt, name in names.items()})
    return cast


def _meet_again(names: list[str], cast: _Cast) -> dict[str, str]:
    """Pair a stage's names with known characters: by a common spelling, else by common words, if only one fits."""
    known = {n: n for n in names if n in cast.forms}
    for is_like in (_share_a_form, _share_words):
        left = [n for n in names if n not in known]
        free = [k for k in cast.forms if k not in known.values()]
        fits = {n: [k for k in free if is_like(_forms(n), cast.forms[k])] for n in left}
        rivals = Counter(k for found in fits.values() for k in found)
        known |= {n: found[0] for n, found in fits.items() if len(found) == 1 == rivals[found[0]]}
    return {n: known.get(n, n) for n in names}


def _share_a_form(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return bool(mine.keys() & theirs.keys())


def _share_words(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return any(_overlap(a, b) for a in mine.values() for b in theirs.values())


def _overlap(one: str, other: str) -> bool:
    """True when one name's words (in Chinese: its characters in a row) are all in the other."""
    short, long = sorted((one.casefold().strip(), other.casefold().strip()), key=len)
    if _language(long) == "zh":
        return len(short) > 1 and short in long
    return bool(short) and set(short.split()) <= set(long.split())


# --- one title -------------------------------------------------------------------------------------


@dataclass
class _Story:
    """What script.json says: stages with their people, narrations, and each character's sections per stage."""

    names: list[str]
    cast: _Cast
    background: str
    narrations: list[str]
    sections: dict[str, list[dict[str, str]]]

    def tell(self, name: str, stage: int, section: str, text: str) -> None:
        told = self.sections[name][stage]
        told[section] = "\n".join(t for t in (told.get(section, ""), text) if t)


def _build(case: _Case, culprits: list[str] | None, cell: str | None, loaded: Loaded) -> Script:
    notes: list[str] = []
    story = _read_story(case, notes)
    clues = _read_clues(case, story, notes)
    guilty = _find_culprits(case, story.cast, culprits, notes)
    script = parse_script(_assemble(case, story, clues, guilty, _find_cell(case, story, cell, notes)), str(case.folder))
    if outsiders := [c for c in script.truth.culprits if c not in script.names]:
        notes.append(f"the culprit, {', '.join(outsiders)}, is not among the players ({', '.join(script.names)})")
    loaded.note(case.title, *dict.fromkeys(notes))
    return script


def _assemble(case: _Case, story: _Story, clues: list[dict], guilty: list[str], cell: str) -> dict:
    characters = [
        {"name": name, "faction": "culprit" if name in guilty else "civilian", "sections": sections,
         "aliases": story.cast.aliases(name)}
        for name, sections in story.sections.items()
    ]  # fmt: skip
    stages = [{"name": n, "narration": told} for n, told in zip(story.names, story.narrations, strict=True)]
    language = _language(" ".join([case.title, case.truth, *story.sections, *(c["text"] for c in clues)]))
    return {"title": case.title, "cell": cell, "language": language, "background": story.background or case.title,
            "stages": stages, "characters": characters, "clues": clues,
            "truth": {"culprits": guilty, "text": case.truth}}  # fmt: skip


def _language(text: str) -> str:
    n_chinese = sum("\u4e00" <= c <= "\u9fff" for c in text)
    return "zh" if n_chinese > 0.2 * sum(c.isalpha() for c in text) else "en"


def _read_story(case: _Case, notes: list[str]) -> _Story:
    path = _need(case.folder, SCRIPT_FILES)
    data = _read_json(path, notes)
    stages, top = _split_stages(data, path)
    cast = _gather(list(stages.values()))
    if not cast.forms:
        raise ScriptError(f"{path}: expected {{character: {{Story, Script, ...}}}}, alone or by stage; found nobody")
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
                              f"got {_shown(value)}")  # fmt: skip
    texts = {k: v for k, v in data.items() if isinstance(v, str)}
    groups = {k: v for k, v in data.items() if isinstance(v, dict)}
    if not any(_is_stage(v) for v in groups.values()):
        return {"": groups}, texts
    for key, value in groups.items():
        if _is_person(value):
            raise ScriptError(f"{path}: {key}: expected a stage as beside it, got one character's sections")
    return groups, texts


def _is_person(value: Any) -> bool:
    return isinstance(value, dict) and any(_plain(k) in _SECTIONS for k in value)


def _is_stage(value: dict) -> bool:
    return not _is_person(value) and any(_is_person(v) for v in value.values())


def _tell_texts(story: _Story, stage: int, entries: dict[str, Any], path: Path) -> str:
    """Give the texts under characters' names to them alone; return the others, which are for all."""
    narrations = []
    for key, value in entries.items():
        if isinstance(value, dict):
            continue
        text, name = _text(value, f"{path}: {key}"), story.cast.find(key)
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
            _tell_section(story, stage, name, (key, _text(value, f"{at}{spelt}.{key}")), notes)


def _tell_section(story: _Story, stage: int, name: str, told: tuple[str, str], notes: list[str]) -> None:
    key, text = told
    section = _SECTIONS.get(_plain(key))
    if section is None and text:
        notes.append(f"the section {key!r} is unknown: its text is kept in `story`")
        section, text = "story", f"{key}: {text}"
    if text:
        story.tell(name, stage, section, text)


# --- clues -----------------------------------------------------------------------------------------


def _read_clues(case: _Case, story: _Story, notes: list[str]) -> list[dict]:
    path = _need(case.folder, CLUE_FILES)
    data = _read_json(path, notes)
    clues = [clue for entry in _entries(data, story, path) for clue in _clues_of(*entry, story)]
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
        name = _match(key, story.names) if len(story.names) > 1 else None
    except ScriptError as error:
        raise ScriptError(f"{path}: {key}: expected a stage of the script, but {error}") from None
    return None if name is None else story.names.index(name)


def _clues_of(stage: int, key: str, value: Any, at: str, story: _Story) -> Iterator[dict]:
    if isinstance(value, dict):
        yield from _memories(stage, key, value, at, story)
    elif isinstance(value, str) and (name := story.cast.find(key)):
        story.tell(name, stage, "script", _text(value, at))
    elif isinstance(value, list | str):
        place = _things_of(key) if story.cast.find(key) else key
        texts = [_text(v, f"{at}[{i}]") for i, v in enumerate(value)] if isinstance(value, list) else [value.strip()]
        yield from ({"text": t, "place": place, "stage": stage + 1} for t in texts if t)
    else:
        raise ScriptError(f"{at}: expected a list of clues, a clue or memories by trigger word, "
                          f"got {_shown(value)}")  # fmt: skip


def _memories(stage: int, key: str, value: dict, at: str, story: _Story) -> Iterator[dict]:
    owner = story.cast.find(key) or story.cast.find_within(key)
    if not owner:
        stages = f", nor a stage ({', '.join(story.names)})" if len(story.names) > 1 else ""
        raise ScriptError(f"{at}: expected a list of clues; memories need a character's name in their key, and this "
                          f"names none of {', '.join(story.sections)}{stages}")  # fmt: skip
    for trigger, memory in value.items():
        text = _text(memory, f"{at}.{trigger}")
        yield {"text": text, "private_to": owner, "trigger": trigger, "stage": stage + 1}


def _things_of(name: str) -> str:
    """Call a character's things something else than the character, so that asking and searching differ."""
    return f"{name}的物品" if _language(name) == "zh" else f"{name}'s things"


# --- culprit and cell ------------------------------------------------------------------------------


def _find_culprits(case: _Case, cast: _Cast, given: list[str] | None, notes: list[str]) -> list[str]:
    """Who did it: as given, else as published, else as the truth text says."""
    spelt = [form for forms in cast.forms.values() for form in forms.values()]
    read = list(dict.fromkeys(_resolve(n, cast) for n in read_culprits(case.truth, spelt)))
    published = _match(case.title, PUBLISHED, cutoff=0.9)
    table = given or ([PUBLISHED[published][1]] if published else [])
    if not table and not read:
        raise ScriptError(f"{case.title}: can't tell the culprit from the truth text, expected e.g. "
                          f"'The culprit is 【name】.'; give culprits={{{case.title!r}: name}}")  # fmt: skip
    found = list(dict.fromkeys(_resolve(n, cast) for n in table)) or read
    source = "as given" if given else "as known of this title" if table else "read from the truth text"
    notes.append(f"culprit: {', '.join(found)} ({source})")
    if table and read and set(found) != set(read):
        notes.append(f"the truth text can be read as if it were {', '.join(read)}")
    return found


def _resolve(name: str, cast: _Cast) -> str:
    """The player of that name, also when given with a title more or less; else the name itself."""
    if found := cast.find(name):
        return found
    near = [n for n, forms in cast.forms.items() if any(_overlap(name, form) for form in forms.values())]
    return near[0] if len(near) == 1 else name.strip()


def _find_cell(case: _Case, story: _Story, given: str | None, notes: list[str]) -> str:
    if given:
        return given
    first = "S" if len(story.names) == 1 else "M"
    if published := _match(case.title, PUBLISHED, cutoff=0.9):
        return first + PUBLISHED[published][0][1:]
    notes.append(f"cell: {first}OC, where O and C are guesses; give cells={{{case.title!r}: ...}} to say otherwise")
    return first + "OC"


def _bracket(text: str, names: Iterable[str]) -> str:
    """Put the known names into 【】 that are not yet."""
    plain = spelling(tuple((n, n) for n in names)).pattern.pattern
    return re.sub(rf"【[^【】]*】|{plain}", lambda m: m[0] if m[0][0] == "【" else f"【{m[0]}】", text, flags=re.I)


def _listed(group: str) -> list[str]:
    return [n.strip() for n in re.findall(r"【([^【】]+)】", group)]


_ONE = r"【[^【】]+】"
_WHO = rf"(?P<who>{_ONE}(?:(?:\s|,|，|、|&|and|和|与|及)+{_ONE})*)"
_IS = r"(?:is|was|are|were)"
_GUILTY = r"(?:murderers?|killers?|culprits?)"
_GUILTY_ZH = r"(?:真凶|凶手|元凶)"
_KILLED = r"(?:killed|murdered|poisoned|stabbed|strangled|shot)"
_KILLED_ZH = r"(?:杀害|杀死|杀了|毒死|毒杀|刺死|勒死|害死)"
_PLAIN = r"(?:(?:indeed|really|in\s+fact|in\s+truth|one|of|the|a|real|true|actual|only)\s+)*"

# who is called the murderer
_CALLED = [re.compile(p, re.I) for p in (
    rf"\b{_GUILTY}\b(?:\s+of\s+{_ONE})?[^!?【】]{{0,60}}?(?:\b{_IS}(?:\s+not\s+{_ONE},?\s+but)?|[:：—])\s*{_WHO}",
    rf"{_WHO}\s+{_IS}\s+{_PLAIN}{_GUILTY}\b(?!['’]s)",
    rf"{_GUILTY_ZH}[^。！？【】]{{0,12}}?(?:不是{_ONE}[，,]?而是|(?<![不非因认以])[是为]|[：:—])\s*{_WHO}",
    rf"{_WHO}[^。！？【】不非]{{0,4}}是(?:[^。！？【】不被]|{_ONE}){{0,12}}?{_GUILTY_ZH}(?!的)",
)]  # fmt: skip
# who killed somebody
_DID = [re.compile(p, re.I) for p in (
    rf"\b{_KILLED}\s+by\s+{_WHO}",
    rf"{_WHO}\s+(?:(?:had|has|once|then|later|also|first|\w+ly)\s+)*{_KILLED}\b(?!\s+by)",
    rf"{_WHO}[^。！？【】未没不被]{{0,6}}{_KILLED_ZH}",
)]  # fmt: skip
