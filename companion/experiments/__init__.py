"""Experiments: plain values -> Recipe. The only place where data, model and objective meet."""

from companion.experiments.adversarial import gan, wgan
from companion.experiments.diffusion import ddpm
from companion.experiments.digits import digit_network
from companion.experiments.faces import (
    face_reader,
    face_vae,
    four_layer_face_vae,
    two_layer_face_vae,
)
from companion.experiments.images import autoencoder, classifier, extractor, extractor_of, vae
from companion.experiments.sprites import beta_tcvae, beta_vae
from companion.runs import Run, find
from companion.train import compare, recall
from companion.words import nearest

KNOWN = (
    autoencoder, vae, classifier, extractor, beta_vae, beta_tcvae, two_layer_face_vae,
    four_layer_face_vae, face_vae, face_reader, gan, wgan, ddpm, digit_network,
)  # fmt: skip
EXPERIMENTS = {experiment.__name__: experiment for experiment in KNOWN}


def recall_by_name(name: str, weights: str = "") -> Run:
    """Find a finished run, here or published, and recall its model and those that it stands on.

    weights: the hash that its weights must have. Raises RunError, with the nearest name, if there
    is none, ValueError if no experiment of its kind is known any more.
    """
    run = find(name, weights)
    kind, choices = run.config["experiment"], dict(run.config["choices"])
    if kind not in EXPERIMENTS:
        hint = nearest(kind, EXPERIMENTS)
        raise ValueError(f"{name} is of the experiment {kind!r}, which is not known {hint}")
    for key, value in choices.items():
        if isinstance(value, dict):
            choices[key] = recall_by_name(value["run"], value["weights"])
    recipe = EXPERIMENTS[kind](**choices)
    return recall(compare(run, recipe), recipe.model)


__all__ = [
    "EXPERIMENTS",
    "autoencoder",
    "beta_tcvae",
    "beta_vae",
    "classifier",
    "ddpm",
    "digit_network",
    "extractor",
    "extractor_of",
    "face_reader",
    "face_vae",
    "four_layer_face_vae",
    "gan",
    "recall_by_name",
    "two_layer_face_vae",
    "vae",
    "wgan",
]  # fmt: skip
