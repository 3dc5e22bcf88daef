"""From pressing return to the end of the first training step: one command of sketchlab beside a Lightning script.

The same network from random weights on the same photos (hymenoptera, 224 px, batches of 8), fp32, a process each time.
sketchlab's images come from its store, drawn once before; Lightning's through ImageFolder and a DataLoader, without
validation, logger, checkpoints, progress bar and model summary: the quickest way there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import Row, interleaved, python_path

MODELS = {"resnet18": "resnet18", "mobilenet_v2": "mobilenet_v2"}
GOAL = 1.3
BATCH = 8


def compare(repeats: int = 5, model: str = "resnet18") -> Iterator[Row]:
    """seconds from the command to the end of the first training step, from a warm store, beside Lightning"""
    if model not in MODELS:
        sys.exit(f"error: model={model}: expected one of {', '.join(MODELS)}")
    with tempfile.TemporaryDirectory() as root:
        environment = {**os.environ, "SKETCHLAB_CACHE": f"{root}/cache", "PYTHONPATH": python_path()}

        def first_step(side: str) -> float:
            start = time.perf_counter()
            words = [sys.executable, __file__, side, model]
            with subprocess.Popen(
                words, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None and process.stderr is not None
                said = [line for line in process.stdout if line == "stepped\n"]
                took = time.perf_counter() - start
                trouble = process.stderr.read()
            if not said:
                sys.exit(f"error: {side} never made a step: {trouble.strip().splitlines()[-1:]}")
            return took

        sides = {side: lambda side=side: first_step(side) for side in ("lightning", "sketchlab")}
        yield Row(
            model,
            interleaved(sides, repeats),
            "start",
            goal=f"{GOAL:g} times as soon",
            reached=lambda theirs, ours: theirs >= GOAL * ours,
            notes={"network": f"{model}, scratch, 224 px, batch {BATCH}, SGD, fp32", "data": "hymenoptera, 244 photos"},
        )


def stepped() -> None:
    sys.stdout.write("stepped\n")
    sys.stdout.flush()
    os._exit(0)


def sketchlab(model: str) -> None:
    """The command itself, which ends after its first optimizer step."""
    from sketchlab import run
    from sketchlab.engine import optim

    update = optim.update

    def once(*args: object, **options: object) -> None:
        update(*args, **options)  # type: ignore[arg-type]
        stepped()

    optim.update = once  # type: ignore[assignment]
    words = [f"model={model}", "model.tune=scratch", "data=hymenoptera", f"loop.batch_size={BATCH}", "rerun=true"]
    words += ["loop.optimizer=sgd", "loop.lr=0.001", "loop.weight_decay=0", "runtime.precision=fp32"]
    sys.argv = ["sketchlab.run", *words]
    run.main()


def lightning(model: str) -> None:
    import lightning  # pyright: ignore[reportMissingImports]  # extra: bench
    import torch
    import torch.nn.functional as F
    import torchvision
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision.models.get_model(model, weights=None, num_classes=2)

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            images, labels = batch  # (B, 3, 224, 224), (B,)
            return F.cross_entropy(self.net(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.001, momentum=0.9)

        def on_train_batch_end(self, *_: object) -> None:
            stepped()

    root = Path(os.environ.get("SKETCHLAB_DATA", "data")) / "hymenoptera_data" / "train"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(mean, std)]
    images = datasets.ImageFolder(str(root), transforms.Compose(steps))
    trainer = lightning.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Module(), DataLoader(images, batch_size=BATCH, shuffle=True, num_workers=2))


if __name__ == "__main__":
    {"sketchlab": sketchlab, "lightning": lightning}[sys.argv[1]](sys.argv[2])
