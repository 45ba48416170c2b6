"""What a training run was: figures kept while it goes, written when it ends, and one more line after each resume."""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

    from largemodels.training.pretraining import Settings


@dataclass
class Report:
    """What a run was and what came out; written as JSON, and as the table of a model card.

    Attributes:
        settings: as given.
        parameters: number of trained parameters.
        tokens: tokens read in training, filler not counted.
        seconds: of training and validation, all resumed parts together.
        tokens_per_second: tokens divided by seconds.
        machine: device, threads, processes, precision, versions.
        curve: per line of the log: step, loss in nats, learning rate.
        validation: per measurement: step and its figures.
    """

    settings: dict[str, Any]
    parameters: int
    tokens: int
    seconds: float
    tokens_per_second: float
    machine: dict[str, Any]
    curve: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the facts as a Markdown table."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        rows = [
            ("parameters", f"{self.parameters:,}"),
            ("tokens read", f"{self.tokens:,}"),
            ("wall time", f"{self.seconds:,.0f} s"),
            ("throughput", f"{self.tokens_per_second:,.0f} tokens/s"),
            ("machine", machine),
            ("settings", settings),
        ]
        return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


class Record:
    """Measures a model while it trains and counts the seconds; keeps both on disk for a resumed run.

    Args:
        model: in training.
        folder: where `watch.json` is kept.
        validate: measures the model on held-out data.
    """

    def __init__(self, model: "PreTrainedModel", folder: Path, validate: Callable[[], dict[str, float]] | None) -> None:
        self.model, self.validate, self.kept = model, validate, folder / "watch.json"
        self.began, self.before = time.monotonic(), 0.0
        self.validation: list[dict[str, float]] = []

    def begin(self, step: int) -> None:
        """Start the clock, after the last checkpoint's seconds and measurements if the run is resumed.

        Args:
            step: where it begins.
        """
        self.began = time.monotonic()
        if step and self.kept.exists():
            saved = json.loads(self.kept.read_text("utf-8"))
            self.before = saved["seconds"]
            self.validation = [row for row in saved["validation"] if row["step"] <= step]

    def seconds(self) -> float:
        """Return the duration of all parts of the run so far."""
        return self.before + time.monotonic() - self.began

    def keep(self) -> None:
        """Write what a resumed run begins with."""
        saved = {"seconds": self.seconds(), "validation": self.validation}
        self.kept.write_text(json.dumps(saved), encoding="utf-8")

    def measure(self, step: int) -> None:
        """Measure the model, if there is something to measure it with, and print the figures.

        Args:
            step: updates done.
        """
        if not self.validate:
            return
        self.model.eval()
        with torch.inference_mode():
            figures = self.validate()
        self.model.train()
        self.validation.append({"step": step, **figures})
        print(f"step {step}: {figures}", flush=True)


def watcher(
    model: "PreTrainedModel", settings: "Settings", folder: Path, validate: Callable[[], dict[str, float]] | None
) -> Any:
    """Return the callback that validates, stops a run that has diverged, and keeps the figures of the report.

    Args:
        model: in training.
        settings: of the run.
        folder: where figures are kept for a resumed run.
        validate: measures the model on held-out data.

    Returns:
        A `TrainerCallback` with a method `report(trainer)`.
    """
    from transformers import TrainerCallback

    record = Record(model, folder, validate)

    class Watcher(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            record.begin(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                record.keep()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
            if logs and not math.isfinite(logs.get("loss", 0.0)):
                raise FloatingPointError(
                    f"the loss must stay finite, got {logs['loss']} at step {state.global_step}; lower lr"
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            last = state.global_step == settings.steps
            due = settings.validate_every and state.global_step % settings.validate_every == 0
            if state.is_world_process_zero and (due or last):
                record.measure(state.global_step)

        def report(self, trainer: "Trainer") -> Report:
            return gather(model, settings, trainer, record.seconds(), record.validation)

    return Watcher()


def gather(
    model: "PreTrainedModel", settings: "Settings", trainer: "Trainer", seconds: float,
    validation: list[dict[str, float]],
) -> Report:  # fmt: skip
    """Put the figures of a finished run together.

    Args:
        model: trained.
        settings: as given.
        trainer: the loop that ran.
        seconds: that it took, all resumed parts together.
        validation: what was measured on the way.

    Returns:
        The report.
    """
    import transformers

    tokens = int(trainer.state.num_input_tokens_seen)
    curve = [
        {"step": row["step"], "loss": row["loss"], "lr": row["learning_rate"]}
        for row in trainer.state.log_history
        if "loss" in row
    ]
    machine = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU",
        "processes": trainer.args.world_size,
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if trainer.args.bf16 else "float32",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    parameters = sum(param.numel() for param in model.parameters() if param.requires_grad)
    rate = tokens / seconds if seconds else 0.0
    return Report(asdict(settings), parameters, tokens, seconds, rate, machine, curve, validation)
