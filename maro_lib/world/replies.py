"""What a player wrote, understood: forgiving about form, strict about what is allowed.

Case, spaces, punctuation, bold, full-width signs, titles and quotation marks do not matter. A reply that
can't be understood, says two things at once, denies what it names, or asks for what is not on offer, becomes an
`Illegal` with a reason. Of an endless reply the beginning is read, and every pattern takes time in proportion to it:
what may go on for long is possessive (`*+`), or there is a bound to how often.

Taught in notebook 01.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import attrgetter
from typing import NamedTuple

from maro_lib.world.protocol import Illegal
from maro_lib.world.scripts import Script

MAX_REPLY = 4000  # characters that are read of a reply; 512 tokens of an honest one are some 2,500


class Move(NamedTuple):
    """A legal reply; `text` is what the others may hear of it."""

    kind: str  # intro, ask, search, answer, rate, vote, summary
    text: str = ""
    target: str = ""
    place: str = ""
    ratings: Mapping[str, tuple[int, int]] | None = None  # name -> (suspicion, trust)


class Mention(NamedTuple):
    who: str
    start: int
    end: int


class Spelling(NamedTuple):
    """How names may be spelt: a pattern with one group for each spelling, and whom each spelling means."""

    pattern: re.Pattern[str]
    means: Mapping[str, str]
    small: frozenset[str]  # the spellings that are written in small letters

    def find(self, text: str) -> list[Mention]:
        whom = tuple(self.means.values())
        return [Mention(whom[m.lastindex - 1], m.start(), m.end()) for m in self.pattern.finditer(text)]


_TITLES = {"mr", "mrs", "ms", "miss", "dr", "prof", "professor", "doctor", "sir", "dame", "lady", "lord", "captain",
           "inspector", "sergeant", "father", "sister", "brother", "madame", "aunt", "uncle", "the"}  # fmt: skip
_FILLERS = {*_TITLES, "a", "an", "in", "inside", "into", "at", "around", "through", "for", "to", "against", "of", "is",
            "my", "goes", "clue", "clues", "evidence", "place", "location", "player", "name", "question"}  # fmt: skip
_DOTTED = {"mr", "mrs", "ms", "dr", "prof"}  # their dot ends no sentence
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
    re.compile(rf"^[^\w\n]*+{_LEAD}{_VERB}", re.I | re.M),
    re.compile(rf"(?<![a-z]){_VERB}", re.I),
)
_ANOTHER = re.compile(  # a second command, or the end of the line
    r"(?:\b(?:and|then)\b|[,;&+]|然后|并|再) *+(?:ask\b|search\b|询问|调查)|(?P<end>\n)", re.I
)
_VOTES = re.compile(rf"(?<![a-z])(?P<vote>{_VOTE}){_WHOLE}", re.I)
_GAP = re.compile(
    rf"(?:[^\w\n.!?…。;]|\b(?:{'|'.join(sorted(_DOTTED))})\b\.?|\b(?:{'|'.join(sorted(_FILLERS - _DOTTED))})\b|"
    r"一下|地点|玩家|给|向|是|去)*+",
    re.I,
)
_LONGEST_GAP = 200  # signs between a verb and whom it is about
_JOINT = re.compile(r"\s*(?:[,/&+、]|\band\b|\bor\b|[和与或跟])\s*", re.I)
_QUESTION = re.compile(  # what follows a colon; or the rest of the line; or, if that is empty, a line with "?"
    r"(?:[^\w\n]*:\W*+|[^\w\n]*+\n\W*+(?=[^\n]*\?))?[^\n]*+"
)
_WORD = re.compile(r"[^\W_]")
_START = attrgetter("start")
_SHORT = 3  # words: so short a reply is a name and little else
_SPEAKER = re.compile(r"\s*+([^:\n]++):\s*+")
_LISTED = re.compile(r"^[^\w\n]*+\d++[.)、]\s*+(?=[^\W\d])", re.M)

# A negation holds for every verb after it, up to a cut: the end of a sentence, or a new clause ("so I", ", but").
_STOP = r"[!?。;\n]|(?<!\.)(?<!\b\w)(?<!\b[md][rs])(?<!\bmrs)(?<!\bprof)\.(?![.\w])"
_CUT = re.compile(
    rf"{_STOP}|:|\bbut\b|\b(?:so|therefore|thus|hence|and)\s+(?:i|let)\b|\binstead\b(?!\s+of)|"
    r"(?<!not)(?<!never)(?<!n't)(?:,|\s[–—-])\s*(?:and\s+)?"
    r"(?:(?:so|yet|therefore|thus|hence|however|i|let|my\s+(?:final\s+)?vote)\b|(?-i:ASK|SEARCH|VOTE)\b|(?=[⺀-鿿]))|"
    r"所以|因此|但|而是|于是|还是",
    re.I,
)
_NO = (
    r"\b(?:(?<!why\s)not(?!\s+(?:least|only)\b)|no(?!\s*,|\s+[–—-]|\s+doubt\b)|never|neither|nor|nobody|none|nothing|"
    r"cannot|(?:do|does|did|ca|wo|would|should|could)nt|refus\w*|declin\w*|avoid\w*|abstain\w*|unable|unwilling|"
    r"reluctant|hardly|rather\s+than|instead\s+of|other\s+than|apart\s+from|except|(?:any|every)(?:one|body)\s+but|"
    r"too\s+(?:early|soon)|(?:wrong|unfair|foolish|mistake)\s+to)\b|n't\b|"
    r"(?<!不得)(?<![要差])不(?![过如管妨,]|得不|好意思)|(?<![沉淹出])没(?!错)|(?<![特分区级性离告])别(?![人的处墅])|"
    r"除了|除去|除开|无法|拒绝|弃权|并非|绝非"
)
_NEGATION = re.compile(_NO, re.I)
_CLEARING = re.compile(rf"{_NO}|\b(?:innocent|honest|truthful|trust\w*|cleared)\b|无辜|清白|诚实|信任", re.I)
_SENTENCE_END = re.compile(_STOP, re.I)
_TAKEN_BACK = re.compile(r"[^\w\n?]*+\?\W*+(?:(?:no(?!\s+(?:one|doubt))|never|not)\b|[不没别])", re.I)

_LABEL = r"(?:(?<![a-z])susp(?:icion|icious|ect)|怀疑|(?<![a-z])trust|(?<!不)信任)[a-z]{0,12}+"
_TRUST = re.compile(r"trust|信任", re.I)
_SCALE = re.compile(r"(?<![\d.])0(?:[-−–]|\s*(?:to|至|到)\s*)2(?!\d|\.\d)", re.I)  # "<0-2>": of the form, no rating
_NUMBER = re.compile(  # with the label right before it, or right after it
    rf"(?:(?P<before>{_LABEL})"
    r"(?:[ \t:=|()'\"]|[-–—](?=\s)|\b(?:is|of|at|level|score|rating)\b|度|值|程度|为|是){0,12}+)?"
    r"(?P<n>[-−–]?\d+(?:\.\d+)?)(?:\s*(?:/|out of|of)\s*(?P<of>\d+))?"
    rf"(?:(?=[ \t(]*(?:(?:for|in|of|points?)\s+)?(?P<after>{_LABEL})))?",
    re.I,
)
_HEADING = re.compile(rf"({_LABEL})(?:[^\w\n.!?;。]|\b(?:and|then)\b|[和与度值]){{0,16}}+({_LABEL})", re.I)
_COLUMN = re.compile(_LABEL, re.I)
_RATED = re.compile(rf"\W*+(?:\d|{_LABEL})", re.I)
_TWO_NUMBERS = re.compile(r"\d\D++\d")

_PIECE = re.compile(  # a letter with all its accents is in one; to sort a thousand of them would take their square
    r"[\x00-\x7f]*+[^\x00-\x7f]{0,64}+[^\w\x00-\x7f]{0,64}+"
)
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
    first = re.escape("".join(sorted({written[k][0] for k in longest})))  # hardly any sign begins a name: quick to see
    pattern = "|".join(f"({_bounded(written[k])})" for k in longest)
    small = frozenset(k for k, w in written.items() if w.islower())
    guarded = f"(?=[{first}])(?:{pattern})" if longest else r"(?!)"
    return Spelling(re.compile(guarded, re.I), {k: means[k] for k in longest}, small)


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


def parse(
    phase: str, text: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...], speaker: str = ""
) -> Move | Illegal:
    """Understand a reply by `speaker` to one phase's prompt, or say why not."""
    text = _composed(text[:MAX_REPLY])[:MAX_REPLY]  # one sign may be composed of three
    plain = normalise(text)
    if not _WORD.search(plain):
        return Illegal("empty")
    if phase in ("intro", "answer", "summary"):
        return Move(phase, _spoken(text, plain, names, speaker))
    if phase == "turn":
        return _turn(text, plain, names, allowed, places)
    return _rate(plain, names, allowed) if phase == "rate" else _vote(plain, names, allowed)


def _composed(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", piece) for piece in _PIECE.findall(text))


def _spoken(text: str, plain: str, names: Spelling, speaker: str) -> str:
    """The words themselves, without quotation marks around them or the speaker's own name before them."""
    prefix = _SPEAKER.match(plain)
    if prefix and speaker and names.means.get(_key(prefix[1])) == speaker and _WORD.search(plain, prefix.end()):
        text = text[prefix.end() :]
    text = text.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] + text[-1] in ('""', "“”", "''") else text


# --- turns -------------------------------------------------------------------------------------------


def _turn(text: str, plain: str, names: Spelling, allowed: tuple[str, ...], places: tuple[str, ...]) -> Move | Illegal:
    """One command; a place alone is one as well."""
    spots = place_spelling(places)
    if place := spots.means.get(_key(plain.strip(_STRIP))):
        return Move("search", place=place)
    found, sites = names.find(plain), spots.find(plain)
    verbs = _commands(plain, found, sites)
    people, others = _people(plain, names, found, verbs), list(_ANOTHER.finditer(plain) if verbs else ())
    moves, reasons = set(), []
    for v in verbs:
        is_search = v["search"]
        outcome = _search(plain, v.end(), sites, others) if is_search else _ask(text, plain, v.end(), people, allowed)
        (moves.add if isinstance(outcome, Move) else reasons.append)(outcome)
        if len(moves) > 1:  # read no further: each question may be as long as its line
            return Illegal("form")
    return [*moves, *reasons, Illegal("form")][0]


def _commands(plain: str, *named: Sequence[Mention]) -> list[re.Match[str]]:
    """The verbs of the first form in which something is commanded, and not denied."""
    for form in _COMMANDS:
        verbs = list(form.finditer(plain))
        if meant := list(compress(verbs, _are_meant(plain, verbs, *named))):
            return meant
    return []


def _search(plain: str, start: int, sites: Sequence[Mention], others: Sequence[re.Match[str]]) -> Move | Illegal:
    site = _named(plain, start, sites)
    if not site:
        return Illegal("place")
    touching = _ANOTHER.match(plain[site.end : site.end + _LONGEST_GAP])  # "书房and ask"
    k = bisect_left(others, site.end, key=re.Match.start)
    following = [touching] if touching else others[k : k + 1]
    return Illegal("form") if following and not following[0]["end"] else Move("search", place=site.who)


def _ask(text: str, plain: str, start: int, people: Sequence[Mention], allowed: tuple[str, ...]) -> Move | Illegal:
    person = _named(plain, start, people)
    if not person or person.who not in allowed:
        return Illegal("name")
    end = _QUESTION.match(plain, person.end).end()
    if not _WORD.search(plain, person.end, end):
        return Illegal("question")
    return Move("ask", text[person.end : end].lstrip(_STRIP).rstrip(_EDGE), target=person.who)


# --- votes -------------------------------------------------------------------------------------------


def _vote(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    found, verbs = names.find(plain), list(_VOTES.finditer(plain))
    people, meant = _people(plain, names, found, verbs), _are_meant(plain, verbs, found)
    named = [_named(plain, v.end(), people) for v in verbs]
    chosen = {m.who for m in compress(named, meant) if m} if verbs else _accused(plain, people)
    denied = {m.who for m, is_meant in zip(named, meant, strict=True) if m and not is_meant}
    return Move("vote", target=chosen.pop()) if len(chosen) == 1 and chosen <= {*allowed} - denied else Illegal("name")


def _accused(plain: str, people: Sequence[Mention]) -> set[str]:
    """Whom a reply without a verb names; nobody if a sentence that names somebody denies or clears anything."""
    if no := _negations(_CLEARING, plain, len(plain), people):
        ends = [m.start() for m in _SENTENCE_END.finditer(plain)]
        denying = {bisect_left(ends, at) for at in no}
        if any(bisect_left(ends, m.start) in denying for m in people):
            return set()
    return {m.who for m in people}


# --- who is meant, and whether it is ----------------------------------------------------------------


def _named(plain: str, start: int, mentions: Sequence[Mention]) -> Mention | None:
    """Whoever is named right after `start`, filling words apart; nobody if that is one of two, or taken back."""
    k = bisect_left(mentions, start, key=_START)
    if k == len(mentions) or mentions[k].start > start + _LONGEST_GAP:
        return None
    if not _GAP.fullmatch(plain, start, mentions[k].start):
        return None
    first, *others = mentions[k : k + 3]
    if others and others[0].who == first.who and not plain[first.end : others[0].start].strip(" ."):
        first = first._replace(end=others.pop(0).end)  # first and last name
    joint = bool(others) and others[0].who != first.who and _JOINT.fullmatch(plain, first.end, others[0].start)
    return None if joint or _TAKEN_BACK.match(plain, first.end) else first


def _people(plain: str, names: Spelling, found: list[Mention], verbs: Sequence[re.Match[str]]) -> list[Mention]:
    """Leave out words that may be no names, unless a verb calls for a name and one of them stands right there."""
    sure = _sure(plain, names, found)
    if len(sure) == len(found):
        return found
    called = {m.start for v in verbs if (m := _named(plain, v.end(), found))}
    return sure if called <= {m.start for m in sure} else found


def _sure(plain: str, names: Spelling, found: list[Mention]) -> list[Mention]:
    """Leave out single words that are not spelt like names: Grace May is not in "it may be"."""
    one_case = plain.islower() or plain.isupper()
    if one_case and len(plain.split()) <= _SHORT:
        return found
    return [m for m in found if _is_sure(plain[m.start : m.end], names, one_case)]


def _is_sure(word: str, names: Spelling, one_case: bool) -> bool:
    """Whether a spelling is a name by its looks; where all letters are of one case, case says nothing."""
    if len(word.split()) > 1 or word.casefold() in names.small:
        return True
    return not word[0].islower() and not (one_case and word[0].isupper())


def _are_meant(plain: str, verbs: Sequence[re.Match[str]], *named: Sequence[Mention]) -> list[bool]:
    """Tell of each verb whether no negation holds for it."""
    starts = [v.start(v.lastgroup) for v in verbs]
    no = _negations(_NEGATION, plain, starts[-1], *named) if verbs else []
    cuts = [m.start() for m in _CUT.finditer(plain)] if no else []
    return [not _is_denied(at, no, cuts) for at in starts]


def _is_denied(at: int, no: Sequence[int], cuts: Sequence[int]) -> bool:
    """Whether no cut lies between the last negation before a place and that place."""
    k = bisect_left(no, at)
    return k > 0 and bisect_left(cuts, no[k - 1]) == bisect_left(cuts, at)


def _negations(pattern: re.Pattern[str], plain: str, end: int, *named: Sequence[Mention]) -> list[int]:
    """Where something is denied; what belongs to a name (Doctor No) denies nothing."""
    found = [m.start() for m in pattern.finditer(plain, 0, end)]
    return [at for at in found if not any(_is_inside(at, mentions) for mentions in named)]


def _is_inside(at: int, mentions: Sequence[Mention]) -> bool:
    k = bisect_right(mentions, at, key=_START)
    return k > 0 and at < mentions[k - 1].end


# --- ratings -----------------------------------------------------------------------------------------


def _rate(plain: str, names: Spelling, allowed: tuple[str, ...]) -> Move | Illegal:
    """Two numbers after each name; whoever gets two ratings that differ gets none."""
    plain = _SCALE.sub(" ", _LISTED.sub("", plain))
    found = _rated(plain, names)
    ends = [*(m.start for m in found), len(plain)][1:]
    said = [(m, plain[m.end : end]) for m, end in zip(found, ends, strict=True) if m.who in allowed]
    trust_first = _is_trust_column_first(plain[: next((m.start for m, text in said if _TWO_NUMBERS.search(text)), 0)])
    ratings: dict[str, tuple[int, int]] = {}
    for m, text in said:
        if (pair := _pair(text, trust_first)) is not None and ratings.setdefault(m.who, pair) != pair:
            return Illegal("rating")
    return Move("rate", ratings={n: ratings[n] for n in allowed}) if set(allowed) <= set(ratings) else Illegal("rating")


def _rated(plain: str, names: Spelling) -> list[Mention]:
    """The names that ratings may follow; a word in small letters is one if its rating stands right behind it."""
    found = names.find(plain)
    if plain.islower() or plain.isupper():
        return found
    sure = set(_sure(plain, names, found))
    return [m for m in found if m in sure or _RATED.match(plain, m.end)]


def _pair(text: str, trust_first: bool) -> tuple[int, int] | None:
    """Read suspicion and trust, 0..2 each; "1/2" may mean 1 of 2."""
    found = list(_NUMBER.finditer(text))
    numbers = [m["n"] if m["of"] in (None, "2") else "" for m in found]
    if len(found) == 1:
        numbers = [found[0]["n"], found[0]["of"]]
    if len(numbers) != 2 or not set(numbers) <= {"0", "1", "2"}:
        return None
    order = _order(text, found, trust_first)
    first, second = map(int, numbers)
    return None if order is None else (second, first) if order else (first, second)


def _order(text: str, found: Sequence[re.Match[str]], trust_first: bool) -> bool | None:
    """Whether trust comes first: by the numbers' labels, else by a heading; None if that leaves a doubt."""
    if not _COLUMN.search(text):
        return trust_first
    for side in ("before", "after"):
        labels = [_is_trust(m[side]) for m in found]
        if set(labels) == {True, False}:
            return labels[0]
    if (heading := _heading(text[: found[0].start("n")])) is not None:
        return heading
    labels = [_is_trust(m["before"]) for m in found]
    fits = all(x in (None, y) for x, y in zip(labels, (trust_first, not trust_first), strict=False))
    return trust_first if fits and (len(found) == 2 or labels == [None]) else None


def _is_trust(label: str | None) -> bool | None:
    return None if label is None else bool(_TRUST.match(label))


def _heading(text: str) -> bool | None:
    """Whether two labels side by side put trust first ("trust/suspicion: 0/2")."""
    labels = next((m for m in _HEADING.finditer(text) if _is_trust(m[1]) != _is_trust(m[2])), None)
    return None if labels is None else _is_trust(labels[1])


def _is_trust_column_first(head: str) -> bool:
    """Whether what stands before the first rating orders the numbers so: a table's header, else a heading."""
    lines = [line for line in reversed(head.split("\n")) if _COLUMN.search(line)]
    tables = [[_is_trust(m[0]) for m in _COLUMN.finditer(line)] for line in lines if "|" in line]
    headings = [_heading(line) for line in lines]
    orders = [labels[0] for labels in tables if len(set(labels)) == 2] + [h for h in headings if h is not None]
    return bool(orders) and orders[0]
