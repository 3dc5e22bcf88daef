"""Parts of one's own, from one folder: trained, resumed after a kill, reported, compared; mistakes are one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sketchlab import components, config
from sketchlab.errors import UserError
from sketchlab.new import __main__ as new

TRANSFORMER = '''"""A transformer on the points of a drawing."""
from dataclasses import dataclass
import torch
from torch import nn
from sketchlab.inputs import Input

GIVES = ("logits",)

@dataclass(frozen=True)
class Config:
    input: Input
    width: int
    heads: int

class Points(nn.Module):
    def __init__(self, config, n_classes):
        super().__init__()
        self.inner = nn.Linear(config.input.channels, config.width)
        layer = nn.TransformerEncoderLayer(config.width, config.heads, 2 * config.width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(config.width, n_classes)

    def forward(self, points):  # (B, L, 3) -> (B, n_classes)
        there = points[..., 2] >= 0
        inner = self.encoder(self.inner(points), src_key_padding_mask=~there) * there[..., None]
        return self.head(inner.sum(1) / there.sum(1, keepdim=True).clamp(min=1))

def build(config, n_classes):
    return Points(config, n_classes)
'''
CSV = '''"""Images named in a CSV: path,label."""
from dataclasses import dataclass
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Images, Split, fingerprint
from sketchlab.data.images import augment

GIVES = ("images",)

@dataclass(frozen=True)
class Config:
    file: str
    classes: list[str] | None
    splits: splits.Config
    augment: augment.Config

def build(config, input):
    table = pd.read_csv(config.file)
    names = config.classes or sorted(table["label"].unique())
    labels = table["label"].map(names.index).to_numpy()
    paths = [Path(config.file).parent / name for name in table["path"]]
    pixels = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])[:, None]
    store, numbers = Images(torch.from_numpy(pixels)), torch.from_numpy(labels)
    parts = splits.split(config.splits, list(table["path"]), labels, names)
    rows = {key: torch.from_numpy(row) for key, row in parts.items()}
    named = table["path"].tolist()
    made = {key: Split(store, r, numbers[r], [named[i] for i in r.tolist()], r) for key, r in rows.items()}
    return Dataset(names, made, augment.Prepare(input, config.augment), config.augment.views, fingerprint(pixels))
'''
SUPCON = '''"""Supervised contrastive loss (Khosla et al. 2020, equation 2), with a temperature that is learnt."""
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import nn

@dataclass(frozen=True)
class Config:
    temperature: float

class SupCon(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def forward(self, outputs, labels):  # (n, D), (n,)
        z = F.normalize(outputs, dim=1)
        near = z @ z.T / self.log_temperature.exp()
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        log_share = near - near.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        positive = (labels[:, None] == labels[None]) & ~itself
        return -(log_share * positive).sum(1).div(positive.sum(1).clamp(min=1)).mean()

def build(config, n_classes):
    return SupCon(config.temperature)
'''
YAMLS = {
    "conf/model/points_transformer.yaml": """name: points_transformer
width: 16
heads: 2
input: {kind: points, size_px: 64, channels: 3, ink: bright, mean: [0.0], std: [1.0]}
""",
    "conf/data/table.yaml": """defaults: [splits: fraction, augment: none, _self_]
name: table
classes: null
file: ???
""",
    "conf/loss/learnt_supcon.yaml": """# @package pipeline
loss: learnt_supcon
loss_options: {temperature: 0.1}
""",
}
SMALL = ["data.classes=[circle,line,sun]", "data.per_class=40", "loop.batch_size=24", "loop.epochs=3"]
SHAPES = ["data=shapes", "loop.schedule=constant", *SMALL]
RUNS = {  # name → words
    "transformer on points": ["model=points_transformer", *SHAPES, "optimizer=lion", "loop.lr=0.001"],
    "CSV": [
        "model=small_cnn",
        "data=table",
        "loop.batch_size=8",
        "loop.epochs=3",
        "loop.schedule=constant",
        "augmentation=elastic",
    ],
    "supervised contrastive": ["model=small_siamese", *SHAPES, "loss=learnt_supcon", "pipeline.sampler=all"],
    "autoencoder": ["model=vae_net", *SHAPES, "pipeline.sheet=4"],
    "macro F1, Lion": ["model=small_cnn", *SHAPES, "metric=macro_f1", "optimizer=lion", "loop.lr=0.001"],
}


def write(root: Path) -> None:
    """The folder of one's own, and a CSV of images beside it."""
    for kind, name in (("optimizer", "lion"), ("augmentation", "elastic"), ("metric", "macro_f1"), ("pipeline", "vae")):
        new.write(kind, name, root)
    new.write("section", "largest", root)
    for place, text in {
        "models/points_transformer.py": TRANSFORMER,
        "data/sets/table.py": CSV,
        "losses/learnt_supcon.py": SUPCON,
        **YAMLS,
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    draw, rows = np.random.default_rng(0), ["path,label"]
    for i in range(48):
        pixels = draw.integers(0, 60, (32, 32), dtype=np.uint8)
        pixels[:: 4 if i % 2 else 1, :: 1 if i % 2 else 4] += 150
        Image.fromarray(pixels).save(root / f"{i}.png")
        rows.append(f"{i}.png,{'across' if i % 2 else 'upright'}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")


def python(code: str, *words: str, root: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SKETCHLAB_EXTRA": str(root), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )


TRAIN = """
import sys; from tests import every
root, kill_at, *words = sys.argv[1:]
every.train(words, root, int(kill_at))
"""
REPORT = """
import sys, pathlib; from sketchlab import report; from sketchlab.report.comparison.compare import compare
folders = [pathlib.Path(folder) for folder in sys.argv[1:]]
for folder in folders: report.write(folder)
print(compare(folders, out=pathlib.Path("comparison")))
"""


@pytest.mark.long
def test_parts_of_ones_own_are_trained_resumed_reported_and_compared(tmp_path):
    root, folders = tmp_path / "mine", []
    write(root)
    for name, words in RUNS.items():
        words = [*words, f"data.file={root}/table.csv"] if name == "CSV" else words
        words = [*words, "loop.save_every_s=0"]
        whole, cut = tmp_path / "whole" / name.split()[0], tmp_path / "cut" / name.split()[0]
        done = python(TRAIN, str(whole), "-1", *words, root=root, cwd=tmp_path)
        assert done.returncode == 0, (name, done.stderr[-2000:])
        killed = python(TRAIN, str(cut), "5", *words, root=root, cwd=tmp_path)
        assert killed.returncode == -9, (name, killed.stderr[-2000:])
        again = python(TRAIN, str(cut), "-1", *words, root=root, cwd=tmp_path)
        assert again.returncode == 0 and "resumed at step" in again.stdout, (name, again.stderr[-2000:])
        one, other = (next(place.glob("*/*/metrics.jsonl")) for place in (whole, cut))
        assert one.read_text() == other.read_text() and one.parent.name == other.parent.name
        code = json.loads((one.parent / "code.json").read_text())
        assert any(file.startswith("$SKETCHLAB_EXTRA/") for file in code), name
        folders.append(one.parent)
    page = python(REPORT, *map(str, folders), root=root, cwd=tmp_path)
    assert page.returncode == 0, page.stderr[-2000:]
    compared = Path(tmp_path, page.stdout.split()[-1]).read_text()
    assert "Autoencoders" in compared and "Retrieval" in compared
    pages = dict(zip(RUNS, [(folder / "report.html").read_text() for folder in folders], strict=True))
    assert "macro_f1" in pages["macro F1, Lion"] and "largest in the middle" in pages["autoencoder"]
    assert 'alt="test samples' in pages["autoencoder"].lower()
    scores = json.loads((folders[4] / "status.json").read_text())["metrics"]
    assert 0 <= scores["val/macro_f1"] <= 1


PLAIN = """from sketchlab.pipelines.classify.task import SCORES, TAKES, Config, build
ANSWERS, TITLE = "classes", "Plain"
"""
SERVE = """
import sys, pathlib; from sketchlab import export, open_run, predict
run = pathlib.Path(sys.argv[1])
open_run(run).check_classifier("app")
export.export(run, "safetensors", pathlib.Path("exported"))
sys.exit(predict.main([str(run), sys.argv[2]]))
"""


@pytest.mark.long
def test_a_pipeline_of_ones_own_that_answers_with_classes_is_served(tmp_path):
    root = tmp_path / "mine"
    for place, text in {
        "pipelines/plain/__init__.py": "",
        "pipelines/plain/task.py": PLAIN,
        "conf/pipeline/plain.yaml": (config.conf_dir() / "pipeline" / "classify.yaml")
        .read_text()
        .replace("name: classify", "name: plain"),
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    words = ["model=small_cnn", "pipeline=plain", *SHAPES, "loop.epochs=1"]
    done = python(TRAIN, str(tmp_path / "runs"), "-1", *words, root=root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    run = next((tmp_path / "runs").glob("*/*/scores.json")).parent
    assert json.loads((run / "scores.json").read_text())["answers"] == "classes"
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "one.png")
    served = python(SERVE, str(run), str(tmp_path / "one.png"), root=root, cwd=tmp_path)
    assert served.returncode == 0, served.stderr[-2000:]
    assert any(name in served.stdout for name in ("circle", "line", "sun"))
    assert (tmp_path / "exported" / "model.safetensors").is_file()


@pytest.mark.parametrize("kind", new.FILES)
def test_examples_are_complete_and_named(kind, tmp_path):
    said = new.write(kind, "mine", tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(new.FILES[kind]) and "SKETCHLAB_EXTRA=" in said
    assert not [path for path in files if "example:" in path.read_text() or path.stem == "example"]
    with pytest.raises(UserError, match="exists"):
        new.write(kind, "mine", tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"), [("model", "vgg16"), ("loss", "triplet"), ("optimizer", "adam"), ("data", "A b")]
)
def test_names_that_cannot_be_taken(kind, name, tmp_path):
    with pytest.raises(UserError):
        new.write(kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


MISTAKES = {  # what is wrong → (file, its text, words, what the line holds)
    "no GIVES": ("models/net.py", "class Config: pass\ndef build(*_): pass", "model=net", "net.py: has no GIVES"),
    "FITS": ("models/net.py", "FITS = ()\nclass Config: pass\ndef build(*_): pass", "model=net", "GIVES names what"),
    "a missing module": ("models/net.py", "import nowhere_at_all", "model=net", "net.py:1: ModuleNotFoundError"),
    "no Python": ("models/net.py", "\n\ndef build(:", "model=net", "net.py:3: SyntaxError"),
    "an error": ("models/net.py", "x = 1\ny = x / 0", "model=net", "net.py:2: ZeroDivisionError"),
    "a name of the package": ("models/vgg16.py", "", "model=vgg16", "models/vgg16.py: sketchlab has the model vgg16;"),
    "a built-in optimizer": (
        "optimizers/adam.py",
        "",
        "model=vgg16",
        "optimizers/adam.py: sketchlab has the optimizer adam;",
    ),
    "no such option": ("losses/net.py", "", "loss=net", "losses/net.py: has no Config"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_ones_own_file_is_one_line(mistake, tmp_path, monkeypatch):
    file, text, words, expected = MISTAKES[mistake]
    group, name = words.split("=")
    (tmp_path / "conf" / group).mkdir(parents=True)
    package = "# @package pipeline\nloss: net\n" if group == "loss" else f"name: {name}\n"
    (tmp_path / "conf" / group / f"{name}.yaml").write_text(package)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    (tmp_path / file).with_name(f"{name}_2.py").write_text("")  # never the one that is named
    monkeypatch.setenv("SKETCHLAB_EXTRA", str(tmp_path))
    monkeypatch.setattr(components, "EXTRA", str(tmp_path))
    import sketchlab.models

    monkeypatch.setattr(sketchlab.models, "__path__", [*sketchlab.models.__path__])
    monkeypatch.setattr(components, "__path__", [*components.__path__, str(tmp_path)])
    for module in [m for m in sys.modules if m.startswith(("sketchlab.components.", "sketchlab.models.net"))]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError) as raised:
        config.from_overrides([words])
    assert expected in str(raised.value) and "\n" not in str(raised.value)


OPTIONS = {
    "loop.optimizer_options.beta2=high": "loop.optimizer_options.beta2=high: expected float",
    "+loop.optimizer_options.beta3=1": "loop.optimizer_options.beta3: no such key",
    "loop.optimizer=adam": "loop.optimizer_options={'beta1': 0.9, 'beta2': 0.99}: loop.optimizer=adam has no options",
    "loop.optimizer=lyon": "loop.optimizer=lyon: expected one of sgd, adam, adamw, lion",
    "+pipeline.loss_options.x=1": "pipeline.loss_options={'x': 1}: pipeline.loss=cross_entropy has no options",
    "+pipeline.metrics.none={}": "metric.name=none: no file",
    "+pipeline.metrics.accuracy={}": "metric.name=accuracy: no file",
    "+data.augment.own.wave={}": "augmentation.name=wave: no file",
}


@pytest.mark.parametrize("word", OPTIONS)
def test_options_are_checked(word, tmp_path, monkeypatch):
    new.write("optimizer", "lion", tmp_path)
    monkeypatch.setattr(components, "EXTRA", str(tmp_path))
    monkeypatch.setattr(components, "__path__", [*components.__path__, str(tmp_path)])
    for module in [m for m in sys.modules if m.startswith("sketchlab.components.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError) as raised:
        config.from_overrides(["optimizer=lion", word])
    assert OPTIONS[word] in str(raised.value) and "\n" not in str(raised.value)


def test_a_choice_that_is_not_there_names_the_folder_of_ones_own(monkeypatch):
    with pytest.raises(UserError, match="set SKETCHLAB_EXTRA to a folder with models/ and conf/"):
        config.from_overrides(["model=my_own"])
