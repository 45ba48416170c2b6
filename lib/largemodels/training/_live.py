"""A GPT so small that it learns while you watch: character by character, within seconds."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from largemodels.models.gpt_decoder import Cache, GptConfig, GptDecoder, next_token_loss
from largemodels.training._muon import MuonAdamW
from largemodels.training.pretraining import Settings, learning_rate

CONTEXT, ROWS, TEMPERATURE = 48, 8, 0.7  # characters of a row, rows of a batch; of the samples


@dataclass(frozen=True)
class Moment:
    """What can be seen at one moment of the training.

    Attributes:
        step: updates done.
        loss: nats per character of the rows read since the last moment; infinite once the run has failed.
        held_out: nats per character of the text that is never learned from.
        sample: what the model writes now.
        copied: characters of the longest stretch of the sample that stands in the training text.
        tokens: characters read so far.
        seconds: since the start, samples and measurements left out.
    """

    step: int
    loss: float
    held_out: float
    sample: str
    copied: int
    tokens: int
    seconds: float


def sizes(vocab_size: int) -> GptConfig:
    """Tell the sizes of the model.

    Args:
        vocab_size: different characters of the text.

    Returns:
        What the model is built from.
    """
    return GptConfig(vocab_size, CONTEXT, n_embd=64, n_head=4, n_layer=2, n_hidden=256)


def parameters(vocab_size: int) -> int:
    """Count the numbers that are learned.

    Args:
        vocab_size: different characters of the text.

    Returns:
        How many.
    """
    with torch.device("meta"):  # shapes only
        return sum(param.numel() for param in GptDecoder(sizes(vocab_size)).parameters())


def split(text: str) -> tuple[str, str]:
    """Cut a text in two: seven eighths to learn from, the last eighth only to measure with.

    Args:
        text: at least 16 characters.

    Returns:
        Both parts.
    """
    cut = len(text) * 7 // 8
    return text[:cut], text[cut:]


def longest_copy(sample: str, text: str) -> int:
    """Count the characters of the longest stretch of a sample that the text holds too.

    Args:
        sample: what was written.
        text: what was read.

    Returns:
        Number of characters.

    Examples:
        >>> longest_copy("the cat ran", "a cat sat on the mat")
        5
    """
    longest = 0
    for start in range(len(sample)):
        while start + longest < len(sample) and sample[start : start + longest + 1] in text:
            longest += 1
    return longest


def windows(ids: Tensor) -> Tensor:
    """Cut a text into rows that cover all of it.

    Args:
        ids: shape `(N,)`.

    Returns:
        Rows, shape `(B, T)` with `T` at most `CONTEXT + 1`: a row's last character is the next one's first.
    """
    last = len(ids) - CONTEXT - 1
    if last <= 0:
        return ids[None]
    return torch.stack([ids[start : start + CONTEXT + 1] for start in (*range(0, last, CONTEXT), last)])


def loss_of(model: GptDecoder, rows: Tensor) -> Tensor:
    """Measure how much the rows surprise the model.

    Args:
        model: the model.
        rows: shape `(B, T)`, `T` at most one more than its context.

    Returns:
        Nats per character, shape `()`.
    """
    logits, _ = model(rows[:, :-1])  # (B, T - 1, V)
    padded = torch.cat((logits, logits[:, -1:]), dim=1)  # the last row of logits foretells nothing
    return next_token_loss(padded, rows)


@torch.inference_mode()
def write(model: GptDecoder, first: int, seed: int) -> list[int]:
    """Let the model write as much as its context holds.

    Args:
        model: the model.
        first: id of the character to begin with.
        seed: of the draws.

    Returns:
        Ids, the first one left out.
    """
    generator = torch.Generator().manual_seed(seed)
    cache: Cache | None = None
    ids = [first]
    while len(ids) < CONTEXT:
        logits, cache = model(torch.tensor([ids[-1:]]), cache)
        probs = (logits[0, -1] / TEMPERATURE).softmax(-1)  # (V,)
        ids.append(int(torch.multinomial(probs, 1, generator=generator)))
    return ids[1:]


class Pupil:
    """A model, the text it reads, and the text it is examined with.

    Args:
        text: at least 16 characters.
        settings: how to train; `steps`, `lr`, `warmup`, `clip`, `weight_decay` and `seed` count.
    """

    def __init__(self, text: str, settings: Settings) -> None:
        self.characters = sorted(set(text))
        self.text, unseen = split(text)
        number = {character: i for i, character in enumerate(self.characters)}
        self.read, self.unseen = (torch.tensor([number[c] for c in part]) for part in (self.text, unseen))
        self.first = number.get("\n", int(self.read[0]))  # lines begin after the end of another
        self.generator = torch.Generator().manual_seed(settings.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = GptDecoder(sizes(len(number)))
        with torch.no_grad():  # GPT-2's first numbers suit wide nets; a narrow one learns faster from larger ones
            for param in self.model.parameters():
                param.mul_(4.0 if param.ndim > 1 else 1.0)
        self.optimizer = MuonAdamW(self.model, settings.lr, weight_decay=settings.weight_decay)
        self.settings = settings

    def learn(self, step: int) -> tuple[float, int]:
        """Take one step.

        Args:
            step: its number, from 0.

        Returns:
            The loss before the step, in nats, and the number of characters foretold.
        """
        T = min(CONTEXT + 1, len(self.read))
        starts = torch.randint(len(self.read) - T + 1, (ROWS,), generator=self.generator)
        rows = self.read[starts[:, None] + torch.arange(T)]  # (ROWS, T)
        loss = loss_of(self.model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.settings)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item(), rows[:, 1:].numel()

    @torch.inference_mode()
    def examine(self) -> float:
        """Measure the loss on the held-out text.

        Returns:
            Nats per character.
        """
        return loss_of(self.model, windows(self.unseen)).item()

    def moment(self, step: int, loss: float, tokens: int, seconds: float) -> Moment:
        """Look at the model as it is now.

        Args:
            step: updates done.
            loss: in training.
            tokens: read so far.
            seconds: spent so far.

        Returns:
            What is seen; the sample is drawn anew with the same seed.
        """
        held_out = self.examine()
        if not math.isfinite(loss + held_out):
            return Moment(step, math.inf, math.inf, "", 0, tokens, seconds)
        sample = "".join(self.characters[i] for i in write(self.model, self.first, self.settings.seed))
        return Moment(step, loss, held_out, sample, longest_copy(sample, self.text), tokens, seconds)


def watch(text: str, settings: Settings, seconds: float = 40.0) -> Iterator[Moment]:
    """Train a GPT of about 100,000 parameters on one text and look at it again and again.

    The moments come every `settings.log_every` steps; the first is before any learning.

    Args:
        text: at least 16 characters.
        settings: how to train.
        seconds: after which the run ends, finished or not.

    Yields:
        The moments; the last one has the last step, the step at which time ran out, or an infinite loss.
    """
    pupil, began = Pupil(text, settings), time.monotonic()
    total, count, tokens, spent = 0.0, 0, 0, 0.0
    start = loss_of(pupil.model, windows(pupil.read)).item()
    yield pupil.moment(0, start, 0, 0.0)
    for step in range(settings.steps):
        at = time.monotonic()
        loss, foretold = pupil.learn(step)
        spent += time.monotonic() - at
        total, count, tokens = total + loss, count + 1, tokens + foretold
        late = time.monotonic() - began > seconds
        over = late or step + 1 == settings.steps
        if over or not math.isfinite(loss) or (step + 1) % settings.log_every == 0:
            moment = pupil.moment(step + 1, total / count, tokens, spent)
            yield moment
            total, count, over = 0.0, 0, over or not math.isfinite(moment.loss)
        if over:
            return
