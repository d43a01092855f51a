"""Laws of a folder of games: what was asked for is there, once and as it was written; else it is named."""

import json
import shutil
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maro_lib.play.policies import RANDOM, SKILLED
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import StorageError, as_table, content_digest, read_scripts, read_table, set_aside
from maro_lib.play.tables import SCHEMAS, TABLES
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules

GAMES = schedule(generate_many(1, 0, Knobs(characters=4)), 4, 5, Rules(rounds=1))


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("kept", [0, 3])
def test_a_table_that_lacks_games_is_noticed(tmp_path, table, kept):
    folder = tmp_path / "rollout"
    whole = play(GAMES, RANDOM, folder=folder)
    before = {name: whole.table(name) for name in TABLES}
    path = folder / "shard-00000" / f"{table}.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.filter([k < kept for k in rows["order"].to_pylist()]), path, write_page_checksum=True)
    again = play(GAMES, RANDOM, folder=folder)
    assert again.n_resumed == 0
    assert (
        f"shard-00000/{table}.parquet is damaged (not as it was written): kept as shard-00000.damaged-1"
        in again.notes[0]
    )
    assert (folder / "shard-00000.damaged-1").exists(), "what was damaged is kept"
    for name, rows in before.items():
        pd.testing.assert_frame_equal(again.table(name), rows)


@pytest.mark.parametrize(
    ("spoil", "named"), [(lambda row: row.pop("winner"), "winner"), (lambda row: row.update(victor="Ann"), "victor")]
)
def test_a_row_holds_the_declared_columns_and_no_others(spoil, named):
    rows = play(GAMES[:1], RANDOM).rows["games"]
    assert as_table("games", rows).schema == SCHEMAS["games"]
    spoil(rows[0])
    with pytest.raises(ValueError, match=f"games: a row and the declared columns differ in {named}"):
        as_table("games", rows)


def rewrite(change, folder, sealed=False):
    """Write the actions of the second shard anew, changed; sealed: its record tells of the change."""
    path, record = folder / "shard-00001" / "actions.parquet", folder / "shard-00001" / "shard.json"
    pq.write_table(change(pq.read_table(path)), path, write_page_checksum=True)
    if sealed:
        written = json.loads(record.read_text())
        written["files"]["actions"] = content_digest(path.read_bytes())
        record.write_text(json.dumps(written))


def play_elsewhere(folder):
    play([g for g in GAMES if g.order > 1], SKILLED, folder=folder.with_name("other"))
    shutil.rmtree(folder / "shard-00001")
    shutil.copytree(folder.with_name("other") / "shard-00000", folder / "shard-00001")


def write(file, text, folder):
    (folder / file).write_text(text)


def flipped(table):
    other = pa.array([-success for success in table["success"].to_pylist()], table.schema.field("success").type)
    return table.set_column(table.schema.get_field_index("success"), table.schema.field("success"), other)


SPOILED = {
    "gone": (lambda folder: shutil.rmtree(folder / "shard-00001"), r"lacks 2 of 4 games \(order \d, ...\)"),
    "rows": (partial(rewrite, lambda t: t.slice(3)), r"shard-00001/actions.parquet is damaged \(not as it was written"),
    "outcomes": (partial(rewrite, flipped), r"shard-00001/actions.parquet is damaged \(not as it was written"),
    "twice": (lambda folder: shutil.copytree(folder / "shard-00000", folder / "shard-00002"),
              "shard-00002 holds 2 games that shard-00000 holds, too"),
    "schema": (partial(rewrite, lambda t: t.drop_columns(["trust"]), sealed=True),
               r"shard-00001/actions.parquet has other columns than declared \(trust\)"),
    "other players": (play_elsewhere, "shard-00001 holds games of another request"),
    "before shard.json": (lambda folder: (folder / "shard-00001" / "shard.json").unlink(),
                          "shard-00001/shard.json is missing"),
    "no JSON": (partial(write, "shard-00001/shard.json", "{"), r"shard-00001/shard.json is damaged \(Invalid JSON"),
    "no request": (partial(write, "request.json", "[" * 10_000), r"request.json is damaged \(Invalid JSON: recursion"),
    "odd request": (partial(write, "request.json", '{"code": 3, "games": {}}'), r"request.json is damaged \(code: "),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_what_is_not_as_it_was_written_is_named_when_it_is_read_and_mended_when_games_are_played(
    tmp_path, monkeypatch, spoil, message
):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    folder = tmp_path / "cpu" / "rollout"
    before = play(GAMES, RANDOM, folder=folder, shard_size=2).table("actions")
    spoil(folder)
    with pytest.raises(StorageError, match=message) as error:
        read_table(folder, "actions", ["success"])
    assert "make run ONLY=02 PARAMS=params/cpu.yaml" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    again = play(GAMES, RANDOM, folder=folder)
    assert all("kept as" in note for note in again.notes)
    pd.testing.assert_frame_equal(again.table("actions"), before)


@pytest.mark.parametrize("text", ["title: [", "", "- 1\n"])
def test_scripts_that_can_not_be_read_are_written_anew(tmp_path, text):
    folder = tmp_path / "rollout"
    play(GAMES, RANDOM, folder=folder)
    (folder / "scripts.yaml").write_text(text)
    with pytest.raises(StorageError, match=r"scripts\.yaml.*; run again the stage that made it"):
        read_scripts(folder)
    again = play(GAMES, RANDOM, folder=folder)
    assert "scripts.yaml is damaged" in again.notes[0]
    assert (folder / "scripts.yaml.damaged-1").read_text() == text
    assert read_scripts(folder) == {g.script.digest: g.script for g in GAMES}


def test_a_copied_folder_is_one_of_its_own(tmp_path):
    play(GAMES[:2], RANDOM, folder=tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert not [path for path, data in before.items() if str(tmp_path).encode() in data]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert play(GAMES, RANDOM, folder=tmp_path / "b").n_resumed == 2
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before
    shutil.rmtree(tmp_path / "a")
    assert len(read_table(tmp_path / "b", "games")) == 4


def test_what_is_set_aside_is_kept_each_time(tmp_path):
    for k in (1, 2):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "file").write_text(str(k))
        set_aside(tmp_path / "x")
    assert {p.name: (p / "file").read_text() for p in tmp_path.iterdir()} == {"x.other-1": "1", "x.other-2": "2"}
    set_aside(tmp_path / "x")
    assert len(list(tmp_path.iterdir())) == 2, "what is not there needs nothing"
