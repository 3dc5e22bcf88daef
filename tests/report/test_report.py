import base64
import html
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sketchlab import report, stats
from sketchlab.errors import UserError
from sketchlab.report import scores
from sketchlab.report.read import read
from sketchlab.report.run import curves, warnings
from sketchlab.report.run.headline import headline
from sketchlab.report.sentences import render

KINDS = ["classifier", "collapsed", "retrieval", "gan", "baseline", "interrupted"]


def page_of(folder):
    page = folder / "report.html"
    return (page if page.exists() else report.write(folder)).read_text()


def words(page):
    """The page as a reader sees it: no style, no tags, entities resolved."""
    page = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in ("collapsed", "baseline", "interrupted"))) for k in KINDS]
)
def test_every_kind_of_run_gives_one_page_that_loads_nothing(run_folder, drawn, kind):
    folder = drawn if kind == "classifier" else run_folder(kind)
    page = page_of(folder)
    assert (folder / "report.html").is_file()
    assert not re.search(r'(?:src|href)="(?!data:image/(?:png|webp);base64,|#)', page)
    assert not re.search("https?:", page) and "@import" not in page and not re.search(r"url\((?!#)", page)
    assert "<script src" not in page and "import(" not in page and "fetch(" not in page
    pictures = re.findall(r'(?:src|href)="data:image/png;base64,([^"]+)"', page)
    assert pictures or "<svg" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for picture in pictures:
        Image.open(io.BytesIO(base64.b64decode(picture))).verify()
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert not list(folder.rglob("*.part"))
    linked = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert linked and all(f'id="{name}"' in page for name in linked)


def test_report_never_imports_torch():
    code = (
        "import sys, sketchlab.report; print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'hydra')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_classifier_headline_says_n_interval_and_chance(drawn):
    low, high = (f".{100 * end:.0f}" for end in stats.wilson(240, 300))
    line = f"Test accuracy .800 (n = 300, 95% Wilson [{low}, {high}]); chance .333; weights of epoch 12"
    assert render(headline(read(drawn))) == line
    assert line in words(page_of(drawn))


def test_without_test_split_the_last_epoch_is_the_result_and_the_best_is_called_optimistic(run_folder):
    folder = run_folder("collapsed")
    assert render(headline(read(folder))).startswith("Validation accuracy .500 (n = 62")
    assert "after epoch 25" in render(headline(read(folder)))
    assert "accuracy .581 at epoch 8. That figure is optimistic" in words(page_of(folder))


def test_class_names_are_escaped_and_nothing_is_read_as_mathematics(drawn):
    page = page_of(drawn)
    assert "<b>&</b>" not in page and "<b>&," not in page
    assert "&lt;b&gt;&amp;" in page
    assert '$x$ "bee"' in words(page)


def test_plots_of_a_classifier(drawn):
    names = {path.name for path in (drawn / "plots").iterdir()}
    assert {
        "curve_loss.png",
        "curve_accuracy.png",
        "test_confusion.png",
        "val_confusion.png",
        "test_classes.png",
        "test_mistakes.png",
        "time_spent.png",
    } <= names
    for path in (drawn / "plots").glob("*.png"):
        assert "Software" not in Image.open(path).info
    for path in (drawn / "plots").glob("*.svg"):
        assert "<dc:date>" not in path.read_text() and "<dc:creator>" not in path.read_text()


@pytest.mark.slow
def test_same_folder_same_bytes_whatever_the_reader_has_set(drawn):
    import matplotlib

    first = {path: path.read_bytes() for path in [drawn / "report.html", *(drawn / "plots").iterdir()]}
    with matplotlib.rc_context({"axes.facecolor": "black", "lines.linewidth": 9, "font.size": 20}):
        report.write(drawn)
    assert {path: path.read_bytes() for path in first} == first


def test_worst_mistakes_are_the_surest_first(drawn):
    run = read(drawn)
    wrong = scores.mistakes(run, "test")
    assert wrong is not None and len(wrong) == 60
    table = run.predictions("test")
    brute = sorted(
        ((-row[f"p_{row['prediction']}"], i) for i, row in table.iterrows() if row["prediction"] != row["label"])
    )
    assert list(wrong["place"]) == [i for _, i in brute]
    assert np.allclose(wrong["wrong"], [-p for p, _ in brute])
    assert "60 of 300 wrong" in words(page_of(run.folder))


def test_recalls_and_confused_pairs_against_counting(run_folder):
    run = read(run_folder("classifier", classes=["a", "b", "c", "d"], n=120, right=0.6))
    table = run.predictions("val")
    found = scores.recalls(run, "val")
    assert found is not None
    for row in found.to_dict("records"):
        own = table[table["label"] == row["class"]]
        hits = int((own["prediction"] == row["class"]).sum())
        assert (row["n"], row["hits"]) == (len(own), hits)
        assert (row["low"], row["high"]) == pytest.approx(tuple(stats.wilson(hits, len(own))))
    assert found["accuracy"].is_monotonic_increasing
    pairs = scores.confused(run, "val")
    wrong = table[table["label"] != table["prediction"]]
    assert pairs["times"].sum() == len(wrong)
    top = pairs.iloc[0]
    assert ((wrong["label"] == top["truth"]) & (wrong["prediction"] == top["prediction"])).sum() == top["times"]


def test_chance_best_of_many_and_tiny_validation_are_said_in_words(run_folder):
    said = " ".join(warnings.lines(read(run_folder("collapsed"))))
    assert f"loss is 0.694 ≈ ln 2 = {math.log(2):.3f}" in said and "At chance" in said
    luck = stats.best_of_chance(62, 0.5, 25)
    assert f"scores {scores.share(luck.mean)} on average" in said and "no evidence of learning" in said
    assert "Tiny validation split: n = 62" in said
    assert "All 62 predictions on validation are “ant”" in said


def test_a_good_run_has_no_warning(drawn):
    assert warnings.lines(read(drawn)) == []
    assert "Before you believe it" not in page_of(drawn)


def test_predictions_of_another_state_are_told(run_folder):
    folder = run_folder("classifier")
    status = json.loads((folder / "status.json").read_text())
    status["metrics"]["test/accuracy"] = 0.9
    (folder / "status.json").write_text(json.dumps(status))
    assert any(
        "predictions_test.csv has accuracy .800" in line and ".900" in line for line in warnings.lines(read(folder))
    )


def test_overfitting_and_divergence(run_folder):
    folder = run_folder("classifier", test=False)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["val/loss"] = 0.5 + 0.1 * abs(i - 3)
        row["train/loss"] = float("nan") if i == len(rows) - 1 else row["train/loss"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = json.loads((folder / "status.json").read_text())
    status["metrics"]["train/loss"] = float("nan")
    (folder / "status.json").write_text(json.dumps(status))
    said = " ".join(warnings.lines(read(folder)))
    assert "lowest at epoch 4 (0.5) and rose to 1.3" in said
    assert "train/loss is not a number" in said


def test_retrieval_has_intervals_by_queries_chance_and_the_sheet(run_folder):
    folder = run_folder("retrieval")
    run = read(folder)
    first = scores.primary(run)
    assert first is not None and first.key == "val/recall@1" and first.method == "Wilson" and first.n == 200
    assert (first.low, first.high) == pytest.approx(tuple(stats.wilson(80, 200))) and first.chance == 0.005
    mean = next(s for s in scores.scores(run) if s.metric == "class_mAP")
    values = np.linspace(0.2, 0.76, 200)
    assert mean.method == "Wilson-t" and (mean.low, mean.high) == stats.share(values)
    assert mean.high - mean.low == pytest.approx(2 * 1.97 * values.std() / 200**0.5, rel=0.02)
    families = curves.families(run)
    assert families["recall"] == ["val/recall@1", "val/recall@10"]
    assert families["mean_distance"] == ["val/mean_distance_matching", "val/mean_distance_other"]
    text = words(page_of(folder))
    assert "val retrieval" in text and "12 queries of val furthest" in text and "cup/photo200" in text


def test_retrieval_at_chance_is_told(run_folder):
    folder = run_folder("retrieval")
    (folder / "chance_val.json").write_text(json.dumps({"recall@1": 0.38}))
    assert any("is not significantly better than guessing (.380)" in line for line in warnings.lines(read(folder)))


def test_gan_shows_sheets_from_last_to_first(run_folder):
    folder = run_folder("gan")
    text = words(page_of(folder))
    assert "Validation kid 0.03 (n = 400); lower is better; after epoch 10" in text
    shown = [int(n) for n in re.findall(r"val samples, epoch (\d+)", text)]
    assert (
        shown[0] == 10
        and 1 in shown
        and len(set(shown)) == 6
        and "6 of 10 sheets of val samples" in text
        and "kid.features random" in text
    )
    assert curves.families(read(folder))["d"] == ["val/d_fake", "val/d_real"]


def test_mode_collapse_is_told(run_folder):
    folder = run_folder("gan")
    status = json.loads((folder / "status.json").read_text())
    status["metrics"] |= {"val/ms_ssim_fake": 0.9, "val/ms_ssim_real": 0.4}
    (folder / "status.json").write_text(json.dumps(status))
    assert any(
        "more alike than the real ones" in line and "0.90 generated, 0.40 real" in line
        for line in warnings.lines(read(folder))
    )


@pytest.mark.slow
def test_a_baseline_has_no_curves_and_no_network(run_folder):
    folder = run_folder("baseline")
    page = page_of(folder)
    assert 'id="curves"' not in page and 'id="network"' not in page and 'id="confusion"' in page
    assert not list((folder / "plots").glob("curve_*")) and "Test accuracy .860 (n = 100" in words(page)


def test_an_interrupted_run_is_read_up_to_the_cut_and_says_so(run_folder):
    folder = run_folder("interrupted")
    run = read(folder)
    assert len(run.metrics) == 8
    text = words(page_of(folder))
    assert "metrics.jsonl is cut in line 9 of 9: read up to line 8." in text
    assert "This run was interrupted" in text and "after epoch 8" in text


def test_a_run_that_failed_at_once(run_folder):
    folder = run_folder("classifier")
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("config.yaml", "status.json"):
            path.unlink()
    (folder / "status.json").write_text(json.dumps({"state": "failed", "message": "model.weights: no such file <x>"}))
    for name in ("arrays", "samples"):
        for path in (folder / name).iterdir():
            path.unlink()
    page = page_of(folder)
    assert "No score yet" in page and "model.weights: no such file &lt;x&gt;" in page


def test_settings_network_time_and_command(drawn):
    text = words(page_of(drawn))
    assert "python -m sketchlab.run model=small_cnn 'data.root=a b'" in text
    assert "loop.lr 0.001" in text and "git.changed True" in text and "2 files left out" in text
    assert "1,210 parameters, of which 10 (0.826%) really train" in text
    assert "net.features 1,200 0" in text and "net.head 10 10" in text and "8×64×64" in text
    assert "from start to end 1 h 2 min" in text


@pytest.mark.slow
def test_250_classes_stay_readable(run_folder):
    names = [f"class {i:03d}" for i in range(250)]
    folder = run_folder("classifier", classes=names, n=750, right=0.5, epochs=3, test=False)
    page = page_of(folder)
    assert not (folder / "plots" / "val_classes.png").exists() and "Table of all 250 classes" in page
    assert '<th scope="col">taken for</th>' in page and len(page) < 3_000_000


def test_classes_called_na_and_nan_stay_names(run_folder):
    run = read(run_folder("classifier", classes=["NA", "nan", "None"]))
    assert set(run.predictions("test")["label"]) == {"NA", "nan", "None"}


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path):
    for folder, what in ((tmp_path, "holds no config.yaml"), (tmp_path / "gone", "is not there")):
        with pytest.raises(UserError, match=what) as caught:
            report.write(folder)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_named(run_folder):
    folder = run_folder("classifier")
    (folder / "env.json").write_text("{")
    with pytest.raises(UserError, match=r"env\.json"):
        report.write(folder)


@pytest.mark.slow
def test_unequal_classes_are_drawn_and_told(run_folder):
    folder = run_folder("classifier")
    data = json.loads((folder / "data.json").read_text())
    data["splits"]["train"]["per_class"] = [2000, 300, 100]
    (folder / "data.json").write_text(json.dumps(data))
    text = words(page_of(folder))
    assert (folder / "plots" / "data.png").exists() and "100 to 2000" in text
    assert "100 samples of its rarest class and 2000 of its commonest" in text


def test_stability_speaks_of_the_last_half_at_most(run_folder):
    run = read(run_folder("classifier", epochs=12))
    values = run.curve("val/accuracy")[1][-6:]
    assert scores.stability(run, "val/accuracy") == pytest.approx(
        {"epochs": 6, "mean": values.mean(), "std": np.std(values, ddof=1), "low": values.min(), "high": values.max()}
    )
    assert scores.stability(read(run_folder("baseline")), "val/accuracy") is None


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "TkAgg"])
def test_a_backend_that_is_not_here_keeps_no_report_from_being_drawn(drawn, tmp_path, backend):
    folder = shutil.copytree(drawn, tmp_path / "small_cnn-shapes" / "one")
    (folder / "report.html").unlink()
    words = [sys.executable, "-m", "sketchlab.report", str(folder)]
    done = subprocess.run(words, env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0 and (folder / "report.html").is_file(), done.stderr
