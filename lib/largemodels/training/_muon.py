"""Muon: an optimizer that gives every direction of a weight matrix a step of the same size."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

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
            self.step_matrices(group)

    def step_matrices(self, group: dict[str, Any]) -> None:
        """Update the matrices of one group.

        Args:
            group: One of `param_groups`.
        """
        for param in group["params"]:
            momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
            momentum.lerp_(param.grad, 1 - group["momentum"])
            nesterov = param.grad.lerp(momentum, group["momentum"])
            scale = 0.2 * max(param.shape) ** 0.5
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.add_(orthogonalize(nesterov), alpha=-group["lr"] * scale)


class MuonAdamW(Muon):
    """Muon for the matrices inside the blocks, AdamW for embeddings, heads, norms and biases, as one optimizer.

    Args:
        model: a BERT or GPT of Transformers; the matrices of its repeated blocks are those in a `ModuleList`.
        lr: Learning rate of both; AdamW's step has about the same size.
        betas: Of AdamW.
        weight_decay: Of both, decoupled; vectors are not decayed.
    """

    def __init__(
        self, model: torch.nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.98), weight_decay: float = 0.01
    ) -> None:
        blocks = [stack for stack in model.modules() if isinstance(stack, torch.nn.ModuleList)]
        inside = {id(param) for stack in blocks for param in stack.parameters() if param.ndim == 2}
        groups: dict[str, list[Tensor]] = {"matrices": [], "tables": [], "vectors": []}
        for param in model.parameters():
            kind = "matrices" if id(param) in inside else "tables" if param.ndim > 1 else "vectors"
            groups[kind].append(param)
        super().__init__(groups.pop("matrices"), lr, weight_decay=weight_decay)
        for kind, params in groups.items():
            decay = weight_decay if kind == "tables" else 0.0
            self.add_param_group({"params": params, "betas": betas, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # learning-rate schedules ask for the name
        """Update every parameter that has a gradient."""
        matrices, *rest = self.param_groups
        self.step_matrices(matrices)
        for group in rest:
            params = [param for param in group["params"] if param.grad is not None]
            states = [self.state[param] for param in params]
            for param, state in zip(params, states, strict=True):
                if not state:
                    zeros = {name: torch.zeros_like(param) for name in ("mean", "square")}
                    state |= {"step": torch.zeros((), device=param.device), **zeros}
            adamw(
                params, [param.grad for param in params], [state["mean"] for state in states],
                [state["square"] for state in states], [], [state["step"] for state in states], amsgrad=False,
                beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], weight_decay=group["weight_decay"],
                eps=1e-8, maximize=False, fused=True,
            )  # fmt: skip
