"""What sketchlab is measured against draws the same frames and is the same network. No time is asserted here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sketchlab import config
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import raster
from tests.data.test_raster import FRANKENSTEIN, random_drawings


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    import stroke_peers

    return stroke_peers


@pytest.fixture(scope="module")
def drawn():
    """Drawings, some of more than eight strokes, and their frames."""
    drawings = [[s if len(s[0]) > 1 else [axis * 2 for axis in s] for s in d] for d in random_drawings(200)]
    return drawings, raster.frames(stroke_batch.of_drawings(drawings), FRANKENSTEIN, 64, 8).numpy()


def test_pil_draws_the_same_frames_both_ways(peers, drawn):
    drawings, frames = drawn
    assert max(map(len, drawings)) > 8
    assert np.array_equal(np.stack([peers.plain_pil(d) for d in drawings]), frames)
    assert np.array_equal(peers.best_pil([peers.flat_lists(d) for d in drawings]), frames)


def test_opencv_differs_by_single_pixels_only(peers, drawn):
    pytest.importorskip("cv2", reason="needs sketchlab[bench]")
    drawings, frames = drawn
    theirs = peers.opencv([peers.arrays(d) for d in drawings])
    assert 0 < (theirs != frames).mean() < 0.01


def test_json_gives_the_frames_and_classes_back(peers, drawn, tmp_path):
    frames = drawn[1][:6]
    peers.write_json(frames, torch.arange(6), tmp_path)
    (read, labels), *_ = peers.loader(tmp_path, 6, 6, 0, shuffle=False)
    assert np.array_equal(read.numpy(), frames) and labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_plain_network_answers_as_ours(peers, drawn):
    torch.manual_seed(0)
    net = config.from_overrides(["model=cnn_lstm"]).model.build(8).eval()
    frames = torch.from_numpy(drawn[1][:3]).float() / 255
    with torch.no_grad():
        assert torch.allclose(peers.twin(net).eval()(frames), net(frames), atol=1e-5)
