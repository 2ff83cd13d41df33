"""Turn what a check is given into numbers, and refuse whatever would let it pass for free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any, NoReturn

import numpy as np
import torch

from companion.claims.verdict import ClaimFailed, Miss, Verdict, record

Values = torch.Tensor | np.ndarray | Sequence | float
VISIBLE = 100  # a wrong version is off by more than this many tolerances
FEWEST = 8  # instances, unless the check says that they are all there are
ALL_THERE_ARE = ("exhaustive", "symbolic")
EXACT_UP_TO = 2**53  # integers beyond are rounded by float64


def array(values: Any) -> np.ndarray:
    """Return `values` as a numpy array of their own type, without a copy where it can be."""
    if isinstance(values, (list, tuple)):
        values = [array(v) if isinstance(v, torch.Tensor) else v for v in values]
    return (
        values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    )


def worst_miss(error: np.ndarray, allowed: np.ndarray) -> Miss:
    """Return the error that is the largest multiple of what is allowed at its place."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0, error / allowed, 0.0)
    at = np.unravel_index(np.argmax(ratio), ratio.shape)
    return Miss(float(error[at]), float(allowed[at]), tuple(map(int, at)))


def critical_z(level: float, entries: int = 1) -> float:
    """Return the |z| that one of `entries` z-scores exceeds with probability <= level / 2.

    Two-sided normal quantile, Bonferroni; `Check.unbiased` says where the other half goes.
    """
    return -NormalDist().inv_cdf(level / (4 * entries))


def z_scores(samples: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z-score, standard error and skewness, (n, ...) and (...) -> three times (...).

    An entry whose samples are constant to rounding has z = 0 if it is the truth, else infinity.
    """
    mean, root = samples.mean(axis=0), np.sqrt(len(samples) - 1)
    rounding = 1e-12 * np.abs(samples).max(axis=0)
    constant = np.ptp(samples, axis=0) <= rounding
    spread = np.where(constant, 1.0, samples.std(axis=0))
    exact = np.where(np.abs(mean - truth) <= rounding, 0.0, np.inf)
    z = np.where(constant, exact, (mean - truth) * root / spread)
    skewness = (((samples - mean) / spread) ** 3).mean(axis=0)
    return z, np.where(constant, 0.0, spread / root), np.where(constant, 0.0, skewness)


def log_slope(steps: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Return the least-squares slope of log error on log step, and the largest residual."""
    x, y = np.log(steps), np.log(errors)
    slope, offset = np.polyfit(x, y, 1)
    return float(slope), float(np.abs(y - slope * x - offset).max())


@dataclass(frozen=True)
class Evidence:
    """The label of a theorem and what its checks have in common; all errors begin with it."""

    label: str
    kind: str | None = None
    about: str = ""
    of: str = ""

    def _fail(self, sentence: str) -> NoReturn:
        raise ClaimFailed(f"{self.label}: {sentence}")

    def _how(self, how: str | None, allowed: Sequence[str]) -> str:
        chosen = how or self.kind or allowed[0]
        if chosen not in allowed:
            raise ValueError(f"{self.label}: how={chosen!r} is unknown here (known: {allowed})")
        return chosen

    def _numbers(self, values: Any, what: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return `values` in float64; refuse what is not finite, real, or of that `shape`."""
        if "float16" in str(getattr(values, "dtype", "")):
            self._fail(f"{what} is in half precision: compute it in float32 or float64")
        numbers = array(values)
        if numbers.dtype.kind not in "iuf" or numbers.size == 0:
            self._fail(
                f"{what} must be real numbers, not {numbers.dtype} of shape {numbers.shape}"
            )
        if shape is not None and numbers.shape != shape:
            self._fail(f"{what} has shape {numbers.shape}, not {shape}: nothing broadcasts here")
        if not np.isfinite(numbers).all():
            self._fail(f"{what} holds NaN or infinity: it must be numbers, even if wrong ones")
        exact = numbers.dtype.kind == "f" or np.abs(numbers.astype(float)).max() < EXACT_UP_TO
        if not exact:
            self._fail(f"{what} holds integers from 2^53 on, which float64 rounds")
        return numbers.astype(np.float64, copy=False)

    def _booleans(
        self, values: Any, what: str, shape: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """Return `values`, which must be booleans (NaN is true), at least one, of that `shape`."""
        flags = array(values)
        if flags.dtype != bool or flags.size == 0:
            self._fail(f"{what} must be booleans, not {flags.dtype} of shape {flags.shape}")
        if shape is not None and flags.shape != shape:
            self._fail(f"{what} has shape {flags.shape}, not {shape}: nothing broadcasts here")
        return flags

    def _mask(self, values: Any, what: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a mask that marks some entries, or marks none if `values` is None."""
        if values is None:
            return np.zeros(shape, bool)
        marked = self._booleans(values, what, shape)
        if not marked.any():
            self._fail(f"{what} marks no entry, so it says nothing")
        return marked

    def _versions(self, wrong: Mapping[str, Any]) -> dict[str, Any]:
        """Return the wrong versions if there are two or more, all with names of their own."""
        if not isinstance(wrong, Mapping) or len(wrong) < 2:
            self._fail("at least two wrong versions are needed, as wrong={name: version, ...}")
        names = [name.strip() if isinstance(name, str) else "" for name in wrong]
        if not all(names) or len(set(names)) < len(names):
            self._fail(f"each wrong version needs a name of its own, not {list(wrong)}")
        return dict(wrong)

    def _wrong(
        self, wrong: Mapping[str, Any], shape: tuple[int, ...] | None = None, pairs: bool = False
    ) -> dict[str, np.ndarray]:
        """Return the numbers of each wrong version; no two may be the same. A pair is stacked."""
        found = {}
        for name, version in self._versions(wrong).items():
            what = f"wrong version {name!r}"
            if pairs and not (isinstance(version, tuple) and len(version) == 2):
                self._fail(f"{what} must be a pair (smaller, larger)")
            sides = [
                self._numbers(side, what, shape) for side in (version if pairs else [version])
            ]
            found[name] = np.stack(sides) if pairs else sides[0]
        for (a, first), (b, second) in combinations(found.items(), 2):
            if np.array_equal(first, second):
                self._fail(f"wrong versions {a!r} and {b!r} are the same numbers: name another")
        return found

    def _allowed(
        self,
        sides: Sequence[Values],
        size: np.ndarray,
        atol: float | None,
        rtol: float | None,
    ) -> np.ndarray:
        """Return the tolerance of each entry, by default from the least precise of the sides."""
        for name, tolerance, limit in (("atol", atol, np.inf), ("rtol", rtol, 1)):
            if tolerance is not None and not 0 <= tolerance < limit:
                raise ValueError(f"{self.label}: {name} {tolerance} is not in [0, {limit})")
        if rtol is None:
            kinds = [str(array(side).dtype) for side in sides]
            rtol = max(1e-4 if k == "float32" else 1e-9 if "float" in k else 0.0 for k in kinds)
        if atol is None:
            if not size.any():
                self._fail("all is zero, so nothing says what a small error is: state atol")
            atol = rtol * float(np.median(size[size > 0]))
        return atol + rtol * size

    def _instances(self, how: str, *sides: np.ndarray) -> tuple[int, str]:
        """Count instances: entries if they are all there are, else rows, 8 of them distinct."""
        if how in ALL_THERE_ARE:
            return sides[0].size, ""
        n = len(sides[0]) if sides[0].ndim else 1
        rows = np.concatenate([side.reshape(n, -1) for side in sides], axis=1)
        distinct = len({row.tobytes() for row in rows})
        if distinct < FEWEST:
            self._fail(f"too few instances: {distinct} distinct along dim 0, not {FEWEST} or more")
        return n, f"{sides[0].size:,} numbers" * (sides[0].size != n)

    def _pass(
        self,
        claim: str,
        kind: str,
        counted: tuple[int, str],
        measure: str,
        worst: Miss,
        misses: dict[str, Miss],
        times: int = 1,
    ) -> Verdict:
        """Record the verdict, unless a wrong version is not rejected."""
        for name, miss in misses.items():
            if not miss.error > times * miss.allowed:
                beyond = f"{times} times what is allowed" if times > 1 else "what is allowed"
                self._fail(
                    f"wrong version {name!r} is not rejected: {measure} {miss}, not beyond "
                    f"{beyond}, so it agrees or the check is too loose: a check that cannot fail"
                )
        found = claim, kind, *counted, measure, worst, misses
        return record(Verdict(self.label, *found, self.about, self.of))
