r"""BERT's encoder made of the Transformer's parts: ids in, one vector for each token out.

It takes the weights of a Hugging Face BERT, tensor by tensor, and gives the same vectors as Transformers.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018, https://arxiv.org/abs/1810.04805.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from largemodels._checkpoints import ModelError, read_checkpoint
from largemodels.foundations.activations import gelu, gelu_tanh, relu, tanh
from largemodels.foundations.layer import dense
from largemodels.models import _bert_files
from largemodels.transformer.feed_forward import block_parameters, feed_forward
from largemodels.transformer.layer_norm import layer_norm, post_norm
from largemodels.transformer.multi_head_attention import MultiHeadAttention

ACTIVATIONS = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "relu": relu}


@dataclass(frozen=True)
class BertEncoderConfig:
    """The sizes of an encoder; by default those of BERT-base, uncased.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3; the numbers that the paper does not give
    are those of the published model, https://github.com/google-research/bert.

    Attributes:
        vocab_size: number of tokens, `V`.
        context_length: number of positions it has learned.
        n_segment: number of segments; BERT's input has two, A and B.
        n_embd: width `C` of a token's vector, a multiple of `n_head`.
        n_head: attention heads `H` of each block.
        n_layer: number of blocks.
        n_hidden: width inside the feed-forward layer.
        eps: added to the variance by layer normalisation.
        activation: "gelu", "gelu_new" or "gelu_pytorch_tanh" (both the tanh form), or "relu".
        pooler: whether there is a layer on top of the first token.

    Raises:
        ValueError: if a size is below 1, `n_embd` is no multiple of `n_head`, or the activation is unknown.

    Examples:
        >>> BertEncoderConfig(vocab_size=17, n_embd=6, n_head=3, n_layer=2, n_hidden=10).context_length
        512
    """

    vocab_size: int = 30_522
    context_length: int = 512
    n_segment: int = 2
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    n_hidden: int = 3072
    eps: float = 1e-12
    activation: str = "gelu"
    pooler: bool = True

    def __post_init__(self) -> None:
        _bert_files.check_sizes(self)
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}; choose one")


def parameter_count(config: BertEncoderConfig) -> dict[str, int]:
    r"""Count the parameters of the embeddings, the blocks and the pooler.

    $(V + T_\mathrm{max} + 2)\,C + 2C$, then what `block_parameters` gives for each block, then $C^2 + C$.

    Source: follows from Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3 and figure 2.

    Args:
        config: the sizes.

    Returns:
        Number of parameters of the embeddings with their normalisation, of all blocks, and of the pooler.

    Examples:
        >>> parameter_count(BertEncoderConfig())
        {'embeddings': 23837184, 'blocks': 85054464, 'pooler': 590592}
    """
    C, rows = config.n_embd, config.vocab_size + config.context_length + config.n_segment
    block = sum(block_parameters(C, config.n_hidden).values())
    return {"embeddings": rows * C + 2 * C, "blocks": config.n_layer * block, "pooler": config.pooler * (C * C + C)}


def join(first: Sequence[int], second: Sequence[int], cls_id: int, sep_id: int) -> tuple[Tensor, Tensor]:
    """Put two texts into BERT's form, `[CLS] first [SEP] second [SEP]`, or one.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3, "Input/Output Representations".

    Args:
        first: ids of the first text, without special tokens.
        second: ids of the second text; empty if there is none.
        cls_id: id of `[CLS]`.
        sep_id: id of `[SEP]`.

    Returns:
        Two tensors, each of shape `(1, T)`: the ids, and the segments, 0 up to the first `[SEP]`, 1 after it.

    Examples:
        >>> join([11, 12], [13], cls_id=2, sep_id=3)
        (tensor([[ 2, 11, 12,  3, 13,  3]]), tensor([[0, 0, 0, 0, 1, 1]]))
    """
    a, b = [cls_id, *first, sep_id], [*second, sep_id] if second else []
    return torch.tensor([a + b]), torch.tensor([[0] * len(a) + [1] * len(b)])  # (1, T) each


class BertBlock(nn.Module):
    """One block: every token looks at all, then thinks alone; each step is added, then normed.

    Source: Devlin et al., 2018, section 3, after Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1;
    GELU: Devlin et al., appendix A.2.

    Args:
        config: sizes of the model.

    Examples:
        >>> block = BertBlock(BertEncoderConfig(n_embd=6, n_head=3, n_hidden=10))
        >>> block(torch.randn(4, 5, 6)).shape
        torch.Size([4, 5, 6])
    """

    def __init__(self, config: BertEncoderConfig) -> None:
        super().__init__()
        C, hidden, self.eps, self.f = config.n_embd, config.n_hidden, config.eps, ACTIVATIONS[config.activation]
        self.attention = MultiHeadAttention(C, config.n_head)
        self.gamma_1, self.beta_1 = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        self.w_1, self.b_1 = nn.Parameter(torch.zeros(hidden, C)), nn.Parameter(torch.zeros(hidden))
        self.w_2, self.b_2 = nn.Parameter(torch.zeros(C, hidden)), nn.Parameter(torch.zeros(C))
        self.gamma_2, self.beta_2 = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Send all tokens through the block.

        Args:
            x: vectors, shape `(B, T, C)`.
            mask: True where looking is allowed, broadcastable to `(B, H, T, T)`; None allows everything.

        Returns:
            Vectors, shape `(B, T, C)`.
        """
        norm = partial(layer_norm, eps=self.eps)
        first = partial(norm, gamma=self.gamma_1, beta=self.beta_1)
        second = partial(norm, gamma=self.gamma_2, beta=self.beta_2)
        hidden = self.w_1, self.b_1, self.w_2, self.b_2
        x = post_norm(x, lambda h: self.attention(h, h, mask)[0], first)  # (B, T, C)
        return post_norm(x, lambda h: feed_forward(h, *hidden, self.f), second)


class BertEncoder(nn.Module):
    """A whole encoder: three embeddings summed, blocks that look both ways, a pooler.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3 and figure 2; the pooler and the first
    weights, a normal distribution cut at two deviations of 0.02: https://github.com/google-research/bert.
    Differs from the paper: no dropout.

    Args:
        config: sizes of the model.

    Examples:
        >>> model = BertEncoder(BertEncoderConfig(17, 11, n_embd=6, n_head=3, n_layer=2, n_hidden=10))
        >>> ids, segments = join([7, 8], [9], cls_id=2, sep_id=3)
        >>> states = model(ids, segments)
        >>> states.shape, model.pool(states[-1]).shape
        (torch.Size([3, 1, 6, 6]), torch.Size([1, 6]))
    """

    def __init__(self, config: BertEncoderConfig) -> None:
        super().__init__()
        self.config, C = config, config.n_embd
        self.words = nn.Parameter(torch.zeros(config.vocab_size, C))
        self.positions = nn.Parameter(torch.zeros(config.context_length, C))
        self.kinds = nn.Parameter(torch.zeros(config.n_segment, C))
        self.gamma, self.beta = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        self.blocks = nn.ModuleList(BertBlock(config) for _ in range(config.n_layer))
        if config.pooler:
            self.w_p, self.b_p = nn.Parameter(torch.zeros(C, C)), nn.Parameter(torch.zeros(C))
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)

    @classmethod
    def from_bert(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "BertEncoder":
        """Make the encoder of a Hugging Face BERT's configuration and weights.

        Args:
            config: content of `config.json`.
            tensors: the weights by the names of Transformers, with or without `bert.` in front, each of its own shape
                such as `(V, C)`, in any floating-point type, which is kept. Heads are left out.

        Returns:
            The encoder; nothing is shared with `tensors`.

        Raises:
            ValueError: naming a tensor that is missing, left over or of another shape, or a setting unknown here.
        """
        found = _bert_files.plain(tensors)
        pooler = any(name in found for name in _bert_files.POOLER)
        with torch.device("meta"):  # shapes only: nothing is drawn that is replaced at once
            model = cls(BertEncoderConfig(**_bert_files.sizes(config), pooler=pooler))
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        model.load_state_dict(_bert_files.ours(found, shapes), assign=True)
        return model.eval()

    @classmethod
    def from_pretrained(cls, source: str | Path = "bilingual-bert") -> "BertEncoder":
        """Load a shipped BERT, or any local folder of a Hugging Face BERT.

        Args:
            source: "bilingual-bert", "sentiment-bert-zh-en", or a folder with `config.json` and `model.safetensors`.

        Returns:
            The encoder, in float32.

        Raises:
            ModelError: an OSError that names what is missing, damaged or not BERT's.
        """
        config, tensors = read_checkpoint(source)
        try:
            return cls.from_bert(config, tensors)
        except ValueError as error:
            raise ModelError(source, "", str(error)) from error

    def embed(self, ids: Tensor, segments: Tensor) -> Tensor:
        """Add up what the token is, where it stands and to which text it belongs, then normalise.

        Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, figure 2.

        Args:
            ids: token ids, shape `(B, T)`.
            segments: segment of each token, shape `(B, T)`.

        Returns:
            Vectors, shape `(B, T, C)`.
        """
        T = ids.shape[1]
        x = self.words[ids] + self.positions[:T] + self.kinds[segments]  # (B, T, C)
        return layer_norm(x, self.gamma, self.beta, eps=self.config.eps)

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Read a batch and keep the vectors after every layer.

        Args:
            ids: token ids, shape `(B, T)`.
            segments: 0 for the first text, 1 for the second, shape `(B, T)`; None makes all of it the first.
            mask: boolean, False on filler, shape `(B, T)`; None if there is none.

        Returns:
            Vectors, shape `(n_layer + 1, B, T, C)`; those of `embed`, then of each block; a filler's mean nothing.

        Raises:
            TypeError: if ids are no tensor or the mask is not boolean.
            ValueError: if ids, segments and mask do not fit each other, the vocabulary, the context or the device.
        """
        _bert_files.check(ids, segments, mask, self.config, self.words.device)
        segments = torch.zeros_like(ids) if segments is None else segments
        allowed = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        states = [self.embed(ids, segments)]
        for block in self.blocks:
            states.append(block(states[-1], allowed))
        return torch.stack(states)  # (n_layer + 1, B, T, C)

    def pool(self, x: Tensor) -> Tensor:
        r"""Give the whole input one vector: $\tanh(W_p h_0 + b_p)$, $h_0$ being that of `[CLS]`.

        Source: https://github.com/google-research/bert, `modeling.py`, "pooler"; the paper does not mention it.

        Args:
            x: vectors of the last layer, shape `(B, T, C)`.

        Returns:
            Vectors, shape `(B, C)`.

        Raises:
            ValueError: if the model has no pooler.
        """
        if not self.config.pooler:
            raise ValueError("the weights must have a pooler, these have none; take x[:, 0] or the mean over tokens")
        return dense(x[:, 0], self.w_p, self.b_p, tanh)  # (B, C)
