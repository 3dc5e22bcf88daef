"""python -m sketchlab.evaluate RUN data=OTHER …: a finished classifier on another data set with the same classes.

A finished search (pipeline=retrieve) on other data, other classes, or among photos of seen classes too (--generalised).
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sketchlab.data.dataset import Dataset, Pairs, Split, fingerprint
from sketchlab.data.strokes.batch import Strokes
from sketchlab.engine.rundir import RunDir, identity, now
from sketchlab.engine.task import Explained
from sketchlab.errors import UserError, exit_on_error
from sketchlab.metrics import retrieval as metrics
from sketchlab.pipelines.classify import bilstm2d, gradcam
from sketchlab.pipelines.classify.predictions import evaluation
from sketchlab.pipelines.retrieve import rankings
from sketchlab.report.sentences import render, stored
from sketchlab.runs import BATCH, KINDS, OpenedRun, transfer
from sketchlab.runs.classify import drop, stress, stress_strokes
from sketchlab.runs.reading import ink_of
from sketchlab.runs.retrieve import elsewhere
from sketchlab.runs.retrieve.retriever import Retriever, check
from sketchlab.schema import SCHEMA
from sketchlab.storage.files import read_dict, write_json

SPLITS = ("auto", "all", "train", "val", "test")
STRESS_IMAGES = 300


def main(words: list[str] | None = None) -> None:
    """Exit code 0, or 1 with one line on standard error."""
    arguments = parser().parse_intermixed_args(words)
    exit_on_error(lambda: evaluate(arguments))


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m sketchlab.evaluate", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished classifier or search")
    out.add_argument(
        "overrides",
        nargs="*",
        metavar="data=OTHER data.key=value",
        help="the data set, as in sketchlab.run; without data=… the run's own",
    )
    out.add_argument(
        "--split",
        choices=SPLITS,
        default="auto",
        help="which samples; auto: the test split of the run's own data or of a data set with an official "
        "one, else all samples",
    )
    out.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="a class of the data set and what the run calls it; may be repeated",
    )
    out.add_argument(
        "--stress",
        action="store_true",
        help="also accuracy against rotation, scale, shift, (drawings) line width and (strokes) missing strokes",
    )
    out.add_argument(
        "--stress-images",
        type=int,
        default=STRESS_IMAGES,
        metavar="N",
        help=f"at most so many samples for --stress (default {STRESS_IMAGES})",
    )
    out.add_argument(
        "--generalised",
        action="store_true",
        help="of a search on classes never seen: among the photos of all splits, those of seen classes too",
    )
    out.add_argument(
        "--out", type=Path, metavar="DIR", help="where the evaluation's folder goes (default RUN/evaluations)"
    )
    out.add_argument("--rerun", action="store_true", help="do it again although it was done before")
    return out


def evaluate(arguments: argparse.Namespace) -> Path:
    """Do what the arguments say, or find it done; returns the folder of the evaluation."""
    if arguments.stress_images < 1:
        raise UserError(f"--stress-images {arguments.stress_images}: expected at least 1")
    run = OpenedRun(arguments.run)
    search = run.scores.answers == "matches"
    if search:
        check(run, "evaluate")
        if arguments.stress or arguments.rename:
            raise UserError("--stress, --rename: for classifiers alone; a search knows no classes")
    else:
        run.check_classifier("evaluate", KINDS)
        if arguments.generalised:
            raise UserError(
                "--generalised: for searches alone (pipeline=retrieve); a classifier answers with its classes"
            )
    chosen = transfer.compose(run, arguments.overrides)
    if search:
        plan = elsewhere.plan(run, chosen, arguments.overrides, arguments.split, arguments.generalised)
    else:
        plan = transfer.plan(run, chosen, arguments.split, arguments.rename)
    data = plan.data.build(run.input)
    asked = elsewhere.pair(data, plan, arguments.generalised) if search else transfer.samples(run, data, plan)
    samples, used = asked
    deciding = {
        "run": run.path.resolve().name,
        "data": plan.plain(),
        "samples": data.fingerprint,
        "split": used,
        "renamed": plan.renamed,
        "stress": arguments.stress_images if arguments.stress else 0,
    } | ({"generalised": True} if arguments.generalised else {})
    parent = arguments.out or run.path / "evaluations"
    folder = RunDir(parent.resolve() / f"{plan.choice}-{identity(deciding)}")
    folder.open()
    try:
        if arguments.rerun:
            folder.clear()
        if folder.written.get("state") == "finished":
            print("found: this evaluation is finished; --rerun does it again")
        else:
            _document(folder, run, plan, deciding, data, samples, used)
            if isinstance(samples, Pairs):
                work_search(folder, run, plan, data, samples, used, arguments.generalised)
            else:
                work(folder, run, plan, data, samples, used, arguments.stress_images if arguments.stress else 0)
    finally:
        with contextlib.suppress(OSError):  # an evaluation trains nothing
            (folder.path / "checkpoints").rmdir()
        folder.lock.release()
    _report(folder)
    return folder.path


def _document(
    folder: RunDir, run: OpenedRun, plan: Any, deciding: dict, data: Dataset, samples: Split | Pairs, used: str
) -> None:
    samples, classes = (samples.sketch, data.classes) if isinstance(samples, Pairs) else (samples, run.classes)
    folder.status(state="running", started=now())
    folder.declare(run.scores)
    kept = {key: value for key, value in run.config.items() if key in ("seed", "model", "pipeline", "runtime")}
    folder.document(
        "config.yaml",
        {
            "schema": SCHEMA,
            "command": shlex.join(["python", "-m", "sketchlab.evaluate", *sys.argv[1:]]),
            "choices": {"pipeline": "evaluate", "model": run.document["choices"]["model"], "data": plan.choice},
            "config": {**kept, "data": plan.plain()},
            "differs": plan.differs,
            "identity": deciding,
        },
    )
    counts = torch.bincount(samples.labels, minlength=len(classes)).tolist()
    what = f"evaluated: {'all samples' if used == 'all' else f'split {used}'} of data={plan.choice}, called test here"
    folder.document(
        "data.json",
        {
            "classes": classes,
            "splits": {
                "test": {
                    "n": len(samples),
                    "per_class": counts,
                    "groups": len(samples.groups.unique()),
                    "digest": fingerprint(sorted(samples.ids)),
                }
            },
            "rule": plan.plain().get("splits", {}),
            "fingerprint": data.fingerprint,
            "notes": [what, *plan.notes, *data.notes],
        },
    )


def work(
    folder: RunDir, run: OpenedRun, plan: Any, data: Dataset, samples: Split, used: str, stress_images: int
) -> None:
    """Answers, scores, the drop against the run's own score, and where asked for the stress curves."""
    from sketchlab.training import provenance
    from sketchlab.training.environment import environment

    pipeline = run.config["pipeline"]
    classifier = run.classifier("dark", getattr(plan.data.config, "raster", None))
    net = classifier.net
    files = provenance.imported()
    parameters = read_dict(run.path / "env.json").get("parameters", {})
    folder.document("env.json", environment(classifier.runtime, parameters, files))
    if (run.path / "model.csv").exists():
        shutil.copyfile(run.path / "model.csv", folder.path / "model.csv")
    logits = all_logits(classifier.logits, samples)
    scores = folder.keep(
        "test", evaluation(logits, samples, run.classes, pipeline.get("mistakes", 0), pipeline.get("metrics", {}))
    )
    if len(samples.groups.unique()) < len(samples):
        folder.keep("test", {"groups": samples.groups})
    result = drop.result(run, plan, samples, logits, used)
    write_json(folder.path / "evaluation.json", result)
    if net is not None:
        most, device = pipeline.get("explain", 0), classifier.runtime.device
        seed = run.config["seed"]
        prepare = classifier.strokes
        parts: Explained = {
            "Grad-CAM": lambda: gradcam.explained(net, classifier.images, samples, logits, most, seed, device, prepare),
            "maps of the LSTMs": lambda: bilstm2d.hidden_states(net, classifier.images, samples, most, seed, prepare),
        }
        folder.explain("test", parts)
    if stress_images:
        if isinstance(samples.gather(torch.zeros(1, dtype=torch.int64)), Strokes):
            kinds = stress_strokes.of_strokes(classifier)
        else:
            ink = "none" if ink_of(plan.plain()) == "none" else run.input.ink
            kinds = stress.of_images(classifier.logits, ink)
        table = stress.curves(classifier.logits, kinds, samples, stress_images, BATCH)
        folder.table("stress.csv", table.to_dict("records"))
    folder.restore_rows([{"step": 1, "epoch": 1, **scores}])
    for line in drop.lines(result):
        folder.say(line)
    folder.status(state="finished", ended=now(), code=provenance.short(files), metrics=scores, best={})


def work_search(
    folder: RunDir, run: OpenedRun, plan: Any, data: Dataset, pair: Pairs, used: str, generalised: bool
) -> None:
    """Embeddings, scores, and the drop against the run's own score."""
    from sketchlab.training import provenance
    from sketchlab.training.environment import environment

    rankings.check_gallery(pair, used, run.config["pipeline"]["match"])
    retriever = Retriever(run)
    files = provenance.imported()
    folder.document(
        "env.json", environment(retriever.runtime, read_dict(run.path / "env.json").get("parameters", {}), files)
    )
    if (run.path / "model.csv").exists():
        shutil.copyfile(run.path / "model.csv", folder.path / "model.csv")
    sketches, photos = elsewhere.embed(retriever, pair)
    found = rankings.search(sketches, photos, pair)
    distances, matches = metrics.nearest(sketches, photos, rankings.SHOWN)
    match = run.config["pipeline"]["match"]
    kept = rankings.evaluation(found) | {
        "predictions": rankings.match_table(pair, data.classes, distances, matches),
        "warnings": rankings.warnings(found),
        "protocol": rankings.protocol(list(found), pair, match, "none", False),
    }
    if len(pair.sketch.groups.unique()) < len(pair):
        kept["groups"] = pair.sketch.groups
    scores = folder.keep("test", kept)
    folder.explain("test", {"embeddings": lambda: rankings.embeddings(pair, sketches, photos)})
    result = elsewhere.result(run, plan, data, pair, used, found, generalised)
    write_json(folder.path / "evaluation.json", result)
    folder.restore_rows([{"step": 1, "epoch": 1, **scores}])
    for line in elsewhere.lines(result):
        folder.say(line)
    for line in result["warnings"]:
        folder.say(f"warning: {render(stored(line))}")
    folder.status(state="finished", ended=now(), code=provenance.short(files), metrics=scores, best={})


def all_logits(logits: Any, samples: Split) -> Tensor:
    """(n, n_classes), in order."""
    parts = torch.arange(len(samples)).split(BATCH)
    bar = tqdm(parts, desc="evaluating", unit="batch", leave=False, delay=1)
    return torch.cat([logits(samples.gather(part)) for part in bar])


def _report(folder: RunDir) -> None:
    import sketchlab.report

    print(f"report: {sketchlab.report.write(folder.path)}", flush=True)


if __name__ == "__main__":
    main()
