"""A training step under a VampPrior, and the density of its mixture, beside pythae's.

python tests/bench/priors.py    write the section of `book/benchmarks.md`

pythae 0.1.2 gets the same networks, batch and number of pseudo-inputs, and Adam.
"""

from typing import Any

import torch
from page import put
from torch import Tensor, nn
from turns import away, duel, module, step_of

from companion.models.priors import GaussianMixture, LearnedPriorVAE, VampPrior, equal_weights
from companion.nets.dense import DenseDecoder, dense

TITLE = "## Learned priors"
LATENT, HIDDEN, BATCH = 40, 300, 200
COMPONENTS = (200, 500)


def networks() -> tuple[nn.Module, nn.Module]:
    """The dense networks of the chapter."""
    layers = dense(784, HIDDEN, HIDDEN), nn.Linear(HIDDEN, 2 * LATENT)
    return nn.Sequential(nn.Flatten(), *layers), DenseDecoder(LATENT, [HIDDEN, HIDDEN])


def ours(components: int) -> LearnedPriorVAE:
    """The book's model."""
    return LearnedPriorVAE(*networks(), LATENT, VampPrior(components))


def theirs(components: int) -> Any:
    """pythae's model with the same networks."""
    base, models = module("pythae.models.nn"), module("pythae.models")
    output = module("pythae.models.base.base_utils").ModelOutput

    class Encoder(base.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = networks()[0]

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.net(x).chunk(2, -1)
            return output(embedding=mean, log_covariance=log_variance)

    class Decoder(base.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = networks()[1]

        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=self.net(z).sigmoid())

    config = models.VAMPConfig(
        input_dim=(1, 28, 28), latent_dim=LATENT, number_components=components,
        reconstruction_loss="bce", linear_scheduling_steps=0,
    )  # fmt: skip
    return models.VAMP(config, Encoder(), Decoder())


def densities(components: int) -> tuple[Any, Any]:
    """Log-density of a batch of codes under one mixture: ours, and pythae's way."""
    mean, log_variance = torch.randn(2, components, LATENT)
    mixture, z = (
        GaussianMixture(mean, log_variance, equal_weights(mean)),
        torch.randn(BATCH, LATENT),
    )

    def wide() -> Tensor:
        away_from = (z[:, None] - mean).square() / log_variance.exp()
        return (-0.5 * (log_variance + away_from).sum(2)).logsumexp(1)

    return lambda: mixture.log_prob(z), wide


def main() -> None:
    """Measure, print, and write the section."""
    missing = away("pythae")
    lines = [
        TITLE, "",
        f"A VAE of 28 × 28 images, two hidden layers of {HIDDEN} units each way, {LATENT} "
        f"latents, {BATCH} images, one step of training with Adam; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}. Aim: 1.5 times pythae "
        "0.1.2. Ours encodes the pseudo-inputs once, as pythae does, and takes densities by two "
        "products of matrices, where pythae builds an array of images × components × latents."
        + (" pythae was not installed." if missing else ""),
        "", "| what | components | ours, ms | rival, ms | ratio |",
        "| :-- | --: | --: | --: | --: |",
    ]  # fmt: skip
    x = (torch.rand(BATCH, 1, 28, 28) < 0.2).float()
    for k in COMPONENTS:
        found = {"density of codes": duel(*densities(k), 15, least=0.05)}
        if not missing:
            mine, other = ours(k), theirs(k)
            sides = (
                step_of(mine, lambda m=mine: loss_of(m, x), lr=1e-3),
                step_of(other, lambda m=other: m({"data": x}).loss, lr=1e-3),
            )
            found["step of training"] = duel(*sides, 15)
        for what, (fast, slow, ratio) in found.items():
            row = f"| {what} | {k} | {1e3 * fast:.1f} | {1e3 * slow:.1f} | {ratio:.2f} |"
            lines.append(row)
            print(row, flush=True)
    put("\n".join(lines) + "\n", TITLE)


def loss_of(model: LearnedPriorVAE, x: Tensor) -> Tensor:
    """Mean of the sum of the model's terms."""
    return torch.stack([*model.terms(x).values()]).sum(0).mean()


if __name__ == "__main__":
    main()
