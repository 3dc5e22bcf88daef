"""What one rank does: build everything, describe it in the folder, train; or show what is finished."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sketchlab.config import RunConfig
from sketchlab.storage import sources


def work(runtime: Any, run: RunConfig, path: Path, data: Any, pruning: dict[str, Any] | None = None) -> None:
    """One rank: build everything, describe it in the folder, train."""
    from sketchlab.data.sheet import of_training
    from sketchlab.engine.loop import fit, fit_once
    from sketchlab.engine.rundir import RunDir
    from sketchlab.engine.task import printout
    from sketchlab.training import environment, provenance

    folder = RunDir(path, writes=runtime.rank == 0)
    data = run.data.build(run.model.config.input) if data is None else data
    describe_data(data, run, folder)
    goes_on = (path / "checkpoints" / "last.pt").exists()
    if folder.writes and not (goes_on and (path / "samples" / "data.png").exists()):
        folder.picture("data", of_training(data, run.model.config.input, run.seed))
    notes = run.notes()
    for note in notes:
        folder.say(f"warning: {note}")
    if notes:
        folder.document("warnings_model.json", {str(i): note for i, note in enumerate(notes)})
    if runtime.device.type == "cpu":
        for line in faster(run):
            folder.say(line)
    task, loop = _built(runtime, run, folder, data)
    once = hasattr(task, "fit")
    printed = {} if once else {name: printout(name, *made_of) for name, made_of in task.networks.items()}
    if printed:
        folder.table("model.csv", [row for rows, _ in printed.values() for row in rows])
    modules = [] if once else [net for net, _ in task.networks.values()]
    parameters = {p for net in modules for p in net.parameters()}
    counts = {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }
    before, files = provenance.read(path), provenance.imported()
    names = provenance.differing(before, files)
    if goes_on or not provenance.changed(before):
        files = before | files  # what it began with, when data was not kept yet
    made = environment.environment(runtime, counts, files)
    if run.model.config.input.kind != "points":  # of which every drawing has another number
        made["macs"] = {name: macs for name, (_, macs) in printed.items()}
    folder.document("env.json", made)
    folder.document(provenance.FILE, files)
    if not goes_on:  # what it began with
        parts = filter(None, (run.model, run.model.backbone, run.data, run.pipeline))
        for name, text in provenance.texts(files, [part.module for part in parts]).items():
            folder.text(f"{sources.FOLDER}/{sources.file_of(name)}", text)
    folder.status(code=made["code"])
    folder.made_with = environment.made_with(run, made)
    if names:
        folder.code = provenance.short(before), made["code"], names
    if not goes_on and "val" in task.splits and hasattr(task, "untrained"):
        folder.keep("val", task.untrained())
    if once:
        fit_once(task, runtime, folder)
    else:
        fit(task, loop, run.seed, runtime, folder, pruning)
    folder.document(provenance.FILE, files | provenance.imported())  # with what was imported on the way


def faster(run: RunConfig) -> list[str]:
    """What to write for a run that would train a whole pretrained network on a CPU, and what that leaves out."""
    from sketchlab import weights

    model = run.model.backbone or run.model
    key = "model.backbone.tune" if run.model.backbone else "model.tune"
    if getattr(model.config, "tune", "") != "finetune" or weights.starts_frozen(model.config):
        return []
    bf16 = " runtime.precision=bf16 where the CPU has it;" if run.runtime.precision != "bf16" else ""
    frozen = dataclasses.replace(model, config=dataclasses.replace(model.config, tune="freeze"), backbone=None)
    first = (
        f"every layer trains, on a CPU; faster:{bf16} {key}=freeze loop={run.pipeline.name} (features computed once)"
    )
    return [first, *(f"with {key}=freeze {note}" for note in frozen.notes())]


def show(runtime: Any, run: RunConfig, path: Path, data: Any) -> None:
    """One rank: the figures and tables of a finished run, from its weights."""
    from sketchlab.engine.loop import show
    from sketchlab.engine.rundir import RunDir

    folder = RunDir(path, writes=runtime.rank == 0)
    data = run.data.build(run.model.config.input) if data is None else data
    task, _ = _built(runtime, run, folder, data)
    show(task, run.seed, runtime, folder)


def _built(runtime: Any, run: RunConfig, folder: Any, data: Any) -> tuple[Any, Any]:
    """The task, and the loop's settings for this data."""
    from sketchlab import components, rng
    from sketchlab.data.dataset import resident
    from sketchlab.metrics import declared

    own = [components.load("metric", name) for name in getattr(run.pipeline.config, "metrics", {})]
    of = run.pipeline.constant
    scores = (*of("SCORES", ()), *(metric.SCORE for metric in own))
    folder.declare(declared.Table(run.pipeline.name, scores, of("ANSWERS", ""), of("TITLE", "")))
    if runtime.device.type == "cuda":
        data = resident(data, runtime.device, int(0.4 * runtime.free_bytes()))
    runtime.seed(rng.fold(run.seed, "init"))
    model = run.model.build(len(data.classes))
    loop = fitting(run, len(data.splits["train"]), runtime.ranks)
    if loop is not None and loop.batch_size < run.loop.batch_size:
        folder.say(
            f"loop.batch_size={run.loop.batch_size} is more than the {len(data.splits['train'])} training samples: "
            f"a batch has {loop.batch_size}"
        )
    task = run.pipeline.build(model, data, loop, runtime, run.seed)
    if prompts := prompts_of(run):
        from sketchlab.weights import clip_text

        clip_text.check(prompts)
        model = run.model.backbone or run.model
        text = getattr(model.config, "text", "")
        task.take_text(clip_text.text_side(text, model.config, data.classes, prompts))
    if folder_of_classifier := getattr(run.pipeline.config, "scoring_classifier", None):
        from sketchlab.runs.gan.scoring_classifier import scoring_classifier

        task.scoring_classifier = scoring_classifier(folder_of_classifier, data.classes, run.model.config.input)
    return task, loop


def prompts_of(run: RunConfig) -> list[str]:
    """What a model or a pipeline makes of the names of classes; [] where neither does."""
    return getattr(run.model.config, "prompts", []) or getattr(run.pipeline.config, "prompts", [])


def fitting(run: RunConfig, n: int, ranks: int) -> Any:
    """The loop's settings for n training samples: a batch is at most all of them. None where there is no loop."""
    if run.loop is None:
        return None
    pack = getattr(run.model.config, "pack", 1)
    shared = {"runtime.ranks": ranks, "loop.accumulate": run.loop.accumulate, "model.pack": pack}
    what = " × ".join(f"{key} {value}" for key, value in shared.items() if value > 1)
    return run.loop.at_most(n, ranks * run.loop.accumulate * pack, what)


def describe_data(data: Any, run: RunConfig, folder: Any) -> None:
    """data.json, and splits.csv while the list is short: who was in which split, and how that was decided."""
    from sketchlab.data import splits
    from sketchlab.data.commands import check, domains
    from sketchlab.data.dataset import Pairs

    parts = {name: s.sketch if isinstance(s, Pairs) else s for name, s in data.splits.items()}
    notes = list(data.notes)
    if known := pretrained_on(run, data.classes):
        folder.say(known)
        notes.append(known)
    if hasattr(run.data.config, "on_bad"):
        found = check.warnings(domains.by_domain(data))
        notes += found
        for note in found:
            folder.say(f"warning: {note}")
    for note in splits.notes(run.data.config.splits, data.classes) if hasattr(run.data.config, "splits") else []:
        folder.say(note)
    folder.document(
        "data.json",
        {
            "classes": data.classes,
            "splits": {
                name: {
                    "n": len(s),
                    "per_class": s.labels.bincount(minlength=len(data.classes)).tolist(),
                    "groups": n_groups(s),
                    "digest": digest(s.ids),
                }
                for name, s in parts.items()
            },
            "rule": run.plain()["data"].get("splits", {}),
            "fingerprint": data.fingerprint,
            "notes": notes,
        },
    )
    for name, s in parts.items():
        if name in ("val", "test") and n_groups(s) < len(s):
            folder.keep(name, {"groups": s.groups})
    if sum(map(len, parts.values())) <= 50_000:
        rows = [
            {"split": name, "id": i, "label": data.classes[label]}
            for name, s in parts.items()
            for i, label in zip(s.ids, s.labels.tolist(), strict=True)
        ]
        folder.table("splits.csv", rows)


def pretrained_on(run: RunConfig, classes: list[str]) -> str:
    """Which of the classes the pretrained weights of a run may know already; "" without such weights."""
    from sketchlab.weights.seen import line

    model = run.model.backbone or run.model
    loads = getattr(model.config, "tune", "scratch") != "scratch"
    name = model.constant("trained_on", lambda _: "")(model.config) if loads else ""
    return line(name, classes) if name else ""


def n_groups(split: Any) -> int:
    """How many objects the samples of a split show, which is what scores vary with; of drawings each is its own."""
    return len(split) if split.groups is split.rows else len(split.groups.unique())


def digest(ids: Any) -> str:
    """Which samples a split has, in whatever order; millions of drawings say it without a list of their names."""
    from sketchlab.data.dataset import fingerprint

    return ids.digest() if len(ids) > 1_000_000 and hasattr(ids, "digest") else fingerprint(sorted(ids))
