"""MIRAGE's layout is read whole: who knows what, who did it, what is odd, and what is broken."""

import json
import shutil
from pathlib import Path

import pytest

from maro_lib.world.mirage import MIRAGE, is_mirage, load_mirage
from maro_lib.world.mirage_files import Checkout
from maro_lib.world.scripts import ScriptError

FIXTURES = Path(__file__).parent / "fixtures" / "mirage"
LANTERN, ROWING, MUSEUM, BOW = (
    "The Lantern House", "Article 9 of the Rowing Club", "Night at the Museum", "The Last Bow",
)  # fmt: skip
TEA, INN = "茶楼夜雨", "灯笼客栈"
CULPRITS = {LANTERN: "Mother Agnes", ROWING: "Bruno", BOW: "Rolf Adler", TEA: "罗掌柜", INN: "桐生"}


def load(folder: Path, **options) -> Checkout:
    """Load a checkout, and name the culprit of each title that nobody has published."""
    unpublished = {title: CULPRITS[title] for title in load_mirage(folder).notes if title in CULPRITS}
    return load_mirage(folder, **{"culprits": unpublished} | options)


@pytest.fixture(scope="module")
def loaded() -> Checkout:
    return load(FIXTURES)


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the fixtures that a test may break."""
    return shutil.copytree(FIXTURES, tmp_path / "checkout")


def rewrite(path: Path, change) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def places(script) -> dict[str, list[str]]:
    return {p: [c.text for c in script.clues if c.place == p] for p in script.places}


# --- what is read ----------------------------------------------------------------------------------


def test_both_languages_load_from_the_root(loaded):
    assert {t: s.language for t, s in loaded.scripts.items()} == {
        LANTERN: "en", ROWING: "en", MUSEUM: "en", BOW: "en", TEA: "zh", INN: "zh",
    }  # fmt: skip
    assert loaded.failed == ()


@pytest.mark.parametrize(("home", "titles"), [("western", 4), ("东方", 2)])
def test_one_language_folder_loads_alone(home, titles):
    assert len(load(FIXTURES / home).scripts) == titles


def test_a_checkout_loads_from_its_top(copy):
    shutil.move(copy, copy.parent / "dataset")
    assert len(load(copy.parent).scripts) == 6


def test_the_language_is_told_by_the_text_not_by_the_folder(copy):
    (copy / "western").rename(copy / "Zh")
    (copy / "东方").rename(copy / "En")
    assert {t: s.language for t, s in load(copy).scripts.items()}[TEA] == "zh"
    assert load(copy / "Zh").scripts[LANTERN].language == "en"


def test_a_narration_beside_characters_is_the_background(loaded):
    assert loaded.scripts[LANTERN].background.startswith("The keeper of the lantern house")
    assert loaded.scripts[TEA].background == "雨夜，茶楼的账房老贺倒在后院的井边。"


def test_narrations_at_both_levels_are_for_all(loaded):
    script = loaded.scripts[ROWING]
    assert script.background == "Everybody is brought to the boathouse."
    assert [(s.name, s.narration) for s in script.stages] == [
        ("Stage 1", "The cup was stolen and the steward, Mr. Dray, was drowned."),
        ("Stage 2", "The lights go out and somebody laughs."),
    ]


def test_each_stage_has_its_sections(loaded):
    bruno = loaded.scripts[ROWING].character("Bruno")
    assert [s.script for s in bruno.sections] == [
        "You drank with the steward.",
        "You hold him under again, in your dreams.",
    ]


def test_chinese_section_names_are_known(loaded):
    told = loaded.scripts[TEA].character("沈青").sections[0]
    assert (told.story, told.script, told.relationship) == (
        "你在茶楼说书。",
        "三更时你听见井绳响。",
        "老贺欠你的钱。",
    )
    assert (told.performance, told.purpose, told.ability) == ("说话要慢。", "拿回工钱。", "")


def test_nested_sections_keep_all_text(loaded):
    told = loaded.scripts[LANTERN].character("Ned Pike (the Ferryman)").sections[0]
    assert told.story == "Then: You carried oil across the strait.\nNow: You carry letters.\nYou read some of them."


def test_an_unknown_section_is_kept_and_noted(loaded):
    story = loaded.scripts[LANTERN].character("Clara Voss").sections[0].story
    assert story == "You trim the wicks.\nSecret: You once dropped the great lens and let another take the blame."
    assert "the section 'Secret' is unknown: its text is kept in `story`" in loaded.notes[LANTERN]
    assert loaded.scripts[TEA].character("罗掌柜").sections[0].story.endswith("随身物品: 一把旧钥匙。")


def test_nothing_that_is_written_is_lost(loaded):
    for script in loaded.scripts.values():
        folder = next(f for f in FIXTURES.glob("*/*") if f.name[-8:] == script.title[-8:])
        told = json.dumps(script.model_dump(mode="json"), ensure_ascii=False)
        for file in folder.glob("*.json"):
            assert all(text in told for text in strings(json.loads(file.read_text(encoding="utf-8"))))


def strings(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for v in inside for text in strings(v)]


def test_clues_lie_in_their_places(loaded):
    assert places(loaded.scripts[LANTERN]) == {
        "Stairwell": [
            "The top stair is slick with lamp oil.",
            "a torn hem: grey wool\na bead: of olive wood\nwith a cross",
        ],
        "Lamp room": ["The oil can is lighter than the ledger says."],
        "Mother Agnes's things": ["A rosary that lacks one bead."],
        "the Ferryman's things": ["A letter that was opened and sealed again."],
    }
    assert places(loaded.scripts[TEA])["厨房"] == ["灶上的水早就凉了。"]


def test_a_place_named_after_a_character_is_its_things(loaded):
    assert places(loaded.scripts[TEA])["罗掌柜的物品"] == ["长衫少了一枚铜扣。"]
    assert "雪娘的房间" in loaded.scripts[INN].places
    assert "Tamsin Hale (Cox)'s things" in loaded.scripts[ROWING].places
    assert all(not c.private_to for c in loaded.scripts[ROWING].clues if c.place)


def test_clues_by_stage_open_at_their_stage(loaded):
    stage = {c.text: c.stage for c in loaded.scripts[ROWING].clues}
    assert (stage["A single wet glove."], stage["Grey feathers."], stage["You saw the stroke pull it off with his "
            "teeth."]) == (1, 2, 2)  # fmt: skip
    assert stage["Two sets of prints go in, one comes out."] == 1


def test_clues_without_stages_open_at_once(loaded):
    assert [c.stage for c in loaded.scripts[BOW].clues] == [1, 1]


def test_memories_wait_for_their_word(loaded):
    held = [(c.private_to, c.trigger, c.place) for c in loaded.scripts[LANTERN].clues if c.trigger]
    assert held == [("Clara Voss", "rosary", ""), ("Clara Voss", "letter", "")]
    assert [(c.private_to, c.trigger) for c in loaded.scripts[TEA].clues if c.trigger] == [("沈青", "铜扣")]
    assert [(c.private_to, c.stage) for c in loaded.scripts[ROWING].clues if c.trigger] == [("Ines (the Heron)", 2)]


def test_a_text_under_a_characters_name_is_for_it_alone(loaded):
    script = loaded.scripts[ROWING]
    secret = "Keep this to yourself: the steward paid you to lose."
    assert script.character("Tamsin").sections[0].script.endswith(secret)
    assert secret not in script.model_dump_json(exclude={"characters"})
    assert script.character("The Doctor").sections[1].script == "You find your own bag emptied."
    assert "emptied" not in "".join(s.narration for s in script.stages)
    assert loaded.scripts[INN].character("小狐").sections[0].script.endswith("只有你知道：客人的茶里有药。")


def test_a_name_that_grows_between_stages_is_one_character(loaded):
    assert loaded.scripts[INN].names == ("灯笼鬼", "雪娘", "小狐")
    assert "桐生" in loaded.scripts[INN].character("灯笼鬼").aliases
    assert loaded.scripts[ROWING].character("Tamsin").sections[1].script == "You remember whose glove it was."
    assert "'Tamsin Hale (Cox)' in 'Stage 2' is taken to be 'Tamsin'" in loaded.notes[ROWING]


def test_a_character_of_some_stages_has_empty_sections_in_the_others(loaded):
    heron = loaded.scripts[ROWING].character("Ines (the Heron)")
    assert (heron.sections[0].story, heron.sections[1].story) == ("", "You have watched from the reeds.")
    absent = [n for n in loaded.notes[ROWING] if "has no part" in n]
    assert absent == ["Ines (the Heron) has no part in 'Stage 1': its sections there are empty"]


PERSON = {"Story": "You were there."}


def cast_of(copy: Path, *stages: list[str], clues: dict | None = None):
    """The script of a title whose stages have these characters."""
    folder = copy / "western" / BOW
    script = {f"Act {k}": dict.fromkeys(names, PERSON) for k, names in enumerate(stages, 1)}
    (folder / "script.json").write_text(json.dumps(script))
    if clues:
        (folder / "clues.json").write_text(json.dumps(clues))
    return load(copy).scripts[BOW]


def test_two_characters_with_a_common_byname_stay_two(copy):
    script = cast_of(copy, ["Ada (Twin)", "Berta (Twin)", "Cy"], ["Ada", "Berta (Twin)", "Cy"])
    assert script.names == ("Ada (Twin)", "Berta (Twin)", "Cy")
    assert all(c.sections[1].story == "You were there." for c in script.characters)
    assert [c.aliases for c in script.characters] == [("Ada",), ("Berta",), ()]


def test_a_name_that_two_could_have_grown_into_stays_itself(copy):
    assert cast_of(copy, ["Ada", "Cy"], ["Ada Moss", "Ada Reed", "Cy"]).names == ("Ada", "Cy", "Ada Moss", "Ada Reed")


def test_a_longer_name_beside_the_short_one_is_another_character(copy):
    assert cast_of(copy, ["Ada", "Cy"], ["Ada", "Ada Moss", "Cy"]).names == ("Ada", "Cy", "Ada Moss")


def test_a_common_spelling_goes_before_common_words(copy):
    script = cast_of(copy, ["Fox", "Little Fox"], ["Fay (Little Fox)", "Fox"])
    assert script.names == ("Fox", "Little Fox")
    script = cast_of(copy, ["Fox", "Little Fox"], ["Fay (Little Fox)", "Gil Fox"])
    assert [c.aliases for c in script.characters] == [("Gil Fox",), ("Fay", "Fay (Little Fox)")]


def test_a_name_goes_before_a_byname(copy):
    clues = {"Maid": ["An apron."], "Ada (Maid)": {"apron": "It is yours."}}
    script = cast_of(copy, ["Maid", "Ada (Maid)"], clues=clues)
    assert [(c.place, c.private_to) for c in script.clues] == [("Maid's things", ""), ("", "Ada (Maid)")]


# --- titles ----------------------------------------------------------------------------------------


def test_a_misspelt_folder_is_paired_and_noted(loaded):
    assert loaded.notes[ROWING][0] == "its folder is spelt 'Artical 9 of the Rowing Club'"


def test_a_folder_that_two_titles_are_near_to_is_not_guessed(copy):
    home = copy / "western"
    (home / BOW).rename(home / "The Last Bowl")
    rewrite(home / "Truth.json", lambda t: t.update({"The Last Bowls": t[BOW]}))
    loaded = load(copy)
    assert set(loaded.failed) == {BOW, "The Last Bowls", "The Last Bowl"}
    assert len(loaded.scripts) == 5


def test_a_title_that_two_folders_are_near_to_is_not_guessed(copy):
    home = copy / "western"
    shutil.copytree(home / BOW, home / "The Last Bowl")
    (home / BOW).rename(home / "The Lost Bow")
    note = load(copy).notes[BOW][0]
    assert note.startswith("not loaded: 'The Last Bow' may mean ")
    assert "'The Lost Bow'" in note
    assert "'The Last Bowl'" in note
    assert note.endswith("rename the folder")


def test_a_title_without_folder_and_a_folder_without_title_are_noted(copy):
    (copy / "western" / BOW).rename(copy / "western" / "Something Else")
    loaded = load(copy)
    assert set(loaded.failed) == {BOW, "Something Else"}
    assert "no folder is called like it" in loaded.notes[BOW][0]
    assert "the truth file has no title like it" in loaded.notes["Something Else"][0]


def test_the_same_title_twice_is_noted(copy):
    shutil.copytree(copy / "western", copy / "western2")
    notes = load(copy).notes[BOW]
    assert any("western2" in n and "has the same title" in n for n in notes)


def test_other_folders_are_ignored(copy):
    (copy / "western" / "prompts").mkdir()
    assert load(copy).failed == ()


# --- culprits --------------------------------------------------------------------------------------


def test_culprits_are_those_who_did_it(loaded):
    assert {t: s.culprits for t, s in loaded.scripts.items()} == {
        LANTERN: ("Mother Agnes",), ROWING: ("Bruno",), MUSEUM: ("Security Wei",), BOW: (),
        TEA: ("罗掌柜",), INN: ("灯笼鬼",),
    }  # fmt: skip
    assert "culprit: Security Wei (as known of this title)" in loaded.notes[MUSEUM]
    assert "culprit: 灯笼鬼 (as given)" in loaded.notes[INN]


def test_given_culprits_overrule_what_is_known():
    given = load_mirage(FIXTURES, culprits={"night at the museum": "Sa", "茶楼夜雨": ["沈青", "阿桂"]})
    assert given.scripts[MUSEUM].culprits == ("Manager Sa",)
    assert given.scripts[TEA].culprits == ("沈青", "阿桂")
    assert "culprit: 沈青, 阿桂 (as given)" in given.notes[TEA]


def test_a_given_title_that_nobody_has_is_refused():
    with pytest.raises(ScriptError, match=r"culprits: no title is like 'The Moon'; there are .*The Lantern House"):
        load_mirage(FIXTURES, culprits={"The Moon": "Ada"})


def test_a_culprit_who_does_not_play_is_named_not_fatal(loaded):
    script = loaded.scripts[BOW]
    assert script.truth.culprits == ("Rolf Adler",)
    assert {c.faction for c in script.characters} == {"civilian"}
    assert "the culprit, Rolf Adler, is not among the players (Ilse Brandt, Otto Lenz)" in loaded.notes[BOW]


def test_a_title_whose_culprit_is_not_known_asks_for_the_name():
    unnamed = load_mirage(FIXTURES)
    assert list(unnamed.scripts) == [MUSEUM]
    assert set(unnamed.failed) == set(CULPRITS)
    told = unnamed.notes[LANTERN][-1]
    assert told.startswith("not loaded: The Lantern House: who did it is not known of this title, so name the culprit")
    assert "load_mirage(folder, culprits={'The Lantern House': 'name'}); players are Clara Voss, Ned Pike" in told


def test_the_sixteen_published_titles_are_known_in_both_languages():
    cells = [known.cell for known in MIRAGE.published.values()]
    assert cells[:8] == cells[8:] == ["SOC", "SOO", "SUC", "SUO", "MOC", "MOO", "MUC", "MUO"]


# --- cells -----------------------------------------------------------------------------------------


def test_cells_are_known_given_or_guessed_aloud(loaded):
    assert {t: s.cell for t, s in loaded.scripts.items()} == {
        LANTERN: "SOC", ROWING: "MOC", MUSEUM: "SUC", BOW: "MOC", TEA: "SOC", INN: "MOC",
    }  # fmt: skip
    assert any(n.startswith("cell: SOC, where O and C are guesses") for n in loaded.notes[LANTERN])
    assert not any(n.startswith("cell:") for n in loaded.notes[MUSEUM])
    given = load(FIXTURES, cells={INN: "MUO"})
    assert given.scripts[INN].cell == "MUO"
    assert not any(n.startswith("cell:") for n in given.notes[INN])


def test_a_given_cell_must_fit_the_stages():
    note = load(FIXTURES, cells={INN: "SUO"}).notes[INN][-1]
    assert "cell: SUO does not fit 2 stages" in note


# --- what is broken --------------------------------------------------------------------------------


def test_a_folder_without_the_layout_is_refused(tmp_path):
    (tmp_path / "case.yaml").write_text("title: x")
    assert not is_mirage(tmp_path)
    assert is_mirage(FIXTURES)
    with pytest.raises(ScriptError, match=r"no MIRAGE scripts there; expected <language>/Truth\.json"):
        load(tmp_path)


SCRIPT, CLUES = f"western/{LANTERN}/script.json", f"western/{LANTERN}/clues.json"


@pytest.mark.parametrize(("file", "text", "said"), [
    (SCRIPT, '{"Ada": ', "script.json: is not JSON (line 1, column 9)"),
    (SCRIPT, b"\xff\xfe", "script.json: is not UTF-8 text (byte 0)"),
    (SCRIPT, "[]", "script.json: expected an object {...}, got list"),
    (SCRIPT, "{}", "script.json: expected {character: {Story, Script, ...}}, alone or by stage; found nobody"),
    (SCRIPT, '{"Ben": {"Story": ""}, "Ada": ["x"]}', "script.json: Ada: expected a character's sections, a stage or a"),
    (SCRIPT, '{"Ada": {"Story": 7}}', "script.json: Ada.Story: expected text, got int"),
    (SCRIPT, '{"S1": {"Ada": {"Story": 7}}}', "script.json: S1.Ada.Story: expected text, got int"),
    (SCRIPT, '{"Ada": {"Story": {"Then": ["a", true]}}}', "script.json: Ada.Story.Then[1]: expected text, got bool"),
    (SCRIPT, '{"S1": {"Ada": {"Story": ""}}, "Ben": {"Story": ""}}', "script.json: Ben: expected a stage as beside"),
    (CLUES, '{"Attic": ["a"], "Hall": 3}', "clues.json: Hall: expected a list of clues, a clue or memories"),
    (CLUES, '{"Hall": ["a", 3]}', "clues.json: Hall[1]: expected text, got int"),
    (CLUES, '{"Attic": ["a"], "Hall": {"rain": "wet"}}', "clues.json: Hall: expected a list of clues; memories need"),
    (CLUES, '{"Hall": []}', "clues.json: expected {place: [text, ...]}, alone or by stage; found no clue"),
    (SCRIPT, None, "script.json: is missing (it may also be called "),
    (CLUES, None, "clues.json: is missing (it may also be called "),
])  # fmt: skip
def test_a_broken_file_is_named_with_the_path_inside_it(copy, file, text, said):
    (copy / file).unlink()
    if text is not None:
        (copy / file).write_bytes(text.encode() if isinstance(text, str) else text)
    loaded = load(copy)
    assert loaded.failed == (LANTERN,)
    assert len(loaded.scripts) == 5, "the others"
    note = loaded.notes[LANTERN][-1]
    assert note.startswith("not loaded: ")
    assert said in note
    assert str(copy / file) in note


def test_a_stage_that_the_script_does_not_have_is_named(copy):
    rewrite(
        copy / "western" / "Artical 9 of the Rowing Club" / "clues.json", lambda c: c.update({"Stage 3": {"A": []}})
    )
    note = load(copy).notes[ROWING][-1]
    assert "clues.json: Stage 3: expected a stage of the script, but 'Stage 3' may mean 'Stage" in note


@pytest.mark.parametrize(("text", "said"), [(None, "Truth.json: is missing"), ("{", "Truth.json: is not JSON")])
def test_a_language_without_truth_is_named_and_the_other_loads(copy, text, said):
    truth = copy / "western" / "Truth.json"
    truth.unlink() if text is None else truth.write_text(text)
    loaded = load(copy)
    assert set(loaded.scripts) == {TEA, INN}
    assert len(loaded.failed) == 4
    assert all(said in loaded.notes[t][0] for t in loaded.failed)


def test_a_key_given_twice_is_noted(copy):
    text = (copy / CLUES).read_text(encoding="utf-8").replace('"Lamp room"', '"Stairwell"')
    (copy / CLUES).write_text(text, encoding="utf-8")
    assert "clues.json: 'Stairwell' is given twice; the last one is used" in load(copy).notes[LANTERN]


def test_a_byte_order_mark_does_not_matter(copy):
    (copy / SCRIPT).write_bytes(b"\xef\xbb\xbf" + (copy / SCRIPT).read_bytes())
    assert load(copy).failed == ()
