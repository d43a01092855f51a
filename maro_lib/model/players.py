"""Who plays, from parameters: scripted players, a model on this machine, or a model on a server.

One name decides: `model` is `random`, `naive`, `skilled` or `mixture` (scripted), `embedded` or `worlds` (they come
along), or a model's folder or hub name; with a `server_url` the model is asked there. The same names stand in every
parameter file. Where somebody is played `against`, the model (with its adapter) is the learner, which plays one
faction, and an opponent plays the other. Taught in notebook 02.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maro_lib.credentials import key_problem
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Mixture, Policy
from maro_lib.runs import located
from maro_lib.world.scripts import FACTIONS

if TYPE_CHECKING:
    from maro_lib.model.loading import Loaded
    from maro_lib.model.local import LocalPolicy
    from maro_lib.play.rollout import Game

NOBODY, BOTH = "nobody", "both"  # who is trained, besides one faction
SHARE = {"civilian": 0.75, "culprit": 0.25}  # of the memory for kept views: most seats are the civilians'
SCRIPTED = {"random": RANDOM, "naive": NAIVE, "skilled": SKILLED}


@dataclass(frozen=True)
class Opposed:
    """Two sides: the learner and, drawn anew for each game, an opponent; of two games in a row each gets each side."""

    learner: Policy
    opponents: tuple[Policy, ...]
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.learner.name} against {' or '.join(p.name for p in self.opponents)}"

    def __call__(self, game: Game) -> dict[str, Policy]:
        """Seat a game."""
        first = random.Random(f"{self.seed}/side/{game.order // 2}").randrange(2)  # scripts come in turn: not in step
        opponent = random.Random(f"{self.seed}/opponent/{game.order}").choice(self.opponents)
        mine = FACTIONS[(first + game.order) % 2]
        return {faction: self.learner if faction == mine else opponent for faction in FACTIONS}


def learner(players: Policy | Opposed) -> str:
    """Return the name of the policy whose actions are learned from, as the tables have it."""
    return players.learner.name if isinstance(players, Opposed) else players.name


@dataclass(frozen=True)
class Player:
    """What is set about a player; every field but `against` is a parameter of the notebooks that play."""

    model: str = "embedded"
    precision: str = "auto"
    adapter: str = ""
    temperature: float = 1.0
    max_new_tokens: int = 64
    window: int = 0
    cache_gb: float = 1.0
    batch_tokens: int = 65_536
    rewriting_template: bool = False
    server_url: str = ""
    server_command: str = ""
    server_requests: int = 32
    server_timeout: float = 120.0
    server_wait: float = 600.0
    server_key_env: str = ""
    share_good: float = 0.4
    seed: int = 0
    against: tuple[str, ...] = ()  # opponents: an adapter (empty: the base), or a scripted player; see `runs.opposing`

    def __post_init__(self):
        for name, value in vars(self).items():
            if problem := key_problem(name, value):
                raise ValueError(f"{name} {problem}")

    @property
    def is_scripted(self) -> bool:
        return self.model in (*SCRIPTED, "mixture") and not self.server_url

    @contextlib.contextmanager
    def seated(self, folder: Path | str = ".") -> Iterator[Policy | Opposed]:
        """Make the players ready for the time of a `with`; a server that it starts writes its log into `folder`."""
        if self.is_scripted:
            yield Mixture(self.share_good) if self.model == "mixture" else SCRIPTED[self.model]
        elif self.server_url:
            with self._on_server(Path(folder)) as with_adapter:
                yield self._sides(with_adapter(self.adapter), with_adapter)
        else:
            yield self._local()

    def sharing(self, share: float) -> Player:
        """The same player with a share of what it may keep of views; the rest is another's."""
        return replace(self, cache_gb=self.cache_gb * share)

    def _sides(self, learner: Policy, with_adapter: Callable[[str], Policy]) -> Policy | Opposed:
        opponents = tuple(SCRIPTED.get(name) or with_adapter(name) for name in self.against)
        return Opposed(learner, opponents, self.seed) if opponents else learner

    def playing(self, loaded: Loaded) -> LocalPolicy:
        """Let a model that is loaded already play as is set here."""
        from maro_lib.model.local import LocalPolicy, Sampling  # torch and transformers: only where a model plays

        return LocalPolicy(
            loaded, Sampling(self.temperature, self.max_new_tokens), window=self.window, cache_gb=self.cache_gb,
            batch_tokens=self.batch_tokens, rewriting_template=self.rewriting_template,
        )  # fmt: skip

    def _local(self) -> Policy | Opposed:
        from maro_lib.model.loading import load

        learner = self.playing(load(self.model, precision=self.precision, adapter=self.adapter))
        learner = replace(learner, cache_gb=self.cache_gb / (2 if self.against else 1))  # each side reads about as much

        def with_adapter(adapter: str) -> LocalPolicy:  # one base for all, and each its own kept views
            rest = replace(learner, cache_gb=learner.cache_gb / len(self.against))
            return replace(rest, loaded=rest.loaded.beside(adapter)) if adapter else rest.with_adapter(False)

        return self._sides(learner, with_adapter)

    @contextlib.contextmanager
    def _on_server(self, folder: Path) -> Iterator[Callable[[str], Policy]]:
        from maro_lib.model.server import ServerPolicy
        from maro_lib.model.server_process import serving

        def with_adapter(adapter: str) -> ServerPolicy:
            policy = ServerPolicy(
                self.server_url, self.model, concurrency=self.server_requests, timeout=self.server_timeout,
                max_new_tokens=self.max_new_tokens, temperature=self.temperature, window=self.window or None,
                adapter=self._served(adapter), key_env=self.server_key_env,
            )  # fmt: skip
            until_the_end.callback(policy.close)
            return policy

        with (
            serving(
                self.server_command, self.server_url, wait=self.server_wait, log=folder / "server.log",
                keys=(self.server_key_env,),
            ),
            contextlib.ExitStack() as until_the_end,
        ):  # fmt: skip
            yield with_adapter

    def _served(self, adapter: str) -> str:
        """Return the name of an adapter on the server; what is a folder here is loaded there, named with its digest."""
        from maro_lib.model.endpoint import ServerError
        from maro_lib.model.server import load_adapter, unload_adapter

        folder = located(adapter)
        if not (adapter and folder.is_dir()):
            return adapter
        weights = (folder / "adapter_model.safetensors").read_bytes()
        name = f"{adapter}@{hashlib.blake2b(weights, digest_size=4).hexdigest()}"
        key = {"key_env": self.server_key_env}
        with contextlib.suppress(ServerError):  # an interrupted run may have left it there
            unload_adapter(self.server_url, name, **key)
        load_adapter(self.server_url, name, str(folder.absolute()), **key)
        return name


def line_up(trained: LocalPolicy, who: str) -> LocalPolicy | dict[str, LocalPolicy]:
    """Seat the trained model as one faction (or everybody, or nobody), and its base in the other seats.

    What the two may keep of views is together what one may.
    """
    if who in (NOBODY, BOTH):
        return trained.with_adapter(who == BOTH)
    return {f: (trained if f == who else trained.with_adapter(False)).sharing(SHARE[f]) for f in FACTIONS}
