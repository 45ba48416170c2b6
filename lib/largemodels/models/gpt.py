r"""GPT: a decoder that looks left only and gives every next token a probability.

The class wraps Transformers: it checks files, lengths and settings, and writes text whole or piece by piece.

Source: Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018,
https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf, equation (1).
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from largemodels.models import _decoding, _loading, _steps, decoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class Gpt:
    """A causal language model: probabilities of the next token, and text made of them.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.

    Attributes:
        tokenizer: cuts text into token ids and joins them again.
        n_layer: number of layers.
        n_head: attention heads in each layer.
        n_embd: width of a token's vector.
        vocab_size: number of tokens it can write, `V`.
        context_length: how many tokens it can see at once, prompt and new ones together.
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast") -> None:
        self._model, self.tokenizer = model, tokenizer
        config, ends = model.config, model.generation_config.eos_token_id
        self.n_layer: int = config.num_hidden_layers
        self.n_head: int = config.num_attention_heads
        self.n_embd: int = config.hidden_size
        self.vocab_size: int = config.vocab_size
        self.context_length: int = config.max_position_embeddings
        self._ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "Gpt":
        """Load a model by its name, a folder written by `save_pretrained`, or one from the hub.

        Only safetensors are read, no code that comes with a model is run, and a `manifest.json` is checked.

        Args:
            source: local folder, hub id such as "openai-community/gpt2", or name: of what `largemodels models add` has
                fetched; else "smollm2" comes from the hub if HF_HUB_OFFLINE is 0, and any other name ships with us.
            device: where to compute, such as "cpu" or "cuda".
            dtype: floating-point type to compute in.

        Returns:
            The model, ready for use.

        Raises:
            ModelError: an OSError that names the file which is missing or damaged.

        Examples:
            >>> Gpt.from_pretrained("poem-gpt-zh").tokens("<五绝>春风")
            ['<五绝>', '春', '风']
        """
        return cls(*_loading.load(source, "AutoModelForCausalLM", device=device, dtype=dtype))

    def tokens(self, text: str) -> list[str]:
        """Cut a text into tokens and spell each one out.

        Args:
            text: any text.

        Returns:
            The tokens as text. A character that takes several tokens shows as U+FFFD in each.

        Raises:
            ValueError: if it is not valid Unicode.
        """
        _loading.check_text(text, "text")
        return [self._spell(number) for number in self.tokenizer(text)["input_ids"]]

    def unknown(self, text: str) -> list[str]:
        """Find what the model cannot read: the parts of a text for which it has no token.

        Args:
            text: any text.

        Returns:
            Those parts, in order; empty if every character is known.

        Raises:
            ValueError: if it is not valid Unicode.
        """
        _loading.check_text(text, "text")
        read = self.tokenizer(text, return_offsets_mapping=True)
        pairs = zip(read["input_ids"], read["offset_mapping"], strict=True)
        return [text[start:end] for number, (start, end) in pairs if number == self.tokenizer.unk_token_id]

    def next_token_probabilities(
        self, prompt: str, k: int = 10, *, temperature: float = 1.0
    ) -> list[tuple[str, float]]:
        r"""Return the likeliest next tokens: the top of $\mathrm{softmax}(\text{logits}/\tau)$.

        Args:
            prompt: the text so far, from 1 to `context_length` tokens.
            k: how many to return, from 1 to `V`.
            temperature: divides the logits; above 0.

        Returns:
            `k` pairs of token and probability, the likeliest first.

        Raises:
            ValueError: if the prompt is empty or too long, or `k` or `temperature` is out of range.
        """
        _steps.whole(k, "k", 1, self.vocab_size)
        logits, _ = self._forward(self._ids(prompt, "prompt"))
        probs, ids = decoding.apply_temperature(logits[-1], temperature).softmax(-1).topk(k)
        return [(self._spell(i), p) for i, p in zip(ids.tolist(), probs.tolist(), strict=True)]

    def next_logits(self) -> decoding.NextLogits:
        """Make the function that `largemodels.models.decoding` asks: what may follow?

        Returns:
            From ids `(N, T)` to the next token's logits `(N, V)`; it keeps keys and values (KV cache).
        """
        return _decoding.next_logits(self._model)

    def token_nats(self, text: str) -> list[tuple[str, float]]:
        r"""Measure how much each token surprises the model: $-\ln P(u_i \mid u_1, \dots, u_{i-1})$.

        Args:
            text: from 2 to `context_length` tokens.

        Returns:
            Token and surprise, in nats, for every token but the first, which nothing predicts.

        Raises:
            ValueError: if the text has fewer than two tokens or too many.
        """
        ids = self._ids(text, "text", least=2)
        logits, _ = self._forward(ids[:-1])
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")  # (T - 1,)
        return [(self._spell(i), n) for i, n in zip(ids[1:], nats.tolist(), strict=True)]

    def nats_per_token(self, text: str) -> float:
        """Return the mean surprise of a text: the loss that training makes small.

        Source: Radford et al., 2018, equation (1), divided by the number of tokens, sign changed.

        Args:
            text: from 2 to `context_length` tokens.

        Returns:
            Nats per token; the first token is not counted.

        Raises:
            ValueError: if the text has fewer than two tokens or too many.
        """
        nats = [value for _, value in self.token_nats(text)]
        return math.fsum(nats) / len(nats)

    def perplexity(self, text: str) -> float:
        """Return e to the mean surprise: among how many equally likely tokens the model wavers.

        Source: Jelinek et al., "Perplexity, a measure of the difficulty of speech recognition tasks", 1977,
        https://doi.org/10.1121/1.2016299.

        Args:
            text: from 2 to `context_length` tokens.

        Returns:
            At least 1; `V` for a model that knows nothing.

        Raises:
            ValueError: if the text has fewer than two tokens or too many.
        """
        return math.exp(self.nats_per_token(text))

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 50,
        do_sample: bool = False,
        num_beams: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        num_return_sequences: int = 1,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Continue a prompt: greedily, by beam search, or by drawing at random.

        Args:
            prompt: what the text begins with; it is not repeated in the result.
            max_new_tokens: how many tokens to write at most, the prompt not counted.
            do_sample: draw each token at random; otherwise take the most probable.
            num_beams: 1, or how many beginnings beam search keeps at each step.
            temperature: divides the logits, above 0; only with `do_sample`, like the next two.
            top_k: draw among the `top_k` most probable tokens; None switches it off.
            top_p: draw among the fewest tokens that have this probability together; 1 switches it off.
            repetition_penalty: makes tokens that are already there less likely; 1 switches it off.
            seed: of the first sequence; each further one takes the next number. No global state is touched.
            num_return_sequences: how many texts to return.
            stop: the text ends before the first of these strings.

        Returns:
            The continuations, special tokens left out.

        Raises:
            TypeError: if `prompt` is no string or `stop` is one string.
            ValueError: if a number is out of range, settings contradict each other, or the context is too short.
        """
        _steps.whole(num_beams, "num_beams", 1, self.vocab_size)
        _steps.whole(num_return_sequences, "num_return_sequences", 1, 1000)
        if do_sample and num_beams > 1:
            raise ValueError(f"beam search draws nothing, got do_sample=True and num_beams={num_beams}; drop one")
        if num_return_sequences > num_beams and not do_sample:
            got = f"got num_return_sequences={num_return_sequences}; draw them, or raise num_beams"
            raise ValueError(f"without do_sample at most num_beams = {num_beams} texts come out, {got}")
        how = _decoding.Decoding(do_sample, temperature, top_k, top_p, repetition_penalty, self.vocab_size)
        ids = self._ids(prompt, "prompt", new=max_new_tokens)
        if num_beams == 1:
            seeds = range(seed, seed + num_return_sequences)
            return ["".join(self._write(ids, max_new_tokens, how, s, stop)) for s in seeds]
        found = decoding.beam_search(
            self.next_logits(), ids, max_new_tokens, num_beams=num_beams, ends=self._ends, early_stopping=True,
            repetition_penalty=repetition_penalty, num_return_sequences=num_return_sequences,
        )  # fmt: skip
        texts = (_decoding.pieces(self.tokenizer, ids, [i for i in row if i not in self._ends]) for row, _ in found)
        return ["".join(_decoding.until_stop(text, stop)) for text in texts]

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 50,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Continue a prompt in pieces, handed out as written; joined, they are `generate`'s text.

        Only the new token passes through the model at each step: keys and values of the earlier ones are kept
        (KV cache). Leave the loop, and no further token is computed.

        Args:
            prompt: what the text begins with; it is not repeated in the result.
            max_new_tokens: how many tokens to write at most, the prompt not counted.
            do_sample: draw each token at random; otherwise take the most probable.
            temperature: divides the logits, above 0; only with `do_sample`, like the next two.
            top_k: draw among the `top_k` most probable tokens; None switches it off.
            top_p: draw among the fewest tokens that have this probability together; 1 switches it off.
            repetition_penalty: makes tokens that are already there less likely; 1 switches it off.
            seed: where the random draws start. No global state is touched.
            stop: the text ends before the first of these strings.

        Returns:
            Iterator over pieces of text, whole characters only.

        Raises:
            TypeError: if `prompt` is no string or `stop` is one string.
            ValueError: if a number is out of range, settings contradict each other, or the context is too short.
        """
        how = _decoding.Decoding(do_sample, temperature, top_k, top_p, repetition_penalty, self.vocab_size)
        ids = self._ids(prompt, "prompt", new=max_new_tokens)
        return self._write(ids, max_new_tokens, how, seed, stop)

    def _spell(self, number: int) -> str:
        """Return one token as text."""
        return self.tokenizer.decode([number], clean_up_tokenization_spaces=False)

    def _ids(self, text: str, name: str, least: int = 1, new: int = 0) -> list[int]:
        """Return a text's ids, or raise if they are fewer than `least` or leave no room for `new` more."""
        return _decoding.read(self.tokenizer, text, name, least, new, self.context_length)

    @torch.inference_mode()
    def _forward(self, ids: Sequence[int], cache: Any = None) -> tuple[Tensor, Any]:
        """Return logits `(T, V)`, float32 on the CPU, and the keys and values so far."""
        batch = torch.tensor([ids], device=self._model.device)  # (1, T)
        out = self._model(input_ids=batch, past_key_values=cache, use_cache=True)
        return out.logits[0].float().cpu(), out.past_key_values

    def _write(self, ids: list[int], n: int, how: _decoding.Decoding, seed: int, stop: Sequence[str]) -> Iterator[str]:
        """Return the text of up to `n` new tokens in pieces."""
        new = _decoding.new_ids(self._forward, ids, n, how, self._ends, seed)
        return _decoding.until_stop(_decoding.pieces(self.tokenizer, ids, new), stop)
