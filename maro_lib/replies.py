"""What a player wrote, understood: forgiving about form, strict about what is allowed.

Case, spaces, punctuation, bold, full-width signs, titles and quotation marks do not matter. A reply that
can't be understood, or asks for something that is not on offer, becomes an `Illegal` with a reason.

Taught in notebook 01.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from maro_lib.scripts import Script


class Move(NamedTuple):
    """A legal reply; `text` is what the others may hear of it."""

    kind: str  # intro, ask, search, answer, rate, vote
    text: str = ""
    target: str = ""
    place: str = ""
    ratings: Mapping[str, tuple[int, int]] | None = None  # name -> (suspicion, trust)


class Illegal(NamedTuple):
    reason: str  # a key of Phrasebook.reasons


class Spelling(NamedTuple):
    """How names may be spelt: a pattern that finds them, and whom each spelling means."""

    pattern: re.Pattern[str]
    means: Mapping[str, str]

    def find(self, text: str) -> list[tuple[str, int, int]]:
        return [(self.means[m[0].casefold()], m.start(), m.end()) for m in self.pattern.finditer(text)]


_TITLES = {"mr", "mrs", "ms", "miss", "dr", "prof", "professor", "doctor", "sir", "dame", "lady", "lord", "captain",
           "inspector", "sergeant", "father", "sister", "brother", "madame", "aunt", "uncle", "the"}  # fmt: skip
_ASK = r"ask|question|询问|提问|问"
_SEARCH = r"search|investigate|examine|inspect|explore|调查|搜查|搜索|检查|搜"
_VOTE = r"vote|accuse|投票给|投票|投给|指认|投"
_LEAD = r"(?:i\s+(?:will\s+|would\s+like\s+to\s+|want\s+to\s+|choose\s+to\s+)?|我(?:要|想|选择)?)?"
_START = re.compile(rf"^\W*{_LEAD}(?:(?P<ask>{_ASK})|(?P<search>{_SEARCH}))(?![a-z])(?P<rest>.*)$", re.I | re.M)
_UPPER = re.compile(r"\b(?:(?P<ask>ASK)|(?P<search>SEARCH))\b(?P<rest>.*)$", re.M)
_ANYWHERE = re.compile(rf"(?<![a-z])(?:(?P<ask>{_ASK})|(?P<search>{_SEARCH}))(?![a-z])(?P<rest>.*)$", re.I | re.M)
_VOTES = re.compile(rf"(?<![a-z])(?:{_VOTE})(?![a-z])(?P<rest>.*)$", re.I | re.M)
_MARKUP = str.maketrans(dict.fromkeys("*_#`~【】[]<>《》「」", " ") | {"’": "'"})
_QUOTES = str.maketrans(dict.fromkeys('"“”„‟«»「」『』＂', "'"))
_STRIP = " \t\n'\"“”‘’:,;.-–—>|"
_SUSPICION = re.compile(r"suspicion|suspicious|suspect|怀疑", re.I)
_TRUST = re.compile(r"trust|信任", re.I)


def clean(text: str, max_chars: int) -> tuple[str, bool]:
    """Return `text` as one harmless line, and whether it had to be cut.

    No line break, control or invisible sign and no double quotation mark is left, so that inside the quotation
    marks of a phrasebook nobody's words can look like another's turn or the system's.
    """
    line = "".join(c if unicodedata.category(c) not in _BAD else " " for c in text).translate(_QUOTES)
    line = " ".join(line.split())
    return (line, False) if len(line) <= max_chars else (line[:max_chars].rstrip() + " […]", True)


_BAD = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}


def normalise(text: str) -> str:
    """Fold full-width signs, markup and runs of blanks away; keep lines."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKUP)
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


@lru_cache(maxsize=4096)
def spelling(words: tuple[tuple[str, str], ...]) -> Spelling:
    """Build the pattern for (spelling, meaning) pairs, longest first; Latin words only as whole words."""
    means = {normalise(w).casefold(): m for w, m in words if w.strip()}
    longest = sorted(means, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(w)}(?!\w)" if w.isascii() else re.escape(w) for w in longest)
    return Spelling(re.compile(pattern or r"(?!)", re.I), means)


def name_spelling(script: Script) -> Spelling:
    """How this script's characters may be called: full name, alias, and a first or last name that is nobody else's."""
    full = [(w, c.name) for c in script.characters for w in (c.name, *c.aliases)]
    taken = {w.casefold() for w, _ in full}
    parts = [(p, c.name) for c in script.characters for p in _name_parts(c.name)]
    owners: dict[str, set[str]] = {}
    for p, owner in parts:
        owners.setdefault(p.casefold(), set()).add(owner)
    alone = [(p, o) for p, o in parts if len(owners[p.casefold()]) == 1 and p.casefold() not in taken]
    return spelling((*full, *alone))


@lru_cache(maxsize=8192)
def place_spelling(places: tuple[str, ...]) -> Spelling:
    """How places may be called: as they are, or without a leading article."""
    bare = [(re.sub(r"^(?:the|a|an)\s+", "", p, flags=re.I), p) for p in places]
    return spelling((*bare, *((p, p) for p in places)))


def parse(phase: str, text: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...]) -> Move | Illegal:
    """Understand a reply to one phase's prompt, or say why not."""
    plain = normalise(text)
    if not plain.strip(_STRIP):
        return Illegal("empty")
    if phase in ("intro", "answer"):
        return Move(phase, _spoken(text, names))
    if phase == "turn":
        return _turn(plain, names, allowed, places)
    return _rate(plain, names, allowed) if phase == "rate" else _vote(plain, names, allowed)


def _spoken(text: str, names: Spelling) -> str:
    """The words themselves, without quotation marks around them or the speaker's name before them."""
    text = text.strip()
    head, colon, rest = text.partition(":")
    if colon and rest.strip() and head.strip(" *_").casefold() in names.means:
        text = rest.strip(" *_")
    return text[1:-1].strip() if len(text) > 2 and text[0] + text[-1] in ('""', "“”", "''") else text


def _turn(plain: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...]) -> Move | Illegal:
    spots = place_spelling(places)
    if plain.strip(_STRIP).casefold() in spots.means:
        return Move("search", place=spots.means[plain.strip(_STRIP).casefold()])
    command = _START.search(plain) or _UPPER.search(plain) or _only(list(_ANYWHERE.finditer(plain)))
    if not command:
        return Illegal("form")
    if command["search"]:
        found = spots.find(command["rest"])
        return Move("search", place=found[0][0]) if found else Illegal("place")
    tail = command["rest"]
    found = names.find(tail)
    if not found or found[0][0] not in allowed:
        return Illegal("name")
    question = tail[found[0][2] :].strip(_STRIP)
    return Move("ask", question, target=found[0][0]) if question else Illegal("question")


def _vote(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    after_verb = [n for m in _VOTES.finditer(plain) for n, _, _ in names.find(m["rest"])[:1]]
    mentioned = [n for n, _, _ in names.find(plain)]
    named = set(after_verb or mentioned)
    return Move("vote", target=named.pop()) if len(named) == 1 and named <= set(allowed) else Illegal("name")


def _rate(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    found = names.find(plain)
    ends = [start for _, start, _ in found[1:]] + [len(plain)]
    ratings: dict[str, tuple[int, int]] = {}
    for (name, _, after), end in zip(found, ends, strict=True):
        if (pair := _two_numbers(plain[after:end])) is not None:
            ratings[name] = pair
    return Move("rate", ratings={n: ratings[n] for n in allowed}) if set(allowed) <= set(ratings) else Illegal("rating")


def _two_numbers(text: str) -> tuple[int, int] | None:
    """Read suspicion and trust, 0..2 each, in this order unless the words say otherwise; "1/2" may mean 1 of 2."""
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    if len(numbers) == 4 and numbers[1] == numbers[3] == 2:
        numbers = numbers[::2]
    if len(numbers) != 2 or not all(0 <= n <= 2 for n in numbers):
        return None
    s, b = _SUSPICION.search(text), _TRUST.search(text)
    return (numbers[1], numbers[0]) if s and b and b.start() < s.start() else (numbers[0], numbers[1])


def _name_parts(name: str) -> list[str]:
    words = [w for w in name.split() if w.strip(".").casefold() not in _TITLES]
    return [w for w in words if len(w) > 1] if len(name.split()) > 1 else []


def _only(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    matches = list(matches)
    return matches[0] if len(matches) == 1 else None
