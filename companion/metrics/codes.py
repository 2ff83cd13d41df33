"""What a code knows: active dimensions, and classes that a straight cut can tell apart."""

import torch
from torch import Tensor, nn

from companion.estimate import Estimate, mean_of


@torch.no_grad()
def codes(model: nn.Module, x: Tensor, batch: int = 500) -> Tensor:
    """Codes of many images: (N, C, H, W) in [0, 1] -> (N, K), on the CPU."""
    return torch.cat([model.code(part).cpu() for part in x.split(batch)])  # type: ignore[operator]


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    """Count latent dimensions whose posterior mean varies over the data: (N, K) -> int.

    Variance above `threshold`, as in Burda et al. 2016, section 5.2.
    """
    if means.ndim != 2 or len(means) < 2:
        raise ValueError(f"needs codes (N, K) with N at least 2, got {tuple(means.shape)}")
    return int((means.var(0) > threshold).sum())


def linear_probe(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[nn.Linear, Estimate]:
    """Fit logistic regression on codes (N, K) and labels (N,); return it and its test accuracy.

    The regression (scikit-learn, no penalty to speak of) sees standardised codes; the layer that
    is returned takes them as they are, and has one output for each label up to the largest.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    for z, y in (train, test):
        if z.ndim != 2 or y.shape != z.shape[:1] or z.shape[1] != train[0].shape[1]:
            got = f"{tuple(z.shape)} and {tuple(y.shape)}"
            raise ValueError(f"needs codes (N, K) and labels (N,), one K for both sets, got {got}")
    codes, labels = train[0].double(), train[1]
    mean, scale = codes.mean(0), codes.std(0).clamp_min(1e-6)  # a dead dimension has scale 0
    fit = LogisticRegression(C=10.0, max_iter=300, tol=1e-3)
    fit.fit(((codes - mean) / scale).numpy(), labels.cpu().numpy())
    weight, bias = torch.from_numpy(fit.coef_) / scale, torch.from_numpy(fit.intercept_)
    bias = bias - weight @ mean
    if len(weight) == 1:  # of two classes scikit-learn gives only the second one's
        weight, bias = torch.cat([0 * weight, weight]), torch.cat([0 * bias, bias])
    seen = torch.from_numpy(fit.classes_)
    layer = nn.Linear(weight.shape[1], int(seen.max()) + 1)
    with torch.no_grad():
        layer.weight.zero_()[seen] = weight.float()
        layer.bias.fill_(-1e6)[seen] = bias.float()  # a label that was never seen is never said
        right = (layer(test[0]).argmax(1) == test[1].cpu()).double()
    return layer, mean_of(right, "accuracy")
