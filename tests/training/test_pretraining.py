"""The training loop: batches by number, resuming after a kill, accumulation, two processes, honest failures."""

import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concepts import ROOT
from largemodels.training._muon import Muon, MuonAdamW, orthogonalize
from largemodels.training.pretraining import REPORT, Batches, Settings, learning_rate, pretrain, uses_bfloat16
from training import small_run

PROGRAM = Path(small_run.__file__)


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def program(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the small run in a process of its own."""
    paths = os.pathsep.join([str(ROOT / "lib"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, str(PROGRAM), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_every_row_once_an_epoch_and_groups_stay_apart(sizes: list[int], batch: int, seed: int) -> None:
    starts = [100 * place for place in range(len(sizes))]
    groups = [(range(start, start + size), batch) for start, size in zip(starts, sizes, strict=True)]
    batches = Batches(groups, lambda rows, _: {"rows": torch.tensor(rows)}, seed)
    read = [batches[number]["rows"].tolist() for number in range(2 * batches.per_epoch)]
    assert all(len({row // 100 for row in rows}) == 1 and len(rows) <= batch for rows in read)
    epochs = read[: batches.per_epoch], read[batches.per_epoch :]
    wanted = Counter(row for group, _ in groups for row in group)
    assert all(Counter(row for rows in epoch for row in rows) == wanted for epoch in epochs)


def test_a_batch_depends_on_its_number_alone() -> None:
    def make(rows: list[int], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"rows": torch.tensor(rows), "mask": torch.rand(3, generator=generator)}

    one, other = (Batches([(range(10), 3)], make, seed=2) for _ in range(2))
    forward = [one[number] for number in range(9)]
    for number in (8, 0, 5):  # in another order, as after a resume
        again = other[number]
        assert all(torch.equal(again[name], forward[number][name]) for name in ("rows", "mask"))
    assert not torch.equal(forward[0]["mask"], forward[1]["mask"])


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold at least one row"):
        Batches([([], 4)], lambda rows, _: {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"lr": math.nan}, "lr must be above 0"),
        ({"seed": -1}, "seed must lie"),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, muon"),
        ({"precision": "float16"}, "precision must be one of"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**{"steps": 3, "lr": 0.1, **settings})


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_killed_and_resumed_ends_at_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    whole, report = small_run.run(tmp_path / "whole", optimizer=optimizer)
    if optimizer == "adamw":
        killed = program(str(tmp_path / "killed"), "--kill-at", "6")
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    else:  # without a process of its own: stop where the next batch would come

        def stop(rows: list[int], generator: torch.Generator) -> dict[str, torch.Tensor]:
            if len(list((tmp_path / "killed").glob("checkpoint-4"))):
                raise KeyboardInterrupt
            return whole_make(rows, generator)

        broken = small_run.batches()
        whole_make, broken._make = broken._make, stop
        settings = Settings(steps=small_run.STEPS, lr=1e-2, warmup=2, log_every=1, save_every=2, optimizer=optimizer)
        with pytest.raises(KeyboardInterrupt):
            pretrain(small_run.model(), broken, settings, tmp_path / "killed")
    assert (tmp_path / "killed" / "checkpoint-4").is_dir()
    assert not (tmp_path / "killed" / REPORT).exists()
    resumed, second = small_run.run(tmp_path / "killed", optimizer=optimizer)
    assert [row["step"] for row in second.curve] == list(range(1, small_run.STEPS + 1))
    assert [row["loss"] for row in second.curve] == pytest.approx([row["loss"] for row in report.curve], abs=1e-6)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6)
    assert second.tokens == report.tokens


def test_two_processes_are_one_with_two_accumulated_batches(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")
    done = program(str(tmp_path / "two"), launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, report = small_run.run(tmp_path / "one", accumulate=2)
    two = torch.load(tmp_path / "two" / "weights.pt", weights_only=True)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
    assert json.loads((tmp_path / "two" / REPORT).read_text("utf-8"))["machine"]["processes"] == 2
    assert report.machine["processes"] == 1


def test_the_report_says_what_was_done(tmp_path: Path) -> None:
    trained = small_run.model()
    measured = []

    def validate() -> dict[str, float]:
        assert not trained.training
        assert not torch.is_grad_enabled()
        measured.append(len(measured))
        return {"loss": 1.5}

    settings = Settings(steps=4, lr=1e-3, log_every=2, validate_every=3, precision="bfloat16")
    report = pretrain(trained, small_run.batches(), settings, tmp_path, validate)
    saved = json.loads((tmp_path / REPORT).read_text("utf-8"))
    assert saved["settings"]["steps"] == 4 and saved["machine"]["precision"] == "bfloat16 autocast"
    read = [small_run.batches()[number]["input_ids"].numel() for number in range(4)]
    assert saved["tokens"] == sum(read)
    assert saved["parameters"] == sum(param.numel() for param in trained.parameters())
    assert [row["step"] for row in saved["validation"]] == [3, 4] and len(measured) == 2
    assert [row["step"] for row in saved["curve"]] == [2, 4]
    assert saved["tokens_per_second"] == pytest.approx(saved["tokens"] / saved["seconds"])
    assert f"| tokens read | {sum(read):,} |" in report.markdown()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    trained = small_run.model()
    with torch.no_grad():
        trained.transformer.wte.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss must stay finite, got nan at step 1"):
        pretrain(trained, small_run.batches(), Settings(steps=3, lr=1e-3, log_every=1), tmp_path)


def test_precision_is_what_was_asked_for() -> None:
    assert uses_bfloat16("bfloat16") and not uses_bfloat16("float32")
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not torch.cuda.is_available():
        assert uses_bfloat16("auto") == fast


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    trained, reference = small_run.model().double(), small_run.model().double()
    ids = torch.arange(14).view(2, 7)
    optimizer = MuonAdamW(trained, lr=1e-2, weight_decay=0.1)
    matrices = [p for p in reference.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in reference.parameters() if id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
    ]
    apart = [Muon(matrices, lr=1e-2, weight_decay=0.1), torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98))]
    for _ in range(3):
        for net, steps in ((trained, [optimizer]), (reference, apart)):
            net(input_ids=ids, labels=ids).loss.backward()
            for one in steps:
                one.step()
                one.zero_grad()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=0, atol=1e-9)


def test_orthogonalize_moves_singular_values_near_one() -> None:
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize(("steps", "warmup"), [(10, 4), (7, 0), (5, 5), (3, 9), (1, 1)])
def test_the_learning_rate_is_that_of_transformers(steps: int, warmup: int) -> None:
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    settings = Settings(steps=steps, lr=0.8, warmup=warmup)
    for step in range(steps + 1):
        assert learning_rate(step, settings) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
    for step in (-1, steps + 1):
        with pytest.raises(ValueError, match="step must lie between"):
            learning_rate(step, settings)


def test_a_run_uses_that_learning_rate(tmp_path: Path) -> None:
    _, report = small_run.run(tmp_path)
    settings = Settings(steps=small_run.STEPS, lr=1e-2, warmup=2)
    told = [(row["step"], row["lr"]) for row in report.curve]
    assert told == [(step + 1, pytest.approx(learning_rate(step, settings))) for step in range(small_run.STEPS)]


def test_accumulated_batches_of_unlike_size_are_one_large_batch(tmp_path: Path) -> None:
    trained, reference = small_run.model(), small_run.model()
    rows = [small_run.batches()[number]["input_ids"] for number in range(8)]
    one = next(i for i in range(7) if rows[i].numel() != rows[i + 1].numel())  # neighbours of unlike size
    pair = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids} for ids in rows[one : one + 2]]
    batches = Batches([(range(2), 1)], lambda numbers, _: pair[numbers[0]])
    grads = {}
    for name, param in trained.named_parameters():
        param.register_post_accumulate_grad_hook(lambda p, name=name: grads.update({name: p.grad.clone()}))
    settings = Settings(steps=1, lr=1e-2, warmup=0, accumulate=2, clip=0.0, precision="float32")
    pretrain(trained, batches, settings, tmp_path)
    counts = [batch["labels"][:, 1:].numel() for batch in pair]
    loss = sum(reference(**batch).loss * n for batch, n in zip(pair, counts, strict=True)) / sum(counts)
    loss.backward()
    assert counts[0] != counts[1]
    # Trainer divides by the number of labels, of which the first in each row is no target: a constant that Adam ignores
    share = sum(counts) / sum(batch["labels"].numel() for batch in pair)
    for name, param in reference.named_parameters():
        torch.testing.assert_close(grads[name], param.grad * share, rtol=0, atol=1e-7)


def test_m11_a_forward_pass_teaches_nothing_and_labels_loss_and_update_do() -> None:
    trained = small_run.model()
    before = [param.clone() for param in trained.parameters()]
    ids = torch.arange(18).view(2, 9)
    out = trained(input_ids=ids)
    assert out.loss is None and not out.logits.isnan().any()
    assert all(map(torch.equal, trained.parameters(), before))
    assert trained(input_ids=ids, labels=ids).loss is not None  # a loss alone moves nothing either
    assert all(map(torch.equal, trained.parameters(), before))
    optimizer, losses = torch.optim.AdamW(trained.parameters(), lr=1e-2), []
    for _ in range(40):
        loss = trained(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(small_run.VOCAB), abs=0.1)
    assert losses[-1] < losses[0] / 2
    assert not any(map(torch.equal, trained.parameters(), before))
