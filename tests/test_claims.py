"""A check of an equality or a bound passes when it should and fails when it should."""

from typing import Any

import pytest
import torch
from torch import Tensor

from companion.claims import ClaimFailed, check

X = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SQUARE = (X + 1) ** 2  # right: x^2 + 2x + 1
RIGHT = X**2 + 2 * X + 1
WRONG = {"no middle term": X**2 + 1, "wrong sign": X**2 - 2 * X + 1}


def refused(words: str) -> "pytest.RaisesExc":
    return pytest.raises(ClaimFailed, match=f"^thm-test: .*{words}")


def test_a_true_equality_passes_and_says_how_wrong_the_wrong_versions_are() -> None:
    verdict = check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG)
    assert verdict.instances == 40
    assert verdict.worst.error < 1e-13
    assert verdict.rejected["no middle term"].error > 0.1
    largest = float((SQUARE - WRONG["wrong sign"]).abs().max())
    assert verdict.rejected["wrong sign"].error <= largest


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int64])
def test_rounding_is_forgiven_in_each_type_and_a_real_mistake_is_not(kind: torch.dtype) -> None:
    x = (10 * X).to(kind)
    left, right = (x + 1) ** 2, x**2 + 2 * x + 1
    wrong = {"no middle term": x**2 + 1, "wrong sign": x**2 - 2 * x + 1}
    check("thm-test").equal(left, right, wrong=wrong)
    visible = 1 if kind == torch.int64 else 1e-2
    with refused("left and right are"):
        check("thm-test").equal(left, right + visible, wrong=wrong)


def test_a_wrong_right_hand_side_is_refused() -> None:
    with refused("off by"):
        check("thm-test").equal(SQUARE, X**2 + 1, wrong={"a": RIGHT + 1, "b": RIGHT - 1})


def test_one_wrong_instance_among_many_is_refused_by_its_index() -> None:
    right = RIGHT.clone()
    right[17, 2] *= 1 + 1e-6
    with refused(r"at index \(17, 2\)"):
        check("thm-test").equal(SQUARE, right, wrong=WRONG)


def test_one_huge_instance_does_not_loosen_the_others() -> None:
    x = X.clone()
    x[0, 0] = 1e9
    right = x**2 + 2 * x + 1
    right[5] += 1e-5
    with refused(r"at index \(5, "):
        check("thm-test").equal((x + 1) ** 2, right, wrong={"a": right + 1, "b": right - 1})


def test_a_wrong_version_that_agrees_is_refused() -> None:
    with refused("'the same again' is not rejected.*cannot fail"):
        check("thm-test").equal(SQUARE, RIGHT, wrong={**WRONG, "the same again": X * (X + 2) + 1})


def test_a_tolerance_so_loose_that_a_wrong_version_passes_is_refused() -> None:
    with refused("not beyond 100 times what is allowed.*too loose"):
        check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG, atol=1.0)
    with refused("too loose"):
        check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG, rtol=0.5)


@pytest.mark.parametrize("wrong", [{}, {"one": RIGHT + 1}, {"one": RIGHT + 1, " ": RIGHT - 1}])
def test_fewer_than_two_named_wrong_versions_are_refused(wrong: dict[str, Tensor]) -> None:
    with refused("at least two|a name of its own"):
        check("thm-test").equal(SQUARE, RIGHT, wrong=wrong)


def test_one_wrong_version_under_two_names_is_refused() -> None:
    with refused("'a' and 'b' are the same numbers"):
        check("thm-test").equal(SQUARE, RIGHT, wrong={"a": RIGHT + 1, "b": RIGHT + 1})
    with refused("a name of its own"):
        check("thm-test").equal(SQUARE, RIGHT, wrong={"a": RIGHT + 1, "a ": RIGHT - 1})


def test_too_few_instances_are_refused_even_if_one_is_repeated() -> None:
    few = {name: wrong[:7] for name, wrong in WRONG.items()}
    with refused("7 distinct"):
        check("thm-test").equal(SQUARE[:7], RIGHT[:7], wrong=few)
    check("thm-test", kind="exhaustive").equal(SQUARE[:7], RIGHT[:7], wrong=few)
    repeated = {name: wrong[:1].repeat(40, 1) for name, wrong in WRONG.items()}
    with refused("1 distinct"):
        check("thm-test").equal(SQUARE[:1].repeat(40, 1), RIGHT[:1].repeat(40, 1), wrong=repeated)
    with refused("1 distinct"):
        check("thm-test").equal(4.0, 2.0 + 2.0, wrong={"a": 3.0, "b": 5.0})


def test_one_case_is_enough_when_it_is_all_there_is() -> None:
    verdict = check("thm-test").equal(4, 2 + 2, wrong={"a": 3, "b": 5}, how="symbolic")
    assert (verdict.instances, verdict.kind) == (1, "symbolic")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["left", "right", "wrong version 'bad'"])
def test_nan_and_infinity_are_refused_on_every_side(bad: float, side: str) -> None:
    broken = RIGHT.clone()
    broken[3, 1] = bad
    left, right, wrong = SQUARE, RIGHT, dict(WRONG)
    if side == "left":
        left = broken
    elif side == "right":
        right = broken
    else:
        wrong["bad"] = broken
    with refused(f"{side} holds NaN or infinity"):
        check("thm-test").equal(left, right, wrong=wrong)


@pytest.mark.parametrize("right", [RIGHT[:, :1], RIGHT[0], RIGHT[:1], RIGHT[..., None], 1.0])
def test_nothing_broadcasts(right: Tensor | float) -> None:
    with refused("nothing broadcasts"):
        check("thm-test").equal(SQUARE, right, wrong=WRONG)
    with refused("nothing broadcasts"):
        check("thm-test").equal(SQUARE, RIGHT, wrong={**WRONG, "other shape": right})


def test_a_tensor_is_not_compared_with_itself() -> None:
    for left, right in [(RIGHT, RIGHT), (RIGHT, RIGHT[:]), (RIGHT.float(),) * 2]:
        with refused("one tensor"):
            check("thm-test").equal(left, right, wrong=WRONG)


def test_zeros_on_the_right_need_a_stated_scale() -> None:
    wrong = {"a": X, "b": -X}
    with refused("state atol"):
        check("thm-test").equal(0 * X, torch.zeros_like(X), wrong=wrong)
    check("thm-test").equal(1e-13 * X, torch.zeros_like(X), wrong=wrong, atol=1e-10)


@pytest.mark.parametrize(
    "left", [SQUARE.bfloat16(), SQUARE > 0, SQUARE + 0j, torch.zeros(0), None, "4", [2**53] * 9]
)
def test_what_is_not_a_real_number_of_full_precision_is_refused(left: object) -> None:
    with refused("left (is in half precision|must be real numbers|holds integers)"):
        check("thm-test").equal(left, left, wrong=WRONG)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("option", [{"atol": -1.0}, {"rtol": 1.0}, {"rtol": float("nan")}])
def test_an_impossible_tolerance_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not in \[0, "):
        check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG, **option)


def test_arrays_lists_and_tensors_that_need_gradients_are_numbers_too() -> None:
    right = [row.requires_grad_() for row in RIGHT.clone()]
    wrong = {name: version.tolist() for name, version in WRONG.items()}
    assert check("thm-test").equal(SQUARE.numpy(), right, wrong=wrong).instances == 40


def test_a_true_bound_passes_and_its_reverse_is_a_wrong_version() -> None:
    wrong = {"reversed": (X**2 + 1, 2 * X), "half": (2 * X, (X**2 + 1) / 2)}
    verdict = check("thm-test").at_most(2 * X, X**2 + 1, wrong=wrong)
    assert verdict.worst.error == 0
    largest = float((X**2 + 1 - 2 * X).max())
    assert 0 < verdict.rejected["reversed"].error <= largest
    with refused(r"violated or not tight at index"):
        check("thm-test").at_most(X**2 + 1, 2 * X, wrong={"a": (X + 1, X), "b": (X, X - 1)})
    with refused("'looser' is not rejected"):
        check("thm-test").at_most(2 * X, X**2 + 1, wrong={**wrong, "looser": (2 * X, X**2 + 9)})
    with refused("'by rounding' is not rejected"):
        noise = {**wrong, "by rounding": (X**2 + 1 + 5e-8, X**2 + 1)}  # 10 to 50 tolerances
        check("thm-test").at_most(2 * X, X**2 + 1, wrong=noise)


def test_unsigned_bytes_do_not_wrap_around() -> None:
    x = torch.arange(10, dtype=torch.uint8)
    wrong = {"reversed": (x + 1, x), "even less": (x + 2, x)}
    assert check("thm-test").at_most(x, x + 1, wrong=wrong).rejected["reversed"].error == 1


def test_a_bound_violated_once_is_refused() -> None:
    larger = X**2 + 1
    larger[7, 0] = 2 * X[7, 0] - 1e-6
    with refused(r"index \(7, 0\)"):
        check("thm-test").at_most(2 * X, larger, wrong={"a": (X + 1, X), "b": (X, X - 1)})


def test_an_equality_is_no_inequality() -> None:
    with refused("strict nowhere"):
        check("thm-test").at_most(SQUARE, RIGHT, wrong={"a": (X + 1, X), "b": (X, X - 1)})


def test_a_bound_must_be_tight_where_it_says_so() -> None:
    x = torch.cat([X, torch.ones_like(X)])
    wrong = {"reversed": (x**2 + 1, 2 * x), "never tight": (2 * x, x**2 + 2)}
    verdict = check("thm-test").at_most(2 * x, x**2 + 1, wrong=wrong, equal_where=x == 1)
    assert "tight at 120" in str(verdict)
    with refused("not tight"):
        check("thm-test").at_most(2 * x, x**2 + 2, wrong=wrong, equal_where=x == 1)
    for mask, words in [(x == 9, "marks no entry"), (x, "booleans"), (x[:1] == 1, "broadcasts")]:
        with refused(words):
            check("thm-test").at_most(2 * x, x**2 + 1, wrong=wrong, equal_where=mask)


@pytest.mark.parametrize("bad", [X, [X, X + 1], (X,), (X, float("nan") * X), (X, X[:1])])
def test_a_wrong_bound_is_a_pair_of_finite_numbers_of_the_same_shape(bad: object) -> None:
    wrong = {"reversed": (X**2 + 1, 2 * X), "bad": bad}
    with refused("'bad' (must be a pair|holds NaN|has shape)"):
        check("thm-test").at_most(2 * X, X**2 + 1, wrong=wrong)  # pyright: ignore
