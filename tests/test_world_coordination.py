"""Coordination: who hears whom, what is solved, and players by rule who solve it by talk."""

import re
import time
import tracemalloc

import pytest
from worlds import Says, finish, requests

from maro_lib.play.policies import RANDOM, SKILLED, Styled
from maro_lib.play.rollout import play, schedule
from maro_lib.world.setups import Scenario, dump_scripts, load_scripts
from maro_lib.worlds.coordination import Coordination, CoordinationKnobs
from maro_lib.worlds.registry import WorldError, knobs_of

LINE = [[0, 1], [1, 2], [2, 3]]  # Ann - Ben - Cal - Dot
GRAPHS = ("ring", "small_world", "random", "complete")
TASKS = ("colouring", "consensus", "leader")


def scenario(edges=LINE, names=("Ann", "Ben", "Cal", "Dot"), register="compact", **facts):
    """A graph given by hand."""
    near = [sorted(names[b if a == i else a] for a, b in edges if i in (a, b)) for i in range(len(names))]
    return Scenario(
        world="coordination", title="by hand", register=register, hidden={"edges": edges},
        characters=[{"name": name, "role": "agent", "faction": "team"} for name in names],
        facts={"task": "colouring", "rounds": 3, "values": ["red", "blue", "green"], "payoff": "solved"} | facts,
        private=[{"neighbours": names} for names in near],
    )  # fmt: skip


def begun(seed=0, **facts):
    game = Coordination(scenario(**facts))
    game.reset(len(game.names), seed)
    return game


def answer(game, *replies):
    """Let all seats reply, in their order; None: nothing that counts, corrections included."""
    for seat, reply in enumerate(replies):
        for text in [reply] if reply is not None else ["", ""]:
            game.step(text, seat)
    return game


def solved(task, graph, players, policy, n=40, rounds=3, n_scenarios=20, **knobs):
    made = CoordinationKnobs(players=players, task=task, graph=graph, rounds=rounds, **knobs)
    games = schedule([Coordination.generate(s, made) for s in range(n_scenarios)], n, 0)
    return play(games, policy).table("games")["solved"].mean()


# --- who hears whom ----------------------------------------------------------------------------------


def test_only_neighbours_read_what_is_said():
    game = answer(begun(rounds=1), "apple", "berry", "cherry", "date")
    words = {"apple": {0, 1}, "berry": {0, 1, 2}, "cherry": {1, 2, 3}, "date": {2, 3}}  # the speaker, and who is beside
    for word, readers in words.items():
        assert {i for i in range(4) if word in str(game.private_view(i))} == readers
        assert {i for i in range(4) if word in str(game.events(i))} == readers


@pytest.mark.parametrize("register", ["compact", "prose"])
def test_nobody_is_told_of_anybody_but_its_neighbours(register):
    game = Coordination(scenario(register=register))
    game.reset(4, 0)
    for i, known in enumerate(("Ann Ben", "Ann Ben Cal", "Ben Cal Dot", "Cal Dot")):
        told = str((game.private_view(i), game.prompt(i), game.events(i), game.brief(i)))
        assert {*re.findall(r"Ann|Ben|Cal|Dot", told)} == {*known.split()}
        assert "edges" not in told


def test_an_edge_between_others_is_seen_by_nobody_else():
    """Cal - Dot is there or not: Ann reads the same as long as nothing of it came to Ben."""
    with_edge, without = (begun(edges=edges, rounds=1) for edges in (LINE, [*LINE[:2], [1, 3]]))
    assert with_edge.private_view(0) == without.private_view(0)
    assert with_edge.brief(0) == without.brief(0)
    assert with_edge.private_view(1) != without.private_view(1)


def test_all_speak_before_anybody_reads():
    game = begun(rounds=2)
    game.step("apple", 0)
    assert "apple" not in str(game.private_view(1))
    for i in (1, 2, 3):
        game.step("hello", i)
    assert game.private_view(1)[-1].content.count("apple") == 1
    assert game.private_view(1)[-1].content.endswith("Round 2 of 2.\nSpeak to Ann, Cal?")


def test_who_says_nothing_is_noticed_by_its_neighbours_alone():
    game = answer(begun(rounds=1), "apple", None, "cherry", "date")
    assert [("Ben says nothing." in game.private_view(i)[-1].content) for i in range(4)] == [True, False, True, False]
    assert game.private_view(1)[-1].content.startswith("Nothing.\n")
    answer(game, *["PICK red"] * 4)
    assert game.record().own["messages"] == 1 + 2 + 1  # Ann to Ben; Cal to Ben and Dot; Dot to Cal


def test_what_was_said_in_a_round_is_not_said_again_in_the_next():
    game = answer(answer(begun(rounds=2), "apple", "berry", "cherry", "date"), "apple", None, "cherry", "date")
    assert "Ben says nothing." in game.private_view(0)[-1].content
    assert str(game.private_view(0)).count("berry") == 1


def test_the_seed_draws_the_order_in_which_messages_are_read():
    def read(seed):
        game = answer(begun(rounds=1, seed=seed), "apple", "berry", "cherry", "date")
        return re.findall("apple|cherry", game.private_view(1)[-1].content)

    orders = [read(seed) for seed in range(20)]
    assert ["apple", "cherry"] in orders
    assert ["cherry", "apple"] in orders


def test_players_read_before_they_talk_what_can_be_picked_and_what_is_paid():
    for task, payoff, told in (
        (
            "colouring",
            "solved",
            "All PICK a colour: red, blue, green. Not one that somebody beside you has. You speak 3 ",
        ),
        ("consensus", "share", "All PICK the same colour: red, blue, green. You speak 3 "),
        ("leader", "share", "In all: 4. Just one of all must LEAD. You speak 3 "),
    ):
        rules = begun(task=task, payoff=payoff).private_view(0)[0].content
        assert rules.startswith("You are Ann. Beside you: Ben. In all: 4. ")
        assert told in rules
        assert rules.endswith(
            {"solved": "Win or lose together.", "share": "The more is right, the more all get."}[payoff]
        )


# --- what is solved ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "replies", "share"), [
    ("colouring", ("PICK red", "PICK blue", "PICK red", "PICK blue"), 1),  # three edges, each with two colours
    ("colouring", ("PICK red", "PICK red", "PICK blue", "PICK green"), 2 / 3),  # Ann - Ben is alike
    ("colouring", ("PICK red", "PICK red", "PICK red", "PICK red"), 0),
    ("colouring", ("PICK red", None, "PICK red", "PICK blue"), 1 / 3),  # Ben's two edges lack an end
    ("consensus", ("PICK blue", "PICK blue", "PICK blue", "PICK blue"), 1),
    ("consensus", ("PICK blue", "PICK blue", "PICK blue", "PICK red"), 2 / 3),
    ("consensus", ("PICK blue", "PICK blue", "PICK blue", None), 2 / 3),
    ("consensus", (None,) * 4, 0),
    ("leader", ("LEAD no", "LEAD yes", "LEAD no", "LEAD no"), 1),
    ("leader", ("LEAD yes", "LEAD yes", "LEAD no", "LEAD no"), 1 / 2),  # one of two too many
    ("leader", ("LEAD no", "LEAD no", "LEAD no", "LEAD no"), 0),
    ("leader", ("LEAD no", "LEAD yes", None, "LEAD no"), 1),  # who does not answer does not lead
])  # fmt: skip
def test_shares_by_hand(task, replies, share):
    game = answer(begun(task=task, rounds=0), *replies)
    own = game.record().own
    assert own["share"] == pytest.approx(share)
    assert own == {"task": task, "solved": share == 1, "share": own["share"], "n_edges": 3, "messages": 0}
    assert game.successes() == [int(share == 1)] * 4
    assert game.payoffs() == [float(share == 1)] * 4
    paid = answer(begun(task=task, rounds=0, payoff="share"), *replies)
    assert paid.payoffs() == pytest.approx([share] * 4)
    assert paid.successes() == [int(share == 1)] * 4


def test_the_choices_are_a_column():
    game = answer(answer(begun(rounds=1, task="leader"), *["hello"] * 4), "LEAD yes", "no!", "LEAD no", "LEAD no")
    game.step("LEAD no", 1)
    assert [game.own_columns(a)["choice"] for a in game.log] == [None] * 4 + ["yes", None, "no", "no", "no"]


# --- graphs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("players", [4, 7, 30])
def test_graphs_are_connected_and_of_their_kind(graph, players):
    for seed in range(5):
        edges = Coordination.generate(seed, CoordinationKnobs(players=players, graph=graph)).hidden["edges"]
        assert all(0 <= i < j < players for i, j in edges)
        assert len({(i, j) for i, j in edges}) == len(edges)
        reached = {0}
        for _ in range(players):
            reached |= {v for e in edges if reached & {*e} for v in e}
        assert len(reached) == players
        degrees = [sum(i in e for e in edges) for i in range(players)]
        if graph == "ring":
            assert set(degrees) == {2}
        if graph == "complete":
            assert set(degrees) == {players - 1}
        if graph == "small_world":
            assert players < len(edges) <= 2 * players
        if graph == "random":
            assert players - 1 <= len(edges) <= players - 1 + players // 2


def test_the_scenario_decides_the_graph_and_is_kept_when_written():
    one, same, other = (Coordination.generate(seed, CoordinationKnobs(players=12)) for seed in (1, 1, 2))
    assert one == same
    assert one.hidden != other.hidden
    assert one.hidden["edges"] == [sorted(e) for e in one.hidden["edges"]]


def test_a_scenario_is_read_back_with_what_is_hidden(tmp_path):
    (tmp_path / "scenarios.yaml").write_text(dump_scripts([given := Coordination.generate(3)]), encoding="utf-8")
    assert load_scripts(tmp_path / "scenarios.yaml")[given.digest].hidden == given.hidden


def test_there_are_as_many_colours_as_the_task_needs():
    def values(**knobs):
        return Coordination.generate(0, CoordinationKnobs(**knobs)).facts["values"]

    assert values(graph="ring", players=7) == ["red", "blue", "green"]  # two neighbours, three colours
    assert len(values(graph="complete", players=10)) == 10
    assert values(graph="complete", players=10)[7:] == ["pink", "red2", "blue2"]
    assert values(task="consensus") == ["red", "blue"]
    assert len(values(task="consensus", values=5)) == 5
    assert values(graph="ring", players=8, values=2) == ["red", "blue"]  # an even ring
    assert values(task="leader") == []


# --- knobs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("knobs", "told"), [
    ({"players": 3}, "players: 3; at least 4"), ({"players": 101}, "at most 100 players"),
    ({"rounds": -1}, "rounds: -1"), ({"values": 1}, "at least 2 values"),
    ({"task": "colering"}, "task: 'colering' is unknown; did you mean 'colouring'"),
    ({"graph": "star"}, "graph: 'star' is unknown"), ({"payoff": "shares"}, "did you mean 'share'"),
    ({"nodes": 4}, "coordination has no 'nodes'"),
])  # fmt: skip
def test_bad_knobs_are_refused_with_a_sentence(knobs, told):
    with pytest.raises(WorldError, match=re.escape(told)):
        knobs_of(Coordination, knobs)


@pytest.mark.parametrize(("knobs", "needed"), [
    ({"graph": "ring", "players": 7, "values": 2}, 3), ({"graph": "complete", "players": 5, "values": 4}, 5),
])  # fmt: skip
def test_a_colouring_that_can_not_be_solved_is_refused(knobs, needed):
    with pytest.raises(ValueError, match=rf"too few for this graph; give {needed}, or 0"):
        Coordination.generate(0, CoordinationKnobs(**knobs))


def test_rounds_are_as_many_messages_of_each():
    for rounds in (0, 2):
        game = finish(begun(rounds=rounds), RANDOM)
        assert [a.phase for a in game.log] == ["talk"] * 4 * rounds + ["answer"] * 4
        assert game.record().n_rounds == rounds


# --- players by rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("task", TASKS)
def test_skilled_players_solve_it_with_enough_rounds_and_random_ones_do_not(task, graph):
    assert solved(task, graph, 8, SKILLED, rounds=8) == 1
    assert solved(task, graph, 8, RANDOM, rounds=8) < 0.3


@pytest.mark.parametrize("task", TASKS)
def test_more_rounds_help(task):
    none, one, many = (solved(task, "ring", 8, SKILLED, rounds=rounds) for rounds in (0, 1, 6))
    assert none < one < many == 1


@pytest.mark.parametrize("task", TASKS)
def test_skilled_players_solve_it_in_prose(task):
    games = [Coordination.generate(s, CoordinationKnobs(players=6, rounds=6, task=task), "prose") for s in range(10)]
    assert play(schedule(games, 10, 0), SKILLED).table("games")["solved"].all()


def test_word_goes_round_a_ring_one_step_a_round():
    """Ann's name is first. Of six in a ring the farthest is three steps away: two rounds, for neighbours are known."""
    ring = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [0, 5]]
    names = ("Ann", "Cal", "Eve", "Ben", "Fay", "Dot")
    # Ann, Cal, Eve, Ben, Fay, Dot: Ben sits between Eve and Fay. After one round it has heard of Cal and Dot, and still
    # leads; after two it has heard of Ann.
    for rounds, leaders in ((0, 2), (1, 2), (2, 1)):
        game = Coordination(scenario(ring, names, task="leader", rounds=rounds))
        game.reset(6, 0)
        finish(game, SKILLED)
        assert sum(c == "yes" for c in game.now.choices.values()) == leaders


def test_what_all_can_think_of_alone_solves_consensus_without_a_word():
    assert solved("consensus", "random", 8, Styled("focal"), rounds=0) == 1
    assert solved("colouring", "complete", 8, Styled("focal"), rounds=0) == 1
    assert solved("leader", "ring", 8, Styled("focal"), rounds=0) < 0.5


@pytest.mark.parametrize("task", TASKS)
def test_stubborn_players_do_not_come_together(task):
    assert solved(task, "ring", 8, Styled("stubborn"), rounds=8) < 0.3


def test_who_comes_later_in_the_alphabet_gives_way():
    game = begun(rounds=1)
    answer(game, "My colour is red.", "My colour is red.", "My colour is green.", "My colour is red.")
    replies = [SKILLED.act([r])[0].text for r in requests(game, {})]
    assert replies == ["PICK red", "PICK blue", "PICK green", "PICK red"]  # beside Ben: red and green


def test_words_of_other_kinds_are_not_understood():
    game = begun(rounds=1, task="consensus")
    answer(game, "Let us take pink.", "All take pink, as Aaa says.", "All take blue, as Abe says.", "Hello.")
    replies = [SKILLED.act([r])[0].text for r in requests(game, {})]
    assert replies[3] == "PICK blue"  # Dot heard Cal alone
    assert replies[2] == "PICK blue"  # Cal heard Ben too, but pink is not on offer


# --- many --------------------------------------------------------------------------------------------


def test_a_hundred_agents_play_quickly_and_views_stay_small():
    """Bounds are generous: it takes half a second and 8 MB."""
    made = CoordinationKnobs(players=100, rounds=12, task="consensus")
    game = schedule([Coordination.generate(0, made)], 1, 0)
    tracemalloc.start()
    began = time.process_time()
    played = play(game, SKILLED)
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 20
    assert peak < 60 * 2**20
    assert played.table("games")["solved"].all()
    views = played.table("dialogues", ["messages"])["messages"]
    degree = max(len(p["neighbours"]) for p in game[0].script.private)
    for view in views:
        words = sum(len(m["content"].split()) for m in view)
        assert words < 60 + 12 * (15 + 12 * degree)  # what neighbours say, and not what a hundred say


def test_a_talker_is_cut_short():
    long = Says("long", lambda r: "word " * 2000 if not r.prompt.commands else "PICK red")
    game = finish(begun(rounds=1), long)
    assert game.n_cut == 4
    assert len(game.private_view(1)[-2].content) < 3 * 1300
