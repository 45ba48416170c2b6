r"""Neurons, fully connected layers, and stacks of them: weigh, add a bias, bend.

Weights have the shape `(n_out, n_in)`, as in PyTorch: one row for each neuron.

Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986,
https://doi.org/10.1038/323533a0, equations (1), (6) and (7).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]
Params = Sequence[tuple[Tensor, Tensor]]  # (W, b) of each layer, first layer first


def affine(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    r"""Weigh the inputs and add a bias, for every row of a batch: $z = Wx + b$.

    The examples of a batch are rows, so the product is written the other way round: $Z = XW^\top + b$.

    Source: Rumelhart, Hinton, Williams, 1986, https://doi.org/10.1038/323533a0, equation (1); there the bias is the
    weight of an extra input that is always 1.

    Args:
        x: inputs, shape `(..., n_in)`.
        W: weights, one row for each neuron, shape `(n_out, n_in)`.
        b: biases, shape `(n_out,)`.

    Returns:
        The weighted sums, shape `(..., n_out)`.

    Raises:
        ValueError: if the shapes do not fit; a bias of another shape is never broadcast.

    Examples:
        >>> x, W = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, -2.0]])
        >>> affine(x, W, b=torch.tensor([0.5, -1.0, 1.0]))
        tensor([[-0.5000,  2.0000,  1.0000]])
    """
    _check_weights(x, W)
    if b.shape != W.shape[:1]:
        raise ValueError(
            f"b must have one number for each neuron, shape ({W.shape[0]},), got {tuple(b.shape)}; "
            "flatten it, broadcasting would add it along the wrong axis"
        )
    return x @ W.mT + b  # (..., n_out)


def affine_gradients(x: Tensor, W: Tensor, dz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Carry the slope of the loss from the sums $z$ back to inputs, weights and biases.

    With $\delta = \partial J/\partial Z$: $\partial J/\partial X = \delta W$, $\partial J/\partial W = \delta^\top X$,
    and $\partial J/\partial b$ is the sum of the rows of $\delta$. Weights and biases serve every example, so their
    slopes add up over the batch.

    Source: Rumelhart, Hinton, Williams, 1986, https://doi.org/10.1038/323533a0, equations (6) and (7).

    Args:
        x: the inputs that went in, shape `(..., n_in)`.
        W: weights, shape `(n_out, n_in)`.
        dz: slope of the loss for each sum, shape `(..., n_out)`.

    Returns:
        Three gradients: for `x`, shape `(..., n_in)`; for `W`, shape `(n_out, n_in)`; for `b`, shape `(n_out,)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> x, W = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, -2.0]])
        >>> affine_gradients(x, W, dz=torch.tensor([[2.0, 1.0, 1.0]]))
        (tensor([[3., 5.]]), tensor([[ 4., -2.],
                [ 2., -1.],
                [ 2., -1.]]), tensor([2., 1., 1.]))
    """
    _check_weights(x, W)
    if dz.shape != (*x.shape[:-1], W.shape[0]):
        raise ValueError(
            f"dz must have the shape of the sums, {(*x.shape[:-1], W.shape[0])}, got {tuple(dz.shape)}; "
            "give one slope for each neuron and example"
        )
    rows, slopes = x.reshape(-1, x.shape[-1]), dz.reshape(-1, dz.shape[-1])  # (B, n_in), (B, n_out)
    return dz @ W, slopes.mT @ rows, slopes.sum(0)


def dense(x: Tensor, W: Tensor, b: Tensor, f: Activation) -> Tensor:
    r"""Apply one fully connected layer: $y = f(Wx + b)$.

    With a single row in `W` it is one neuron.

    Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016,
    https://www.deeplearningbook.org/contents/mlp.html, section 6.4.

    Differs from the book: it stores the weights as `(n_in, n_out)` and writes $W^\top x$.

    Args:
        x: inputs, shape `(..., n_in)`.
        W: weights, shape `(n_out, n_in)`.
        b: biases, shape `(n_out,)`.
        f: the activation, a function that keeps the shape.

    Returns:
        The outputs, shape `(..., n_out)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> from largemodels.foundations.activations import relu
        >>> W = torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, -2.0]])
        >>> dense(torch.tensor([2.0, -1.0]), W, torch.tensor([0.5, -1.0, 1.0]), relu)
        tensor([0., 2., 1.])
    """
    return f(affine(x, W, b))  # (..., n_out)


def predict(x: Tensor, params: Params, f: Activation) -> Tensor:
    r"""Send a batch through a stack of layers: $\hat y = g_\theta(x)$.

    Every layer but the last ends with `f`; the last one is left as it is, so that its output may be any number:
    a prediction, or logits for a softmax.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.4.

    Args:
        x: inputs, shape `(..., n_0)`.
        params: $\theta$, weights `(n_1, n_0)`, `(n_2, n_1)` … and biases `(n_1,)`, `(n_2,)` …, as pairs.
        f: the activation between two layers.

    Returns:
        The predictions, shape `(..., n_L)`: one row for each row of `x`.

    Raises:
        ValueError: if there is no layer, or the shapes do not fit.

    Examples:
        >>> from largemodels.foundations.activations import relu
        >>> hidden = torch.tensor([[1.0, -1.0], [0.0, 1.0], [0.0, -1.0]]), torch.zeros(3)
        >>> last = torch.tensor([[1.0, 1.0, -1.0]]), torch.zeros(1)
        >>> x = torch.tensor([[3.0, 5.0], [5.0, 3.0], [-2.0, 0.0], [-2.0, -7.0]])
        >>> predict(x, [hidden, last], relu).flatten()  # the larger of two numbers
        tensor([ 5.,  5.,  0., -2.])
    """
    if not params:
        raise ValueError("params must hold at least one layer, got none; give a list of pairs (W, b)")
    *hidden, last = params
    for W, b in hidden:
        x = dense(x, W, b, f)  # (..., n_l)
    return affine(x, *last)  # (..., n_L)


def collapse(params: Params) -> tuple[Tensor, Tensor]:
    r"""Multiply out a stack that has no activation: it was a single layer all along.

    $W_2(W_1 x + b_1) + b_2 = (W_2 W_1)x + (W_2 b_1 + b_2)$.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.1.

    Args:
        params: weights `(n_1, n_0)`, `(n_2, n_1)` … and biases `(n_1,)`, `(n_2,)` …, as pairs.

    Returns:
        Two tensors: the weights, shape `(n_L, n_0)`, and the biases, shape `(n_L,)`, of that one layer.

    Raises:
        ValueError: if there is no layer, or the shapes do not fit.

    Examples:
        >>> first = torch.tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0, 0.0])
        >>> second = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([-1.0])
        >>> collapse([first, second])
        (tensor([[3., 7.]]), tensor([2.]))
    """
    if not params:
        raise ValueError("params must hold at least one layer, got none; give a list of pairs (W, b)")
    (W, b), *rest = params
    for W_next, b_next in rest:
        _check_weights(b, W_next)
        W, b = W_next @ W, W_next @ b + b_next  # (n_l, n_0), (n_l,)
    return W, b


def xavier_uniform(n_in: int, n_out: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Draw weights with variance $2/(n_{in} + n_{out})$, for layers with tanh.

    Signals going forward keep their spread if the variance is $1/n_{in}$, gradients going back if it is $1/n_{out}$;
    the compromise suits activations that are straight around 0. Drawn evenly between $\pm\sqrt{6/(n_{in} + n_{out})}$.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    https://proceedings.mlr.press/v9/glorot10a.html, equations (12) and (16).

    Args:
        n_in: number of inputs, at least 1.
        n_out: number of neurons, at least 1.
        generator: source of the random numbers; None takes PyTorch's own.

    Returns:
        Weights, shape `(n_out, n_in)`.

    Raises:
        ValueError: if a number is below 1.

    Examples:
        >>> W = xavier_uniform(100, 200, torch.Generator().manual_seed(0))
        >>> W.shape, f"variance {W.var():.4f}, wanted {2 / 300:.4f}"
        (torch.Size([200, 100]), 'variance 0.0067, wanted 0.0067')
    """
    _check_sizes(n_in, n_out)
    limit = (6 / (n_in + n_out)) ** 0.5  # an even draw from ±a has variance a²/3
    return torch.empty(n_out, n_in).uniform_(-limit, limit, generator=generator)


def he_normal(n_in: int, n_out: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Draw weights with variance $2/n_{in}$, for layers that are followed by ReLU.

    ReLU throws half of the signal away; the 2 makes up for it.

    Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, https://arxiv.org/abs/1502.01852, equation (10).

    Args:
        n_in: number of inputs, at least 1.
        n_out: number of neurons, at least 1.
        generator: source of the random numbers; None takes PyTorch's own.

    Returns:
        Weights, shape `(n_out, n_in)`.

    Raises:
        ValueError: if a number is below 1.

    Examples:
        >>> W = he_normal(100, 200, torch.Generator().manual_seed(0))
        >>> W.shape, f"variance {W.var():.4f}, wanted {2 / 100:.4f}"
        (torch.Size([200, 100]), 'variance 0.0202, wanted 0.0200')
    """
    _check_sizes(n_in, n_out)
    return torch.empty(n_out, n_in).normal_(0, (2 / n_in) ** 0.5, generator=generator)


def _check_weights(x: Tensor, W: Tensor) -> None:
    if W.ndim != 2 or x.shape[-1:] != W.shape[1:]:
        raise ValueError(
            f"W must be (n_out, n_in) and x (..., n_in), got {tuple(W.shape)} and {tuple(x.shape)}; "
            "if your W is (n_in, n_out), pass W.T"
        )


def _check_sizes(n_in: int, n_out: int) -> None:
    if n_in < 1 or n_out < 1:
        raise ValueError(f"a layer needs at least 1 input and 1 neuron, got {n_in} and {n_out}; give both sizes")
