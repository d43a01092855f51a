"""Laws of understanding: what must be understood, what must be refused, and what nobody's words may contain."""

import time
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from worlds import worlds

from maro_lib.strict_yaml import StrictLoader
from maro_lib.world import replies
from maro_lib.world.phrases import phrasebook
from maro_lib.world.replies import Illegal, Move, clean, name_spelling, parse
from maro_lib.world.scripts import parse_script

# Ann is asked; "the cellar" exists but is no longer on offer.
PEOPLE = (("Ann Lee", ()), ("Dr. Ben Ash", ("the butler",)), ("Iris Strauß", ()), ("Lady Dot of the Lake", ()))
ALLOWED = tuple(name for name, _ in PEOPLE[1:])
BEN, IRIS, DOT = ALLOWED
PLACES = ("the Library", "Great Hall", "Hall", "Ben's room")
ZH_PEOPLE = ("安娜", "王明", "王明华", "Rose")
ZH_ALLOWED, ZH_PLACES = ZH_PEOPLE[1:], ("书房", "花园")


def names_of(people):
    sections = [{"story": "Nothing."}]
    characters = [
        {"name": n, "aliases": aliases, "faction": "civilian" if k else "culprit", "sections": sections}
        for k, (n, aliases) in enumerate(people)
    ]
    return name_spelling(parse_script({
        "title": "t", "cell": "SOC", "background": "b", "characters": characters,
        "clues": [{"id": "c", "place": "p", "text": "x"}], "truth": {"culprits": [people[0][0]], "text": "x"},
    }))  # fmt: skip


EN_NAMES, ZH_NAMES = names_of(PEOPLE), names_of([(n, ()) for n in ZH_PEOPLE])


def en(phase, text, places=PLACES):
    return parse(phase, text, EN_NAMES, ALLOWED, places, "Ann Lee")


def zh(phase, text, places=ZH_PLACES):
    return parse(phase, text, ZH_NAMES, ZH_ALLOWED, places, "安娜")


# --- what must be understood, and what refused --------------------------------------------------------


def read_replies():
    """Every reply of replies.yaml as (law, language, phase, what it comes to, text)."""
    laws = yaml.load(Path(__file__).with_name("replies.yaml").read_text(encoding="utf-8"), StrictLoader)
    for law, entries in laws.items():
        for entry in entries:
            outcome = Move(**entry["move"]) if "move" in entry else Illegal(entry["reason"])
            if isinstance(outcome, Move) and outcome.ratings:
                outcome = outcome._replace(ratings={n: tuple(pair) for n, pair in outcome.ratings.items()})
            for text in entry["replies"]:
                yield law, entry.get("language", "en"), entry["phase"], outcome, text


REPLIES = list(read_replies())


@pytest.mark.parametrize(("law", "language", "phase", "outcome", "text"), REPLIES, ids=lambda x: str(x)[:60])
def test_a_reply_is_understood_or_refused(law, language, phase, outcome, text):
    assert {"en": en, "zh": zh}[language](phase, text) == outcome, law


def test_endless_numbers_are_no_rating():
    assert en("rate", f"Ben: {'9' * 5000}, 1\nIris: 1, 1\nDot: 0, 2") == Illegal("rating")


def test_a_place_that_is_no_longer_offered_is_refused():
    assert en("turn", "SEARCH Great Hall", places=("the Library",)) == Illegal("place")
    assert en("turn", "Great Hall", places=("the Library",)) == Illegal("form")
    assert en("turn", "SEARCH the Library", places=()) == Illegal("place")


# --- whatever is written -----------------------------------------------------------------------------

WORDS = [
    "ASK", "ask", "SEARCH", "vote", "VOTE", "and", "询问", "调查", "投票", "怀疑", "suspicion", "trust", "Ben", "Iris",
    "İris", "ırıs", "Iris ſtrauſs", "Ann Lee", "the Library", "Hall", "Dot", "王明", "王明华", "Rose", "书房", "-1",
    "0", "2", "1/2", "3", "٢", "²", "½", ":", "：", "\n", "\u2028", "\x85", '"', "”", "【", "】", "*", "\u202e",
    "\u200b", "\ud800", "\x00",
]  # fmt: skip
ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=24).map(" ".join),
)
PHASES = st.sampled_from(["intro", "turn", "answer", "rate", "vote"])


def is_allowed(move, phase, allowed, places):
    """Whether a move is one that this phase's prompt offers; written without the parser."""
    if phase in ("intro", "answer"):
        return move.kind == phase and bool(clean(move.text, 10**6)[0])
    if phase == "rate":
        fits = all(s in (0, 1, 2) and b in (0, 1, 2) for s, b in move.ratings.values())
        return move.kind == "rate" and tuple(move.ratings) == allowed and fits
    if phase == "vote":
        return move.kind == "vote" and move.target in allowed
    if move.kind == "search":
        return move.place in places and not move.target
    return move.kind == "ask" and move.target in allowed and bool(clean(move.text, 10**6)[0])


@settings(max_examples=300, deadline=None)
@given(PHASES, ANY_TEXT, st.sampled_from([en, zh]), st.integers(0, 4))
@example("vote", "VOTE İris", en, 2)
@example("turn", "ASK ırıs: why?", en, 2)
@example("vote", "Iriſ", en, 2)
def test_any_text_is_either_allowed_or_refused(phase, text, understand, n_places):
    people, places = (ALLOWED, PLACES) if understand is en else (ZH_ALLOWED, ZH_PLACES)
    found = understand(phase, text, places[:n_places])
    if isinstance(found, Move):
        assert is_allowed(found, phase, people, places[:n_places])
    else:
        assert all(found.reason in phrasebook(language, "prose").reasons for language in ("en", "zh"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_written_by_the_phrasebook_is_read_back(data):
    script = data.draw(st.sampled_from(list(worlds().values())), label="script")
    book = phrasebook(script.language, script.register_)
    allowed = script.names[1:]
    name = data.draw(st.sampled_from(allowed))
    place = data.draw(st.sampled_from(script.places))
    numbers = st.tuples(st.integers(0, 2), st.integers(0, 2))
    ratings = {n: data.draw(numbers) for n in allowed}
    words = data.draw(st.sampled_from([book.question, book.suspect.format(name=name), book.no_idea, "Why me?"]))
    written = {
        Move("ask", words, target=name): ("turn", book.ask.format(name=name, text=words)),
        Move("search", place=place): ("turn", book.search.format(place=place)),
        Move("vote", target=name): ("vote", book.voted.format(name=name)),
        Move("intro", words): ("intro", words),
        Move("answer", words): ("answer", words),
    }
    spelling = name_spelling(script)
    for move, (phase, text) in written.items():
        assert parse(phase, text, spelling, allowed, script.places) == move
    assert parse("rate", book.rate_all(ratings), spelling, allowed, script.places) == Move("rate", ratings=ratings)


# --- of any length ------------------------------------------------------------------------------------

ENDLESS = [
    "\n", "!\n", "ASK ", "vote, ", "1. ", "search the ", "Ben ", "Ben Ash ", "a: ", "vote the Ben ", "ASK Ben: ",
    "王明", "not Ben ", "not vote, I vote ", "ben not, ", "vote mr. mr ", "ASK Ben\n\n", "trust", "trust suspicion | ",
    "Ben trust 1 ", "不投王明", "VOTE Ben", "VOTE Ben????", "?", " ", "**", "ASK Ben: x ", "ASK Ben: why?\n",
    "SEARCH Hall ", "SEARCH Hall, and ", "question ", "i  ", "rather  ", "no,  ", "0 ", "0-2\n", "1/2", "9", "Ben 1 1 ",
    "询问", "询问王明：吗？", "\"", "a\u0323\u0301", "\u0323\u0301", "\u0f73", "\ufb2c", "\u1100", "\ud800", "\u200b",
]  # fmt: skip
FOR_EVER = st.lists(st.sampled_from([*ENDLESS, *WORDS]) | st.text(min_size=1, max_size=4), min_size=1, max_size=4).map(
    "".join
)


def seconds(phase, text):
    started = time.process_time()
    (en if text.isascii() else zh)(phase, text)
    return time.process_time() - started


def test_of_an_endless_reply_the_beginning_is_read():
    n = replies.MAX_REPLY
    assert en("vote", "\n" * (n - 3) + "Ben and Iris") == Move("vote", target=BEN)
    assert en("vote", "\n" * n + "Ben") == Illegal("empty")
    assert en("intro", "a" * (n + 1)) == Move("intro", "a" * n)
    assert len(zh("intro", "\ufb2c" * n).text) == n, "also when each sign is composed of three"


@pytest.mark.parametrize("unit", ENDLESS)
@pytest.mark.parametrize("before", ["", "a", "VOTE Ben"])
def test_without_a_bound_time_is_in_proportion_to_length(unit, before, monkeypatch):
    monkeypatch.setattr(replies, "MAX_REPLY", 10**9)
    for phase in ("intro", "turn", "rate", "vote"):
        short, long = (before + unit * (n // len(unit)) + "Ben a" for n in (5_000, 20_000))
        ratios = (seconds(phase, long) / seconds(phase, short) for _ in range(4))
        assert any(ratio < 7 for ratio in ratios), f"{phase}: four times the length takes four times as long, not 16"


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(FOR_EVER, FOR_EVER, st.sampled_from([0, 1, 100]))
@example("?", "VOTE Ben", 1)
@example("不投王明", "", 0)
def test_a_reply_of_any_length_takes_as_long_as_the_longest_that_is_read(unit, before, times):
    """That is four milliseconds at most where this was written (a vote of 4,000 signs in Chinese), thirty anywhere."""
    text = before * times + unit * (1_000_000 // len(unit))
    longest = text[: replies.MAX_REPLY]
    for phase in ("intro", "turn", "answer", "rate", "vote", "summary"):
        assert any(seconds(phase, text) < min(0.03, 2 * seconds(phase, longest) + 0.001) for _ in range(4)), phase


# --- names -------------------------------------------------------------------------------------------


def test_a_part_of_a_name_that_two_people_share_means_nobody():
    names = names_of((("Ann Ash", ()), ("Ben Ash", ()), ("Cal", ("Ben",))))
    assert [m.who for m in names.find("Ash, Ann, Ben, Ben Ash, Cal")] == ["Ann Ash", "Cal", "Ben Ash", "Cal"]


ODD_PEOPLE = names_of((("Grace May", ()), ("Security Wei", ("watchman",)), ("Doctor No", ())))


@pytest.mark.parametrize(("text", "who"), [
    ("It may well be her.", None),
    ("The security was lax.", None),
    ("IT MAY WELL BE HER.", None),
    ("May", "Grace May"),
    ("may", "Grace May"),
    ("MAY", "Grace May"),
    ("it was may", "Grace May"),
    ("vote may", "Grace May"),
    ("I may be wrong, but I vote for may.", "Grace May"),
    ("It may well be Security.", "Security Wei"),
    ("I think it was the watchman.", "Security Wei"),
    ("I think it was grace may.", "Grace May"),
    ("It was Doctor No.", "Doctor No"),
    ("Doctor No told me to vote for May.", "Grace May"),
])  # fmt: skip
def test_an_ordinary_word_is_no_name(text, who):
    found = parse("vote", text, ODD_PEOPLE, ("Grace May", "Security Wei", "Doctor No"), ())
    assert found == (Move("vote", target=who) if who else Illegal("name"))


def test_an_ordinary_word_takes_no_part_in_a_question_or_a_rating():
    allowed = ("Grace May", "Security Wei")
    asked = parse("turn", "ASK Security, may I know where you were?", ODD_PEOPLE, allowed, ())
    assert asked == Move("ask", "may I know where you were?", target="Security Wei")
    rated = parse("rate", "Security may be lying: suspicion 2, trust 0\nmay: 1, 1", ODD_PEOPLE, allowed, ())
    assert rated == Move("rate", ratings={"Grace May": (1, 1), "Security Wei": (2, 0)})


def test_titles_initials_and_small_words_are_no_names():
    names = names_of((("Lady Dot of the Lake", ()), ("Dr. J. Ash", ()), ("Jan van Berg", ())))
    assert names.find("the lady of the house, Dr. van J.") == []
    assert [m.who for m in names.find("the lake, ash and berg")] == [
        "Lady Dot of the Lake",
        "Dr. J. Ash",
        "Jan van Berg",
    ]


def test_names_are_found_as_whole_words_only():
    names = names_of((("Ann", ()), ("José", ()), ("王明", ())))
    assert names.find("Anna, Joann and Joséphine") == []
    assert [m.who for m in names.find("问Ann和José，小王明说")] == ["Ann", "José", "王明"]


# --- one harmless line -------------------------------------------------------------------------------

HARMFUL = (
    "a\nb\r\nc\vd\fe\x1cf\x1dg\x1eh\x85i\u2028j\u2029k\x00l\x1bm\u202en\u2066o\u200bp\ufeffq\u00adr\u034fs\u3164t\ufe0fu"
    "\U000e0041v\U000e0100w\ud800x"
)
DOUBLE_QUOTES = '"“”„‟«»「」『』＂〝〞〟❝❞⹂″‶ʺˮ״🙶🙷🙸'


def test_everything_harmful_becomes_a_blank():
    assert clean(HARMFUL, 1000) == (" ".join("abcdefghijklmnopqrstuvwx"), False)


def test_every_double_quotation_mark_becomes_a_single_one():
    assert clean(DOUBLE_QUOTES, 1000) == ("'" * len(DOUBLE_QUOTES), False)


@settings(max_examples=300, deadline=None)
@given(st.one_of(ANY_TEXT, st.text(st.sampled_from(HARMFUL + DOUBLE_QUOTES + " ab"))), st.integers(20, 60))
def test_clean_text_is_one_visible_line_without_double_quotation_marks(text, limit):
    line, cut = clean(text, limit)
    assert len(line.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
    assert not set(line) & {*DOUBLE_QUOTES, "\u034f", "\u3164", "\ufe0f", "\U000e0100"}
    assert line == line.strip()
    assert "  " not in line
    assert clean(line, limit)[0] == line, "cleaning twice changes nothing"
    assert len(line) <= limit + len(" […]")
    assert cut == line.endswith(" […]") or "[…]" in text


def test_what_is_too_long_is_cut_and_reported():
    assert clean("a" * 20, 20) == ("a" * 20, False)
    assert clean("a" * 21, 20) == ("a" * 20 + " […]", True)
    assert clean("a" * 19 + " bc", 20) == ("a" * 19 + " […]", True)
    assert clean("a" * 20 + "\n \u200b ", 20) == ("a" * 20, False), "what is not seen is not counted"
