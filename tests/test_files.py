"""The packing of published weights: a byte for each weight of a large matrix."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from companion.files import DamagedFile
from companion.runs.publish import thinned
from companion.tensors import digest, load_weights, pack, save_tensors, unpack, unpressed

SHAPES = [(64, 64), (8, 32, 4, 4), (32, 128), (2, 4096)]


@pytest.mark.parametrize("bits", [5, 8, 12])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_weight_comes_back_within_half_a_step_of_its_row(shape, bits):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-6, 6, shape[0]).reshape(
        -1, *[1] * len(shape[1:])
    )
    found = unpack(pack({"w": weight}, bits))["w"]
    step = weight.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)
    off = (found - weight).abs().flatten(1).amax(1)
    assert (off <= 0.5001 * step).all()  # the last digit of single precision
    assert (off > 0.4 * step).any()  # a rounding that never rounds would be no packing


def test_a_packed_weight_takes_eight_bits_of_its_thirty_two(tmp_path):
    weights = {"w": 2 * torch.rand(256, 256) - 1}  # no byte is more likely
    save_tensors(tmp_path / "plain", weights)
    save_tensors(tmp_path / "packed", pack(weights))
    ratio = (tmp_path / "packed").stat().st_size / (tmp_path / "plain").stat().st_size
    assert 0.249 < ratio < 0.26  # 255 values are a little less than 8 bits


def test_rows_of_zeros_stay_zeros():
    weight = torch.randn(64, 64)
    weight[3] = 0
    assert (unpack(pack({"w": weight}))["w"][3] == 0).all()


def test_small_whole_large_and_broken_tensors_are_not_turned_into_bytes():
    weights = {
        "bias": torch.randn(5000),
        "little": torch.randn(10, 10),
        "count": torch.arange(8192).reshape(64, 128),
        "broken": torch.full((64, 64), torch.nan),
        "huge": torch.full((2,), 1e6),
    }
    packed = pack(weights)
    assert packed.keys() == weights.keys()
    kinds = {name: value.dtype for name, value in packed.items()}
    assert kinds["bias"] == kinds["little"] == torch.float16
    assert kinds["count"] == torch.int64 and kinds["huge"] == kinds["broken"] == torch.float32
    assert packed["broken"].isnan().all()


def test_a_module_takes_packed_weights_and_refuses_those_of_another(tmp_path):
    mine, other = nn.Linear(64, 64), nn.Linear(65, 64)
    packed = pack(mine.state_dict())
    damaged = {**packed, "weight/shape": torch.tensor([64, 63])}
    with pytest.raises(DamagedFile, match="is damaged or no file of ours"):
        load_weights(nn.Linear(63, 64), damaged, tmp_path)
    fresh = nn.Linear(64, 64)
    load_weights(fresh, packed, tmp_path)
    x = torch.randn(10, 64)
    assert (fresh(x) - mine(x)).abs().max() < 0.02  # 64 errors of up to 1 / 8 / 254, at random
    with pytest.raises(
        DamagedFile, match=r"weight is real \(64, 64\) in the file, real \(64, 65\)"
    ):
        load_weights(other, packed, tmp_path)


@pytest.mark.parametrize("shape", [(30, 1, 28, 28), (2, 3, 5, 4), (0, 1, 2, 2)])
def test_snapshots_come_back_bit_for_bit_and_images_in_fewer_bytes(shape):
    images = torch.zeros(shape, dtype=torch.uint8)
    images[..., 1:3, 1:3] = torch.randint(256, (*shape[:2], 1, 1)).to(torch.uint8)
    small = thinned({"0001": images})["0001"]
    assert small.ndim == 1 and small.dtype == torch.uint8
    assert unpressed(small).equal(images) and unpressed(images).equal(images)
    assert shape[0] < 30 or len(small) < images.numel() / 20


def test_nine_snapshots_stay_and_the_gaps_between_them_grow():
    few = {f"{k:04d}": torch.ones(1) for k in (2, 4)}
    assert list(thinned(few)) == ["0002", "0004"]
    kept = [int(k) for k in thinned({f"{k:04d}": torch.ones(1) for k in range(1, 101)})]
    gaps = [b - a for a, b in pairwise(kept)]
    assert len(kept) == 9 and kept[0] == 1 and kept[-1] == 100 and gaps == sorted(gaps)


def test_a_digest_tells_names_kinds_shapes_bytes_and_records_apart():
    """Zeros of 24 bytes: only what is said of them differs."""
    zeros = torch.zeros(2, 3)
    told = [
        ({"a": zeros}, "{}"),
        ({"b": zeros}, "{}"),
        ({"a": zeros.T}, "{}"),
        ({"a": zeros.flatten()}, "{}"),
        ({"a": zeros.int()}, "{}"),
        ({"a": zeros + 1}, "{}"),
        ({"a": zeros}, "{ }"),
    ]
    assert len({digest(tensors, record) for tensors, record in told}) == len(told)
    assert digest({"a": zeros}, "") == digest({"a": zeros.clone()}, "")
