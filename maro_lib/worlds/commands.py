"""Commands: a word in capitals and what goes with it, understood, said, and offered as forms.

`TAKE 7`, `OFFER 40: it is worth more`, `PUNISH Ann 2`. What a world's prompt allows is data (`Prompt.commands`), and
everything follows from it: how a reply is read, which forms a person fills in, what a random player says. Forgiving
about form (case at the beginning of a line, markup, signs between the parts), strict about what is allowed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from maro_lib.world.protocol import Blank, Command, Form, Illegal
from maro_lib.world.replies import MAX_REPLY, normalise

_GAP = r"[\s\"':=,.()$#–—-]{0,24}"  # between a word and what goes with it
_NUMBER_GAP = _GAP.replace("–—-", "").replace(".", "")  # a sign or a dot there would make another number of it


class Told(NamedTuple):
    """A legal reply: which command, and what was filled in."""

    kind: str  # the command's word in small letters; say
    values: Mapping[str, str] = {}
    text: str = ""  # words of one's own


SAY = Form("say", (Blank("words"),), lambda values: values["words"])  # words of one's own, and no command


@cache
def numbers(low: int, high: int) -> tuple[str, ...]:
    """Whole numbers as options."""
    return tuple(map(str, range(low, high + 1)))


def written(command: Command, values: Mapping[str, str]) -> str:
    """Write a command as a reply."""
    words = " ".join([command.word, *(values[b.name] for b in command.blanks if b.options)])
    free = " ".join(values.get(b.name, "") for b in command.blanks if not b.options).strip()
    return f"{words}: {free}" if free else words


def forms_of(commands: Sequence[Command]) -> tuple[Form, ...]:
    """The forms that a person fills in."""
    return tuple(Form(c.word.lower(), c.blanks, lambda values, c=c: written(c, values)) for c in commands)


def at_random(commands: Sequence[Command], rng: random.Random, words: str) -> str:
    """Say any of the commands, filled in with anything that is allowed."""
    command = rng.choice(commands)
    return written(command, {b.name: rng.choice(b.options) if b.options else words for b in command.blanks})


def read_command(commands: Sequence[Command], text: str) -> Told | Illegal:
    """Understand a reply that is to hold one of these commands."""
    text = text[:MAX_REPLY]
    plain = normalise(text)  # sign by sign: places stay what they were
    if not plain.strip():
        return Illegal("empty")
    found = _found(commands, plain)
    if not found:
        return Illegal("form")
    (command, at), *more = found
    if any(other != command for other, _ in more) and not _ends_in_words(command):
        return Illegal("two")
    return _filled_in(command, plain, text, at)


def _found(commands: Sequence[Command], plain: str) -> list[tuple[Command, int]]:
    """Every command that stands in a text, in order, with where it ends; words in capitals count before others."""
    for pattern in (_capitals, _at_the_beginning):
        if hits := sorted((m.end(), c) for c in commands for m in pattern(c.word).finditer(plain)):
            return [(command, at) for at, command in hits]
    return []


def _ends_in_words(command: Command) -> bool:
    """Whether what follows may hold anything, other commands' words too."""
    return bool(command.blanks) and not command.blanks[-1].options


@cache
def _capitals(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z]){word}(?![A-Za-z])")


@cache
def _at_the_beginning(word: str) -> re.Pattern[str]:
    return re.compile(rf"^[^\w\n]{{0,24}}{word}(?![a-z])", re.I | re.M)


def _filled_in(command: Command, plain: str, text: str, at: int) -> Told | Illegal:
    """Read what goes with a command, part after part."""
    values: dict[str, str] = {}
    for blank in command.blanks:
        if not blank.options:
            words = text[at:].strip().lstrip(":").strip()
            return Illegal("empty") if not words and not values else Told(command.word.lower(), values, words)
        match = _pattern(blank).match(plain, at)
        if match is None:
            return Illegal("number" if _is_number(blank) else "option")
        values[blank.name] = _spelt(blank)[match["value"].casefold()]
        at = match.end()
    return Told(command.word.lower(), values)


def _is_number(blank: Blank) -> bool:
    return blank.options[0].isdigit()


@cache
def _spelt(blank: Blank) -> dict[str, str]:
    return {option.casefold(): option for option in blank.options}


@cache
def _pattern(blank: Blank) -> re.Pattern[str]:
    options = "|".join(map(re.escape, sorted(blank.options, key=len, reverse=True)))
    if _is_number(blank):
        return re.compile(rf"{_NUMBER_GAP}(?P<value>{options})(?![.,]?\d|\s*%)")
    return re.compile(rf"{_GAP}(?:(?:to|for|the)\s+)?(?P<value>{options})(?!\w)", re.I)
