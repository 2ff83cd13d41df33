"""Whatever layout a tensor has in memory, what is saved, packed and published comes back equal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from companion.data.dataset import fingerprint
from companion.tensors import (
    load_tensors,
    load_weights,
    pack,
    pressed,
    save_tensors,
    unpack,
    unpressed,
)

KINDS = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int64, torch.bool)


def numbers(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """Different numbers in each place, as far as the type allows."""
    return torch.arange(math.prod(shape)).reshape(shape).to(kind)


def fortran(x: Tensor) -> Tensor:
    """The same numbers, column by column in memory, as numpy hands them over."""
    return torch.from_numpy(np.asfortranarray(x.numpy()))


LAYOUTS = {
    "plain": lambda x: x,
    "transposed": lambda x: x.transpose(0, -1),
    "every second row": lambda x: x[::2],
    "a corner": lambda x: x[1:, ..., 1:] if x.ndim > 1 else x[1:],
    "turned round": lambda x: x.flip(0),
    "spread out": lambda x: x[:1].expand(3, *x.shape[1:]),
    "Fortran order": fortran,
    "channels last": lambda x: (
        x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    ),
}
shapes = st.lists(st.integers(2, 5), min_size=1, max_size=4).map(tuple)


@settings(max_examples=150, deadline=None)
@given(shapes, st.sampled_from(KINDS), st.sampled_from(sorted(LAYOUTS)))
def test_a_file_gives_back_the_numbers_in_their_places(tmp_path_factory, shape, kind, layout):
    x = LAYOUTS[layout](numbers(shape, kind))
    path = tmp_path_factory.mktemp("files") / "x.safetensors"
    sha256 = save_tensors(path, {"x": x})
    [found] = load_tensors(path)[0].values()
    assert found.equal(x) and found.dtype == x.dtype
    assert unpressed(pressed(x)).equal(x)
    copy = x.clone(memory_format=torch.contiguous_format)
    assert save_tensors(path, {"x": copy}) == sha256  # the layout is no part of what is said
    assert fingerprint(x) == fingerprint(copy)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(LAYOUTS)), st.sampled_from([(80, 70), (16, 8, 7, 6)]))
def test_packed_weights_do_not_depend_on_their_layout(layout, shape):
    x = LAYOUTS[layout](torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    packed, plain = pack({"w": x}, large=100), pack({"w": x.contiguous().clone()}, large=100)
    assert packed.keys() == plain.keys() == {"w", "w/scale", "w/shape"}
    assert all(packed[name].equal(plain[name]) for name in plain)
    step = x.abs().flatten(1).amax(1).reshape(-1, *[1] * (x.ndim - 1)) / 127
    assert ((unpack(packed)["w"] - x).abs() <= 0.51 * step).all()


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_model_takes_back_weights_that_were_stored_in_another_layout(memory_format, tmp_path):
    first = nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    second = nn.Conv2d(8, 16, 3).to(memory_format=memory_format)
    save_tensors(tmp_path / "w", first.state_dict())
    load_weights(second, load_tensors(tmp_path / "w")[0], tmp_path / "w")
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(second(x), first(x))


def test_a_wrong_layout_would_be_seen():
    x = numbers((3, 4), torch.float32)
    assert not x.T.contiguous().view(3, 4).equal(x)
