"""Who plays, from parameters."""

import pytest

from maro_lib.model.loading import ModelError
from maro_lib.model.local import LocalPolicy
from maro_lib.model.players import Player
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Mixture


@pytest.mark.parametrize(
    ("name", "policy"), [("random", RANDOM), ("naive", NAIVE), ("skilled", SKILLED), ("mixture", Mixture(0.3))]
)
def test_scripted_players_go_by_their_names(name, policy):
    with Player(model=name, share_good=0.3).seated() as seated:
        assert seated == policy


def test_embedded_model_is_the_default():
    with Player(temperature=0.5, max_new_tokens=7, window=900, cache_gb=0.25).seated() as seated:
        assert isinstance(seated, LocalPolicy)
        assert (seated.sampling.temperature, seated.sampling.max_new_tokens, seated.window) == (0.5, 7, 900)
        assert seated.store.budget == 2**28
        assert seated.name == "embedded(float32,T=0.5)"


def test_unknown_model_says_what_to_give(tmp_path):
    with pytest.raises(ModelError, match="folder"), Player(model=str(tmp_path / "nobody")).seated():
        pass
