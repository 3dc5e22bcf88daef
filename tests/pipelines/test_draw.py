"""Drawing: likelihoods against plain sums, masks, bucketing by length, keyed samples, endings, scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sketchlab import config, inputs, rng
from sketchlab.data.strokes import simplify
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.models import sketch_rnn
from sketchlab.pipelines.draw import likelihood, rendered
from sketchlab.pipelines.draw.sampling import sample
from sketchlab.pipelines.draw.task import Draw
from tests import every

INPUT = Input("points", 255, 5, "bright", [0.0], [1.0])


def net(encoder: int = 4, n_classes: int = 3, layer_norm: bool = True, z: int = 5) -> sketch_rnn.SketchRNN:
    torch.manual_seed(1)
    made = sketch_rnn.SketchRNN(
        sketch_rnn.Config(INPUT, encoder, 8, z, 3, n_classes > 0, 4, layer_norm, 0.0), n_classes
    )
    made.scale.fill_(20.0)
    return made.eval()


def points(*lengths: int) -> Tensor:
    """(B, L, 5) raw: every stroke has three points."""
    out = torch.tensor([0.0, 0, 0, 0, 1]).repeat(len(lengths), max(lengths), 1)
    for row, n in zip(out, lengths, strict=True):
        ends = (torch.arange(n) % 3 == 2).float()
        ends[-1] = 1
        row[:n] = torch.cat([torch.randn(n, 2) * 15, torch.stack([1 - ends, ends, 0 * ends], 1)], 1)
    return out


def task(*words: str, model: str = "sketch_rnn_small") -> Draw:
    run = config.from_overrides(every.small(model, *words))
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


# --- the loss


def plain(made: sketch_rnn.SketchRNN, outputs: Tensor, drawing: Tensor, n_max: int) -> tuple[float, ...]:
    """One drawing's N_max · L_s and N_max · L_p point by point (equation 9), the latter up to its end and N_max."""
    M, floor, moves, pens = made.mixtures, sketch_rnn.FLOOR / 20, 0.0, []
    n = int((drawing[:, 4] == 0).sum())
    for i in range(len(outputs)):
        row = outputs[i].double()
        weights, q = row[:M].softmax(0), row[-3:].softmax(0)
        mean, log_std, rho = row[M : 3 * M].reshape(M, 2), row[3 * M : 5 * M].reshape(M, 2), row[5 * M : 6 * M].tanh()
        target = drawing[i].double() if i < n else torch.tensor([0.0, 0, 0, 0, 1])
        pens.append(-float(q[target[2:].argmax()].log()))
        if i >= n:
            continue
        density = 0.0
        for k in range(M):
            sx, sy, r = math.exp(log_std[k, 0]) + floor, math.exp(log_std[k, 1]) + floor, 0.995 * float(rho[k])
            covariance = torch.tensor([[sx * sx, r * sx * sy], [r * sx * sy, sy * sy]], dtype=torch.float64)
            gaussian = torch.distributions.MultivariateNormal(mean[k], covariance)
            density += float(weights[k]) * math.exp(gaussian.log_prob(target[:2] / 20))
        moves -= math.log(density)
    return moves, sum(pens[: min(n_max, n + 1)])


@pytest.mark.parametrize(("encoder", "layer_norm"), [(0, False), (4, True)])
def test_losses_are_the_plain_sums(encoder, layer_norm):
    torch.manual_seed(0)
    made, drawn = net(encoder, layer_norm=layer_norm), points(4, 9, 1)
    batch = torch.cat([drawn, torch.tensor([0.0, 0, 0, 0, 1]).expand(3, 3, 5)], 1)  # 12 rows and the end
    outputs = made(batch, torch.tensor([0, 3, 2]), torch.randn(3, 5))[0].detach()
    found = likelihood.terms(made, outputs, batch)
    for i, n in enumerate((4, 9, 1)):
        moves, pen = plain(made, outputs[i], batch[i], 12)
        assert found.n[i] == n
        assert float(found.moves[i]) == pytest.approx(moves, rel=1e-4, abs=1e-4)
        assert float(found.pen[i] + found.end[i]) == pytest.approx(pen, rel=1e-4)


@pytest.mark.parametrize(("encoder", "layer_norm"), [(0, False), (4, True), (4, False)])
def test_padding_changes_nothing(encoder, layer_norm):
    """A drawing's loss and gradient do not depend on the others of its batch."""
    torch.manual_seed(0)
    made, drawn = net(encoder, layer_norm=layer_norm), points(5, 20)
    noise, classes = torch.randn(2, 5), torch.tensor([2, 0])

    def terms(batch: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        outputs, *code = made(batch, classes[rows], noise[rows])
        found = likelihood.terms(made, outputs, batch)
        loss = (found.moves + found.pen + found.end)[0]
        loss = loss + likelihood.divergence(*code)[0] if code else loss
        return loss, torch.autograd.grad(loss, made.moves.weight)[0]

    for together, alone in zip(terms(drawn, slice(0, 2)), terms(drawn[:1, :5], slice(0, 1)), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_divergence_is_that_of_two_normals():
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    code = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).mean(1)
    torch.testing.assert_close(likelihood.divergence(mean, log_variance), expected)


def test_the_plain_loop_is_the_lstm_of_torch():
    ours, torchs = sketch_rnn.Normed(6, 5, False, 0.0), nn.LSTM(6, 5, batch_first=True)
    with torch.no_grad():  # torch's bias of the gate that keeps is one more here
        torchs.weight_ih_l0.copy_(ours.inputs.weight)
        torchs.weight_hh_l0.copy_(ours.recurrent.weight)
        torchs.bias_ih_l0.copy_(ours.inputs.bias + torch.tensor([0.0, 1, 0, 0]).repeat_interleave(5))
        torchs.bias_hh_l0.zero_()
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(ours(x, None)[0], torchs(x)[0])


def test_the_encoder_reads_each_drawing_both_ways():
    made, drawn = net(), points(7, 3)
    mean, _ = made.encode(made.normalised(drawn))
    rows = made.normalised(drawn)[1:, :3]
    both = [lstm(x, None)[0][:, -1] for lstm, x in ((made.onward, rows), (made.backward_, rows.flip(1)))]
    torch.testing.assert_close(mean[1:], made.code(torch.cat(both, 1)).chunk(2, 1)[0])


def test_weight_of_the_divergence_and_rate_follow_the_paper():
    words = ["pipeline.kl_rate=0.9", "pipeline.lr_decay=0.99", "pipeline.lr_min=0.0001", "loop.lr=0.001"]
    made = task(*words, model="sketch_rnn")
    made.begin_step(10 * made.loop.batch_size / made.n_train)
    assert float(made.eta) == pytest.approx(1 - 0.99 * 0.9**10)
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(0.0001 + 0.0009 * 0.99**10)


@pytest.mark.parametrize("least", [0.0, 50.0])
def test_the_step_adds_the_divergence_as_weighed(least):
    """w_KL · η · max(L_KL, KL_min) beside the reconstruction (section 3.3)."""
    words = ["pipeline.kl_weight=3", "pipeline.kl_start=0.25", f"pipeline.kl_min={least}", "pipeline.unknown_class=0"]
    made = task(*words, model="sketch_rnn")
    places = torch.arange(made.loop.batch_size)
    logs = every.step(made, made.draw(places, places), 0.0)
    expected = float(logs["reconstruction"]) + 3 * 0.25 * max(float(logs["kl"]), least)
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-5)


# --- what is trained on


def test_scale_lengths_and_longest():
    made = task()
    every_point = made._points(made.train, torch.arange(made.n_train), None)
    n = inputs.lengths(every_point)
    assert made.sizes.tolist() == n.tolist() and made.n_max == int(n.max()) <= 30
    moves = torch.cat([row[1:k, :2].flatten() for row, k in zip(every_point, n.tolist(), strict=True)])
    assert float(made.net.scale) == pytest.approx(float(moves.std(correction=0)), rel=1e-4)


def test_long_drawings_are_simplified_with_a_line_or_refused():
    made = task("pipeline.max_points=8")
    assert int(made.sizes.max()) <= 8 and "more than 8 points" in made.notes["too long, train"]
    with pytest.raises(UserError, match="max_points=8"):
        task("pipeline.max_points=8", "pipeline.too_long=refuse")


def test_shortened_keeps_ends_and_order():
    wave = [[list(range(0, 200, 2)), [(i * i) % 37 for i in range(100)]], [[5, 90], [7, 8]]]
    short = simplify.shortened(wave, 20)
    assert sum(len(x) for x, _ in short) <= 20 and short[1] == wave[1]
    assert [short[0][0][0], short[0][0][-1]] == [0, 198] and set(zip(*short[0], strict=True)) <= set(
        zip(*wave[0], strict=True)
    )
    assert simplify.shortened([[[i, i + 1], [0, 5]] for i in range(50)], 20) == [
        [[i, i + 1], [0, 5]] for i in range(10)
    ]


def test_some_classes_are_left_out():
    made = task("pipeline.unknown_class=0.5")
    places = torch.arange(made.n_train)
    keys = rng.fold_each(7, places)
    classes = made.prepare(made.draw(places, keys))["classes"]
    assert 0 < int((classes == 3).sum()) < made.n_train
    assert torch.equal(classes[classes < 3], made.train.labels[classes < 3])


# --- sampling


def keys(n: int) -> Tensor:
    return rng.fold_each(5, torch.arange(n))


def test_a_drawing_follows_from_its_key():
    made, classes, codes = net(), torch.tensor([0, 1, 2, 3]).repeat(40), torch.randn(160, 5)
    whole = sample(made, keys(160), classes, codes, 0.7, 25)
    few = sample(made, keys(3), classes[:3], codes[:3], 0.7, 25)
    assert torch.equal(whole[:3, : few.shape[1]], few)
    assert not torch.equal(whole[0], whole[4])
    n = inputs.lengths(whole)
    assert int(n.min()) >= 1 and int(n.max()) <= 25
    assert bool((whole[n == 25][:, 24, 3] == 1).all())  # a drawing that is cut ends its stroke


def test_temperature_divides_logits_and_multiplies_variances():
    """20,000 draws of a first point against the mixture's moments (equation 8)."""
    made = net(0, 0)
    with torch.no_grad():
        made.moves.weight.zero_()
        made.moves.bias.copy_(torch.tensor([0.0, 1, -1, *[2.0, 3] * 3, *[0.3, -0.4] * 3, *[0.5] * 3, 1.0, 0, 9]))
    first = sample(made, keys(20_000), None, None, 0.25, 1)[:, 0]
    predicted = made.pen_moves(made.moves.bias)
    ends = torch.tensor([1.0, 0.0]).div(0.25).softmax(0)[1]  # a drawing does not end before its first point
    assert float((first[:, 4] > 0).double().mean()) == 0
    std, mean = predicted.std[0] * 0.25**0.5 * 20, predicted.mean[0] * 20
    torch.testing.assert_close(first[:, :2].mean(0), mean, atol=0.5, rtol=0.02)
    torch.testing.assert_close(first[:, :2].std(0), std, atol=0.3, rtol=0.03)
    assert float(first[:, :2].T.corrcoef()[0, 1]) == pytest.approx(float(predicted.rho[0]), abs=0.03)
    assert 0 < ends < 1


def test_endings_begin_as_they_were_begun():
    made, begun = net(), points(4)
    whole = sample(made, keys(6), torch.full((6,), 3), torch.randn(6, 5), 1.0, 12, begun)
    assert torch.allclose(whole[:, :4], begun.expand(6, -1, -1), atol=1e-4)
    assert bool((whole[:, 4, 4] == 0).all())  # at least one point follows


def test_the_state_after_a_beginning_is_that_of_one_pass():
    made, drawn = net(0), points(9)
    condition, rows = made.condition(None, torch.tensor([1])), made.normalised(drawn)
    whole = made.decode(rows, condition, None)[0]
    first, state = made.decode(rows[:, :5], condition, None)
    torch.testing.assert_close(torch.cat([first, made.decode(rows[:, 5:], condition, state)[0]], 1), whole)


def test_strokes_of_points():
    drawn = torch.tensor([[10.0, 20, 1, 0, 0], [5, 0, 0, 1, 0], [0, 5, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 1]])
    assert rendered.strokes(drawn) == [[[10, 15], [20, 20]], [[15, 16], [25, 26]]]
    assert rendered.strokes(drawn, 1) == [[[10, 15], [20, 20]], [[15, 16], [25, 26]]]  # point 0 did not end its stroke
    assert rendered.strokes(drawn, 2) == [[[15, 16], [25, 26]]]


# --- scores


@pytest.mark.parametrize("model", ["sketch_rnn", "sketch_rnn_small"])
def test_scores_are_declared_and_likelihood_is_that_of_each_drawing(model):
    made = task(model=model)
    found = made.evaluate("val")
    samples = made.data.splits["val"]
    nats = points = paper = 0.0
    made.net.eval()
    for i in range(len(samples)):
        at = torch.tensor([i])
        drawn = made._points(samples, at, None)
        n = drawn.shape[1]
        noise = rendered.noise(rng.fold("code", "val"), at, made.net.z) if made.net.z else None
        classes = samples.labels[at] if made.net.n_classes else None
        with torch.no_grad():
            outputs, *code = made.net(drawn, classes, noise)
        t = likelihood.terms(made.net, outputs, drawn)
        kl = float(likelihood.divergence(*code)) if code else 0.0
        nats += float(t.moves + t.pen + t.end) + made.net.z * kl + 2 * n * math.log(float(made.net.scale))
        end = float(t.end) if n < made.n_max else 0.0
        paper, points = paper + (float(t.moves + t.pen) + end) / made.n_max, points + n
    assert found["nats_per_point"] == pytest.approx(nats / points, rel=1e-4)
    assert found["reconstruction"] == pytest.approx(paper / len(samples), rel=1e-4)
    assert ("kl" in found) == (model == "sketch_rnn")
    assert {"kid@random", "recall@random", "novelty"} <= set(found) and found["samples_sheet"].dtype == torch.uint8


def test_copies_are_not_novel():
    made = task()
    copied = made.drawn.reals.some("train", torch.arange(6))
    assert made.drawn._novelty("val", copied)[0] == pytest.approx(0, abs=1e-3)
    assert made.drawn._novelty("val", made.drawn.reals.of("val"))[0] == pytest.approx(1)


def test_what_is_shown():
    shown = task(model="sketch_rnn").drawn.explain("test")["drawings"]()["drawings"]
    assert shown["encoder"] and len(shown["rows"]) == len(shown["completions"]) == 6
    assert all(len(row["made"]) == 4 for row in shown["rows"])
    one = shown["completions"][0]
    assert len(one["endings"]) == 4 and all(one["endings"]) and one["beginning"]
