"""Learning online: what is learned from was just played, and nothing that happens changes what is learned."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from test_training import BASIC, adapt, assert_same, gap, gradients, one_thread, press_ctrl_c, tiny, weights

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.online import Online, OnlineTrainer, train_online
from maro_lib.model.players import Player
from maro_lib.play.rollout import schedule
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

SETTINGS = replace(BASIC, objective="policy_gradient", anchor=0.0, z0="fixed", check_every=1, warmup=0.0)


def online(rule: str = "role_baseline", n_games: int = 6, n_online: int = 2) -> Online:
    """Games of three mysteries in turn, with very short replies."""
    games = schedule(generate_many(3, 7, replace(HOME, characters=3)), n_games, 7, Rules(rounds=1))
    return Online(games, n_online, rule, player=Player(max_new_tokens=4, precision="float32"))


def learned(folder, rule: str = "role_baseline", live=None, **changed):
    with one_thread():
        return train_online(tiny(), online(rule), replace(SETTINGS, **changed), folder, live=live)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return learned(tmp_path_factory.mktemp("online") / "x")


def kept(trained) -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for path in sorted((trained.folder.parent / "games").glob("*.parquet"))]


def test_games_of_a_mystery_are_played_one_after_the_other_and_none_twice():
    batches = online().batches
    assert [[game.name for game in batch] for batch in batches] == [
        ["g000000", "g000003"], ["g000001", "g000004"], ["g000002", "g000005"]
    ]  # fmt: skip
    assert [game.order for batch in batches for game in batch] == [0, 1, 2, 3, 4, 5]
    assert [len(batch) for batch in online(n_games=5).batches] == [2, 2, 1]


def test_a_step_is_played_by_what_the_step_before_it_learned(undisturbed, tmp_path):
    """And at a learning rate that is 0 in float32 nothing is learned, so all steps are played by the base."""
    assert undisturbed.status == "finished"
    assert undisturbed.curve["games"].tolist() == [2, 2, 2]
    still = learned(tmp_path / "x", learning_rate=1e-60)
    beginning = {n: p for n, p in adapt(tiny(), SETTINGS).model.named_parameters() if "lora_" in n}
    assert all(torch.equal(t, beginning[n.replace(".weight", ".default.weight")]) for n, t in weights(still).items())
    pairs = zip(kept(undisturbed), kept(still), strict=True)
    first, *later = (a["text"].tolist() == b["text"].tolist() for a, b in pairs)
    assert first
    assert not any(later)


@pytest.mark.parametrize("at", [1, pytest.param(2, marks=pytest.mark.walk)])
def test_what_was_interrupted_ends_with_the_same_adapter(tmp_path, undisturbed, at):
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "x", live=press_ctrl_c(at))
    trained = learned(tmp_path / "x")
    assert_same(trained, undisturbed)
    assert all(a.equals(b) for a, b in zip(kept(trained), kept(undisturbed), strict=True))
    assert trained.seconds > 0
    assert_same(learned(tmp_path / "x", live=press_ctrl_c(1)), undisturbed)  # it is done: no step is taken


def test_the_account_counts_games_and_tokens_of_every_step(undisturbed):
    actions = pd.concat(kept(undisturbed))
    assert undisturbed.curve["sampled"].sum() <= 4 * len(actions), "a reply has four tokens at most"
    assert undisturbed.curve["sampled"].sum() > len(actions)
    assert (undisturbed.curve["tokens"] > undisturbed.curve["sampled"]).all()
    cost = undisturbed.cost
    assert cost["games played anew"] == 6
    assert cost["tokens sampled anew"] == undisturbed.curve["sampled"].sum()
    assert cost["seconds"] > 0


def test_a_running_baseline_goes_on_from_step_to_step(tmp_path):
    trainer = OnlineTrainer(adapt(tiny(), SETTINGS), online(), SETTINGS, tmp_path)
    steps = [trainer.play(k)[0].actions for k in range(3)]
    everything = pd.concat(pd.read_parquet(p) for p in sorted((tmp_path / "games").iterdir())).reset_index(drop=True)
    expected = everything.assign(w=decompose(everything, "role_baseline"))[["game", "seat", "t", "w"]]
    for own in steps:
        signed = own.assign(w=np.where(own["desirable"], own["weight"], -own["weight"]))
        both = signed.merge(expected, on=["game", "seat", "t"], suffixes=("", "_expected"))
        assert len(both) == len(own)
        assert both["w"].to_numpy() == pytest.approx(both["w_expected"].to_numpy())
    # R = 1 and -1 of the first game, then b = 0.05 R: a second outcome like the first weighs 0.95, another 1.05
    assert {*steps[0]["weight"].round(3)} <= {1.0, 0.95, 1.05}


# an agent's outcomes in four games of one mystery, and in two of another: by hand
OUTCOMES = {"a": [1, 1, 0, 1], "b": [0, 1]}


def table() -> pd.DataFrame:
    """A civilian with two actions and a culprit with one, in six games."""
    rows, order = [], 0
    for script, won in OUTCOMES.items():
        for success in won:
            for agent, role, n, own in (("Ann", "civilian", 2, success), ("Cal", "culprit", 1, 1 - success)):
                rows += [(f"g{order}", order, script, agent, role, own, t, n) for t in range(1, n + 1)]
            order += 1
    return pd.DataFrame(rows, columns=["game", "order", "script", "agent", "role", "success", "t", "n_actions"])


def test_advantages_within_a_mystery_and_role_sum_to_zero_by_hand():
    # script a, civilians: R = 1, 1, -1, 1: mean 1/2, std sqrt(3)/2: (1 - 1/2) / std = 0.577, (-1 - 1/2) / std = -1.732
    actions = table().assign(w=lambda t: decompose(t, "agent_normalised"))
    civilians = actions[(actions["agent"] == "Ann") & (actions["t"] == 1)]
    assert civilians["w"].tolist() == pytest.approx([0.57735, 0.57735, -1.73205, 0.57735, -1.0, 1.0], abs=1e-4)
    per_dialogue = actions[actions["t"] == 1]
    assert per_dialogue.groupby(["script", "role"])["w"].sum().to_numpy() == pytest.approx(np.zeros(4), abs=1e-9)


def test_turn_advantages_of_a_role_sum_to_zero():
    actions = table().assign(w=lambda t: decompose(t, "turn_normalised"))
    assert actions.groupby("role")["w"].sum().to_numpy() == pytest.approx(np.zeros(2), abs=1e-9)
    assert actions["w"].abs().min() > 0


def test_the_gradient_is_minus_the_mean_of_advantage_times_gradient_of_log_prob(tmp_path):
    """By hand, each action by itself; an action without advantage counts in the mean."""
    trainer = OnlineTrainer(adapt(tiny(), SETTINGS), online(), SETTINGS, tmp_path)
    trainer.training_step(trainer.model, {"step": 0})
    corpus, model, found = trainer.material.corpus, trainer.model, gradients(trainer.model)
    model.zero_grad()
    total = 0
    for a in corpus.actions.itertuples():
        logits = model(input_ids=torch.tensor(corpus.ids[a.row][None, : a.end])).logits[0].double()
        said = torch.tensor(corpus.ids[a.row][a.start : a.end]).long()
        logp = logits.log_softmax(-1)[a.start - 1 : a.end - 1].gather(1, said[:, None]).sum()
        total = total - (a.weight if a.desirable else -a.weight) * logp
    (total / len(corpus.actions)).backward()
    assert gap(gradients(model), found) < 1e-4


def test_games_that_cannot_be_compared_teach_nothing_and_say_so(tmp_path):
    """One game of each mystery: the mean of a role is its own outcome."""
    alone = replace(online("agent_normalised"), n_online=1)
    alone = replace(alone, games=alone.games[:2])
    with pytest.warns(UserWarning, match="taught nothing: all weights are 0"):
        trained = train_online(tiny(), alone, SETTINGS, tmp_path / "x")
    assert trained.notes[0] == "step 1 taught nothing: all weights are 0"
    assert not any(t.any() for name, t in weights(trained).items() if "lora_B" in name)
