"""CIFAR-10: the published batches, a part in folders of PNG files, or scenes; no halves."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from mirrors import Server, good, html
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.datasets.utils import calculate_md5

from companion.data import DataError, cifar, fetch, fetching, load, status
from companion.data.cifar import CLASS_NAMES
from companion.data.drawing.standins import draw


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path):
    """A machine without data and without network, in a process that was told nothing yet."""
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    monkeypatch.setattr(fetching, "_in_vain", {})
    monkeypatch.setattr(cifar, "STAND_IN", (30, 10))
    for kept in (cifar.drawn, cifar.original, cifar.recalled):
        kept.cache_clear()


def pixels_of(label: int, k: int) -> np.ndarray:
    """A picture whose every pixel tells its class, its number and where it is: (32, 32, 3)."""
    rows, columns = np.mgrid[:32, :32]
    return np.stack([rows * 8 + k, columns * 8, 0 * rows + label * 20], 2).astype(np.uint8)


@pytest.fixture
def part(tmp_path):
    """Three pictures of each class to train on, two to test on."""
    folder = tmp_path / "own/cifar10_subset"
    for name, each in (("train", 3), ("test", 2)):
        for label, kind in enumerate(CLASS_NAMES):
            (folder / name / kind).mkdir(parents=True)
            for k in range(each):
                Image.fromarray(pixels_of(label, k)).save(folder / name / kind / f"x_{k}.png")
    return folder


def batches_in(folder, monkeypatch) -> None:
    """Write twelve images as the published files are, with the sums that they have."""
    folder.mkdir(parents=True)
    lists = {"train_list": [], "test_list": []}
    for k, name in enumerate(cifar.CIFAR_FILES[:6]):
        labels = [k, k + 1]
        data = np.stack([pixels_of(y, k).transpose(2, 0, 1).ravel() for y in labels])
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}))
        md5 = calculate_md5(folder / name)
        lists["test_list" if name == "test_batch" else "train_list"].append([name, md5])
    meta = folder / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": list(CLASS_NAMES)}))
    for name, value in lists.items():
        monkeypatch.setattr(CIFAR10, name, value)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": calculate_md5(meta)})


@pytest.mark.filterwarnings("ignore:.*it cannot be checked")
def test_labels_are_the_official_ones_and_pixels_stand_where_they_stood(part):
    data = load("cifar-10")
    assert data.class_names == CLASS_NAMES == tuple(ImageFolder(part / "train").classes)
    for (images, labels), each in ((data.train, 3), (data.test, 2)):
        assert (images.dtype, images.shape) == (torch.uint8, (10 * each, 3, 32, 32))
        assert labels.bincount().tolist() == [each] * 10 and labels.dtype == torch.int64
        assert labels.tolist() != sorted(labels.tolist())  # or the first n would be one class
        for image, label in zip(images, labels.tolist(), strict=True):
            k = image[0, 0, 0].item()
            assert image.permute(1, 2, 0).numpy().tolist() == pixels_of(label, k).tolist()


def test_a_part_says_that_it_is_one_and_how_large(part, monkeypatch):
    with pytest.warns(UserWarning, match=r"30 \+ 20 images: it cannot be checked"):
        unknown = load("cifar-10")
    assert unknown.source == "unverified (in part: 30 + 20 images)"
    monkeypatch.setattr(cifar, "KNOWN_PART", unknown.sha256)
    assert load("cifar-10").source == "original (in part: 30 + 20 images)"
    (row,) = (row for row in status() if row["name"] == "cifar-10")
    assert (row["found"], row["path"]) == ("COMPANION_DATA, in part: 30 + 20 images", str(part))
    assert row["bytes"] == sum(path.stat().st_size for path in part.rglob("*.png"))


def empty_class(path):
    for picture in path.parent.iterdir():
        picture.unlink()
    path.parent.rmdir()


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


FAULTS = {
    "train/bird has no PNG files": empty_class,
    r"train/bird has 2 PNG files and train/\w+ 3": lambda path: path.unlink(),
    "train/unicorn is no class": lambda path: (path.parents[1] / "unicorn").mkdir(),
    r"bird/x_1\.png cannot be read as a picture": cut,
    r"x_1.png cannot be read as a": lambda path: path.write_bytes(b"no picture"),
    "32 x 32 pixels in RGB, it has 28 x 28 pixels in RGB": lambda path: Image.new(
        "RGB", (28, 28)
    ).save(path),
    "it has 32 x 32 pixels in L": lambda path: Image.new("L", (32, 32)).save(path),
}


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.filterwarnings("ignore:.*it cannot be checked")
def test_a_part_that_is_not_whole_is_refused_in_one_sentence(what, part):
    load("cifar-10")  # a copy is in the cache by now
    cifar.recalled.cache_clear()
    FAULTS[what](part / "train/bird/x_1.png")
    with pytest.raises(DataError, match=what) as said:
        load("cifar-10")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("lost", cifar.PARTS)
def test_half_of_a_part_is_refused(lost, part):
    (part / lost).rename(part.parent / "elsewhere")
    with pytest.raises(DataError, match=f"{lost}/airplane has no PNG files"):
        load("cifar-10")
    (row,) = (row for row in status() if row["name"] == "cifar-10")
    assert "damaged: refused" in row["found"]


def test_pictures_are_decoded_once_and_read_again_when_one_changes(part, monkeypatch, tmp_path):
    tensors = cifar.read_part(cifar.find_part())
    monkeypatch.setattr(cifar, "KNOWN_PART", cifar.fingerprint(*tensors))
    first = load("cifar-10")
    cifar.recalled.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(cifar, "read_picture", None)  # nothing may be decoded
        assert load("cifar-10").sha256 == first.sha256
    kept = tmp_path / "cache/cifar-10-part.safetensors"
    damaged = bytearray(kept.read_bytes())
    damaged[-100] ^= 1
    kept.write_bytes(damaged)
    cifar.recalled.cache_clear()
    assert load("cifar-10").sha256 == first.sha256  # decoded anew
    Image.fromarray(pixels_of(0, 0)).save(part / "test/cat/x_0.png")
    cifar.recalled.cache_clear()  # another process
    with pytest.warns(UserWarning, match="it cannot be checked"):
        assert load("cifar-10").sha256 != first.sha256


def test_a_folder_of_cifar_100_or_of_cats_and_dogs_is_left_alone(part):
    for name in ("cifar100", "pets"):
        part.rename(part.with_name(name))
        with pytest.warns(UserWarning, match="cifar-10 is drawn"):
            assert load("cifar-10").source == "stand-in"
        cifar.drawn.cache_clear()
        part.with_name(name).rename(part)


def test_the_published_batches_come_before_a_part(part, monkeypatch, tmp_path):
    batches_in(tmp_path / "own/sets/cifar-10-batches-py", monkeypatch)
    data = load("cifar-10")
    assert (data.source, data.class_names) == ("original", CLASS_NAMES)
    assert data.train[1].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert data.test[1].tolist() == [5, 6]
    for image, label, k in zip(data.train[0], data.train[1], range(10), strict=True):
        assert image.permute(1, 2, 0).numpy().tolist() == pixels_of(int(label), k // 2).tolist()
    damaged = tmp_path / "own/sets/cifar-10-batches-py/data_batch_3"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.warns(UserWarning) as said:
        assert load("cifar-10").source.startswith("unverified (in part")
    assert f"{damaged.parent} is not used" in str(said[0].message)


@pytest.mark.parametrize(("behave", "source"), [(good, "original"), (html, "stand-in")])
def test_a_download_ends_with_the_published_bytes_or_with_scenes(
    behave, source, monkeypatch, tmp_path
):
    batches_in(tmp_path / "cifar-10-batches-py", monkeypatch)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    (tmp_path / "archive").write_bytes(packed.getvalue())
    server = Server(behave, {CIFAR10.filename: packed.getvalue()})
    monkeypatch.setattr(CIFAR10, "url", server.url + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", calculate_md5(tmp_path / "archive"))
    monkeypatch.delenv("COMPANION_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if source == "original":
        assert load("cifar-10").source == source and len(server.asked) == 2
        folder = fetch("cifar-10")  # asks nobody again
        assert folder == tmp_path / "cache/cifar-10-batches-py" and len(server.asked) == 2
        (folder / "test_batch").unlink()  # as if it had been killed while it unpacked
        assert load("cifar-10").source == source
    else:
        with pytest.warns(UserWarning, match="cifar-10 is drawn .* wrong checksum"):
            assert load("cifar-10").source == source
        assert not (tmp_path / "cache/cifar-10-batches-py").exists()
    server.close()


def test_a_stand_in_has_the_shapes_and_classes_of_the_original_and_one_warning():
    with pytest.warns(UserWarning, match="cifar-10 is drawn .* COMPANION_OFFLINE is set") as said:
        data = load("cifar-10")
        assert load("cifar-10").sha256 == data.sha256
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert (data.source, data.class_names) == ("stand-in", CLASS_NAMES)
    for (images, labels), n in ((data.train, 30), (data.test, 10)):
        assert (images.dtype, images.shape) == (torch.uint8, (n, 3, 32, 32))
        assert labels.bincount().tolist() == [n // 10] * 10
    assert (data.examples("test")[0].min() >= 0) and (data.examples("test")[0].max() <= 1)
    with pytest.raises(ValueError, match="has one split of its own"):
        load("cifar-10", "80/20")


def test_scenes_of_different_classes_differ_by_their_means():
    (x, labels), (y, truth) = draw("cifar-10", 1_500, seed=5), draw("cifar-10", 500, seed=6)
    x, y = x.flatten(1).float(), y.flatten(1).float()
    centres = torch.stack([x[labels == k].mean(0) for k in range(10)])
    correct = (torch.cdist(y, centres).argmin(1) == truth).float()
    assert correct.mean() > 0.75  # chance is 0.1, measured 0.89
    assert len(x.unique(dim=0)) == len(x)
