"""Statements, the record of what passed, and how a verdict looks on a page."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from companion.claims import ClaimFailed, check, verdicts
from companion.claims.verdict import number

X = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SQUARE = (X + 1) ** 2  # right: x^2 + 2x + 1
RIGHT = X**2 + 2 * X + 1
WRONG = {"no middle term": X**2 + 1, "wrong sign": X**2 - 2 * X + 1}
CASES = [True] * 8
FALSE_ONCE = [True] * 7 + [False]


def refused(words: str) -> "pytest.RaisesExc":
    return pytest.raises(ClaimFailed, match=f"^thm-test: .*{words}")


def test_a_statement_holds_in_every_case_and_wrong_ones_somewhere_not() -> None:
    wrong = {"all but one": FALSE_ONCE, "never": np.zeros(8, bool)}
    verdict = check("thm-test").holds(torch.tensor(CASES), wrong=wrong)
    assert (verdict.kind, verdict.rejected["never"].error) == ("exhaustive", 8)
    with refused(r"false for 1 of 8 instances, first at index \(7,\)"):
        check("thm-test").holds(FALSE_ONCE, wrong=wrong)
    with refused("'also true' is not rejected"):
        check("thm-test").holds(CASES, wrong={**wrong, "also true": CASES})


@pytest.mark.parametrize(
    "bad", [[1.0] * 8, [float("nan")] * 8, [1] * 8, [], [None] * 8, np.zeros(0, bool)]
)
def test_only_booleans_are_statements(bad: Any) -> None:
    with refused("statement must be booleans"):
        check("thm-test").holds(bad, wrong={"a": FALSE_ONCE, "b": FALSE_ONCE})
    with refused("'a' must be booleans"):
        check("thm-test").holds(CASES, wrong={"a": bad, "b": FALSE_ONCE})


def test_statements_about_random_instances_need_eight_of_them() -> None:
    wrong = {"a": [False], "b": [False]}
    check("thm-test").holds([True], wrong=wrong)
    with refused("too few instances: 1"):
        check("thm-test").holds([True], wrong=wrong, how="random instances")
    with refused("nothing broadcasts"):
        check("thm-test").holds(CASES, wrong=wrong)


def test_a_verdict_tells_all_as_text_and_as_html() -> None:
    wrong = {"<script>alert(1)</script> & more": RIGHT + 1, "half": RIGHT / 2}
    verdict = check("thm-shown", about="in short", of="squares").equal(SQUARE, RIGHT, wrong=wrong)
    page = verdict._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert repr(verdict) == str(verdict)
    assert 'data-theorem="thm-shown"' in page
    for words in ["Theorem “shown”", "(in short)", "40 random squares", "half", "off by"]:
        assert words in str(verdict)
        assert words in page
    assert page.count('<details class="try">') == len(wrong)  # each can be tried, without a script
    assert "2 wrong versions caught" in str(verdict).splitlines()[0]


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (4608, "4,608"),
        (2.04, "2.04"),
        (-1.0099, "-1.01"),
        (1876.4, "1,876"),
        (0.0964, "0.0964"),
        (8.88e-16, "9e-16"),
        (2.45e8, "2e8"),
        (float("inf"), "infinite"),
    ],
)
def test_numbers_have_the_digits_that_matter(x: float, told: str) -> None:
    assert number(x) == told


def test_counts_are_whole_and_draws_that_never_vary_are_told_in_words() -> None:
    wrong = {"most": [False] * 1024 + [True] * 2048, "never": [False] * 3072}
    text = str(check("thm-test", of="graphs").holds([True] * 3072, wrong=wrong))
    assert "all 3,072 graphs, true in each" in text and "false for 1,024 of 3,072" in text
    draws = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    still = {"still": torch.ones(2000), "far": 9.0}
    text = str(check("thm-test").unbiased(draws, 0.0, wrong=still))
    assert "inf" not in text and "its draws never vary" in text


def test_a_kind_says_what_the_instances_are() -> None:
    told = {
        "grid": "40 points of a grid",
        "quadrature": "40 instances by quadrature",
        "random instances": "40 random instances",
    }
    for kind, words in told.items():
        assert words in str(check("thm-test", kind).equal(SQUARE, RIGHT, wrong=WRONG))
    named = check("thm-test", of="pairs of a graph and a random law")
    assert " 40 pairs of a graph and a random" in str(named.equal(SQUARE, RIGHT, wrong=WRONG))


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


@pytest.mark.parametrize(
    ("page", "text"), [("#ffffff", "#222832"), ("#ffffff", "#000000"), ("#121212", "#ced6dd")]
)
def test_the_marks_are_readable_on_white_and_on_a_dark_page(page: str, text: str) -> None:
    card = check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG)._repr_html_()
    marks = re.findall(r"color-mix\(in srgb, (#\w{6}) (\d+)%, currentColor\)", card)
    assert len(marks) == 2
    assert "#" not in re.sub(r"color-mix\([^)]*\)", "", card)  # no other fixed colour
    for mark, percent in marks:
        part = int(percent) / 100
        mixed = tuple(part * m + (1 - part) * t for m, t in zip(rgb(mark), rgb(text), strict=True))
        dark, light = sorted([luminance(mixed), luminance(rgb(page))])
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.1 AA


def test_only_what_passed_is_on_the_record() -> None:
    first = check("thm-recorded").equal(SQUARE, RIGHT, wrong=WRONG)
    with pytest.raises(ClaimFailed):
        check("thm-recorded").equal(SQUARE, RIGHT + 1, wrong=WRONG)
    second = check("thm-recorded").holds(CASES, wrong={"a": FALSE_ONCE, "b": FALSE_ONCE})
    assert verdicts()["thm-recorded"] == [first, second]
    verdicts()["thm-recorded"].clear()
    assert len(verdicts()["thm-recorded"]) == 2


@pytest.mark.parametrize("label", ["", " ", "thm elbo", "3", None, "<b>"])
def test_a_label_that_no_theorem_can_have_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        check(label)


def test_an_unknown_way_of_checking_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'thorough' is unknown here.*exhaustive"):
        check("thm-test").equal(SQUARE, RIGHT, wrong=WRONG, how="thorough")
    with pytest.raises(ValueError, match=r"'exhaustive' is unknown here.*statistical"):
        check("thm-test", "exhaustive").unbiased([0.0], 0.0, wrong={})
