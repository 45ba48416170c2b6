r"""Convolution and pooling: one small window of weights for every place of an image.

Images have the shape `(B, C, H, W)`, as in PyTorch: batch, channels, rows, columns.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
https://doi.org/10.1109/5.726791, section II.
"""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from largemodels._checkpoints import ModelError, read_checkpoint
from largemodels.foundations.activations import relu, softmax
from largemodels.foundations.layer import he_normal
from largemodels.foundations.mlp import layer_outputs


def output_size(n: int, k: int, stride: int = 1, padding: int = 0) -> int:
    r"""Count the places of a window along one axis: $\lfloor (n + 2p - k)/s \rfloor + 1$.

    Source: Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016,
    https://arxiv.org/abs/1603.07285, relationship 6; for pooling, relationship 7.

    Args:
        n: length of the axis, in pixels.
        k: length of the window, in pixels.
        stride: step from one place to the next, in pixels.
        padding: zeros added at each of the two ends, in pixels.

    Returns:
        The number of places, at least 1.

    Raises:
        ValueError: if a number is out of range, or the window does not fit.

    Examples:
        >>> output_size(28, 5), output_size(28, 5, padding=2), output_size(28, 3, stride=2)
        (24, 28, 13)
    """
    if min(n, k, stride) < 1 or padding < 0:
        raise ValueError(f"n, k, stride must be at least 1 and padding at least 0, got {n}, {k}, {stride}, {padding}")
    if k > n + 2 * padding:
        raise ValueError(f"the window must fit into the image, got {k} in {n + 2 * padding} pixels; pad or shrink it")
    return (n + 2 * padding - k) // stride + 1


def windows(x: Tensor, size: tuple[int, int], stride: int = 1, padding: int = 0) -> Tensor:
    """Show every place of an image as a window of its own; overlapping windows share memory.

    Args:
        x: images, shape `(B, C, H, W)`.
        size: rows and columns of a window, in pixels.
        stride: step from one window to the next, in pixels.
        padding: zeros added on each side, in pixels.

    Returns:
        A view, shape `(B, C, Ho, Wo, KH, KW)`, where `Ho` and `Wo` are `output_size` of `H` and `W`.

    Raises:
        ValueError: if `x` has not four axes, or the window does not fit.

    Examples:
        >>> windows(torch.arange(12.0).view(1, 1, 3, 4), (2, 3))[0, 0, 1, 0]
        tensor([[ 4.,  5.,  6.],
                [ 8.,  9., 10.]])
    """
    if x.ndim != 4:
        raise ValueError(f"x must have the shape (B, C, H, W), got {tuple(x.shape)}; add the missing axes with x[None]")
    for n, k in zip(x.shape[2:], size, strict=True):
        output_size(n, k, stride, padding)
    x = F.pad(x, [padding] * 4) if padding else x  # (B, C, H + 2p, W + 2p)
    return x.unfold(2, size[0], stride).unfold(3, size[1], stride)


def conv2d_loops(x: Tensor, W: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    r"""Slide the kernels over the images, place after place: the definition, to be read.

    $y_{oij} = \sum_{c,u,v} W_{ocuv}\, x_{c,\,is+u,\,js+v}$. `conv2d` gives the same, only sooner.

    Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, https://www.deeplearningbook.org/contents/convnets.html,
    equation (9.8), which counts from 1.

    Args:
        x: images, shape `(B, C, H, W)`.
        W: kernels, shape `(Co, C, KH, KW)`: one for each output channel.
        stride: step from one place to the next, in pixels.
        padding: zeros added on each side, in pixels.

    Returns:
        Maps, shape `(B, Co, Ho, Wo)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> conv2d_loops(torch.tensor([[[[1.0, 2.0, 0.0, 5.0]]]]), torch.tensor([[[[1.0, -1.0]]]]))
        tensor([[[[-1.,  2., -5.]]]])
    """
    _check_kernels(x, W, None)
    Co, _, KH, KW = W.shape
    Ho, Wo = (output_size(n, k, stride, padding) for n, k in zip(x.shape[2:], (KH, KW), strict=True))
    x = F.pad(x, [padding] * 4)  # (B, C, H + 2p, W + 2p)
    y = x.new_zeros(len(x), Co, Ho, Wo)
    for i in range(Ho):
        for j in range(Wo):
            top, left = i * stride, j * stride
            window = x[:, None, :, top : top + KH, left : left + KW]  # (B, 1, C, KH, KW)
            y[:, :, i, j] = (W * window).sum((2, 3, 4))  # (B, Co)
    return y


def conv2d(x: Tensor, W: Tensor, b: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    r"""Slide the kernels over the images, all places at once.

    The formula of `conv2d_loops` and a bias; strictly a cross-correlation, since the kernel is not flipped. Every place
    becomes a row of numbers, so that one matrix product serves them all (“im2col”).

    Source: Chellapilla, Puri, Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006,
    https://inria.hal.science/inria-00112631.

    Args:
        x: images, shape `(B, C, H, W)`.
        W: kernels, shape `(Co, C, KH, KW)`: one for each output channel.
        b: biases, shape `(Co,)`; None for no bias.
        stride: step from one place to the next, in pixels.
        padding: zeros added on each side, in pixels.

    Returns:
        Maps, shape `(B, Co, Ho, Wo)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> conv2d(torch.randn(2, 3, 7, 9), torch.randn(4, 3, 5, 2), stride=2, padding=1).shape
        torch.Size([2, 4, 3, 5])
    """
    _check_kernels(x, W, b)
    Co, C, KH, KW = W.shape
    places = windows(x, (KH, KW), stride, padding)  # (B, C, Ho, Wo, KH, KW)
    B, _, Ho, Wo, _, _ = places.shape
    rows = places.permute(0, 2, 3, 1, 4, 5).reshape(B * Ho * Wo, C * KH * KW)  # copies each pixel up to KH·KW times
    y = (rows @ W.reshape(Co, -1).mT).view(B, Ho, Wo, Co).permute(0, 3, 1, 2)  # (B, Co, Ho, Wo)
    return y if b is None else y + b[:, None, None]


def max_pool2d(x: Tensor, size: int, stride: int | None = None) -> Tensor:
    """Keep the largest number of each window, channel by channel.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/convnets.html, section 9.3.

    Args:
        x: images, shape `(B, C, H, W)`.
        size: side of the square window, in pixels.
        stride: step from one window to the next, in pixels; None for `size`, so that no two overlap.

    Returns:
        Maps, shape `(B, C, Ho, Wo)`; rows and columns at the end that fill no window are dropped.

    Raises:
        ValueError: if `x` has not four axes, or the window does not fit.

    Examples:
        >>> max_pool2d(torch.tensor([[[[1.0, 2.0, 0.0, 5.0, 9.0], [4.0, 3.0, 0.0, 0.0, 9.0]]]]), 2)
        tensor([[[[4., 5.]]]])
    """
    return windows(x, (size, size), size if stride is None else stride).flatten(4).max(-1).values  # (B, C, Ho, Wo)


def avg_pool2d(x: Tensor, size: int, stride: int | None = None) -> Tensor:
    """Take the mean of each window, channel by channel.

    Source: LeCun et al., 1998, https://doi.org/10.1109/5.726791, section II, with a trainable factor and bias.

    Args:
        x: images, shape `(B, C, H, W)`.
        size: side of the square window, in pixels.
        stride: step from one window to the next, in pixels; None for `size`, so that no two overlap.

    Returns:
        Maps, shape `(B, C, Ho, Wo)`; rows and columns at the end that fill no window are dropped.

    Raises:
        ValueError: if `x` has not four axes, or the window does not fit.

    Examples:
        >>> avg_pool2d(torch.tensor([[[[1.0, 2.0, 0.0, 5.0, 9.0], [4.0, 3.0, 0.0, 0.0, 9.0]]]]), 2)
        tensor([[[[2.5000, 1.2500]]]])
    """
    return windows(x, (size, size), size if stride is None else stride).mean((-2, -1))  # (B, C, Ho, Wo)


class LeNet(nn.Module):
    """A small convolutional net in the manner of LeNet-5 that reads handwritten digits.

    Source: LeCun et al., 1998, https://doi.org/10.1109/5.726791, section II. Differs from the paper: ReLU for tanh,
    maxima for trainable means, every second map sees all six first ones, softmax at the end, 28 by 28 padded by 2.
    """

    def __init__(self, seed: int = 0) -> None:
        """Draw the weights with `he_normal`; all biases begin at 0.

        Args:
            seed: decides the weights.
        """
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        kernels = (he_normal(25, 6, g).view(6, 1, 5, 5), he_normal(150, 16, g).view(16, 6, 5, 5))
        dense = [he_normal(n_in, n_out, g) for n_in, n_out in ((400, 120), (120, 84), (84, 10))]
        self.weights = nn.ParameterList(nn.Parameter(W) for W in (*kernels, *dense))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(W))) for W in (*kernels, *dense))

    @classmethod
    def from_checkpoint(cls, name: str | Path = "digits-lenet") -> Self:
        """Read a trained net and check its files.

        Args:
            name: the net that ships with the package, or a folder.

        Returns:
            The net, ready to answer.

        Raises:
            ModelError: if a file is missing or damaged, or holds something else than such a net.

        Examples:
            >>> model = LeNet.from_checkpoint("digits-lenet")
            >>> model.classify(torch.zeros(3, 28, 28)).shape
            torch.Size([3, 10])
        """
        model = cls()
        try:
            model.load_state_dict(read_checkpoint(name)[1])
        except RuntimeError as error:
            raise ModelError(name, "model.safetensors", "must hold the weights of a LeNet; fetch it again") from error
        return model.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Score the ten classes of each image.

        Args:
            images: shape `(B, 28, 28)`, 0 (paper) to 1 (ink).

        Returns:
            Logits, shape `(B, 10)`.

        Raises:
            ValueError: if the images have another shape.
        """
        h = max_pool2d(self._maps(images)[1], 2).flatten(1)  # (B, 400)
        params = list(zip(self.weights, self.biases, strict=True))
        return layer_outputs(h, params[2:])[-1]  # (B, 10)

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Say how sure the net is of each digit.

        Args:
            images: shape `(B, 28, 28)`, 0 to 1; digits drawn by hand go through `foundations.mlp.centre` first.

        Returns:
            Probabilities, shape `(B, 10)`; each row sums to 1.
        """
        return softmax(self(images))

    @torch.no_grad()
    def feature_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Show what the two convolutional layers find, after ReLU and before pooling.

        Args:
            images: shape `(B, 28, 28)`, 0 to 1.

        Returns:
            Two tensors, shapes `(B, 6, 28, 28)` and `(B, 16, 10, 10)`, never negative.
        """
        return self._maps(images)

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[1:] != (28, 28):
            raise ValueError(f"images must be (B, 28, 28), got {tuple(images.shape)}; give one image as image[None]")
        first = relu(conv2d(images[:, None], self.weights[0], self.biases[0], padding=2))  # (B, 6, 28, 28)
        second = relu(conv2d(max_pool2d(first, 2), self.weights[1], self.biases[1]))  # (B, 16, 10, 10)
        return first, second


def _check_kernels(x: Tensor, W: Tensor, b: Tensor | None) -> None:
    if x.ndim != 4 or W.ndim != 4:
        came = f"{tuple(x.shape)} and {tuple(W.shape)}"
        raise ValueError(f"x must be (B, C, H, W) and W (Co, C, KH, KW), got {came}; add the missing axes with x[None]")
    if x.shape[1] != W.shape[1]:
        raise ValueError(
            f"x must have the {W.shape[1]} channels that W expects on axis 1, got {x.shape[1]}; "
            "pictures stored as (B, H, W, C) need x.permute(0, 3, 1, 2)"
        )
    if b is not None and b.shape != W.shape[:1]:
        raise ValueError(f"b must have one number for each kernel, shape ({len(W)},), got {tuple(b.shape)}; flatten it")
