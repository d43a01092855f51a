"""What a player wrote, understood: forgiving about form, strict about what is allowed.

Case, spaces, punctuation, bold, full-width signs, titles and quotation marks do not matter. A reply that
can't be understood, says two things at once, or asks for what is not on offer, becomes an `Illegal` with a reason.

Taught in notebook 01.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence
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


class Mention(NamedTuple):
    who: str
    start: int
    end: int


class Spelling(NamedTuple):
    """How names may be spelt: a pattern with one group for each spelling, and whom each spelling means."""

    pattern: re.Pattern[str]
    means: Mapping[str, str]

    def find(self, text: str) -> list[Mention]:
        whom = tuple(self.means.values())
        return [Mention(whom[m.lastindex - 1], m.start(), m.end()) for m in self.pattern.finditer(text)]


_TITLES = {"mr", "mrs", "ms", "miss", "dr", "prof", "professor", "doctor", "sir", "dame", "lady", "lord", "captain",
           "inspector", "sergeant", "father", "sister", "brother", "madame", "aunt", "uncle", "the"}  # fmt: skip
_FILLERS = {*_TITLES, "a", "an", "in", "inside", "into", "at", "around", "through", "for", "to", "against", "of", "is",
            "my", "goes", "clue", "clues", "evidence", "place", "location", "player", "name", "question"}  # fmt: skip
_ASK = r"ask|question|询问|提问|问"
_SEARCH = r"search|investigate|examine|inspect|explore|调查|搜查|搜索|检查|搜"
_VOTE = r"vote|accuse|投票给|投票|投给|指认|投"
_WHOLE = r"(?:(?<![a-z])|(?![a-z]))"  # no Latin word goes on here; Chinese verbs may touch a Latin name
_VERB = rf"(?:(?P<ask>{_ASK})|(?P<search>{_SEARCH})){_WHOLE}"
_LEAD = (
    r"(?:(?:i\s+(?:will|would\s+like\s+to|want\s+to|choose\s+to)|i'll|i'd\s+like\s+to|i|let\s+me|let's)\s+)?"
    r"(?:我(?:要|想|选择)?)?"
)
_COMMANDS = (  # the first form that occurs counts: capitals, the beginning of a line, anywhere
    re.compile(r"\b(?:(?P<ask>ASK)|(?P<search>SEARCH))\b"),
    re.compile(rf"^[^\w\n]*{_LEAD}{_VERB}", re.I | re.M),
    re.compile(rf"(?<![a-z]){_VERB}", re.I),
)
_ANOTHER = re.compile(r"(?:\b(?:and|then)\b|[,;&+]|然后|并|再)\s*(?:ask\b|search\b|询问|调查)", re.I)
_VOTES = re.compile(rf"(?<![a-z])(?:{_VOTE}){_WHOLE}", re.I)
_GAP = re.compile(rf"(?:[^\w\n]|\b(?:{'|'.join(sorted(_FILLERS))})\b|一下|地点|玩家|给|向|是|去)*", re.I)
_JOINT = re.compile(r"\s*(?:[,/&+、]|\band\b|\bor\b|[和与或跟])\s*", re.I)
_QUESTION = re.compile(r"(?:[^\w\n]*:\W*)?[^\n]*")
_WORD = re.compile(r"[^\W_]")
_SPEAKER = re.compile(r"\s*([^:\n]+):\s*")
_LISTED = re.compile(r"^[^\w\n]*\d+[.)、]\s*(?=[^\W\d])", re.M)
_NUMBER = re.compile(r"([-−–]?\d+(?:\.\d+)?)(?:\s*(?:/|out of|of)\s*(\d+))?", re.I)
_SUSPICION = re.compile(r"suspicion|suspicious|suspect|怀疑", re.I)
_TRUST = re.compile(r"trust|信任", re.I)

_MARKUP = dict.fromkeys("*_#`~【】[]<>《》「」", " ") | {"’": "'"}
_LINE_ENDS = set("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_QUOTES = str.maketrans(dict.fromkeys('"“”„‟«»「」『』＂〝〞〟❝❞⹂″‶ʺˮ״🙶🙷🙸', "'"))
_EDGE = " \t\n'\"“”‘’*_`~[]<>【】"
_STRIP = _EDGE + ":,;.-–—|：，；。"


def clean(text: str, max_chars: int) -> tuple[str, bool]:
    """Return `text` as one harmless line, and whether it had to be cut.

    No line break, control or invisible sign and no double quotation mark is left, so that inside the quotation
    marks of a phrasebook nobody's words can look like another's turn or the system's.
    """
    line = "".join(" " if _is_hidden(c) else c for c in text).translate(_QUOTES)
    line = " ".join(line.split())
    return (line, False) if len(line) <= max_chars else (line[:max_chars].rstrip() + " […]", True)


@lru_cache(maxsize=65536)
def _is_hidden(sign: str) -> bool:
    return unicodedata.category(sign) in _HIDDEN or bool(_BLANK.match(sign))


def normalise(text: str) -> str:
    """Fold full-width signs, markup, and what can't be seen, sign by sign: every position stays what it was."""
    return "".join(map(_fold, text))


@lru_cache(maxsize=65536)
def _fold(sign: str) -> str:
    if sign in _LINE_ENDS:
        return "\n"
    if _is_hidden(sign) or sign.isspace():
        return " "
    plain = unicodedata.normalize("NFKC", sign)
    return _MARKUP.get(plain, plain) if len(plain) == 1 else sign


@lru_cache(maxsize=4096)
def spelling(words: tuple[tuple[str, str], ...]) -> Spelling:
    """Build the pattern for (spelling, meaning) pairs, longest first; words of spaced languages only as a whole."""
    plain = [(" ".join(normalise(unicodedata.normalize("NFC", w)).split()), m) for w, m in words]
    means = {w.casefold(): m for w, m in plain if w}
    written = {w.casefold(): w for w, _ in plain}
    longest = sorted(means, key=len, reverse=True)
    pattern = "|".join(f"({_bounded(written[k])})" for k in longest)
    return Spelling(re.compile(pattern or r"(?!)", re.I), {k: means[k] for k in longest})


def _bounded(word: str) -> str:
    """A pattern for one spelling, not inside a Latin word; Chinese has no blanks, so it may stand anywhere."""
    before = r"(?<!(?a:\w))" if word[0] < "\u2e80" else ""
    after = r"(?!(?a:\w))" if word[-1] < "\u2e80" else ""
    return before + r"\s+".join(map(re.escape, word.split())) + after


def _key(plain: str) -> str:
    return " ".join(plain.split()).casefold()


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


def _name_parts(name: str) -> list[str]:
    """First and last names; not titles, initials, "of", or numbers."""
    words = [w for w in name.split() if w.strip(".").casefold() not in _TITLES and w[0].isupper()]
    return [w for w in words if len(w.strip(".")) > 1] if len(name.split()) > 1 else []


@lru_cache(maxsize=8192)
def place_spelling(places: tuple[str, ...]) -> Spelling:
    """How places may be called: as they are, or without a leading article."""
    bare = [(re.sub(r"^(?:the|a|an)\s+", "", p, flags=re.I), p) for p in places]
    return spelling((*bare, *((p, p) for p in places)))


def parse(phase: str, text: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...]) -> Move | Illegal:
    """Understand a reply to one phase's prompt, or say why not."""
    text = unicodedata.normalize("NFC", text)
    plain = normalise(text)
    if not _WORD.search(plain):
        return Illegal("empty")
    if phase in ("intro", "answer"):
        return Move(phase, _spoken(text, plain, names))
    if phase == "turn":
        return _turn(text, plain, names, allowed, places)
    return _rate(plain, names, allowed) if phase == "rate" else _vote(plain, names, allowed)


def _spoken(text: str, plain: str, names: Spelling) -> str:
    """The words themselves, without quotation marks around them or the speaker's name before them."""
    speaker = _SPEAKER.match(plain)
    if speaker and _key(speaker[1]) in names.means and _WORD.search(plain, speaker.end()):
        text = text[speaker.end() :]
    text = text.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] + text[-1] in ('""', "“”", "''") else text


def _turn(text: str, plain: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...]) -> Move | Illegal:
    """One command; a place alone is one as well."""
    spots = place_spelling(places)
    if place := spots.means.get(_key(plain.strip(_STRIP))):
        return Move("search", place=place)
    verbs = next((found for form in _COMMANDS if (found := list(form.finditer(plain)))), [])
    people, sites = names.find(plain), spots.find(plain)
    outcomes = [
        _search(plain, v.end(), sites) if v["search"] else _ask(text, plain, v.end(), people, allowed) for v in verbs
    ]
    moves = {o for o in outcomes if isinstance(o, Move)}
    if len(moves) == 1:
        return moves.pop()
    return Illegal("form") if moves or not outcomes else outcomes[0]


def _search(plain: str, start: int, sites: Sequence[Mention]) -> Move | Illegal:
    site = _named(plain, start, sites)
    if not site:
        return Illegal("place")
    line = plain[site.end :].partition("\n")[0]
    return Illegal("form") if _ANOTHER.search(line) else Move("search", place=site.who)


def _ask(text: str, plain: str, start: int, people: Sequence[Mention], allowed: tuple[str, ...]) -> Move | Illegal:
    person = _named(plain, start, people)
    if not person or person.who not in allowed:
        return Illegal("name")
    end = _QUESTION.match(plain, person.end).end()
    if not _WORD.search(plain, person.end, end):
        return Illegal("question")
    return Move("ask", text[person.end : end].lstrip(_STRIP).rstrip(_EDGE), target=person.who)


def _named(plain: str, start: int, mentions: Sequence[Mention]) -> Mention | None:
    """Whoever is named right after `start`, filling words apart; nobody if that is one of two."""
    k = bisect_left(mentions, start, key=lambda m: m.start)
    if k == len(mentions) or not _GAP.fullmatch(plain, start, mentions[k].start):
        return None
    first, *others = mentions[k : k + 3]
    if others and others[0].who == first.who and not plain[first.end : others[0].start].strip(" ."):
        first = first._replace(end=others.pop(0).end)  # first and last name
    joint = bool(others) and others[0].who != first.who and _JOINT.fullmatch(plain, first.end, others[0].start)
    return None if joint else first


def _vote(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    mentions = names.find(plain)
    verbs = [v.end() for v in _VOTES.finditer(plain)]
    chosen = [_named(plain, end, mentions) for end in verbs] if verbs else mentions
    named = {m.who for m in chosen if m}
    return Move("vote", target=named.pop()) if len(named) == 1 and named <= set(allowed) else Illegal("name")


def _rate(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    plain = _LISTED.sub("", plain)
    found = names.find(plain)
    ends = [*(m.start for m in found), len(plain)][1:]
    ratings: dict[str, tuple[int, int]] = {}
    for m, end in zip(found, ends, strict=True):
        if (pair := _two_numbers(plain[m.end : end])) is not None:
            ratings[m.who] = pair
    return Move("rate", ratings={n: ratings[n] for n in allowed}) if set(allowed) <= set(ratings) else Illegal("rating")


def _two_numbers(text: str) -> tuple[int, int] | None:
    """Read suspicion and trust, 0..2 each, in this order unless the words say otherwise; "1/2" may mean 1 of 2."""
    found = _NUMBER.findall(text)
    numbers = list(found[0]) if len(found) == 1 else [n if of in ("", "2") else "" for n, of in found]
    if len(numbers) != 2 or not set(numbers) <= {"0", "1", "2"}:
        return None
    first, second = map(int, numbers)
    s, b = _SUSPICION.search(text), _TRUST.search(text)
    return (second, first) if s and b and b.start() < s.start() else (first, second)
