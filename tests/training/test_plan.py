"""What a run would take, without doing it."""

from __future__ import annotations

import pytest
import torch

from sketchlab import config, run
from sketchlab.engine import loop
from sketchlab.errors import UserError
from sketchlab.training import plan, work
from sketchlab.training.prepare import prepare
from tests import every
from tests.engine.test_bad_runs import Cut, cut_after


def planned(*words: str) -> plan.Row:
    plan._known.clear()
    plan._started.clear()
    return plan.of(prepare(config.from_overrides(list(words))))


@pytest.mark.parametrize(
    "model", ["small_cnn", *every.slow("small_siamese", "small_dcgan", "pixels_naive_bayes", "stroke_lstm")]
)
def test_a_plan_of_every_kind_of_run(model, tmp_path):
    row = planned(*every.small(model, f"run.root={tmp_path}"))
    assert row.state == "new" and 0 < row.seconds < 120 and row.memory_mb > 100
    assert not list(tmp_path.glob("*/*")), "nothing is left"


@pytest.mark.slow
def test_states_and_what_is_left(tmp_path, monkeypatch):
    words = every.small("small_cnn", f"run.root={tmp_path}", "loop.save_every_s=0", "loop.epochs=200")
    whole = planned(*words)
    cut_after(monkeypatch, 500)
    with pytest.raises(Cut):
        run.execute(config.from_overrides(words), reported=False)
    monkeypatch.undo()
    rest = planned(*words)
    assert (whole.state, rest.state) == ("new", "resumed") and rest.seconds < whole.seconds
    again = planned(*words, "rerun=true")
    assert again.state == "new" and again.seconds > rest.seconds


@pytest.mark.slow
def test_it_grows_with_epochs_and_a_second_run_of_a_sweep_is_not_probed(tmp_path, monkeypatch):
    words = every.small("small_cnn", f"run.root={tmp_path}")
    few = planned(*words)
    monkeypatch.setattr(plan, "_probed", lambda *_: pytest.fail("probed again"))
    many = plan.of(prepare(config.from_overrides([*words, "loop.epochs=2000", "seed=1"])))
    assert many.seconds > 20 * few.seconds


@pytest.mark.slow
def test_early_stopping_and_ranks_are_named(tmp_path):
    row = planned(*every.small("small_cnn", f"run.root={tmp_path}", "loop.patience=2", "runtime.ranks=2"))
    assert "one rank with a 2th of the batch" in row.note and "at most: loop.patience" in row.note


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (7800, "2 h 10 min"), (273600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert loop.duration(seconds) == text


def test_a_long_run_tells_once_how_long_it_takes_by_steps_after_the_first(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])

    def told(total: int, seconds: dict[int, float]) -> dict[int, str]:
        remaining, found = loop.Remaining(0), {}
        for step in range(1, 200):
            now[0] += seconds.get(step, seconds[0])
            if text := remaining(step, total):
                found[step] = text
        return found

    about = "about 1 h 56 min to go, evaluations not counted"
    assert told(10_000, {0: 0.7, 1: 300.0}) == {23: about}, "the first step takes five minutes, and counts for nothing"
    assert told(540, {0: 0.1, 1: 20.0}) == {}, "a short one says nothing"
    assert told(1000, {0: 20.0}) == {6: "about 5 h 31 min to go, evaluations not counted"}, "steps of 20 s"


def test_the_epoch_line_fits_a_terminal_and_the_log_has_all():
    row = {"step": 100, "epoch": 3} | {f"val/score_{i}": i / 7 for i in range(30)} | {"val/loss": 0.5, "val/kid": 0.25}
    short, whole = loop.lines(row, 40, {"train_s": 1.0, "eval_s": 2.0, "save_s": 0.5}, "val/kid")
    assert len(short) <= 120 and "val/kid 0.25" in short and "val/loss 0.5" in short and short.endswith("  …  3.5 s")
    assert all(f"{key} {value:.4g}" in whole for key, value in row.items() if "/" in key)
    few = {"step": 1, "epoch": 1, "val/loss": 0.5}
    assert len(set(loop.lines(few, 1, {"train_s": 1.0, "eval_s": 0.0, "save_s": 0.0}, ""))) == 1


def test_what_can_be_known_before_data_is_read_comes_first(tmp_path, monkeypatch):
    """Weights, device, output root, scoring classifier: before a file of the data set is looked at."""
    from sketchlab.data.sets import shapes

    monkeypatch.setattr(shapes, "build", lambda *_: pytest.fail("the data was read"))
    file = tmp_path / "file"
    file.write_text("")
    cases = [
        (["model=vgg16", "model.weights=nowhere.pth", "model.input.size_px=32"], "model.weights=nowhere.pth"),
        ([*every.small("small_cnn"), f"run.root={file}/below"], "cannot write to"),
        ([*every.small("small_dcgan"), "pipeline.scoring_classifier=nowhere"], "nowhere"),
        ([*every.small("small_cnn"), "run.track=[tensorbored]"], "no such tracker"),
    ]
    if not torch.cuda.is_available():
        cases.append((["runtime.device=cuda"], "torch sees no CUDA GPU"))
    for words, said in cases:
        with pytest.raises(UserError, match=said):
            prepare(config.from_overrides([*words] if "run.root" in str(words) else [*words, f"run.root={tmp_path}"]))


def test_a_cpu_that_fine_tunes_names_a_faster_command(monkeypatch):
    words = ["model=vgg16_sketchanet", "data=shapes"]
    first, second = work.faster(config.from_overrides(words))
    assert "runtime.precision=bf16" in first and "model.tune=freeze loop=classify" in first
    assert "model.tune=freeze model.kernel_px=15 changes nothing" in second and "3×3 pools" in second
    assert "bf16" not in work.faster(config.from_overrides([*words, "runtime.precision=bf16"]))[0]
    assert len(work.faster(config.from_overrides(["model=vgg16", "model.tune=finetune"]))) == 1
    for other in (
        ["model=small_cnn"],
        ["model=vgg16"],
        [*words, "model.tune=freeze"],
        [*words, "model.train_from=conv5"],
    ):
        assert work.faster(config.from_overrides(other)) == []
    config.from_overrides(["model.tune=freeze", *words, "loop=classify"])  # what it names can be typed
