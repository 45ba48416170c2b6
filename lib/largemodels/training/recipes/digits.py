"""Recipe of `digits-mlp` and `digits-lenet`: two nets that read handwritten digits.

Train, evaluate and write the model card:

    largemodels train digits --model mlp --data DATA --out FOLDER
    largemodels train digits --model mlp --data DATA --evaluate FOLDER
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from largemodels.foundations.losses import cross_entropy
from largemodels.foundations.mlp import SIZES, Mlp
from largemodels.training.recipes.checkpoint_folder import fill_card, write_weights

if TYPE_CHECKING:
    from largemodels.sequence.convolution import LeNet

CARD = Path(__file__).with_name("digits_card.md")
TRAINING, VALIDATION, TEST = slice(0, 7_000), slice(7_000, 8_000), slice(8_000, 10_000)
SPLITS = {"training": TRAINING, "validation": VALIDATION, "test": TEST}
EPOCHS = {"mlp": 150, "lenet": 30}
PEAK_LR = {"mlp": 2e-3, "lenet": 2e-3}
BATCH = 64
IMPORT = {
    "mlp": "from largemodels.foundations.mlp import Mlp, centre",
    "lenet": "from largemodels.foundations.mlp import centre\nfrom largemodels.sequence.convolution import LeNet",
}
ABOUT = {
    "mlp": (
        "A multi-layer perceptron, 784-128-128-10 with ReLU: two hidden layers of 128 neurons, one output layer.",
        "读手写数字的多层感知机：784-128-128-10，两个各 128 个神经元的隐藏层，一个输出层，激活函数是 ReLU。",
    ),
    "lenet": (
        "A small convolutional net in the manner of LeNet-5: convolution and pooling twice, then fully connected.",
        "读手写数字的小型卷积网络，照 LeNet-5 的样子：卷积、汇聚各两次，再接全连接层。",
    ),
}


def read_digits(data: Path) -> tuple[Tensor, Tensor]:
    """Read the 10,000 digits, in the order in which the splits count them.

    Args:
        data: Data root; `mnist-10k/mnist10k.npz` is read.

    Returns:
        Images, shape `(10000, 28, 28)`, 0 paper to 1 ink; classes, shape `(10000,)`.
    """
    with np.load(data / "mnist-10k" / "mnist10k.npz") as file:
        images = torch.from_numpy(file["x"]).view(-1, 28, 28).float() / 255
        return images, torch.from_numpy(file["y"]).long()


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, slant and shift every image a little, each in its own way.

    Args:
        images: `(B, 28, 28)`, 0 to 1.
        generator: Decides the distortions: up to 14 degrees, 12 % of size on each axis, a slant of 0.2, 2 pixels.

    Returns:
        `(B, 28, 28)`, 0 to 1.
    """
    angle, slant, wide, high, right, down = (2 * torch.rand(len(images), generator=generator) - 1 for _ in range(6))
    turn, slant = angle * math.radians(14), slant * 0.2
    cos, sin, wide, high = turn.cos(), turn.sin(), 1 + 0.12 * wide, 1 + 0.12 * high
    across = torch.stack([cos * wide, (slant * cos - sin) * high, right * 2 / 14], 1)  # 14 pixels are half a side
    along = torch.stack([sin * wide, (slant * sin + cos) * high, down * 2 / 14], 1)
    grid = F.affine_grid(torch.stack([across, along], 1), [len(images), 1, 28, 28], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def train(model: nn.Module, images: Tensor, targets: Tensor, epochs: int, lr: float, seed: int) -> float:
    """Train with Adam on distorted images; the learning rate falls from `lr` to 0 along a cosine.

    Args:
        model: Gives `(B, 10)` logits for `(B, 28, 28)` images; trained in place.
        images: `(N, 28, 28)`, 0 to 1.
        targets: `(N,)` classes.
        epochs: Times every image is seen, distorted anew each time.
        lr: Learning rate of the first step.
        seed: Decides order and distortions.

    Returns:
        Seconds taken.
    """
    generator, began = torch.Generator().manual_seed(seed), time.monotonic()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(images) / BATCH))
    model.train()
    for epoch in range(1, epochs + 1):
        total, seen = 0.0, distort(images, generator)
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = cross_entropy(model(seen[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if epoch % 10 == 0:
            print(f"epoch {epoch}: loss {total / len(images):.4f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval()
    return time.monotonic() - began


@torch.no_grad()
def confusion(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Count how often which class was taken for which.

    Args:
        model: Gives `(B, 10)` logits for `(B, 28, 28)` images.
        images: `(N, 28, 28)`, 0 to 1.
        targets: `(N,)` classes.

    Returns:
        Counts, shape `(10, 10)`: the row is the true class, the column the answer.
    """
    answers = torch.cat([model(part).argmax(-1) for part in images.split(500)])  # (N,)
    return torch.bincount(targets * 10 + answers, minlength=100).view(10, 10)


def evaluate(model: nn.Module, images: Tensor, targets: Tensor) -> tuple[str, str]:
    """Everything the model card states about quality.

    Args:
        model: The stored model.
        images: All 10,000, `(10000, 28, 28)`.
        targets: Their classes, `(10000,)`.

    Returns:
        Accuracy of each split, and the table of confusions on the test split, as printable lines.
    """
    counts = {name: confusion(model, images[part], targets[part]) for name, part in SPLITS.items()}
    right = {name: (int(table.trace()), int(table.sum())) for name, table in counts.items()}
    lines = [f"{name}: {hits} of {total} right, {hits / total:.2%}" for name, (hits, total) in right.items()]
    table = ["true " + "".join(f"{answer:5d}" for answer in range(10))]
    table += [f"{row:4d} " + "".join(f"{int(n):5d}" for n in counts["test"][row]) for row in range(10)]
    return "\n".join(lines), "\n".join(table)


def net_class(kind: str) -> "type[Mlp] | type[LeNet]":
    """Look up the class of a net.

    Args:
        kind: `mlp` or `lenet`.

    Returns:
        A class that is built from a seed and has `from_checkpoint`.
    """
    if kind == "mlp":
        return Mlp
    from largemodels.sequence.convolution import LeNet

    return LeNet


def write_card(folder: Path, kind: str, images: Tensor, targets: Tensor) -> None:
    """Measure the stored weights, print the figures and write the model card.

    Args:
        folder: A checkpoint folder.
        kind: `mlp` or `lenet`.
        images: All 10,000, `(10000, 28, 28)`.
        targets: Their classes, `(10000,)`.
    """
    model = net_class(kind).from_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    metrics, table = evaluate(model, images, targets)
    print(metrics, table, sep="\n")
    facts = {
        "name": f"digits-{kind}",
        "kind": kind,
        "about": ABOUT[kind][0],
        "zh": ABOUT[kind][1],
        "import": IMPORT[kind],
        "class": type(model).__name__,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        **{key: str(config["training"][key]) for key in ("epochs", "lr", "seconds", "seed")},
    }
    fill_card(folder, CARD, metrics=metrics, confusion=table, **facts)


def train_checkpoint(kind: str, images: Tensor, targets: Tensor, arguments: argparse.Namespace) -> None:
    """Train a net on the training split and write its folder.

    Args:
        kind: `mlp` or `lenet`.
        images: All 10,000, `(10000, 28, 28)`.
        targets: Their classes, `(10000,)`.
        arguments: Of the command line.
    """
    model = net_class(kind)(seed=arguments.seed)
    epochs, lr = arguments.epochs or EPOCHS[kind], arguments.lr or PEAK_LR[kind]
    seconds = train(model, images[TRAINING], targets[TRAINING], epochs, lr, arguments.seed)
    training = {"epochs": epochs, "lr": lr, "seed": arguments.seed, "seconds": round(seconds)}
    sizes = {"sizes": list(SIZES)} if kind == "mlp" else {}
    write_weights(arguments.out, model, {"model_type": f"digits-{kind}", **sizes, "training": training}, card="")
    write_card(arguments.out, kind, images, targets)


def main() -> None:
    """Train a checkpoint, or evaluate one; both write its model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(EPOCHS), required=True, help="which net")
    parser.add_argument("--data", type=Path, required=True, help="holds mnist-10k")
    parser.add_argument("--epochs", type=int, help="times every image is seen")
    parser.add_argument("--lr", type=float, help="learning rate of the first step")
    parser.add_argument("--seed", type=int, default=0, help="decides first weights, order and distortions")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the checkpoint folder to write")
    what.add_argument("--evaluate", type=Path, help="a checkpoint folder: train nothing, measure it again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # threads of so small a net wait for each other
    images, targets = read_digits(arguments.data)
    if arguments.out:
        train_checkpoint(arguments.model, images, targets, arguments)
    else:
        write_card(arguments.evaluate, arguments.model, images, targets)


if __name__ == "__main__":
    main()
