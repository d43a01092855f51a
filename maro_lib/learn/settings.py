"""How to train: every field is a parameter of notebook 05, which teaches them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from maro_lib.wording import check_name

OBJECTIVES = ("maro", "sft", "dpo", "policy_gradient")  # see `loss`
REFERENCE_POINTS = ("ema", "batch", "clamped", "per_faction", "fixed", "mismatched")  # ways to set z0, see `loss`
TRACKERS = ("trackio", "tensorboard", "wandb", "mlflow")  # see `tracking`


@dataclass(frozen=True)
class Settings:
    """How to train."""

    objective: str = "maro"
    beta: float = 1.0
    z0: str = "ema"
    z0_fixed: float = 0.0
    z0_decay: float = 0.9
    lam_pos: float = 1.0
    lam_neg: float = 1.0
    anchor: float = 0.02
    lora_rank: int = 16
    lora_alpha: int = 32
    learning_rate: float = 3e-3
    warmup: float = 0.1
    epochs: float = 1.0
    batch: int = 128
    max_grad_norm: float = 1.0
    checkpointing: bool = False
    half: bool = False
    optimiser: str = "auto"
    check_every: int = 20
    n_checkpoints: int = 2
    max_illegal: float = 0.1
    seed: int = 0
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("objective", OBJECTIVES), ("z0", REFERENCE_POINTS)):
            check_name(name, getattr(self, name), known)
        for tracker in self.report_to:
            check_name("report_to", tracker, TRACKERS)
        for name in ("beta", "learning_rate", "lora_rank", "epochs", "batch", "check_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)!r}; a number above 0 is needed")
        if self.n_checkpoints < 2:
            raise ValueError(f"n_checkpoints: {self.n_checkpoints}; while one is written another must be whole: 2")

    @property
    def deciding(self) -> dict[str, Any]:
        """Those that decide what is learned: who follows it does not."""
        return {name: value for name, value in asdict(self).items() if name != "report_to"}
