"""dSprites: our drawings beside the original rows, their factors, and what is asked wrongly."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from companion.data import DataError, dsprites, known, load
from companion.data.catalogue import DRAWN

GRID = "dsprites/dsprites_downsampled.npz"  # 46,080 rows of the original, with their numbers


def original_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers and images of the original that are at hand; skip if there are none."""
    path = Path(os.environ.get("COMPANION_DATA", "")) / GRID
    if not path.is_file():
        pytest.skip("the sample of the original dSprites is not in COMPANION_DATA")
    with np.load(path) as file:
        rows, images = file["original_dataset_indices"], file["imgs"]
    return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(images.astype(np.uint8))


def test_drawings_agree_with_the_original_rows():
    """Measured: 0.9997 (squares), 0.9990 (ellipses), 0.9991 (hearts); the least of all 0.93."""
    rows, images = (part[::4] for part in original_rows())
    ours = dsprites.draw(dsprites.factors_of(rows))
    share = (ours & images).sum((1, 2)) / (ours | images).sum((1, 2))
    shape = dsprites.factors_of(rows)[:, 0]
    for label, name in enumerate(dsprites.SHAPES):
        assert share[shape == label].mean() >= 0.995, name
    assert share.min() >= 0.9


def test_factors_and_values_are_the_originals():
    path = Path(os.environ.get("COMPANION_DATA", "")) / GRID
    rows, _ = original_rows()
    with np.load(path) as file:
        values, classes = file["latents_values"], file["latents_classes"]
    factors = dsprites.factors_of(rows)
    np.testing.assert_allclose(dsprites.values_of(factors).numpy(), values, atol=1e-12)
    steps = np.array([1, 1, 4, 2, 2])  # the sample keeps every so many values
    np.testing.assert_array_equal(factors.numpy(), classes * steps)


def test_rows_count_through_all_factors_and_back():
    rows = torch.arange(0, dsprites.ROWS, 997)
    factors, weight = dsprites.factors_of(rows), torch.tensor([245_760, 40_960, 1_024, 32, 1])
    torch.testing.assert_close((factors * weight).sum(1), rows)
    assert dsprites.values_of(torch.tensor([[2, 5, 39, 31, 0]])).tolist() == [
        [3.0, 1.0, 2 * np.pi, 1.0, 0.0]
    ]


def test_sprites_have_the_area_of_their_outline():
    """Counting pixel centres is unbiased over positions: 4 errors of a mean of 1,024 counts."""
    everywhere = torch.cartesian_prod(torch.arange(32), torch.arange(32))
    for shape, area in ((0, 19.2**2), (1, np.pi * 12.77 * 7.22)):
        for scale in (0, 5):
            fixed = torch.tensor([shape, scale, 7]).expand(1024, 3)
            counts = dsprites.draw(torch.cat([fixed, everywhere], 1)).sum((1, 2)).double()
            expected = area * (0.5 + scale / 10) ** 2
            assert abs(counts.mean() - expected) < 4 * counts.std() / 32


def test_a_full_turn_gives_the_same_picture():
    """The original counts both ends of the circle, and so do we."""
    ends = torch.tensor([[s, 5, turn, 9, 20] for s in range(3) for turn in (0, 39)])
    first, last = dsprites.draw(ends).view(3, 2, -1).unbind(1)
    assert ((first & last).sum(1) / (first | last).sum(1) > 0.97).all()


def test_a_picture_does_not_depend_on_its_neighbours():
    factors = dsprites.factors_of(torch.randint(dsprites.ROWS, (40,)))
    alone = torch.cat([dsprites.draw(row[None]) for row in factors])
    torch.testing.assert_close(dsprites.draw(factors), alone)


def test_packed_pictures_come_back():
    images = dsprites.draw(dsprites.factors_of(torch.arange(0, dsprites.ROWS, 50_000)))
    bits = dsprites.pack(images)
    assert bits.shape == (15, 64, 8) and bits.dtype == torch.uint8
    torch.testing.assert_close(dsprites.unpack(bits), images[:, None].float())


def test_a_few_images_load_without_drawing_all(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path))
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    dsprites.load.cache_clear()
    data = dsprites.load(300)
    assert data.source == "procedural" and not list(tmp_path.iterdir())
    assert len(data.train[0]) == 300 and len(data.test[0]) == dsprites.HELD_OUT
    images, factors = dsprites.held_out()
    torch.testing.assert_close(data.test[1], factors)
    torch.testing.assert_close(dsprites.unpack(data.test[0])[:9, 0], images[:9].float())
    dsprites.load.cache_clear()


@pytest.fixture
def small(monkeypatch):
    """A dSprites of 2 positions: 1,440 x 2 images."""
    monkeypatch.setattr(dsprites, "SIZES", (3, 6, 40, 1, 2))
    monkeypatch.setattr(dsprites, "ROWS", 1440)
    dsprites.load.cache_clear()
    yield
    dsprites.load.cache_clear()


def test_the_cache_is_checked_and_mended(small, monkeypatch, tmp_path):
    path = tmp_path / "drawn.bin"
    bits = dsprites.drawn(path)
    content = path.read_bytes()
    assert bits.shape == (1440, 64, 8) and dsprites.drawn(path).equal(bits)
    path.write_bytes(content[:-20] + bytes(20))
    assert dsprites.drawn(path).equal(bits)  # drawn again, and kept again
    assert path.read_bytes() == content
    monkeypatch.setattr(dsprites, "draw", lambda factors: pytest.fail("drew what was kept"))
    assert dsprites.drawn(path).equal(bits)


def test_an_unwritable_cache_only_warns(small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="the drawn images are not kept: cannot write"):
        assert len(dsprites.drawn(tmp_path / "file" / "drawn.bin")) == 1440


def test_the_original_file_is_read_and_checked(small, monkeypatch, tmp_path):
    """A file of the original's layout, and one that is another."""
    images = dsprites.draw(dsprites.factors_of(torch.arange(1440)))
    path = tmp_path / dsprites.ORIGINAL
    np.savez_compressed(path, imgs=images.numpy())
    with pytest.raises(DataError, match="is not the published file"):
        dsprites.read_original(path)
    monkeypatch.setattr(dsprites, "BLOB", git_blob(path))
    assert dsprites.read_original(path).equal(dsprites.pack(images))


def git_blob(path: Path) -> str:
    """Git's name of a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: dsprites.factors_of(torch.tensor([737_280])), "numbered 0 to 737,279"),
        (lambda: dsprites.draw(torch.tensor([[0, 6, 0, 0, 0]])), r"got \[0, 6, 0, 0, 0\]"),
        (lambda: dsprites.draw(torch.zeros(2, 5)), "whole numbers"),
        (lambda: dsprites.unpack(torch.zeros(1, 64, 64)), "packed images are uint8"),
        (lambda: dsprites.load(-1), "images must be 0"),
    ],
)
def test_wrong_questions_are_answered_in_one_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_drawn_data_load_by_name(monkeypatch):
    monkeypatch.setitem(DRAWN, "dsprites", lambda: "sprites")
    assert load("dsprites") == "sprites" and {"dsprites", "faces", "persian"} < set(known())
    with pytest.raises(ValueError, match="faces has one split of its own, got '80/20'"):
        load("faces", "80/20")
    with pytest.raises(ValueError, match="did you mean 'dsprites'"):
        load("dsprite")
