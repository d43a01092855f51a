"""Laws of playing many games: none lost, none twice, none changed by the others, and nothing half-written."""

import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from maro_lib.play import rollout
from maro_lib.play.policies import RANDOM, SKILLED, Mixture, Random, Reply
from maro_lib.play.rollout import Game, count_replies, play, run_sessions, schedule, seat_policies, start
from maro_lib.play.shards import StorageError, read_scripts, read_table, shard_folders
from maro_lib.play.tables import SCHEMAS, TABLES
from maro_lib.runs import ROOT
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import MurderMystery, Rules
from maro_lib.world.phrases import story_words
from maro_lib.world.replies import MAX_REPLY

SCRIPTS = generate_many(3, 0, Knobs(characters=4))
N_GAMES = 120


def games(n: int = N_GAMES, seed: int = 5):
    return schedule(SCRIPTS, n, seed, Rules(rounds=2))


def tables(played):
    return {name: played.table(name) for name in TABLES}


def assert_same(left, right):
    for name in TABLES:
        pd.testing.assert_frame_equal(left[name], right[name])


@pytest.fixture(scope="module")
def undisturbed():
    return tables(play(games(), Mixture()))


# --- the games themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 7, 500])
def test_interleaving_changes_no_game(undisturbed, concurrency):
    assert_same(tables(play(games(), Mixture(), concurrency=concurrency)), undisturbed)


def test_another_seed_gives_other_games(undisturbed):
    other = play(games(seed=6), Mixture()).table("actions")
    assert other["text"].tolist() != undisturbed["actions"]["text"].tolist()


def test_scripts_are_used_in_turn_and_every_game_has_its_own_seed():
    planned = games(9)
    assert [g.script.title for g in planned] == [s.title for s in SCRIPTS] * 3
    assert len({g.seed for g in planned}) == 9
    assert [g.seed for g in games(4)] == [g.seed for g in planned[:4]], "a longer run begins with the shorter one"


def test_tables_hold_exactly_the_declared_columns(tmp_path):
    played = play(games(8), Mixture(), folder=tmp_path / "rollout")
    for name, columns in TABLES.items():
        assert list(played.table(name).columns) == [c.name for c in columns]
        assert all(c.meaning for c in columns)
        assert len(SCHEMAS[name]) == len(columns)


def test_columns_agree_with_each_other(undisturbed):
    actions, table = undisturbed["actions"], undisturbed["games"].set_index("game")
    assert actions.groupby("game").size().to_dict() == table["n_actions"].to_dict()
    last = actions.groupby(["game", "agent"])["t"].max()
    assert (last == actions.groupby(["game", "agent"])["n_actions"].first()).all()
    assert actions.groupby("game")["step"].apply(lambda s: s.tolist() == list(range(len(s)))).all()
    won = actions.drop_duplicates(["game", "agent"])
    assert ((won["faction"] == won["game"].map(table["winner"])) == (won["success"] == 1)).all()
    rated = (actions["kind"] == "rate") & (actions["faction"] == "civilian")  # the culprit can't suspect itself
    assert actions["belief"].notna().tolist() == rated.tolist()
    spoken = undisturbed["dialogues"].set_index(["game", "agent"])["messages"]
    for key, rows in actions.groupby(["game", "agent"]):
        assert [m["content"] for m in spoken[key] if m["role"] == "assistant"] == rows["text"].tolist()


def test_belief_is_the_mean_suspicion_of_the_other_culprits():
    script = generate_many(1, 3, Knobs(characters=5, culprits=2))[0]
    actions = play(schedule([script], 5, 0), RANDOM).table("actions")
    guilty = [i for i, name in enumerate(script.names) if name in script.culprits]
    for row in actions[actions["kind"] == "rate"].itertuples():
        others = [row.suspicion[i] for i in guilty if i != row.seat]
        assert row.belief == pytest.approx(sum(others) / len(others))


class Stammering:
    """Culprits need two tries for each vote; civilians never give a rating."""

    name = "stammering"

    def act(self, requests):
        return [Reply("...") if self.fails(r) else SKILLED.act([r])[0] for r in requests]

    def fails(self, r):
        if r.brief.me.faction == "civilian":
            return r.prompt.phase == "rate"
        return r.prompt.phase == "vote" and not r.prompt.retry


def test_illegal_corrected_and_lost_replies_are_counted_per_faction():
    played = play(games(10), Stammering())
    counts = count_replies(played.table("actions"))
    # 3 civilians x 2 rounds of ratings, each refused twice and lost; 1 culprit whose vote counts at the second try
    assert counts["illegal"].to_dict() == {"civilian": 10 * 3 * 2 * 2, "culprit": 10}
    assert counts["corrected"].to_dict() == {"civilian": 0, "culprit": 10}
    assert counts["lost"].to_dict() == {"civilian": 10 * 3 * 2, "culprit": 0}
    assert counts["lost"].sum() == played.table("games")["n_passes"].sum()


# --- who plays ---------------------------------------------------------------------------------------


def test_a_name_goes_before_a_faction():
    script = SCRIPTS[0]
    civilian = next(n for n in script.names if n not in script.culprits)
    seated = seat_policies({civilian: SKILLED, "civilian": RANDOM, "culprit": Mixture()}, script)
    by_name = dict(zip(script.names, seated, strict=True))
    assert by_name[civilian] is SKILLED
    assert by_name[script.culprits[0]] == Mixture()
    assert sum(p is RANDOM for p in seated) == len(seated) - 2


def test_an_empty_seat_is_named():
    culprit = SCRIPTS[0].culprits[0]
    with pytest.raises(ValueError, match=f"nobody plays {culprit}.*given: civilian"):
        play(games(1), {"civilian": RANDOM})


class Miscounting:
    name = "miscounting"

    def act(self, requests):
        return [Reply("x")] * (len(requests) + 1)


def test_a_policy_that_miscounts_is_named():
    with pytest.raises(RuntimeError, match=r"miscounting: 2 replies to 1 requests"):
        play(games(1), Miscounting())


class Remote(Random):
    """Answers in threads, one after the other, and notes what it was asked."""

    def __init__(self):
        object.__setattr__(self, "asked", [])
        object.__setattr__(self, "pool", ThreadPoolExecutor(2))

    def submit(self, request):
        self.asked.append((request.game, request.player, request.t))
        return self.pool.submit(lambda: self.act([request])[0])


def test_a_policy_with_its_own_time_is_asked_once_for_each_reply():
    remote = Remote()
    assert_same(tables(play(games(6), remote)), tables(play(games(6), RANDOM)))
    assert len(remote.asked) == len(set(remote.asked)) > 60


def test_a_game_that_awaits_nobody_and_does_not_end_is_an_error():
    session = start(games(1)[0], Remote())
    session.asked |= {*range(len(session.seats))}
    with pytest.raises(RuntimeError, match="nobody is asked"):
        next(run_sessions([session], 1))


# --- saving, stopping, going on ----------------------------------------------------------------------

CHILD = """
import sys
from maro_lib.world.mystery import MurderMystery, Rules
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.play.policies import Mixture
from maro_lib.play.rollout import play, schedule
games = schedule(generate_many(3, 0, Knobs(characters=4)), int(sys.argv[2]), 5, Rules(rounds=2))
play(games, Mixture(), folder=sys.argv[1], concurrency=4, shard_size=int(sys.argv[3]))
"""


def child(folder: Path, shard_size: int = 5, n: int = N_GAMES, **options):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(n), str(shard_size)],
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for_shards(folder: Path, n: int, process) -> None:
    deadline = time.monotonic() + 30
    while len(list(folder.glob("shard-*"))) < n and process.poll() is None:
        assert time.monotonic() < deadline, "the child wrote nothing"
        time.sleep(0.002)


def test_killed_rollout_resumes_without_loss(tmp_path, undisturbed):
    folder = tmp_path / "rollout"
    for n_shards in (1, 5, 11):
        process = child(folder)
        wait_for_shards(folder, n_shards, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < len(shard_folders(folder)) < N_GAMES / 5, "the kills must fall within the run"
    played = play(games(), Mixture(), folder=folder)
    assert 0 < played.n_resumed < N_GAMES
    assert_same(tables(played), undisturbed)


def test_a_finished_rollout_plays_nothing_again(tmp_path):
    play(games(), Mixture(), folder=tmp_path / "rollout")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "rollout").rglob("*")}
    assert play(games(), Mixture(), folder=tmp_path / "rollout").n_resumed == N_GAMES
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "rollout").rglob("*")}


class Counting(Mixture):
    """Counts what it is asked, and fails at one of the calls."""

    name = Mixture().name
    asked, calls, fails_at = 0, 0, 0

    def act(self, requests):
        type(self).calls += 1
        if self.calls == self.fails_at:
            raise ConnectionError("the server went away")
        type(self).asked += len(requests)
        return super().act(requests)


def test_no_reply_is_asked_for_twice_after_a_failure(tmp_path, undisturbed):
    Counting.fails_at = 60
    with pytest.raises(ConnectionError):
        play(games(), Counting(), folder=tmp_path / "rollout", concurrency=4)
    assert (tmp_path / "rollout" / "unfinished.json").exists()
    played = play(games(), Counting(), folder=tmp_path / "rollout", concurrency=4)
    assert 0 < played.n_resumed < N_GAMES, "what was finished is saved"
    assert_same(tables(played), undisturbed)
    assert Counting.asked == len(undisturbed["actions"])
    assert not (tmp_path / "rollout" / "unfinished.json").exists()


def with_seats(n, stored):
    return stored | {"replies": {order: seats[:n] for order, seats in stored["replies"].items()}}


JOURNALS = {
    "no JSON": (lambda stored: '{"0": [[["I am', r"is damaged \(Invalid JSON"),
    "deep": (lambda stored: "[" * 10_000, r"is damaged \(Invalid JSON: recursion limit"),
    "keys": (lambda stored: stored | {"more": 1}, r"is damaged \(more: "),
    "types": (lambda stored: stored | {"replies": {"0": [[["I am Ann.", "1", None, [], 0]]]}}, "is damaged "),
    "seats": (partial(with_seats, 1), r"is damaged \(not as it was written\)"),
    "before the digest": (lambda stored: stored["replies"], r"is damaged \("),
    "another run": (lambda stored: stored | {"wanted": stored["wanted"] | {"code": "other"}}, "is of other games"),
}


@pytest.mark.parametrize(("spoil", "message"), JOURNALS.values(), ids=JOURNALS)
def test_a_damaged_journal_is_set_aside_and_its_games_played_from_the_start(
    tmp_path, undisturbed, capsys, spoil, message
):
    Counting.calls, Counting.fails_at = 0, 10
    with pytest.raises(ConnectionError):
        play(games(), Counting(), folder=tmp_path / "rollout", concurrency=8)
    path = tmp_path / "rollout" / "unfinished.json"
    spoiled = spoil(json.loads(path.read_text()))
    path.write_text(spoiled if isinstance(spoiled, str) else json.dumps(spoiled))
    played = play(games(), Mixture(), folder=tmp_path / "rollout")
    assert re.search(f"rollout: unfinished.json {message}.*kept as unfinished.json.damaged-1", capsys.readouterr().err)
    assert_same(tables(played), undisturbed)


class Hostile(Counting):
    """Says what no text may hold, and numbers that JSON has no word for."""

    asked, calls, fails_at = 0, 0, 0

    def act(self, requests):
        said = super().act(requests)
        return [Reply(f"\ud800\x00\ud83d\ude00 {r.text}", (1, 2), (-0.1, -math.inf), (2**31 - 1,), True) for r in said]


def test_a_journal_keeps_whatever_was_said(tmp_path, capsys):
    whole = tables(play(games(8), Hostile()))
    Hostile.calls, Hostile.fails_at, Hostile.asked = 0, 10, 0
    with pytest.raises(ConnectionError):
        play(games(8), Hostile(), folder=tmp_path / "rollout", concurrency=4)
    assert_same(tables(play(games(8), Hostile(), folder=tmp_path / "rollout")), whole)
    assert Hostile.asked == len(whole["actions"])
    assert capsys.readouterr().err == ""


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_is_a_clear_error_with_nothing_half_written(tmp_path, undisturbed):
    folder = tmp_path / "rollout"
    process = child(folder, shard_size=60, preexec_fn=limit_file_size)
    error = process.communicate()[1]
    assert process.returncode == 1
    assert "shard-00000: can't be written" in error
    assert "run the same command again" in error
    left = {p.name for p in folder.iterdir()} - {"unfinished.json"}
    assert left == {"request.json", "scripts.yaml"}, "nothing half-written may stay"
    assert_same(tables(play(games(), Mixture(), folder=folder)), undisturbed)


def test_a_folder_that_can_not_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="no game was played"):
        play(games(1), RANDOM, folder=tmp_path / "file" / "rollout")


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_shard_is_named_set_aside_and_played_again(tmp_path, undisturbed, table, damage, capsys):
    folder = tmp_path / "rollout"
    play(games(), Mixture(), folder=folder, shard_size=40)
    hurt(folder / "shard-00001" / f"{table}.parquet", damage)
    played = play(games(), Mixture(), folder=folder)
    assert played.n_resumed == N_GAMES - 40
    assert f"shard-00001/{table}.parquet is damaged" in played.notes[0]
    assert "shard-00001.damaged-1" in capsys.readouterr().err
    assert (folder / "shard-00001.damaged-1").exists(), "what was damaged is kept"
    assert_same(tables(played), undisturbed)


def hurt(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        return
    if damage == "flip":
        data[len(data) // 3] ^= 0xFF
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])


def test_leftovers_of_a_killed_write_are_no_shard(tmp_path, undisturbed):
    folder = tmp_path / "rollout"
    play(games(), Mixture(), folder=folder, shard_size=40)
    (folder / ".shard-00003.tmp").mkdir()
    (folder / ".shard-00003.tmp" / "games.parquet").write_bytes(b"PAR1 half")
    (folder / ".request.json.99.tmp").write_text('{"code":')
    assert_same(tables(play(games(), Mixture(), folder=folder)), undisturbed)
    assert [*folder.glob(".*.tmp")] == []


def test_a_rollout_keeps_the_scripts_it_was_played_with(tmp_path):
    played = play(games(10), RANDOM, folder=tmp_path / "rollout")
    kept = read_scripts(tmp_path / "rollout")
    assert [kept[d] for d in played.table("games")["digest"]] == [g.script for g in games(10)]


@dataclass(frozen=True)
class Trained(Random):
    """Its name does not tell all that it is."""

    fingerprint: str = "other weights"


class Upside(MurderMystery):
    """A game of another kind: who wins, loses."""

    def winner(self):
        return "culprit" if super().winner() == "civilian" else "civilian"


OTHER = {
    "seed": (games(10, seed=6), RANDOM),
    "fewer": (games(9), RANDOM),
    "players": (games(10), SKILLED),
    "fingerprint": (games(10), Trained()),
    "rules": ([replace(g, rules=replace(g.rules, corrections=0)) for g in games(10)], RANDOM),
    "kind": ([replace(g, kind=Upside) for g in games(10)], RANDOM),
}


@pytest.mark.parametrize(("other_games", "other_policies"), OTHER.values(), ids=OTHER)
def test_games_of_another_request_are_kept_apart(tmp_path, other_games, other_policies):
    folder = tmp_path / "rollout"
    first = tables(play(games(10), RANDOM, folder=folder))
    second = play(other_games, other_policies, folder=folder)
    assert second.n_resumed == 0
    assert "kept as rollout.other-1" in second.notes[0]
    assert_same({n: read_table(tmp_path / "rollout.other-1", n) for n in TABLES}, first)
    assert play(other_games, other_policies, folder=folder).n_resumed == len(other_games)
    assert_same(tables(second), tables(play(other_games, other_policies)))


def test_more_games_go_on_with_those_that_are_there(tmp_path):
    folder = tmp_path / "rollout"
    play(games(10), RANDOM, folder=folder)
    more = play(games(25), RANDOM, folder=folder)
    assert (more.n_resumed, len(more.table("games")), more.notes) == (10, 25, ())
    assert_same(tables(more), tables(play(games(25), RANDOM)))
    assert set(more.table("games")["digest"]) <= read_scripts(folder).keys()


def test_games_of_other_code_are_kept_apart(tmp_path, monkeypatch):
    play(games(3), RANDOM, folder=tmp_path / "rollout")
    monkeypatch.setattr("maro_lib.play.rollout._code", lambda *_: "of another day")
    assert play(games(3), RANDOM, folder=tmp_path / "rollout").n_resumed == 0


@pytest.mark.parametrize(("file", "old", "new", "is_other"), [
    ("world/words/phrases_en.yaml", "I suspect {name}.", "I accuse {name}.", True),
    ("world/words/phrases_en.yaml", "# what scripted players say", "# what they say", False),
    ("world/mystery.py", '"civilian" if self.accused() in', '"civilian" if self.accused() not in', True),
    ("world/protocol.py", "retry: bool = False", "retry: bool = True", True),
    ("world/protocol.py", "# a mystery's: intro", "# a mystery's: first", False),
])  # fmt: skip
def test_other_words_or_code_make_other_games_and_comments_do_not(tmp_path, file, old, new, is_other):
    package = shutil.copytree(ROOT / "maro_lib", tmp_path / "maro_lib")
    text = (package / file).read_text(encoding="utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new), encoding="utf-8")
    assert (rollout._code(package=package) != rollout._code()) == is_other


def test_other_words_of_the_generator_make_other_scripts(monkeypatch):
    words = story_words("en", "compact")
    other = words.model_copy(update={"phrases": words.phrases | {"seek": ("Find the thief.",)}})
    before = generate_many(1, 0)[0].digest
    monkeypatch.setattr("maro_lib.world.generator.story_words", lambda *_: other)
    assert generate_many(1, 0)[0].digest != before


def test_two_scripts_of_one_title_are_refused():
    one, other = SCRIPTS[0], SCRIPTS[1].model_copy(update={"title": SCRIPTS[0].title})
    with pytest.raises(ValueError, match="is the title of two different ones"):
        play(schedule([one, other], 2, 0), RANDOM)


def test_two_processes_do_not_play_into_one_folder(tmp_path):
    folder = tmp_path / "rollout"
    process = child(folder, n=5000)
    wait_for_shards(folder, 1, process)
    try:
        with pytest.raises(StorageError, match="another process is playing"):
            play(games(1), RANDOM, folder=folder)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_a_game_stored_twice_is_kept_once(tmp_path):
    folder = tmp_path / "rollout"
    play(games(10), RANDOM, folder=folder)
    shutil.copytree(folder / "shard-00000", folder / "shard-00001")
    again = play(games(10), RANDOM, folder=folder)
    assert again.notes == ("shard-00001 holds 10 games that shard-00000 holds, too: kept as shard-00001.damaged-1, "
                           "what is missing then is played again",)  # fmt: skip
    assert (again.n_resumed, len(again.table("games"))) == (10, 10)


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(StorageError, match="holds no games"):
        read_table(tmp_path, "games")


@pytest.mark.parametrize(("token_ids", "length"), [(None, MAX_REPLY), ((1, 2), 15_000)])
def test_an_endless_reply_is_cut_in_its_players_view_unless_its_ids_are_kept(token_ids, length):
    class Endless:
        name = "endless"

        def act(self, requests):
            return [Reply("no " * 5_000, token_ids)] * len(requests)

    rows = play([Game("endless", 0, SCRIPTS[0], 1)], Endless()).table("dialogues")
    replies = [m["content"] for messages in rows["messages"] for m in messages if m["role"] == "assistant"]
    assert {len(text) for text in replies} == {length}


def test_odd_text_survives_the_tables(tmp_path):
    class Odd:
        name = "odd"

        def act(self, requests):
            return [Reply("\ud800 \x00 ‮ 😀 【安】\n" + json.dumps({"a": 1}))] * len(requests)

    played = play([Game("odd", 0, SCRIPTS[0], 1)], Odd(), folder=tmp_path / "rollout")
    assert played.table("actions")["text"].iloc[0].startswith("? \x00 ‮ 😀 【安】\n")
