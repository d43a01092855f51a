"""One contract for every environment and every policy: a new one joins its list here and must keep every law."""

import copy
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import product

import pytest
from worlds import PLAIN, Fixed, Says, advance, correct_reply, finish, requests, varied_scripts, world, worlds

from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.contract import private_leak
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Mixture, Policy, Reply, Scripted
from maro_lib.play.rollout import Game, play
from maro_lib.world.mystery import MurderMystery, Rules
from maro_lib.world.protocol import Environment
from maro_lib.world.scripts import Script
from maro_lib.worlds.registry import WORLDS, find_world, knobs_of


@dataclass(frozen=True)
class Entry:
    """An environment under contract: how to make one, for how many, and how many replies a game may take."""

    name: str
    make: Callable[[], Environment]
    n_players: int
    max_replies: int


def mystery(name: str, script: Script, rules: Rules) -> Entry:
    n, rounds = len(script.names), max(rules.rounds, len(script.stages))
    n_ratings = {"round": 1, "turn": n, "never": 0}[rules.ratings]
    prompts = n * (1 + rounds * (2 + n_ratings) + 1)  # intro; turn, answer and ratings per round; vote
    return Entry(name, lambda: MurderMystery(script, rules), n, prompts * (1 + rules.corrections))


def other(name: str, register: str, **knobs) -> Entry:
    world = find_world(name)
    script = world.generate(0, knobs_of(world, knobs), register)
    told = "-".join([name, register, *(f"{k}={v}" for k, v in knobs.items())])
    return Entry(told, lambda: world(script), len(script.names), 4000)


OTHERS = [(name, {}) for name in WORLDS if name != "mystery" and (name != "textarena" or find_spec("textarena"))]
TURNED = [  # with other knobs
    ("commons", {"talk": False, "players": 2}),
    ("commons", {"dead_below": 0, "growth": 3}),
    ("buying", {"rounds": 1, "no_deal": 1.0}),
    ("buying", {"persona": "any", "persona_seats": "buyer", "max_price": 1000}),
    ("trust", {"kinds": 3, "values": "wide", "reveal": False}),
    ("trust", {"rounds": 2, "talks": 2}),
    ("donor", {"punish": True, "memory": 0, "players": 6}),
    ("donor", {"generations": 2, "rounds": 3, "most": 5}),
    ("public_goods", {"punishment": "third_party", "partners": "chosen", "players": 5}),
    ("public_goods", {"punishment": "none", "talk": False, "reputation": True}),
    ("public_goods", {"punishment": "third_party", "players": 3, "factor": 1.5}),
    ("coordination", {"task": "leader", "graph": "ring", "rounds": 1}),
    ("coordination", {"task": "consensus", "graph": "random", "players": 13, "payoff": "share"}),
]

ENVIRONMENTS = [
    *(mystery(name, script, Rules(rounds=2)) for name, script in worlds().items()),
    mystery("rated-each-turn", world(), Rules(rounds=1, ratings="turn", corrections=2)),
    mystery("one-round-no-second-try", world(), Rules(rounds=1, ratings="never", corrections=0)),
    *(mystery(name, script, Rules(rounds=1)) for name, script in varied_scripts().items()),
    *(other(name, register, **knobs) for name, knobs in OTHERS for register in ("compact", "prose")),
    *(other(name, "compact", **knobs) for name, knobs in TURNED),
]

TONGUES = ["ASK", "Ann", "SEARCH", "barn", "VOTE", "询问", "王明", "：", "\n", "1", "2", "-1", "{}", "\u202e", "\ud800",
           "🙂", '"']  # fmt: skip


def babble(request):
    rng = request.rng("babble", request.t)
    return "".join(rng.choice([chr(rng.randrange(0x110000)), *TONGUES]) for _ in range(rng.randrange(40)))


RUBBISH = [
    Says("empty", lambda _: ""),
    Says("babble", babble),
    Says("endless", lambda _: "word " * 500),
    Says("endless lines", lambda _: "\n\"ASK\" : \n" * 200),
    Says("votes always", lambda r: f"I vote for {r.brief.names[0]}."),
    Says("rates always", lambda r: "; ".join(f"{n}: suspicion 1, trust 1" for n in r.brief.names)),
    Says("asks always", lambda r: f"ASK {r.brief.names[-1]}: Why?"),
    Says("takes all", lambda r: f"TAKE 999999999999 OFFER -1 GIVE {r.brief.names[0]} 3.5 PICK"),
    Says("commands always", lambda r: " ".join(f"{c.word} {c.word}" for c in r.prompt.commands) or "PASS"),
    Says("parrot", lambda r: r.view[-1].content),
]  # fmt: skip


@cache
def embedded():
    return LocalPolicy(load("embedded"), Sampling(max_new_tokens=24))


class Model:
    """The embedded model, loaded only where it plays."""

    name = "embedded"

    def act(self, requests):
        return embedded().act(requests)


SENSIBLE = [RANDOM, NAIVE, SKILLED, Mixture(), Scripted(0.5, 0.5), PLAIN]
POLICIES = [*SENSIBLE, *RUBBISH, Fixed({(p, t): "x" for p in range(20) for t in range(1, 1000)})]
MODELS = [Model()]
COMPACT = [e for e in ENVIRONMENTS if "compact" in e.name and issubclass(type(e.make()), MurderMystery)]
PAIRS = [*product(ENVIRONMENTS, POLICIES), *product(COMPACT, MODELS)]  # no model here was made for prose

every_environment = pytest.mark.parametrize("entry", ENVIRONMENTS, ids=lambda e: e.name)
every_policy = pytest.mark.parametrize("policy", [*POLICIES, *MODELS], ids=lambda p: p.name)


def start(entry, seed=0):
    env = entry.make()
    env.reset(entry.n_players, seed)
    return env


def views(env, entry):
    return [list(env.private_view(i)) for i in range(entry.n_players)]


def whole(env, entry):
    """A finished game, as far as the protocol shows it."""
    return views(env, entry), [list(env.events(i)) for i in range(entry.n_players)], env.close()


def tells_a_side(info):
    return any(word in repr(info).casefold() for word in ("faction", "culprit", "civilian", "role", "guilty"))


def filled_in(form, rng):
    """Some way to fill a form in."""
    return form.say({b.name: rng.choice(b.options) if b.options else "Where were you?" for b in form.blanks})


# --- environments ------------------------------------------------------------------------------------


@every_environment
def test_it_keeps_the_protocol(entry):
    assert isinstance(start(entry), Environment)


@every_environment
def test_every_form_that_it_offers_is_a_legal_reply(entry):
    env, rng = start(entry), random.Random(0)
    while pending := env.pending_players():
        for form in env.forms(pending[0]):
            before = env.snapshot()
            _, became = env.step(filled_in(form, rng), pending[0])
            assert became["legal"], form.title
            env.restore(before)
        env.step(filled_in(rng.choice(env.forms(pending[0])), rng), pending[0])


@every_environment
def test_a_world_says_what_it_is_and_its_rows_have_its_columns(entry):
    env = finish(start(entry), RANDOM)
    world = type(env)
    assert all(isinstance(text, str) and text for text in (world.name, world.question, world.success))
    assert {c.faction for c in env.script.characters} <= {*world.sides, ""}
    assert env.record().own.keys() == world.columns.get("games", {}).keys()
    assert all(env.own_columns(a).keys() == world.columns.get("actions", {}).keys() for a in env.log)
    assert len(env.payoffs()) == len(env.successes()) == entry.n_players
    played = play([Game("g", 0, env.script, 0, env.rules)], RANDOM)
    assert all(len(played.table(name)) for name in ("games", "actions", "dialogues"))


@every_environment
@pytest.mark.parametrize("policy", [PLAIN, RANDOM, SKILLED], ids=lambda p: p.name)
def test_what_one_seat_alone_knows_changes_nothing_that_others_read(entry, policy):
    env = entry.make()  # of mysteries tests/test_leaks.py plants marks in every private text
    for seed in range(3):
        assert private_leak(type(env), env.script, seed, env.rules, policy) == ""


@every_environment
def test_it_awaits_somebody_after_reset_and_refuses_anybody_else(entry):
    env = start(entry)
    pending = env.pending_players()
    assert pending
    assert set(pending) <= set(range(entry.n_players))
    assert env.get_observation() == (pending[0], env.private_view(pending[0]))
    for i in pending:
        assert env.get_observation(i) == (i, env.private_view(i))
        assert env.private_view(i)[0].role == "system"
        assert env.private_view(i)[-1].role == "user"
        assert env.prompt(i).phase
    before = views(env, entry)
    for i in set(range(-1, entry.n_players + 1)) - set(pending):
        for misuse, given in ((env.step, ("Hello.", i)), (env.get_observation, (i,)), (env.prompt, (i,))):
            with pytest.raises(ValueError, match=rf"player {i} is not awaited now; pending: \["):
                misuse(*given)
    assert views(env, entry) == before, "nothing was taken"


@every_environment
def test_it_refuses_a_wrong_number_of_players(entry):
    with pytest.raises(ValueError, match=f"{entry.n_players} players are needed"):
        entry.make().reset(entry.n_players + 1, 0)


@every_environment
def test_it_needs_a_reset_first(entry):
    with pytest.raises(RuntimeError, match="reset"):
        entry.make().pending_players()


@every_environment
@pytest.mark.parametrize("policy", [PLAIN, RUBBISH[1]], ids=lambda p: p.name)
def test_rewards_and_sides_come_only_at_the_end(entry, policy):
    env, taken = start(entry), Counter()
    while env.pending_players():
        with pytest.raises(RuntimeError, match="not over"):
            env.close()
        for r in requests(env, taken):
            taken[r.player] += 1
            done, info = env.step(policy.act([r])[0].text, r.player)
            assert done == (not env.pending_players())
            assert isinstance(info["legal"], bool)
            assert not tells_a_side(info)
            assert not tells_a_side(r.prompt)
    rewards, info = env.close()
    assert sorted(rewards) == sorted(info) == list(range(entry.n_players))
    low, high = type(env).payoff_range(env.script)
    assert all(low <= reward <= high for reward in rewards.values())
    assert [rewards[i] for i in info] == env.payoffs()
    assert {info[i]["faction"] for i in info} <= {*type(env).sides, ""}
    assert all(info[i]["role"] for i in info)
    assert {info[i]["success"] for i in info} <= {0, 1}
    assert env.close() == (rewards, info), "closing twice tells the same"
    for misuse in (lambda: env.step("more"), env.get_observation):
        with pytest.raises(RuntimeError, match="the game is over"):
            misuse()


@pytest.mark.parametrize(("entry", "policy"), PAIRS, ids=lambda x: x.name)
def test_every_game_ends_and_every_view_only_grows(entry, policy):
    env, taken = start(entry), Counter()
    before, over = views(env, entry), [env.progress]
    while env.pending_players():
        advance(env, policy, taken)
        over.append(env.progress)
        assert sum(taken.values()) <= entry.max_replies
        now = views(env, entry)
        assert all(n[: len(b)] == b for n, b in zip(now, before, strict=True))
        before = now
    for view in before:
        assert [m.role for m in view] == ["system", *["user", "assistant"] * (len(view) // 2)]
    assert sum(m.role == "assistant" for view in before for m in view) == sum(taken.values())
    assert over == sorted(over)
    assert 0 <= over[0] < 0.5 < over[-1] == 1, "how much is over is known from the first reply to the last"
    env.close()


@every_environment
def test_same_seed_and_replies_same_game(entry):
    one, same, *others = (whole(finish(start(entry, seed), Mixture(), 5), entry) for seed in (5, 5, 6, 7, 8, 9))
    assert one == same
    assert any(other != one for other in others)


@every_environment
def test_a_second_reset_begins_afresh(entry):
    env, taken, fresh = start(entry, seed=1), Counter(), whole(finish(start(entry, seed=2), RANDOM, 2), entry)
    for _ in range(3):
        advance(env, RUBBISH[0], taken)
    for _ in ("in the middle of a game", "after it"):
        env.reset(entry.n_players, 2)
        assert not env.log
        assert whole(finish(env, RANDOM, 2), entry) == fresh


@every_environment
def test_two_games_at_once_do_not_touch_each_other(entry):
    left, right, taken = start(entry, 1), start(entry, 2), (Counter(), Counter())
    while left.pending_players() or right.pending_players():
        if left.pending_players():
            advance(left, RANDOM, taken[0], 1)
        if right.pending_players():
            advance(right, RANDOM, taken[1], 2)
    assert whole(left, entry) == whole(finish(start(entry, 1), RANDOM, 1), entry)
    assert whole(right, entry) == whole(finish(start(entry, 2), RANDOM, 2), entry)


@every_environment
def test_the_order_of_those_awaited_together_does_not_matter(entry):
    player = Says("now and then", lambda r: correct_reply(r) if r.rng().random() < 0.6 else "no")
    games = []
    for order in range(3):
        env, taken, rng = start(entry), Counter(), random.Random(order)
        while env.pending_players():
            request = rng.choice(requests(env, taken))
            taken[request.player] += 1
            env.step(player.act([request])[0].text, request.player)
        games.append((*whole(env, entry), env.log))
    assert games[1:] == games[:1] * 2


@every_environment
@pytest.mark.parametrize("n_before", [0, 5, 13])
def test_a_snapshot_is_kept_and_can_be_restored_twice(entry, n_before):
    env, taken = start(entry), Counter()
    for _ in range(n_before):
        if env.pending_players():
            advance(env, Mixture(), taken)
    snapshot, then, seen = env.snapshot(), taken.copy(), copy.deepcopy(views(env, entry))
    finish(env, RANDOM, 9, taken.copy())
    ends = []
    for game in (env, env, start(entry, seed=7)):  # in another object as well
        game.restore(snapshot)
        assert views(game, entry) == seen
        ends.append(whole(finish(game, Mixture(), 0, then.copy()), entry))
    assert ends == [whole(finish(start(entry), Mixture()), entry)] * 3


# --- policies ----------------------------------------------------------------------------------------


@every_policy
def test_a_policy_keeps_the_protocol(policy):
    assert isinstance(policy, Policy)
    assert policy.name
    assert policy.act([]) == []


@every_policy
def test_a_policy_gives_one_reply_to_each_request_from_the_request_alone(policy):
    env, taken = start(ENVIRONMENTS[0]), Counter()
    wanted = []
    for _ in range(12):
        wanted += copy.deepcopy(requests(env, taken))
        advance(env, RANDOM, taken)
    replies = policy.act(wanted)
    assert len(replies) == len(wanted)
    assert all(isinstance(r, Reply) and isinstance(r.text, str) for r in replies)
    for again in (policy.act(wanted[::-1])[::-1], [policy.act([r])[0] for r in wanted]):
        assert [(r.text, r.token_ids) for r in again] == [(r.text, r.token_ids) for r in replies]
