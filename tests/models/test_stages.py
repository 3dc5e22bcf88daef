from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sketchlab.layers.chain import flatten, frozen_prefix, penultimate, set_train
from sketchlab.layers.stages import AdaptiveMean, GlobalMean


def _net(dropout: float = 0.5) -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 3))
    return nn.Sequential(OrderedDict(features=features, pool=GlobalMean(), head=head))


def _freeze(module: nn.Module) -> None:
    module.requires_grad_(False)


@pytest.mark.parametrize("size", [1, 2, 6, 7])
@pytest.mark.parametrize("shape", [(7, 7), (1, 1), (5, 9), (13, 14), (2, 3)])
def test_adaptive_mean_is_torchs(size, shape):
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    torch.testing.assert_close(AdaptiveMean(size)(x), F.adaptive_avg_pool2d(x, size))


def test_prefix_ends_at_the_dropout_and_rest_of_prefix_is_the_net():
    net = _net()
    _freeze(net.features)
    prefix, rest = frozen_prefix(net)
    assert [type(s) for s in prefix] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, GlobalMean]
    assert [type(s) for s in rest] == [nn.Dropout, nn.Linear]
    x = torch.randn(5, 1, 8, 8)
    set_train(net)
    once = torch.cat([prefix(x[i : i + 1]) for i in range(5)])  # one image at a time: no batch statistics
    torch.testing.assert_close(once, prefix(x))
    for seed in range(2):
        torch.manual_seed(seed)
        whole = net(x)
        torch.manual_seed(seed)
        assert torch.equal(whole, rest(prefix(x)))


def test_without_dropout_the_prefix_ends_at_the_trainable_layer():
    net = _net(dropout=0.0)
    _freeze(net.features)
    assert [type(s) for s in frozen_prefix(net)[1]] == [nn.Linear]


def test_a_trainable_first_layer_leaves_no_prefix():
    net = _net()
    _freeze(net)
    net.features[0].weight.requires_grad_(True)
    prefix, rest = frozen_prefix(net)
    assert len(prefix) == 0 and len(rest) == len(flatten(net))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False),
                                  nn.BatchNorm2d(4, track_running_stats=False).requires_grad_(False)])  # fmt: skip
def test_a_batch_norm_that_moves_or_mixes_samples_ends_the_prefix(norm):
    net = nn.Sequential(nn.Conv2d(1, 4, 3).requires_grad_(False), norm, nn.ReLU())
    assert len(frozen_prefix(net)[0]) == 1


def test_frozen_batch_norm_does_not_move_and_a_trainable_one_does():
    net = nn.Sequential(nn.BatchNorm2d(2).requires_grad_(False), nn.BatchNorm2d(2))
    set_train(net)
    net(torch.randn(4, 2, 3, 3) + 5)
    assert torch.equal(net[0].running_mean, torch.zeros(2)) and net[0].num_batches_tracked == 0
    assert net[1].running_mean.abs().min() > 0.1 and net[1].num_batches_tracked == 1
    assert net.training and not net[0].training and net[1].training


def test_a_stage_with_its_own_forward_is_not_opened():
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    net = nn.Sequential(nn.Sequential(nn.ReLU()), Residual(nn.Linear(2, 2), nn.ReLU()))
    assert [type(s) for s in flatten(net)] == [nn.ReLU, Residual]
    net.requires_grad_(False)
    x = torch.randn(3, 2)
    assert torch.equal(frozen_prefix(net)[0](x), net(x))


def test_penultimate_gives_what_the_last_layer_sees():
    net = _net().eval()
    x = torch.randn(2, 1, 8, 8)
    features = penultimate(net)(x)
    assert features.shape == (2, 4)
    torch.testing.assert_close(net.head[1](features), net(x))
