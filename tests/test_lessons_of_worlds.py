"""The model of all worlds: what it reads, what its exam says, and that the mystery's own model stays as it is."""

import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import fields, replace
from itertools import islice

import pandas as pd
import pytest
import torch
import yaml
from closeness import near

from maro_lib.embedded import lessons, other_worlds
from maro_lib.embedded.card import card_text, make_card, save_card
from maro_lib.embedded.exam import CULPRITS, INNOCENTS, exam_games, play_exam, stated_suspicion, world_scores
from maro_lib.embedded.lessons import COMMAND, Candid, Recipe, rating_drill, recipe_of, weigh
from maro_lib.embedded.other_worlds import (
    TAUGHT,
    Characters,
    command_drills,
    examined,
    world_game,
    world_views,
    world_words,
)
from maro_lib.embedded.pretraining import make, tokenizer_texts, train_tokenizer
from maro_lib.model import loading, shipped
from maro_lib.model.chat import Chat
from maro_lib.model.loading import EMBEDDED, ModelError, load
from maro_lib.model.local import LocalPolicy
from maro_lib.model.shipped import SHIPPED
from maro_lib.play.policies import RANDOM, SKILLED, Mixture
from maro_lib.play.rollout import play, run_sessions, start
from maro_lib.play.sitting import SittingError
from maro_lib.run.quick import quick_problems
from maro_lib.runs import ROOT
from maro_lib.show.table import _check_register
from maro_lib.statistics import Rate
from maro_lib.world.protocol import Message
from maro_lib.worlds.registry import WORLDS, find_world

OTHERS = TAUGHT[1:]
PARAMS = yaml.safe_load((ROOT / "params" / "embedded_worlds.yaml").read_text())
every_other_world = pytest.mark.parametrize("world", OTHERS)


@pytest.fixture(scope="module")
def chat():
    """The tokenizer of the mystery alone: to it, other worlds' views are longer than to one of their own."""
    return Chat(load("embedded").tokenizer)


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def few_lessons(chat, recipe: Recipe) -> list:
    taken, left = [], recipe.tokens
    for batch in lessons.lessons(chat, recipe):
        taken.append(batch)
        left -= sum(len(example.ids) for example in batch)
        if left <= 0:
            return taken
    raise AssertionError("lessons never end")


# --- the model of the mystery alone ------------------------------------------------------------------


def test_the_mysterys_model_is_made_of_the_very_lessons_that_made_it(chat):
    """Digests from before there were other worlds: of lessons of all four kinds, and of the tokenizer."""
    read = "".join(map(json.dumps, few_lessons(chat, Recipe(tokens=60_000))))
    assert digest(read) == "628a4d9cee4fa52eb16e9299d7f5e1c4"
    texts = tokenizer_texts(n_games=20)
    assert digest("\n".join(texts)) == "97ff23f9cd5536e419bf3a3e0a2414bb"
    assert digest(train_tokenizer(texts).backend_tokenizer.to_str()) == "55d493d481d7546cc130f37dee667af1"


def test_a_recipe_without_worlds_is_the_mysterys():
    assert not Recipe().is_of_worlds
    assert recipe_of({"lesson_worlds": ["mystery"], "lesson_world_shares": [1.0], "hidden": 128}) == Recipe()


# --- recipes -----------------------------------------------------------------------------------------


def test_all_worlds_are_taught_but_other_peoples_games():
    assert {*TAUGHT} == {*WORLDS} - {"textarena"}
    assert PARAMS["lesson_worlds"] == [*TAUGHT]
    assert sum(PARAMS["lesson_world_shares"]) == near(1.0)


@pytest.mark.parametrize(
    ("worlds", "shares", "told"),
    [(["mystery", "comons"], [0.5, 0.5], "did you mean 'commons'"), (["commons"], [1.0], "mystery first"),
     (["mystery", "trust", "trust"], [0.4, 0.3, 0.3], "each world once"), (["mystery"], [0.5, 0.5], "for each of"),
     (["mystery", "trust"], [1.0, 0.0], "above 0")],
)  # fmt: skip
def test_a_recipe_that_goes_against_itself_is_refused(worlds, shares, told):
    values = {"lesson_worlds": worlds, "lesson_world_shares": shares, "lesson_shares": [0.1, 0.2, 0.3],
              "lesson_shown": [], "lesson_share_tasks": 0.5, "lesson_share_drills": 0.2}  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(told)):
        recipe_of(values)
    assert told in " ".join(quick_problems(values))


@pytest.mark.parametrize("shares", [(), (0.1, 0.2), (0.5, 0.5, 0.1)])
def test_kinds_of_lessons_have_three_shares(shares):
    with pytest.raises(ValueError, match="three shares are needed"):
        Recipe(shares=shares)


def test_tasks_and_drills_leave_the_rest_to_games():
    assert Recipe(share_tasks=0.4, share_drills=0.6).share_drills == 0.6, "nothing"
    with pytest.raises(ValueError, match=r"lesson_share_tasks, lesson_share_drills: 0\.6, 0\.5; of 1 together at most"):
        Recipe(share_tasks=0.6, share_drills=0.5)


def test_worlds_have_their_shares_of_the_games():
    recipe = Recipe(worlds=("mystery", "commons", "trust"), world_shares=(0.5, 0.3, 0.2))
    read = islice(lessons.games_of(random.Random(0), recipe, lessons.short_game, 0.4), 400)
    about = Counter("commons" if "lake" in view[0].content else "trust" if "CLAIM" in view[0].content else "mystery"
                    for view in read)  # fmt: skip
    assert abs(about["mystery"] - 200) < 30
    assert abs(about["commons"] - 120) < 28


def test_lessons_go_on_from_a_model(tmp_path):
    """Its weights and its words; kinds of lessons without a share are left out; other sizes are refused."""
    recipe = Recipe(tokens=2000, start="embedded", shares=(0.0, 0.0, 0.5))
    model, chat = make(recipe)
    start = load("embedded", precision="float32")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.model.parameters(), strict=True))
    assert chat.tokenizer.get_vocab() == start.tokenizer.get_vocab()
    curve = pd.DataFrame({"step": [1], "tokens": 9, "loss": 0.0, "legal": 0.0, "right": 0.0})
    made = make_card(model, recipe, curve, 1, {})
    assert made["tokens_before"] == json.loads((EMBEDDED / "card.json").read_text())["tokens_seen"] > 0
    save_card(made, tmp_path)
    again = make_card(model, replace(recipe, start=str(tmp_path)), curve, 1, {})
    assert again["tokens_before"] == made["tokens_before"] + 9, "in all parts"
    drilled = few_lessons(chat, Recipe(tokens=2000))
    assert max(map(lessons.width, few_lessons(chat, recipe)[0])) > max(map(lessons.width, drilled[0]))
    with pytest.raises(ValueError, match=r"lesson_start: embedded is 128 wide and has 4 layers; .* say 128 and 6"):
        make(replace(recipe, layers=6))
    assert "lesson_start: nowhere: there is no such folder" in " ".join(quick_problems({"lesson_start": "nowhere"}))


# --- lessons of other worlds -------------------------------------------------------------------------


@every_other_world
def test_who_is_what_stays_so_for_a_whole_game(world):
    seen = {}
    players = Characters(0.4)

    class Watched:
        name = "watched"

        def act(self, requests):
            for r in requests:
                seen.setdefault((r.seed, r.player), set()).add(players.character(r))
            return players.act(requests)

    games = [world_game(random.Random(k), world, k) for k in range(12)]
    assert len(list(run_sessions((start(game, Watched()) for game in games), 12))) == 12
    assert all(len(characters) == 1 for characters in seen.values())
    kinds = Counter(kind for characters in seen.values() for kind in characters)
    assert {*kinds} <= {*find_world(world).styles, "random"}
    assert len(kinds) > 1


@every_other_world
def test_lessons_fit_the_window(world, chat):
    read = islice(world_views(random.Random(1), world, 0.4), 80)
    longest = max(len(weigh(chat, view, 0.1).ids) for view in read)
    assert 100 < longest < Recipe().window


@every_other_world
def test_every_knob_that_is_turned_is_seen_turned(world):
    kind, rng = find_world(world), random.Random(0)
    drawn = [other_worlds.world_knobs(rng, kind) for _ in range(400)]
    for name, choices in other_worlds.TURNED[world].items():
        assert {*choices} <= {getattr(knobs, name) for knobs in drawn}, name
    assert sum(knobs == kind.knobs() for knobs in drawn) >= 150


@every_other_world
def test_a_drill_is_answered_within_what_its_prompt_offers(world):
    said = Counter()
    for view in islice(command_drills(random.Random(2), world), 60):
        assert len(view) <= 1 + 2 * other_worlds.ASKED
        for asked, reply in zip(view[1::2], view[2::2], strict=True):
            word = reply.content.split()[0].strip(":")
            if word.isupper() and len(word) > 2:
                said[word] += 1
                offered = re.search(rf"{word}(?: (\d+)-(\d+))?", asked.content)
                assert offered, f"{reply.content} to {asked.content}"
                if offered[1]:
                    assert int(offered[1]) <= int(re.search(r"\d+", reply.content)[0]) <= int(offered[2])
    assert {word for word in world_words(world) if word.isupper() and len(word) > 2} <= {*said}


def test_slips_are_corrected_and_weigh_nothing_and_commands_weigh_more(chat):
    read = [weigh(chat, view, 0.1) for view in islice(world_views(random.Random(3), "commons", 0.4), 200)]
    by_weight = {w: "".join(chat.tokenizer.decode([i for i, v in zip(*e, strict=True) if v == w]) for e in read)
                 for w in (0.0, COMMAND)}  # fmt: skip
    assert "TAKE" in by_weight[0.0], "somebody asked for more than there was, or said something else"
    assert by_weight[COMMAND].count("TAKE") > 20 * by_weight[0.0].count("TAKE")
    told = [Message("system", "S"), Message("user", "Lake: 40. TAKE 0-40?"), Message("assistant", "TAKE 41"),
            Message("user", "No. Not such a number. Say: TAKE 0-40."), Message("assistant", "TAKE 9")]  # fmt: skip
    example = weigh(chat, told, 0.1)
    own = {w: chat.tokenizer.decode([i for i, v in zip(*example, strict=True) if v == w]) for w in (0.0, COMMAND)}
    assert own == {0.0: "TAKE 41<|im_end|>", COMMAND: "TAKE 9<|im_end|>"}


def test_names_commands_and_nearly_every_word_are_one_token():
    texts = tokenizer_texts(n_games=40, worlds=TAUGHT)
    own = Chat(train_tokenizer(texts, PARAMS["lesson_vocabulary"]))
    words = {word for world in OTHERS for word in world_words(world)}
    assert {"TAKE", "PUNISH", "Ann", "yours"} - words == {"yours"}
    split = [w for w in sorted(words) if min(len(own.text_ids(f"{space}{w}")) for space in ("", " ")) > 1]
    assert len(split) <= 3, split
    assert [own.tokenizer.decode(i) for i in own.text_ids("TAKE 45")] == ["TAKE", " ", "4", "5"], "digit by digit"


def test_most_drills_of_the_worlds_shown_are_games_of_skilled_players(chat):
    recipe = Recipe(worlds=TAUGHT, world_shares=(1,) * 7)

    def in_coordination(of):
        texts = (chat.tokenizer.decode(e.ids) for e in islice(lessons.drills(random.Random(2), chat, of), 300))
        return [text for text in texts if "All PICK" in text or "must LEAD" in text]

    asked, shown = in_coordination(recipe), in_coordination(replace(recipe, shown=("coordination",)))
    assert len(shown) > 2 * len(asked) > 0
    by_protocol = [re.search(r"assistant\n(My colour is|All take|The first name is) ", text) for text in shown]
    assert sum(map(bool, by_protocol)) > 0.6 * len(shown)
    with pytest.raises(ValueError, match=r"lesson_shown: 'coordnation' is unknown; did you mean 'coordination'"):
        replace(recipe, shown=("coordnation",))


def test_a_drill_in_orders_says_every_word_once_in_each(chat):
    for k in range(20):
        example = lessons.order_drill(chat, random.Random(k))
        orders = [line.split() for line in chat.tokenizer.decode(example.ids).strip(".").split(".")]
        assert len(orders) == lessons.ORDERS
        assert all(sorted(order) == sorted(orders[0]) for order in orders)
        first = sum(w == 0 for w in example.weights)
        assert chat.tokenizer.decode(example.ids[:first]) == f"{' '.join(orders[0])}.", "the first can't be foreseen"
    for recipe in (Recipe(share_orders=1.0), Recipe(worlds=TAUGHT, world_shares=(1,) * 7, share_orders=1.0)):
        assert {*next(lessons.drills(random.Random(0), chat, recipe)).weights} == {0.0, 1.0}


def test_same_seed_same_lessons_of_worlds(chat):
    recipe = Recipe(tokens=40_000, worlds=TAUGHT, world_shares=(0.4, *[0.1] * 6), share_candid=0.5, weight_ratings=3.0)
    assert few_lessons(chat, recipe) == few_lessons(chat, recipe)


def test_the_new_model_is_larger_but_not_twice_as_large():
    recipe = recipe_of(PARAMS)
    small = Recipe(layers=recipe.layers, hidden=recipe.hidden, vocabulary=recipe.vocabulary)  # its tokenizer is quicker
    model, _ = make(small)
    assert 1_213_312 < model.num_parameters() <= 2 * 1_213_312


# --- ratings -----------------------------------------------------------------------------------------


def test_candid_civilians_suspect_whom_the_evidence_leaves():
    """Bad players rate by talk: in most games all that they say of culprits they say of innocents too."""
    games = list(lessons.lesson_games(random.Random(4), lessons.default_game, 60))
    by_talk, by_evidence = (stated_suspicion(play(games, p)) for p in (Mixture(0.0), Candid(Mixture(0.0))))
    assert by_talk[CULPRITS].mean - by_talk[INNOCENTS].mean < 0.3
    assert by_evidence[CULPRITS].mean > 1.5
    assert by_evidence[INNOCENTS].mean < 0.3


def test_a_rating_drill_is_answered_by_what_its_clues_prove():
    n_undecided = 0
    for k in range(40):
        script, *_ = lessons._civilian(random.Random(k))
        view = rating_drill(random.Random(k))
        some, all_ = (dict(re.findall(r"([A-Z][a-z]+) (\d)", said.content)) for said in view[2::2])
        assert {name for name, s in all_.items() if s == "2"} == {*script.culprits}
        assert {s for name, s in all_.items() if name not in script.culprits} == {"0"}
        assert all(some[name] != "0" for name in script.culprits), "clues that lack clear no culprit"
        n_undecided += "1" in some.values()
    assert n_undecided > 5


def test_ratings_weigh_what_the_recipe_says(chat):
    view = [Message("system", "You are Jim."), Message("user", "Rate? Tom Zoe."),
            Message("assistant", "Tom 0 2 Zoe 2 0")]  # fmt: skip
    assert {*weigh(chat, view, 0.1).weights} == {0.1, 1.0}
    assert {*weigh(chat, view, 0.1, ratings=3.0).weights} == {0.1, 3.0}


class Told:
    """Two tables, by hand."""

    def __init__(self, factions: list[str], rated: list[tuple[str, int, list[int]]]):
        rows = [{"game": "g", "kind": "rate", "faction": f, "round": r, "suspicion": s} for f, r, s in rated]
        self.tables = {"games": pd.DataFrame([{"game": "g", "factions": factions}]), "actions": pd.DataFrame(rows)}

    def table(self, name, columns=None):
        return self.tables[name] if columns is None else self.tables[name][columns]


def test_stated_suspicion_by_hand():
    """Culprits: (2 + 1) / 2. Innocents: (0 + 1) / 2. Neither round 1, nor oneself (-1), nor culprits' own count."""
    rated = [("civilian", 1, [-1, 2, 0]), ("civilian", 2, [-1, 0, 2]), ("civilian", 2, [1, -1, 1]),
             ("culprit", 2, [2, 2, -1])]  # fmt: skip
    scores = stated_suspicion(Told(["civilian", "civilian", "culprit"], rated))
    assert scores[CULPRITS].mean == near(1.5)
    assert scores[INNOCENTS].mean == near(0.5)


# --- exam and card -----------------------------------------------------------------------------------


def test_players_by_rule_get_their_own_marks():
    for name, player in (("random", RANDOM), ("skilled", SKILLED)):
        scores = play_exam(player, 12, TAUGHT)
        for world in examined(TAUGHT):
            assert scores[f"{world}: success"] == scores[f"{world}: success of {name} players"], world
            assert scores[f"{world}: legal first replies"].mean == 1
            marks = [scores[f"{world}: success of {who} players"].mean for who in ("random", "skilled")]
            assert marks[0] < marks[1], world
        apart = scores[CULPRITS].mean - scores[INNOCENTS].mean
        assert abs(apart - {"random": 0.0, "skilled": 2.0}[name]) < 0.4


def test_the_mysterys_exam_has_no_rows_of_worlds():
    assert [*play_exam(SKILLED, 4)] == ["legal first replies", "civilians' right votes", "civilians win", CULPRITS,
                                        INNOCENTS]  # fmt: skip


def test_a_card_has_a_row_for_each_world():
    names = ("legal first replies", "success", "success of random players", "success of skilled players")
    scores = {f"trust: {name}": Rate(0.1 * k, 0.0, 1.0, 9) for k, name in enumerate(names, start=1)}
    card = {"parameters": 1, "tokens_seen": 2, "steps": 3, "date": "", "machine": "", "seconds": 4, "commit": "",
            "recipe": {"worlds": ["mystery", "trust"]},
            "shown": {name: str(score) for name, score in scores.items()} | {"where": "all"}}  # fmt: skip
    text = card_text(card)
    row = " | ".join(f"{p}.0 % [0.0, 100.0] (n = 9)" for p in (10, 20, 30, 40))
    assert f"| trust | {row} |" in text
    assert f"| mystery |{' not examined |' * 4}" in text
    assert "| where | all |" in text
    assert text.count("trust: ") == 0


def test_the_mysterys_card_is_written_as_it_was():
    card = json.loads((EMBEDDED / "card.json").read_text())
    card["recipe"]["shares"] = (*card["recipe"]["shares"],)  # as it stood in the recipe
    assert card_text(card) == (EMBEDDED / "README.md").read_text()


# --- model: worlds -----------------------------------------------------------------------------------


def test_a_model_that_is_not_made_says_how_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(shipped.SHIPPED, "worlds", ROOT / "maro_lib" / "embedded" / "nowhere")
    how = "ONLY=00, then make run PARAMS=params/embedded_worlds_2.yaml ONLY=00 makes it"
    with pytest.raises(ModelError, match=how):
        load("worlds")
    given = {"model": "worlds", "adapter": "", "server_url": "", "server_command": "", "server_key_env": ""}
    assert how in " ".join(quick_problems(given))
    assert not [*quick_problems(given | {"model": "embedded"})]


def test_the_model_of_all_worlds_is_loaded_by_its_name(monkeypatch):
    monkeypatch.setitem(shipped.SHIPPED, "worlds", EMBEDDED)  # any weights will do
    assert loading.model_folder("worlds") == EMBEDDED
    assert load("worlds").name == "worlds"


def test_the_model_of_all_worlds_sits_down_only_to_what_it_can_read():
    for world in OTHERS:
        kind = find_world(world)
        _check_register("worlds", kind.generate(0))
        with pytest.raises(SittingError, match="it is told in prose"):
            _check_register("worlds", kind.generate(0, None, "prose"))
    other = find_world("commons").generate(0).model_copy(update={"world": "my_world"})
    with pytest.raises(SittingError, match="of which it has read nothing"):
        _check_register("worlds", other)


# --- the model that comes along --------------------------------------------------------------------------

MODEL = SHIPPED["worlds"]
CARD = json.loads((MODEL / "card.json").read_text(encoding="utf-8"))


def test_its_weights_are_small_and_safe():
    files = {f.name for f in MODEL.iterdir()}
    assert "model.safetensors" in files
    assert not {f for f in files if f.endswith((".bin", ".pt", ".pkl", ".py"))}
    assert sum(f.stat().st_size for f in MODEL.iterdir()) < 10e6


def test_its_card_names_the_recipe_of_its_parameter_file():
    recipe = {f.name: f.default for f in fields(Recipe)} | {
        k.removeprefix("lesson_"): v
        for k, v in yaml.safe_load((ROOT / "params" / "embedded_worlds_2.yaml").read_text()).items()
        if k.startswith("lesson_") or k in ("hidden", "layers")
    }
    assert CARD["recipe"] == json.loads(json.dumps(recipe))
    assert CARD["tokens_before"] >= PARAMS["lesson_tokens"], "the first part"
    assert (MODEL / "README.md").read_text(encoding="utf-8") == card_text(CARD)


def test_it_is_legal_in_every_world_and_its_ratings_say_something():
    scores = CARD["scores"]
    assert all(scores[f"{place}: legal first replies"]["mean"] >= 0.97 for place in examined(TAUGHT))
    assert scores["suspicion of culprits"]["low"] > scores["suspicion of innocents"]["high"]
    assert "Not clearly better than random there: coordination." in card_text(CARD)


def test_its_card_tells_the_truth():
    """Some worlds of the card again, in fewer games."""
    for world in ("buying", "trust"):
        games = exam_games(24, world)
        again = world_scores(world, games, play(games, LocalPolicy(load("worlds"))))
        for name in (f"{world}: legal first replies", f"{world}: success"):
            score, told = again[name], CARD["scores"][name]
            noise = 2 * ((score.high - score.low) ** 2 + (told["high"] - told["low"]) ** 2) ** 0.5 / 2
            assert abs(score.mean - told["mean"]) < noise + 0.01, f"{name}: {score}, the card says {told}"
