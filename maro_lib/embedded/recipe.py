"""The recipe: all that decides the embedded model, as data. Its values are the parameters of notebook 00."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """All that decides the embedded model."""

    seed: int = 0
    tokens: int = 1_000_000  # to learn from
    hidden: int = 128
    layers: int = 4
    window: int = 2048
    init_std: float = 0.06
    lr: float = 1.5e-3
    lr_matrices: float = 0.01
    warmup: float = 0.03  # share of the tokens
    batch_tokens: int = 4096
    observed: float = 0.1  # weight of tokens that are not the model's own
    share_tasks: float = 0.5  # of the sequences, which are short
    share_drills: float = 0.2  # of the sequences
    shares: tuple[float, float, float] = (0.1, 0.2, 0.3)  # of the tokens: drills, then short games, then longer ones
    share_reserved: float = 0.4  # of the games, in which nobody says whom they suspect
    share_good: float = 0.4  # of the scripted players in the last lessons, which decide how the model plays
    half: bool = True  # compute in bfloat16 where the processor can
