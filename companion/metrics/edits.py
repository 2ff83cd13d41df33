"""Directions of a code that move one attribute, and what an edit along them really changes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of


def centred(codes: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, K) and attributes (N, A) in double precision, less their means.

    Raises ValueError if the shapes do not fit or an attribute never varies.
    """
    if codes.ndim != 2 or attributes.ndim != 2 or len(codes) != len(attributes):
        got = f"{tuple(codes.shape)} and {tuple(attributes.shape)}"
        raise ValueError(f"needs codes (N, K) and attributes (N, A), got {got}")
    z, a = (t.double() - t.double().mean(0) for t in (codes, attributes))
    constant = (a.abs().amax(0) == 0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"attributes must vary over the faces, but columns {constant} do not")
    return z, a


def solved(normal: Tensor, right: Tensor, what: str) -> Tensor:
    """Solve `normal` (A, A) x = `right`. Raises ValueError if it is singular to rounding."""
    scale = normal.diagonal().clamp_min(1e-300).rsqrt()
    standard = scale[:, None] * normal * scale
    if torch.linalg.cond(standard) > 1e10:
        raise ValueError(f"{what} are linearly dependent: no direction moves one of them alone")
    return torch.linalg.solve(normal, right)


def lone_directions(codes: Tensor, attributes: Tensor) -> Tensor:
    """Slope of the codes on each attribute alone: (N, K) and (N, A) -> (A, K).

    For a binary attribute: the difference of the two classes' mean codes (Radford et al. 2016,
    Larsen et al. 2016). It leaks where attributes are correlated.
    """
    z, a = centred(codes, attributes)
    return (a.T @ z) / a.square().sum(0)[:, None]


def joint_directions(codes: Tensor, attributes: Tensor) -> Tensor:
    """Slopes of the codes on all attributes together, by least squares: (N, K), (N, A) -> (A, K).

    Row a: what one unit of attribute a adds to a code while all other attributes stay. Raises
    ValueError if the attributes are linearly dependent.
    """
    z, a = centred(codes, attributes)
    return solved(a.T @ a, a.T @ z, "the attributes of these faces")


def linear_readers(codes: Tensor, attributes: Tensor) -> Tensor:
    """Slopes of the attributes on the codes, by least squares: (N, K), (N, A) -> (A, K).

    Row a reads attribute a off a code, up to a constant. Where codes are dependent, the shortest.
    """
    z, a = centred(codes, attributes)
    return (torch.linalg.pinv(z) @ a).T


def pure_directions(readers: Tensor, spread: Tensor) -> Tensor:
    """Shortest directions that move one linear reading by 1 and no other: (A, K) -> (A, K).

    readers: rows w_a; spread: S (K, K), positive semi-definite, for the length d S^-1 d: the
    codes' covariance, or the identity. S W' (W S W')^-1, transposed. Raises ValueError if the
    readers are linearly dependent under S.
    """
    w, s = readers.double(), spread.double()
    if w.ndim != 2 or s.shape != (w.shape[1],) * 2:
        got = f"{tuple(w.shape)} and {tuple(s.shape)}"
        raise ValueError(f"needs readers (A, K) and a spread (K, K), got {got}")
    return solved(w @ s @ w.T, w @ s, "the readers")


@dataclass(frozen=True)
class Edit:
    """What edits of N faces did, as a reader of attributes sees it.

    success: share of faces on which more than half of the change asked for is read; gain: change
    read per change asked for; leakage: root mean square change of all other attributes, in their
    standard deviations; shift and error (A,): mean change of each attribute in its standard
    deviations where the edited one is raised (an edit that lowers it counts backwards), with its
    standard error.
    """

    success: Estimate
    gain: Estimate
    leakage: Estimate
    shift: Tensor
    error: Tensor


def measure_edit(
    before: Tensor, after: Tensor, target: int, asked: Tensor, spread: Tensor
) -> Edit:
    """Compare readings (N, A) before and after edits of attribute `target`.

    asked: the changes (N,) that were asked for; spread: standard deviations of all attributes
    (A,). Raises ValueError for other shapes, or an edit that asks for no change.
    """
    n, width = before.shape
    shapes = [tuple(t.shape) for t in (after, asked, spread)]
    if shapes != [(n, width), (n,), (width,)] or not 0 <= target < width or width < 2:
        got = f"{tuple(before.shape)}, {shapes} and {target}"
        raise ValueError(f"needs readings (N, A) twice, changes (N,) and (A,), got {got}")
    if (asked == 0).any():
        raise ValueError("an edit must ask for a change: some of the changes asked for are 0")
    change = (after - before).double() / spread
    gain = (after - before)[:, target] / asked
    others = torch.arange(width) != target
    upwards = change * asked.sign()[:, None]
    return Edit(
        mean_of((gain > 0.5).double(), "share"),
        mean_of(gain, "per unit asked"),
        mean_of(change[:, others].square().mean(1).sqrt(), "standard deviations"),
        upwards.mean(0),
        upwards.std(0) / n**0.5,
    )


def recognised(readings: Tensor, gallery: Tensor, target: int, spread: Tensor) -> Estimate:
    """Share of edited faces whose nearest face in the gallery is their own.

    readings, gallery: (N, A), row i of both is one face; compared without attribute `target`, in
    standard deviations (A,).
    """
    if readings.shape != gallery.shape or readings.ndim != 2 or len(readings) < 2:
        got = f"{tuple(readings.shape)} and {tuple(gallery.shape)}"
        raise ValueError(f"needs readings (N, A) of two or more faces, twice, got {got}")
    others = torch.arange(gallery.shape[1]) != target
    x, y = ((t.double() / spread)[:, others] for t in (readings, gallery))
    own = torch.cdist(x, y).argmin(1) == torch.arange(len(x))
    return mean_of(own.double(), "share")
