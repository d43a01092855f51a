"""A world of this kit as an environment of the library TextArena: its agents, wrappers and loops play it.

    env = ta.wrappers.LLMObservationWrapper(OfferedGame(scenario))
    env.reset(num_players=4, seed=0)

An observation is what is new in a player's view; players that are awaited together are asked one after the other, and
hear of each other's replies when all have given theirs. Rewards are payoffs, as large as they are in the world.
"""

from __future__ import annotations

import secrets
from typing import Any

from maro_lib.play.rollout import schedule
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario
from maro_lib.worlds.world import WorldRules

try:
    import textarena as ta
except ImportError as error:
    raise ImportError("textarena is not installed: pip install -e '.[textarena]'") from error

_KINDS = {"system": ta.ObservationType.PROMPT, "user": ta.ObservationType.GAME_MESSAGE,
          "assistant": ta.ObservationType.PLAYER_ACTION}  # fmt: skip
_BRACKETS = str.maketrans("[]［］", "()()")  # between them stands, in what the library's players read, who speaks


class OfferedGame(ta.Env):
    """A game over a mystery's script, or over a scenario of any other world."""

    def __init__(self, script: Script | Scenario, rules: Rules | WorldRules | None = None):
        self.game = schedule([script], 1, 0, rules)[0].environment()

    def reset(self, num_players: int, seed: int | None = None) -> None:
        """Begin a game; without a seed, another one each time."""
        self.game.reset(num_players, secrets.randbits(31) if seed is None else seed)
        self.state = ta.State(num_players)
        self.state.standard_resets(game_state={}, role_mapping=dict(enumerate(self.game.names)))
        self._n_shown = [0] * num_players  # messages of each view
        self._turn_to(self.game.pending_players()[0])

    def step(self, action: str) -> tuple[bool, dict[str, Any]]:
        """Take the reply of the player whose turn it is."""
        player, state = self.state.current_player_id, self.state
        over, became = self.game.step(action.translate(_BRACKETS), player)
        pending = self.game.pending_players()
        again = player in pending and self.game.prompt(player).retry
        info = state.game_info[player]
        info["turn_count"] += not again
        info["invalid_move"] = info["invalid_move"] or not (became["legal"] or again)  # a turn was lost
        state.step_info = became
        if over:
            self._end()
        else:
            self._turn_to(player if again else pending[0])
        return state.step()

    def _turn_to(self, player: int) -> None:
        """Show the next player what is new to it."""
        self.state.current_player_id = player
        for message in self.game.private_view(player)[self._n_shown[player] :]:
            sender = player if message.role == "assistant" else ta.GAME_ID
            self.state.add_observation(message.content, _KINDS[message.role], sender, player)
            self._n_shown[player] += 1

    def _end(self) -> None:
        state = self.state
        state.done = True
        state.rewards, known = self.game.close()
        for player, told in known.items():
            state.game_info[player].update(told)
