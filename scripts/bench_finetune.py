"""Fine-tuning VGG16 at 224 px: sketchlab's step beside a bare fp32 step of the same network."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator

from bench import Row, beside_fit
from bench_engine import bare_step, pictures

from sketchlab import config
from sketchlab.engine.runtime import Runtime

GOALS = {"fp32": 1.2, "bf16": 2.0}


def compare(steps: int = 8, batch: int = 8, size_px: int = 224, width: float = 1.0) -> Iterator[Row]:
    """a fine-tuning step of VGG16, all layers training, beside a bare fp32 loop as PyTorch comes"""
    words = ["model=vgg16", "model.tune=scratch", f"model.input.size_px={size_px}", f"model.width={width}"]
    words += ["loop.optimizer=sgd", "loop.lr=0.001", "loop.weight_decay=0", f"loop.batch_size={batch}"]
    words += ["loop.epochs=100", "loop.save_every_s=3600"]  # a checkpoint of 1.1 GB is no part of a step
    plain = config.from_overrides([*words, "runtime.precision=fp32", "runtime.channels_last=false"])
    data = pictures(plain.model.config.input, 2, 4 * batch)
    for precision, goal in GOALS.items():
        run = config.from_overrides([*words, f"runtime.precision={precision}"])
        bare, runtime = Runtime(plain.runtime), Runtime(run.runtime)
        runtime.seed(0)
        net = run.model.build(2)
        step = bare_step(plain, copy.deepcopy(net), data, bare)
        task = run.pipeline.build(net, data, run.loop, runtime, run.seed)
        blocks = beside_fit(task, run, runtime, step, steps, 1)
        processor_s = {side: f"{statistics.median(v):.2f} s" for side, v in blocks.processor_s.items()}
        yield Row(
            precision,
            blocks.wall_s,
            "step",
            goal=f"{goal:g} times as fast",
            reached=lambda yardstick, ours, goal=goal: yardstick >= goal * ours,
            notes={
                "network": f"vgg16, width {width:g}, {size_px} px, batch {batch}, SGD",
                "bare": "fp32, contiguous, deterministic algorithms not asked for",
                "sketchlab": f"{precision}, channels-last, deterministic",
                "processor_time_a_step": processor_s,
            },
        )
