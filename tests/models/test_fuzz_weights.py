"""Files of weights with anything changed: what was saved, or one line."""

import contextlib
import io
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from sketchlab.errors import UserError
from sketchlab.weights import files

STATE = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20), "n": torch.tensor(3)}


def packed(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


SAVED = {
    "plain.pt": packed(STATE),
    "wrapped.pth": packed({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in STATE.items()}, "lr": [0.1]}),
    "half.pt": packed({k: v.half() if v.is_floating_point() else v for k, v in STATE.items()}),
    "old.pth": packed(STATE, _use_new_zipfile_serialization=False),
    "a.safetensors": save(STATE),
}


def same(found, name):
    names = {k.removeprefix("module."): v for k, v in found.items()}
    want = {k: v.float() if v.is_floating_point() else v for k, v in STATE.items()}
    return names.keys() == want.keys() and all(torch.equal(names[k], want[k]) for k in want)


@pytest.mark.parametrize("name", SAVED)
def test_what_was_saved_is_read(name, tmp_path):
    (tmp_path / name).write_bytes(SAVED[name])
    assert same(files.read(tmp_path / name), name)


def test_a_changed_number_is_noticed(tmp_path):
    data = SAVED["plain.pt"]
    at = data.index(STATE["a.weight"].numpy().tobytes()) + 42
    (tmp_path / "a.pt").write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    with pytest.raises(UserError, match="a.pt cannot be read: .*checksum"):
        files.read(tmp_path / "a.pt")


ODD = [STATE["a.weight"].to_sparse(), torch.zeros(2, dtype=torch.cfloat), torch.empty(2, device="meta")]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_tensors_that_are_not_plain_numbers_are_one_line(odd, tmp_path):
    torch.save({"a": torch.zeros(2), "b": odd}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="a.pt: b is sparse, complex or without content"):
        files.read(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_file_of_weights_is_tensors_or_one_line(n, tmp_path):
    change = st.tuples(st.floats(0, 1), st.integers(0, 255))
    value = st.recursive(
        st.none() | st.integers() | st.text(max_size=4) | st.builds(lambda: torch.zeros(2)),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    )
    wrapped = st.dictionaries(
        st.sampled_from(("model", "state_dict", "parts", "ema", "net", "x.weight")), value, max_size=3
    )
    made = st.tuples(st.sampled_from(("b.pt", "b.pth")), (wrapped | value).map(packed))
    other = st.tuples(st.sampled_from(("b.pt", "b.safetensors")), st.binary(max_size=60) | value.map(pickle.dumps))

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(sorted(SAVED.items())) | made | other, st.lists(change, max_size=4), st.floats(0, 1) | st.none()
    )
    def check(saved, changes, cut):
        name, data = saved[0], bytearray(saved[1])
        for place, byte in changes:
            if data:
                data[int(place * (len(data) - 1))] = byte
        data = bytes(data if cut is None else data[: int(cut * len(data))])
        (tmp_path / name).write_bytes(data)
        try:
            with contextlib.redirect_stdout(None):
                found = files.read(tmp_path / name)
        except UserError as error:
            assert str(error).isprintable()
            return
        assert all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items())
        if name in ("plain.pt", "wrapped.pth"):  # these have checksums
            assert same(found, name)

    check()
