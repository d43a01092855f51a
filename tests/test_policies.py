"""Laws of the players: skill decides who wins, every scripted reply is legal, and a request is all that counts."""

from collections import Counter

import pytest
from scipy.stats import binomtest
from worlds import advance, begin, finish, requests, varied_scripts, world, worlds

from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Mixture, Policy, Scripted
from maro_lib.world.detectives import suspicion
from maro_lib.world.mystery import MurderMystery, Rules
from maro_lib.world.phrases import phrasebook

N_GAMES = 60
SCRIPTED = [RANDOM, NAIVE, SKILLED, Mixture(), Scripted(1, 0), Scripted(0, 1), Scripted(0.5, 0.5)]


def civilians_win(policy, n=N_GAMES, script=None):
    """Who won each of `n` games, by seed."""
    return [finish(begin(script, seed, rounds=2), policy, seed).winner() == "civilian" for seed in range(n)]


# --- skill -------------------------------------------------------------------------------------------


def gains(better, worse):
    """The probability of as many games gained, of those that changed hands, if the change made no difference."""
    changed = [b for b, w in zip(better, worse, strict=True) if b != w]
    return binomtest(sum(changed), len(changed), 0.5, alternative="greater").pvalue


def test_civilian_skill_wins_games_for_the_civilians():
    assert gains(civilians_win(Scripted(1, 0.5)), civilians_win(Scripted(0, 0.5))) < 1e-6


@pytest.mark.parametrize("civilians", [0, 0.5])
def test_culprit_skill_wins_games_for_the_culprits(civilians):
    assert gains(civilians_win(Scripted(civilians, 0)), civilians_win(Scripted(civilians, 1))) < 1e-3


def test_skill_on_both_sides_gives_civilians_the_case():
    assert binomtest(sum(civilians_win(SKILLED)), N_GAMES, 0.5, alternative="greater").pvalue < 1e-6
    assert binomtest(sum(civilians_win(RANDOM)), N_GAMES, 0.5, alternative="less").pvalue < 1e-3


def test_more_skill_wins_more_games():
    wins = [sum(civilians_win(Scripted(skill, 0))) for skill in (0, 0.4, 0.8, 1)]
    assert wins == sorted(wins)
    assert wins[-1] - wins[0] > N_GAMES / 2


def test_skill_of_the_other_faction_is_not_used():
    """A civilian plays by its own knob: seat by seat, the same requests give the same replies."""
    env, taken = begin(rounds=1), Counter()
    while env.pending_players():
        wanted = requests(env, taken, seed=3)
        left, right = Scripted(0.5, 0).act(wanted), Scripted(0.5, 1).act(wanted)
        assert all(a == b for r, a, b in zip(wanted, left, right, strict=True) if r.brief.me.faction == "civilian")
        advance(env, RANDOM, taken, seed=3)


# --- what the skilled do -----------------------------------------------------------------------------


def test_a_skilled_civilian_finds_the_culprit_in_the_evidence():
    env = begin()
    assert suspicion(requests(env, {})[0]) == {"Ben": 1 / 3, "Cal": 1 / 3, "Dot": 1 / 3}
    env = finish(begin(), Scripted(1, 0))
    assert "knife" in env.found
    assert [v for name, v in zip(env.names, env.votes, strict=True) if name != "Cal"] == ["Cal"] * 3
    rated = [a for a in env.log if a.phase == "rate" and a.player == 0]
    assert rated[-1].own["ratings"]["Cal"] == (2, 0)
    assert rated[-1].own["ratings"]["Ben"] == (0, 2)


def test_a_skilled_culprit_searches_nothing_and_blames_one_innocent():
    for seed in range(10):
        env = finish(begin(seed=seed), Scripted(0, 1), seed)
        mine = [a for a in env.log if env.names[a.player] == "Cal"]
        assert {a.kind for a in mine if a.phase == "turn"} == {"ask"}
        assert env.votes[2] in {"Ann", "Ben", "Dot"}
        for rated in (a.own.get("ratings") for a in mine if a.phase == "rate"):
            assert [trust for suspicion, trust in rated.values() if suspicion == 2] == [0], "it accuses one"


def test_a_naive_player_believes_what_is_said_most_often():
    env, taken = begin(rounds=1), Counter()
    for words in ("I am Ann.", "I suspect Dot.", "I suspect Ann. I suspect Dot.", "I suspect Ben."):
        env.step(words)
    rated = "Ben: suspicion 1, trust 1\nCal: suspicion 0, trust 1\nDot: suspicion 2, trust 0"
    expected = {"rate": rated, "vote": "VOTE Dot"}
    seen = set()
    while env.pending_players():
        for r in requests(env, taken):
            if r.player == 0 and r.prompt.phase in expected:
                assert NAIVE.act([r])[0].text == expected[r.prompt.phase]
                seen.add(r.prompt.phase)
            env.step("no", r.player)
    assert seen == {"rate", "vote"}


def test_a_culprit_never_blames_its_partner():
    script = world(culprits=("Ben", "Cal"))
    for seed in range(10):
        env = finish(begin(script, seed), Scripted(0, 1), seed)
        blamed = {a.target for a in env.log if env.names[a.player] in ("Ben", "Cal") and a.target}
        assert blamed
        assert blamed <= {"Ann", "Dot"}


def test_a_mixture_keeps_its_skill_for_a_whole_game():
    kept, drawn = Mixture(), Counter()
    for seed in range(40):
        env, taken, skills = begin(seed=seed, rounds=1), Counter(), {}
        while env.pending_players():
            for r in requests(env, taken, seed):
                skills.setdefault(r.player, set()).add(kept.skill(r))
            advance(env, kept, taken, seed)
        assert all(len(s) == 1 for s in skills.values())
        drawn.update(s.pop() for s in skills.values())
    assert set(drawn) == {0.95, 0.05}
    assert binomtest(drawn[0.95], sum(drawn.values()), 0.4).pvalue > 0.01
    assert {Mixture(1).skill(r) for r in requests(begin(), {})} == {0.95}
    assert {Mixture(0).skill(r) for r in requests(begin(), {})} == {0.05}


# --- form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", SCRIPTED, ids=lambda p: p.name)
@pytest.mark.parametrize("name", [*sorted(worlds()), *sorted(varied_scripts())])
def test_every_scripted_reply_is_legal(name, policy):
    script = (worlds() | varied_scripts())[name]
    for seed in range(3):
        env = MurderMystery(script, Rules(rounds=max(2, len(script.stages)), corrections=0))
        env.reset(len(script.names), seed)
        finish(env, policy, seed)
        assert [a for a in env.log if not a.legal] == []
        assert env.n_passes == env.n_cut == 0


def test_chinese_players_speak_chinese():
    script = worlds()["zh"]
    book = phrasebook("zh", "prose")
    env = finish(begin(script), Scripted(1, 0))
    assert {a.text for a in env.log if a.phase == "vote"} >= {book.voted.format(name="王明华")}
    assert any(a.text.startswith("调查【") for a in env.log)


# --- a request is all that counts --------------------------------------------------------------------


@pytest.mark.parametrize("policy", SCRIPTED, ids=lambda p: p.name)
def test_a_games_name_changes_no_reply(policy):
    env, taken = begin(), Counter()
    while env.pending_players():
        wanted = requests(env, taken)
        assert policy.act([r._replace(game="another name") for r in wanted]) == policy.act(wanted)
        advance(env, RANDOM, taken)


def test_another_salt_is_another_draw_and_another_seed_as_well():
    env, taken = begin(), Counter()
    while env.prompt(env.pending_players()[0]).phase != "turn":
        advance(env, RANDOM, taken)
    (request,) = requests(env, taken)
    salted = {RANDOM.act([request._replace(salt=str(k))])[0].text for k in range(20)}
    seeded = {RANDOM.act([request._replace(seed=k)])[0].text for k in range(20)}
    assert len(salted) > 1
    assert len(seeded) > 1
    assert request.rng().random() == request.rng().random()
    assert request.rng("skill").random() == request._replace(t=99, salt="x").rng("skill").random()


def test_acting_changes_no_request():
    env = begin()
    (request,) = requests(env, {})
    before = repr(request)
    SKILLED.act([request])
    assert repr(request) == before


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "name"), [
    (RANDOM, "random"),
    (SKILLED, "scripted(1,1)"),
    (NAIVE, "scripted(0,0)"),
    (Scripted(0.5, 0), "scripted(0.5,0)"),
    (Mixture(), "mixture(0.4,0.95,0.05)"),
])  # fmt: skip
def test_a_players_name_tells_its_settings(policy, name):
    assert isinstance(policy, Policy)
    assert policy.name == name
