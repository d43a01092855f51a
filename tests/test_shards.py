"""Laws of a shard: its tables tell of the same games, or it is set aside and its games are played again."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from maro_lib.play.policies import RANDOM
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import as_table, set_aside
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


def test_what_is_set_aside_is_kept_each_time(tmp_path):
    for k in (1, 2):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "file").write_text(str(k))
        set_aside(tmp_path / "x")
    assert {p.name: (p / "file").read_text() for p in tmp_path.iterdir()} == {"x.other-1": "1", "x.other-2": "2"}
    set_aside(tmp_path / "x")
    assert len(list(tmp_path.iterdir())) == 2, "what is not there needs nothing"
