"""Check the theorems of the book by machine, each beside wrong versions that must fail.

A check passes if its statement holds on every instance and each of two or more wrong versions
visibly does not: a check that cannot fail fails. Instances lie along dim 0, nothing broadcasts,
all is compared in float64. A verb raises `ClaimFailed`, in one sentence, if the statement or its
check is no good, and `ValueError` for an option that is not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from companion.claims.evidence import (
    ALL_THERE_ARE,
    FEWEST,
    VISIBLE,
    Evidence,
    Values,
    critical_z,
    log_slope,
    worst_miss,
    z_scores,
)
from companion.claims.verdict import ClaimFailed, Miss, Verdict, verdicts

__all__ = ["Check", "ClaimFailed", "Miss", "Verdict", "check", "verdicts"]

HOW = ("random instances", "grid", "exhaustive", "symbolic", "quadrature", "autograd")
STRAIGHT = 0.2  # how far a point may lie off the fitted line, in log error


def check(label: str, kind: str | None = None, about: str = "", of: str = "") -> Check:
    """Begin a check of the theorem `label`; `kind` is what a verb's `how` is if not given.

    `about` tells this check from others of the theorem; `of` names the instances in the plural:
    `check("thm-elbo-kl", about="diagonal", of="Gaussians")` reads "100 random Gaussians".
    """
    if not isinstance(label, str) or not re.fullmatch(r"[A-Za-z][\w:.-]*", label):
        raise ValueError(f"label {label!r} is not allowed: write a theorem's, as 'thm-elbo-gap'")
    return Check(label, kind, about, of)


class Check(Evidence):
    """A theorem about to be checked: each verb returns a `Verdict` and records it."""

    def equal(
        self,
        left: Values,
        right: Values,
        wrong: Mapping[str, Values],
        atol: float | None = None,
        rtol: float | None = None,
        how: str | None = None,
    ) -> Verdict:
        """Check |left - right| <= atol + rtol |right|; `wrong`: other right sides, same shape.

        Default rtol: 1e-9 (float64), 1e-4 (float32), 0 (integers). Default atol: rtol times the
        median |right| that is not 0; a right side of nothing but zeros needs its atol stated.
        A wrong version must be off by more than 100 tolerances somewhere. `how`: one of HOW.
        """
        how = self._how(how, HOW)
        x = self._numbers(left, "left")
        y = self._numbers(right, "right", x.shape)
        if np.shares_memory(x, y) or (left is right and x.ndim > 0):
            self._fail("left and right are one tensor, so they cannot differ")
        allowed = self._allowed((left, right), np.abs(y), atol, rtol)
        others = self._wrong(wrong, x.shape)
        counted = self._instances(how, x, y, *others.values())
        worst = worst_miss(np.abs(x - y), allowed)
        if worst.error > worst.allowed:
            pair = f"{x[worst.at]:.6g} and {y[worst.at]:.6g}"
            self._fail(f"left and right are {pair} at index {worst.at}, off by {worst}")
        misses = {name: worst_miss(np.abs(x - other), allowed) for name, other in others.items()}
        return self._pass("left = right", how, counted, "off by", worst, misses, VISIBLE)

    def at_most(
        self,
        smaller: Values,
        larger: Values,
        wrong: Mapping[str, tuple[Values, Values]],
        equal_where: Values | None = None,
        atol: float | None = None,
        rtol: float | None = None,
        how: str | None = None,
    ) -> Verdict:
        """Check smaller <= larger everywhere, and visibly strict somewhere.

        `wrong` gives pairs (smaller, larger) that must be violated as visibly. With the mask
        `equal_where` the bound must be tight there, and a wrong pair may fail by not being so.
        Tolerances and `how` as in `equal`, relative to the larger of the two sizes.
        """
        how = self._how(how, HOW)
        x = self._numbers(smaller, "smaller")
        y = self._numbers(larger, "larger", x.shape)
        size = np.maximum(np.abs(x), np.abs(y))
        allowed = self._allowed((smaller, larger), size, atol, rtol)
        others = self._wrong(wrong, x.shape, pairs=True)
        counted = self._instances(how, x, y, *(side for pair in others.values() for side in pair))
        tight = self._mask(equal_where, "equal_where", x.shape)

        def miss(low: np.ndarray, high: np.ndarray) -> Miss:
            error = np.where(tight, np.abs(high - low), np.maximum(low - high, 0))
            return worst_miss(error, allowed)

        worst = miss(x, y)
        if worst.error > worst.allowed:
            self._fail(f"the bound is violated or not tight at index {worst.at}, by {worst}")
        if not ((y - x > VISIBLE * allowed) & ~tight).any():
            self._fail("the inequality is strict nowhere: check it with equal")
        claim = "smaller ≤ larger" + f", tight at {tight.sum()} of them" * bool(tight.any())
        misses = {name: miss(*pair) for name, pair in others.items()}
        return self._pass(claim, how, counted, "violated by", worst, misses, VISIBLE)

    def unbiased(
        self,
        samples: Values,
        truth: Values,
        wrong: Mapping[str, Values],
        level: float = 1e-4,
    ) -> Verdict:
        """Check by z-test that i.i.d. `samples` (n >= 1000, ...) have the mean `truth` (...).

        `wrong`: other truths (...) or other samples (m, ...), rejected by the same test. `level`,
        at most 1e-4, bounds the false alarms of all entries together. The tail of a studentised
        mean is exp(a), a = |skewness| z^3 / (3 sqrt n), times the normal's on one side and
        exp(-a) on the other (Wang 2005): half the level pays for a <= 1; beyond, n is too small.
        Only a tail that was sampled is seen: that the variance is finite is for you to know.
        """
        kind = self._how(None, ("statistical",))
        if not 0 < level <= 1e-4:
            raise ValueError(f"{self.label}: level {level} is not allowed: it is in (0, 1e-4]")
        x, y = self._numbers(samples, "samples"), self._numbers(truth, "truth")
        worst, error = self._bias("samples", x, y, level)
        if error == 0 and worst.error == 0:
            self._fail("the samples never vary: check them with equal")
        if worst.error > worst.allowed:
            self._fail(f"the mean at {worst.at} is off by {worst} standard errors of {error:.2g}")
        misses = {}
        for name, other in self._wrong(wrong).items():
            sides = (x, other) if other.shape == y.shape else (other, y)
            misses[name] = self._bias(f"wrong version {name!r}", *sides, level)[0]
        details = f"{y.size:,} means, standard error {error:.2g}, false-alarm rate ≤ {level:.0e}"
        return self._pass(
            "mean of samples = truth", kind, (len(x), details), "|z| up to", worst, misses
        )

    def _bias(
        self, what: str, samples: np.ndarray, truth: np.ndarray, level: float
    ) -> tuple[Miss, float]:
        """Return the largest |z| beside its critical value, and the standard error there."""
        if samples.ndim == 0 or samples.shape[1:] != truth.shape or len(samples) < 1000:
            self._fail(f"{what} must be at least 1000 times {truth.shape}, not {samples.shape}")
        z, error, skewness = z_scores(samples, truth)
        critical = critical_z(level, truth.size)
        needed = (np.abs(skewness).max() * critical**3 / 3) ** 2
        if not len(samples) >= needed:
            self._fail(f"{what} are too skewed for n = {len(samples)}: take {needed:.0f} or more")
        worst = worst_miss(np.abs(z), np.full(z.shape, critical))
        return worst, float(error[worst.at])

    def order(
        self,
        steps: Values,
        errors: Values,
        expected: float,
        wrong: Mapping[str, Values],
        tolerance: float = 0.15,
    ) -> Verdict:
        """Check that errors fall as steps ** expected: the slope in logarithms, on a straight fit.

        At least 4 steps that span a factor 8; no point is off the fit by more than 20 %.
        `wrong`: other orders (numbers), or the errors of other methods at the same steps.
        """
        kind = self._how(None, ("order of convergence",))
        if not 0 < tolerance <= 0.25:
            raise ValueError(f"{self.label}: tolerance {tolerance} is not allowed: (0, 0.25] is")
        h = self._numbers(steps, "steps")
        order = float(self._numbers(expected, "expected", ()))
        spans = h.ndim == 1 and h.min() > 0 and h.max() / h.min() > 8 * (1 - 1e-6)
        if not spans or len(np.unique(h)) < 4:
            self._fail("steps must be 4 or more different positive numbers that span a factor 8")
        slope, bend = self._slope("errors", h, self._numbers(errors, "errors", h.shape))
        if bend > STRAIGHT:
            self._fail(f"the errors are off any power of the steps by {bend:.2g} in logarithm")
        worst = Miss(abs(slope - order), tolerance)
        if worst.error > tolerance:
            self._fail(f"the order is {slope:.3f}, not {order:g}: off by {worst}")
        misses = {}
        for name, other in self._wrong(wrong).items():
            if other.ndim == 0:
                off = slope - float(other)
            else:
                off = self._slope(f"wrong version {name!r}", h, other)[0] - order
            misses[name] = Miss(abs(off), tolerance)
        details = f"slope {slope:.3f}, off a straight line by {bend:.2g}"
        return self._pass(
            f"order {order:g}", kind, (len(h), details), "order off by", worst, misses
        )

    def _slope(self, what: str, steps: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
        if errors.shape != steps.shape or errors.min() <= 0:
            self._fail(f"{what} must be positive, of shape {steps.shape}")
        return log_slope(steps, errors)

    def holds(
        self, statement: Values, wrong: Mapping[str, Values], how: str | None = None
    ) -> Verdict:
        """Check that a statement is true for every instance, each wrong version false for some.

        Booleans, one for each instance; `wrong`: those of other statements, same instances.
        `how` is "exhaustive" if not given; all but that and "symbolic" need 8 instances.
        """
        how = self._how(how, ("exhaustive", *HOW))
        flags = self._booleans(statement, "statement")
        if how not in ALL_THERE_ARE and flags.size < FEWEST:
            self._fail(f"too few instances: {flags.size}, not {FEWEST} or more")
        false = int((~flags).sum())
        if false:
            at = tuple(np.argwhere(~flags)[0].tolist())
            self._fail(f"false for {false} of {flags.size} instances, first at index {at}")
        misses = {}
        for name, other in self._versions(wrong).items():
            other_flags = self._booleans(other, f"wrong version {name!r}", flags.shape)
            misses[name] = Miss(int((~other_flags).sum()), 0)
        return self._pass(
            "true for every instance", how, (flags.size, ""), "false for", Miss(0, 0), misses
        )
