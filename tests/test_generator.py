"""Generated mysteries: consistent, solvable, exactly as the knobs say, and moved by one knob at a time."""

import random
import re
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from scipy.stats import chi2_contingency, chisquare

from maro_lib.world.generator import Knobs, generate, generate_many, vocabulary
from maro_lib.world.phrases import story_words
from maro_lib.world.scripts import CULPRIT
from maro_lib.world.solver import clue_facts, is_solvable, know, suspects

RICH = Knobs(
    stages=3, special_rules=2, ending="open", characters=7, culprits=2, clues=9, red_herrings=6, private_clues=4
)
TOLD_IN = {"compact": ("en", "compact"), "prose": ("en", "prose"), "zh": ("zh", "prose")}
VOICES = {name: dict(zip(("language", "register"), told_in, strict=True)) for name, told_in in TOLD_IN.items()}
VOICE = pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
COMPACT, PROSE, CHINESE = (story_words(**voice) for voice in VOICES.values())
PROSES = {"en": PROSE, "zh": CHINESE}


def draw_knobs(seed, **fixed):
    """Any possible knobs: drawn until they are possible."""
    rng = random.Random(seed)
    while True:
        drawn = {
            "stages": rng.randint(1, 4), "special_rules": rng.randint(0, 3), "ending": rng.choice(["closed", "open"]),
            "characters": rng.randint(3, 12), "culprits": rng.randint(1, 5), "places": rng.randint(1, 12),
            "clues": rng.randint(1, 24), "red_herrings": rng.randint(0, 24), "private_clues": rng.randint(0, 30),
        }  # fmt: skip
        try:
            return Knobs(**drawn | fixed)
        except ValueError:
            continue


def draw_many(n, **fixed):
    return [(knobs := draw_knobs(i, **fixed), generate(i, knobs)) for i in range(n)]


@pytest.fixture(scope="module", params=VOICES.values(), ids=VOICES)
def drawn(request):
    return draw_many(100, **request.param)


@pytest.fixture(scope="module")
def plain():
    return generate_many(2000, 0)


# --- the logic holds ---------------------------------------------------------------------------------


def test_every_mystery_is_solvable(plain):
    assert all(is_solvable(s) for s in plain)
    assert all(is_solvable(s) for _, s in draw_many(1000))


@pytest.mark.parametrize(
    "voice", [VOICES["compact"], VOICES["prose"], pytest.param(VOICES["zh"], marks=pytest.mark.walk)]
)
def test_every_mystery_is_solvable_where_the_bounds_are(voice):
    n = 0
    for stages, rules, ending, characters, places, herrings in product(
        (1, 4), (0, 1, 3), ("closed", "open"), (3, 12), (1, 12), (0, 24)
    ):
        for culprits, clues in product({1, (characters - 1) // 2}, (1, 2 * max(1, rules), 24)):
            try:
                knobs = Knobs(
                    stages=stages, special_rules=rules, ending=ending, characters=characters, places=places,
                    culprits=culprits, clues=clues, red_herrings=herrings, private_clues=clues + herrings,
                    **voice,
                )  # fmt: skip
            except ValueError:
                continue
            n += 1
            assert is_solvable(generate(n, knobs)), knobs
    assert n == 228, "all that is possible"


def test_what_everybody_knows_contradicts_nobodys_knowledge(drawn):
    for _, s in drawn:
        facts = (*clue_facts(s), *(f for c in s.characters for f in c.knows))
        assert suspects(s, facts) == [tuple(n for n in s.names if n in s.culprits)]


def test_without_any_one_special_rule_the_answer_is_wrong():
    for knobs, s in draw_many(300):
        assert len(s.rules) == knobs.special_rules
        for i in range(len(s.rules)):
            fewer = s.model_copy(update={"rules": s.rules[:i] + s.rules[i + 1 :]})
            assert not is_solvable(fewer)


def test_in_a_lying_world_no_clue_shows_the_profile_of_a_culprit():
    for _, s in draw_many(60, special_rules=2, characters=6, culprits=2, clues=8):
        profile = {(f.trait, f.value) for f in s.given}
        told = {(f.trait, f.value) for c in s.clues for f in c.facts if f.who in s.culprits}
        assert told
        assert not told & profile


def test_the_profile_is_true_of_culprits_only(drawn):
    for _, s in drawn:
        profile = {(f.trait, f.value) for f in s.given}
        assert {t for t, _ in profile} == set(s.unique)
        assert all(f.who == CULPRIT for f in s.given)
        for c in s.characters:
            own = {(f.trait, f.value) for f in c.knows if f.who == c.name}
            assert (profile <= own) if c.name in s.culprits else not (profile & own)


def test_where_it_was_done_can_be_searched(drawn):
    for _, s in drawn:
        assert s.given[2].value in s.places


def test_testimony_and_evidence_are_true():
    """Of an innocent they repeat what it knows of itself; of a culprit too, but for what special rules correct."""
    for _, s in draw_many(100):
        own = {c.name: {f for f in c.knows if f.who == c.name} for c in s.characters}
        corrected = {trait for r in s.rules for trait in r.then}
        for c in s.characters:
            assert all(f in own[f.who] for f in c.knows)
        for f in (f for clue in s.clues for f in clue.facts):
            assert f in own[f.who] or (f.who in s.culprits and f.trait in corrected)
        known = know(s, (f for clue in s.clues for f in clue.facts))
        assert all(known[f.who].get(f.trait, {f.value}) == {f.value} for who in s.culprits for f in own[who]
                   if f.trait in corrected)  # fmt: skip


def test_some_civilians_have_seen_something_and_no_culprit_has(plain):
    sights = [[f for f in c.knows if f.who != c.name] for s in plain for c in s.characters if c.faction == "civilian"]
    assert {len(seen) for seen in sights} == {0, 1}
    assert 0.45 < sum(map(len, sights)) / len(sights) < 0.55
    assert all(f.who == c.name for s in plain for c in s.characters if c.faction == "culprit" for f in c.knows)


def test_six_in_ten_pieces_of_evidence_are_about_culprits():
    for clues, guilt in {5: 3, 6: 4, 10: 6, 20: 12}.items():
        s = generate(3, Knobs(clues=clues))
        about = [f.who for c in s.clues for f in c.facts]
        assert sum(who in s.culprits for who in about) == guilt
    few = generate(3, Knobs(characters=8, culprits=3, clues=3))
    assert {f.who for c in few.clues for f in c.facts} == set(few.culprits)


def test_each_culprit_is_implicated(drawn):
    for knobs, s in drawn:
        told = [f for c in s.clues for f in c.facts]
        assert set(s.culprits) <= {f.who for f in told}
        assert sum(f.who in s.culprits for f in told) == knobs.n_guilt


# --- exactly as the knobs say ------------------------------------------------------------------------


def test_the_count_of_every_knob_is_met(drawn):
    for k, s in drawn:
        assert len(s.stages) == k.stages
        assert len(s.rules) == k.special_rules
        assert (len(s.characters), len(s.culprits)) == (k.characters, k.culprits)
        assert len(s.places) == k.places
        assert sum(bool(c.facts) for c in s.clues) == k.clues
        assert sum(not c.facts for c in s.clues) == k.red_herrings
        assert sum(bool(c.private_to) for c in s.clues) == k.private_clues
        assert {c.stage for c in s.clues} == set(range(1, k.stages + 1))
        assert (s.language, s.register_) == (k.language, k.register)
        assert s.cell == "SM"[k.stages > 1] + "OU"[k.special_rules > 0] + "CO"[k.ending == "open"]


@VOICE
def test_no_clue_text_repeats_where_there_are_most_clues(voice):
    for seed in range(20):
        knobs = Knobs(characters=3, clues=24, red_herrings=24, special_rules=seed % 4, **voice)
        assert len({c.text for c in generate(seed, knobs).clues}) == 48


def test_a_private_clue_is_found_by_nobody_it_names_and_by_no_culprit_it_betrays(drawn):
    for _, s in drawn:
        for c in s.clues:
            about = {f.who for f in c.facts}
            assert c.private_to not in about
            if about & set(s.culprits):
                assert c.private_to not in s.culprits


def test_a_closed_ending_has_no_goals(plain):
    for s in plain[:200]:
        assert not any(c.goals for c in s.characters)
        assert [e.when for e in s.endings] == ["caught", "escaped"]


def test_an_open_ending_gives_some_civilians_a_secret_and_culprits_themselves_to_save(drawn):
    for _, s in (pair for pair in drawn if pair[0].ending == "open"):
        clues = {c.id: c for c in s.clues}
        keepers = [c for c in s.characters if c.faction == "civilian" and c.goals]
        n_civilians = len(s.characters) - len(s.culprits)
        assert len(keepers) == max(1, n_civilians // 2)
        for c in keepers:
            assert [g.check for g in c.goals] in (["faction_wins", "clue_hidden"], ["faction_wins", "not_accused"])
            hidden = [clues[g.of] for g in c.goals if g.check == "clue_hidden"]
            assert all(c.name in clue.text and clue.text in c.goals[1].text for clue in hidden)
        for c in s.characters:
            if c.faction == "culprit":
                assert [g.check for g in c.goals] == ["faction_wins", "not_accused"]
        assert [e.when for e in s.endings] == ["caught", *["accused"] * len(keepers), "tie", "escaped"]


IMPOSSIBLE = [
    ({"stages": 0}, "stages: 0 is too few; take 1 or more"),
    ({"stages": 5}, "stages: 5 is too many; take 4 or fewer"),
    ({"special_rules": 4}, "special_rules: 4 is too many; take 3 or fewer"),
    ({"characters": 2}, "characters: 2 is too few; take 3 or more"),
    ({"characters": 13}, "characters: 13 is too many; take 12 or fewer"),
    ({"culprits": 0}, "culprits: 0 is too few"),
    ({"culprits": 3}, "culprits: 3 is too many; take 2 or fewer, or more characters"),
    ({"places": 10}, "places: 10 is too many; take 9 or fewer, or more clues or red herrings"),
    ({"places": 13, "clues": 20}, "places: 13 is too many; take 12 or fewer"),
    ({"clues": 25}, "clues: 25 is too many; take 24 or fewer"),
    ({"clues": 1, "culprits": 2, "places": 1}, "clues: 1 can't prove 2 .*; take 2 or more clues, or fewer culprits"),
    ({"clues": 5, "special_rules": 3}, "clues: 5 can't prove .* 3 special rule.*; take 6 or more clues"),
    ({"clues": 1, "red_herrings": 1, "places": 1, "stages": 3}, "stages: 3, but there are 2 clues and red herrings"),
    ({"red_herrings": 25}, "red_herrings: 25 is too many; take 24 or fewer"),
    ({"private_clues": 10}, "private_clues: 10 is too many; take 9 or fewer, or more clues or red herrings"),
    ({"ending": "sad"}, "ending: 'sad'; choose 'closed' or 'open'"),
    ({"register": "verse"}, "register: 'verse'; choose 'compact' or 'prose'"),
    ({"language": "de"}, "language: 'de'; choose 'en' or 'zh'"),
    ({"language": "zh"}, "register: 'compact' is the embedded model's English; take 'prose' with language 'zh'"),
    ({"clues": "6"}, "clues: '6'; take a whole number"),
    ({"stages": True}, "stages: True; take a whole number"),
]


@pytest.mark.parametrize(("knobs", "message"), IMPOSSIBLE)
def test_an_impossible_knob_is_named_with_its_bound_and_the_way_out(knobs, message):
    with pytest.raises(ValueError, match=message):
        Knobs(**knobs)


# --- from a seed -------------------------------------------------------------------------------------


def test_seed_0_is_this_mystery():
    s = generate(0)
    assert s.title == "Mrs Hill 0"
    assert s.background.startswith("Mrs Hill is dead. The killer had the bat. The killer wore the cap. ")
    assert [f.value for f in s.given] == ["bat", "cap", "dock"]
    assert (s.names, s.culprits) == (("Yan", "Jim", "Dot", "Tom", "Gus", "Zoe"), ("Gus",))


def test_different_seeds_give_different_scripts_and_titles(plain):
    assert len({s.digest for s in plain}) == len({s.title for s in plain}) == 2000
    assert len({(s.names, s.background, s.clues) for s in plain}) == 2000


def test_other_knobs_give_another_title():
    titles = {generate(5, k).title for k in (Knobs(), Knobs(stages=2), Knobs(clues=7), Knobs(ending="open"))}
    titles |= {generate(5, Knobs(**voice)).title for voice in VOICES.values()}
    assert len(titles) == 6
    assert generate(5, Knobs(stages=2, ending="open", **VOICES["zh"])).title.endswith(" 5，幕数 2，结局 开放")


def test_two_series_share_no_mystery_and_a_longer_one_goes_on():
    assert generate_many(5, 4)[:3] == generate_many(3, 4)
    assert not {s.title for s in generate_many(50, 4)} & {s.title for s in generate_many(50, 5)}
    with pytest.raises(ValueError, match="n=1000001; 0 to 1,000,000 are possible, take another seed"):
        generate_many(1_000_001, 0)


def test_every_seat_and_every_name_is_the_culprits_equally_often(plain):
    seats = Counter(s.names.index(s.culprits[0]) for s in plain)
    assert chisquare([seats[i] for i in range(6)]).pvalue > 0.001
    names = Counter(s.culprits[0] for s in plain)
    assert chisquare([names[n] for n in COMPACT.names]).pvalue > 0.001


def test_the_culprits_seat_goes_with_no_name_and_no_profile(plain):
    seats = [s.names.index(s.culprits[0]) for s in plain]
    for told in ([s.names[0] for s in plain], [s.given[0].value for s in plain], [s.given[2].value for s in plain]):
        counts = Counter(zip(seats, told, strict=True))
        table = [[counts[seat, word] for word in sorted(set(told))] for seat in range(6)]
        assert chi2_contingency(table).pvalue > 0.001


def test_every_value_of_the_profile_is_equally_frequent(plain):
    for trait, values in {"had": 8, "wore": 8, "was at": 12}.items():
        seen = Counter(f.value for s in plain for f in s.given if f.trait == trait)
        assert len(seen) == values
        assert chisquare(list(seen.values())).pvalue > 0.001


def test_neither_the_order_of_clues_nor_places_nor_privacy_tells_guilt(plain):
    """4 of 9 clues are about the culprit: also among first clues, private ones, and those where it was done."""
    groups = {
        "first": [(s, s.clues[0]) for s in plain],
        "private": [(s, c) for s in plain for c in s.clues if c.private_to],
        "where it was done": [(s, c) for s in plain for c in s.clues if c.place == s.given[2].value],
    }
    for name, group in groups.items():
        hits = sum(f.who in s.culprits for s, c in group for f in c.facts)
        assert abs(hits / len(group) - 4 / 9) < 0.05, name


# --- one knob at a time ------------------------------------------------------------------------------

BASE = Knobs(characters=7, clues=8, red_herrings=4)


def told(script):
    """What a script is made of, part by part, to compare part by part."""
    return {
        "names": script.names,
        "culprits": script.culprits,
        "given": script.given,
        "background": script.background,
        "places": set(script.places),
        "texts": {c.text for c in script.clues},
        "clues": {c.id: (c.text, c.place, c.stage) for c in script.clues},
        "private": {c.id: c.private_to for c in script.clues},
        "sections": tuple(c.sections[0] for c in script.characters),
        "knows": tuple(c.knows for c in script.characters),
    }


ALL = set(told(generate(0)))
STAYS = {
    ("stages", 2): ALL - {"clues"},
    ("special_rules", 1): {"names", "culprits", "given", "background", "places"},
    ("ending", "open"): ALL - {"sections"},
    ("red_herrings", 0): {"names", "culprits", "given", "background", "places", "knows"},
    ("places", 7): ALL - {"places", "clues"},
    ("private_clues", 5): ALL - {"private"},
    ("clues", 9): {"names", "culprits", "given", "background", "places", "knows", "sections"},
    ("culprits", 2): {"names", "given", "places"},
}


@VOICE
@pytest.mark.parametrize(("knob", "value"), STAYS)
def test_one_knob_moves_nothing_else(knob, value, voice):
    base = replace(BASE, **voice)
    for seed in range(40):
        scripts = generate(seed, base), generate(seed, replace(base, **{knob: value}))
        before, after = map(told, scripts)
        for part in STAYS[knob, value]:
            assert before[part] == after[part], (seed, part)
    assert scripts[0].model_copy(update={"title": scripts[1].title}) != scripts[1], "and it does move something"


def test_a_stage_more_leaves_most_clues_in_their_stage():
    same = moved = 0
    for seed in range(60):
        two, three = (generate(seed, replace(BASE, stages=k)) for k in (2, 3))
        stage = {c.id: c.stage for c in two.clues}
        same += sum(c.stage == stage[c.id] for c in three.clues)
        moved += sum(c.stage != stage[c.id] for c in three.clues)
        assert {c.text: c.place for c in two.clues} == {c.text: c.place for c in three.clues}
    assert 0.25 < moved / (same + moved) < 0.45  # a third must move, or the new stage would be empty


def test_a_place_more_moves_only_what_it_takes_in():
    for seed in range(60):
        few, many = (generate(seed, replace(BASE, places=k)) for k in (4, 5))
        new = set(many.places) - set(few.places)
        assert len(new) == 1
        place = {c.id: c.place for c in few.clues}
        moved = [c for c in many.clues if c.place != place[c.id]]
        assert len([c for c in moved if c.place not in new]) <= 1


@pytest.mark.parametrize(
    ("knob", "value", "part"), [("clues", 9, "texts"), ("red_herrings", 5, "texts"), ("culprits", 2, "culprits")]
)
def test_one_more_keeps_those_that_were(knob, value, part):
    for seed in range(40):
        before, after = (set(told(generate(seed, k))[part]) for k in (BASE, replace(BASE, **{knob: value})))
        assert before < after


def test_a_special_rule_more_keeps_the_rules_and_alibis_that_were():
    for seed in range(40):
        scripts = [generate(seed, replace(BASE, special_rules=k)) for k in (0, 1, 2)]
        alibis = [{c.text for c in s.clues if not {f.who for f in c.facts} & set(s.culprits)} for s in scripts]
        assert alibis[0] == alibis[1] == alibis[2]
        assert scripts[1].rules == scripts[2].rules[:1]


def test_a_character_more_keeps_names_and_is_the_culprit_no_more_often_than_others():
    n_new = 0
    for seed in range(500):
        few, many = generate(seed, replace(BASE, characters=6)), generate(seed, BASE)
        assert many.names[:6] == few.names
        assert many.given == few.given
        assert set(many.places) == set(few.places)
        n_new += many.culprits != few.culprits
        assert many.culprits in (few.culprits, many.names[6:])
    assert 48 < n_new < 96  # 500 / 7


def test_all_voices_tell_the_same_logic():
    for seed in range(40):
        compact, prose, chinese = (bones(generate(seed, replace(RICH, **voice))) for voice in VOICES.values())
        assert compact == prose == chinese


def bones(script):
    """The logic of a script in seats and numbers."""
    seat = {name: i for i, name in enumerate(script.names)} | {CULPRIT: CULPRIT, "": ""}
    words = story_words(script.language, script.register_)
    places = next(p for p in words.places if set(script.places) <= set(p) and script.given[2].value in p)
    traits = {told: trait for trait, told in words.traits.items()}

    def fact(f):
        trait = traits[f.trait]
        return seat[f.who], trait, (places if trait == "spot" else words.values[trait]).index(f.value)

    return {
        "culprits": [seat[n] for n in script.culprits],
        "given": [fact(f) for f in script.given],
        "clues": [(c.id, places.index(c.place), c.stage, seat[c.private_to], [fact(f) for f in c.facts])
                  for c in script.clues],
        "knows": [[fact(f) for f in c.knows] for c in script.characters],
        "goals": [[(g.check, g.of) for g in c.goals] for c in script.characters],
        "endings": [(e.when, seat[e.who]) for e in script.endings],
    }  # fmt: skip


# --- the words ---------------------------------------------------------------------------------------


def read_texts(script):
    """Everything that a player can come to read."""
    yield script.background
    yield from (r.text for r in script.rules)
    yield from (text for s in script.stages for text in (s.name, s.narration))
    yield from (text for c in script.characters for s in c.sections for text in s.model_dump().values())
    yield from (g.text for c in script.characters for g in c.goals)
    yield from script.names
    yield from (text for c in script.clues for text in (c.text, c.place))
    yield from (e.text for e in script.endings)
    yield script.truth.text


def count_words(sections):
    return sum(len(text.split()) for text in sections.model_dump().values())


def count_signs(sections):
    return sum(map(len, sections.model_dump().values()))


def test_a_compact_script_keeps_to_its_vocabulary_and_uses_all_of_it():
    scripts = [s for _, s in draw_many(150, register="compact")]
    used = {w for s in scripts for text in read_texts(s) for w in re.findall(r"[^\W\d_]+", text)}
    assert used == set(vocabulary())


def test_the_vocabulary_is_tiny_and_no_name_is_a_word():
    words = vocabulary()
    assert len(words) <= 200
    assert words == sorted(set(words))
    others = [w.casefold() for w in words if w not in COMPACT.names]
    assert not {n.casefold() for n in COMPACT.names} & set(others)
    assert len(set(COMPACT.names)) == 24
    values = [v for values in (*COMPACT.values.values(), *COMPACT.places) for v in values]
    assert len(set(values)) == len(values)  # a word says one thing


def test_a_compact_clue_says_its_fact_word_for_word():
    for _, s in draw_many(60, register="compact"):
        for c in s.clues:
            for f in c.facts:
                assert c.text.endswith(f"{f.who} {f.trait} the {f.value}.")


def test_values_appear_word_for_word(drawn):
    for _, s in drawn:
        assert all(f.value in s.background for f in s.given)
        assert all(f.who in c.text and f.value in c.text for c in s.clues for f in c.facts)
        for r in s.rules:
            assert all(v in r.text for v in (*r.when.values(), *r.then.values()))
        for c in s.characters:
            text = " ".join(c.sections[0].model_dump().values())
            assert all(f.value in text and (f.who == c.name or f.who in text) for f in c.knows)


def test_compact_sections_are_short(plain):
    lengths = [count_words(x) for s in plain for c in s.characters for x in c.sections]
    assert min(lengths) >= 15
    assert max(lengths) <= 40


def test_prose_sections_are_long_enough_to_play():
    for knobs in (Knobs(register="prose"), Knobs(register="prose", stages=4, culprits=2, ending="open")):
        for s in generate_many(60, 1, knobs):
            assert all(115 <= count_words(x) <= 300 for c in s.characters for x in c.sections)


def test_chinese_sections_are_long_enough_to_play():
    for knobs in (Knobs(**VOICES["zh"]), Knobs(**VOICES["zh"], stages=4, culprits=2, ending="open")):
        for s in generate_many(60, 1, knobs):
            assert all(160 <= count_signs(x) <= 520 for c in s.characters for x in c.sections)


def test_culprits_know_each_other(drawn):
    for k, s in drawn:
        for c in (c for c in s.characters if k.culprits > 1 and c.faction == "culprit"):
            assert all(n in c.sections[0].relationship for n in s.culprits if n != c.name)


def test_later_stages_tell_each_character_something_new(drawn):
    for _, s in drawn:
        assert all(stage.narration for stage in s.stages[1:])
        for c in s.characters:
            told = [x.performance if s.register_ == "prose" else x.script for x in c.sections]
            assert len({*told, ""}) == len(told) + 1


@pytest.mark.parametrize("language", PROSES)
def test_whoever_a_red_herring_names_knows_the_harmless_truth_of_it(language):
    for s in generate_many(100, 2, Knobs(register="prose", language=language, red_herrings=8)):
        for c in s.clues:
            named = [] if c.facts else [x for x in s.characters if x.name in c.text]
            story = {x.name: x.sections[0].script for x in named}
            thing = [t for k, v in PROSES[language].phrases.items() if k.startswith("thing/") for t in v if t in c.text]
            assert all(any(t in text for t in thing) for text in story.values())


def test_english_is_clean(drawn):
    vowel = re.compile(r"\b[Aa] [aeiouAEIOU]|\b[Aa]n [^aeiouAEIOUh]")
    for _, s in (pair for pair in drawn if pair[0].language == "en"):
        for text in (t for t in read_texts(s) if t):
            assert not re.search(r"[{}\n]|  | [.,;:]|\.\.", text)
            assert not vowel.search(text), text
        for text in (t for c in s.characters for x in c.sections for t in x.model_dump().values() if t):
            assert all(sentence[0].isupper() for sentence in re.split(r"(?<=[.?!]) ", text)), text
            assert text[-1] in ".?!"


def test_chinese_is_clean(drawn):
    """No Latin sign, no blank, no punctuation twice; a section ends a sentence; nobody is called he or she."""
    for _, s in (pair for pair in drawn if pair[0].language == "zh"):
        for text in filter(None, read_texts(s)):
            assert not re.search(r"[\x00-\x7f]|[，。；：！？、]{2}|^[，。；：！？、]", text), text
            assert not re.search("他(?!们)|她", text.replace("其他", "").replace("他人", "")), text
        for text in filter(None, (t for c in s.characters for x in c.sections for t in x.model_dump().values())):
            assert text[-1] in "。？！"


def test_chinese_counts_things_by_their_words():
    """Of every weapon, garment and sign there is one kind of measure word, and it stands before each."""
    measures = {"weapon": "把", "garment": "件", "sign": "枚"}
    for _, s in draw_many(60, **VOICES["zh"], special_rules=1, clues=8):
        for text in read_texts(s):
            for trait, measure in measures.items():
                for value in CHINESE.values[trait]:
                    for counted in re.findall(rf"一(.){value}", text):
                        assert counted == measure, text


def test_all_lists_are_as_long_as_the_logic_expects():
    for words in (COMPACT, PROSE, CHINESE):
        assert len(set(words.names)) == 24
        assert {len(set(p)) for p in words.places} == {12}
        assert {t: len(set(v)) for t, v in words.values.items()} == {"weapon": 8, "garment": 8, "sign": 6}
        assert len(words.places) == len(words.settings)
    for words in PROSES.values():
        assert len(set(words.surnames)) == 24
        assert {len(words.why[t]) for t in ("weapon", "garment")} == {8}


def test_both_languages_have_as_many_ways_to_say_each_thing():
    english, chinese = ({key: len(ways) for key, ways in words.phrases.items()} for words in PROSES.values())
    assert english == chinese
    assert (len(PROSE.victims), len(PROSE.settings)) == (len(CHINESE.victims), len(CHINESE.settings))
    assert (PROSE.first, PROSE.later) == (CHINESE.first, CHINESE.later)
