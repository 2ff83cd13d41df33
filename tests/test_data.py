"""Data sets: the originals if they are at hand, the stand-ins, the splits, the exact world."""

import gzip
import math
import os
import struct

import conftest
import pytest
import torch
import torchvision.datasets

from companion.data import catalogue, fetching, hoda, load, unit
from companion.data.drawing.standins import draw
from companion.data.originals import ARCHIVES, Found, find, parse
from companion.experiments import extractor_of
from companion.worlds.gaussians import eight_gaussians, eight_gaussians_density

DATA = os.environ.get("COMPANION_DATA", "")
PIXELS = {"fashion-mnist": (0.2860, 0.3530), "mnist": (0.1307, 0.3081)}  # mean, std of x / 255


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """A machine without data and without network, in a process that was told nothing yet."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    monkeypatch.setattr(catalogue, "_said", set())
    monkeypatch.setattr(fetching, "_in_vain", {})


@pytest.mark.parametrize("name", PIXELS)
def test_original_has_the_published_counts_and_moments(name, monkeypatch, nothing_here):
    monkeypatch.setenv("COMPANION_DATA", DATA)
    if not DATA or not find(ARCHIVES[name]).contents:
        pytest.skip(f"COMPANION_DATA names no folder with the original {name}")
    data = load(name)
    assert data.source == "original"
    x, labels = unit(data.train[0]), data.train[1]
    assert (len(x), len(data.test[0])) == (60_000, 10_000)
    torch.testing.assert_close((x.mean().item(), x.std().item()), PIXELS[name], atol=5e-5, rtol=0)
    if name == "fashion-mnist":
        assert labels.bincount().tolist() == [6_000] * 10
        assert data.test[1].bincount().tolist() == [1_000] * 10


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("mnist", torchvision.datasets.MNIST),
        ("fashion-mnist", torchvision.datasets.FashionMNIST),
    ],
)
def test_checksums_are_those_of_torchvision(name, oracle):
    ours = [(f"{part.name}.gz", part.md5) for part in ARCHIVES[name].parts]
    assert ours == list(oracle.resources)
    assert len({part.sha256 for part in ARCHIVES[name].parts}) == 4


@pytest.mark.parametrize("name", PIXELS)
def test_stand_in_has_the_shapes_and_the_balance_of_the_original(name, nothing_here):
    with pytest.warns(UserWarning, match=name):
        data = load(name)
    assert data.source == "stand-in"
    assert data.class_names == ARCHIVES[name].class_names
    assert conftest.FULL["companion.data.catalogue"] == (60_000, 10_000)
    for (images, labels), n in zip((data.train, data.test), catalogue.STAND_IN, strict=True):
        assert (images.shape, images.dtype) == ((n, 1, 28, 28), torch.uint8)
        assert labels.dtype == torch.int64
        assert labels.bincount().tolist() == [n // 10] * 10
    assert len(data.train[0].flatten(1).unique(dim=0)) == len(data.train[0])  # all different


@pytest.mark.parametrize("name", PIXELS)
def test_classes_of_a_stand_in_differ_by_their_means(name):
    (images, labels), (tests, truth) = draw(name, 3_000, seed=5), draw(name, 2_000, seed=6)
    x, y = unit(images).flatten(1), unit(tests).flatten(1)
    centres = torch.stack([x[labels == k].mean(0) for k in range(10)])
    correct = (torch.cdist(y, centres).argmin(1) == truth).float()
    assert correct.mean() > 0.75  # chance is 0.1
    assert all(correct[truth == k].mean() > 0.4 for k in range(10))


@pytest.mark.parametrize("name", PIXELS)
def test_a_drawing_depends_on_its_seed_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = draw(name, 300, 7), draw(name, 300, 7), draw(name, 300, 8)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:mnist is drawn")
def test_split_80_20_deals_out_all_images_once(nothing_here):
    official, split, again = load("mnist"), load("mnist", "80/20"), load("mnist", "80/20")
    n = sum(catalogue.STAND_IN)
    assert (len(split.train[0]), len(split.test[0])) == (0.8 * n, 0.2 * n)
    assert (official.split, split.split) == ("official", "80/20")
    assert split.sha256 == again.sha256 != official.sha256

    def cards(data):  # one number for each image and its label, in ascending order
        key = torch.arange(1, 785) * 2_654_435_761 % 1_000_003
        images = torch.cat([data.train[0], data.test[0]]).flatten(1)
        sums = torch.cat([(part.long() * key).sum(1) for part in images.split(10_000)])
        return (sums * 10 + torch.cat([data.train[1], data.test[1]])).sort()[0]

    assert torch.equal(cards(official), cards(split))
    each = 0.02 * n  # of each class in a fifth
    mixed = split.test[1].bincount() / each - 1
    assert mixed.abs().max() < 4 * math.sqrt(0.9 * 0.8 / each)  # drawn without replacement


def test_names_and_splits_that_do_not_exist_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"'fashon-mnist' \(did you mean 'fashion-mnist'\?") as e:
        load("fashon-mnist")
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"'80/21' \(did you mean '80/20'\?"):
        load("mnist", split="80/21")


def test_unit_scales_bytes_and_refuses_anything_else():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = unit(levels)
    assert (x.dtype, x.shape) == (torch.float32, levels.shape)
    torch.testing.assert_close(x.flatten(), torch.linspace(0, 1, 256))
    with pytest.raises(TypeError, match=r"uint8 pixels in 0\.\.255, got torch\.float32"):
        unit(x)


def test_idx_header_states_the_shape():
    content = struct.pack(">HBBII", 0, 8, 2, 2, 3) + bytes(range(6))
    assert parse(bytearray(content)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="1f8b0800"):
        parse(bytearray(gzip.compress(content, mtime=0)))


def test_density_of_eight_gaussians_integrates_to_one():
    density = eight_gaussians_density()
    axis = torch.arange(-3.5, 3.5, 0.02)
    grid = torch.cartesian_prod(axis, axis)
    total = density.log_prob(grid).double().exp().sum() * 0.02**2
    assert abs(total - 1) < 1e-4  # sums of smooth functions converge fast; float32 points
    far = torch.tensor([[40.0, -30.0]])  # log-space: no -inf where the density underflows
    nearest = min((far - c).square().sum().item() for c in density.component_distribution.mean)
    expected = -nearest / 0.02 - math.log(2 * math.pi * 0.01) - math.log(8)
    torch.testing.assert_close(density.log_prob(far).item(), expected, rtol=1e-5, atol=0.0)


def test_points_of_eight_gaussians_follow_their_density():
    data = eight_gaussians(20_000, seed=3)
    assert data.source == "exact"
    log_prob = eight_gaussians_density().log_prob(data.train[0])
    entropy = math.log(8) + 1 + math.log(2 * math.pi * 0.1**2)  # 15 widths apart: no overlap
    assert abs(log_prob.mean() + entropy) < 4 * log_prob.std() / math.sqrt(20_000)
    assert abs(data.train[1].bincount() - 2_500).max() < 4 * math.sqrt(20_000 * 7 / 64)
    assert data.sha256 == eight_gaussians(20_000, seed=3).sha256
    assert not torch.equal(data.train[0], data.test[0])
    with pytest.raises(ValueError, match="n=0"):
        eight_gaussians(0)


def test_the_first_persian_test_images_hold_all_digits():
    """The Hoda test file is sorted by class, and many measures take the first n images."""
    if hoda.find() is None:
        pytest.skip("the original Hoda set is neither in COMPANION_DATA nor in the cache")
    counts = load("persian").test[1][:1000].bincount(minlength=10)
    assert counts.min() > 60 and counts.max() < 140  # 100 each, 4 standard deviations of 10


def test_drawn_sandals_and_sneakers_are_named_as_what_they_are():
    """The pinned extractor, trained on photographs, reads them: 100 % and 90 % of 2,000 right."""
    network = extractor_of("fashion-mnist").model
    images, labels = draw("fashion-mnist", 400, seed=0)
    with torch.no_grad():
        said = network.classify(unit(images)).argmax(1)
    sandal, sneaker = map(ARCHIVES["fashion-mnist"].class_names.index, ("Sandal", "Sneaker"))
    for one, other in ((sandal, sneaker), (sneaker, sandal)):
        assert (said[labels == one] == one).sum() > (said[labels == one] == other).sum() + 10


def test_no_stand_in_is_drawn_twice_however_many_there_are():
    """A class is drawn 500 at a time, each time with other dice."""
    images, labels = draw("mnist", 10_000, seed=0)
    ones = images[labels == 1].flatten(1)
    assert len(ones) == 1000 == len(ones.unique(dim=0))


def test_an_original_image_is_read_row_by_row():
    """One image of 2 x 3 pixels for training, one for testing, and a label for each."""
    picture = bytearray(struct.pack(">HBBIII", 0, 8, 3, 1, 2, 3) + bytes(range(6)))
    label = bytearray(struct.pack(">HBBI", 0, 8, 1, 1) + bytes([7]))
    found = catalogue.original(Found("", None, [picture, label, picture, label], []))
    for images, labels in (found[:2], found[2:]):
        assert images.tolist() == [[[[0, 1, 2], [3, 4, 5]]]] and labels.tolist() == [7]


def test_no_test_image_of_a_stand_in_is_trained_on():
    images, _, tests, _ = catalogue.drawn("mnist", 250, 250)
    assert len(torch.cat([images, tests]).flatten(1).unique(dim=0)) == 500
