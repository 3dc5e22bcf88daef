"""The detectors of a GAN's report: each fires on what it is for and on nothing else; training as a moving picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from sketchlab import report
from sketchlab.report.comparison.compare import compare
from sketchlab.report.read import read
from sketchlab.report.run import curves, warnings
from sketchlab.report.run import gan as generator


@pytest.fixture
def gan(run_folder):
    """gan(**columns) → a run of pipeline=gan, with the columns (10 values, or one for all) in its metrics."""

    def make(pipeline="gan", **columns):
        folder = run_folder("gan")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["choices"]["pipeline"] = pipeline
        config["config"]["pipeline"] = {"real_label": 0.9}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = []
        for i in range(10):
            row = {"step": 100 * (i + 1), "epoch": i + 1, "train/loss_g": 2 + 0.3 * (i % 3), "train/loss_d": 0.9}
            row |= {
                "train/d_real": 0.6,
                "train/d_fake": 0.3,
                "val/kid@random": 0.3 / (i + 1),
                "val/kid_std@random": 0.01,
            }
            row |= {"val/ms_ssim_fake": 0.41, "val/ms_ssim_real": 0.4}
            rows.append(row | {k: v[i] if isinstance(v, list) else v for k, v in columns.items()})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        status = json.loads((folder / "status.json").read_text())
        status["metrics"] = {k: v for k, v in rows[-1].items() if "/" in k}
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "quality_val.json").write_text(
            json.dumps({"kid": {"features": "random", "n_real": 400, "n_fake": 400, "before_training": 0.6}})
        )
        return folder

    return make


FLAT_KID = [0.3, 0.1, 0.05, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04]
SURE = {"train/d_real": 0.89, "train/d_fake": 0.01}


@pytest.mark.parametrize(
    ("columns", "fires"),
    [
        ({}, []),
        ({"val/ms_ssim_fake": 0.56}, ["Collapsed"]),
        ({"val/ms_ssim_fake": 0.54}, []),
        ({**SURE, "val/kid@random": FLAT_KID}, ["Saturated"]),
        (SURE, []),  # KID still falls
        ({"train/d_real": 0.89, "train/d_fake": 0.1, "val/kid@random": FLAT_KID}, []),  # sure on one side
        ({"train/loss_g": 2.0}, ["Stuck"]),
        ({"train/loss_g": [9, 8, 7, 6, 5, 2, 2, 2.01, 2, 2]}, ["Stuck"]),
        ({"train/loss_g": [9, 8, 7, 6, 5, 2, 2, 2.1, 2, 2]}, []),
    ],
)
def test_detectors_fire_on_what_they_are_for(gan, columns, fires):
    run = read(gan(**columns))
    found = {answer.subject: answer.numbers["answer"] for answer in generator.detectors(run)}
    assert set(found) == {"Collapsed", "Saturated", "Stuck"}
    assert [name for name, answer in found.items() if answer == "Yes"] == fires
    said = [line for line in warnings.lines(run) if line.partition(":")[0] in found]
    assert [line.partition(":")[0] for line in said] == fires


def test_a_classifier_that_does_not_know_the_real_images_is_told_of(gan):
    said = warnings.lines(read(gan(**{"val/class_accuracy": 0.1, "val/class_accuracy_real": 0.2})))
    assert any("The scoring classifier gets only 0.20 of the real images of val right" in line for line in said)
    assert not any(
        "scoring classifier" in line for line in warnings.lines(read(gan(**{"val/class_accuracy_real": 0.9})))
    )


def test_too_little_to_judge_by_is_not_judged(gan):
    folder = gan()
    lines = (folder / "metrics.jsonl").read_text().splitlines()[:2]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert "Stuck" not in [answer.subject for answer in generator.detectors(read(folder))]


def test_page_says_how_it_is_doing(gan):
    folder = gan()
    (folder / "gate_val.json").write_text(json.dumps({"fired": [{"step": 450, "lr_factor": 1.5}]}))
    text = report.write(folder).read_text()
    assert all(f"<td>{name}?</td><td>No</td>" in text for name in ("Collapsed", "Stuck", "Saturated"))
    assert text.index("val samples, epoch") < text.index('id="Curves"'.lower()) < text.index("Collapsed?")
    assert "KID on val, in random features: 0.03, 5.00% of 0.6 before training." in text
    assert "fired 1 time: step 450 (rates × 1.5)" in text
    assert text.count("data:image/webp;base64,") == 1
    run = read(folder)
    assert curves.families(run)["kid@random"] == ["val/kid@random"]
    assert not any("std" in family for family in curves.families(run))
    assert generator.title("kid@random") == "KID, ± over its draws (random features)"
    assert (folder / "plots" / "curve_d.png").exists()


def test_moving_picture_has_a_frame_for_each_evaluation_and_the_same_bytes(gan):
    folder = gan()
    path = generator.animation(read(folder))
    assert path is not None
    first = path.read_bytes()
    with Image.open(path) as opened:
        assert opened.n_frames == 10  # type: ignore[attr-defined]
        opened.seek(9)
        opened.load()
        assert opened.info["duration"] == generator.LAST_MS
        assert abs(float(np.asarray(opened.convert("L")).mean()) - 200) < 2
    assert generator.animation(read(folder)).read_bytes() == first
    for sheet in sorted((folder / "samples").glob("val_samples_*"))[1:]:
        sheet.unlink()
    assert generator.animation(read(folder)) is None


def test_classes_asked_for_are_told_as_such(gan):
    folder = gan()
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "val_asked_confusion.npy", np.diag([3, 4, 5]))
    text = report.write(folder).read_text()
    assert "Validation, asked of the generator" in text and (folder / "plots" / "val_asked_confusion.png").exists()


def test_sheets_say_how_to_read_them():
    assert "copies" in generator.how_to_read("test_nearest") and "photo" in generator.how_to_read("val_translated_3")
    assert generator.how_to_read("val_samples_3") == ""


@pytest.mark.slow
def test_the_eye_tests_share_fooled_has_its_interval_and_n(gan):
    folder = gan()
    assert "Eye test" not in report.write(folder).read_text()
    said = {("generated", "real"): 9, ("generated", "generated"): 11, ("real", "generated"): 5, ("real", "real"): 15}
    rows = [
        {"test": i % 2, "truth": truth, "said": word, "who": "Ada" if i % 2 else ""}
        for (truth, word), n in said.items()
        for i in range(n)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "eye_test.jsonl").write_text(lines + '{"test": 1, "tru')  # cut
    text = report.write(folder).read_text()
    assert "40 answers in 2 tests, by Ada." in text
    assert "Generated pictures called real: 9 of 20 = 45% (95% Wilson interval 26% to 66%)." in text
    assert "Real pictures called generated: 5 of 20 = 25% (95% Wilson interval 11% to 47%)." in text
    assert "eye_test.jsonl is cut in line 41" in text


KNOWN = {"real": -0.0001, "real_sd": 0.0002, "noise": 0.031, "grey": 0.0009, "better": "lower", "informative": True}
SEEN = {"real": 0.89, "real_sd": 0.04, "noise": 0.0, "grey": 1.0, "better": "higher", "informative": False}
FID = {"real": 0.26, "real_sd": 0.01, "noise": 9.0, "grey": 4.6, "informative": True, "n_real": 400, "n_other": 512}


@pytest.mark.slow
def test_what_is_known_stands_beside_every_score(gan, tmp_path):
    columns = {"val/kid@random": 0.00095, "val/precision@random": 1.0, "val/fid@random": 4.66}
    folder = gan(**columns)
    before = report.write(folder).read_text()
    assert "one grey image" not in before and "not informative" not in before, "a folder of before says nothing"
    known = {"kid@random": KNOWN, "precision@random": SEEN, "fid@random": FID}
    (folder / "calibration_val.json").write_text(json.dumps(known))
    (folder / "warnings_val.json").write_text(
        json.dumps({"not informative": "Not informative here: precision@random."})
    )
    text = report.write(folder).read_text()
    assert text.count("real -0.0001 ± 0.0002, noise 0.031, grey 0.0009") == 2  # the headline and the table
    assert "real 0.89 ± 0.04, noise 0, grey 1: not informative here" in text
    assert "Validation: Not informative here: precision@random." in warnings.lines(read(folder))
    assert "fid@random on val is 4.66. Of real images against real ones it is 0.26 with 400 and 512 of them" in text
    page = compare([folder], out=tmp_path / "out", metric="val/precision@random").read_text()
    assert "val/precision@random is not informative here, in" in page
    page = compare([folder], out=tmp_path / "out", metric="val/kid@random").read_text()
    assert "not informative here" not in page


def test_samples_and_the_discriminators_curves_stand_above_the_tables(run_folder):
    folder = run_folder("gan")
    page = report.write(folder).read_text(encoding="utf-8")
    places = [page.index(f">{title}</h2>") for title in ("Pictures", "Curves", "Result")]
    assert places == sorted(places)
    assert next(iter(curves.families(read(folder)))) == "d"
