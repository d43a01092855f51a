"""Who plays, from parameters: scripted players, a model on this machine, or a model on a server.

One name decides: `model` is `random`, `naive`, `skilled` or `mixture` (scripted), `embedded`, or a model's folder or
hub name; with a `server_url` the model is asked there. The same names stand in every parameter file. Taught in
notebook 02.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maro_lib.policies import NAIVE, RANDOM, SKILLED, Mixture, Policy

SCRIPTED = {"random": RANDOM, "naive": NAIVE, "skilled": SKILLED}


@dataclass(frozen=True)
class Player:
    """What is set about a player; every field is a parameter of the notebooks that play."""

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

    @property
    def is_scripted(self) -> bool:
        return self.model in (*SCRIPTED, "mixture") and not self.server_url

    @contextlib.contextmanager
    def seated(self, folder: Path | str = ".") -> Iterator[Policy]:
        """Make the player ready for the time of a `with`; a server that it starts writes its log into `folder`."""
        if self.is_scripted:
            yield Mixture(self.share_good) if self.model == "mixture" else SCRIPTED[self.model]
        elif self.server_url:
            yield from self._on_server(Path(folder))
        else:
            yield self._local()

    def _local(self) -> Policy:
        from maro_lib.local import LocalPolicy, Sampling  # torch and transformers: only where a model plays
        from maro_lib.models import load

        return LocalPolicy(
            load(self.model, precision=self.precision, adapter=self.adapter),
            Sampling(self.temperature, self.max_new_tokens),
            window=self.window,
            cache_gb=self.cache_gb,
            batch_tokens=self.batch_tokens,
            rewriting_template=self.rewriting_template,
        )

    def _on_server(self, folder: Path) -> Iterator[Policy]:
        from maro_lib.server import ServerPolicy
        from maro_lib.server_process import serving

        with serving(self.server_command, self.server_url, wait=self.server_wait, log=folder / "server.log"):
            policy = ServerPolicy(
                self.server_url, self.model, concurrency=self.server_requests, timeout=self.server_timeout,
                max_new_tokens=self.max_new_tokens, temperature=self.temperature, window=self.window or None,
                adapter=self.adapter, key_env=self.server_key_env,
            )  # fmt: skip
            try:
                yield policy
            finally:
                policy.close()
