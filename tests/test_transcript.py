"""What a game looks like: safe whatever a model says, the same every time, and no secret outside its fold."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from maro_lib.markup import Html, prose, tag
from maro_lib.play.policies import SKILLED, Reply
from maro_lib.play.rollout import play, schedule
from maro_lib.show import looks, transcript
from maro_lib.show.casefile import show_script
from maro_lib.show.transcript import show_game, show_view, side_by_side
from maro_lib.world.mystery import Rules
from maro_lib.world.protocol import Message
from maro_lib.world.scripts import parse_script

TAGS = {"div", "span", "bdi", "b", "details", "summary", "table", "tr", "th", "td", "wbr"}
ATTRIBUTES = {"style", "class", "dir", "lang", "open", "colspan"}
NASTY = (
    "</details><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    r"$\href{javascript:alert(1)}{x}$ and \(y\) and $$z$$",
    "' style='position:fixed' <style>*{display:none}</style>",
    "<!-- <a href=javascript:alert(1)>x</a> ]]>",
)


class Reader:
    """A page as strict XML: elements, attributes, the text of each block, and what stands in which closed fold."""

    def __init__(self, html: str):
        assert "<!--" not in html
        whole = html.replace("<wbr>", "<wbr/>").replace("<details open", '<details open=""')
        self.elements = list(ElementTree.fromstring(whole).iter())
        self.blocks = [text_of(e) for e in self.elements if e.get("dir") == "auto"]
        self.cells = [text_of(e) for e in self.elements if e.tag in ("td", "th")]
        self.folds = [text_of(e) for e in self.elements if e.tag == "details" and e.get("open") is None]

    @property
    def attributes(self) -> list[tuple[str, str]]:
        return [pair for e in self.elements for pair in e.items()]


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


class Acting:
    """Plays with skill, but says what it is given for a phase, or for one player's phase, on the first try."""

    def __init__(self, given: dict, name: str = "acting"):
        self.given, self.name = given, name

    def act(self, requests):
        return [Reply(self._given(r)) if self._given(r) is not None else SKILLED.act([r])[0] for r in requests]

    def _given(self, request):
        phase, me = request.prompt.phase, request.brief.me.name
        return None if request.prompt.retry else self.given.get((phase, me), self.given.get(phase))


def saying(text: str) -> Acting:
    """Say one thing at every introduction and answer; Bo asks it, too."""
    return Acting({"intro": text, "answer": text, ("turn", "Bo"): f"ASK Di: {text}"}, name=text)


def make_script(**changes):
    people = {"Ada Grey": "civilian", "Bo": "culprit", "Cy": "civilian", "Di": "civilian"}
    told = {"Ada Grey": "Ada's own secret.", "Bo": "Bo did it.", "Cy": "", "Di": ""}
    data = {
        "title": "The Cold Tea", "cell": "SOC", "background": "Mr Lamb is dead.",
        "given": [{"who": "culprit", "trait": "had", "value": "tea"}], "unique": ["had"],
        "characters": [{"name": n, "faction": f, "sections": [{"story": told[n]}]} for n, f in people.items()],
        "clues": [
            {"id": "c0", "place": "barn", "text": "A torn glove lies there.", "private_to": "Cy"},
            {"id": "c1", "place": "mill", "text": "Bo had the tea.",
             "facts": [{"who": "Bo", "trait": "had", "value": "tea"}]},
        ],
        "endings": [{"when": "always", "text": "The kettle whistles at last."}],
        "truth": {"culprits": ["Bo"], "text": "Bo put it into the tea."},
    }  # fmt: skip
    return parse_script(data | changes)


def played(policy=SKILLED, script=None, rounds=1, corrections=1):
    script = script or make_script()
    return play(schedule([script], 2, 3, Rules(rounds=rounds, corrections=corrections)), policy), script


def credit_of(tables, values):
    actions = tables.table("actions")
    return pd.Series((values * len(actions))[: len(actions)], actions.index)


def everything(policy, script=None):
    """Show a game in every way there is."""
    tables, script = played(policy, script)
    actions = tables.table("actions")
    credit = credit_of(tables, [1.0, -0.5, 0.0])
    first = actions[actions["game"] == "g000000"]
    view = tables.table("dialogues")["messages"].iloc[0]
    return (
        show_game(tables, "g000000", script=script, credit=credit, views=True),
        show_game(tables, "g000000"),
        show_view(view, title=policy.name),
        side_by_side(first, {policy.name: credit}, script=script),
    )


# --- safety ------------------------------------------------------------------------------------------


def assert_harmless(html: str) -> None:
    page = Reader(html)
    assert {e.tag for e in page.elements} <= TAGS
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert not [v for n, v in page.attributes if n != "style" and v and "alert" in v]


@pytest.mark.parametrize("text", NASTY)
def test_no_reply_becomes_markup(text):
    for shown in everything(saying(text)):
        assert_harmless(shown.html)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_a_script_becomes_markup(text):
    clues = [{"id": text, "place": text, "text": text}, {"id": "m", "text": text, "private_to": "Bo", "trigger": text}]
    sections = [{"story": text, "ability": text}]
    script = make_script(
        title=text, background=text, rules=[{"text": text}], clues=clues, endings=[{"when": "always", "text": text}],
        characters=[{"name": n, "faction": "culprit" if n == "Bo" else "civilian", "role": text, "sections": sections,
                     "goals": [{"text": text}]} for n in ("Ada", "Bo", "Cy")],
        truth={"culprits": ["Bo"], "text": text},
    )  # fmt: skip
    for shown in (show_script(script, reveal=True), show_script(script), *everything(SKILLED, script)):
        assert_harmless(shown.html)


@pytest.mark.parametrize("text", NASTY)
def test_a_reply_reads_as_it_was_said(text):
    tables, _ = played(saying(text))
    said = Reader(show_game(tables, "g000000").html).blocks
    assert said.count(text) >= 4 + 1  # introductions, and at least Di's answer
    assert said.count(f"ASK Di: {text}") == 1  # as given: without the script nobody knows where a question begins


def test_invisible_signs_and_overrides_are_blanks():
    tables, script = played(saying("abc\u202edcba\u2066\u200bx\x1b[31m"))
    html = show_game(tables, "g000000", script=script, views=True).html
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\x1b]", html)
    assert "abc dcba  x [31m" in Reader(html).blocks


def test_formulas_are_left_alone():
    """MathJax skips what stands in these classes: version 2 in nbconvert, version 3 in JupyterLab."""
    for shown in everything(saying("$x$")):
        assert shown.html.startswith('<div class="tex2jax_ignore mathjax_ignore"')


def test_every_style_survives_an_untrusted_notebook():
    """JupyterLab's sanitizer keeps these properties with these values; it drops all others, and all urls."""
    kept = {
        "background", "border", "border-collapse", "border-left", "border-radius", "border-top", "color", "cursor",
        "display", "flex", "font-family", "font-size", "font-weight", "height", "line-height", "margin",
        "margin-bottom", "margin-left", "margin-right", "margin-top", "max-width", "min-width", "opacity", "overflow",
        "overflow-wrap", "padding", "padding-left", "padding-top", "table-layout", "text-align", "vertical-align",
        "white-space", "width", "overflow-x",
    }  # fmt: skip
    words = {"overflow-wrap": {"break-word"}, "text-align": {"left", "center"}, "white-space": {"pre-wrap", "nowrap"}}
    for shown in (*everything(SKILLED), show_script(make_script(), reveal=True)):
        for style in (v for n, v in Reader(shown.html).attributes if n == "style"):
            for name, value in (part.split(":") for part in style.split(";") if part):
                assert name in kept, f"JupyterLab drops {name}"
                assert re.fullmatch(r"([#\w\s.,%-]|rgba?\([\d.,]+\))+", value)
                assert value in words.get(name, {value})


def test_a_long_reply_is_folded_and_bounded():
    page = Reader(prose("word " * 40_000, limit=600))
    assert len(page.blocks[0]) <= 600
    assert "characters are left out" in page.folds[0]
    assert len(page.folds[0]) < 51_000
    assert Reader(prose("word " * 100, limit=600)).folds == []


def test_plain_text_is_escaped_and_markup_is_not():
    assert tag("i", "\ud800\r\n") == "<i> \n</i>"
    assert tag("b", "<i>", Html("<i></i>"), lang='"') == '<b lang="&quot;">&lt;i&gt;<i></i></b>'


# --- a game ------------------------------------------------------------------------------------------


def test_same_game_same_bytes():
    assert [s.html for s in everything(SKILLED)] == [s.html for s in everything(SKILLED)]


def test_the_plain_text_is_one_line_that_names_the_game():
    tables, _ = played()
    assert repr(show_game(tables, "g000001")) == (
        "Game g000001: The Cold Tea (SOC), 18 actions; the civilians won; accused: Bo"
    )


def test_a_page_says_its_encoding_and_holds_the_view():
    tables, _ = played()
    shown = show_game(tables, "g000000")
    assert shown.page().startswith('<!DOCTYPE html>\n<html><head><meta charset="utf-8"><meta name="color-scheme"')
    assert shown.html in shown.page()


def test_a_private_find_is_told_in_its_finders_fold_alone():
    tables, script = played(Acting({("turn", "Cy"): "SEARCH barn"}))
    page = Reader(show_game(tables, "g000000", script=script).html)
    assert [f for f in page.folds if "torn glove" in f] == ["🔒 private: only Cy knows whatA torn glove lies there."]
    assert show_game(tables, "g000000", script=script).html.count("torn glove") == 1
    assert "torn glove" not in show_game(tables, "g000000").html


def test_without_reveal_nothing_says_who_did_it():
    tables, script = played()
    hidden = show_game(tables, "g000000", script=script, reveal=False)
    for word in ("culprit", "civilian", "guilty", "won", "reached", "kettle"):
        assert word not in hidden.html + repr(hidden), word
        assert word in show_game(tables, "g000000", script=script).html, word


def test_votes_stand_beside_their_voters():
    votes = {"Ada Grey": "Bo", "Bo": "Cy", "Cy": "Bo", "Di": "Cy"}
    tables, _ = played(Acting({("vote", n): f"VOTE {v}" for n, v in votes.items()}))
    cells = Reader(show_game(tables, "g000000").html).cells
    assert cells[6:12] == ["Ada Grey", "civilian", "acting", "Bo", "", "missed"]
    assert cells[12:18] == ["Bo", "culprit", "acting", "Cy", "2", "reached"]
    assert "Accused: nobody (a tie, or no votes)." in show_game(tables, "g000000").html


def test_illegal_replies_and_second_tries_are_marked():
    tables, _ = played(Acting({("intro", "Bo"): "", ("vote", "Cy"): "nobody <b>"}))
    html = show_game(tables, "g000000").html
    assert html.count("illegal reply: asked again") == 2
    assert html.count("second try") == 2
    assert "(no text)" in html
    assert "nobody &lt;b&gt;" in html
    lost = show_game(played(Acting({("intro", "Bo"): ""}), corrections=0)[0], "g000000").html
    assert lost.count("illegal reply: the turn is lost") == 1
    assert "asked again" not in lost
    silent = show_game(played(Acting({"answer": ""}), rounds=3, corrections=0)[0], "g000000").html
    assert silent.count("illegal reply: the turn is lost") >= 3  # also where who did not answer is the next to act
    assert "asked again" not in silent


def test_ratings_stand_in_a_table():
    given = "Bo: suspicion 2, trust 0\nCy: suspicion 1, trust 1\nDi: suspicion 0, trust 2"
    tables, _ = played(Acting({("rate", "Ada Grey"): given}))
    cells = Reader(show_game(tables, "g000000").html).cells
    ada = cells.index("Ada Grey ")
    assert cells[ada : ada + 9] == ["Ada Grey ", "", "2", "1", "0", "", "0", "1", "2"]


def test_a_question_is_shown_as_the_others_heard_it():
    tables, script = played(Acting({("turn", "Bo"): "I will **ASK** Di: who are you?"}))
    assert "who are you?" in Reader(show_game(tables, "g000000", script=script).html).blocks


def test_credit_is_shown_with_sign_and_colour():
    tables, script = played()
    credit = credit_of(tables, [1.0, -0.5, 0.0, None])
    page = show_game(tables, "g000000", script=script, credit=credit).html
    full, half, none = (looks.wash(*x) for x in ((looks.PRAISE, 1), (looks.BLAME, 0.5), (looks.BLAME, 0)))
    margin = r'<div style="width:58px;[^"]*?;(background:[^"]+)?">([^<]*)</div>'
    assert set(re.findall(margin, page)) == {(full, "+1.00"), (half, "−0.50"), (none, "0"), ("", "")}
    assert "credit of an action" in page
    assert "credit of an action" not in show_game(tables, "g000000", script=script).html


def test_the_smallest_credit_keeps_its_digits():
    assert [transcript._signed(v) for v in (0.0, 0.004, -0.0001, 2.345, None, float("nan"))] == [
        "0", "+0.004", "−0.0001", "+2.35", "", "",
    ]  # fmt: skip


# --- colours, rules side by side, scripts ------------------------------------------------------------


def contrast(*colours: str) -> float:
    """The contrast of two colours, as WCAG has it."""
    parts = (np.array(to_rgb(colour)) for colour in colours)
    low, high = sorted(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
                       for c in parts)  # fmt: skip
    return (high + 0.05) / (low + 0.05)


def washed(colour: tuple[int, int, int], page: str, a: float = looks.STRONGEST) -> str:
    """The colour that a tint has on a page, at full strength unless said."""
    return to_hex(a * np.array(colour) / 255 + (1 - a) * np.array(to_rgb(page)))


def test_every_colour_can_be_read_in_a_light_and_in_a_dark_theme():
    assert len(set(looks.SEATS)) == 10
    for page, text in (("#ffffff", "#212121"), ("#111111", "#e0e0e0")):
        assert min(contrast(c, page) for c in looks.SEATS) > 3, "an edge is told from the page"
        for name in map(to_rgb, looks.SEATS):
            assert contrast(washed(255 * np.array(name), page, looks.OF_NAMES), text) > 4.5
        for full in (looks.PRAISE, looks.BLAME, looks.SUSPICION, looks.TRUST):
            assert contrast(washed(full, page), text) > 4.5


def test_no_theme_stripes_the_rows_under_a_tint():
    for shown in everything(SKILLED):
        assert "<tr>" not in shown.html


def test_the_legend_is_coloured_as_the_credits_are():
    tables, script = played()
    page = show_game(tables, "g000000", script=script, credit=credit_of(tables, [1.0, -0.5])).html
    legend = page[page.index("credit of an action") : page.index("blame to praise")]
    assert "opacity" not in legend.split("</span>", 1)[1].rsplit("<span", 1)[0]


def test_a_view_has_no_colours_that_a_theme_could_not_change():
    tables, script = played()
    page = show_game(tables, "g000000", script=script, credit=credit_of(tables, [1.0, -0.5]), views=True).html
    own = set(re.findall(r"[; \"]((?:background|color):#\w+)", page))
    assert own <= {"background:#5b3a5e", "color:#ffffff"}


def test_rules_stand_side_by_side_each_on_its_own_scale():
    tables, script = played()
    actions = tables.table("actions")
    first = actions[actions["game"] == "g000000"]
    columns = {"large": credit_of(tables, [40.0, -40.0]), "small_rule": credit_of(tables, [0.1, None])}
    page = side_by_side(first, columns, script=script)
    full = looks.wash(looks.PRAISE, 1)
    assert Reader(page.html).cells[:5] == ["round", "player", "action", "large", "small_rule"]
    assert page.html.count(full) == 9 + 9
    assert Reader(page.html).cells[5:15] == [
        "0", "Ada Grey", "says I am Ada Grey.", "+40.00", "+0.10", "0", "Bo", "says I am Bo. I suspect Ada Grey.",
        "−40.00", "",
    ]  # fmt: skip
    assert repr(page) == "Game g000000: 18 actions under 2 rules"


def test_a_rule_that_says_nothing_in_this_game_leaves_its_column_empty():
    tables, _ = played()
    actions = tables.table("actions")
    page = side_by_side(actions[actions["game"] == "g000000"], {"r": credit_of(tables, [None])})
    assert set(Reader(page.html).cells[7::4]) == {""}


def test_a_case_file_gives_nothing_away_before_reveal():
    script = make_script()
    closed, opened = show_script(script), show_script(script, reveal=True)
    for word in ("culprit", "civilian", "kettle", "torn glove", "put it into the tea"):
        assert word not in closed.html, word
        assert word in opened.html, word
    assert "🔒 private: only Ada Grey reads thisStoryAda's own secret." in Reader(closed.html).folds
    assert closed.html.count("own secret") == 1
    assert repr(closed) == "The Cold Tea (SOC, en): 4 characters, 2 clues"


def test_a_view_is_shown_from_the_game_and_from_the_table_alike():
    tables, _ = played()
    stored = tables.table("dialogues")["messages"].iloc[0]
    live = [Message(m["role"], m["content"]) for m in stored]
    assert show_view(live, "Ada").html == show_view(stored, "Ada").html
    assert repr(show_view(live, "Ada")) == f"Ada: {len(stored)} messages"


# --- what can't be shown -----------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_by_name():
    tables, script = played()
    actions = tables.table("actions")
    with pytest.raises(ValueError, match=r"game 'g9' is not among the 2 games .*g000000, g000001"):
        show_game(tables, "g9")
    with pytest.raises(ValueError, match="was played from 'The Cold Tea', not from this 'Another'"):
        show_game(tables, "g000000", script=make_script(title="Another"))
    with pytest.raises(ValueError, match="credit: no value for any of the 18 actions"):
        show_game(tables, "g000000", script=script, credit=pd.Series([1.0], index=[10_000]))
    with pytest.raises(ValueError, match="one game, but the actions given belong to 2"):
        side_by_side(actions, {})
