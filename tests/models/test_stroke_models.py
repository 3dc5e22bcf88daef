"""Networks on frames and points: frankenstein's sizes, and each layer against a plain twin."""

import math

import pytest
import torch
from torch import nn

from sketchlab import config, inputs
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.frame_front import FrameFront
from sketchlab.models.cnn_bilstm2d import BiLSTM2D

BRIGHT = Input("frames", 16, 6, "bright", [0.0], [1.0])
DARK = Input("frames", 16, 6, "dark", [0.2], [0.5])


def made(model, *words, classes=18):
    torch.manual_seed(0)
    return config.from_overrides([f"model={model}", *words]).model.build(classes)


def frames(like: Input, used: list[int]) -> torch.Tensor:
    """Drawings of so many frames with ink, then empty ones."""
    torch.manual_seed(1)
    ink = (torch.rand(len(used), like.channels, like.size_px, like.size_px) < 0.1).float().cummax(1).values
    ink *= (torch.arange(like.channels) < torch.tensor(used)[:, None])[..., None, None]
    return ((ink if like.ink == "bright" else 1 - ink) - like.mean[0]) / like.std[0]


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("cnn_lstm", 2_388_522),
        ("cnn_strokes", 1_071_658),
        ("cnn_bilstm2d", 1_172_266),
        ("frames_vit", 1_175_850),
        ("stroke_lstm", 1_061_298),
        ("stroke_transformer", 995_602),
    ],
)
def test_the_sizes_are_pinned(model, count):
    net = made(model).eval()
    assert parameters(net) == count
    batch = torch.zeros(2, 7, 3) if model.startswith("stroke_") else torch.zeros(2, 8, 64, 64)
    assert net(batch).shape == (2, 18)


def plain(front: FrameFront) -> nn.Sequential:
    """The layers as frankenstein has them, with the front's parameters."""
    layers = []
    for conv in front.layers:
        twin = nn.Conv3d(conv.in_channels // 3, conv.out_channels, 3, padding=1)
        twin.weight.data = conv.weight.data.unflatten(1, (3, -1)).transpose(1, 2).contiguous()
        twin.bias.data = conv.bias.data.clone()
        layers += [twin, nn.ReLU(), nn.MaxPool3d((1, 2, 2))]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("channels", [[8, 4, 2], [3, 5], [2, 2]])
def test_every_frame_as_on_a_gpu_is_the_three_dimensional_one(channels):
    torch.manual_seed(2)
    front, batch = FrameFront(BRIGHT, channels).double(), frames(BRIGHT, [1, 6, 3]).double()
    x = batch.flatten(0, 1).unsqueeze(1).requires_grad_()
    out = x
    for layer in front.layers:
        out = layer(out, 6)
    given = x.detach().unflatten(0, (3, 6)).transpose(1, 2).requires_grad_()  # (B, 1, T, S, S)
    wanted = plain(front)(given)
    torch.testing.assert_close(out.unflatten(0, (3, 6)), wanted.transpose(1, 2))
    out.sin().sum().backward()
    wanted.sin().sum().backward()
    torch.testing.assert_close(x.grad.unflatten(0, (3, 6)), given.grad.transpose(1, 2))


@pytest.mark.parametrize("like", [BRIGHT, DARK])
@pytest.mark.parametrize("used", [[1, 2, 3, 0, 2], [6, 6, 5, 6, 6], [1], [6, 1, 4, 5, 2]])
@pytest.mark.parametrize("channels", [[8, 4, 2], [3, 5]])
def test_the_front_is_the_three_dimensional_one(like, used, channels):
    torch.manual_seed(2)
    front = FrameFront(like, channels).double()
    twin, batch = plain(front), frames(like, used).double()
    ours, theirs = front(batch), twin(batch[:, None]).transpose(1, 2)
    assert ours.shape == (len(used), 6, channels[-1], *[16 // 2 ** len(channels)] * 2)
    assert torch.allclose(ours, theirs, atol=1e-12)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    for conv, one in zip(front.layers, [layer for layer in twin if isinstance(layer, nn.Conv3d)], strict=True):
        assert torch.allclose(conv.weight.grad.unflatten(1, (3, -1)).transpose(1, 2), one.weight.grad, atol=1e-10)
        assert torch.allclose(conv.bias.grad, one.bias.grad, atol=1e-10)


@pytest.mark.parametrize("like", [BRIGHT, DARK])
def test_what_is_left_out_of_the_computation_changes_no_bit(like, monkeypatch):
    front, batch = FrameFront(like, [8, 4, 2]), frames(like, [1, 2, 1, 3, 0, 1])
    computed = front._own(batch)
    assert computed[-1].sum() < batch.shape[0] * batch.shape[1], "nothing was left out"
    short = front(batch)
    monkeypatch.setattr(front, "_own", lambda frames: [])
    assert torch.equal(short, front(batch))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_the_networks_export_for_any_number_of_drawings():
    sizes = ["model.input.size_px=16", "model.channels=[4,4]", "model.head=8"]
    for model in ("cnn_lstm", "cnn_strokes", "cnn_bilstm2d"):
        net = made(model, *sizes).eval()
        program = torch.export.export(
            net, (torch.rand(3, 8, 16, 16),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        other = torch.rand(5, 8, 16, 16)
        assert torch.allclose(program.module()(other), net(other), atol=1e-5)


def test_the_front_starts_as_a_conv3d_does():
    torch.manual_seed(0)
    ours, theirs = FrameFront(BRIGHT, [32, 64]).layers[1], nn.Conv3d(32, 64, 3)
    for name in ("weight", "bias"):
        a, b = getattr(ours, name).abs().max().item(), getattr(theirs, name).abs().max().item()
        assert a == pytest.approx(b, rel=0.05)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_the_lstm_has_its_options():
    batch = frames(Input("frames", 64, 8, "bright", [0.0], [1.0]), [3, 8])
    whole = made("cnn_lstm", "model.bidirectional=true", "model.proj_size=16", "model.layers=1").eval()
    steps = whole.lstm(whole.flatten(whole.front(batch)))
    assert steps.shape == (2, 8, 32)
    ends = torch.cat([steps[:, -1, :16], steps[:, 0, 16:]], dim=1)
    for output, expected in {"last": ends, "mean": steps.mean(1)}.items():
        whole.lstm.output = output
        assert torch.equal(whole.lstm(whole.flatten(whole.front(batch))), expected)
        other = made("cnn_lstm", f"model.output={output}", "model.bidirectional=true", "model.proj_size=16")
        assert other(batch).shape == (2, 18)
    assert torch.allclose(nn.LSTM.forward(whole.lstm, whole.flatten(whole.front(batch)))[1][0][0], ends[:, :16])


def test_bilstm2d_reads_columns_and_rows_one_by_one():
    torch.manual_seed(0)
    layer, x = BiLSTM2D(6, 5).double(), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    expected = torch.zeros(2, 3, 4, 6, dtype=torch.float64)
    for b in range(2):
        down = torch.stack([one_line(layer.vertical, x[b, :, j]) for j in range(4)], dim=1)
        across = torch.stack([one_line(layer.horizontal, x[b, i]) for i in range(3)])
        expected[b] = layer.mix(torch.cat([down, across], dim=2))
    assert torch.allclose(layer(x), expected, atol=1e-12)


def one_line(lstm: nn.LSTM, line: torch.Tensor) -> torch.Tensor:
    """(L, C) → (L, 2·hidden), both ways, by an LSTM's equations (Gers, Schmidhuber, Cummins 2000)."""
    out = []
    for end, order in (("", range(len(line))), ("_reverse", reversed(range(len(line))))):
        wi, wh, bi, bh = (getattr(lstm, f"{n}_l0{end}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = c = torch.zeros(lstm.hidden_size, dtype=line.dtype)
        found = {}
        for t in order:
            i, f, g, o = (wi @ line[t] + bi + wh @ h + bh).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found[t] = h
        out.append(torch.stack([found[t] for t in range(len(line))]))
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("channels", [3, 5])
def test_padding_changes_no_drawing(channels):
    net = made("stroke_lstm", f"model.input.channels={channels}", "model.hidden=7", classes=4).double().eval()
    batch = points([5, 1, 9], channels)
    together = net(batch)
    alone = torch.cat([net(batch[i : i + 1, :n]) for i, n in enumerate((5, 1, 9))])
    assert torch.allclose(together, alone, atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    grown = torch.cat([batch, points([0, 0, 0], channels, 6)], dim=1)
    assert torch.allclose(net(grown), together, atol=1e-12)


def points(sizes: list[int], channels: int, longest: int = 0) -> torch.Tensor:
    torch.manual_seed(3)
    n = max(*sizes, longest)
    out = torch.randn(len(sizes), n, channels, dtype=torch.float64)
    out[..., 2:] = 0
    padding = torch.arange(n) >= torch.tensor(sizes)[:, None]
    out[padding] = torch.tensor([0.0, 0.0, -1.0] if channels == 3 else [0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    assert inputs.lengths(out).tolist() == sizes
    return out


def test_points_are_read_as_a_packed_sequence_is():
    words = ["model.channels=[]", "model.kernels=[]", "model.hidden=6", "model.layers=2"]
    net = made("stroke_lstm", *words).double().eval()
    packed = nn.LSTM(3, 6, 2, batch_first=True, bidirectional=True).double()
    for k in range(2):
        for lines, end in ((net.points.onward, ""), (net.points.returning, "_reverse")):
            for name, value in lines[k].named_parameters():
                getattr(packed, name.replace("_l0", f"_l{k}{end}")).data = value.data
    batch, sizes = points([4, 7, 2], 3), torch.tensor([4, 7, 2])
    rows = nn.utils.rnn.pack_padded_sequence(batch, sizes, batch_first=True, enforce_sorted=False)
    expected = nn.utils.rnn.pad_packed_sequence(packed(rows)[0], batch_first=True)[0].sum(1) / sizes[:, None]
    assert torch.allclose(net.points(batch), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=cnn_lstm", "model.proj_size=256"], "model.proj_size=256: expected 0 (none) to below model.hidden=256"),
        (["model=cnn_lstm", "model.output=first"], "model.output=first: expected one of all, last, mean"),
        (["model=cnn_lstm", "model.layers=0"], "model.layers=0: expected at least 1"),
        (["model=cnn_strokes", "model.input.size_px=60"], "expected a multiple of 8"),
        (["model=cnn_strokes", "model.channels=[]"], "model.channels=[]: expected one number"),
        (["model=cnn_bilstm2d", "model.blocks=0"], "model.blocks=0: expected at least 1"),
        (["model=stroke_lstm", "model.kernels=[5,4,3]"], "model.kernels=[5, 4, 3]: expected an odd number for each"),
        (
            ["model=stroke_transformer", "model.heads=3"],
            "model.width=128: expected a multiple of twice model.heads=3, such",
        ),
        (["model=stroke_transformer", "model.layers=0"], "model.layers=0, mlp_ratio=3.0: expected at least 1"),
        (["model=stroke_lstm", "model.dropout=1"], "model.dropout=1.0: expected a probability below 1"),
        (["model=cnn_lstm", "model.tune=freeze"], "model.tune=freeze needs weights"),
    ],
)
def test_what_cannot_be_built_is_said(words, said):
    with pytest.raises(UserError, match="model") as error:
        config.from_overrides(words)
    assert said in str(error.value)


def test_a_block_of_frames_vit_is_self_attention_over_all_places():
    """Against torch.nn.functional's attention, head by head."""
    net = made("frames_vit", "model.blocks=1").double().eval()
    block, x = net.blocks[0], torch.randn(2, 64, 64, dtype=torch.double)
    y = block.norm1(x)
    q, k, v = (
        part.unflatten(2, (4, 16)).transpose(1, 2)
        for part in torch.nn.functional.linear(y, block.self_attn.in_proj_weight, block.self_attn.in_proj_bias).chunk(
            3, 2
        )
    )
    weights = torch.softmax(q @ k.transpose(2, 3) / 4, dim=3)
    x_mid = x + block.self_attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    expected = x_mid + block.linear2(nn.functional.gelu(block.linear1(block.norm2(x_mid))))
    torch.testing.assert_close(block(x), expected)


def test_frames_vit_knows_places_by_their_position():
    net = made("frames_vit").eval()
    assert net.tokens.position.shape == (64, 64) and net.tokens.position.std().item() == pytest.approx(0.02, rel=0.05)
    with pytest.raises(UserError, match=r"model.heads=5: expected a divisor of 64"):
        made("frames_vit", "model.heads=5")


def attention(layer, x, heads):
    """(L, width) → (L, width), of one drawing, head by head."""
    q, k, v = (layer.self_attn.in_proj_weight @ x.T + layer.self_attn.in_proj_bias[:, None]).T.chunk(3, dim=1)
    out = []
    for a, b, c in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        out.append((a @ b.T / a.shape[1] ** 0.5).softmax(1) @ c)
    return layer.self_attn.out_proj(torch.cat(out, 1))


@pytest.mark.parametrize("channels", [3, 5])
def test_the_transformer_is_its_twin_for_drawings_of_any_length(channels):
    words = ["model.width=12", "model.heads=3", "model.layers=2", f"model.input.channels={channels}"]
    net = made("stroke_transformer", *words, classes=4).double().eval()
    encoder, used = net[0], [6, 1, 4]
    batch = torch.zeros(3, 9, channels, dtype=torch.float64)
    batch[..., -1] = -1.0 if channels == 3 else 1.0
    for row, n in zip(batch, used, strict=True):
        row[:n, :2] = torch.randn(n, 2, dtype=torch.float64)
        row[:n, -1] = 0
    for row, n, ours in zip(batch, used, net(batch), strict=True):
        points = row[:n]
        place = torch.stack([points[: i + 1, :2].sum(0) for i in range(n)])
        x = encoder.embed(torch.cat([points, place], 1))
        for i in range(n):
            for j in range(6):  # half the width; Vaswani et al. 2017: 10000^(2j/width)
                x[i, j] += math.sin(i / 10_000 ** (2 * j / 12))
                x[i, 6 + j] += math.cos(i / 10_000 ** (2 * j / 12))
        for layer in encoder.layers:
            x = x + attention(layer, layer.norm1(x), 3)
            x = x + layer.linear2(nn.functional.gelu(layer.linear1(layer.norm2(x))))
        torch.testing.assert_close(ours, net[1].linear(encoder.norm(x).mean(0)), rtol=1e-5, atol=1e-6)
    net.train()
    loss = net(batch).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
