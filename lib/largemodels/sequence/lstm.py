r"""Long short-term memory: gates decide what to write, what to keep and what to show.

Source: Hochreiter, Schmidhuber, "Long Short-Term Memory", 1997, https://doi.org/10.1162/neco.1997.9.8.1735; the forget
gate: Gers, Schmidhuber, Cummins, "Learning to Forget", 2000, https://doi.org/10.1162/089976600300015015.
"""

import torch
from torch import Tensor

from largemodels.foundations.activations import sigmoid, tanh


def lstm_gates(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Open or close the three gates and propose what could be written.

    One layer makes all four, in PyTorch's order: input gate i, forget gate f, candidate g, output gate o.

    Source: the formula of https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html.

    Differs from the paper: Hochreiter and Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735, have no forget
    gate, and squeeze the candidate into −2 to 2.

    Args:
        x: inputs of this step, shape `(B, C)`.
        h: states after the step before, shape `(B, D)`.
        w_ih: weights from input to gates, shape `(4D, C)`.
        w_hh: weights from state to gates, shape `(4D, D)`.
        b_ih: bias of the input's part, shape `(4D,)`.
        b_hh: bias of the state's part, shape `(4D,)`.

    Returns:
        i, f and o, each from 0 (shut) to 1 (open), and g, from −1 to 1, in the order i, f, g, o; each `(B, D)`.

    Examples:
        >>> x, h, bias = torch.ones(1, 3), torch.zeros(1, 2), torch.zeros(8)
        >>> i, f, g, o = lstm_gates(x, h, torch.zeros(8, 3), torch.zeros(8, 2), with_forget_bias(bias, 2.0), bias)
        >>> i, f, g
        (tensor([[0.5000, 0.5000]]), tensor([[0.8808, 0.8808]]), tensor([[0., 0.]]))
    """
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=-1)  # each (B, D)
    return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)


def lstm_step(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Take one step: keep a share of the cell, add a share of the candidate, show a share.

    $c_t = f_t \odot c_{t-1} + i_t \odot g_t$ and $h_t = o_t \odot \tanh c_t$. The cell is scaled and added to;
    no matrix stands between $c_{t-1}$ and $c_t$.

    Source: Gers, Schmidhuber, Cummins, 2000, https://doi.org/10.1162/089976600300015015, the extended LSTM.

    Args:
        x: inputs of this step, shape `(B, C)`.
        h: states after the step before, shape `(B, D)`.
        c: cells after the step before, shape `(B, D)`.
        w_ih: weights from input to gates, shape `(4D, C)`.
        w_hh: weights from state to gates, shape `(4D, D)`.
        b_ih: bias of the input's part, shape `(4D,)`.
        b_hh: bias of the state's part, shape `(4D,)`.

    Returns:
        States and cells after this step, each of shape `(B, D)`.

    Examples:
        >>> x, h, c, b = torch.ones(1, 3), torch.zeros(1, 2), torch.tensor([[8.0, -4.0]]), torch.zeros(8)
        >>> h, c = lstm_step(x, h, c, torch.zeros(8, 3), torch.zeros(8, 2), b, b)
        >>> c
        tensor([[ 4., -2.]])
    """
    i, f, g, o = lstm_gates(x, h, w_ih, w_hh, b_ih, b_hh)
    c = f * c + i * g  # (B, D)
    return o * tanh(c), c  # (B, D) each


def lstm(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Read sequences from left to right, carrying a state and a cell.

    The parameters come in the order of `torch.nn.LSTM(C, D).parameters()`.

    Source: Hochreiter, Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735; Gers et al., 2000,
    https://doi.org/10.1162/089976600300015015.

    Args:
        x: inputs, batch first, shape `(B, T, C)`.
        w_ih: weights from input to gates, shape `(4D, C)`.
        w_hh: weights from state to gates, shape `(4D, D)`.
        b_ih: bias of the input's part, shape `(4D,)`.
        b_hh: bias of the state's part, shape `(4D,)`.
        h0: states before the first step, shape `(B, D)`; zeros when None.
        c0: cells before the first step, shape `(B, D)`; zeros when None.

    Returns:
        States and cells after every step, each of shape `(B, T, D)`; PyTorch returns only the last cell.

    Raises:
        ValueError: if shapes do not fit, or a sequence is empty.

    Examples:
        >>> x, b = torch.zeros(2, 3, 1), torch.zeros(8)
        >>> states, cells = lstm(x, torch.ones(8, 1), torch.zeros(8, 2), b, b, c0=torch.full((2, 2), 8.0))
        >>> states.shape, cells[0, :, 0]
        (torch.Size([2, 3, 2]), tensor([4., 2., 1.]))
    """
    _check_shapes(x, w_ih, w_hh)
    h, c = (_first(state, x, w_hh) for state in (h0, c0))
    states, cells = [], []
    for t in range(x.shape[1]):
        h, c = lstm_step(x[:, t], h, c, w_ih, w_hh, b_ih, b_hh)  # (B, D) each
        states.append(h)
        cells.append(c)
    return torch.stack(states, dim=1), torch.stack(cells, dim=1)  # (B, T, D) each


def with_forget_bias(bias: Tensor, value: float) -> Tensor:
    r"""Return a copy of a bias vector whose forget quarter is set to one value.

    With everything else at 0 the cell keeps $\sigma(\text{value})$ of itself at each step: 0.5 for 0, 0.73 for 1, 0.95
    for 3. The two bias vectors are added, so set one and leave the other at 0.

    Source: Gers, Schmidhuber, Cummins, 2000, https://doi.org/10.1162/089976600300015015; measured: Jozefowicz, Zaremba,
    Sutskever, 2015, https://proceedings.mlr.press/v37/jozefowicz15.html.

    Args:
        bias: in the order i, f, g, o, shape `(4D,)`.
        value: what the forget gates get, before the sigmoid.

    Returns:
        The new vector, shape `(4D,)`.

    Raises:
        ValueError: if the length is not a multiple of 4.

    Examples:
        >>> with_forget_bias(torch.zeros(12), 1.0)
        tensor([0., 0., 0., 1., 1., 1., 0., 0., 0., 0., 0., 0.])
    """
    if bias.ndim != 1 or len(bias) % 4:
        raise ValueError(f"bias must have shape (4D,), got {tuple(bias.shape)}; lay i, f, g and o end to end")
    i, _, g, o = bias.chunk(4)
    return torch.cat([i, torch.full_like(i, value), g, o])  # (4D,)


def lstm_jacobians(
    x: Tensor,
    states: Tensor,
    cells: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
) -> Tensor:
    r"""Return how state and cell answer to a nudge of the state and cell before.

    What is carried is the pair $(h, c)$, laid end to end. The part from cell to cell is $\mathrm{diag}(f_t)$: no
    weights, no slope of an activation.

    Source: the derivative of `lstm_step`; for the cell: Hochreiter, Schmidhuber, 1997,
    https://doi.org/10.1162/neco.1997.9.8.1735, where f is 1 and the path is called the constant error carousel.

    Args:
        x: inputs of one sequence, shape `(T, C)`.
        states: its states, shape `(T, D)`.
        cells: its cells, shape `(T, D)`.
        w_ih: weights from input to gates, shape `(4D, C)`.
        w_hh: weights from state to gates, shape `(4D, D)`.
        b_ih: bias of the input's part, shape `(4D,)`.
        b_hh: bias of the state's part, shape `(4D,)`.
        h0: state before the first step, shape `(D,)`; zeros when None.
        c0: cell before the first step, shape `(D,)`; zeros when None.

    Returns:
        One matrix for each step, row: after, column: before, h first, shape `(T, 2D, 2D)`.

    Examples:
        >>> x, b = torch.zeros(3, 2), torch.zeros(4)
        >>> params = torch.zeros(4, 2), torch.zeros(4, 1), with_forget_bias(b, 3.0), b
        >>> states, cells = lstm(x[None], *params)
        >>> lstm_jacobians(x, states[0], cells[0], *params)[0]
        tensor([[0.0000, 0.4763],
                [0.0000, 0.9526]])
    """
    zero = torch.zeros_like(states[:1])
    h = torch.cat([zero if h0 is None else h0[None], states[:-1]])  # (T, D): before each step
    c = torch.cat([zero if c0 is None else c0[None], cells[:-1]])  # (T, D)
    i, f, g, o = lstm_gates(x, h, w_ih, w_hh, b_ih, b_hh)  # (T, D) each
    w_i, w_f, w_g, w_o = (w[None] for w in w_hh.chunk(4))  # (1, D, D) each
    shown = tanh(cells)  # (T, D)
    slopes = (g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), shown * o * (1 - o), o * (1 - shown**2))
    s_i, s_f, s_g, s_o, s_c = (slope[..., None] for slope in slopes)  # (T, D, 1) each
    c_from_h, c_from_c = s_i * w_i + s_f * w_f + s_g * w_g, torch.diag_embed(f)  # (T, D, D) each
    h_from_h, h_from_c = s_o * w_o + s_c * c_from_h, s_c * c_from_c  # (T, D, D) each
    return torch.cat([torch.cat([h_from_h, h_from_c], -1), torch.cat([c_from_h, c_from_c], -1)], -2)  # (T, 2D, 2D)


def _check_shapes(x: Tensor, w_ih: Tensor, w_hh: Tensor) -> None:
    D = w_hh.shape[-1]
    if x.ndim != 3 or x.shape[1] < 1 or w_ih.shape != (4 * D, x.shape[2]) or w_hh.shape != (4 * D, D):
        raise ValueError(
            f"x must be (B, T, C), w_ih (4D, C) and w_hh (4D, D) with T at least 1, got {tuple(x.shape)}, "
            f"{tuple(w_ih.shape)} and {tuple(w_hh.shape)}; put the batch first and stack the four gates"
        )


def _first(state: Tensor | None, x: Tensor, w_hh: Tensor) -> Tensor:
    shape = len(x), w_hh.shape[-1]
    if state is None:
        return x.new_zeros(shape)  # (B, D)
    if state.shape != shape:
        raise ValueError(f"h0 and c0 must be (B, D) = {shape}, got {tuple(state.shape)}; give each sequence one state")
    return state
