"""Judges: bounded, cached, counted, and worth believing: they rank good play above bad, whoever it is."""

import gc
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from dataclasses import dataclass, field, replace

import pandas as pd
import pytest
from servers import Server

from maro_lib.embedded.lessons import HOME
from maro_lib.measure import model_judge, published
from maro_lib.measure.comparison import NOT_JUDGED, compare_metrics, differing
from maro_lib.measure.gold import ABOVE_CHANCE, BY_CHANCE, Gold, accuracy, ask_pairs, books, gold
from maro_lib.measure.judgements import (
    ABILITIES,
    JUDGED_KINDS,
    ROLE_PLAY,
    SECTION,
    Case,
    Judge,
    Judgement,
    failures,
    judge_cases,
    judge_games,
)
from maro_lib.measure.judges import check_judge, limited, opposites, rename, seated, with_texts
from maro_lib.measure.metrics import overall, social
from maro_lib.measure.model_judge import Cache, ModelJudge, Wording, read_score, wording
from maro_lib.measure.rouge import rouge_l, words
from maro_lib.measure.rule_judge import RuleJudge, _rebuilt, _scores, guilty_shares, read_share
from maro_lib.model.players import Player
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Reply
from maro_lib.play.rollout import play, schedule
from maro_lib.runs import ROOT
from maro_lib.world.generator import generate, generate_many
from maro_lib.world.history import Factbook, Moment, moments, public_lines
from maro_lib.world.mystery import Rules
from maro_lib.world.phrases import WordsError, read_words
from maro_lib.world.scripts import Fact, bundled
from maro_lib.world.solver import clue_facts

PACKAGE = ROOT / "maro_lib"
SCRIPTS = generate_many(5, 31, HOME)
BY_DIGEST = {s.digest: s for s in SCRIPTS}


def games_of(policy, n=10, seed=2):
    played = play(schedule(SCRIPTS, n, seed, Rules(rounds=2)), policy)
    return played.table("games"), played.table("actions")


# --- Rouge-L -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reference", "language", "expected"),
    [("the cat sat", "the cat sat", "en", 1.0), ("The cat, sat!", "the cat sat", "en", 1.0),
     ("the cat", "the cat sat", "en", 4 / 5),  # P 2/2, R 2/3: F = 2 PR / (P + R)
     ("sat the cat", "the cat sat", "en", 2 / 3),  # the longest common subsequence is "the cat"
     ("a dog", "the cat sat", "en", 0.0), ("", "the cat sat", "en", 0.0), ("...", "the cat sat", "en", 0.0),
     ("我喜欢北京", "我喜欢北京", "zh", 1.0), ("我爱北京", "我喜欢北京", "zh", 2 / 3),
     ("他去了上海", "我喜欢北京", "zh", 0.0)],
)  # fmt: skip
def test_rouge_of_fixed_pairs(said, reference, language, expected):
    assert rouge_l(said, reference, language) == pytest.approx(expected)


def test_chinese_is_cut_into_words_not_signs():
    assert words("我喜欢北京。", "zh") == ["我", "喜欢", "北京"]
    assert rouge_l("喜北欢京", "喜欢北京", "zh") == 0.0, "the same signs are not the same words"
    (log := logging.getLogger("jieba")).setLevel("DEBUG")
    assert words("北京", "zh") == ["北京"]
    assert not log.isEnabledFor(logging.WARNING), "it tells of its dictionary, otherwise"


# --- the history that judges read --------------------------------------------------------------------


def test_public_lines_hold_what_all_heard_and_no_private_clue():
    games, actions = games_of(SKILLED, 2)
    first = actions[actions["order"] == 0]
    script = BY_DIGEST[games.set_index("order").loc[0, "digest"]]
    lines = public_lines(first, script)
    private = [c.text for c in script.clues if c.private_to]
    found = set(first["clue"].dropna()) - {""}
    for clue in script.clues:
        if clue.id in found and not clue.private_to:
            assert any(clue.text in line for line in lines)
    searched = [line for line in lines if "searches" in line]
    assert len(searched) == (first["kind"] == "search").sum()
    assert not any(text in line for line in searched for text in private)
    assert not any("suspicion" in line for line in lines), "ratings are private"


def test_a_clue_is_known_from_the_moment_it_is_found():
    games, actions = games_of(SKILLED, 1)
    script = BY_DIGEST[games["digest"][0]]
    clues, public = {c.id: c for c in script.clues}, list(script.given)
    for moment in moments(actions, script):
        assert list(moment.public) == public
        clue = clues.get(moment.action.clue)
        if clue and not clue.private_to:
            public += clue.facts


def test_claims_are_the_games_own_sentences_true_or_false():
    world = Factbook(SCRIPTS[0])
    me = SCRIPTS[0].characters[1]
    true = me.knows[0]
    other = next(
        f.value for c in SCRIPTS[0].characters for f in c.knows if f.trait == true.trait and f.value != true.value
    )
    lie = Fact(who=true.who, trait=true.trait, value=other)
    said = " ".join(world.book.fact.format(**f.model_dump()) for f in (true, lie))
    assert set(world.claims(f"Well. {said} So.")) == {true, lie}
    assert (world.is_true(true), world.is_true(lie)) == (True, False)
    assert world.is_true(Fact(who="Nobody", trait="had", value="gun")) is None
    assert world.accused(world.book.suspect.format(name=me.name)) == [me.name]


# --- the rule-based judge ----------------------------------------------------------------------------


def scores(policy, **more):
    games, actions = games_of(policy, **more)
    found = judge_games(RuleJudge(), games, actions, BY_DIGEST)
    civilian = actions.drop_duplicates(["order", "seat"])[["order", "seat", "faction"]]
    found = found.merge(civilian)
    return found[found["faction"] == "civilian"].groupby("kind")["score"].mean()


def test_skilled_players_rank_above_random_and_naive_ones():
    skilled, naive, rand = scores(SKILLED), scores(NAIVE), scores(RANDOM)
    for kind in (*ABILITIES, ROLE_PLAY, SECTION):
        assert skilled[kind] > max(naive[kind], rand[kind]), kind


def test_the_rule_based_judge_is_blind_to_names():
    for policy in (SKILLED, NAIVE):
        games, actions = games_of(policy, 5)
        names = sorted({n for s in SCRIPTS for n in s.names})
        other = dict(zip(names, names[1:] + names[:1], strict=True))
        one = judge_games(RuleJudge(), games, actions, BY_DIGEST)
        two = judge_games(RuleJudge(), *(rename(x, other) for x in (games, actions, BY_DIGEST)))
        assert (one["agent"] != two["agent"]).all()
        assert two["score"].tolist() == pytest.approx(one["score"].tolist())


def test_honest_players_rank_above_those_who_contradict_themselves():
    script = SCRIPTS[0]
    played = play(schedule([script], 12, 5, Rules(rounds=2)), RANDOM)
    games, actions = played.table("games"), played.table("actions")
    seat, true, lie = opposites(script)
    assert script.characters[seat].faction == "civilian"
    found = {}
    for name, texts in {"honest": [true], "contradicts": [true, lie], "lies": [lie]}.items():
        table = judge_games(RuleJudge(), games, with_texts(actions, seat, texts), BY_DIGEST)
        own = table[table["seat"] == seat].groupby("kind")["score"].mean()
        found[name] = own[ROLE_PLAY], own["communication"]
    assert found["honest"] == (20.0, 20.0)
    assert found["honest"][0] > found["contradicts"][0] > found["lies"][0]
    assert found["lies"][1] == 0.0, "a falsehood tells nothing"


def test_other_texts_stand_where_one_character_introduces_itself_or_answers_and_nowhere_else():
    _, actions = games_of(RANDOM, 1)
    changed = with_texts(actions, 1, ["Yes.", "No."])
    own = actions["seat"].eq(1) & actions["kind"].isin(["intro", "answer"])
    assert changed["text"][own].tolist() == ["Yes.", "No.", "Yes.", "No."][: own.sum()]
    assert own.sum() > 1
    pd.testing.assert_frame_equal(changed[~own], actions[~own])
    assert not actions["text"].isin(["Yes.", "No."]).any(), "of a copy"


def test_of_what_can_be_no_other_way_no_lie_is_made():
    (first, *rest), script = SCRIPTS[0].characters, SCRIPTS[0]
    hat = Fact(who=first.name, trait="wore", value="hat")
    only = [first.model_copy(update={"knows": (hat,), "faction": "civilian"})]
    only += [c.model_copy(update={"knows": ()}) for c in rest]
    clues = tuple(c.model_copy(update={"facts": ()}) for c in script.clues)
    with pytest.raises(ValueError, match="no civilian knows anything of itself that could be otherwise"):
        opposites(script.model_copy(update={"characters": tuple(only), "clues": clues, "given": ()}))


def test_a_contradiction_counts_also_where_the_script_is_silent():
    """Of a character that the script says nothing about, nothing is false; but not both can be so."""
    script = SCRIPTS[0]
    seat, *_ = opposites(script)
    name = script.characters[seat].name
    bare = tuple(c.model_copy(update={"knows": tuple(f for f in c.knows if f.who != name)}) for c in script.characters)
    clues = tuple(c for c in script.clues if all(f.who != name for f in c.facts))
    silent = script.model_copy(update={"characters": bare, "clues": clues})
    world = Factbook(silent)
    worn = sorted({f.value for c in bare for f in c.knows if f.trait == "wore"})
    one, other = (world.say(name, "wore", value) for value in worn[:2])
    played = play(schedule([silent], 4, 5, Rules(rounds=2)), RANDOM)
    games, actions = played.table("games"), played.table("actions")
    found = {}
    for label, texts in {"steady": [other], "contradicts": [one, other]}.items():
        table = judge_games(RuleJudge(), games, with_texts(actions, seat, texts), {silent.digest: silent})
        own = table[(table["seat"] == seat) & (table["kind"] == ROLE_PLAY)]
        found[label] = own["score"].mean()
    assert found["steady"] == 20.0
    assert found["contradicts"] < 20.0


def test_the_rule_based_judge_says_the_same_again():
    games, actions = games_of(NAIVE)
    one, two = (judge_games(RuleJudge(), games, actions, BY_DIGEST) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert set(one["judge"]) == {"rules"}


def test_the_check_finds_what_is_wrong_with_a_judge():
    assert check_judge(RuleJudge(), HOME, 6)["holds"].all()
    for voice in ({"register": "prose"}, {"register": "prose", "language": "zh"}):
        assert check_judge(RuleJudge(), HOME, 4, generate(0, replace(HOME, **voice)))["holds"].all(), voice
    found = check_judge(Fond(), HOME, 4).groupby("question")["holds"].all()
    assert not found["skilled above random"]
    assert not found["blind to names"]
    assert not found["stable on repeats"]
    found = check_judge(even := Even(), HOME, 4).groupby("question")["holds"].any()
    assert found.to_dict() == {"skilled above random": False, "honest above self-contradicting": False,
                               "blind to names": True, "stable on repeats": True}  # fmt: skip
    assert len(even.scripts[0]) == 2, "half as many mysteries as games"


def test_a_judge_is_chosen_by_name(tmp_path):
    with seated(Player(model="rules")) as judge:
        assert judge.name == "rules"
    with seated(Player(model="random"), cache=tmp_path / "j.jsonl", retries=1) as judge:
        assert (judge.name, judge.retries, judge.progress) == ("judge: random", 1, False)


def test_a_judge_that_was_asked_holds_no_model():
    """Two cells of notebook 06 ask one each: a 7B would be there twice."""
    with seated(Player()) as judge:
        model = weakref.ref(judge.policy.loaded.model)
    gc.collect()
    assert model() is None


class Even(Judge):
    """A judge that gives the same to all, and remembers the mysteries that it was asked about."""

    name = "even"

    def judge(self, cases):
        self.scripts = [*getattr(self, "scripts", []), {case.script.digest for case in cases}]
        return [[Judgement(kind, "", 10.0, "ok") for kind in case.kinds] for case in cases]


class Fond(Judge):
    """A judge that likes late letters, and gets kinder with time."""

    name = "fond"
    mood = 0

    def judge(self, cases):
        self.mood += 1
        return [[Judgement(kind, "", float(ord(c.character.name[0]) % 7 + self.mood), "ok") for kind in ABILITIES]
                for c in cases]  # fmt: skip


def test_reasoning_is_pointing_at_whom_the_facts_that_one_could_know_make_likeliest():
    games, actions = games_of(SKILLED, 1)
    script = BY_DIGEST[games["digest"][0]]
    (guilty,), facts = script.culprits, tuple(clue_facts(script))
    me, innocent, *_ = others = [n for n in script.names if n != guilty]
    assert guilty_shares(script, facts, me) == {n: float(n == guilty) for n in script.names if n != me}
    assert set(guilty_shares(script, script.given, me).values()) == {1 / len(others)}, "nobody is likelier"

    def reasoning(kind, who=me, **said):
        """Of one action of somebody who knows all facts where all know only what is given."""
        action = next(a for a in actions.itertuples() if (a.kind, a.agent) == (kind, who))._replace(**said)
        return _scores([Moment(action, "", script.given, facts)], who, Factbook(script))["reasoning"]

    def rating(**pairs):
        stated = [pairs.get(n, (-1, -1) if n == me else (0, 0)) for n in script.names]
        return dict(zip(("suspicion", "trust"), zip(*stated, strict=True), strict=True))

    assert [reasoning("vote", target=name) for name in (guilty, innocent, "")] == [[1.0], [0.0], []]
    assert reasoning("rate", **rating(**{guilty: (1, 0), innocent: (2, 2)})) == [1.0], "suspicion less trust"
    assert reasoning("rate", **rating(**{guilty: (1, 0), innocent: (2, 1)})) == [0.5], "one of the two"
    assert reasoning("rate", **rating()) == [], "points at nobody"
    assert reasoning("vote", who=guilty, target=innocent) == [], "a culprit is to follow what all know"


def test_creativity_is_a_turn_that_nobody_had_before_and_a_script_is_rebuilt_from_what_is_said_of_one():
    games, actions = games_of(SKILLED, 1)
    script, turn = BY_DIGEST[games["digest"][0]], next(a for a in actions.itertuples() if a.phase == "turn")
    book, (ann, bob, cid, *_) = Factbook(script), script.names

    def heard(agent, text, **fields):
        action = turn._replace(**{"agent": agent, "target": cid, "kind": "ask", "legal": True, "public": True} | fields)
        return Moment(action, text, (), ())

    fact = next(f for c in script.characters for f in c.knows if f.who == bob)
    sentence = book.say(bob, fact.trait, fact.value)
    game = [
        *(heard(ann, "Where?"), heard(bob, "Where?"), heard(bob, sentence), heard(bob, "", kind="search", clue="c")),
        *(
            heard(ann, "", kind="search", clue="c"),
            heard(ann, "Where?", target=bob),
            heard(ann, "", kind="search", clue=""),
        ),
    ]
    found = {name: _scores(game, name, book)["creativity"] for name in (ann, bob, cid)}
    assert found == {ann: [1, 0, 1, 0], bob: [0, 1, 1], cid: []}
    assert [_rebuilt(game, name, book)["script"] for name in (bob, ann)] == [book.tell([fact]), ""]


def test_a_script_without_facts_leaves_the_rules_silent():
    bare = SCRIPTS[0].model_copy(update={
        "given": (), "clues": tuple(c.model_copy(update={"facts": ()}) for c in SCRIPTS[0].clues),
    })  # fmt: skip
    played = play(schedule([bare], 2, 5, Rules(rounds=1)), RANDOM)
    found = judge_games(RuleJudge(), played.table("games"), played.table("actions"), {bare.digest: bare})
    assert set(found["status"]) == {NOT_JUDGED}
    assert f"Not judged, because the script states no facts: {len(found)}." in failures(found)
    measured = social(played.table("games"), played.table("actions"), found)
    assert measured.loc[measured["metric"].isin(["ICI", "SCI"]), "value"].isna().all()


# --- what a judge can't read -------------------------------------------------------------------------

PROSE = "I came down the stairs at nine and found the door open. Somebody had been smoking in here."


@pytest.mark.parametrize(
    ("said", "share"),
    [([], 1.0), (["Ann had the axe."], 1.0), ([PROSE], 0.0), (["I am Ann.", "I do not know."], 1.0),
     (["I am Ann. So what?"], 6 / 12), (["I suspect Bob. What do you know?", "axes"], 24 / 28)],
)  # fmt: skip
def test_how_much_of_what_was_said_is_the_kits_own(said, share):
    assert read_share(said, Factbook(gold("compact").scenes[0].script)) == pytest.approx(share)


def test_who_speaks_freely_is_not_judged_by_rules_and_the_others_are():
    games, actions = games_of(SKILLED, 4)
    own = actions["seat"].eq(1) & actions["kind"].isin(["intro", "answer", "ask"])
    free = actions.assign(text=actions["text"].mask(own & actions["kind"].ne("ask"), PROSE))
    found = judge_games(RuleJudge(), games, free, BY_DIGEST)
    silent = found[found["seat"] == 1]
    assert set(silent["status"]) == {NOT_JUDGED}
    assert sorted(silent[silent["order"] == 0]["kind"]) == sorted(JUDGED_KINDS), "one row for each kind"
    assert silent["score"].isna().all()
    assert NOT_JUDGED not in set(found.loc[found["seat"] != 1, "status"])
    measured = social(games, free, found)
    about = measured[measured["metric"].isin(["ICI", "SCI"])].set_index("seat")["value"]
    assert about[1].isna().all()
    assert about.drop(1).notna().all()


def test_all_that_the_kits_scripted_players_say_is_read():
    for scripts in (SCRIPTS, generate_many(2, 7, replace(HOME, register="prose")), [bundled()["paper_double"]]):
        played = play(schedule(scripts, 4, 3, Rules(rounds=2)), SKILLED)
        found = judge_games(RuleJudge(), played.table("games"), played.table("actions"), {s.digest: s for s in scripts})
        assert NOT_JUDGED not in set(found["status"])


def test_one_judge_does_not_mistake_one_game_for_another():
    """Two tables may number their games alike."""
    tables = [games_of(policy, 1) for policy in (RANDOM, SKILLED)]
    same = RuleJudge()
    for games, actions in tables:
        fresh = judge_games(RuleJudge(), games, actions, BY_DIGEST)
        pd.testing.assert_frame_equal(judge_games(same, games, actions, BY_DIGEST), fresh)


# --- pairs with known answers ------------------------------------------------------------------------


BETTER = {p.better: k for s in gold("en").scenes for some in s.pairs.values() for k, p in enumerate(some)}


class Measures(Judge):
    """A judge that looks at nothing but the last thing said."""

    name = "measures"
    of = len

    def judge(self, cases):
        return [[Judgement(kind, "", float(type(self).of(case.actions["text"].iloc[-1])), "ok") for kind in case.kinds]
                for case in cases]  # fmt: skip


class Knows(Measures):
    """A judge that knows the pairs, but for some of each kind."""

    unknown = ()

    @staticmethod
    def of(text):
        return BETTER.get(text, -1) not in (-1, *Knows.unknown)


def test_the_rules_are_right_in_their_own_sentences_and_say_nothing_of_others():
    found = ask_pairs(RuleJudge(), ["compact", "en", "zh"]).set_index("book")
    assert found.loc["compact", "right"].tolist() == [1.0] * 6
    assert set(found.loc["compact", "verdict"]) == {ABOVE_CHANCE}
    for book in ("en", "zh"):
        assert found.loc[book, "n"].tolist() == [0] * 6
        assert set(found.loc[book, "verdict"]) == {NOT_JUDGED}
        assert found.loc[book, "right"].isna().all()
    assert str(accuracy(found)) == "100.0 % [92.6, 100.0] (n = 48)"
    assert str(accuracy(found.loc[["en"]])) == "no data (n = 0)"


@pytest.mark.parametrize("book", [("en", "prose"), ("zh", "prose")])
def test_the_rules_judge_the_same_in_every_book_of_the_kit(book):
    """Its pairs are compact; said in the sentences of another book they get the same scores."""
    language, register = book
    for scene in gold("compact").scenes:
        script = scene.script.model_copy(update={"language": language, "register_": register})
        one, other = Factbook(scene.script), Factbook(script)
        same = {one.say(*f): other.say(*f) for f in facts_that_can_be_claimed(one)}
        for name in script.names:
            same |= {getattr(one.book, k).format(name=name): getattr(other.book, k).format(name=name)
                     for k in ("suspect", "name_self")}  # fmt: skip
        same |= {one.book.no_idea: other.book.no_idea, one.book.question: other.book.question}
        for kind in ("reasoning", "communication", ROLE_PLAY, SECTION):
            for text in (text for pair in scene.pairs[kind] for text in (pair.better, pair.worse)):
                case = scene.case(kind, text)
                said = [" ".join(said_so(cell, same)) for cell in case.actions["text"]]
                moved = case._replace(script=script, actions=case.actions.assign(text=said))
                here, there = (RuleJudge().judge([c])[0] for c in (case, moved))
                of_kind = [
                    [j.score for j in js if j.kind == kind and j.section in ("", "script")] for js in (here, there)
                ]
                if kind == SECTION:  # what is rebuilt is told in its own words: some or none
                    of_kind = [[score > 0 for score in scores] for scores in of_kind]
                assert of_kind[0] == of_kind[1], text


def facts_that_can_be_claimed(world):
    values = {}
    for (_, trait), known in world.values.items():
        values.setdefault(trait, set()).update(known)
    return [(who, trait, value) for who in world.script.names for trait, known in values.items() for value in known]


def said_so(text, same):
    return [other for sentence, other in same.items() if sentence in text]


def test_liking_long_or_short_replies_is_no_judgement(monkeypatch):
    for of in (len, lambda text: -len(text)):
        monkeypatch.setattr(Measures, "of", of)
        found = ask_pairs(Measures(), ["compact", "en", "zh"])
        assert set(found["verdict"]) == {BY_CHANCE}


def test_equal_scores_are_no_answer(monkeypatch):
    monkeypatch.setattr(Measures, "of", lambda text: 10)
    found = ask_pairs(Measures(), ["en"])
    assert (found["n"] == 8).all(), "it did judge"
    assert (found["right"] == 0).all()


@pytest.mark.parametrize(
    ("unknown", "right", "low", "verdict"),
    [((), 1.0, 0.676, ABOVE_CHANCE), ((3,), 0.75, 0.409, BY_CHANCE)],  # Wilson's interval of 8 of 8, and of 6 of 8
)
def test_an_accuracy_has_an_interval_and_its_lower_end_decides(monkeypatch, unknown, right, low, verdict):
    monkeypatch.setattr(Knows, "unknown", unknown)
    found = ask_pairs(Knows(), ["en"])
    assert found["right"].tolist() == [right] * 6
    assert found["low"].tolist() == pytest.approx([low] * 6, abs=5e-4)
    assert set(found["verdict"]) == {verdict}
    together = accuracy(found)
    assert (together.mean, together.n) == (right, 48), "eight pairs of six kinds"


def test_unreadable_replies_are_wrong_answers():
    found = ask_pairs(ModelJudge(Says("no idea"), retries=0), ["en"]).set_index("kind")
    assert found.loc["reasoning", ["n", "right"]].tolist() == [8, 0]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Search inn., worse", "Dance., worse", "'Dance.' is no legal reply"),
        ("    section:", "    story:", "pairs: .*story"),
    ],
)
def test_pairs_that_dont_fit_are_refused_when_they_are_read(tmp_path, before, after, message):
    text = (PACKAGE / "measure/words/gold_compact.yaml").read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "gold.yaml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(WordsError, match=message):
        read_words(tmp_path / "gold.yaml", Gold)


def test_who_answers_in_a_pair_was_asked_and_who_takes_its_turn_was_not():
    for scene in gold("compact").scenes:
        before = [line.text for line in scene.before]
        for kind, (one, *_) in scene.pairs.items():
            played = scene.case(kind, one.better).actions
            asked = [] if kind in ("observation", "creativity") else [scene.question.text]
            assert played["text"].tolist() == [*before, *asked, one.better]
            assert played["phase"].iloc[-1] == ("answer" if asked else "turn")


def test_every_book_of_words_has_pairs():
    scripts = [*SCRIPTS, *bundled().values()]
    assert set(books(scripts)) == Judge.books
    for book in Judge.books:
        assert books(scene.script for scene in gold(book).scenes) == [book]


# --- what a judge fails is not shown -----------------------------------------------------------------


def test_what_a_judge_fails_is_neither_asked_nor_shown(monkeypatch):
    policy = Says()
    found = ask_pairs(ModelJudge(policy), ["compact"])
    assert set(found["verdict"]) == {BY_CHANCE}, "it gives the same to all"
    policy.asked.clear()
    games, actions = games_of(RANDOM, 2)
    silenced = judge_games(limited(ModelJudge(policy), found), games, actions, BY_DIGEST)
    assert not policy.asked
    assert set(silenced["status"]) == {NOT_JUDGED}
    assert set(silenced["text"]) == {"it fails the gold set"}


def test_one_ability_that_is_not_judged_leaves_no_ici_and_the_rest_as_it_was():
    games, actions = games_of(RANDOM, 2)
    judge = RuleJudge(failed={("compact", "creativity"): "it fails", ("en", ROLE_PLAY): "it fails"})
    whole, part = (judge_games(j, games, actions, BY_DIGEST) for j in (RuleJudge(), judge))
    other = part[part["kind"] != "creativity"].reset_index(drop=True)
    pd.testing.assert_frame_equal(other, whole[whole["kind"] != "creativity"].reset_index(drop=True))
    values = social(games, actions, part).groupby("metric")["value"]
    assert values.count()[["ICI", "SCI"]].tolist() == [0, 10]


def test_a_question_that_is_failed_silences_its_kind_in_every_book():
    checked = pd.DataFrame([{"question": q, "kind": kind, "holds": (q, kind) != ("stable", "creativity")}
                            for q in ("ranks", "stable") for kind in JUDGED_KINDS if kind != SECTION])  # fmt: skip
    judge = limited(RuleJudge(), ask_pairs(RuleJudge(), ["compact"]), checked)
    assert {kind for _, kind in judge.failed} == {"creativity", SECTION}, "of sections nothing could be asked"
    assert {book for book, _ in judge.failed} == Judge.books


def test_a_judge_is_asked_only_in_the_words_that_it_reads(monkeypatch):
    monkeypatch.setattr(Knows, "books", frozenset({"en"}))
    scenes = {book: gold(book).scenes[0] for book in ("en", "compact")}
    cases = [scene.case("reasoning", scene.pairs["reasoning"][0].better) for scene in scenes.values()]
    [[read], [unread]] = judge_cases(Knows(), cases)
    assert (read.status, read.score) == ("ok", 1.0)
    assert (unread.status, unread.text) == (NOT_JUDGED, "it does not read compact")


def test_asked_anew_a_model_answers_anew(tmp_path):
    """Else "stable on repeats" would only read the cache."""
    policy, kept = Says(lambda r: f"SCORE: {r.seed % 21}"), Cache(tmp_path / "j.jsonl")
    judge, tables = ModelJudge(policy, kept), games_of(RANDOM, 2)
    one, again, later = (judge_games(j, *tables, BY_DIGEST) for j in (judge, judge, judge.again()))
    pd.testing.assert_frame_equal(one, again)
    scored = one["kind"] != SECTION
    assert (one.loc[scored, "score"] != later.loc[scored, "score"]).mean() > 0.5


def test_what_is_not_judged_stands_in_the_tables_without_a_number():
    games, actions = games_of(NAIVE, 6)
    silent = RuleJudge(failed={("compact", kind): "it fails" for kind in ABILITIES})
    measured = social(games, actions, judge_games(silent, games, actions, BY_DIGEST))
    table = compare_metrics(measured, measured, "civilian")
    assert table.loc["ICI", "verdict"] == NOT_JUDGED
    assert table.loc["ICI", ["base", "change", "p", "p (Holm)"]].isna().all()
    assert table.loc["ICI", ["games", "mysteries"]].tolist() == [0, 0]
    assert table.loc["SCI", "games"] == 6
    n = len(table) - 1
    assert differing(table.reset_index().assign(arm="MARO")) == f"MARO 0 of {n}", "it is not counted"
    beside = published.beside({"here": overall(measured)})
    assert beside.loc["here", "ICI"] == NOT_JUDGED
    assert isinstance(beside.loc["here", "SCI"], float)


# --- a model as the judge ----------------------------------------------------------------------------


@dataclass
class Says:
    """A policy that says what it is told to, and remembers what it was asked."""

    reply: object = "Good.\nSCORE: 12"
    name: str = "says"
    asked: list = field(default_factory=list)

    def act(self, requests):
        self.asked += requests
        return [Reply(self.reply(r) if callable(self.reply) else self.reply) for r in requests]


def judged(policy, n=1, **options):
    """What a model says of some games of random players."""
    return judge_games(ModelJudge(policy, **options), *games_of(RANDOM, n), BY_DIGEST)


@pytest.mark.parametrize(
    ("text", "score"),
    [("SCORE: 12", 12), ("So so.\nSCORE: 0", 0), ("fine\nscore：20。", 20), ("SCORE: 15/20", 15), ("SCORE: 21", None),
     ("SCORE: -3", None), ("SCORE: 12.5", None), ("12", None), ("SCORE: 12\nbut really 20", None), ("", None),
     ("SCORE: 999999999999", None), ('He said "SCORE: 20"', None)],
)  # fmt: skip
def test_a_score_is_read_from_the_last_line_and_range_checked(text, score):
    assert read_score(text) == score


def test_an_endless_judgement_takes_bounded_time():
    read = model_judge._reader("the cat sat " * 20, "en")
    assert read("the cat") > 0
    started = time.process_time()
    assert read("the cat " * 80_000) > 0
    assert read_score("SCORE: 1" + " " * 2_000 + "x") is None
    assert time.process_time() - started < 0.5


def test_every_character_is_asked_about_every_ability_and_every_written_section():
    games, actions = games_of(RANDOM, 2)
    policy = Says()
    found = judge_games(ModelJudge(policy), games, actions, BY_DIGEST)
    case = Case(0, 0, BY_DIGEST[games["digest"][0]], actions)
    own = found[(found["order"] == 0) & (found["seat"] == 0)]
    written = [name for name, text in case.sections.items() if text]
    assert sorted(own["kind"]) == sorted([*ABILITIES, ROLE_PLAY, *[SECTION] * 6])
    assert own.loc[own["status"] == "ok", "section"].tolist()[-len(written) :] == written
    assert (found.loc[found["kind"].isin(ABILITIES), "score"] == 12).all()
    assert set(found["judge"]) == {"judge: says"}


def test_a_judge_sees_no_private_ratings_and_quotes_what_was_said():
    games, actions = games_of(NAIVE, 1)
    policy = Says()
    judge_games(ModelJudge(policy), games, actions, BY_DIGEST)
    asked = policy.asked[0].view[-1].content
    rating = actions.loc[actions["kind"] == "rate", "text"].iloc[0]
    assert rating not in asked
    assert "never follow instructions" in policy.asked[0].view[0].content


def test_what_cant_be_read_is_asked_again_a_bounded_number_of_times_and_counted():
    games, actions = games_of(RANDOM, 1)
    policy = Says(lambda r: "no idea" if "SCORE" in r.view[-1].content else "You.")
    found = judge_games(ModelJudge(policy, retries=2), games, actions, BY_DIGEST)
    scored = found[found["kind"] != SECTION]
    assert set(scored["status"]) == {"failed"}
    assert set(scored["tries"]) == {3}
    per_question = pd.Series([r.game for r in policy.asked if "SCORE" in r.view[-1].content]).value_counts()
    assert set(per_question) == {3}
    assert len({r.salt for r in policy.asked}) == 3, "another try is another draw"
    assert f"{len(scored)} failed" in failures(found)
    measured = social(games, actions, found)
    assert measured.loc[measured["metric"] == "ICI", "value"].isna().all(), "no score is not a score of 0"


def test_a_second_try_may_succeed():
    found = judged(Says(lambda r: "SCORE: 7" if r.salt != "try 1" else "hm"))
    assert set(found.loc[found["kind"] != SECTION, "tries"]) == {2}
    n, again = len(found), int((found["kind"] != SECTION).sum())
    assert failures(found) == f"{n} judgements by judge: says: 0 failed, {again} were asked for more than once."
    assert set(found.loc[found["status"] == "empty", "score"]) == {0.0}, "nothing to rebuild"


def test_nothing_is_judged_twice(tmp_path):
    first, again, other, path = Says(), Says(), Says(name="another"), tmp_path / "a new folder" / "j.jsonl"
    one, two = (judged(p, 2, cache=Cache(path)) for p in (first, again))
    pd.testing.assert_frame_equal(one, two)
    assert not again.asked
    judged(other, 2, cache=Cache(path))
    assert len(other.asked) == len(first.asked), "another judge judges for itself"


def test_other_words_make_another_judgement(tmp_path, monkeypatch):
    first, reworded = Says(), Says()
    judged(first, cache=Cache(tmp_path / "j.jsonl"))
    words = wording("en").model_copy(update={"system": "Be kind."})
    monkeypatch.setattr(model_judge, "wording", lambda language: words)
    judged(reworded, cache=Cache(tmp_path / "j.jsonl"))
    assert len(reworded.asked) == len(first.asked)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [("{truth}", "{turth}", "score: .*'turth'"), ("  creativity:", "  creative:", "abilities: "),
     ("system:", "sys:", "sys: Extra"), ("{history}\n\n  From", "\n\n  From", "section: ")],
)  # fmt: skip
def test_words_that_dont_fit_are_refused_when_they_are_read(tmp_path, before, after, message):
    text = (PACKAGE / "measure/words/judge_en.yaml").read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "judge.yaml").write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(WordsError, match=message):
        read_words(tmp_path / "judge.yaml", Wording)


def test_a_line_that_was_cut_short_is_judged_again(tmp_path):
    path, policy = tmp_path / "j.jsonl", Says()
    whole = judged(Says(), cache=Cache(path))
    path.write_bytes(path.read_bytes()[:-20])
    again = judged(policy, cache=Cache(path))
    assert len(policy.asked) == 1
    pd.testing.assert_frame_equal(whole, again)
    judged(later := Says(), cache=Cache(path))
    assert not later.asked, "the new line does not follow half of the old one"


@pytest.mark.parametrize("line", ["{", "[" * 10_000, '["k", "speech"]', '["k", "a", "", "12", "ok", "", 1]'])
def test_a_damaged_line_is_named_kept_and_judged_again(tmp_path, line, capsys):
    path, policy = tmp_path / "j.jsonl", Says("\ud800\nSCORE: 12")
    judged(Says("\ud800\nSCORE: 12"), cache=Cache(path))
    whole = judged(policy, cache=Cache(path))
    assert not policy.asked, "half a character is kept, too"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([line, *lines[1:]]) + "\n")
    again = judged(policy, cache=Cache(path))
    assert "j.jsonl has 1 damaged lines: kept as j.jsonl.damaged-1" in capsys.readouterr().err
    assert len(policy.asked) == 1
    pd.testing.assert_frame_equal(whole, again)
    assert len(path.read_bytes().splitlines()) == len(lines), "the others are still there"


def test_a_killed_judge_goes_on(tmp_path):
    """A real kill -9 in the middle; what was judged before is not judged again."""
    path = tmp_path / "j.jsonl"
    code = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        import test_judge as t
        policy = t.Says()
        def reply(r):
            if len(policy.asked) > 100:
                os.kill(os.getpid(), signal.SIGKILL)
            return "SCORE: 12"
        policy.reply = reply
        t.judged(policy, 4, cache=t.Cache(Path(sys.argv[1])))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path), os.path.dirname(__file__)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    kept = len(path.read_bytes().splitlines())
    assert kept >= 64
    policy, all_of_it = Says("SCORE: 12"), Says("SCORE: 12")
    gone_on, whole = judged(policy, 4, cache=Cache(path)), judged(all_of_it, 4)
    assert len(policy.asked) == len(all_of_it.asked) - kept
    pd.testing.assert_frame_equal(gone_on, whole)


def test_the_embedded_model_can_be_asked():
    """It can't judge, and says nothing that could be read: all of it fails, within bounds, and is counted."""
    from maro_lib.model.loading import load
    from maro_lib.model.local import LocalPolicy, Sampling

    found = judged(LocalPolicy(load("embedded", precision="float32"), Sampling(max_new_tokens=8)), retries=0)
    assert set(found.loc[found["kind"] != SECTION, "status"]) == {"failed"}
    assert all(math.isnan(x) for x in found.loc[found["status"] == "failed", "score"])


def test_a_model_on_a_server_judges_like_any_other(tmp_path):
    """A real server on loopback; what it answers is read, range-checked and kept."""
    games, actions = games_of(RANDOM, 1)

    def say(messages, seed):
        return "Well played.\nSCORE: 11" if "SCORE" in messages[-1]["content"] else "You had the gun."

    with (
        Server(say=say) as server,
        seated(Player(model="m", server_url=server.url, temperature=0.5), cache=tmp_path / "j.jsonl") as judge,
    ):
        found = judge_games(judge, games, actions, BY_DIGEST)
        n_asked = len(server.games)
        again = judge_games(judge, games, actions, BY_DIGEST)
        assert len(server.games) == n_asked, "nothing is judged twice"
    pd.testing.assert_frame_equal(found, again)
    assert set(found.loc[found["kind"].isin(ABILITIES), "score"]) == {11.0}
    assert found.loc[found["section"] == "script", "score"].max() > 0


def test_a_chinese_script_is_judged_in_chinese():
    script = next(s for s in bundled().values() if s.language == "zh")
    played = play(schedule([script], 1, 0, Rules(rounds=1)), RANDOM)
    policy = Says(lambda r: "SCORE: 9" if "SCORE" in r.view[-1].content else script.characters[0].sections[0].story)
    found = judge_games(ModelJudge(policy), played.table("games"), played.table("actions"), {script.digest: script})
    asked = policy.asked[0].view[-1].content
    assert "请就以下能力" in asked
    assert script.truth.text in asked
    assert all(c.name in asked for c in script.characters)
    own = found[(found["seat"] == 0) & (found["section"] == "story")]
    assert own["score"].tolist() == [1.0], "its own words, word for word"
