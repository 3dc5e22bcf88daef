"""A finished run on other data: the same answers where the data are the same, classes by name, a drop that is right."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import optimize
from scipy import stats as scipy_stats

from sketchlab import evaluate, open_run, stats
from sketchlab.pipelines.classify import gradcam
from sketchlab.report.sentences import render, stored
from sketchlab.runs import transfer
from sketchlab.runs.classify import drop, stress
from tests import finished
from tests.finished import change_status


@pytest.fixture
def trained(tmp_path_factory):
    return finished.trained(tmp_path_factory)


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """The shapes as files under other class names: circle, box, line and a sun that the run does not know."""
    from sketchlab.data.sets import shapes
    from sketchlab.data.sets.shapes import hand as shape_hand

    root = tmp_path_factory.mktemp("drawings")
    for folder, name in (("circle", "circle"), ("box", "square"), ("line", "line"), ("sun", "sun")):
        (root / folder).mkdir()
        for i in range(16):
            Image.fromarray(shape_hand.render(shapes.drawing(name, i), 64)).save(root / folder / f"{i:05d}.png")
    return root


@pytest.fixture
def quick(monkeypatch):
    """Without drawing the page."""
    monkeypatch.setattr(evaluate, "_report", lambda folder: None)


def evaluated(*words):
    return evaluate.evaluate(evaluate.parser().parse_intermixed_args([str(word) for word in words]))


def refused(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(word) for word in words])
    line = capsys.readouterr().err
    assert ended.value.code == 1 and line.startswith("error: ") and line.count("\n") == 1
    return line


def test_own_test_split_gives_the_runs_own_answers(trained, tmp_path, quick):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    folder = evaluated(trained, "--out", tmp_path)
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    ours, theirs = pd.read_csv(trained / "predictions_test.csv"), pd.read_csv(folder / "predictions_test.csv")
    ours, theirs = (table.sort_values("id", ignore_index=True) for table in (ours, theirs))
    assert list(ours["id"]) == list(theirs["id"]) and list(ours["prediction"]) == list(theirs["prediction"])
    assert np.allclose(ours.filter(like="p_"), theirs.filter(like="p_"), atol=1e-5)
    told = json.loads((folder / "evaluation.json").read_text())
    assert told["split"] == "test" and "drop" not in told and told["warnings"] == []


def test_training_samples_are_said_to_be_such(trained, tmp_path, quick):
    told = json.loads((evaluated(trained, "--split", "all", "--out", tmp_path) / "evaluation.json").read_text())
    train = (pd.read_csv(trained / "splits.csv")["split"] == "train").sum()
    assert told["accuracy"]["n"] == 48
    assert render(stored(told["warnings"][0])).startswith(
        f"What was evaluated (48 samples) includes {train} training samples"
    )
    told = json.loads(
        (
            evaluated(trained, "data=shapes", "data.picture=photo", "data.per_class=16", "--out", tmp_path)
            / "evaluation.json"
        ).read_text()
    )
    assert told["split"] == "all" and told["accuracy"]["n"] == 48
    assert f"(48 samples) includes {train} pictures named as objects" in render(stored(told["warnings"][0]))


def test_classes_are_matched_by_name_whatever_their_order(trained, drawings, tmp_path, quick, capsys):
    """The same drawings as files, one class renamed, one unknown: every answer is the run's on that drawing."""
    words = ["data=folder", f"data.root={drawings}", "--rename", "box=square", "--out", tmp_path]
    folder = evaluated(trained, *words)
    assert "left out: 1 class of data=folder that the run does not know: sun" in capsys.readouterr().out
    table = pd.read_csv(folder / "predictions_test.csv")
    assert len(table) == 48 and set(table["label"]) == {"circle", "square", "line"}
    own = pd.read_csv(evaluated(trained, "--split", "all", "--out", tmp_path) / "predictions_test.csv").set_index("id")
    for row in table.to_dict("records"):
        name = row["id"].removesuffix(".png").replace("box/", "square/")
        assert row["label"] == own.loc[name, "label"]
        assert row["p_circle"] == pytest.approx(own.loc[name, "p_circle"], abs=1e-4)
    told = json.loads((folder / "evaluation.json").read_text())
    k = int((table["label"] == table["prediction"]).sum())
    reference = pd.read_csv(trained / "predictions_test.csv")
    k_own, n_own = int((reference["label"] == reference["prediction"]).sum()), len(reference)
    assert (told["accuracy"]["k"], told["reference"]["k"], told["reference"]["n"]) == (k, k_own, n_own)
    gap = stats.newcombe(k_own, n_own, k, 48)
    assert [told["drop"][key] for key in ("value", "low", "high")] == pytest.approx([*gap])


def test_fewer_classes_are_compared_on_these_alone(trained, drawings, tmp_path, quick):
    folder = evaluated(trained, "data=folder", f"data.root={drawings}", "data.classes=[line]", "--out", tmp_path)
    told = json.loads((folder / "evaluation.json").read_text())
    reference = pd.read_csv(trained / "predictions_test.csv").query("label == 'line'")
    assert told["accuracy"]["n"] == 16 and told["reference"]["n"] == len(reference)
    warning = render(stored(told["warnings"][0]))
    assert "1 of the run's 3 classes" in warning and "would score 1" in warning


def test_drawings_of_one_object_are_one_sample_of_the_score_and_of_the_drop(trained, drawings, tmp_path, quick):
    """Ten files of a class named after one object, six after another."""
    words = ["data=folder", f"data.root={drawings}", "--rename", "box=square", "--out", tmp_path]
    folder = evaluated(trained, *words, r"data.group_by='(\d\d\d\d)\d'")
    groups = np.load(folder / "arrays" / "test_groups.npy")
    table = pd.read_csv(folder / "predictions_test.csv")
    assert len(set(groups)) == 6 == json.loads((folder / "data.json").read_text())["splits"]["test"]["groups"]
    told = json.loads((folder / "evaluation.json").read_text())
    here = stats.share((table["label"] == table["prediction"]).to_numpy(dtype=float), groups)
    assert (told["accuracy"]["low"], told["accuracy"]["high"]) == pytest.approx(here)
    own = told["reference"]
    assert (own["low"], own["high"]) == pytest.approx(stats.wilson(own["k"], own["n"]))
    gap = stats.square_and_add(
        own["k"] / own["n"], stats.Interval(own["low"], own["high"]), told["accuracy"]["value"], here
    )
    assert [told["drop"][key] for key in ("value", "low", "high")] == pytest.approx([*gap])
    assert not (evaluated(trained, *words) / "arrays" / "test_groups.npy").exists()


def test_classes_that_do_not_match_are_named(trained, drawings, tmp_path, capsys):
    root = f"data.root={drawings}"
    line = refused(capsys, trained, "data=folder", root)
    assert (
        "no class square" in line and "it has box, circle, line, sun" in line and "data.classes=[circle,line]" in line
    )
    line = refused(capsys, trained, "data=folder", root, "data.classes=[line,sun]")
    assert "the run does not know sun; it knows circle, square, line" in line
    line = refused(capsys, trained, "data=folder", root, "--rename", "box=sqare")
    assert "did you mean square?" in line
    line = refused(capsys, trained, "data=folder", root, "--rename", "box=square", "--rename", "sun=square")
    assert "box and sun would both be the run's class square" in line
    (tmp_path / "s" / "circles").mkdir(parents=True)
    shutil.copy(drawings / "circle" / "00000.png", tmp_path / "s" / "circles")
    assert "--rename 'circles=circle'" in refused(capsys, trained, "data=folder", f"data.root={tmp_path / 's'}")


def test_refused_in_one_line(trained, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "not a run folder" in refused(capsys, tmp_path, "data=shapes")
    assert "still training" in refused(capsys, change_status(trained, tmp_path / "r", state="running"), "data=shapes")
    assert "evaluate takes data=<choice>" in refused(capsys, trained, "data=shapes", "loop.epochs=3")
    assert "evaluate takes data=<choice>" in refused(capsys, trained, "data=shapes", "model=vgg16")
    assert "did you mean shapes?" in refused(capsys, trained, "data=shaps")
    assert "data.per_clas: no such key" in refused(capsys, trained, "data=shapes", "data.per_clas=3")
    assert "no class folders" in refused(capsys, trained, "data=folder", f"data.root={tmp_path / 'empty'}")
    assert "--stress-images 0" in refused(capsys, trained, "data=shapes", "--stress", "--stress-images", 0)
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(trained), "data=shapes", "--nonsense"])
    assert ended.value.code == 2


def test_overrides_of_a_runs_own_data_are_kept_apart(trained):
    """Without data=… the run's own settings, value by value; with it the choice's own."""
    run = open_run(trained)
    own = transfer.compose(run, ["data.per_class=5"])
    assert own.data.config.classes == ["circle", "square", "line"] and own.data.config.per_class == 5
    assert own.data.config.splits.train == 0.5
    other = transfer.compose(run, ["data=shapes"])
    assert other.data.config.classes is None and other.data.config.splits.train == 0.8


def test_a_group_chosen_anew_replaces_the_runs_own_values_of_it(trained):
    run = open_run(trained)
    kept, anew = (transfer.compose(run, words).data.config for words in ([], ["data/splits=kfold"]))
    assert (kept.splits.rule, anew.splits.rule) == ("fraction", "kfold") and kept.splits.train == 0.5
    assert anew.per_class == kept.per_class and anew.classes == kept.classes
    one = transfer.compose(run, ["data/splits=fraction", "data.splits.train=0.7", "data.splits.val=0.1"]).data.config
    assert (one.splits.train, one.splits.val) == (0.7, 0.1)


def test_page_with_drop_and_stress_and_found_again(trained, drawings, tmp_path, capsys):
    words = [
        trained,
        "data=folder",
        f"data.root={drawings}",
        "--rename",
        "box=square",
        "--stress",
        "--stress-images",
        6,
    ]
    folder = evaluated(*words, "--out", tmp_path)
    page = (folder / "report.html").read_text()
    for said in (
        "trained on shapes, asked about folder",
        "Newcombe",
        "Under stress",
        "Where it looked",
        "Class by class",
    ):
        assert said in page
    assert {path.stem for path in (folder / "plots").glob("stress_*")} == {f"stress_{kind}" for kind in stress.LEVELS}
    table = pd.read_csv(folder / "stress.csv")
    neutral = [table[(table["kind"] == k) & (table["level"] == v)]["k"].item() for k, v in stress.NEUTRAL.items()]
    assert len(set(neutral)) == 1 and (table["n"] == 6).all()
    before = (folder / "predictions_test.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert evaluated(*words, "--out", tmp_path) == folder
    assert "found" in capsys.readouterr().out and (folder / "predictions_test.csv").stat().st_mtime_ns == before
    assert not [path for path in tmp_path.rglob("lock") if path.read_text()], "nobody owns it"


# --- the parts


def _wilson_by_roots(k: int, n: int, z: float) -> tuple[float, float]:
    """Where |p - θ| = z · sqrt(θ(1 - θ)/n), found by search instead of by formula."""
    p = k / n
    far = lambda t: abs(p - t) - z * np.sqrt(t * (1 - t) / n)  # noqa: E731
    low = 0.0 if k == 0 else optimize.brentq(far, 0, p - 1e-9, xtol=1e-15)
    return low, 1.0 if k == n else optimize.brentq(far, p + 1e-9, 1, xtol=1e-15)


@pytest.mark.parametrize(
    "k_a,n_a,k_b,n_b", [(56, 70, 48, 80), (9, 10, 3, 10), (5, 56, 0, 29), (10, 10, 0, 10), (7, 9, 8, 9)]
)
def test_newcombe_against_brute_force(k_a, n_a, k_b, n_b):
    z = scipy_stats.norm.ppf(0.975)
    (la, ha), (lb, hb) = _wilson_by_roots(k_a, n_a, z), _wilson_by_roots(k_b, n_b, z)
    a, b = k_a / n_a, k_b / n_b
    low, high = a - b - np.sqrt((a - la) ** 2 + (hb - b) ** 2), a - b + np.sqrt((ha - a) ** 2 + (b - lb) ** 2)
    assert [*stats.newcombe(k_a, n_a, k_b, n_b)] == pytest.approx([a - b, low, high], abs=1e-9)
    mirrored = stats.newcombe(k_b, n_b, k_a, n_a)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((low, high), abs=1e-9)


def test_newcombe_covers_what_it_says():
    """Exact over all outcomes of two small binomials: near 95% on average, never far below."""
    n_a, n_b, covered = 25, 40, []
    box = np.array([[stats.newcombe(i, n_a, j, n_b)[1:] for j in range(n_b + 1)] for i in range(n_a + 1)])
    for p_a in (0.1, 0.4, 0.7, 0.95):
        for p_b in (0.2, 0.5, 0.9):
            weight = np.outer(
                scipy_stats.binom.pmf(range(n_a + 1), n_a, p_a), scipy_stats.binom.pmf(range(n_b + 1), n_b, p_b)
            )
            covered.append(weight[(box[..., 0] <= p_a - p_b) & (p_a - p_b <= box[..., 1])].sum())
    assert 0.94 < np.mean(covered) < 0.975 and min(covered) > 0.92


def test_changes_move_a_dot_where_they_say():
    image = torch.full((1, 1, 21, 21), 255, dtype=torch.uint8)
    image[0, 0, 10, 15] = 0  # right of the middle

    def dot(kind, level):
        row, column = divmod(int(stress.change(image, kind, level, "dark").argmin()), 21)
        return row, column

    assert dot("rotation", 90) == (15, 10)  # clockwise: from the right to below
    assert dot("rotation", 180) == dot("rotation", -180) == (10, 5)
    assert dot("shift_right", -10 / 21) == (10, 5) and dot("shift_down", 5 / 21) == (15, 15)
    assert dot("scale", 0.4) == (10, 12)
    thick = stress.change(image, "thickness", 2, "dark")
    assert (thick == 0).sum() == 25 and (stress.change(image, "thickness", -1, "dark") == 255).all()
    assert ((255 - stress.change(255 - image, "thickness", 2, "bright")) == thick).all()
    for kind, level in stress.NEUTRAL.items():
        assert torch.equal(stress.change(image, kind, level, "dark"), image)
    moved = stress.change(image, "shift_right", 0.3, "dark")
    assert (moved[..., :6] == 255).all()  # the background comes in, not black


def test_heat_against_gradients_taken_by_hand():
    """A linear network: the gradient of a logit by the map is its weight row, so the heat can be written down."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.ReLU(inplace=True),
        torch.nn.Flatten(),
        torch.nn.Linear(3 * 16, 2),
    ).eval()
    images, classes = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 0, 1, 1])
    layer = gradcam.last_map(net, images)
    assert layer is net[1]
    with torch.no_grad():
        found = net[1](net[0](images))  # (B, 3, 4, 4)
    weights = net[3].weight.detach()[classes].view(5, 3, 4, 4).mean((2, 3))
    expected = torch.einsum("bc,bchw->bhw", weights, found).clamp(min=0)
    expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-30)
    heat = gradcam.heat(net, layer, images, classes)
    assert torch.allclose(heat, expected, atol=1e-6)
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert torch.equal(gradcam.heat(net, layer, images, classes), heat)  # frozen parts are no obstacle
    assert gradcam.last_map(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)), images) is None


def test_explained_images_are_half_wrong_ones_and_the_rest_right(trained):
    said = pd.read_csv(trained / "predictions_test.csv")
    places = np.load(trained / "arrays" / "test_cam_places.npy")
    wrong = (said["label"] != said["prediction"]).to_numpy()
    assert len(places) == len(set(places)) == min(6, len(said))
    assert wrong[places].sum() == min(wrong.sum(), max(3, 6 - (~wrong).sum()))
    assert np.load(trained / "arrays" / "test_cam.npy").shape[0] == len(places)
    assert np.load(trained / "arrays" / "test_cam_pixels.npy").shape == (len(places), 64, 64)
    logits, truth = torch.tensor([[3.0, 0], [0, 2], [5, 0], [0, 1.0]]), torch.tensor([1, 1, 1, 0])
    chosen = gradcam._chosen(logits, logits.argmax(1) != truth, 3, 0)
    assert chosen.tolist() == [2, 0, 1]  # the surest wrong ones first, then what was right


def test_the_runs_own_scores_by_class_have_intervals_by_object(trained, monkeypatch):
    run = open_run(trained)
    found = drop._reference(run, run.classes)
    assert found is not None
    alone = found["per_class"]
    assert set(alone) == set(run.classes)
    assert all(0 <= low <= k / n <= high <= 1 and low < high for k, n, low, high in alone.values())
    assert sum(k for k, *_ in alone.values()) == found["k"] and sum(n for _, n, *_ in alone.values()) == found["n"]
    monkeypatch.setattr(drop, "groups_of", lambda run, split, ids: np.arange(len(ids)) // 4)
    grouped = drop._reference(run, run.classes)
    wider = [grouped["per_class"][c][3] - grouped["per_class"][c][2] > v[3] - v[2] for c, v in alone.items()]
    assert any(wider)
