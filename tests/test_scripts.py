"""A script is read and written without loss, a bad file is explained, and the solver is right by hand."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maro_lib.world.scripts import Fact, ScriptError, Sections, bundled, dump_script, load_script, parse_script
from maro_lib.world.solver import clue_facts, has_logic, is_solvable, know, suspects

NAMES = ["Ann", "Ben O'Hara", "王明", "Zoë-Ünal", "null", "3", "#7", "- x", "no", "{y}", "😀", "Mr. Fox, Esq", "0x1F",
         "~"]  # fmt: skip
ODD = ["", "yes", "1e-4", "2020-01-01", "a: b", "# no comment", "两行\n第二行", "tab\tend", "\u2028sep\u2029", "a\x85b",
       "back\\slash", "\"quotes\" 'both'", "- item\n  - item", "  inner  blanks \n\n\nlines", "é\u0301", "\x00\x07\x1b",
       "%", "|", ">-", "---", "...", "😀\U0001f9d0", "\ufeffbom", "\r\nx\ry", "𝔘"]  # fmt: skip
texts = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


def small(**changes) -> dict:
    """A script of three with one clue, changed as given."""
    sections = [{"story": "You were there."}]
    data = {
        "title": "Small", "cell": "SOC", "background": "Somebody did it.",
        "characters": [
            {"name": "Ann", "faction": "culprit", "sections": sections},
            {"name": "Ben", "faction": "civilian", "sections": sections},
            {"name": "Cal", "faction": "civilian", "sections": sections},
        ],
        "clues": [{"id": "k1", "text": "A glove.", "place": "Hall"}],
        "truth": {"culprits": ["Ann"], "text": "Ann did it."},
    }  # fmt: skip
    return data | changes


def changed(i: int, **fields) -> list[dict]:
    """The small script's characters, the i-th changed."""
    people = small()["characters"]
    people[i] = people[i] | fields
    return people


def clue(**fields) -> list[dict]:
    return [{"id": "k1", "text": "A glove.", "place": "Hall"} | fields]


# --- without loss ----------------------------------------------------------------------------------


@st.composite
def scripts(draw):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    n_stages = draw(st.integers(1, 3))
    who = st.sampled_from([*names, "culprit"])
    facts = st.lists(st.fixed_dictionaries({"who": who, "trait": texts, "value": texts}), max_size=2)
    section = st.dictionaries(st.sampled_from(list(Sections.model_fields)), texts)
    guilty = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    people = [
        {"name": n, "faction": "culprit" if n in guilty else "civilian", "role": draw(texts), "knows": draw(facts),
         "sections": draw(st.lists(section, min_size=n_stages, max_size=n_stages)),
         "goals": [{"text": draw(texts), "check": "accused", "of": draw(st.sampled_from(names))}]}
        for n in names
    ]  # fmt: skip
    found = [
        {"id": f"k{i}", "text": draw(texts), "place": f"place {i}", "stage": draw(st.integers(1, n_stages)),
         "private_to": draw(st.sampled_from(["", *names])), "facts": draw(facts)}
        for i in range(draw(st.integers(1, 3)))
    ]  # fmt: skip
    return parse_script({
        "title": "T" + draw(texts), "cell": ("S" if n_stages == 1 else "M") + draw(st.sampled_from(["OC", "UO"])),
        "language": draw(st.sampled_from(["en", "zh"])), "register": draw(st.sampled_from(["prose", "compact"])),
        "background": draw(texts), "given": draw(facts), "unique": draw(st.lists(texts, max_size=2)),
        "stages": [{"name": draw(texts), "narration": draw(texts)} for _ in range(n_stages)],
        "rules": [{"text": draw(texts), "when": draw(st.dictionaries(texts, texts)), "then": {"no": "yes"}}],
        "characters": people, "clues": found, "endings": [{"when": "accused", "who": names[0], "text": draw(texts)}],
        "truth": {"culprits": [*guilty, "an outsider"], "text": draw(texts)},
    })  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(script=scripts())
def test_yaml_keeps_every_script(tmp_path_factory, script):
    path = tmp_path_factory.getbasetemp() / "case.yaml"
    dump_script(script, path)
    assert load_script(path) == script
    assert load_script(path).digest == script.digest


def test_yaml_is_written_to_be_read():
    text = dump_script(parse_script(small(background="雨夜。\n井边。")))
    assert "雨夜。" in text
    assert text.index("title") < text.index("background") < text.index("characters") < text.index("truth")
    assert parse_script(small(background="\n 雨夜。 ")).background == "雨夜。"
    assert "trigger" not in text  # what is left at its default is not written


def test_the_digest_sees_every_change():
    one, same = parse_script(small()), parse_script(small())
    assert one.digest == same.digest
    assert one.digest != parse_script(small(background="Somebody else did it.")).digest
    assert one.digest != parse_script(small(unique=["arm"])).digest
    assert one.model_copy().digest == one.digest != one.model_copy(update={"title": "Other"}).digest


def test_a_script_tells_names_places_and_culprits():
    found = [
        *clue(),
        *clue(id="k2", place="Attic"),
        *clue(id="k3"),
        *clue(id="m", place="", private_to="Ben", trigger="x"),
    ]
    script = parse_script(small(clues=found))
    assert (script.names, script.places, script.culprits) == (("Ann", "Ben", "Cal"), ("Hall", "Attic"), ("Ann",))
    assert script.n_culprits == 1
    assert script.character("Ben").faction == "civilian"


def test_a_culprit_outside_the_players_is_allowed():
    script = parse_script(small(characters=changed(0, faction="civilian"), truth={"culprits": ["Zed"], "text": ""}))
    assert (script.culprits, script.truth.culprits) == ((), ("Zed",))


# --- bad files -------------------------------------------------------------------------------------

BAD = {
    "an unknown field": (small(backgrund="x"),
        "backgrund: unknown name; did you mean 'background'? (known: title, cell, language, register, background,"),
    "an unknown field deep inside": (small(characters=changed(1, sections=[{"storry": "x"}])),
        "characters[1].sections[0].storry: unknown name; did you mean 'story'? (known: story, script, relationship,"),
    "a missing field": ({k: v for k, v in small().items() if k != "truth"}, "truth: is missing"),
    "a wrong type inside": (small(characters=changed(2, sections={"story": "x"})),
        "characters[2].sections: Input should be a valid tuple; got a dict"),
    "a wrong choice": (small(characters=changed(0, faction="butler")),
        "characters[0].faction: Input should be 'culprit' or 'civilian'; got 'butler'"),
    "a cell that is none": (small(cell="XYZ"), "cell: String should match pattern '^[SM][OU][OC]$'; got 'XYZ'"),
    "a list for a script": ([small()], "Input should be a valid dictionary or instance of Script"),
    "one player": (small(characters=small()["characters"][:1]), "characters: Tuple should have at least 2 items"),
    "no clue": (small(clues=[]), "clues: Tuple should have at least 1 item"),
    "a name with a colon": (small(characters=changed(1, name="Ben: x")), "characters[1].name: String should match"),
    "a clue for nobody": (small(clues=clue(private_to="Bem")),
        "clues[0] (k1).private_to: nobody is called 'Bem'; did you mean 'Ben'?"),
    "a fact about nobody": (small(clues=clue(facts=[{"who": "Kal", "trait": "arm", "value": "left"}])),
        "clues[0] (k1).facts[0].who: nobody is called 'Kal'; did you mean 'Cal'?"),
    "a given fact about nobody": (small(given=[{"who": "Q", "trait": "arm", "value": "left"}]),
        "given[0].who: nobody is called 'Q'"),
    "a known fact about nobody": (small(characters=changed(1, knows=[{"who": "Q", "trait": "arm", "value": "left"}])),
        "characters[1].knows[0].who: nobody is called 'Q'"),
    "too few sections": (small(cell="MOC", stages=[{}, {}], characters=changed(1, sections=[{}, {}])),
        "characters[0].sections: 1 given, but there are 2 stages"),
    "a single cell with stages": (
        small(stages=[{}, {}], characters=[c | {"sections": [{}, {}]} for c in small()["characters"]]),
        "cell: SOC does not fit 2 stages"),
    "a multi cell with one stage": (small(cell="MUO"), "cell: MUO does not fit 1 stage"),
    "a culprit that the truth leaves out": (small(characters=changed(2, faction="culprit")),
        "truth.culprits: ['Ann'], but the faction says ['Ann', 'Cal']"),
    "a culprit that the factions leave out": (small(truth={"culprits": ["Ann", "Cal"], "text": ""}),
        "truth.culprits: ['Ann', 'Cal'], but the faction says ['Ann']"),
    "a truth without culprit": (small(truth={"culprits": [], "text": ""}),
        "truth.culprits: Tuple should have at least 1 item"),
    "a name given twice": (small(characters=changed(1, name="Ann")), "characters: two have the same name"),
    "an alias that is taken": (small(characters=changed(1, aliases=["ann"])),
        "characters[1]: the name 'ann' is taken"),
    "somebody called culprit": (small(characters=changed(1, name="Culprit")),
        "characters[1]: the name 'Culprit' is taken"),
    "a clue id given twice": (small(clues=clue() * 2), "clues: two have the same id"),
    "a clue of a later stage": (small(clues=clue(stage=2)), "clues[0] (k1).stage: 2, but there are 1 stages"),
    "a clue of stage 0": (small(clues=clue(stage=0)), "clues[0].stage: Input should be greater than or equal to 1"),
    "a clue without place": (small(clues=[{"id": "k1", "text": "x"}]),
        "clues[0] (k1).place: a clue that is no memory needs a place"),
    "a memory of nobody": (small(clues=clue(trigger="rain")),
        "clues[0] (k1).trigger: a memory needs `private_to`, the character whose memory it is"),
    "a goal about nobody": (small(characters=changed(1, goals=[{"text": "x", "check": "accused", "of": "Ban"}])),
        "characters[1].goals[0].of: 'Ban' is unknown; did you mean"),
    "a goal about no clue": (small(characters=changed(1, goals=[{"text": "x", "check": "clue_found", "of": "k11"}])),
        "characters[1].goals[0].of: 'k11' is unknown; did you mean 'k1'?"),
    "an ending about nobody": (small(endings=[{"when": "accused", "who": "Zed", "text": "x"}]),
        "endings[0].who: nobody is called 'Zed'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_script_names_file_path_and_mistake(tmp_path, case):
    data, said = BAD[case]
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ScriptError) as error:
        load_script(path)
    first, *lines = str(error.value).split("\n")
    assert first == f"{path}:"
    assert any(line.startswith(f"  {said}") for line in lines), "\n".join(lines)


def test_every_mistake_is_told_at_once():
    data = small(clues=[*clue(private_to="Bem"), *clue(id="k2", place="")], cell="MOC")
    with pytest.raises(ScriptError) as error:
        parse_script(data, "case")
    assert len(str(error.value).split("\n")) == 1 + 3


def test_a_refused_item_does_not_also_make_its_list_too_short():
    with pytest.raises(ScriptError) as error:
        parse_script(small(clues=clue(text=7)), "case")
    assert str(error.value) == "case:\n  clues[0].text: Input should be a valid string; got 7"


def test_many_mistakes_are_cut_with_their_count():
    with pytest.raises(ScriptError, match=r"\(\+8 more\)$"):
        parse_script(small(clues=[{"id": f"k{i}", "text": 7, "place": "Hall"} for i in range(20)]))


@pytest.mark.parametrize(("content", "said"), [
    (b"title: \xff\xfe", "is not UTF-8 text (byte 7)"),
    (b"title: [1, 2", "is not plain YAML: "),
    (b"title: a\ntitle: b", "a key is given twice"),
    (b"clues:\n- {id: a, id: b}", "a key is given twice"),
    (b"title: !!python/object/apply:os.getcwd []", "is not plain YAML: a tag (`!...`)"),
    (b"? [a]\n: b", "is not plain YAML: "),
    (b"", "holds 0 YAML documents"),
    (b"a: 1\n---\nb: 2\n", "holds 2 YAML documents"),
])  # fmt: skip
def test_a_file_that_is_no_script_is_named(tmp_path, content, said):
    path = tmp_path / "case.yaml"
    path.write_bytes(content)
    with pytest.raises(ScriptError) as error:
        load_script(path)
    assert str(error.value).startswith(f"{path}:")
    assert said in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScriptError, match=r"nowhere\.yaml: can't be read \(No such file or directory\)"):
        load_script(tmp_path / "nowhere.yaml")


# --- the solver, by hand ---------------------------------------------------------------------------


def facts(told: str) -> list[Fact]:
    """Facts from "who trait value, who trait value, ..."."""
    return [Fact(who=w, trait=t, value=v) for w, t, v in map(str.split, filter(None, told.split(", ")))]


TRUTH_OF_TWO = {"culprits": ["Ann", "Ben"], "text": ""}
ONE = parse_script(small(unique=["ring"]))
TWO = parse_script(small(unique=["ring"], characters=changed(1, faction="culprit"), truth=TRUTH_OF_TWO))
ALL, PAIRS = ["Ann", "Ben", "Cal"], ["Ann Ben", "Ann Cal", "Ben Cal"]
SUSPECTS = {  # what is known, and who can have done it: one, or two together
    "without facts everybody is suspect": ("", ALL, PAIRS),
    "another value clears": ("culprit arm left, Ben arm right", ["Ann", "Cal"], ["Ann Cal"]),
    "the same value neither clears nor convicts": ("culprit arm left, Ben arm left", ALL, PAIRS),
    "one of several values does not clear": ("culprit arm left, Ben arm right, Ben arm left", ALL, PAIRS),
    "a trait that the culprit is not known to have clears nobody": ("culprit arm left, Ben hat red", ALL, PAIRS),
    "a unique trait convicts": ("culprit ring gold, Ben ring gold", ["Ben"], ["Ann Ben", "Ben Cal"]),
    "a unique trait convicts both of two": ("culprit ring gold, Ben ring gold, Cal ring gold", [], ["Ben Cal"]),
    "another value of a unique trait clears": ("culprit ring gold, Ben ring tin", ["Ann", "Cal"], ["Ann Cal"]),
    "a unique trait of which nothing is given": ("Ben ring gold", ALL, PAIRS),
    "all are cleared": ("culprit arm left, Ann arm right, Ben arm right, Cal arm right", [], []),
    "who is caught is cleared": ("culprit ring gold, Ann ring gold, culprit arm left, Ann arm right", [], []),
}


@pytest.mark.parametrize("law", SUSPECTS)
def test_the_solver_by_hand(law):
    known, *left = SUSPECTS[law]
    assert [[" ".join(c) for c in suspects(script, facts(known))] for script in (ONE, TWO)] == left


SEEN_MIRRORED = {"text": "Who casts no shadow is seen mirrored.", "when": {"shadow": "none", "arm": "left"},
                 "then": {"arm": "right"}}  # fmt: skip
MIRROR = parse_script(small(cell="SUC", rules=[SEEN_MIRRORED]))


def test_a_special_rule_overrides_what_was_seen():
    seen = "culprit arm left, Ben arm left, Cal arm right"
    assert suspects(MIRROR, facts(seen)) == [("Ann",), ("Ben",)]
    shadowless = facts(f"{seen}, Ben shadow none")
    assert suspects(MIRROR, shadowless) == [("Ann",)]
    assert know(MIRROR, shadowless)["Ben"] == {"arm": {"right"}, "shadow": {"none"}}


def test_a_special_rule_needs_all_of_its_conditions():
    assert know(MIRROR, facts("culprit arm left, Ben shadow none"))["Ben"] == {"shadow": {"none"}}


def test_a_special_rule_never_rewrites_the_culprits_profile():
    assert suspects(MIRROR, facts("culprit arm left, culprit shadow none, Ben arm right")) == [("Ann",), ("Cal",)]


def test_special_rules_follow_from_each_other_in_any_order():
    chain = [
        {"text": "Ghosts are cold.", "when": {"kind": "ghost"}, "then": {"touch": "cold"}},
        {"text": "Who is dead is a ghost.", "when": {"pulse": "none"}, "then": {"kind": "ghost"}},
    ]
    for rules in (chain, chain[::-1]):
        known = know(parse_script(small(cell="SUC", rules=rules)), facts("Ben pulse none"))
        assert known["Ben"] == {"pulse": {"none"}, "kind": {"ghost"}, "touch": {"cold"}}


def test_a_special_rule_without_condition_changes_nothing():
    script = parse_script(small(cell="SUC", rules=[{"text": "It is always night.", "then": {"arm": "left"}}]))
    assert know(script, facts("Ben arm right"))["Ben"] == {"arm": {"right"}}


def known(script):
    """What the characters know, beside the clues."""
    return [f for c in script.characters for f in c.knows]


def test_a_case_is_solvable_from_given_facts_and_clues_alone():
    wants = [{"who": "culprit", "trait": "arm", "value": "left"}]
    clears = [{"who": n, "trait": "arm", "value": "right"} for n in ("Ben", "Cal")]
    fair = parse_script(small(given=wants, clues=clue(facts=clears)))
    assert is_solvable(fair)
    assert not is_solvable(parse_script(small(given=wants, clues=clue(facts=clears[:1]))))
    unfair = parse_script(small(given=wants, clues=clue(facts=clears[:1]), characters=changed(1, knows=clears[1:])))
    assert not is_solvable(unfair)
    assert suspects(unfair, (*clue_facts(unfair), *known(unfair))) == [("Ann",)]
    assert [f.who for f in clue_facts(unfair)] == ["culprit", "Ben"]
    assert [f.who for f in known(unfair)] == ["Cal"]


def test_a_case_that_convicts_an_innocent_is_not_solvable():
    wants = [{"who": "culprit", "trait": "arm", "value": "left"}]
    clears = [{"who": n, "trait": "arm", "value": "right"} for n in ("Ann", "Ben")]
    assert not is_solvable(parse_script(small(given=wants, clues=clue(facts=clears))))


def test_a_script_without_facts_has_no_logic():
    assert not has_logic(ONE)
    assert not is_solvable(ONE)
    assert has_logic(parse_script(small(given=[{"who": "Ben", "trait": "arm", "value": "left"}])))


# --- the bundled mysteries -------------------------------------------------------------------------

CASES = bundled()
each_case = pytest.mark.parametrize("script", CASES.values(), ids=CASES)


@each_case
def test_what_characters_know_fits_the_truth_of_a_bundled_mystery(script):
    assert suspects(script, (*clue_facts(script), *known(script))) == suspects(script, clue_facts(script))


@each_case
def test_no_single_clue_solves_a_bundled_mystery(script):
    for found in script.clues:
        left = suspects(script, [*script.given, *found.facts])
        assert len(left) > 1, f"{found.id} leaves only {left}"


@each_case
def test_an_unorthodox_mystery_needs_its_rules_and_no_other_has_any(script):
    assert bool(script.rules) == (script.cell[1] == "U")
    without = script.model_copy(update={"rules": ()})
    assert is_solvable(without) == (script.cell[1] == "O")


def test_the_bundled_mysteries_cover_the_range():
    shapes = [(s.cell, s.language, len(s.names), len(s.stages)) for s in CASES.values()]
    assert any(cell == "SOO" and players >= 5 for cell, _, players, _ in shapes)
    assert any(cell == "MUC" and players >= 6 and stages >= 3 for cell, _, players, stages in shapes)
    assert any(cell not in ("SOO", "MUC") for cell, language, _, _ in shapes if language == "en")
    assert sum(language == "en" for _, language, _, _ in shapes) >= 3
    assert any(language == "zh" for _, language, _, _ in shapes)
