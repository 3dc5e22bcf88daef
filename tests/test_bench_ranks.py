"""The model of ranks against hand and a ring played through, and what is measured beside it. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sketchlab import config
from tests.test_bench import SCRIPTS, bench

FRESH = ["model.weights=none", "model.tune=scratch"]
WORDS = {
    "VGG16, fine-tuned": ["model=vgg16", *FRESH],
    "VGG16, three linear layers": ["model=vgg16", "model.head=vgg", *FRESH],
    "cnn_lstm": ["model=cnn_lstm"],
    "siamese": ["model=siamese"],
}


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import ranks_model

    return ranks_model


@pytest.fixture
def ranks(model):
    import bench_ranks

    return bench_ranks


def test_an_all_reduce_by_hand(model):
    # 1 GB over 4 ranks: 6 messages of 250 MB at 100 GB/s, 2.5 ms each, and 6 times 10 µs
    link = model.Link(100e9, 10e-6)
    assert model.reduce_s(1e9, 4, link) == pytest.approx(15.06e-3, rel=1e-12)
    assert model.reduce_s(1e9, 1, link) == 0
    assert model.efficiency(45.18e-3, 15.06e-3) == pytest.approx(0.75)
    assert model.efficiency(model.enough_s(2e-3), 2e-3) == pytest.approx(0.9)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_a_ring_played_through(model, n):
    """Every rank ends with the sum after as many messages, of as many bytes, as the model counts."""
    link, chunk_bytes, clock = model.Link(2e9, 3e-6), 4e6, 0.0
    values = [[(rank + 1) * 10**chunk for chunk in range(n)] for rank in range(n)]
    for step in range(2 * (n - 1)):
        sent = [(rank, (rank - step) % n if step < n - 1 else (rank + 1 - (step - n + 1)) % n) for rank in range(n)]
        messages = [((rank + 1) % n, chunk, values[rank][chunk]) for rank, chunk in sent]
        for rank, chunk, value in messages:
            values[rank][chunk] = value + (values[rank][chunk] if step < n - 1 else 0)
        clock += chunk_bytes / link.bandwidth + link.latency_s
    assert all(row == [n * (n + 1) // 2 * 10**chunk for chunk in range(n)] for row in values)
    assert model.reduce_s(n * chunk_bytes, n, link) == pytest.approx(clock)


def test_the_fit_finds_the_link(model):
    link, sizes = model.Link(3e9, 40e-6), [2**10, 2**20, 2**26]
    found = model.fitted(sizes, [model.reduce_s(size, 4, link) for size in sizes], 4)
    assert found.bandwidth == pytest.approx(link.bandwidth) and found.latency_s == pytest.approx(link.latency_s)


@pytest.mark.parametrize("name", WORDS)
def test_the_networks_have_so_many_parameters(model, name):
    assert set(WORDS) == set(model.PARAMETERS)
    with torch.device("meta" if "VGG16" in name else "cpu"):
        net = config.from_overrides(WORDS[name]).model.build(18)
    assert sum(p.numel() for p in net.parameters()) == model.PARAMETERS[name]


def test_the_page_shows_the_table(model):
    page = (Path(SCRIPTS).parent / "benchmarks" / "README.md").read_text()
    assert "\n".join(model.table()) in page


def test_medians_leave_waiting_to_the_rank_that_came_first(ranks):
    warm = [9.0] * ranks.WARMUP
    every = [[*warm, 3.0, 1.0, 3.0], [*warm, 1.0, 1.0, 1.0]]
    said = ranks.medians([*warm, 20.0, 18.0, 20.0], [*warm, 5.0, 3.0, 5.0], every)
    assert said == {"step_s": 20, "reduce_s": 1, "wait_s": 2, "flat_s": 2, "rest_s": 15}
    alone = ranks.medians([*warm, 20.0], [*warm, 0.5], [[]])
    assert alone == {"step_s": 20, "reduce_s": 0, "wait_s": 0, "flat_s": 0.5, "rest_s": 19.5}


def test_an_unknown_network_is_one_line(ranks):
    with pytest.raises(SystemExit, match="nothing is none of small_cnn, vgg16"):
        next(ranks.compare(networks="small_cnn,nothing"))


@pytest.mark.long
def test_measured_on_two_ranks(tmp_path):
    said = bench("ranks", "repeats=1", "steps=3", "networks=small_cnn", "--out", str(tmp_path))
    assert said.returncode == 0, said.stderr
    (file,) = tmp_path.glob("*.json")
    rows = json.loads(file.read_text())["comparisons"]["ranks"]
    assert set(rows) == {"small_cnn, same batch a rank", "small_cnn, same batch in all", "small_cnn, model"}
    net = config.from_overrides(["model=small_cnn"]).model.build(18)
    n_bytes = 4 * sum(p.numel() for p in net.parameters())
    for name in ("same batch a rank", "same batch in all"):
        assert rows[f"small_cnn, {name}"]["notes"]["gradient"] == f"{n_bytes / 1e6:.3g} MB"
    assert rows["small_cnn, model"]["estimated"]
