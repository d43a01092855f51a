"""Words are data: read once, checked when read, and no sentence can be wrong without being named."""

import shutil

import pytest

from maro_lib.world import phrases
from maro_lib.world.phrases import WORDS_FOLDER, Phrasebook, StoryWords, WordsError, braces, phrasebook, read_words

BOOKS = sorted(WORDS_FOLDER.glob("phrases_*.yaml"))


def spoilt(tmp_path, name: str, old: str, new: str):
    """A copy of a file of words in which one thing is different."""
    text = (WORDS_FOLDER / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(("old", "new", "message"), [
    ("I suspect {name}.", "I suspect {nmae}.", r"suspect: \{nmae\} is unknown; did you mean 'name'\?"),
    ("I suspect {name}.", "I suspect {place}.", r"suspect: \{place\} is unknown"),
    ("suspect: I suspect {name}.", "", "suspect: Field required"),
    ("suspect: I", "suspects: I", "suspects: Extra inputs are not permitted"),
    ("suspect: I suspect {name}.", "suspect: 3", "suspect: Input should be a valid string"),
    ("no_idea: I do not know yet.", "suspect: No.", "a key is given twice"),
    ("  name: name exactly one of {names}.", "  name: not {them}", r"reasons: \{them\} is unknown"),
    ('{name} says: "{text}"', "{name} says: {text}", r"says: \{text\} is an agent's own words; put quotation"),
])  # fmt: skip
def test_a_wrong_sentence_is_named(tmp_path, old, new, message):
    path = spoilt(tmp_path, "phrases_en.yaml", old, new)
    with pytest.raises(WordsError, match=message) as error:
        read_words(path, Phrasebook)
    assert str(error.value).startswith(f"{path}:")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("settings:\n  - {}", "settings: []", "places: 1 lists, but there are 0 settings"),
    ("script: [hour, saw]", "script: [hour, sawn]", "phrases: 'sawn' is missing, a section is made of it"),
    ("{who} owes gold.", "{whom} owes gold.", r"herring/2: \{whom\} is unknown; did you mean 'who'"),
])  # fmt: skip
def test_words_that_do_not_fit_together_are_named(tmp_path, old, new, message):
    with pytest.raises(WordsError, match=message):
        read_words(spoilt(tmp_path, "mysteries_compact.yaml", old, new), StoryWords)


def test_every_file_of_words_is_read():
    assert {f"phrases_{name}" for name in phrases.BOOKS.values()} == {path.stem for path in BOOKS}
    assert all(phrasebook(*key) is phrasebook(*key) for key in phrases.BOOKS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_comment_or_another_layout_changes_nothing(tmp_path, path):
    shutil.copy(path, tmp_path)
    with (tmp_path / path.name).open("a", encoding="utf-8") as file:
        file.write("# a remark\n")
    assert read_words(tmp_path / path.name, Phrasebook) == read_words(path, Phrasebook)


def test_braces_are_found_in_order_each_once():
    assert braces("{b} and {a}", "{b} {c}") == ["b", "a", "c"]
    assert braces("none") == []
