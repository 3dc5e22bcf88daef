"""The border to Hydra: every choice composes, every mistake is one line that says what exists."""

from __future__ import annotations

import csv
import html
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sketchlab import components, config, load_model
from sketchlab.errors import UserError
from tests import every


@pytest.mark.parametrize("group", ["data", "runtime", "experiment", "data/augment", "data/splits"])
def test_every_choice_composes_and_types_check(group):
    for choice in every.choices(group):
        try:
            data = (
                ["data=hymenoptera", "model=vgg16"] if choice == "official" else []
            )  # shapes have no list of their own
            run = config.from_overrides([*data, f"{group}={choice}"])
        except UserError as error:  # the default model may not take what this data set gives: that must be the reason
            assert " takes " in str(error) and " gives " in str(error), f"{group}={choice}: {error}"
        else:
            assert run.choices[group] == choice


@pytest.mark.parametrize("model", every.choices("model"))
def test_every_model_fits_its_own_pipeline_and_some_data_set(model):
    for data in ["shapes", *every.choices("data")]:
        try:
            run = config.from_overrides([f"model={model}", f"data={data}"])
        except UserError as error:
            assert " takes " in str(error), f"model={model} data={data}: {error}"
        else:
            assert run.choices["model"] == model
            assert run.plain()["model"]["input"]["kind"] in run.data.constant("GIVES")
            return
    raise AssertionError(f"no data set gives what model={model} takes")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loop.epoch=3"], "loop.epoch: no such key; did you mean loop.epochs? there is: loop.accumulate, "),
        (["model.widhts=[8]"], "model.widhts: no such key; did you mean model.widths? there is: model.dropout"),
        (["model=vgg61"], "model=vgg61: no such choice; did you mean vgg16? there is: "),
        (["data=tuberln"], "data=tuberln: no such choice; did you mean tuberlin? there is: "),
        (["loop.lr=fast"], "loop.lr=fast: expected float"),
        (["model.widths=3"], "model.widths=3: expected list[int]"),
        (["seed=one"], "seed=one: expected a whole number"),
        (["rerun=maybe"], "rerun=maybe: expected true or false"),
        (["run.keep_last=never"], "run.keep_last=never: expected true, false or auto"),
        (["loop.optimizer=lion"], "loop.optimizer=lion: expected one of sgd, adam, adamw"),
        (["loop.schedule=warp"], "loop.schedule=warp: expected one of constant, cosine, linear, step"),
        (["runtime.device=tpu"], "runtime.device=tpu: expected one of auto, cpu, cuda"),
        (["runtime.precision=fp8"], "runtime.precision=fp8: expected one of auto, fp32, bf16"),
        (["loop.batch_size=0"], "loop.batch_size=0: expected at least 1"),
        (["data.splits.train=2"], "the shares must add up to at most 1"),
        (["data.classes=[circle,tringle]"], "no shape 'tringle'; there are circle"),
        (["+colour=red"], "colour: no such key; there is: data"),
        (["colour=red"], "colour: no such key; there is: data"),
        (["loop.epochs=1,2"], "loop.epochs=1,2: several values need -m"),
        (["data=folder", "data.root=/a,b"], """one path with a comma: 'data.root="/a,b"'"""),
        (["epochs 3"], "cannot read 'epochs 3': expected key=value"),
        (["model=small_siamese", "data=folder"], "model=small_siamese takes pairs, but data=folder gives images"),
        (
            ["model=small_cnn", "pipeline=gan"],
            "pipeline=gan does not fit model=small_cnn: it takes generator and discriminator, the model gives logits",
        ),
        (
            ["model.weights=imagenet", "model.tune=frozen"],
            "model.tune=frozen: expected one of freeze, norms, finetune, scratch",
        ),
    ],
)
def test_mistakes_are_one_line(overrides, said):
    with pytest.raises(UserError) as caught:
        config.from_overrides(overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_models_bring_their_pipeline_and_loop():
    run = config.from_overrides(["model=small_siamese"])
    assert run.choices["pipeline"] == "retrieve" and run.choices["loop"] == "retrieve"


def test_differs_lists_what_was_changed_and_nothing_else():
    run = config.from_overrides(["model=small_cnn", "loop.lr=0.5", "seed=3", "data.splits.seed=0"])
    assert run.differs == {"loop.lr": 0.5, "seed": 3}
    assert run.command == "python -m sketchlab.run model=small_cnn loop.lr=0.5 seed=3 data.splits.seed=0"


EXPERIMENT = """# @package _global_
defaults: [override /model: small_cnn, _self_]
seed: 7
rerun: true
run: { root: elsewhere, keep_last: false, track: [tensorboard] }
"""


@pytest.fixture
def own_experiment(tmp_path, monkeypatch):
    """A folder of the user's own with conf/experiment/mine.yaml."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(EXPERIMENT)
    monkeypatch.setattr(components, "EXTRA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("key", "default", "experiment", "override"),
    [
        ("seed", 0, 7, 3),
        ("rerun", False, True, False),
        ("run.root", "outputs", "elsewhere", "third"),
        ("run.keep_last", "auto", "false", "true"),
        ("run.track", [], ["tensorboard"], ["wandb"]),
    ],
)
@pytest.mark.usefixtures("own_experiment")
def test_an_experiment_sets_the_keys_of_the_run_itself_and_overrides_win(key, default, experiment, override):
    """They were ignored while config.yaml's own values came after the experiment."""

    def value(*overrides):
        return config.flat(config.from_overrides([*overrides]).plain())[key]

    written = str(override).lower() if isinstance(override, bool) else str(override).replace("'", "")
    assert value() == default
    assert value("experiment=mine") == experiment
    assert value("experiment=mine", f"{key}={written}") == value(f"{key}={written}", "experiment=mine") == override


@pytest.mark.usefixtures("own_experiment")
def test_what_an_experiment_sets_does_not_differ_from_it():
    assert config.from_overrides(["experiment=mine"]).differs == {}
    assert config.from_overrides(["experiment=mine", "seed=3"]).differs == {"seed": 3}


def test_an_experiment_sets_the_seed_on_the_command_line_too(command, own_experiment):
    for words, seed in ((["experiment=mine"], 7), (["experiment=mine", "seed=3"], 3)):
        done = command("--cfg", "job", *words)
        assert done.returncode == 0 and f"\nseed: {seed}\n" in f"\n{done.stdout}", done.stderr
        assert "root: elsewhere" in done.stdout and "rerun: true" in done.stdout


def test_load_model_takes_the_other_values_from_yaml():
    net = load_model("small_cnn", n_classes=7, widths=[4, 8], input={"size_px": 16})
    assert net[0][0].out_channels == 4 and net[1].linear.out_features == 7
    with pytest.raises(UserError, match="model.widht: no such key; did you mean widths"):
        load_model("small_cnn", widht=3)
    with pytest.raises(UserError, match="model=smal_cnn: no such choice; did you mean small_cnn"):
        load_model("smal_cnn")


def test_help_lists_choices_and_waits_for_no_torch(sketchlab):
    done = sketchlab("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and "model: " in done.stdout and "small_cnn" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported and not {"torch", "pandas", "matplotlib"} & imported  # which take seconds


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["epochs=5"], "epochs: no such key; did you mean loop.epochs=5?"),
        (["--epochs", "5"], "--epochs: no such option; keys have no dashes; did you mean loop.epochs=5?"),
        (["--lr=0.1"], "--lr: no such option; keys have no dashes; did you mean loop.lr=0.1?"),
        (["per_class=3"], "per_class: no such key; did you mean data.per_class=3?"),
        (["--batch-size", "8"], "did you mean loop.batch_size=8?"),
        (["loop.lrr=2"], "loop.lrr: no such key; did you mean loop.lr? there is: "),
    ],
)
def test_a_key_in_another_place_is_named(command, words, meant):
    done = command(*words)
    assert done.returncode == 1 and meant in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "typed",
    [
        "run --help",
        *(pytest.param(t, marks=pytest.mark.slow) for t in ("run --cfg job", "data list", "predict --help")),
    ],
)
def test_a_closed_pipe_is_no_traceback(typed):
    module, *words = typed.split()
    first = [sys.executable, "-m", f"sketchlab.{module}", *words]
    process = subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(60)


def test_cfg_job_shows_the_resolved_run(command):
    done = command("--cfg", "job", "loop.epochs=7")
    assert done.returncode == 0 and "epochs: 7" in done.stdout and "name: small_cnn" in done.stdout


def test_mistake_on_the_command_line(command):
    done = command("model=vgg61")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("error: model=vgg61: no such choice")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.root=/home/josé/données (2)", "/home/josé/données (2)"),
        ("data.classes=[bear (animal),猫 犬]", ["bear (animal)", "猫 犬"]),
        ("data.classes=[car_(sedan)]", ["car_(sedan)"]),
        ("data.root=a=b,c", "a=b,c"),
        ('data.root=the "old" one (a)', 'the "old" one (a)'),
        ("data.root=C:\\\\data (1)", "C:\\\\data (1)"),
    ],
)
def test_what_hydra_cannot_read_is_printed_as_it_works_when_pasted(typed, value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = shlex.split(config.quoted(typed))
    found = OverridesParser.create().parse_override(word).value()
    assert ([str(one) for one in found] if isinstance(found, list) else str(found)) == value
    try:
        config.from_overrides(["data=folder", typed])
    except UserError as error:
        assert config.quoted(typed) in str(error) or "several values need -m" in str(error)


@pytest.mark.parametrize(
    ("typed", "classes"),
    [
        ("[1e5,null,true,007,~,yes]", ["1e5", "null", "true", "007", "~", "yes"]),
        ("[1_000,0x10,nan,inf,1.0,False]", ["1_000", "0x10", "nan", "inf", "1.0", "False"]),
        ("[ice cream, 猫,bear (animal)]", ["ice cream", "猫", "bear (animal)"]),
        ("""["1e5",'null',ant]""", ["1e5", "null", "ant"]),
        ("null", None),
    ],
)
def test_names_of_classes_are_text_whatever_they_look_like(typed, classes):
    data = config.from_overrides(["data=folder", f"data.classes={typed}"]).data
    assert data.config.classes == config.data("folder", [f"data.classes={typed}"]).config.classes == classes


def test_words_that_need_no_quotes_stay_as_typed():
    words = ["data.classes=[circle,ice cream]", "x=[1e5]", "data.classes=null", "+data.classes=[a,1],[b,${seed}]"]
    assert config.names_as_text(words) == [*words[:3], '+data.classes=[a,"1"],[b,${seed}]']


@pytest.mark.slow
def test_class_folders_named_like_numbers_are_names_in_every_command(sketchlab, tmp_path):
    names = ["007", "1e5", "=1+1", "null", "true", "yes", "~"]
    random = np.random.default_rng(0)
    for name in names:
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(random.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / "set" / name / f"{i}.png")
    root, chosen = f"data.root={tmp_path / 'set'}", names[1:]
    small = ["loop.epochs=1", "loop.batch_size=8", "pipeline.explain=0"]
    done = sketchlab("data=folder", root, f"data.classes=[{','.join(chosen)}]", *small)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "small_cnn-folder").glob("[0-9a-f]*")
    assert json.loads((folder / "data.json").read_text())["classes"] == chosen
    page = (folder / "report.html").read_text()
    assert all(page.count(f">{html.escape(name)}<") > 3 for name in chosen) and ">100000.0<" not in page
    files = [str(tmp_path / "set" / name / "0.png") for name in chosen]
    for module, words in (
        ("predict", [str(folder), *files, "--out", "p.csv"]),
        ("evaluate", [str(folder), root]),
        ("evaluate", [str(folder), "data=folder", root, f"data.classes=[{','.join(reversed(chosen))}]"]),
        ("report", [str(folder)]),
    ):
        done = sketchlab(*words, module=f"sketchlab.{module}")
        assert done.returncode == 0, (module, done.stderr)
    with open(tmp_path / "p.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[2:-1] == [f"p_{name}" for name in chosen] and {row[1] for row in rows} <= set(chosen)
    with open(folder / "predictions_test.csv", newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == set(chosen)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("pipeline=nan", "pipeline=nan: expected the name of a choice"),
        ("model=3.5", "model=3.5: expected the name of a choice"),
        ("loop.lr=${x}", "Interpolation key 'x' not found"),
        ("data.name={}", "data.name={}: no file"),
        ("seed=" + "9" * 400, "seed"),
        ("loop.epochs=" + "9" * 400, "loop.epochs"),
        ("loop.lr=" + "9" * 400, ""),
        ("user=ann", "user: no such key"),
    ],
)
def test_strange_values_are_one_line(command, word, meant):
    done = command(word, "plan=true", "data.per_class=8")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: ") and meant in lines[0], (
        done.stderr
    )
