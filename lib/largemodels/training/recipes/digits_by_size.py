"""Measurement `digits_by_size`: three kinds of model on handwritten digits, with few training images and with many.

Run it:

    largemodels train digits-by-size --data DATA --out FILE.json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from largemodels.foundations.losses import cross_entropy
from largemodels.foundations.mlp import Mlp
from largemodels.training.recipes.digits import TEST, read_digits

SIZES = (100, 300, 1_000, 3_000, 8_000)
SEEDS = (0, 1, 2)
STEPS, BATCH, LR = 2_000, 32, 1e-3
Fitted = tuple[Callable[[Tensor], Tensor], int]  # answers for images `(B, 784)`, and the number of parameters


def fit_logistic(x: Tensor, y: Tensor, seed: int) -> Fitted:
    """Fit scikit-learn's multinomial logistic regression as it comes, but for the number of iterations.

    Args:
        x: `(N, 784)`, 0 to 1.
        y: `(N,)` classes.
        seed: Not needed: there is one best solution.

    Returns:
        Answers for new images, and the number of parameters.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1_000).fit(x.numpy(), y.numpy())
    return lambda new: torch.from_numpy(model.predict(new.numpy())), model.coef_.size + model.intercept_.size


def fit_svm(x: Tensor, y: Tensor, seed: int) -> Fitted:
    """Fit scikit-learn's support vector machine with the radial kernel, as it comes.

    Args:
        x: `(N, 784)`, 0 to 1.
        y: `(N,)` classes.
        seed: Not needed: there is one best solution.

    Returns:
        Answers for new images, and the numbers it keeps: support vectors, their coefficients, intercepts.
    """
    from sklearn.svm import SVC

    model = SVC().fit(x.numpy(), y.numpy())
    kept = model.support_vectors_.size + model.dual_coef_.size + model.intercept_.size
    return lambda new: torch.from_numpy(model.predict(new.numpy())), kept


def fit_mlp(x: Tensor, y: Tensor, seed: int) -> Fitted:
    """Train the 784-128-128-10 net with Adam for the same number of steps whatever the number of images.

    Args:
        x: `(N, 784)`, 0 to 1.
        y: `(N,)` classes.
        seed: Decides first weights and order.

    Returns:
        Answers for new images, and the number of parameters.
    """
    model, generator = Mlp(seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    order: list[Tensor] = []
    for _ in range(STEPS):
        if not order:
            order = list(torch.randperm(len(x), generator=generator).split(BATCH))
        rows = order.pop()
        loss = cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda new: model.classify(new).argmax(-1), sum(p.numel() for p in model.parameters())


MODELS = {"logistic": fit_logistic, "svm": fit_svm, "mlp": fit_mlp}


def measure(images: Tensor, targets: Tensor) -> list[dict]:
    """Fit every model on every size, once for each seed, and test it on the last 2,000 images.

    Args:
        images: All 10,000, `(10000, 784)`.
        targets: Their classes, `(10000,)`.

    Returns:
        One row for each model and size; accuracies as fractions, means of parameters and processor seconds.
    """
    rows: list[dict] = []
    for size in SIZES:
        for name, fit in MODELS.items():
            accuracies, counts, seconds = [], [], []
            for seed in SEEDS:
                chosen = torch.randperm(TEST.start, generator=torch.Generator().manual_seed(seed))[:size]
                began = time.process_time()
                answer, count = fit(images[chosen], targets[chosen], seed)
                seconds.append(time.process_time() - began)
                accuracies.append((answer(images[TEST]) == targets[TEST]).double().mean().item())
                counts.append(count)
            rows.append(
                {
                    "model": name,
                    "images": size,
                    "accuracies": [round(a, 4) for a in accuracies],
                    "accuracy": round(statistics.mean(accuracies), 4),
                    "parameters": round(statistics.mean(counts)),
                    "seconds": round(statistics.mean(seconds), 3),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and write the JSON."""
    import sklearn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds mnist-10k")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # seconds of one thread, for all three
    images, targets = read_digits(arguments.data)
    about = {
        "data": "MNIST (CC BY-SA 3.0), a sample of 10,000; training images drawn from the first 8,000, no distortions",
        "test_images": TEST.stop - TEST.start,
        "seeds": list(SEEDS),
        "mlp": {"sizes": [784, 128, 128, 10], "steps": STEPS, "batch": BATCH, "lr": LR, "optimizer": "Adam"},
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "seconds": f"processor time of one thread on {platform.machine()}, training only",
    }
    rows = measure(images.flatten(1), targets)
    arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
