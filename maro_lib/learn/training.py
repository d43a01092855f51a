"""Training: one forward per dialogue gives all its actions; the mean is over the actions of a whole optimiser step.

A step is about `batch` dialogues, mixed over factions and outcomes, read one by one, so that nothing is padded; z0 is
known before any gradient is taken. Reference log-probs come from the same model with its adapter off, once, before
training, and are kept on disk (see `references`). Taught in notebook 05.

Differs from the paper: 4-bit weights where asked for, and an optional anchor (see `loss`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from maro_lib.learn import loss as losses
from maro_lib.learn import references
from maro_lib.learn.corpus import TAKEN, Corpus, crossed, steps
from maro_lib.model.head import bare_head, scoring
from maro_lib.model.loading import ORIGIN, Loaded, quiet
from maro_lib.play.shards import set_aside
from maro_lib.runs import make_folder, write_atomic

OBJECTIVES = ("maro", "sft")
Z0 = ("ema", "batch", "clamped", "per_faction", "fixed", "mismatched")
WHOLE = "whole"  # the file that is written last into a checkpoint
SATURATED = 0.01  # a sigmoid's slope below this share of its steepest teaches next to nothing


class Watch(Protocol):
    """Quick games with the model in training; `names` says which numbers it returns, `legal` among them."""

    names: tuple[str, ...]

    def __call__(self, loaded: Loaded) -> dict[str, float]: ...


Live = Callable[[pd.DataFrame], None]  # is shown the curve after every step


class TrainingWarning(UserWarning):
    """A step taught nothing."""


class Diverged(RuntimeError):
    """Training went astray; the message says at which step, and how that showed."""


class TrainingError(RuntimeError):
    """Training can't go on; the message says what is wrong, what is safe, and what to do."""


@dataclass(frozen=True)
class Settings:
    """How to train; every field is a parameter of notebook 05."""

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

    def __post_init__(self) -> None:
        for name, known in (("objective", OBJECTIVES), ("z0", Z0)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: {getattr(self, name)!r}; one of {', '.join(known)} is needed")
        for name in ("beta", "learning_rate", "lora_rank", "epochs", "batch", "check_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)!r}; a number above 0 is needed")
        if self.n_checkpoints < 2:
            raise ValueError(f"n_checkpoints: {self.n_checkpoints}; while one is written another must be whole: 2")


@dataclass(frozen=True)
class Trained:
    """What training left behind."""

    folder: Path  # of the adapter
    curve: pd.DataFrame  # one row per step
    status: str  # "finished", or why it stopped early
    notes: tuple[str, ...] = ()


# --- sequences as tensors ------------------------------------------------------------------------------


class Row(NamedTuple):
    """One sequence as tensors, and where its actions' tokens are predicted."""

    ids: torch.Tensor  # (1, n_tokens)
    keep: torch.Tensor  # (n_kept,) where the next token is one of an action's
    targets: torch.Tensor  # (n_kept,) that token
    owner: torch.Tensor  # (n_kept,) the action it belongs to, by its place in `actions`
    actions: torch.Tensor  # (n_actions,) rows of the corpus's actions
    n: int  # how many of them count: all, or none of a row that is read only because other processes read one more


def make_row(corpus: Corpus, row: int, device: torch.device, *, counts: bool = True) -> Row:
    """Lay out one sequence of a corpus."""
    ids, spans = corpus.ids[row].astype(np.int64), corpus.spans[corpus.places[row]]
    keep = np.concatenate([np.arange(start, end) for start, end in spans]) - 1
    owner = np.repeat(np.arange(len(spans)), spans[:, 1] - spans[:, 0])
    tensors = (ids[None], keep, ids[keep + 1], owner)
    ids, keep, targets, owner = (torch.from_numpy(x).to(device) for x in tensors)
    return Row(ids, keep, targets, owner, torch.from_numpy(corpus.places[row]), len(spans) if counts else 0)


def token_logps(model: torch.nn.Module, row: Row, head: torch.nn.Linear | None = None) -> torch.Tensor:
    """Return log pi of every action token of a row, (n_kept,); only those positions go through the head.

    With the `bare_head` of the model they come from there, and all logits are never held together.
    """
    with scoring(head, row.targets) if head else contextlib.nullcontext():
        out = model(input_ids=row.ids, logits_to_keep=row.keep, use_cache=False).logits[0]
    if head:
        return out[:, 0]
    logits = out.to(torch.promote_types(out.dtype, torch.float32))
    return logits.gather(1, row.targets[:, None])[:, 0] - logits.logsumexp(-1)


def per_action(tokens: torch.Tensor, row: Row) -> torch.Tensor:
    """Sum what is per token over each action, (n_actions,)."""
    return tokens.new_zeros(len(row.actions)).index_add(0, row.owner, tokens)


# --- the adapter ---------------------------------------------------------------------------------------


def adapt(loaded: Loaded, settings: Settings) -> Loaded:
    """Put a fresh LoRA adapter on all linear layers, or make the one that is there trainable; the base stays frozen."""
    from peft import LoraConfig, get_peft_model

    model = loaded.model
    if not loaded.adapter:
        torch.manual_seed(settings.seed)  # what LoRA's A begins as
        config = LoraConfig(
            r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=0.0, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        with quiet():
            model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    _drop_nothing(model)
    if settings.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return replace(loaded, model=model, adapter=loaded.adapter or "in training")


@contextlib.contextmanager
def adapted(loaded: Loaded, settings: Settings) -> Iterator[Loaded]:
    """The model with an adapter in training, for the time of a `with`; after it, `loaded` is as it was."""
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters() if "lora_" in name}
    learner = adapt(loaded, settings)
    try:
        yield learner
    finally:
        if not loaded.sharded:  # its pieces are in other places by now, and its process ends
            if settings.checkpointing:
                learner.model.gradient_checkpointing_disable()
                learner.model.disable_input_require_grads()
            if loaded.adapter:
                loaded.model.load_state_dict(before, strict=False)
            else:
                learner.model.unload()
            loaded.model.eval()


def _drop_nothing(model: torch.nn.Module) -> None:
    """Switch dropout off, in the base and in an adapter of other making: policy and reference would differ by it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


# --- one step's account --------------------------------------------------------------------------------


# the columns of a step's account, a row for each of its actions; kl is the sum over tokens of exp(r) - 1 - r, which
# estimates KL(base || trained) where the base drew the tokens
ACCOUNT = ("action", "r", "loss", "slope", "kl")
FIRST = (  # columns of a curve; then come those of each faction, and of the quick games
    *("step", "epoch", "loss", "objective", "margin", "r_pos", "r_neg", "z0", "z0_next", "kl", "saturated"),
    *("n", "weight", "grad_norm", "learning_rate"),
)


def tell(account: torch.Tensor, actions: pd.DataFrame) -> dict[str, float]:
    """Return a step's numbers: all actions, and per faction; names are quantity or quantity/faction."""
    table = pd.DataFrame(account.cpu().numpy(), columns=ACCOUNT)
    known = actions.loc[table["action"].astype(int), ["faction", "desirable", "weight"]].reset_index(drop=True)
    table = table.join(known)
    told = _numbers(table)
    for faction, rows in table.groupby("faction"):
        told |= {f"{name}/{faction}": value for name, value in _numbers(rows).items()}
    return told


def _numbers(rows: pd.DataFrame) -> dict[str, float]:
    r_pos, r_neg = (rows.loc[rows["desirable"] == side, "r"].mean() for side in (True, False))
    return {
        "objective": rows["loss"].mean(),
        "r_pos": r_pos,
        "r_neg": r_neg,
        "margin": r_pos - r_neg,
        "saturated": (rows["slope"] < SATURATED).mean(),
        "kl": rows["kl"].mean(),
        "n": float(len(rows)),
        "weight": rows["weight"].sum(),
    }


# --- the trainer ---------------------------------------------------------------------------------------


class Material:
    """A corpus with what its loss needs: labels, weights, factions as codes, and log pi_ref of every action token."""

    def __init__(self, corpus: Corpus, at: Path | None = None):
        self.corpus, self.at = corpus, at  # where its log-probs are kept
        self.desirable = torch.tensor(corpus.actions["desirable"].to_numpy(bool))
        self.weight = torch.tensor(corpus.actions["weight"].to_numpy(np.float64))
        self.faction = torch.tensor(pd.factorize(corpus.actions["faction"], sort=True)[0])
        self.reference: torch.Tensor | None = None  # (n_action_tokens,)

    def reference_of(self, row: Row) -> torch.Tensor:
        return self.reference[self.tokens_of(row)].to(row.ids.device)

    def tokens_of(self, row: Row) -> torch.Tensor:
        """The places of a row's action tokens among those of all actions."""
        return torch.from_numpy(self.corpus.token_places(row.actions.numpy()))


class MaroTrainer(Trainer):
    """A Trainer whose step is a list of sequences of the corpus; `loaded` has its adapter attached.

    `place` says where the reference log-probs of a corpus are kept; without it they are read anew.
    """

    def __init__(
        self, loaded: Loaded, corpus: Corpus, settings: Settings, folder: Path,
        place: Callable[[Corpus, Sequence[int]], Path | None] = lambda *_: None,
    ):  # fmt: skip
        self.loaded, self.settings = loaded, settings
        self.plan = steps(corpus, settings.batch, settings.epochs, settings.seed)
        self.planned = sorted({int(k) for step in self.plan for k in step})  # of a part of an epoch: not everything
        self.material, self.crossed = Material(corpus, place(corpus, self.planned)), None
        if settings.z0 == "mismatched":
            self.crossed = Material(others := crossed(corpus, settings.seed), place(others, self.planned))
        self.told: dict[str, float] = {}
        self.head = bare_head(loaded.model)
        plan = [{"step": k} for k in range(len(self.plan))]
        arguments = _arguments(loaded, settings, folder, len(plan))
        super().__init__(model=loaded.model, args=arguments, train_dataset=plan, data_collator=lambda x: x[0])
        self.remove_callback(PrinterCallback)

    # what is read

    def get_train_dataloader(self) -> DataLoader:
        """Every process goes through the same steps, and takes its own sequences of each."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=self.data_collator)

    def rows(self, material: Material, sequences: Sequence[int]) -> list[Row]:
        """This process's share of some sequences, ready to be read; every process gets as many."""
        n, n_processes = len(sequences), self.args.world_size
        mine = range(self.args.process_index, math.ceil(n / n_processes) * n_processes, n_processes)
        return [make_row(material.corpus, sequences[k % n], self.args.device, counts=k < n) for k in mine]

    def read(self, model: torch.nn.Module, row: Row) -> torch.Tensor:
        """Log pi of a row's action tokens, in float64: sums of hundreds, and differences of such sums, follow."""
        with self.compute_loss_context_manager():
            return token_logps(model, row, self.head).double()

    def find_references(self, model: torch.nn.Module) -> None:
        """Take the reference log-probs from where they are kept, on all processes, or compute and keep them."""
        for material in filter(None, (self.material, self.crossed)):
            found = material.at and references.kept(material.at, material.corpus.n_action_tokens)
            if self.everyone(found is not None):
                material.reference = found
                continue
            self.compute_references(model, material)
            if material.at and self.args.process_index == 0:
                references.keep(material.at, material.reference)

    def compute_references(self, model: torch.nn.Module, material: Material) -> None:
        """Read once, with the adapter off, what the plan will read; what each process read goes to all."""
        model.eval()
        logps = torch.zeros(material.corpus.n_action_tokens, dtype=torch.float64)
        with self.loaded.base(), torch.no_grad():
            for row in self.rows(material, self.planned):
                read = self.read(model, row).cpu()
                if row.n:
                    logps[material.tokens_of(row)] = read
        material.reference = self.accelerator.reduce(logps.to(self.args.device), "sum").cpu()

    # what is learned

    def training_step(self, model: torch.nn.Module, inputs: dict[str, int], _n_items: object = None) -> torch.Tensor:
        """Take the gradient of one whole step: the mean over all its actions, on all processes."""
        if self.material.reference is None:
            self.find_references(model)
        sequences = self.plan[inputs["step"]]
        n_actions = sum(len(self.material.corpus.places[k]) for k in sequences)
        model.train()
        rows = self.rows(self.material, sequences)
        z0 = self.reference_point(model, sequences, rows)
        seen, total = [], torch.zeros((), device=self.args.device)
        for k, row in enumerate(rows):
            together = contextlib.nullcontext() if k == len(rows) - 1 else self.accelerator.no_sync(model)
            with together, self.uncopied(model):
                loss, account = self.row_loss(model, row, z0)
                share = loss * row.n / n_actions * self.args.world_size  # processes are averaged
                self.accelerator.backward(share)
            seen.append(account[: row.n])
            total += share.detach()
        self.keep_account(torch.cat(seen), z0)
        return total

    def uncopied(self, model: torch.nn.Module) -> contextlib.AbstractContextManager:
        """Keep PEFT from copying what its layers are given into float32, where autocast copies it back to bfloat16."""
        from peft.helpers import disable_input_dtype_casting

        return disable_input_dtype_casting(model, active=self.settings.half)

    def row_loss(self, model: torch.nn.Module, row: Row, z0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of a row's actions, and their account: a row (action, r, loss, slope, kl) for each."""
        s, m, at = self.settings, self.material, row.actions
        tokens, reference = self.read(model, row), m.reference_of(row)
        if not all(torch.isfinite(x).all() for x in (tokens, z0)):  # the gradient tells all processes, which then stop
            nothing = tokens.new_full((len(at), len(ACCOUNT) - 1), math.nan)
            return tokens.sum() * math.nan, torch.cat((at[:, None].to(nothing), nothing), dim=1)
        logp, logp_ref = per_action(tokens, row), per_action(reference, row)
        desirable, weight, faction = (x[at].to(logp.device) for x in (m.desirable, m.weight, m.faction))
        loss, parts = losses.maro_loss(
            logp, logp_ref, desirable, weight,
            beta=s.beta, z0=z0[faction] if z0.ndim else z0, lam_pos=s.lam_pos, lam_neg=s.lam_neg,
        )  # fmt: skip
        if s.objective == "sft":
            loss = losses.sft_loss(logp, desirable, weight, lam_pos=s.lam_pos)
        if s.anchor:
            loss = loss + s.anchor * losses.anchor_loss(logp)
        gap = (tokens - reference).detach()
        kl = per_action(gap.exp() - 1 - gap, row)
        return loss, torch.stack((at.to(logp), *parts, kl), dim=1)

    # where z0 is

    def reference_point(self, model: torch.nn.Module, sequences: Sequence[int], rows: list[Row]) -> torch.Tensor:
        """z0 of this step, one number or one per faction; all but a number and a running mean need another look."""
        s = self.settings
        if s.z0 == "fixed":
            return losses.fixed(s.z0_fixed)
        if s.z0 == "ema" and (earlier := [h["z0_next"] for h in self.state.log_history if "z0_next" in h]):
            return torch.tensor(earlier[-1], dtype=torch.float64)
        if s.z0 == "mismatched":
            return losses.mismatched(self.look(model, self.crossed, self.rows(self.crossed, sequences))[:, 1])
        faction, r = self.look(model, self.material, rows).T
        if s.z0 == "per_faction":
            return losses.per_faction(r, faction.long())
        return losses.clamped(r) if s.z0 == "clamped" else losses.batch(r)

    def look(self, model: torch.nn.Module, material: Material, rows: list[Row]) -> torch.Tensor:
        """Faction and r of each action of a step, on all processes, without a gradient: (n_actions, 2)."""
        found = []
        with torch.no_grad():
            for row in rows:
                r = per_action(self.read(model, row) - material.reference_of(row), row)
                found.append(torch.stack((material.faction[row.actions].to(r), r), dim=1)[: row.n])
        return self.everyones(torch.cat(found))

    # what is told

    def everyone(self, here: bool) -> bool:
        """Whether something holds on all processes."""
        n = self.accelerator.reduce(torch.tensor(float(here), device=self.args.device), "sum")
        return int(n) == self.args.world_size

    def everyones(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, which may have different numbers of them; the first column is never NaN."""
        if self.args.world_size == 1:
            return rows
        rows = self.accelerator.gather(self.accelerator.pad_across_processes(rows, pad_index=math.nan))
        return rows[~rows[:, 0].isnan()]

    def keep_account(self, rows: torch.Tensor, z0: torch.Tensor) -> None:
        """Keep a step's numbers for the log, and where the running mean goes from here."""
        rows = self.everyones(rows)
        self.told = tell(rows, self.material.corpus.actions)
        z0_next = losses.ema(z0.double().mean(), rows[:, 1], self.settings.z0_decay)
        self.told |= {"z0": float(z0.double().mean()), "z0_next": float(z0_next)}
        if z0.ndim:
            names = sorted(self.material.corpus.actions["faction"].unique())
            self.told |= {f"z0/{name}": float(v) for name, v in zip(names, z0, strict=False)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, **self.told} if "loss" in logs else logs, start_time)

    def floating_point_ops(self, inputs: object) -> int:  # noqa: ARG002 - the Trainer's; it would look for token ids
        return 0

    # what is saved

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """Save a checkpoint, and mark it as whole at the end: one without the mark was interrupted."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self.check_weights()
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            kept = whole_checkpoints(folder.parent)
            safe = f"{kept[-1].name} is safe" if kept else "there is no earlier one"
            raise TrainingError(
                f"{folder}: can't be written ({str(error).splitlines()[0]}); {safe}. "
                "Free some space and run the same command again: it goes on from there"
            ) from None
        self.accelerator.wait_for_everyone()  # each process writes a part of it
        if self.args.should_save:
            write_atomic(folder / WHOLE, "")
            for old in whole_checkpoints(folder.parent)[: -self.settings.n_checkpoints]:
                (old / WHOLE).unlink()  # first: what is half removed is no checkpoint
                shutil.rmtree(old)

    def check_weights(self) -> None:
        """Raise, on all processes, if one of them holds a weight that is not a finite number: it is not to be kept."""
        learned = [p for p in self.model.parameters() if p.requires_grad]
        n_bad = sum(not torch.isfinite(p).all() for p in learned)
        if self.accelerator.reduce(torch.tensor(float(n_bad), device=self.args.device), "sum") > 0:
            raise Diverged(f"step {self.state.global_step}: a weight is not a finite number")

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the adapter alone: the Trainer would add its arguments as a pickle."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)


class Guard(TrainerCallback):
    """Plays quick games at checkpoints, warns of steps that taught nothing, stops what diverges."""

    def __init__(self, trainer: MaroTrainer, watch: Watch | None, live: Live | None):
        self.trainer, self.watch, self.live = trainer, watch, live

    def on_train_begin(self, _args, state, _control, **_):
        if self.watch and not state.global_step:
            self._look()

    def on_pre_optimizer_step(self, _args, state, _control, **_):
        gradients = [p.grad for p in self.trainer.model.parameters() if p.grad is not None]
        if not all(torch.isfinite(g).all() for g in gradients):
            raise Diverged(f"step {state.global_step + 1}: the gradient is not a finite number")

    def on_step_end(self, _args, state, control, **_):
        step = state.global_step
        for note in notes_of([self.trainer.told | {"step": step}], self.trainer.settings.objective):
            warnings.warn(note, TrainingWarning, stacklevel=2)
        if self.watch and control.should_save:
            base = next(h["legal"] for h in state.log_history if "legal" in h)
            seen = self._look()
            if seen["legal"] < base - self.trainer.settings.max_illegal:
                raise Diverged(f"step {step}: only {100 * seen['legal']:.0f} % of its moves are legal (before training "
                               f"{100 * base:.0f} %)")  # fmt: skip

    def on_log(self, args, state, _control, logs=(), **_):
        if self.live and "loss" in logs and args.process_index == 0:
            self.live(as_curve(state.log_history))

    def _look(self) -> dict[str, float]:
        """Play on the first process; all learn what came out."""
        t, names = self.trainer, self.watch.names
        seen = [0.0] * len(names)
        if t.args.process_index == 0:
            t.model.eval()
            found = self.watch(t.loaded)
            seen = [found[name] for name in names]
        shared = t.accelerator.reduce(torch.tensor(seen, dtype=torch.float64, device=t.args.device), "sum")
        told = dict(zip(names, shared.tolist(), strict=True))
        t.state.log_history.append(told | {"step": t.state.global_step})
        return told


def notes_of(history: Sequence[dict[str, float]], objective: str) -> list[str]:
    """Say of each step that taught nothing why."""
    taught = [(h["step"], _taught_nothing(h, objective)) for h in history if "objective" in h]
    return [f"step {step} taught nothing: {why}" for step, why in taught if why]


def _taught_nothing(told: dict[str, float], objective: str) -> str:
    if not told["weight"]:
        return "all weights are 0"
    flat = objective == "maro" and told["saturated"] == 1
    return "all sigmoids are saturated (beta or the learning rate is too high)" if flat else ""


def as_curve(history: list[dict[str, float]]) -> pd.DataFrame:
    """Turn a Trainer's log into one row per step (0: before training); quick games stand in the step they followed."""
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        if "objective" in entry or "legal" in entry:
            rows.setdefault(entry["step"], {}).update(entry)
    curve = pd.DataFrame([rows[step] for step in sorted(rows)])
    first = [name for name in FIRST if name in curve]  # a log that was saved and read again has another order
    return curve[[*first, *sorted(set(curve) - set(first))]]


# --- a whole training ----------------------------------------------------------------------------------


def train(
    loaded: Loaded, corpus: Corpus, settings: Settings, folder: Path, *,
    watch: Watch | None = None, live: Live | None = None,
) -> Trained:  # fmt: skip
    """Train an adapter into `folder`; called again it goes on from the last checkpoint, or finds the work done."""
    if not len(corpus):
        raise TrainingError(f"there is nothing to train on. {corpus.statement}")
    folder, digest = Path(folder), _digest(loaded, corpus, settings)
    with PartialState(cpu=_on_cpu(loaded)).main_process_first():  # the others find it open
        _open_job(folder, digest)
    if trained := finished(folder):
        return trained
    place = partial(references.place, folder.parent / references.FOLDER, loaded, half=settings.half)
    with quiet(), adapted(loaded, settings) as learner:
        trainer = MaroTrainer(learner, corpus, settings, folder, place)
        trainer.add_callback(Guard(trainer, watch, live))
        status, history = _train(trainer, folder), trainer.state.log_history
        notes = notes_of(history, settings.objective)
        trained = Trained(folder / "adapter", as_curve(history), status, (*notes,))
        _save(trainer, trained)
        trainer.accelerator.wait_for_everyone()
    return trained


def _train(trainer: MaroTrainer, folder: Path) -> str:
    """Go on from the last checkpoint to the end, or back to the last good one; say which."""
    good = whole_checkpoints(folder)
    try:
        trainer.train(resume_from_checkpoint=str(good[-1]) if good else None)
        return "finished"
    except Diverged as error:
        if not (good := whole_checkpoints(folder)):
            way_out = "take a smaller learning rate, or a smaller `check_every`"
            raise TrainingError(f"{error}, before there was a checkpoint: {way_out}") from None
        _restore(trainer, good[-1])
        return f"stopped at {error}; this is the last good checkpoint ({good[-1].name})"
    finally:
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


def finished(folder: Path) -> Trained | None:
    """Return what a training left in its folder, if it came to its end."""
    if not (folder / "done.json").exists():
        return None
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    return Trained(folder / "adapter", pd.read_parquet(folder / "curve.parquet"), done["status"], (*done["notes"],))


def _open_job(folder: Path, digest: str) -> None:
    """Make a folder ready for this training; another one's work is set aside, and what was cut short is removed."""
    path = folder / "job.json"
    same = path.exists() and json.loads(path.read_text())["digest"] == digest
    if not same and folder.exists() and any(folder.iterdir()):
        set_aside(folder)
    make_folder(folder)
    if not path.exists():
        write_atomic(path, json.dumps({"digest": digest}))
    whole = whole_checkpoints(folder)
    for leftover in (p for p in folder.glob("checkpoint-*") if p not in whole):
        shutil.rmtree(leftover)


def _digest(loaded: Loaded, corpus: Corpus, settings: Settings) -> str:
    """All that decides what is learned."""
    total = hashlib.blake2b(digest_size=12)
    total.update(json.dumps([asdict(settings), loaded.name, loaded.precision, loaded.fingerprint]).encode())
    for ids in corpus.ids:
        total.update(np.asarray(ids, np.int32).tobytes())
    total.update(corpus.actions[[*TAKEN, "row", "start", "end"]].to_csv().encode())
    return total.hexdigest()


def _restore(trainer: MaroTrainer, good: Path) -> None:
    """Put the adapter back to where it was at a checkpoint."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(trainer.model, load_peft_weights(str(good), device=str(trainer.args.device)))


def _save(trainer: MaroTrainer, trained: Trained) -> None:
    """Write adapter and curve, then the word that all is done; all processes take part, the first one writes."""
    temporary, folder = trained.folder.with_name(".adapter.tmp"), trained.folder.parent
    try:
        trainer.save_model(str(temporary), _internal_call=True)
        if not trainer.is_world_process_zero():
            return
        write_atomic(temporary / ORIGIN, json.dumps(trainer.loaded.origin))
        shutil.rmtree(trained.folder, ignore_errors=True)
        temporary.rename(trained.folder)
        buffer = io.BytesIO()
        trained.curve.to_parquet(buffer, index=False)
        write_atomic(folder / "curve.parquet", buffer.getvalue())
        write_atomic(folder / "done.json", json.dumps({"status": trained.status, "notes": trained.notes}))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{trained.folder}: can't be written ({error}); the last checkpoint is safe. Free some "
                            "space and run the same command again") from None  # fmt: skip


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder that were written to their end, oldest first."""
    found = [p for p in Path(folder).glob("checkpoint-*") if (p / WHOLE).exists()]
    return sorted(found, key=lambda p: int(p.name.split("-")[1]))


def _arguments(loaded: Loaded, settings: Settings, folder: Path, n_steps: int) -> TrainingArguments:
    plain = _on_cpu(loaded) or loaded.sharded  # FSDP can't save the state of an 8-bit optimiser
    auto = "adamw_torch" if plain else "paged_adamw_8bit"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all of them
        per_device_train_batch_size=1,  # a step of the plan
        learning_rate=settings.learning_rate,
        warmup_steps=int(settings.warmup * n_steps),  # rounded down: of a few steps none is spent on standing still
        lr_scheduler_type="linear",
        max_grad_norm=settings.max_grad_norm,
        optim=auto if settings.optimiser == "auto" else settings.optimiser,
        use_cpu=_on_cpu(loaded),
        bf16=settings.half,
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.check_every,
        seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several are used by several processes, never by DataParallel
    return arguments


def _on_cpu(loaded: Loaded) -> bool:
    """Whether it trains there; a model that is to be sharded only starts there."""
    return loaded.device.type == "cpu" and not loaded.sharded
