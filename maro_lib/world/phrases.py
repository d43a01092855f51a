"""Words as data: what the game says to a player, and what generated mysteries are told in, read from words/*.yaml.

Another language or register is one more file. Each file is checked when it is read: which sentences there are, which
braces each may hold, and that agents' words stand between quotation marks (see `maro_lib.world.replies.clean`).

Taught in notebook 01.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import nearest

WORDS_FOLDER = Path(__file__).with_name("words")
STORY_BOOKS = {("en", "prose"): "prose", ("en", "compact"): "compact", ("zh", "prose"): "prose_zh"}
BOOKS = {("en", "prose"): "en", ("en", "compact"): "compact", ("zh", "prose"): "zh", ("zh", "compact"): "zh"}
Ways = tuple[str, ...]


class WordsError(ValueError):
    """A file of words can't be used; the message names the file, the sentence, and what is wrong."""


def sentence(braces: str = "", quoted: str = "") -> Any:
    """Declare a sentence: the braces that it may hold, and which of them is an agent's own words."""
    return Field(json_schema_extra={"braces": braces.split(), "quoted": quoted})


class CheckedWords(BaseModel):
    """What a file of words holds; whoever reads it says what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def problems(self) -> Iterator[str]:
        """Yield what the types alone can't see: what is wrong with a sentence."""
        for name, declared in type(self).model_fields.items():
            if rule := declared.json_schema_extra:
                yield from _misspelt(name, getattr(self, name), rule["braces"], rule["quoted"])

    @model_validator(mode="after")
    def _check(self) -> CheckedWords:
        if problems := list(self.problems()):
            raise ValueError("\n".join(problems))
        return self


def _misspelt(name: str, sentences: Any, known: list[str], quoted: str) -> Iterator[str]:
    for text in texts(sentences):
        yield from (f"{name}: {{{b}}} is unknown{nearest(b, known)}" for b in braces(text) if b not in known)
        if quoted and re.sub(rf'"{{{quoted}}}"|“{{{quoted}}}”', "", text).count(f"{{{quoted}}}"):
            yield f"{name}: {{{quoted}}} is an agent's own words; put quotation marks around it"


class Phrasebook(CheckedWords):
    """What the game says to a player, in one language and register."""

    comma: str = sentence()
    # the system message
    you_are: str = sentence("name others")
    frame: str = sentence("rounds rated n")
    rated: dict[str, str] = sentence()  # by Rules.ratings
    background: str = sentence("text")
    special: str = sentence("text")
    yours: str = sentence()
    sections: dict[str, str] = sentence()
    goal: str = sentence("text")
    side: dict[str, str] = sentence()
    partners: str = sentence("names")
    # what the game asks for, and in which form
    intro: str = sentence()
    turn: str = sentence("names")
    places: str = sentence("places")
    no_places: str = sentence()
    answer: str = sentence("asker question", quoted="question")
    rate: str = sentence("names")
    vote: str = sentence("names")
    summarise: str = sentence()
    resumed: str = sentence("text", quoted="text")
    correction: str = sentence("reason form")
    forms: dict[str, str] = sentence("names")
    reasons: dict[str, str] = sentence("names places")
    # what is seen of the others
    round: str = sentence("k n")
    stage: str = sentence("k n text")
    now: str = sentence()
    says: str = sentence("name text", quoted="text")
    asks: str = sentence("name target text", quoted="text")
    answers: str = sentence("name text", quoted="text")
    silent: str = sentence("name")
    passes: str = sentence("name")
    found: str = sentence("name place text")
    found_own: str = sentence("place text")
    kept: str = sentence("name place")
    private: str = sentence("place text")
    memory: str = sentence("text")
    nothing: str = sentence()
    # what scripted players say
    name_self: str = sentence("name")
    suspect: str = sentence("name")
    no_idea: str = sentence()
    question: str = sentence()
    fact: str = sentence("who trait value")
    ask: str = sentence("name text")
    search: str = sentence("place")
    voted: str = sentence("name")
    rating: str = sentence("name s b")
    rating_joint: str = sentence()
    # what a judge reads back to a character
    named: str = sentence("name")
    you: str = sentence()

    def rate_all(self, ratings: Mapping[str, tuple[int, int]]) -> str:
        """Say (suspicion, trust) of each name, as a player would."""
        return self.rating_joint.join(self.rating.format(name=n, s=s, b=b) for n, (s, b) in ratings.items())


class StoryWords(CheckedWords):
    """What generated mysteries are told in: what things are called, how each is said, what makes up a section."""

    gap: str  # between sentences
    comma: str  # between parts of a title
    full_name: str = sentence("first last")
    knobs: dict[str, str]  # how a title calls a knob, or its value; empty: as it is called in Python
    names: Ways
    surnames: Ways
    victims: Ways
    settings: tuple[dict[str, str], ...]
    places: tuple[Ways, ...]  # by setting
    values: dict[str, Ways]  # trait -> its values; those of `spot` are the places
    traits: dict[str, str]  # trait -> how facts call it
    why: dict[str, Ways]  # trait -> by value: why an innocent has it
    sources: Ways  # who says what a clue says, by variant
    phrases: dict[str, Ways]
    first: dict[str, dict[str, Ways]]  # faction -> section -> keys, at the start
    later: dict[str, dict[str, Ways]]  # the same for every later stage

    def problems(self) -> Iterator[str]:
        """Yield what does not fit together."""
        yield from super().problems()
        if len(self.places) != len(self.settings):
            yield f"places: {len(self.places)} lists, but there are {len(self.settings)} settings"
        known = {*self.phrases, "rumour"}  # said by kind of red herring
        for layout in (self.first, self.later):
            keys = (key for sections in layout.values() for keys in sections.values() for key in keys)
            yield from (f"phrases: {key!r} is missing, a section is made of it" for key in keys if key not in known)
        for key, ways in self.phrases.items():
            yield from (f"{key}: {{{b}}} is unknown{nearest(b, SLOTS)}" for b in braces(*ways) if b not in SLOTS)


_SLOTS = """house opening cutoff victim time occasion death killer killers weapon garment spot sign weapon_why
garment_why name other another secret partners who value source thing sight clue"""
SLOTS = frozenset(_SLOTS.split())  # what the generator fills in


def texts(part: Any) -> Iterator[str]:
    """Every text inside nested data; keys are no texts."""
    if isinstance(part, str):
        yield part
        return
    for inner in part.values() if isinstance(part, Mapping) else part:
        yield from texts(inner)


def braces(*templates: str) -> list[str]:
    """The names that stand in braces, in order, each once."""
    return list(dict.fromkeys(n for text in templates for _, n, *_ in Formatter().parse(text) if n is not None))


W = TypeVar("W", bound=CheckedWords)


def read_words(path: Path, kind: type[W]) -> W:
    """Read and check one file of words."""
    try:
        return kind.model_validate(yaml.load(path.read_text(encoding="utf-8"), StrictLoader))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or kind.__name__}: {e['msg'].removeprefix('Value error, ')}"
                 for e in error.errors()]  # fmt: skip
        raise WordsError("\n  ".join([f"{path}:", *lines])) from None
    except (yaml.YAMLError, ValueError) as error:
        raise WordsError(f"{path}: {error}") from None


@cache
def phrasebook(language: str, register: str) -> Phrasebook:
    """Return the sentences of one language and register."""
    return read_words(WORDS_FOLDER / f"phrases_{BOOKS[language, register]}.yaml", Phrasebook)


@cache
def story_words(language: str, register: str) -> StoryWords:
    """Return what generated mysteries of one language and register are told in."""
    return read_words(WORDS_FOLDER / f"mysteries_{STORY_BOOKS[language, register]}.yaml", StoryWords)
