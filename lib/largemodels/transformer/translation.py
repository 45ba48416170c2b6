r"""Sequence to sequence: a trained Transformer writes the best translation that it finds.

Source: Sutskever, Vinyals, Le, "Sequence to Sequence Learning with Neural Networks", 2014,
https://arxiv.org/abs/1409.3215, equation (1) and section 3.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from largemodels._checkpoints import read_checkpoint, shipped
from largemodels.foundations.losses import log_sum_exp
from largemodels.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START, END, UNKNOWN = "<start>", "<end>", "<unk>"
MAX_SOURCE = 60
NextToken = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that a search has found.

    Attributes:
        ids: tokens after the start token, the end token included if the sequence is finished.
        log_probability: of the whole sequence, in nats.
        score: by which the search ranks: the log-probability divided by the length penalty.

    Examples:
        >>> Hypothesis(ids=(4, 7, 2), log_probability=-1.5, score=-1.25).ids
        (4, 7, 2)
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float


def length_penalty(length: int, alpha: float) -> float:
    r"""Return what a search divides a log-probability by: $((5 + n)/6)^\alpha$.

    Every further token makes a log-probability smaller, so without it short sequences win.

    Source: Wu et al., "Google's Neural Machine Translation System", 2016, https://arxiv.org/abs/1609.08144, section 7.

    Args:
        length: $n$, tokens of the sequence, the end token included.
        alpha: 0 for no correction; 0.6 in Vaswani et al., 2017.

    Returns:
        The divisor, 1 at length 1.

    Examples:
        >>> length_penalty(7, alpha=1.0)
        2.0
    """
    return ((5 + length) / 6) ** alpha


def greedy_search(next_token: NextToken, start: int, end: int, max_length: int) -> Hypothesis:
    """Take the most probable token, again and again.

    Args:
        next_token: from beginnings `(N, t)` to log-probabilities of the token that follows, `(N, V)`.
        start: id of the start token, with which every beginning starts.
        end: id of the end token.
        max_length: most tokens after the start token, at least 1.

    Returns:
        The sequence; it ends with `end` unless `max_length` came first.

    Raises:
        ValueError: if `max_length` is below 1.

    Examples:
        >>> table = torch.tensor([[0.0, 0.1, 0.9], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]]).log()
        >>> greedy_search(lambda prefix: table[prefix[:, -1]], start=1, end=0, max_length=5).ids
        (2, 0)
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}; leave room for the end token")
    prefix, total = torch.tensor([[start]]), 0.0
    while prefix.shape[1] <= max_length and prefix[0, -1] != end:
        best, token = next_token(prefix).max(dim=-1)  # (1,), (1,)
        prefix, total = torch.cat((prefix, token[:, None]), dim=1), total + best.item()  # (1, t + 1)
    return Hypothesis(tuple(prefix[0, 1:].tolist()), total, total)


def beam_search(
    next_token: NextToken, start: int, end: int, max_length: int, *, beams: int = 5, alpha: float = 0.6
) -> list[Hypothesis]:
    """Keep the most probable beginnings at every step instead of one.

    One beam with `alpha` 0 is greedy search; as many beams as there are beginnings find the best sequence of all.

    Source: Sutskever et al., 2014, https://arxiv.org/abs/1409.3215, section 3.2.

    Args:
        next_token: from beginnings `(N, t)` to log-probabilities of the token that follows, `(N, V)`.
        start: id of the start token.
        end: id of the end token.
        max_length: most tokens after the start token, at least 1.
        beams: beginnings kept, at least 1.
        alpha: strength of the length penalty.

    Returns:
        Up to `beams` finished sequences, the best score first; if none is finished, the unfinished ones.

    Raises:
        ValueError: if `max_length` or `beams` is below 1.

    Examples:
        >>> table = torch.tensor([[0.0, 0.1, 0.9], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]]).log()
        >>> found = beam_search(lambda p: table[p[:, -1]], start=1, end=0, max_length=4, beams=2, alpha=0.0)
        >>> [hypothesis.ids for hypothesis in found]
        [(2, 0), (1, 2, 0)]
    """
    if max_length < 1 or beams < 1:
        raise ValueError(f"max_length and beams must be at least 1, got {max_length} and {beams}")
    alive, totals = torch.tensor([[start]]), torch.zeros(1)  # (N, 1), (N,)
    done: list[Hypothesis] = []
    for length in range(1, max_length + 1):
        scores = totals[:, None] + next_token(alive)  # (N, V)
        # One continuation of each beginning ends, so twice as many leave enough that go on.
        best, places = scores.flatten().topk(min(2 * beams, scores.numel()))  # (K,)
        rows, tokens = places // scores.shape[1], places % scores.shape[1]  # (K,), (K,)
        longer = torch.cat((alive[rows], tokens[:, None]), dim=1)  # (K, length + 1)
        possible, penalty = best > float("-inf"), length_penalty(length, alpha)
        ended = (possible & (tokens == end))[:beams].nonzero().flatten()
        going = (possible & (tokens != end)).nonzero().flatten()[:beams]
        done = sorted(done + [_hypothesis(longer[i], best[i], penalty) for i in ended], key=lambda h: -h.score)[:beams]
        alive, totals = longer[going], best[going]  # (N, length + 1), (N,)
        hope = totals.max().item() / length_penalty(max_length, alpha) if len(alive) else float("-inf")
        if len(done) == beams and done[-1].score >= hope or not len(alive):
            break
    return done or [_hypothesis(row, total, penalty) for row, total in zip(alive, totals, strict=True)]


def _hypothesis(row: Tensor, total: Tensor, penalty: float) -> Hypothesis:
    return Hypothesis(tuple(row[1:].tolist()), total.item(), total.item() / penalty)


@dataclass(frozen=True)
class Translation:
    """What the translator wrote, and where it looked.

    Attributes:
        text: the best translation.
        source_tokens: what it read, `Ts` tokens.
        tokens: what it wrote, `Tt` tokens, the end token included.
        weights: cross-attention, shape `(n_layer, H, Tt, Ts)`: row `t` of each map was looked at to write token `t`.
        alternatives: text and log-probability in nats of everything the search ended with, best score first.

    Examples:
        >>> translation = Translator.from_checkpoint().translate("I love you.", beams=3)
        >>> translation.source_tokens, translation.tokens, translation.weights.shape
        (['I', 'love', 'you', '.', '<end>'], ['我', '爱', '你', '。', '<end>'], torch.Size([3, 6, 5, 5]))
        >>> len(translation.alternatives)
        3
    """

    text: str
    source_tokens: list[str]
    tokens: list[str]
    weights: Tensor
    alternatives: list[tuple[str, float]]


class Translator:
    """A trained Transformer with the tokens of its two languages.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 6.1.

    Args:
        model: the network, put into evaluation mode.
        tokenizer: cuts the source text into tokens.
        target_tokens: text of each target token, at the place that is its id; `<start>`, `<end>`, `<unk>` among them.

    Examples:
        >>> Translator.from_checkpoint("translator-en-zh").translate("I love you.").text
        '我爱你。'
    """

    def __init__(self, model: EncoderDecoder, tokenizer: "Tokenizer", target_tokens: Sequence[str]) -> None:
        self.model, self.tokenizer, self.target_tokens = model.eval(), tokenizer, list(target_tokens)
        self.start, self.end, self.unknown = (self.target_tokens.index(token) for token in (START, END, UNKNOWN))

    @classmethod
    def from_checkpoint(cls, name: str | Path = "translator-en-zh") -> Self:
        """Read a translator that ships with the package, or a folder.

        Args:
            name: name of a shipped model, or a folder like one.

        Returns:
            The translator, in evaluation mode.

        Raises:
            ModelError: if a file is missing or damaged.
        """
        from tokenizers import Tokenizer

        config, weights = read_checkpoint(name)
        model = EncoderDecoder(EncoderDecoderConfig(**config["model"]))
        model.load_state_dict(weights)
        tokenizer = Tokenizer.from_file(str(Path(shipped(name)) / "tokenizer.json"))
        return cls(model, tokenizer, config["target_tokens"])

    def source_ids(self, text: str) -> Tensor:
        """Cut a source text into tokens.

        Args:
            text: a sentence.

        Returns:
            Token ids, shape `(1, Ts)`.
        """
        return torch.tensor([self.tokenizer.encode(text).ids])

    def source_tokens(self, text: str) -> list[str]:
        """Return the piece of the text that each source token stands for.

        Args:
            text: a sentence.

        Returns:
            One piece for each token; each byte of a character that the vocabulary lacks is shown as that character.
        """
        encoded = self.tokenizer.encode(text)
        pieces = zip(encoded.tokens, encoded.offsets, strict=True)
        return [text[a:b].strip() or ("␣" if b > a else token) for token, (a, b) in pieces]

    def next_token(self, memory: Tensor) -> NextToken:
        """Return the function that a search asks: what may follow, given one source.

        Args:
            memory: from `EncoderDecoder.encode`, shape `(1, Ts, C)`.

        Returns:
            Function from beginnings `(N, t)` to log-probabilities `(N, V)`; `<unk>` gets minus infinity.
        """

        @torch.no_grad()
        def ask(prefixes: Tensor) -> Tensor:
            logits, _ = self.model.decode(prefixes, memory.expand(len(prefixes), -1, -1))
            scores = logits[:, -1] - log_sum_exp(logits[:, -1])[:, None]  # (N, V)
            scores[:, [self.start, self.unknown]] = float("-inf")
            return scores

        return ask

    @torch.no_grad()
    def translate(self, text: str, beams: int = 5, alpha: float = 0.6) -> Translation:
        """Write the most probable translation that the search finds.

        Args:
            text: one sentence of at most `MAX_SOURCE` tokens.
            beams: beginnings kept at every step; 1 for greedy search.
            alpha: strength of the length penalty.

        Returns:
            The translation, its tokens, its alternatives, and where each token looked.

        Raises:
            ValueError: if the text is blank or too long.
        """
        ids = self.source_ids(text)
        if not text.strip() or ids.shape[1] > MAX_SOURCE:
            raise ValueError(f"text must be a sentence of at most {MAX_SOURCE} tokens, got {ids.shape[1]}; shorten it")
        memory = self.model.encode(ids)  # (1, Ts, C)
        task = (self.next_token(memory), self.start, self.end, 2 * ids.shape[1] + 10)
        found = [greedy_search(*task)] if beams == 1 else beam_search(*task, beams=beams, alpha=alpha)
        best = found[0].ids
        _, weights = self.model.decode(torch.tensor([[self.start, *best[:-1]]]), memory)
        return Translation(
            text=self.spell(best),
            source_tokens=self.source_tokens(text),
            tokens=[self.target_tokens[i] for i in best],
            weights=weights[:, 0],  # (n_layer, H, Tt, Ts)
            alternatives=[(self.spell(h.ids), h.log_probability) for h in found],
        )

    def spell(self, ids: Sequence[int]) -> str:
        """Join target tokens to a text.

        Args:
            ids: token ids; the end token is not written.

        Returns:
            The text.
        """
        return "".join(self.target_tokens[i] for i in ids if i != self.end)
