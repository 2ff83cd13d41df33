"""Attribute directions: against scikit-learn, closed forms and readers that are known."""

import pytest
import torch
from sklearn.linear_model import LinearRegression

from companion.metrics.edits import (
    joint_directions,
    linear_readers,
    lone_directions,
    measure_edit,
    pure_directions,
    recognised,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # double precision, well-conditioned


def world(n=400, k=6, noise=0.3, seed=0):
    """Codes that are linear in three correlated attributes, the first of them binary."""
    chance = torch.Generator().manual_seed(seed)
    a = torch.randn(n, 3, generator=chance, dtype=torch.float64)
    a[:, 1] += 0.8 * a[:, 0]
    a[:, 0] = (a[:, 0] > 0.3).double()
    effects = torch.randn(3, k, generator=chance, dtype=torch.float64)
    rest = torch.randn(n, k, generator=chance, dtype=torch.float64)
    return 2 + a @ effects + noise * rest, a, effects


def test_joint_directions_are_the_library_s_slopes():
    z, a, _ = world()
    slopes = torch.from_numpy(LinearRegression().fit(a, z).coef_.T)
    torch.testing.assert_close(joint_directions(z, a), slopes, **EXACT)
    readers = torch.from_numpy(LinearRegression().fit(z, a).coef_)
    torch.testing.assert_close(linear_readers(z, a), readers, **EXACT)


def test_joint_directions_find_the_effects_where_there_is_no_noise():
    z, a, effects = world(noise=0.0)
    torch.testing.assert_close(joint_directions(z.float(), a).float(), effects.float())


def test_lone_direction_of_a_binary_attribute_is_the_difference_of_class_means():
    z, a, _ = world()
    has = a[:, 0] == 1
    torch.testing.assert_close(lone_directions(z, a)[0], z[has].mean(0) - z[~has].mean(0), **EXACT)


def test_lone_directions_leak_by_the_slopes_between_attributes():
    z, a, _ = world()
    between = lone_directions(a, a)  # (A, A): what each attribute says about the others
    torch.testing.assert_close(lone_directions(z, a), between @ joint_directions(z, a), **EXACT)
    assert (between - torch.eye(3)).abs().max() > 0.3  # or nothing would leak


def test_all_directions_agree_on_a_balanced_design():
    a = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).repeat(5, 1)
    z = torch.randn(len(a), 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(lone_directions(z, a), joint_directions(z, a), **EXACT)


def test_pure_directions_move_one_reading_and_are_shortest():
    chance = torch.Generator().manual_seed(2)
    w = torch.randn(3, 7, generator=chance, dtype=torch.float64)
    root = torch.randn(7, 7, generator=chance, dtype=torch.float64)
    spread = root @ root.T
    pure = pure_directions(w, spread)
    torch.testing.assert_close(w @ pure.T, torch.eye(3, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(pure_directions(w, torch.eye(7)), torch.linalg.pinv(w).T, **EXACT)
    _, _, rows = torch.linalg.svd(w)
    unseen = torch.randn(50, 4, generator=chance, dtype=torch.float64) @ rows[3:]
    longer = pure[:1] + unseen  # every other direction with the same readings is this one

    def length(d):
        return torch.einsum("nk,kl,nl->n", d, torch.linalg.inv(spread), d)

    assert (length(longer) > length(pure[:1])).all()


def test_pure_directions_are_slopes_on_the_readings():
    z, a, _ = world()
    w = linear_readers(z, a)
    pure = pure_directions(w, torch.cov(z.T))
    torch.testing.assert_close(pure, joint_directions(z, z @ w.T), **EXACT)


def test_an_edit_is_told_by_what_it_was_made_of():
    old, spread = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 0.5])
    before = torch.stack([old, torch.zeros(4), torch.ones(4)], 1)
    after = before + torch.tensor(
        [[0.8, 0.0, 0.0], [0.2, 2.0, 0.0], [-0.9, 2.0, 0.0], [-0.7, 0.0, 0.5]]
    )
    edit = measure_edit(before, after, 0, 1 - 2 * old, spread)
    assert edit.success.value == 0.75  # all but the second: 0.2 of 1
    assert edit.gain.value == pytest.approx((0.8 + 0.2 + 0.9 + 0.7) / 4)
    assert edit.leakage.value == pytest.approx((0 + 0.5**0.5 * 3) / 4)
    assert edit.shift[1:].tolist() == pytest.approx([0.0, -0.25])  # the last two lower it
    change = torch.tensor([0.0, 1.0, -1.0, 0.0])
    assert edit.error[1].item() == pytest.approx(change.std().item() / 2)


def test_a_face_is_recognised_by_what_was_not_edited():
    gallery = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.3]])
    edited = gallery + torch.tensor([[9.0, 0.1, 0.0], [9.0, -0.1, 0.0], [9.0, 0.0, -0.2]])
    spread = torch.tensor([1.0, 1.0, 0.1])
    assert recognised(edited, gallery, 0, spread).value == pytest.approx(2 / 3)
    assert recognised(gallery, gallery, 0, spread).value == 1
    assert recognised(edited, gallery, 1, spread).value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lone_directions(torch.ones(3), torch.ones(3, 1)), "needs codes"),
        (lambda: lone_directions(torch.ones(3, 2), torch.ones(4, 1)), "needs codes"),
        (lambda: lone_directions(torch.ones(3, 2), torch.ones(3, 1)), r"columns \[0\] do not"),
        (lambda: joint_directions(torch.randn(9, 2), torch.randn(9, 1).repeat(1, 2)), "dependent"),
        (lambda: pure_directions(torch.ones(2, 5), torch.eye(5)), "the readers are linearly"),
        (lambda: pure_directions(torch.ones(2, 5), torch.eye(4)), "needs readers"),
        (lambda: recognised(torch.ones(4, 3), torch.ones(3, 3), 0, torch.ones(3)), "two or more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_edit_that_asks_for_nothing_is_refused():
    x, asked, spread = torch.zeros(4, 3), torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.ones(3)
    with pytest.raises(ValueError, match="ask for a change"):
        measure_edit(x, x, 0, asked, spread)
    with pytest.raises(ValueError, match="needs readings"):
        measure_edit(x, x, 3, asked + 1, spread)
