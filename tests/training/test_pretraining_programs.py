"""P08 and P11 run whole, offline, and do what the page says."""

import re

import pytest

from largemodels.training.programs import p08_four_steps, p11_gpt_pretraining
from offline import offline

COUNTING = "one two three four five six seven\n" * 200


def test_p08_pretraining_carries_over_to_words_without_a_label(capsys: pytest.CaptureFixture[str]) -> None:
    with offline():
        p08_four_steps.main(steps=200)
    pretrained, random = capsys.readouterr().out.strip().split("\n")
    shares = [[int(share) for share in re.findall(r"(\d+)%", line)] for line in (pretrained, random)]
    assert shares[0][0] == shares[1][0] == 100  # both know the labelled sentences
    assert shares[0][1] >= 95
    assert shares[1][1] <= 75
    assert not set(p08_four_steps.BAD) & set(p08_four_steps.GOOD)


def test_p11_loss_falls_and_the_sample_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with offline():
        p11_gpt_pretraining.main(COUNTING, steps=100, n_embd=64, context_length=40)
    before, after = capsys.readouterr().out.strip().split("\n")
    losses = [float(line.split(" ", 1)[0]) for line in (before, after)]
    assert losses[0] > 2.5 and losses[1] < 0.8
    assert " two three four" in after and " two three four" not in before


def test_p11_reads_help_pages_of_its_own_accord(capsys: pytest.CaptureFixture[str]) -> None:
    with offline():
        p11_gpt_pretraining.main(steps=2, n_embd=16, context_length=24)
    assert len(capsys.readouterr().out.strip().split("\n")) == 2
