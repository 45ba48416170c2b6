"""What the strategies of decoding do on one and the same tree of probabilities: who is considered, kept, cut."""

import typing
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from largemodels.models import _steps, decoding

if typing.TYPE_CHECKING:
    from largemodels.models.gpt import Gpt

Path = tuple[int, ...]
SHOWN, CUT_SHOWN = 4, 2  # candidates shown one by one; the others are summed up
REMEMBERED = 600  # ballots kept for each model, 17 kB each for the poems
BALLOTS: "weakref.WeakKeyDictionary[Gpt, dict[Path, Tensor]]" = weakref.WeakKeyDictionary()
SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\ufffd": "▯"}


def percent(p: float) -> str:
    """Return two digits of a probability."""
    return "<0.001%" if 0 < p < 1e-5 else f"{100 * p:.0f}%" if p > 0.0995 else f"{100 * p:.2g}%"


def remembered(gpt: "Gpt") -> decoding.NextLogits:
    """Return a model's logits function; what was asked before costs nothing."""
    fresh, ballots = gpt.next_logits(), BALLOTS.setdefault(gpt, {})

    def ask(ids: Tensor) -> Tensor:
        rows = [tuple(row) for row in ids.tolist()]
        known = {row: ballots[row] for row in rows if row in ballots}
        if new := [i for i, row in enumerate(rows) if row not in known]:
            known |= zip([rows[i] for i in new], fresh(ids[new]), strict=True)
            for row in list(ballots)[: max(0, len(ballots) + len(new) - REMEMBERED)]:
                ballots.pop(row, None)
            ballots.update(known)
        return torch.stack([known[row] for row in rows])

    return ask


@dataclass(frozen=True)
class Candidate:
    """One token behind a beginning: its probability, its chance to be chosen, and what becomes of it."""

    path: Path
    share: float
    chance: float
    fate: str  # best, kept, dead, plain or cut: how the tree shows it


class Walk:
    """One strategy's walk of `step` steps, and for comparison what greedy and beam search find."""

    def __init__(
        self, gpt: "Gpt", text: str, way: str, step: int, *, width: int, p: float, temperature: float, seed: int
    ) -> None:
        self.gpt, self.way, self.ids = gpt, way, gpt.tokenizer(text)["input_ids"]
        self.ends, ask = {gpt.tokenizer.eos_token_id} - {None}, remembered(gpt)
        self.ask, self._probs = ask, dict[Path, Tensor]()
        self.draws = way in ("top_k", "top_p")
        self.filters: dict[str, typing.Any] = {"temperature": temperature}
        self.filters |= {"top_k": width} if way == "top_k" else {"top_p": p}
        self.steps = list(
            _steps.beam_steps(
                lambda rows: ask(rows).log_softmax(-1), torch.tensor([self.ids]), step, num_beams=width,
                ends=self.ends, length_penalty=1.0, early_stopping=False,
            )
        )  # fmt: skip
        self.best: dict[str, Path] = {
            "greedy": tuple(decoding.greedy(ask, self.ids, step, ends=self.ends)),
            "beam": tuple(self.steps[-1].finished[0][0]),
        }
        if self.draws:
            drawn = decoding.sample(ask, self.ids, step, ends=self.ends, seed=seed, **self.filters)
            self.best[way] = tuple(drawn[0])
        self.kept = {self.best[way][:n] for n in range(1, step + 1)}
        if way == "beam":
            self.kept |= {beam.tokens for each in self.steps for beam in each.candidates if beam.fate != "dies"}
        self.depth = max(map(len, self.kept))
        self.alive = {path[:n] for path in self.kept for n in range(len(path) + 1) if self._ended(path)}

    def spell(self, path: Path) -> str:
        """Return tokens as text in which blanks can be seen."""
        tokenizer = self.gpt.tokenizer
        text = tokenizer.decode(list(path), clean_up_tokenization_spaces=False)
        return "".join(SIGNS.get(c, c) for c in text.replace(tokenizer.eos_token or "\0", "■"))

    def _ended(self, path: Path) -> bool:
        return len(path) == self.depth or path[-1] in self.ends

    def probs(self, path: Path) -> Tensor:
        """Return the model's probabilities `(V,)` of what follows a path."""
        if path not in self._probs:
            self._probs[path] = self.ask(torch.tensor([[*self.ids, *path]]))[0].softmax(-1)
        return self._probs[path]

    def total(self, path: Path) -> float:
        """Return the probability of a whole path."""
        product = 1.0
        for n, token in enumerate(path):
            product *= float(self.probs(path[:n])[token])
        return product

    def fate(self, path: Path, allowed: bool) -> str:
        """Say what has become of a path by now."""
        if self.passes(self.way, path):
            return "best"
        if path in self.kept:
            return "kept" if path in self.alive else "dead"
        return "plain" if allowed else "cut"

    def grown(self, path: Path) -> bool:
        """Whether the strategy has looked at what follows a path."""
        return (not path or path in self.kept) and len(path) < self.depth and not (path and path[-1] in self.ends)

    def passes(self, way: str, path: Path) -> bool:
        """Whether the path that a strategy has chosen begins so."""
        return self.best[way][: len(path)] == path

    def goes_on(self, path: Path) -> bool:
        """Whether anything is drawn behind a path."""
        return self.grown(path) or any(self.passes(way, path) and best != path for way, best in self.best.items())

    def last(self) -> Iterator[Candidate]:
        """Yield the candidates of the last step."""
        if self.way != "beam":
            yield from self.candidates(max(self.kept, key=len)[:-1])[0]
            return
        for beam in self.steps[-1].candidates:
            share = float(self.probs(beam.tokens[:-1])[beam.tokens[-1]])
            yield Candidate(beam.tokens, share, share, self.fate(beam.tokens, True))

    def candidates(self, path: Path) -> tuple[list[Candidate], list[tuple[int, float]]]:
        """Return the tokens to show behind a path, the most probable first, and a summary of the others.

        It says how many may be chosen and their probability, and how many are cut and theirs.
        """
        probs = self.probs(path)
        chances, allowed = probs, torch.ones_like(probs, dtype=torch.bool)
        tokens = {best[len(path)] for way, best in self.best.items() if self.passes(way, path) and best != path}
        if self.grown(path):
            if self.draws:
                ids = torch.tensor([*self.ids, *path])
                bent = decoding.bend(self.ask(ids[None])[0], ids, **self.filters)
                chances, allowed = bent.softmax(-1), bent.isfinite()
            count = int(allowed.sum())
            full = count if self.way == "top_k" else min(count, SHOWN)
            if self.way == "beam":
                looked_at = self.steps[len(path)].candidates
                tokens |= {beam.tokens[-1] for beam in looked_at if beam.tokens[:-1] == path}
            else:
                tokens |= set(probs.topk(full + (CUT_SHOWN if full == count < len(probs) else 0)).indices.tolist())
        order = sorted(tokens, key=lambda token: -float(probs[token]))
        found = []
        for token in order:
            fate = self.fate((*path, token), bool(allowed[token]))
            found.append(Candidate((*path, token), float(probs[token]), float(chances[token]), fate))
        left = torch.ones_like(allowed).index_fill(0, torch.tensor(order, dtype=torch.long), False)
        return found, [(int(part.sum()), float(probs[part].sum())) for part in (left & allowed, left & ~allowed)]
