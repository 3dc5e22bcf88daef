"""A finished search asked elsewhere: its own scores again, other classes, and photos of seen classes in the gallery."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from sketchlab import config, evaluate
from sketchlab.metrics import retrieval as metrics
from sketchlab.report.paper import protocols
from sketchlab.report.read import read
from sketchlab.report.run import transfer
from sketchlab.training import session
from tests import every

CLASSES = "data.classes=[circle,square,line,house,sun,fish]"
WORDS = [CLASSES, "data.per_class=12", "data/splits=unseen", "data.splits.train=2", "data.splits.val=2"]
WORDS += ["data.splits.test=2", "data.sketches_per_photo=2", "pipeline.sheet_rows=0", "loop.epochs=1"]
SMALL = ["model.input.size_px=32", "model.widths=[8,16]", "model.map_px=4", "model.embedding=8"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small search on two classes never seen; tests leave its folder as it is."""
    root = tmp_path_factory.getbasetemp() / "unseen"
    if not root.exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "report", lambda folder: None)
            words = ["model=small_siamese", *every.SMALL_RUN, *SMALL, *WORDS, f"run.root={root}"]
            session.execute(config.from_overrides(words))
    return every.folder_in(root)


@pytest.fixture
def ask(finished, tmp_path, monkeypatch):
    """Words → the folder of the evaluation and its evaluation.json."""
    monkeypatch.setattr(evaluate, "_report", lambda folder: None)

    def asked(*words):
        arguments = [str(finished), *words, "--out", str(tmp_path)]
        folder = evaluate.evaluate(evaluate.parser().parse_intermixed_args(arguments))
        return folder, json.loads((folder / "evaluation.json").read_text())

    return asked


def final(folder):
    return json.loads((folder / "status.json").read_text())["metrics"]


def test_its_own_test_split_gives_its_own_scores_and_no_drop(finished, ask):
    folder, told = ask()
    ours, theirs = final(finished), final(folder)
    assert theirs and all(ours[key] == pytest.approx(value, abs=1e-6) for key, value in theirs.items())
    assert (told["n"], told["objects"], told["gallery"]["n"]) == (48, 24, 24)
    assert told["trained_classes"] == [] and not any("drop" in row for row in told["scores"].values())


def test_among_photos_of_seen_classes_too(finished, ask):
    folder, told = ask("--generalised")
    assert (told["gallery"]["n"], len(told["gallery"]["classes"]), len(told["gallery"]["trained"])) == (72, 6, 2)
    arrays = {key: torch.from_numpy(np.load(folder / "arrays" / f"test_{key}.npy")) for key in (
        "sketch_embeddings", "photo_embeddings", "sketch_labels", "photo_labels")}  # fmt: skip
    truth = (arrays["sketch_labels"], arrays["photo_labels"])
    names = ["class_mAP"]
    found = metrics.evaluate(arrays["sketch_embeddings"], arrays["photo_embeddings"], classes=truth, names=names)
    row, own = told["scores"]["class_mAP"], final(finished)["test/class_mAP"]
    assert row["value"] == pytest.approx(found["class_mAP"].value) and row["chance"] < row["reference"]["chance"]
    assert row["drop"]["paired"] and row["drop"]["value"] == pytest.approx(own - row["value"], abs=1e-6)
    assert row["drop"]["low"] < row["drop"]["value"] < row["drop"]["high"]


def test_the_drop_counts_sketches_of_one_object_once(finished, ask):
    """The interval of paired differences is that of their means over objects, each of two sketches here."""
    folder, told = ask("--generalised")
    here, before = (np.load(f / "arrays" / "test_per_query_class_mAP.npy") for f in (folder, finished))
    tables = [pd.read_csv(f / "predictions_test.csv")["query"].tolist() for f in (folder, finished)]
    assert tables[0] == tables[1]
    groups = np.load(finished / "arrays" / "test_groups.npy")
    gaps = pd.Series(before - here).groupby(groups).mean().to_numpy()
    half = (told["scores"]["class_mAP"]["drop"]["high"] - told["scores"]["class_mAP"]["drop"]["low"]) / 2
    alone = gaps.std(ddof=1) / len(gaps) ** 0.5
    assert 1.9 * alone < half < 2.5 * alone


def test_other_classes_are_a_drop_of_other_sketches(finished, ask):
    _, told = ask("data.classes=[cloud,eye,donut]")
    row = told["scores"]["class_mAP"]
    assert told["classes"] == ["cloud", "eye", "donut"] and told["n"] == 72
    assert not row["drop"]["paired"] and row["drop"]["value"] == pytest.approx(row["reference"]["value"] - row["value"])


def test_training_samples_are_said_to_be_such(ask):
    _, told = ask("--split", "train")
    assert len(told["trained_classes"]) == 2
    assert told["warnings"][0]["kind"] == "trained on" and told["warnings"][0]["numbers"]["seen"] == 48


def test_an_evaluation_has_a_page_and_its_protocols(ask, capsys):
    folder, told = ask("--generalised")
    page = transfer.transfer(read(folder))
    assert "72 photos of 6 classes (2 trained on)" in page and "class_mAP" in page and "the same sketches" in page
    made = pd.read_csv(protocols.write(folder))
    ours = made[(made["code"] == "sketchlab") & (made["score"] == "mAP@all")]["value"].item()
    assert ours == pytest.approx(told["scores"]["class_mAP"]["value"], abs=1e-6)
    assert "Sketch_LVM" in capsys.readouterr().out and "points apart" in protocols.section(read(folder))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--stress"], "for classifiers alone"),
        (["--rename", "a=b"], "for classifiers alone"),
        (["--generalised", "--split", "all"], "expected --split test or val"),
        (["--generalised", "data.splits.rule=fraction", "data.splits.train=0.4", "data.splits.val=0.2",
          "data.splits.test=0.4"], "are of all classes already"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(finished, words, line, capsys):
    with pytest.raises(SystemExit):
        evaluate.main([str(finished), *words])
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1
