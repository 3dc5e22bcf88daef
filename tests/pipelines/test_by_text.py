"""CLIP's text side: classes by their names, photos by text beside photos by sketch. Weights are random."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score

from sketchlab import config
from sketchlab.errors import UserError
from sketchlab.report.read import read
from sketchlab.report.run import retrieve as page
from sketchlab.weights import clip_text
from tests import every

open_clip = pytest.importorskip("open_clip", reason="the optional extra clip is not installed")
timm = pytest.importorskip("timm", reason="the optional extra timm is not installed")
NAMES, PROMPTS = ["circle", "wine_bottle", "sun"], ["a photo of a {}", "one {}, drawn"]
IMAGE = ["model.backbone.arch=test_vit", "model.backbone.input.size_px=32", "model.backbone.text=clip_tiny"]


@pytest.fixture
def whole(tmp_path):
    """A file of a whole CLIP with random weights, and open_clip's network."""
    torch.manual_seed(0)
    net = open_clip.create_model("clip_tiny", load_weights=False).eval()
    with torch.no_grad():
        net.visual.proj.normal_()
        net.logit_scale.fill_(2.0)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "clip.safetensors")
    return net, tmp_path / "clip.safetensors"


def image(**values):
    base = {"weights": "none", "tune": "scratch", "text": "clip_tiny", "arch": "test_vit"}
    made = config.model("clip_b32", base | values).config
    return made.text, made


@torch.no_grad()
def test_both_sides_are_open_clips(whole):
    net, path = whole
    side = clip_text.text_side(*image(weights=str(path), tune="freeze"), NAMES, PROMPTS)
    tokens = open_clip.get_tokenizer("clip_tiny")
    for name, ours in zip(("circle", "wine bottle", "sun"), side.classes, strict=True):
        each = [net.encode_text(tokens([prompt.format(name)]), normalize=True)[0] for prompt in PROMPTS]
        torch.testing.assert_close(ours, F.normalize(each[0] + each[1], dim=0))
    assert side.scale == pytest.approx(np.exp(2.0))
    # what timm's image side of the same file gives before its last layer, brought into the space
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 64, "depth": 1, "num_heads": 4, "num_classes": 16}
    overlay = {"state_dict": net.state_dict(), "source": "timm"}
    arch = "vit_base_patch32_clip_quickgelu_224.openai"
    theirs = timm.create_model(arch, pretrained=True, pretrained_cfg_overlay=overlay, **shape).eval()
    theirs.reset_classifier(0)
    pictures = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(side.images(theirs(pictures)), net.encode_image(pictures, normalize=True))


def test_zero_shot_asks_the_names_alone(whole):
    words = ["model=zero_shot", "data.per_class=12", "data.classes=[circle,square,line]", "runtime.device=cpu", *IMAGE]
    words += ["model.backbone.weights=none", "model.backbone.tune=scratch"]
    run = config.from_overrides(words)
    from sketchlab.engine.runtime import Runtime

    data = run.data.build(run.model.config.input)
    task = run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), 0)
    side = clip_text.text_side(*image(weights=str(whole[1]), tune="freeze"), data.classes, ["a {}"])
    task.take_text(side)
    task.fit()
    features = task.inputs("val")
    unit = features @ side.projection.numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = log_softmax(side.scale * unit @ side.classes.numpy().T, axis=1)
    np.testing.assert_allclose(task.log_probabilities("val").numpy(), expected, atol=1e-5)
    stored = task.arrays()
    task.data.splits["train"].labels[:] = task.data.splits["train"].labels.flip(0)
    task.fit()
    assert repr(task.arrays()) == repr(stored), "the labels of training change nothing"


def test_photos_by_text_beside_photos_by_sketch(tmp_path):
    """A run from end to end: the table and its means by scikit-learn, and both on the page."""
    from sketchlab import run as command
    from sketchlab.weights import files

    names = list(config.from_overrides(["data=shapes", "data.classes=[circle,square,line]"]).data.config.classes)
    weights = tmp_path / "test_vit.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model("test_vit").state_dict(), weights)
    words = [f"model={name}" for name in ("siamese_clip_b32",)] + [*every.SMALL_DATA, *every.SMALL_RUN, *IMAGE]
    words += ["data.per_class=40", f"model.backbone.weights={weights}", "pipeline.prompts=['a photo of a {}']"]
    made = config.from_overrides([*words, f"run.root={tmp_path / 'runs'}"])
    assert names == ["circle", "square", "line"] and files.find(str(weights), "x")
    random = clip_text.TextSide(F.normalize(torch.randn(3, 16)), torch.randn(64, 16), 10.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_text, "text_side", lambda *_: random)
        command.execute(made, reported=True)
    folder = every.folder_in(tmp_path / "runs")
    found = read(folder)
    table = found.by_text("test")
    assert list(table.columns) == ["class", "photos", "text", "sketch_before", "sketch"] and len(table) == 3
    metrics = json.loads((folder / "status.json").read_text())["metrics"]
    assert metrics["test/text_class_mAP"] == pytest.approx(table["text"].mean(), abs=1e-5)
    per_query = np.load(folder / "arrays" / "test_per_query_class_mAP.npy")
    labels = pd.read_csv(folder / "predictions_test.csv")["label"]
    for row in table.itertuples():
        assert row.sketch == pytest.approx(per_query[labels == getattr(row, "_1", row[1])].mean(), abs=1e-5)
    with pytest.MonkeyPatch.context() as patch:  # the text's ranking once more
        patch.setattr(clip_text, "text_side", lambda *_: random)
        data = made.data.build(made.model.config.input)
        network = made.model.backbone.build(4).eval()[:1]
        pair = data.splits["test"]
        with torch.no_grad():
            photos = random.images(network(data.prepare(pair.photo.gather(torch.arange(len(pair.photo.labels))))))
        for number, row in enumerate(table.itertuples()):
            relevant = (pair.photo.labels == data.classes.index(row[1])).numpy()
            near = (photos @ random.classes[data.classes.index(row[1])]).numpy()
            assert row.text == pytest.approx(average_precision_score(relevant, near), abs=1e-4), number
    text = page.section(found, [])
    assert "by sketch, CLIP as it was" in text and "mean over classes" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text": ""}, "prompts need a network with a text side: model@model.backbone=clip_b32"),
        ({"text": "ViT-Z"}, "model.text=ViT-Z: open_clip"),
        ({"weights": "FILE", "tune": "freeze"}, "no weights of the whole clip_tiny: "),
    ],
)
def test_mistakes(values, said, tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    given = {k: str(tmp_path / "x.safetensors") if v == "FILE" else v for k, v in values.items()}
    with pytest.raises(UserError) as error:
        clip_text.text_side(*image(**given), NAMES, PROMPTS)
    assert said in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="expected one {}"):
        clip_text.check(["a photo"])


def test_a_missing_text_side_names_the_file_and_where_it_is_published(monkeypatch, tmp_path):
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_: (_ for _ in ()).throw(OSError("no route")))
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: torch.nn.Linear(1, 1))
    monkeypatch.setenv("SKETCHLAB_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError) as error:
        clip_text.text_side("ViT-B-32-quickgelu", config.model("clip_b32", {}).config, NAMES, PROMPTS)
    said = str(error.value)
    assert "no vit_base_patch32_clip_quickgelu_224.openai.open_clip.safetensors in SKETCHLAB_WEIGHTS=" in said
    assert "https://huggingface.co/timm/vit_base_patch32_clip_224.openai (open_clip_model.safetensors)" in said


def test_prompts_need_features_that_stay(tmp_path):
    from sketchlab.engine.runtime import Runtime

    run = config.from_overrides(every.small("siamese_clip_b32", "pipeline.prompts=['a {}']"))
    data = run.data.build(run.model.config.input)
    task = run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), 0)
    with pytest.raises(UserError, match="model.backbone.tune=freeze"):
        task.take_text(None)
