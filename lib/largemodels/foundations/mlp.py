r"""The multi-layer perceptron: fully connected layers in a row, reading digits.

784 pixels, two hidden layers of 128 neurons, 10 classes: 784-128-128-10.

Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986,
https://doi.org/10.1038/323533a0; digits: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, https://doi.org/10.1109/5.726791.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from largemodels._checkpoints import ModelError, read_checkpoint
from largemodels.foundations.activations import relu, softmax
from largemodels.foundations.layer import Params, affine, he_normal

SIZES = (784, 128, 128, 10)
SIDE, BOX = 28, 20  # pixels


def layer_outputs(x: Tensor, params: Params) -> list[Tensor]:
    r"""Send a batch through the net and keep what every layer gives.

    $h_l = \mathrm{ReLU}(W_l h_{l-1} + b_l)$ for the hidden layers, with $h_0 = x$; the last layer has no activation:
    $z = W_L h_{L-1} + b_L$ are the logits.

    Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, https://www.deeplearningbook.org/contents/mlp.html,
    section 6.4; ReLU: Glorot, Bordes, Bengio, "Deep Sparse Rectifier Neural Networks", 2011,
    https://proceedings.mlr.press/v15/glorot11a.html.

    Args:
        x: inputs, shape `(B, n_0)`.
        params: weights `(n_1, n_0)`, `(n_2, n_1)` … and biases `(n_1,)`, `(n_2,)` …, as pairs.

    Returns:
        One tensor for each layer, shapes `(B, n_1)` … `(B, n_L)`: the hidden layers, then the logits.

    Raises:
        ValueError: if there is no layer, or the shapes do not fit.

    Examples:
        >>> hidden = torch.tensor([[1.0, -1.0], [0.0, 1.0], [0.0, -1.0]]), torch.zeros(3)
        >>> last = torch.tensor([[1.0, 1.0, -1.0]]), torch.zeros(1)
        >>> layer_outputs(torch.tensor([[3.0, 5.0]]), [hidden, last])
        [tensor([[0., 5., 0.]]), tensor([[5.]])]
    """
    if not params:
        raise ValueError("params must hold at least one layer, got none; give a list of pairs (W, b)")
    *hidden, last = params
    outputs = []
    for W, b in hidden:
        x = relu(affine(x, W, b))  # (B, n_l)
        outputs.append(x)
    return [*outputs, affine(x, *last)]  # (B, n_L)


def parameter_count(sizes: Sequence[int]) -> int:
    r"""Count weights and biases: $\sum_l (n_{l-1} + 1)\, n_l$.

    Source: follows from $y = f(Wx + b)$ with `W` of shape `(n_out, n_in)`; Rumelhart, Hinton, Williams, 1986,
    https://doi.org/10.1038/323533a0, equation (1).

    Args:
        sizes: width of the input, of each hidden layer, of the output.

    Returns:
        The number of parameters.

    Raises:
        ValueError: if there are fewer than two sizes, or one is below 1.

    Examples:
        >>> parameter_count([784, 128, 128, 10])
        118282
    """
    _check_sizes(sizes)
    return sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:], strict=False))


class Mlp(nn.Module):
    """A net of fully connected layers with ReLU between them, and softmax at the end.

    The weights are drawn as He et al. do for ReLU; all biases begin at 0.

    Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, https://arxiv.org/abs/1502.01852, equation (10).

    Args:
        sizes: width of the input, of each hidden layer, of the output.
        seed: decides the weights.

    Raises:
        ValueError: if there are fewer than two sizes, or one is below 1.

    Attributes:
        sizes: the widths.
        weights: one matrix for each layer, `(n_out, n_in)`.
        biases: one vector for each layer, `(n_out,)`.

    Examples:
        >>> model = Mlp((784, 128, 128, 10), seed=0)
        >>> len(model.weights), sum(p.numel() for p in model.parameters())
        (3, 118282)
        >>> model.classify(torch.rand(5, 28, 28)).shape
        torch.Size([5, 10])
    """

    def __init__(self, sizes: Sequence[int] = SIZES, seed: int = 0) -> None:
        super().__init__()
        _check_sizes(sizes)
        g = torch.Generator().manual_seed(seed)
        pairs = list(zip(sizes, sizes[1:], strict=False))
        self.sizes = tuple(sizes)
        self.weights = nn.ParameterList(nn.Parameter(he_normal(n_in, n_out, g)) for n_in, n_out in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n_out)) for _, n_out in pairs)

    @classmethod
    def from_checkpoint(cls, name: str | Path = "digits-mlp") -> Self:
        """Read a trained net and check its files.

        Args:
            name: the net that ships with the package, or a folder.

        Returns:
            The net, ready to answer.

        Raises:
            ModelError: if a file is missing or damaged, or holds something else than such a net.

        Examples:
            >>> model = Mlp.from_checkpoint("digits-mlp")
            >>> image = torch.zeros(28, 28)
            >>> image[4:24, 13:16] = 1  # a vertical stroke
            >>> model.classify(image[None]).argmax().item()
            1
        """
        config, tensors = read_checkpoint(name)
        try:
            model = cls(config["sizes"])
            model.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            problem = "must hold the sizes of the layers, model.safetensors weights of these sizes; fetch both again"
            raise ModelError(name, "config.json", problem) from error
        return model.eval()

    @property
    def params(self) -> Params:
        """Weights and biases as pairs, first layer first."""
        return list(zip(self.weights, self.biases, strict=True))

    def forward(self, images: Tensor) -> Tensor:
        """Score the classes of each image.

        Args:
            images: shape `(B, ...)`; all axes but the first are laid out as one row of `sizes[0]` numbers, 0 to 1.

        Returns:
            Logits, shape `(B, n_L)`.

        Raises:
            ValueError: if an image does not have `sizes[0]` pixels.
        """
        return layer_outputs(self._rows(images), self.params)[-1]

    @torch.no_grad()
    def hidden(self, images: Tensor) -> list[Tensor]:
        """Show what the hidden layers make of each image.

        Args:
            images: shape `(B, ...)`, numbers from 0 to 1.

        Returns:
            One tensor for each hidden layer, shape `(B, n_l)`, never negative.

        Raises:
            ValueError: if an image does not have `sizes[0]` pixels.
        """
        return layer_outputs(self._rows(images), self.params)[:-1]

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Say how sure the net is of each class.

        Args:
            images: shape `(B, ...)`, numbers from 0 (paper) to 1 (ink); digits drawn by hand go through `centre` first.

        Returns:
            Probabilities, shape `(B, n_L)`; each row sums to 1.

        Raises:
            ValueError: if an image does not have `sizes[0]` pixels.
        """
        return softmax(self(images))

    def _rows(self, images: Tensor) -> Tensor:
        rows = images.flatten(1) if images.ndim > 1 else images
        if rows.ndim != 2 or rows.shape[1] != self.sizes[0]:
            raise ValueError(
                f"images must be (B, ...) with {self.sizes[0]} pixels each, got {tuple(images.shape)}; "
                "put a single image into a batch with image[None], resize others"
            )
        return rows


def centre(image: Tensor) -> Tensor:
    """Bring a drawing into the form of MNIST: 20 pixels large, balanced on the middle.

    The box around the ink is scaled until its longer side has 20 pixels, and laid into a field of 28 by 28 so that its
    centre of mass comes to the middle, rounded to whole pixels. Where it was drawn, and how large, no longer matters.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", http://yann.lecun.com/exdb/mnist/.

    Differs from the source: a lopsided drawing stops at the edge of the field instead of leaving it.

    Args:
        image: a drawing, shape `(H, W)`, 0 for paper to 1 for ink.

    Returns:
        The field, shape `(28, 28)`, 0 to 1.

    Raises:
        ValueError: if it is no picture of two axes, a number lies outside 0 to 1, or there is no ink.

    Examples:
        >>> drawing = torch.zeros(40, 60)
        >>> drawing[5:15, 50:55] = 1  # a block of 10 by 5 in a corner
        >>> field = centre(drawing)
        >>> field.shape, field.nonzero().amin(0).tolist(), field.nonzero().amax(0).tolist()
        (torch.Size([28, 28]), [4, 10], [23, 19])
    """
    _check_image(image)
    rows, columns = image.sum(1).nonzero().flatten(), image.sum(0).nonzero().flatten()
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # (h, w)
    size = [max(1, round(side * BOX / max(cut.shape))) for side in cut.shape]
    small = F.interpolate(cut[None, None], size, mode="bilinear", antialias=True)[0, 0]  # longer side: 20
    place = []
    for axis in (0, 1):
        mass = small.sum(1 - axis)  # ink of each row, then of each column
        middle = float(mass @ torch.arange(len(mass), dtype=mass.dtype) / mass.sum())
        # MNIST counts pixels from 0 and puts the centre of mass on pixel 14.
        place.append(min(max(round(SIDE / 2 - middle), 0), SIDE - len(mass)))
    top, left = place
    field = torch.zeros(SIDE, SIDE, dtype=image.dtype)
    field[top : top + size[0], left : left + size[1]] = small
    return field.clamp(0, 1)


def _check_sizes(sizes: Sequence[int]) -> None:
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must name input and output, each at least 1, got {list(sizes)}; write (784, 128, 10)")


def _check_image(image: Tensor) -> None:
    if image.ndim != 2 or not image.is_floating_point():
        raise ValueError(
            f"image must be a floating-point picture of shape (H, W), got {image.dtype} of {tuple(image.shape)}; "
            "give one picture without a colour axis"
        )
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise ValueError("image must hold numbers from 0 (paper) to 1 (ink), got others; divide bytes by 255")
    if not bool(image.any()):
        raise ValueError("image must hold some ink, got a blank one; draw a digit first")
