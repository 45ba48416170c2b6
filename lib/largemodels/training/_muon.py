"""Muon: an optimizer that gives every direction of a weight matrix a step of the same size."""

from collections.abc import Iterable

import torch
from torch import Tensor

# Quintic Newton–Schulz coefficients of https://kellerjordan.github.io/posts/muon/.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, iterations: int = 4) -> Tensor:
    """Nearest semi-orthogonal matrix, roughly: all singular values are moved near 1.

    Args:
        matrix: `(..., N, M)`, any scale.
        iterations: Newton–Schulz steps.

    Returns:
        `(..., N, M)` with singular values between about 0.7 and 1.2.
    """
    wide = matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT  # (..., N, N)
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if wide is not matrix else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    `torch.optim.Muon` computes in bfloat16, which a CPU without AVX512-BF16 does ten times slower than float32; this
    one keeps the type of the gradient. The step is scaled by `0.2 * sqrt(max(N, M))` so that its root mean square is
    that of AdamW at the same learning rate (Liu et al. 2025, https://arxiv.org/abs/2502.16982, eq. 4).

    Args:
        params: Weight matrices `(N, M)`; vectors and embeddings belong to AdamW.
        lr: Learning rate.
        momentum: Decay of the momentum, fraction 0–1.
        weight_decay: Decoupled weight decay per unit of learning rate.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here evaluates the loss twice
        """Update every matrix; each must have a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
                momentum.lerp_(param.grad, 1 - group["momentum"])
                nesterov = param.grad.lerp(momentum, group["momentum"])
                scale = 0.2 * max(param.shape) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(orthogonalize(nesterov), alpha=-group["lr"] * scale)
