r"""Pretraining: one loop that every recipe uses, on one CPU, one GPU, or several processes.

A recipe says what a batch is and what the model returns for it; Transformers' `Trainer` does mixed precision, gradient
accumulation, `torchrun`, checkpoints, resuming, the progress bar and the TensorBoard log.

Source: Wolf et al., "Transformers: State-of-the-Art Natural Language Processing", 2020,
https://aclanthology.org/2020.emnlp-demos.6; the loop itself: https://huggingface.co/docs/transformers/trainer.
"""

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from largemodels.training._muon import MuonAdamW
from largemodels.training._report import Report, watcher

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")
REPORT = "training_report.json"
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides model and data.

    Source: names and meaning as in `transformers.TrainingArguments`,
    https://huggingface.co/docs/transformers/main_classes/trainer.

    Attributes:
        steps: updates.
        lr: peak learning rate, reached after `warmup` steps; it then falls linearly to 0.
        accumulate: batches whose gradients are averaged before an update.
        warmup: steps in which the learning rate rises.
        weight_decay: decoupled, per unit of learning rate.
        clip: largest norm of the gradient; 0 switches clipping off.
        optimizer: "adamw", or "muon" for the matrices inside the blocks and AdamW for the rest.
        precision: "float32", "bfloat16" for autocast, or "auto": bfloat16 where the device has instructions for it.
        seed: of order and masks, from 0 to 2³¹ - 1.
        save_every: steps between two checkpoints to resume from; 0 writes none.
        log_every: steps between two lines of the log.
        validate_every: steps between two measurements on held-out data; 0 measures at the end only.

    Raises:
        ValueError: if a number is out of range or a name unknown.

    Examples:
        >>> Settings(steps=2000, lr=3e-4, accumulate=4).optimizer
        'adamw'
    """

    steps: int
    lr: float
    accumulate: int = 1
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    optimizer: str = "adamw"
    precision: str = "auto"
    seed: int = 0
    save_every: int = 0
    log_every: int = 100
    validate_every: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "accumulate": 1, "log_every": 1, "warmup": 0, "save_every": 0, "validate_every": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}; choose a larger number")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}; 3e-4 is a usual one")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must lie between 0 and 2**31 - 1, got {self.seed}; choose another")
        for name, known in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}; choose one")


class Batches(Dataset):
    """Endless batches, each decided by its number alone.

    A resumed run, and every one of several processes, meets the right ones without reading again.

    Source: the reason is that of Trainer's own skipping of batches,
    https://huggingface.co/docs/transformers/trainer, but nothing has to be read again to skip it.

    Args:
        groups: row numbers that may share a batch, such as all rows of one length, and how many rows make a batch.
        make: builds a batch from row numbers; it gets a random generator of its own, for masks.
        seed: of the order and of the masks.

    Raises:
        ValueError: if there is no row.

    Examples:
        >>> batches = Batches([(range(5), 2)], lambda rows, generator: {"rows": torch.tensor(rows)}, seed=7)
        >>> first_epoch = [batches[number]["rows"].tolist() for number in range(3)]
        >>> sorted(row for batch in first_epoch for row in batch)
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[int], int]],
        make: Callable[[list[int], torch.Generator], Batch],
        seed: int = 0,
    ) -> None:
        self._groups = [(torch.tensor(rows), size) for rows, size in groups if len(rows)]
        if not self._groups:
            raise ValueError("the corpus must hold at least one row, got none; look at what the data folder holds")
        self._make, self._seed = make, seed
        self.per_epoch = sum(-(-len(rows) // size) for rows, size in self._groups)
        self._epoch = -1
        self._order: list[list[int]] = []

    def __len__(self) -> int:
        return 2**40  # nobody gets there

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return self._make(self._order[place], torch.Generator().manual_seed((self._seed << 32) + number))

    def _shuffled(self, epoch: int) -> list[list[int]]:
        """Return the batches of one epoch: every row once, rows of a group together, in random order."""
        generator = torch.Generator().manual_seed((self._seed << 32) + (1 << 31) + epoch)
        batches: list[list[int]] = []
        for rows, size in self._groups:
            shuffled = rows[torch.randperm(len(rows), generator=generator)]
            batches += [part.tolist() for part in shuffled.split(size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def learning_rate(step: int, settings: Settings) -> float:
    """Tell the learning rate of one update: straight up to the peak, then straight down to 0.

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018,
    https://arxiv.org/abs/1810.04805, appendix A.2. `Trainer` computes the same numbers itself.

    Args:
        step: number of the update, from 0: the first one of a warm-up has learning rate 0.
        settings: of the run.

    Returns:
        The learning rate.

    Raises:
        ValueError: if the run has no such update.

    Examples:
        >>> settings = Settings(steps=10, lr=0.8, warmup=4)
        >>> [round(learning_rate(step, settings), 3) for step in (0, 1, 4, 7, 10)]
        [0.0, 0.2, 0.8, 0.4, 0.0]
    """
    if not 0 <= step <= settings.steps:
        raise ValueError(f"step must lie between 0 and {settings.steps}, got {step}; the run ends there")
    if step < settings.warmup:
        return settings.lr * step / settings.warmup
    return settings.lr * (settings.steps - step) / max(1, settings.steps - settings.warmup)


def uses_bfloat16(precision: str) -> bool:
    """Decide whether matrix products are computed in bfloat16.

    Source: https://docs.pytorch.org/docs/stable/amp.html.

    Args:
        precision: "auto", "float32" or "bfloat16".

    Returns:
        For "auto", whether the device has instructions for it: emulated, it is slower than float32.

    Examples:
        >>> uses_bfloat16("float32")
        False
    """
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def pretrain(
    model: "PreTrainedModel",
    batches: Batches,
    settings: Settings,
    folder: Path,
    validate: Callable[[], dict[str, float]] | None = None,
) -> Report:
    """Train a model in place; a run that was killed goes on where its last checkpoint left it.

    Start the same program with `torchrun --nproc-per-node N` and every process takes each N-th batch.

    Source: https://huggingface.co/docs/transformers/trainer.

    Args:
        model: called with a batch, it returns a mapping that has `loss`, in nats.
        batches: what to read, in which order.
        settings: how to train.
        folder: for checkpoints, TensorBoard log and report.
        validate: measures the model on held-out data; called on the first process only.

    Returns:
        The report, which is also written to the folder.

    Raises:
        FloatingPointError: if the loss is no longer a number.

    Examples:
        >>> import contextlib, io, tempfile
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=5, n_embd=6, n_layer=1, n_head=3))
        >>> def make(rows, generator):
        ...     ids = torch.randint(7, (len(rows), 5), generator=generator)
        ...     return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # the log
        ...     report = pretrain(model, Batches([(range(9), 3)], make), Settings(steps=2, lr=1e-3), Path(folder))
        >>> report.tokens
        30
    """
    from transformers.trainer_utils import get_last_checkpoint

    trainer = _trainer(model, batches, settings, folder)
    watch = watcher(model, settings, folder, validate)
    trainer.add_callback(watch)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    report: Report = watch.report(trainer)
    if trainer.is_world_process_zero():
        (folder / REPORT).write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _trainer(model: "PreTrainedModel", batches: Batches, settings: Settings, folder: Path) -> "Trainer":
    """Return Transformers' loop, told the settings."""
    from transformers import Trainer, TrainingArguments
    from transformers.integrations import TensorBoardCallback

    on_cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # an item of the data set is a whole batch
        gradient_accumulation_steps=settings.accumulate,
        train_sampling_strategy="sequential",
        max_steps=settings.steps,
        learning_rate=settings.lr,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        bf16=uses_bfloat16(settings.precision),
        use_cpu=on_cpu,
        seed=settings.seed,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,  # a loss that is no number must be seen
        save_strategy="steps" if settings.save_every else "no",
        save_steps=settings.save_every or settings.steps,
        save_total_limit=2,
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        report_to=[],
    )
    muon = settings.optimizer == "muon"
    optimizer = MuonAdamW(model, settings.lr, weight_decay=settings.weight_decay) if muon else None
    trainer = Trainer(
        model=model, args=arguments, train_dataset=batches, data_collator=lambda items: items[0],
        optimizers=(optimizer, None),
    )  # fmt: skip
    if trainer.is_world_process_zero() and importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(folder / "tensorboard"))))
    return trainer
