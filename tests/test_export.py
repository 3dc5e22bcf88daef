"""An exported network answers as the run's does, or is not kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sketchlab import export, open_run
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.errors import UserError
from sketchlab.inputs import lengths
from tests import every, finished
from tests.finished import change_status


@pytest.fixture
def trained(tmp_path_factory):
    return finished.trained(tmp_path_factory)


def test_safetensors_hold_every_tensor_and_the_preprocessing(trained, tmp_path, capsys):
    file = export.export(trained, "safetensors", tmp_path)
    net = open_run(trained).network()
    stored = load_file(file)
    assert all(torch.equal(stored[name], value) for name, value in net.state_dict().items())
    told = json.loads((tmp_path / "model.safetensors.json").read_text())
    assert told["labels"] == ["circle", "square", "line"] and told["input"]["shape"] == ["batch", 1, 64, 64]
    assert told["preprocessing"]["invert"] == "to bright lines on black" and told["difference"] <= export.LARGEST
    assert "largest difference of a logit" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "model.safetensors.json"]


def test_onnx_answers_batches_of_any_size(trained, tmp_path, onnx):
    file = export.export(trained, "onnx", tmp_path)
    images = np.random.default_rng(0).random((7, 1, 64, 64), dtype=np.float32)
    (logits,) = onnx_session(file).run(["logits"], {"images": images})
    with torch.no_grad():
        expected = open_run(trained).network()(torch.from_numpy(images)).numpy()
    assert np.abs(logits - expected).max() < 1e-4


def test_a_network_that_answers_differently_is_not_kept(trained, tmp_path, monkeypatch):
    true = export._safetensors

    def wrong(*given):
        answer = true(*given)
        return lambda part: answer(part) + 1e-3 * answer(part).abs().max()

    monkeypatch.setattr(export, "_safetensors", wrong)
    with pytest.raises(UserError, match="answers differ by .*not kept"):
        export.export(trained, "safetensors", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_refused_in_one_line(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    cases = [
        ([tmp_path, "--to", "onnx"], 1, "not a run folder"),
        ([change_status(trained, tmp_path / "r", state="running"), "--to", "onnx"], 1, "still training"),
        ([trained, "--to", "onnx", "--out", tmp_path / "x"], 1, "pip install 'sketchlab[export]'"),
        ([trained, "--to", "tflite"], 2, "invalid choice: 'tflite'"),
    ]
    for words, code, said in cases:
        with pytest.raises(SystemExit) as ended:
            export.main([str(word) for word in words])
        error = capsys.readouterr().err
        assert ended.value.code == code and said in error


@pytest.fixture(scope="module")
def strokes(tmp_path_factory):
    """A finished run of stroke_lstm, which takes batches of any number of drawings of any number of points."""
    return finished.trained(tmp_path_factory, "stroke_lstm")


def onnx_session(file):
    return pytest.importorskip("onnxruntime").InferenceSession(str(file))


@pytest.fixture
def onnx():
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs sketchlab[export]")
    return pytest.importorskip("onnx", reason="needs sketchlab[export]")


@pytest.mark.parametrize("model", [pytest.param(m, marks=pytest.mark.slow) for m in ("cnn_lstm", "cnn_bilstm2d")])
def test_networks_of_frames(model, tmp_path, onnx):
    every.train(every.small(model), str(tmp_path / "run"))
    run = every.folder_in(tmp_path / "run")
    described = json.loads(export.export(run, "safetensors", tmp_path).with_suffix(".safetensors.json").read_text())
    assert described["input"]["name"] == "frames" and described["preprocessing"]["raster"]["pool_px"] == 4
    same_on_drawings(run, export.export(run, "onnx", tmp_path))


def same_on_drawings(run, file):
    opened = open_run(run)
    drawings = stroke_batch.of_drawings([shapes.drawing(name, i) for name in opened.classes for i in range(3)])
    batch = opened.classifier().images(drawings)
    (logits,) = onnx_session(file).run(["logits"], {opened.input.kind: batch.numpy()})
    with torch.no_grad():
        assert np.abs(logits - opened.network()(batch).numpy()).max() < 1e-5


def test_points_of_any_number(strokes, tmp_path, onnx, capsys):
    file = export.export(strokes, "onnx", tmp_path)
    assert "batches of 1, 2, 5, drawings of 1, 2, 17, 40, 97 points" in capsys.readouterr().out
    described = json.loads(file.with_suffix(".onnx.json").read_text())
    assert described["input"]["shape"] == ["batch", "points", 3] and "padding" in described["preprocessing"]["points"]
    shape = onnx.load(file).graph.input[0].type.tensor_type.shape.dim
    assert [dimension.dim_param or dimension.dim_value for dimension in shape] == ["batch", "points", 3]
    same_on_drawings(strokes, file)
    session, net, draw = onnx_session(file), open_run(strokes).network(), np.random.default_rng(0)
    for n, length in ((1, 1), (9, 3), (3, 300)):
        batch = export.random_points(open_run(strokes).input, n, length, draw)
        with torch.no_grad():
            assert np.abs(session.run(["logits"], {"points": batch.numpy()})[0] - net(batch).numpy()).max() < 1e-5


def test_every_size_that_may_move_is_compared(strokes, trained, tmp_path, monkeypatch):
    for run, shapes_of in ((strokes, [(n, length, 3) for n in (1, 2, 5) for length in (1, 2, 17, 40, 97)]),
                           (trained, [(n, 1, 64, 64) for n in (1, 2, 5)])):  # fmt: skip
        batches = export.random_batches(open_run(run).input)
        assert sorted(tuple(batch.shape) for batch in batches) == sorted(shapes_of)
    for batch in export.random_batches(open_run(strokes).input):
        counted = lengths(batch)
        assert counted[0] == batch.shape[1] and counted.min() >= 1


@pytest.mark.slow
def test_one_wrong_size_is_enough(strokes, tmp_path, monkeypatch):
    load, batches = export._safetensors, export.random_batches(open_run(strokes).input)
    error: dict[torch.Size, float] = {}
    monkeypatch.setattr(
        export, "_safetensors", lambda *given: lambda batch: load(*given)(batch) + error.get(batch.shape, 0)
    )
    for shape, value in [*((batch.shape, 1e-3) for batch in batches), (batches[-1].shape, float("nan"))]:
        error.clear()
        error[shape] = value
        with pytest.raises(UserError, match="answers differ by .*not kept"):
            export.export(strokes, "safetensors", tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_other_numbers_of_logits_are_named():
    batches = [torch.zeros(2, 3), torch.zeros(1, 3)]
    with pytest.raises(UserError, match=r"shape \[1, 3\] .* logits of shape \[2, 3\], expected \[1, 3\]; not kept"):
        export.difference(torch.nn.Identity(), lambda batch: batch.expand(2, 3), batches)


def refused(run, folder, capsys):
    """What the command says: one line, and nothing is left."""
    with pytest.raises(SystemExit) as ended:
        export.main([str(run), "--to", "onnx", "--out", str(folder)])
    error = capsys.readouterr().err
    assert ended.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert list(folder.iterdir()) == []
    return error


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        pytest.param([2, 1, 1], "points of shape [5, 40, 3]", id="batch"),
        pytest.param([1, 40, 1], "points of shape [2, 2, 3]", id="points", marks=pytest.mark.slow),
    ],
)
def test_a_file_that_fails_for_other_sizes_is_not_kept(inside, reason, strokes, tmp_path, onnx, monkeypatch, capsys):
    """Its input says that a size may move, but a node inside has it fixed: so torch 2.14 exported LSTMs."""
    write = torch.onnx.export

    class Fixed(torch.nn.Module):
        def forward(self, points):
            sizes = (points, torch.tensor(inside))
            return torch.onnx.ops.symbolic("Expand", sizes, dtype=points.dtype, shape=points.shape).sum(1)

    def fixed(program, given, *more, dynamic_shapes, **options):
        program = torch.export.export(Fixed(), given, dynamic_shapes=dynamic_shapes)
        return write(program, given, *more, dynamic_shapes=dynamic_shapes, **options)

    monkeypatch.setattr(torch.onnx, "export", fixed)
    error = refused(strokes, tmp_path, capsys)
    assert reason in error and "invalid expand shape" in error


class Unrolled(torch.nn.Module):
    def forward(self, points):
        return sum(points[:, i] for i in range(points.shape[1]))


class Untranslated(torch.nn.Module):
    def forward(self, points):
        return torch.linalg.eigvals(points.transpose(1, 2) @ points).real


@pytest.mark.parametrize(
    ("net", "reason"),
    [(Unrolled(), "your code specialized it to be a constant (40)"), (Untranslated(), "linalg_eig")],
)
def test_what_torch_refuses_is_refused_with_its_reason(net, reason, strokes, tmp_path, onnx, monkeypatch, capsys):
    monkeypatch.setattr(export.OpenedRun, "network", lambda run: net)
    assert reason in refused(strokes, tmp_path, capsys)


class Recurrent(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 6, **options)

    def forward(self, points):
        turned = points if self.lstm.batch_first else points.transpose(0, 1)
        return self.lstm(turned)[0].mean(int(self.lstm.batch_first))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"batch_first": True, "num_layers": 3}, marks=pytest.mark.slow),
        {"bidirectional": True, "num_layers": 2, "proj_size": 4},
    ],
)
def test_any_lstm_exports_for_any_number_of_steps(options, strokes, tmp_path, onnx, monkeypatch):
    torch.manual_seed(0)
    net, forward = Recurrent(**options).eval(), torch.nn.LSTM.forward
    monkeypatch.setattr(export.OpenedRun, "network", lambda run: net)
    session = onnx_session(export.export(strokes, "onnx", tmp_path))
    assert torch.nn.LSTM.forward is forward
    batch = torch.randn(4, 61, 3)
    with torch.no_grad():
        expected = net(batch).numpy()
    assert np.abs(session.run(["logits"], {"points": batch.numpy()})[0] - expected).max() < 1e-6


class Attending(torch.nn.Module):
    """Padded points are masked, as a transformer on drawings has to."""

    def __init__(self, **options):
        super().__init__()
        self.inner = torch.nn.Linear(3, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)
        self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, points):  # (B, L, 3) -> (B, 16)
        there = points[..., 2] >= 0
        inner = self.encoder(self.inner(points), src_key_padding_mask=~there) * there[..., None]
        return inner.sum(1) / there.sum(1, keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}])
def test_transformers_export_for_any_number_of_points(options, strokes, tmp_path, onnx, monkeypatch):
    torch.manual_seed(0)
    net = Attending(**options).eval()
    monkeypatch.setattr(export.OpenedRun, "network", lambda run: net)
    session = onnx_session(export.export(strokes, "onnx", tmp_path))
    batch = export.random_points(open_run(strokes).input, 4, 61, np.random.default_rng(1))
    with torch.no_grad():
        expected = net(batch).numpy()
    assert np.abs(session.run(["logits"], {"points": batch.numpy()})[0] - expected).max() < 1e-5
