"""The game as an environment of the `verifiers` library (its v1 API): many agents at one table, opponents pinned.

A task is a game; an episode is one played game, with a trace for every seat that a model plays. A mystery's factions
are agents (`civilian`, `culprit`), all seats of another world are one agent's (`player`): it may have a model, an
endpoint and sampling of its own (`--env.culprit.model ...`), or be left out of training (`learners`). The kit's
scripted players may play seats (`scripted`). A seat's reward is its success, 1 or 0; its payoff is a metric.

Each seat is an interaction that is held open for the whole game: what it observes is a user turn, what it answers an
action. So its trace is its own view and nothing else. Nothing is launched for a reply: the harness asks the model here.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import httpx
from pydantic import Field

from maro_lib.model.players import SCRIPTED
from maro_lib.play.policies import Policy, Reply, Request, Styled
from maro_lib.play.rollout import Game, Session, schedule
from maro_lib.runs import read_record
from maro_lib.wording import check_name
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import FACTIONS, Character
from maro_lib.world.setups import Seated, load_scripts
from maro_lib.worlds.registry import find_world
from maro_lib.worlds.world import WorldRules

try:
    import verifiers.v1 as vf
    from verifiers.v1.dialects.chat import message_to_wire
except ImportError as error:
    raise ImportError("verifiers is not installed; in an environment of its own, since it wants an older openai than "
                      "the kit's tests: pip install -e '.[verifiers]'") from error  # fmt: skip


class GameData(vf.TaskData):
    """A game that is to be played: its place among the taskset's."""

    order: int


class GameTask(vf.Task[GameData]):
    """A game; what it is worth to a seat is known when it is over, to `GameEnv`."""


class GameTasksetConfig(vf.TasksetConfig):
    n_games: int = 100
    """How many games, over the scripts in turn."""
    seed: int | None = None
    """Decides every game; none: the seed of the run that was exported, whose own games these then are."""


class PlayedBy(NamedTuple):
    """game.json: what decides games beside their scripts."""

    seed: int
    rules: WorldRules | Rules  # a mystery's hold more, so they are no others'


class GameTaskset(vf.Taskset[GameTask, GameTasksetConfig]):
    """The games over the scripts that lie in a package's folder."""

    folder: ClassVar[Path]

    def load(self) -> list[GameTask]:
        return [GameTask(GameData(order=game.order, name=f"{game.name}, {game.script.title}"), self.config.task)
                for game in self.games]  # fmt: skip

    @cached_property
    def games(self) -> list[Game]:
        scripts = list(load_scripts(self.folder / "scripts.yaml").values())
        played_by = read_record(self.folder / "game.json", PlayedBy, "install the package again")
        seed = played_by.seed if self.config.seed is None else self.config.seed
        return schedule(scripts, self.config.n_games, seed, played_by.rules)


class ChatHarnessConfig(vf.HarnessConfig):
    pass


class ChatHarness(vf.Harness[ChatHarnessConfig]):
    """One chat completion per turn, asked for in this process: a game has hundreds, and each is short."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self, ctx: vf.ModelContext, _trace: vf.Trace, _runtime: vf.Runtime, endpoint: str, secret: str,
        _mcp_urls: dict[str, str], data: vf.TaskData,
    ) -> vf.ProgramResult:  # fmt: skip
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}, *map(message_to_wire, prompt)]
        async with httpx.AsyncClient(timeout=None) as http:  # the rollout's own time limits hold
            answer = await http.post(
                f"{endpoint}/chat/completions", json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )  # fmt: skip
        if answer.is_error:
            return vf.ProgramResult(exit_code=1, stdout="", stderr=answer.text)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")  # the library has recorded what was said


_PLAYER = "player"
_AGENTS = (*FACTIONS, _PLAYER)


class GameEnvConfig(vf.EnvConfig):
    civilian: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    culprit: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    player: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    learners: list[Literal["culprit", "civilian", "player"]] = Field(list(_AGENTS))
    """The agents whose traces are for training; the others are opponents."""
    scripted: dict[str, str] = Field({})
    """A scripted player (random, naive, skilled; or a style of the world's own) by a seat's name, faction or role: no
    model plays there."""


@dataclass
class ScriptedSeat:
    """A seat that a scripted player plays."""

    policy: Policy

    async def reply(self, request: Request) -> str:
        return self.policy.act([request])[0].text


@dataclass
class ModelSeat:
    """A seat that a model plays: it is told what is new, and its answer is the action."""

    interaction: vf.Interaction
    is_over: bool = False  # it ran into a limit or an error: the game goes on, and its turns are lost

    async def reply(self, request: Request) -> str:
        if self.is_over:
            return ""
        segment = await self.interaction.turn(request.view[-1].content)
        self.is_over = segment.terminated
        return segment.last_reply


class GameEnv(vf.Env[GameEnvConfig]):
    """A game is an episode."""

    async def setup(self, agents: vf.Agents) -> None:
        for name in _AGENTS:
            getattr(agents, name).trainable = name in self.config.learners
        games = self.taskset.games
        seats = {called for game in games for c in game.script.characters for called in _called(c) if called}
        styles = {*SCRIPTED, *find_world(games[0].script.world).styles}
        for seat, style in self.config.scripted.items():
            check_name("scripted", seat, seats)
            check_name(f"scripted: {seat}", style, styles)

    async def run(self, task: GameTask, agents: vf.Agents) -> None:
        game = self.taskset.games[task.data.order]
        env, characters = game.environment(), game.script.characters
        env.reset(len(characters), game.seed)
        async with AsyncExitStack() as table:
            seats = [await self._seat(c, env.private_view(k)[0].content, task, agents, table)
                     for k, c in enumerate(characters)]  # fmt: skip
            await _play(Session(game, env, seats))
        ends = zip(seats, env.successes(), env.payoffs(), strict=True)
        for player, (seat, success, payoff) in enumerate(ends):
            if isinstance(seat, ModelSeat):
                own = [action.legal for action in env.log if action.player == player]
                seat.interaction.trace.record_reward("success", success)
                seat.interaction.trace.record_metric("payoff", payoff)
                seat.interaction.trace.record_metric("legal", sum(own) / len(own) if own else 1.0)

    async def _seat(
        self, who: Character | Seated, system: str, task: GameTask, agents: vf.Agents, table: AsyncExitStack
    ) -> ScriptedSeat | ModelSeat:
        style = next((self.config.scripted[called] for called in _called(who) if called in self.config.scripted), None)
        if style:
            return ScriptedSeat(SCRIPTED.get(style) or Styled(style))
        agent = getattr(agents, who.faction if who.faction in FACTIONS else _PLAYER)
        return ModelSeat(await table.enter_async_context(agent.interaction(task.with_system_prompt(system))))


def _called(who: Character | Seated) -> tuple[str, str, str]:
    """What a seat may be called where one says who plays it."""
    return who.name, who.faction, who.role


async def _play(session: Session) -> None:
    """Play a game to its end; who is asked at the same time answers unheard by the others."""
    while wanted := list(session.requests()):
        texts = await asyncio.gather(*(session.seats[request.player].reply(request) for request in wanted))
        for request, text in zip(wanted, texts, strict=True):
            session.take(request.player, Reply(text))
