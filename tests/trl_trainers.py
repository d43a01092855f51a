"""TRL's own trainers, beside which ours are compared: nothing of their rows is dropped, cut, rounded or sent away."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback

from maro_lib.model.loading import Loaded


class KeptGradients(TrainerCallback):
    """Keeps the gradient of every step, by the parameter's name."""

    def __init__(self):
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, *_, model: torch.nn.Module, **__):
        self.steps.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})


def trl_trainer(method: str, loaded: Loaded, rows, folder: Path, **settings) -> tuple[Trainer, KeptGradients]:
    """Return TRL's trainer of a method (KTO or DPO) on a data set, its adapter moved away from the reference.

    The caller sets `huggingface_hub.constants.HF_HUB_OFFLINE`: TRL would report its use to the hub.
    """
    import trl
    from peft import LoraConfig

    given = {"learning_rate": 0.0, "num_train_epochs": 1} | settings
    config = getattr(trl, f"{method}Config")(
        output_dir=str(folder), max_grad_norm=0.0, max_length=None, bf16=False, gradient_checkpointing=False,
        use_cpu=True, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, **given,
    )  # fmt: skip
    kept = KeptGradients()
    trainer = getattr(trl, f"{method}Trainer")(
        model=loaded.model, args=config, processing_class=loaded.tokenizer, callbacks=[kept], train_dataset=rows,
        peft_config=LoraConfig(r=4, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.05, generator=generator)
    return trainer, kept
