r"""BERT: an encoder that reads a text in both directions and gives one vector per token.

The class wraps Transformers: it checks the files and the lengths, handles padding, and returns plain tensors.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018, https://arxiv.org/abs/1810.04805.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from largemodels.models import _bert_heads, _loading
from largemodels.models._tagging import Entity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BATCH = 32  # texts in one forward pass; more only costs memory
POOLINGS = ("mean", "cls")


class Bert:
    """An encoder with its tokenizer: embeddings, labels, hidden tokens, attention maps.

    Load one with `Bert.from_pretrained`.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805.
    Differs from the paper: an embedding is by default the mean over the tokens, not the first token's vector,
    because the mean of an encoder trained for similarity is the better sentence vector (Reimers and Gurevych,
    2019, https://arxiv.org/abs/1908.10084, table 6).

    Attributes:
        n_layer: number of layers.
        n_head: attention heads in each layer.
        n_embd: width of a token's vector.
        context_length: longest text, in tokens, special tokens included.
        labels: names of the classes in the order of the logits; empty without a classification head.
        heads: for tokens and pairs: "masked" fills masks, "next" judges two texts, "tags" finds entities.
        prefix: what `encode` puts before each text; "" for none.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", prefix: str = "") -> None:
        self._model, self._tokenizer, self.prefix = model, tokenizer, prefix
        config = model.config
        self.n_layer: int = config.num_hidden_layers
        self.n_head: int = config.num_attention_heads
        self.n_embd: int = config.hidden_size
        self.context_length: int = min(config.max_position_embeddings, tokenizer.model_max_length)
        classifies = type(model).__name__.endswith("ForSequenceClassification")
        self.labels: tuple[str, ...] = tuple(v for _, v in sorted(config.id2label.items())) if classifies else ()
        self.heads: tuple[str, ...] = _bert_heads.heads(model)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
        prefix: str | None = None,
    ) -> "Bert":  # fmt: skip
        """Load a model by its name, a folder written by `save_pretrained`, or one from the hub.

        Only safetensors are read and no code that comes with a model is run. If the folder has a `manifest.json`,
        every file must have the size and the sha256 written there.

        Args:
            source: local folder, hub id such as "google-bert/bert-base-chinese", or name. A name is looked up among
                the models that `largemodels models add` has fetched; then "minilm" and "e5" come from the hub if
                HF_HUB_OFFLINE is 0, and any other name is one that ships with the package.
            device: where to compute, such as "cpu" or "cuda".
            dtype: floating-point type to compute in.
            prefix: put before each text by `encode`; None for the model's own: "query: " for e5, else none.

        Returns:
            The model, ready for use.

        Raises:
            ModelError: an OSError that names the file which is missing or damaged.

        Examples:
            >>> bert = Bert.from_pretrained("sentiment-bert-zh-en")
            >>> bert.n_head, bert.labels
            (12, ('negative', 'positive'))
        """
        own = _loading.own_prefix(source) if prefix is None else prefix
        return cls(*_loading.load(source, "", device=device, dtype=dtype), own)

    def tokens(self, text: str) -> list[str]:
        """Cut a text into tokens, as the model sees them.

        Args:
            text: any text, also one that is too long for the model.

        Returns:
            The tokens, the special ones at both ends included; `▁` stands for a space.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if it is not valid Unicode.
        """
        _loading.check_text(text, "text")
        return self._tokenizer.convert_ids_to_tokens(self._tokenizer(text, verbose=False)["input_ids"])

    def hidden_states(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the last layer's vectors: one for each token, not one for each text.

        Args:
            texts: `B` texts.

        Returns:
            Vectors, shape `(B, T, C)`, float32 on the CPU, `T` being the longest text's number of tokens; and a
            boolean mask, shape `(B, T)`, False where a shorter text was filled up.

        Raises:
            TypeError: if `texts` is one string or holds something else than strings.
            ValueError: if there is no text, or one is too long or not valid Unicode.
        """
        return self._hidden(*self._batch(texts))

    def encode(self, texts: Sequence[str], pooling: str = "mean") -> Tensor:
        r"""Give each text one vector: the mean over its tokens, or the first token's.

        The mean is $e = \sum_t m_t h_t / \sum_t m_t$ with $m_t = 0$ for filler. `prefix` stands before each text
        and counts as a part of it, because some models were trained so.

        Source: Reimers and Gurevych, "Sentence-BERT", 2019, https://arxiv.org/abs/1908.10084, section 3.

        Args:
            texts: `B` texts.
            pooling: "mean" over all tokens that are no filler, or "cls" for the vector of the first token.

        Returns:
            Embeddings, shape `(B, C)`, float32 on the CPU. They are not normalised.

        Raises:
            TypeError: if `texts` is one string or holds something else than strings.
            ValueError: if `pooling` is unknown, there is no text, or one is too long or not valid Unicode.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}; choose one of them")
        hidden, mask = self._hidden(*self._batch(texts, self.prefix))
        if pooling == "cls":
            return hidden[:, 0]  # (B, C)
        share = mask / mask.sum(1, keepdim=True)  # (B, T)
        return (share[:, None] @ hidden).squeeze(1)  # (B, C)

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Give each text a probability for each label.

        Args:
            texts: `B` texts.

        Returns:
            `B` dictionaries from label to probability; each sums to 1.

        Raises:
            TypeError: if `texts` is one string or holds something else than strings.
            ValueError: if the model has no classification head, there is no text, or one is too long.
        """
        probs = self._probs(*self._batch(texts))
        return [dict(zip(self.labels, row, strict=True)) for row in probs.tolist()]

    def fill_mask(self, text: str, k: int = 5) -> list[list[tuple[str, float]]]:
        """Guess what stands behind each `[MASK]` of a text, from what stands on both sides of it.

        Each mask is guessed for itself while the others stay hidden, so the best guesses need not fit together.

        Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #1: Masked LM".

        Args:
            text: holds the tokenizer's mask token, `[MASK]` in BERT, at least once.
            k: guesses for each mask, from 1 to `V`.

        Returns:
            One list for each mask, in order: `k` pairs of token and probability, the likeliest first.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if the model has no masked-language head, the text has no mask or is too long, or `k` is out
                of range.
        """
        _bert_heads.check(self.heads, "masked")
        return _bert_heads.fill_mask(self._model, self._tokenizer, self._batch([text]), k)

    def next_sentence(self, first: str, second: str) -> float:
        r"""Say how likely it is that the second text followed the first in a document.

        Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.1, "Task #2: Next Sentence
        Prediction (NSP)".

        Args:
            first: one or more sentences.
            second: what may have come next.

        Returns:
            $P(\text{second follows} \mid \text{both})$, a fraction from 0 to 1.

        Raises:
            TypeError: if a text is no string.
            ValueError: if the model has no next-sentence head, a text is empty, or both are too long together.
        """
        _bert_heads.check(self.heads, "next")
        return _bert_heads.next_sentence(self._model, self._tokenizer, first, second, self.context_length)

    def tag(self, text: str) -> list[Entity]:
        """Find the names in a text: where each begins and ends, and what kind it is.

        Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 5.3.

        Args:
            text: any text of at most `context_length` tokens.

        Returns:
            Named tuples `(start, end, kind, prob)`: `text[start:end]` is the name; they never overlap.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if the model has no tagging head, or the text is too long or not valid Unicode.
        """
        _bert_heads.check(self.heads, "tags")
        return _bert_heads.tag(self._model, self._tokenizer, self._batch([text]), text)

    def attention_maps(self, text: str) -> tuple[list[str], Tensor]:
        """Return the weights of every attention head: where each token's vector is mixed from.

        Args:
            text: any text of at most `context_length` tokens.

        Returns:
            The `T` tokens, and the weights, shape `(n_layer, H, T, T)`: rows are queries and sum to 1.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if the text is too long or not valid Unicode.
        """
        ids, mask = self._batch([text])
        layers = self._run(self._model.base_model, ids, mask, output_attentions=True).attentions
        maps = torch.cat(layers)  # (n_layer, H, T, T)
        return self._tokenizer.convert_ids_to_tokens(ids[0].tolist()), maps.float().cpu()

    def occlusion(self, text: str, label: str) -> list[tuple[str, float]]:
        r"""Measure each token's part in a decision: hide it, and see how far the probability falls.

        The change of token $i$ is $p(y \mid x) - p(y \mid x_{\setminus i})$. A hidden token keeps its place, but no
        other token may look at it.

        Source: Li et al., "Understanding Neural Networks through Representation Erasure", 2016,
        https://arxiv.org/abs/1612.08220, equation (1).
        Differs from the paper: the change of the probability, not the relative change of its logarithm.

        Args:
            text: any text of at most `context_length` tokens.
            label: one of `labels`.

        Returns:
            Every token that is not a special one, with its change, a fraction from -1 to 1: positive where the
            token speaks for the label.

        Raises:
            TypeError: if `text` is no string.
            ValueError: if the label is unknown, or the text is too long or not valid Unicode.
        """
        if label not in self.labels:
            raise ValueError(f"label must be one of {', '.join(self.labels) or '(none)'}, got {label!r}; see .labels")
        ids, mask = self._batch([text])
        special = self._tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
        places = [place for place, kind in enumerate(special) if not kind]
        masks = mask.repeat(1 + len(places), 1)  # (1 + n, T): the whole text, then one token less in each row
        masks[range(1, 1 + len(places)), places] = 0
        probs = self._probs(ids.expand(len(masks), -1), masks)[:, self.labels.index(label)]  # (1 + n,)
        tokens = self._tokenizer.convert_ids_to_tokens(ids[0, places].tolist())
        return list(zip(tokens, (probs[0] - probs[1:]).tolist(), strict=True))

    def _batch(self, texts: Sequence[str], prefix: str = "") -> tuple[Tensor, Tensor]:
        """Return ids and mask, both `(B, T)`; a text that is too long is an error, never cut."""
        ids, mask = _bert_heads.batch(self._tokenizer, texts, prefix, self.context_length)
        return ids.to(self._model.device), mask.to(self._model.device)

    def _hidden(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last layer's vectors `(B, T, C)` and the mask as booleans `(B, T)`."""
        pairs = zip(ids.split(BATCH), mask.split(BATCH), strict=True)
        parts = [self._run(self._model.base_model, i, m).last_hidden_state for i, m in pairs]
        return torch.cat(parts).float().cpu(), mask.bool().cpu()

    @torch.inference_mode()
    def _run(self, model: Any, ids: Tensor, mask: Tensor, **outputs: bool) -> Any:
        """Return what Transformers returns for one batch; `model` is the whole model or its encoder."""
        return model(input_ids=ids, attention_mask=mask, **outputs)

    def _probs(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the probabilities of the labels, shape `(B, n_labels)`."""
        if not self.labels:
            raise ValueError("the model has no classification head, so it cannot classify; load one fine-tuned for it")
        parts = [self._run(self._model, i, m).logits for i, m in zip(ids.split(BATCH), mask.split(BATCH), strict=True)]
        return torch.cat(parts).float().cpu().softmax(-1)
