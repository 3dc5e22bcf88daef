"""The page of a retrieval run: distances of pairs, the map, protocols; drawn from files alone."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sketchlab.report.read import read
from sketchlab.report.run import plots
from sketchlab.report.run import retrieve as retrieval
from sketchlab.report.run.sections import result, samples
from tests.report.conftest import put


@pytest.fixture
def folder(run_folder):
    path = run_folder("retrieval")
    draw = np.random.default_rng(0)
    put(path, "arrays/val_pair_distances.npy", np.stack([draw.uniform(0, 1, 200), draw.uniform(0.5, 2, 200)]))
    put(path, "pairs_val.json", {"match": "class", "threshold": 0.75, "chosen_on": "val"})
    put(path, "protocol_val.json", {"recall@1": "the object drawn is among the 1 nearest; 200 sketches"})
    kinds = {"domain": ["sketch"] * 30 + ["photo"] * 20, "id": [f"NA/{i}" for i in range(50)]}
    rows = {**kinds, "label": ["NA", "cup$1"] * 25, "object": range(50), "x": draw.normal(size=50), "y": 0.0}
    pd.DataFrame(rows).to_csv(path / "map_val.csv", index=False)
    put(path, "arrays/val_map_pixels.npy", draw.integers(0, 256, (50, 3, 20, 20), dtype=np.uint8))
    return path


def test_the_section_shows_sheet_distances_and_map(folder):
    run = read(folder)
    drawn = plots.draw(run)
    kinds = {plot.kind: plot for plot in drawn}
    assert kinds["distances"].path.name == "val_distances.png" and kinds["map"].path.name == "val_map.png"
    assert kinds["map"].title == "Map of the embeddings, validation: 30 sketches, 20 photos"
    before = kinds["map"].path.read_bytes()
    assert {plot.kind: plot for plot in plots.draw(read(folder))}["map"].path.read_bytes() == before
    text = retrieval.section(run, drawn)
    assert text.count("<img") == 1 and text.count("<svg") == 2 and "A thick green frame" in text and "t-SNE" in text
    assert "val retrieval" not in samples(run)
    said = result(run)
    assert "protocol" in said and "the object drawn is among the 1 nearest" in said


def test_a_map_without_pictures_and_a_run_without_either(folder, run_folder):
    (folder / "arrays" / "val_map_pixels.npy").unlink()
    (folder / "arrays" / "val_pair_distances.npy").unlink()
    run = read(folder)
    assert [plot.kind for plot in retrieval.plots(run)] == ["map"]
    assert run.map("val")["label"].tolist()[:2] == ["NA", "cup$1"] and not len(run.map("test"))
    assert Image.open(folder / "plots" / "val_map.png").width > 800


def test_a_run_that_searched_nothing_has_no_section(run_folder):
    run = read(run_folder("gan"))
    assert retrieval.section(run, []) == "" and not list(retrieval.plots(run))
    assert "protocol" not in result(run)


def test_scores_stand_in_the_order_in_which_they_are_declared(folder):
    rows = re.findall(r"<tr[^>]*><td>val</td><td[^>]*>([^<]+)</td>", result(read(folder)))
    known = [name for name in rows if name in ("recall@1", "recall@10", "class_mAP")]
    assert known[:1] == ["recall@1"] and known == ["recall@1", "recall@10", "class_mAP"]
