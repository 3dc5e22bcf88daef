"""Parameter groups as torch takes them, each with its own learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime


def test_groups_as_torch_takes_them_warm_up_like_torchs_own_scheduler():
    """A generator of parameters, as module.parameters() is, and a single tensor; beside LambdaLR, which scales each
    group's own rate."""
    run = config.from_overrides(["loop.optimizer=sgd", "loop.warmup_epochs=2", "loop.lr=0.01", "runtime.device=cpu"])
    loop, runtime = run.loop, Runtime(run.runtime)
    ours, theirs = nn.Linear(2, 2), nn.Linear(2, 2)
    scale = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    theirs.load_state_dict(ours.state_dict())
    optimizer = optim.make([{"params": ours.parameters(), "lr": 1e-4}, {"params": scale[0], "lr": 1e-2}], loop, runtime)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
    twin = torch.optim.SGD(
        [{"params": theirs.parameters(), "lr": 1e-4}, {"params": scale[1], "lr": 1e-2}],
        momentum=loop.momentum,
        weight_decay=loop.weight_decay,
    )
    share = [optim.rate(loop, step / 2, 1.0) for step in range(9)]  # half an epoch a step
    assert share[1] == 0.25 and share[2] == 0.5 and share[4] == 1.0
    scheduler = torch.optim.lr_scheduler.LambdaLR(twin, lambda step: share[step])
    for step in range(8):
        optim.set_rate(optimizer, loop, step / 2)
        rates = [[group["lr"] for group in each.param_groups] for each in (optimizer, twin)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12) and rates[0][1] / rates[0][0] == pytest.approx(100)
        for net, factor, stepper in ((ours, scale[0], optimizer), (theirs, scale[1], twin)):
            (net(torch.ones(3, 2)) * factor).square().sum().backward()
            stepper.step()
            stepper.zero_grad()
        scheduler.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=0)
    torch.testing.assert_close(scale[0], scale[1], rtol=1e-6, atol=0)
