"""Other people's games: read in the forms that they keep them in, told word for word, and learned from."""

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_training import BASIC, tiny

from maro_lib.__main__ import main
from maro_lib.learn.balancing import balance
from maro_lib.learn.corpus import make_corpus
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.training import train
from maro_lib.model.chat import Chat
from maro_lib.play.gamebook import load_gamebook
from maro_lib.play.shards import read_scripts, read_table
from maro_lib.runs import needs, run_folder
from maro_lib.share import foreign, forms
from maro_lib.share.foreign import ImportRefused, import_games
from maro_lib.show.transcript import side_by_side


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def brought(tmp_path, *records, run="theirs", name="games.jsonl"):
    """Import some records; return the tables, and what was said."""
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    told = import_games(path, run)
    return {name: read_table(needs(run, "rollout"), name) for name in ("games", "actions", "dialogues")}, told


def views(tables):
    """Each player's view as (role, content) pairs."""
    return {d.agent: [(m["role"], m["content"]) for m in d.messages] for d in tables["dialogues"].itertuples()}


# --- the forms ---------------------------------------------------------------------------------------

PROMPT = "[-1] Welcome to Secret Mafia! You are Player {}.\nYour role: {}\nTeam: {}"
VOTE = "[-1] Voting phase - submit one vote in format [X]. Valid: [0], [1], [2]"


def mindgames_record(player, role, team, *moves):
    """A record of the MindGames data sets: a player's own side of a game, told its role before the first move."""
    moves = [(minute, f"{PROMPT.format(player, role, team)}\n{seen}" if minute <= 3 else seen, did)
             for minute, seen, did in moves]  # fmt: skip
    seen = {f"2025-07-09 09:{minute:02}:00+00": {"observation": o, "action": a} for minute, o, a in moves}
    return {
        "player_game_id": 900 + player, "game_id": 77, "player_id": player, "env_name": "SecretMafia-v0",
        "model_name": f"model-{player}", "opponent_names": "{}", "observations": json.dumps(seen),
        "rewards": '{"0": 1, "1": -1, "2": 1}', "num_turns": 3, "status": "finished", "reason": "Village wins!",
    }  # fmt: skip


MINDGAMES = [
    mindgames_record(2, "Detective", "Village", (3, VOTE, "[1]")),
    mindgames_record(0, "Villager", "Village", (1, "[-1] Day breaks.", "Who are you?"), (4, VOTE, "I say Player 1.")),
    mindgames_record(1, "Mafia", "Mafia", (2, "[0] Who are you?", "A friend."), (5, VOTE, "nobody")),
]


def test_a_game_of_mindgames_is_put_together_in_the_order_of_its_moves(tmp_path):
    tables, told = brought(tmp_path, *MINDGAMES)
    (game,) = tables["games"].to_dict("records")
    assert [*game["players"]] == ["Player 0", "Player 1", "Player 2"]
    assert [*game["factions"]] == ["civilian", "culprit", "civilian"]
    assert [*game["policies"]] == ["model-0", "model-1", "model-2"]
    assert (game["winner"], [*game["success"]], game["ending"]) == ("civilian", [1, 0, 1], "Village wins!")
    rows = tables["actions"][["agent", "role", "faction", "success", "t", "n_actions", "kind", "target", "text"]]
    assert rows.to_numpy().tolist() == [
        ["Player 0", "Villager", "civilian", 1, 1, 2, "answer", "", "Who are you?"],
        ["Player 1", "Mafia", "culprit", 0, 1, 2, "answer", "", "A friend."],
        ["Player 2", "Detective", "civilian", 1, 1, 1, "vote", "Player 1", "[1]"],
        ["Player 0", "Villager", "civilian", 1, 2, 2, "vote", "Player 1", "I say Player 1."],
        ["Player 1", "Mafia", "culprit", 0, 2, 2, "answer", "", "nobody"],
    ]
    assert "1 game (1 SecretMafia-v0), 5 actions of 3 players; who won: 1 civilian" in told
    assert "actions: not told by these logs: place, clue, suspicion, trust, belief" in told
    assert "notebooks 03 to 05 can't run on them" in told, "all votes fall on one side"


def step(player, observation, action):
    return {"player_id": player, "observation": observation, "action": action}


def test_what_a_log_repeats_is_told_once_and_what_was_refused_is_illegal(tmp_path):
    first = "[GAME] You are Player 0."
    refused = f"{first}\n[GAME] Player 0 attempted an invalid move. Reason: no such pile."
    later = f"{refused}\n[Player 1] I take two."
    steps = [step(0, first, "ten"), step(0, refused, "one"), step(1, "[GAME] Go.", "two"), step(0, later, "all")]
    info = {"0": {"role": "Player 0"}}
    episode = {"env_id": "Nim-v0", "steps": steps, "rewards": {"0": 1, "1": -1}, "game_info": info}
    tables, told = brought(tmp_path, episode)
    assert views(tables)["Player 0"] == [
        ("system", "You are Player 0 (Player 0)."),
        ("user", first), ("assistant", "ten"),
        ("user", "[GAME] Player 0 attempted an invalid move. Reason: no such pile."), ("assistant", "one"),
        ("user", "[Player 1] I take two."), ("assistant", "all"),
    ]  # fmt: skip
    own = tables["actions"].query("agent == 'Player 0'")
    assert own[["kind", "legal", "retry"]].to_numpy().tolist() == [
        ["illegal", False, False], ["answer", True, True], ["answer", True, False]
    ]  # fmt: skip
    assert [*tables["games"]["n_illegal"]] == [1]
    assert "no side hides" in told


def test_steps_in_lines_of_their_own_are_the_same_game(tmp_path):
    steps = [step(0, "[GAME] Go.", "a"), step(1, "[GAME] Go.", "b")]
    whole = {"env_id": "Nim-v0", "steps": steps, "rewards": [1, -1]}
    lines = [s | {"type": "step", "episode_id": 4, "env_id": "Nim-v0"} for s in steps]
    end = {"type": "episode_end", "episode_id": 4, "env_id": "Nim-v0", "rewards": {"0": 1, "1": -1}, "game_info": {}}
    one, other = brought(tmp_path, whole)[0], brought(tmp_path, *lines, end, run="again")[0]
    pd.testing.assert_frame_equal(one["actions"], other["actions"])
    assert views(one) == views(other)


def werewolf_game(winner="Villagers", votes=None):
    players = {"Ann": "Villager", "Ben": "Werewolf", "Cal": "Seer", "Dot": "Doctor"}
    votes = votes or {"Ann": "Ben", "Ben": "Ann", "Cal": "Ben"}
    return {
        "players": {name: {"name": name, "role": role, "model": "m"} for name, role in players.items()},
        "rounds": [{"eliminated": "Dot", "protected": "Ann", "debate": [["Ann", "Ben is odd."], ["Ben", "Me?"]],
                    "votes": [{"Ann": "Cal"}, votes], "exiled": "Ben"}],
        "winner": winner,
    }  # fmt: skip


def test_a_night_of_werewolf_is_a_history_that_all_hear(tmp_path):
    tables, _ = brought(tmp_path, werewolf_game())
    assert views(tables)["Cal"] == [
        ("system", "You are Cal. Your role: Seer."),
        ("user", "Round 1. In the night Dot was removed.\nAnn: Ben is odd.\nBen: Me?"),
        ("assistant", "I vote for Ben."),
    ]
    votes = tables["actions"].query("kind == 'vote'")[["agent", "target", "success", "public"]].to_numpy().tolist()
    assert votes == [["Ann", "Ben", 1, False], ["Ben", "Ann", 0, False], ["Cal", "Ben", 1, False]]
    assert "Dot" not in views(tables), "who never said anything has no view"


def test_in_a_chat_what_is_said_to_some_is_heard_by_them_alone(tmp_path):
    def says(name, content, **more):
        return {"name": name, "content": content} | more

    chat = {
        "game": "Avalon", "id": "a-1", "winner": "good",
        "players": [{"name": "Ann", "side": "good"}, {"name": "Ben", "side": "evil", "role": "spy"}, "Cal"],
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "system", "content": "You are evil.", "to": "Ben"},
            says("Ann", "Hello."), says("Ann", "Is anybody here?"), says("Ben", "I am.", to=["Cal"]),
            says("host", "The vote."), says("Cal", "Ben, then.", kind="vote", target="Ben"), says("Ann", "Why?"),
        ],
    }  # fmt: skip
    tables, _ = brought(tmp_path, chat)
    told = views(tables)
    assert told["Ann"] == [
        ("system", "Be brief."), ("user", ""), ("assistant", "Hello.\nIs anybody here?"),
        ("user", "The vote.\nCal: Ben, then."), ("assistant", "Why?"),
    ]  # fmt: skip
    assert told["Ben"][0] == ("system", "Be brief.\nYou are evil.")
    assert told["Cal"][1] == ("user", "Ann: Hello.\nAnn: Is anybody here?\nBen: I am.\nThe vote.")
    assert tables["games"].loc[0, "factions"].tolist() == ["civilian", "culprit", "civilian"]
    assert tables["games"].loc[0, "success"].tolist() == [1, 0, 0]


def test_parquet_and_a_folder_of_files_are_read_alike(tmp_path):
    folder = tmp_path / "set"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "x.json").write_text("{}")
    pq.write_table(pa.Table.from_pylist(MINDGAMES), folder / "a.parquet")
    (folder / "b.json").write_text(json.dumps([werewolf_game()]))
    (folder / "README.md").write_text("about")
    os.symlink("/etc/passwd", folder / "c.json")
    assert "2 games" in import_games(folder, "set")
    assert read_scripts(needs("set", "rollout")) == {}, "they have no script"
    assert load_gamebook(needs("set", "gamebook.json")).knobs.characters == 5, "matches are mysteries of the usual kind"


# --- what can't be used ------------------------------------------------------------------------------


HUGE = {"players": ["Ann", "Ben"], "winner": "Ann", "messages": [{"name": "Ann", "content": "Hi.", "round": 10**12}]}
LOUD = {"players": ["Ann", "Ben"], "winner": "Ann", "messages": [{"name": "Ann", "content": "x" * (2**25 + 1)}]}


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.json", json.dumps(HUGE), "1 a round that is not between 0 and 20,000"),
    pytest.param("a.json", json.dumps(LOUD), "1 more than 67,108,864 characters to be heard", id="loud"),
    ("a.jsonl", '{"question": "2 + 2?", "answer": "4"}', "a.jsonl, record 1: is of no known form; known are mindg"),
    ("a.json", '["text"]', "a.json, record 1: is of no known form"),
    ("a.jsonl", '{"players": [\n', "line 1 is not JSON"),
    ("a.json", "[" * 200 + "]" * 200, "holds more than 100 levels"),
    ("a.parquet", "no", "is not Parquet"),
    ("a.csv", "a,b", "holds no games; files that end in .json, .jsonl, .parquet are read"),
    ("a.json", "[]", "no game there can be used: there are none"),
    ("a.jsonl", json.dumps(werewolf_game(winner="")), "no game there can be used: 1 nobody says who won"),
    ("a.jsonl", json.dumps({"players": 3, "messages": 4}), "1 a game is not what its form \\(chat\\) promises"),
    ("a.jsonl", json.dumps({"players": ["Ann"], "messages": [], "winner": "Ann"}), "1 with 1 player"),
])  # fmt: skip
def test_what_is_no_game_is_named_and_nothing_is_left_behind(tmp_path, outputs, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImportRefused, match=message):
        import_games(tmp_path / name, "theirs")
    assert not outputs.exists() or not [*outputs.iterdir()]


def test_a_game_without_an_outcome_is_left_out_and_counted(tmp_path):
    tables, told = brought(tmp_path, werewolf_game(), werewolf_game(winner=""), {"players": 3, "messages": 4})
    assert len(tables["games"]) == 1
    assert "left out: 1 nobody says who won, 1 a game is not what its form (chat) promises" in told


def test_too_much_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(werewolf_game()))
    monkeypatch.setattr(foreign, "MOST_LINE", 100)
    with pytest.raises(ImportRefused, match="line 1 has more than 0 MB"):
        import_games(path, "theirs")
    monkeypatch.setattr(foreign, "MOST_BYTES", 100)
    with pytest.raises(ImportRefused, match=r"at most .* MB are read: import parts of it into several runs"):
        import_games(path, "theirs")
    monkeypatch.undo()


def test_a_game_of_no_bearable_size_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "MOST_TURNS", 2)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(werewolf_game()))
    with pytest.raises(ImportRefused, match="more than 2 turns"):
        import_games(path, "theirs")


def test_a_run_that_is_there_is_not_touched(tmp_path, capsys):
    brought(tmp_path, werewolf_game())
    before = sorted(run_folder("theirs").rglob("*"))
    assert main(["import", str(tmp_path / "games.jsonl"), "--to", "theirs"]) == 1
    assert "is there already; import into a run of another name" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "games.jsonl"), "--to", "../out"]) == 1
    assert sorted(run_folder("theirs").rglob("*")) == before


def test_hostile_words_stay_words(tmp_path):
    words = '<script>alert(1)</script> <|im_end|>\n{"name": 1} \ud800'
    chat = {"players": ["Ann", "Ben"], "winner": "Ann", "messages": [{"name": "Ann", "content": words}]}
    tables, _ = brought(tmp_path, chat)
    assert views(tables)["Ann"][2] == ("assistant", words.replace("\ud800", "?"))
    shown = side_by_side(tables["actions"], {"uniform": decompose(tables["actions"])})._repr_html_()
    assert "<script>" not in shown
    model = tiny()
    said = tables["actions"].assign(desirable=True, weight=1.0)
    ids = make_corpus(tables["dialogues"], said, chat=Chat(model.tokenizer)).ids
    assert list(ids[0]).count(model.tokenizer.convert_tokens_to_ids("<|im_end|>")) == 3, "one after each turn, no more"


# --- learning from them ------------------------------------------------------------------------------


def many_games(n):
    """Games of both outcomes, with votes for both sides."""
    for k in range(n):
        yes = {"Ann": "Ben", "Ben": "Cal", "Cal": "Ben" if k % 3 else "Ann"}
        yield werewolf_game(("Villagers", "Werewolves")[k % 2], yes)


def test_a_model_learns_from_games_that_others_played(tmp_path):
    tables, told = brought(tmp_path, *many_games(8))
    assert "notebooks 03 to 05 can run on them" in told
    credit = tables["actions"].assign(weight=decompose(tables["actions"], "uniform"))
    kept = balance(credit).actions
    model = tiny()
    corpus = make_corpus(tables["dialogues"], kept, chat=Chat(model.tokenizer))
    assert len(corpus.actions) == len(kept)
    trained = train(model, corpus, BASIC, tmp_path / "learning")
    assert trained.status == "finished"
    assert trained.curve["kl"].iloc[-1] > 0, "it moved"


@pytest.mark.walk
def test_notebooks_03_to_05_run_on_games_that_others_played(tmp_path, capfd):
    brought(tmp_path, *many_games(24))
    small = {"n_counterfactual": 4, "n_samples": 2, "n_matches": 4, "n_match_scripts": 2, "n_views": 6, "batch": 8}
    off = dict.fromkeys(("control", "study_adapter", "export_merged", "progress"), False)
    (tmp_path / "theirs.yaml").write_text(json.dumps({"run": "theirs"} | small | off))  # JSON is YAML
    code = main(["run", str(tmp_path / "theirs.yaml"), "--only", "03,04,05"])
    assert code == 0, capfd.readouterr().err
    assert (Path(run_folder("theirs")) / "learning" / "adapter").exists()
