r"""The position-wise feed-forward network: two layers for each position alone.

Weights have the shape `(n_out, n_in)` as in PyTorch, so the paper's $xW_1$ is `x @ W1.mT` here.

Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, section 3.3.
"""

from torch import Tensor

from largemodels.foundations.activations import relu, sigmoid
from largemodels.foundations.layer import Activation, affine, predict


def feed_forward(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, f: Activation = relu) -> Tensor:
    r"""Widen each position's vector, bend it, and bring it back to its width.

    $\mathrm{FFN}(x) = \max(0, xW_1 + b_1)\,W_2 + b_2$. No position sees another: the same two layers serve all of
    them. BERT and GPT-2 have GELU instead of $\max(0, \cdot)$.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, equation (2); GELU: Devlin et al., 2018,
    https://arxiv.org/abs/1810.04805, appendix A.2.

    Differs from the paper: `W1` and `W2` are the paper's matrices transposed.

    Args:
        x: one vector for each position, shape `(..., T, C)`.
        W1: weights of the widening layer, shape `(n_hidden, C)`.
        b1: its biases, shape `(n_hidden,)`.
        W2: weights of the narrowing layer, shape `(C, n_hidden)`.
        b2: its biases, shape `(C,)`.
        f: the activation in between; `gelu` for BERT.

    Returns:
        One vector for each position, shape `(..., T, C)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[1.0, -2.0]])
        >>> W1, b1 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 1.0, 2.0])
        >>> W2, b2 = torch.tensor([[2.0, 1.0, 0.0], [-1.0, 0.0, 3.0]]), torch.tensor([0.0, -1.0])
        >>> feed_forward(x, W1, b1, W2, b2)
        tensor([[2., 1.]])
    """
    return predict(x, [(W1, b1), (W2, b2)], f)  # (..., T, C)


def swish(x: Tensor) -> Tensor:
    r"""Let a number open its own gate: $x\,\sigma(x)$.

    A smooth relative of ReLU, also called SiLU.

    Source: Ramachandran, Zoph, Le, "Searching for Activation Functions", 2017, https://arxiv.org/abs/1710.05941,
    with $\beta = 1$.

    Args:
        x: any shape, floating point.

    Returns:
        The same shape, no value below −0.28.

    Examples:
        >>> import torch
        >>> swish(torch.tensor([-1.2785, 0.0, 100.0]))
        tensor([ -0.2785,   0.0000, 100.0000])
    """
    return x * sigmoid(x)


def swiglu(x: Tensor, W: Tensor, V: Tensor, W2: Tensor) -> Tensor:
    r"""Multiply one widened copy of the vector by a gate made of another, then narrow.

    $\mathrm{FFN}_\mathrm{SwiGLU}(x) = (\mathrm{Swish}(xW) \otimes xV)\,W_2$, without biases. LLaMA calls the three
    matrices gate, up and down. Three matrices instead of two: `n_hidden` is cut to 2/3 to keep the parameters equal.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020, https://arxiv.org/abs/2002.05202, equation (6).

    Differs from the paper: the matrices are the paper's, transposed.

    Args:
        x: one vector for each position, shape `(..., T, C)`.
        W: weights of the gate, shape `(n_hidden, C)`.
        V: weights of what passes through the gate, shape `(n_hidden, C)`.
        W2: weights of the narrowing layer, shape `(C, n_hidden)`.

    Returns:
        One vector for each position, shape `(..., T, C)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[2.0, 1.0]])
        >>> W, V = torch.tensor([[0.0, 0.0], [50.0, 0.0], [1.0, -2.0]]), torch.ones(3, 2)
        >>> swiglu(x, W, V, W2=torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.01, 0.0]]))  # gates 0, 100, 0
        tensor([[0., 3.]])
    """
    if W.shape != V.shape:
        raise ValueError(
            f"W and V must have the same shape (n_hidden, C), got {tuple(W.shape)} and {tuple(V.shape)}; "
            "the gate needs one value for each number that passes"
        )
    none = x.new_zeros(W.shape[0])
    hidden = swish(affine(x, W, none)) * affine(x, V, none)  # (..., T, n_hidden)
    return affine(hidden, W2, x.new_zeros(W2.shape[0]))  # (..., T, C)


def block_parameters(C: int, n_hidden: int, gated: bool = False) -> dict[str, int]:
    r"""Count the parameters of one encoder block, part by part.

    Attention has four matrices of $C^2$, the feed-forward network $2\,C\,n_\mathrm{hidden}$; with
    $n_\mathrm{hidden} = 4C$ that is $8C^2$, twice as much.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, sections 3.2.2 and 3.3; gated: Shazeer, 2020,
    https://arxiv.org/abs/2002.05202, equation (6).

    Args:
        C: width of each position's vector, at least 1.
        n_hidden: width inside the feed-forward network, at least 1.
        gated: count SwiGLU's three matrices without biases, instead of two with biases.

    Returns:
        Number of parameters of attention, the feed-forward network, and the two layer normalisations.

    Raises:
        ValueError: if a width is below 1.

    Examples:
        >>> block_parameters(512, 2048)
        {'attention': 1050624, 'feed_forward': 2099712, 'layer_norm': 2048}
    """
    if C < 1 or n_hidden < 1:
        raise ValueError(f"C and n_hidden must be at least 1, got {C} and {n_hidden}; give both widths")
    hidden = 3 * C * n_hidden if gated else 2 * C * n_hidden + n_hidden + C
    return {"attention": 4 * (C * C + C), "feed_forward": hidden, "layer_norm": 2 * 2 * C}
