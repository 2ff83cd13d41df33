"""Faces: drawn ones are functions of exact numbers; photographs come only from where they are."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sklearn.linear_model import LogisticRegression
from torchvision.datasets import CelebA

from companion.data import DataError, unit
from companion.data.drawing import faces as drawing
from companion.data.drawing.face_canvas import BINARY
from companion.data.drawing.faces import KINDS, NAMES, draw, draw_attributes
from companion.data.faces import held_out, load_faces, olivetti_photographs, tinted


@pytest.fixture(scope="module")
def faces():
    return draw(8, seed=3)


@pytest.fixture(scope="module")
def crowd():
    return draw(1_500, seed=5, size=64)


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """A machine without photographs and without network."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "learn"))
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    return tmp_path


def edited(attributes, name, value):
    copy = attributes.clone()
    copy[:, NAMES.index(name)] = value
    return copy


def changed(faces, name, size=128):
    """Mean change of each pixel, (S, S), when an attribute goes from its low end to 1."""
    before, after = (
        unit(draw_attributes(edited(faces[1], name, value), 3, size=size))
        for value in (0.0 if name in BINARY else -1.0, 1.0)
    )
    return (after - before).abs().mean((0, 1))


def test_a_face_depends_on_its_number_and_seed_alone(faces, monkeypatch):
    state = torch.get_rng_state()
    images, attributes = draw(7, seed=3)
    assert torch.equal(images, faces[0][:7]) and torch.equal(attributes, faces[1][:7])
    monkeypatch.setattr(drawing, "PIXELS", 3 * 128**2)  # three at once
    assert torch.equal(draw(7, seed=3)[0], images)
    assert not torch.equal(draw(7, seed=4)[1], attributes)
    assert torch.equal(state, torch.get_rng_state())
    assert len(faces[0].flatten(1).unique(dim=0)) == 8  # all different


def test_number_of_threads_does_not_change_a_byte(faces):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(draw(8, seed=3)[0], faces[0][:8])
    finally:
        torch.set_num_threads(threads)


def test_attributes_redraw_the_same_pictures(faces):
    images, attributes = faces
    assert torch.equal(draw_attributes(attributes, 3), images)
    assert torch.equal(draw_attributes(attributes[[7, 4]], 3, faces=[7, 4]), images[[7, 4]])
    assert not torch.equal(draw_attributes(attributes[[7]], 3, faces=[4]), images[[7]])


def test_attributes_have_their_kinds_and_are_uncorrelated():
    u, n = drawing.chances(5_000, 1), 5_000
    attributes = drawing.attributes_of(torch.from_numpy(u)).double()
    for name, kind, column in zip(NAMES, KINDS, attributes.T, strict=True):
        if kind == "binary":
            assert set(column.tolist()) == {0.0, 1.0}
            p = BINARY[name]
            assert abs(column.mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
        else:
            assert -1 <= column.min() < -0.99 and 0.99 < column.max() <= 1
            assert abs(column.mean()) < 5 * (1 / 3 / n) ** 0.5
    off = np.corrcoef(np.hstack([attributes.numpy(), u[:, len(NAMES) :]]), rowvar=False)
    np.fill_diagonal(off, 0)
    assert np.abs(off).max() < 5 / n**0.5  # 1,300 pairs, each with standard error 1 / sqrt(n)


@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_changes_the_picture(name, faces):
    assert changed(faces, name, 64).max() > 0.03  # eight grey levels, mean over the faces


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("smile", (50, 105)),
        ("mouth_open", (70, 115)),
        ("glasses", (35, 80)),
        ("gaze", (40, 78)),
        ("brow_angle", (25, 75)),
        ("beard", (55, 115)),
        ("nose_length", (45, 105)),
    ],
)
def test_an_edit_changes_its_own_region_and_nothing_else(name, rows, faces):
    change = changed(faces, name)
    first, last = rows
    assert change[:first].max() == 0 and change[last:].max() == 0
    assert change[first:last].max() > 0.05


@pytest.mark.parametrize(("name", "rows"), [("glasses", (22, 40)), ("beard", (28, 56))])
def test_a_line_through_the_pixels_finds(name, rows, crowd):
    x = unit(crowd[0])[:, :, slice(*rows)].flatten(1).numpy() - 0.5
    y = crowd[1][:, NAMES.index(name)].numpy()
    line = LogisticRegression(C=3.0, max_iter=300).fit(x[:1_000], y[:1_000])
    assert line.score(x[1_000:], y[1_000:]) > 0.95  # always "no" is right for 0.6 and 0.7


def test_pixels_are_averages_and_not_samples(faces):
    small, large = (unit(draw_attributes(faces[1], 3, size=size)) for size in (64, 256))
    ideal = torch.nn.functional.avg_pool2d(large, 4)  # 16 samples for each pixel
    ours = (small - ideal).abs().mean()
    assert ours < 0.006  # 1.5 grey levels
    sampled = (large[..., 2::4, 2::4] - ideal).abs().mean()
    assert ours < 0.6 * sampled  # a picture without anti-aliasing


def test_loaded_faces_are_split_once_and_fingerprinted():
    data = load_faces(size=32, n=40, seed=3)
    assert (data.source, data.split, data.class_names) == ("procedural", "80/20", NAMES)
    assert [len(t) for t in (*data.train, *data.test)] == [32, 32, 8, 8]
    images, attributes = draw(40, 3, 32)
    both = torch.cat([data.train[1], data.test[1]])
    where = [(both == row).all(1).nonzero().item() for row in attributes]
    assert sorted(where) == list(range(40)) and where != list(range(40))
    assert torch.equal(torch.cat([data.train[0], data.test[0]])[where], images)
    assert data.sha256 != load_faces(size=32, n=40, seed=4).sha256


def test_olivetti_is_read_column_by_column_and_split_by_person(monkeypatch, nothing_here):
    person = np.arange(400) // 10
    stored = np.zeros((4096, 400), np.uint8)
    stored[:] = 10 + 5 * person  # each person has a grey of its own
    stored[64 * 3 + 2] = 240  # row 2 of column 3
    stored[0] = 0
    (nothing_here / "People").mkdir()
    savemat(nothing_here / "People/olivettifaces.mat", {"faces": stored})
    monkeypatch.setenv("COMPANION_DATA", str(nothing_here))
    assert (olivetti_photographs()[:, 2, 3] == 240).all()
    data = load_faces("olivetti", size=64)
    assert (data.source, data.train[1].shape, data.test[1].shape) == (
        "original",
        (320, 0),
        (80, 0),
    )
    train, test = (set(part[0][:, 0, 30, 30].tolist()) for part in (data.train, data.test))
    assert (len(train), len(test), train & test) == (32, 8, set())


def test_a_folder_gives_central_grey_squares(nothing_here):
    folder = nothing_here / "mine/deeper"
    folder.mkdir(parents=True)
    for k in range(6):
        wide = np.full((20, 40, 3), 200, np.uint8)
        wide[:, 10:30] = 40 * k  # the central square
        Image.fromarray(wide).save(folder / f"{k}.png")
    (folder / "notes.txt").write_text("no picture")
    data = load_faces(nothing_here / "mine", size=16)
    assert (len(data.train[0]), len(data.test[0]), data.train[1].shape) == (4, 2, (4, 0))
    seen = torch.cat([data.train[0], data.test[0]]).flatten(1)
    assert torch.equal(seen.amin(1), seen.amax(1))  # nothing of the margin is left
    assert sorted(seen[:, 0].tolist()) == [0, 40, 80, 120, 160, 200]
    (folder / "6.jpg").write_bytes(b"no picture either")
    with pytest.raises(DataError, match=r"6\.jpg cannot be read"):
        load_faces(nothing_here / "mine", size=16)


def test_two_folders_are_two_classes_in_colour_too(nothing_here):
    for kind, level in (("neutral", 40), ("smile", 200)):
        (nothing_here / "mine" / kind).mkdir(parents=True)
        for k in range(4):
            image = np.full((20, 20, 3), (level, 0, k), np.uint8)
            Image.fromarray(image).save(nothing_here / "mine" / kind / f"{k}.png")
    data = load_faces(nothing_here / "mine", size=16, n=6, colour=True)
    assert data.class_names == ("smile",) and data.train[0].shape == (4, 3, 16, 16)
    for images, smiles in (data.train, data.test):
        assert torch.equal(images[:, 0, 0, 0] == 200, smiles[:, 0] == 1)
        assert (images[:, 1] == 0).all()
    assert sum(part[1].sum() for part in (data.train, data.test)) == 3  # as many of each


def test_drawn_faces_in_colour_are_the_grey_ones_each_in_one_tone(faces):
    grey, _ = faces
    coloured = tinted(grey, seed=1)
    assert coloured.shape == (8, 3, 128, 128)
    assert torch.equal(coloured.amax(1, keepdim=True), grey)  # one channel is left as it was
    tones = coloured.float().mean((2, 3)) / grey.float().mean((2, 3))
    assert (tones.std(0) > 0.02).any() and (tones > 0.5).all()
    loaded = load_faces(size=32, n=10, colour=True)
    assert loaded.train[0].shape == (8, 3, 32, 32) and loaded.name == "tinted faces"


def test_celeba_is_cut_to_the_face_and_keeps_its_attributes(monkeypatch, nothing_here):
    home, n = nothing_here / "sets/CelebA", 8
    (home / "img_align_celeba").mkdir(parents=True)
    names = [f"{k:06}.jpg" for k in range(n)]
    for k, name in enumerate(names):
        tall = np.zeros((218, 178, 3), np.uint8)
        tall[36:182, 16:162] = 20 + 20 * k  # a little less than the 148 pixels of the face
        Image.fromarray(tall).save(home / "img_align_celeba" / name, quality=100)
    numbers = {"list_attr_celeba": (1, -1), "list_bbox_celeba": (0,)}
    numbers |= {"list_landmarks_align_celeba": (0,), "list_eval_partition": (0,)}
    for file, values in (numbers | {"identity_CelebA": (0,)}).items():
        head = f"{n}\nYoung Smiling \n" if "celeba" in file else ""
        rows = [" ".join(map(str, (name, *values))) for name in names]
        (home / f"{file}.txt").write_text(head + "\n".join(rows) + "\n")
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)  # of the real files' sums
    monkeypatch.setenv("COMPANION_DATA", str(nothing_here))
    data = load_faces("celeba", size=64, n=6)
    assert (data.source, data.class_names) == ("original", ("Young", "Smiling"))
    assert torch.cat([data.train[1], data.test[1]]).tolist() == [[1.0, 0.0]] * 6
    seen = torch.cat([data.train[0], data.test[0]])
    assert len(seen[:, 0, 32, 32].unique()) == 6
    inner, edge = seen[:, 0, 2:-2, 2:-2].float(), seen[:, 0, 0, 32].float()
    assert (inner.amax((1, 2)) - inner.amin((1, 2))).max() <= 4  # what JPEG leaves of one grey
    assert (edge < 0.9 * inner.mean((1, 2))).all()  # one of 148 pixels of the margin


@pytest.mark.parametrize("name", ["olivetti", "celeba"])
def test_what_cannot_be_had_is_refused_in_one_sentence(name, nothing_here):
    with pytest.raises(DataError, match=r'COMPANION_OFFLINE.*"procedural" always work') as error:
        load_faces(name)
    assert str(nothing_here / "cache") in str(error.value) and "\n" not in str(error.value)


def test_wrong_arguments_are_refused_in_one_sentence(nothing_here):
    with pytest.raises(ValueError, match=r"'olivety' \(did you mean 'olivetti'\?"):
        load_faces("olivety")
    with pytest.raises(ValueError, match="n >= 5"):
        load_faces(n=2)
    with pytest.raises(ValueError, match="Olivetti photographs are grey"):
        load_faces("olivetti", colour=True)
    with pytest.raises(DataError, match="has 0 pictures"):
        load_faces(nothing_here / "nowhere")
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        draw_attributes(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 rows need as many faces, got 1"):
        draw_attributes(torch.zeros(2, len(NAMES)), faces=[0])


def test_held_out_faces_are_those_of_the_test_set():
    images, attributes = held_out(3, n=20, seed=5)
    data = load_faces("procedural", 128, 20, seed=5)
    torch.testing.assert_close(images, data.test[0][:3])
    torch.testing.assert_close(attributes, data.test[1][:3])
    with pytest.raises(ValueError, match="count must be 1 to the 4 test faces, got 5"):
        held_out(5, n=20)
