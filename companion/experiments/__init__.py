"""Experiments: plain values -> Recipe. The only place where data, model and objective meet."""

from collections.abc import Callable
from typing import Any

from companion.experiments.adversarial import gan, wgan
from companion.experiments.autoregressive import image_gpt, made, pixel_cnn
from companion.experiments.diffusion import ddpm
from companion.experiments.digits import digit_network
from companion.experiments.energy import energy_model, point_energy
from companion.experiments.faces import (
    face_reader,
    face_vae,
    four_layer_face_vae,
    two_layer_face_vae,
)
from companion.experiments.flows import face_glow, glow, halves_image_flow, point_flow, realnvp
from companion.experiments.hierarchy import binary_vae, layered_vae
from companion.experiments.images import autoencoder, classifier, extractor, extractor_of, vae
from companion.experiments.joint import jem, joint_classifier
from companion.experiments.priors import layered_prior, learned_prior, sc_vae
from companion.experiments.quantized import (
    cluster_classifier,
    code_prior,
    discrete_vae,
    flat_vae,
    fsq_vae,
    vq_vae,
)
from companion.experiments.residual import continuous_points, residual_digits, residual_points
from companion.experiments.sequences import copying, digit_sequence, induction_heads
from companion.experiments.sprites import beta_tcvae, beta_vae
from companion.recipes import Recipe
from companion.runs import Run, find
from companion.runs.states import unmeasured
from companion.train import compare, measure, recall
from companion.words import nearest

KNOWN = (
    autoencoder, vae, classifier, extractor, beta_vae, beta_tcvae, two_layer_face_vae,
    four_layer_face_vae, face_vae, face_reader, gan, wgan, ddpm, digit_network,
    made, pixel_cnn, image_gpt, point_flow, halves_image_flow, realnvp,
    glow, face_glow, residual_points, continuous_points, residual_digits, energy_model,
    point_energy, joint_classifier, jem, copying, induction_heads, digit_sequence,
    binary_vae, layered_vae, layered_prior, learned_prior, sc_vae,
    vq_vae, discrete_vae, fsq_vae, flat_vae, code_prior, cluster_classifier,
)  # fmt: skip
EXPERIMENTS = {experiment.__name__: experiment for experiment in KNOWN}


def recall_by_name(name: str, weights: str = "") -> Run:
    """Find a finished run, here or published, and recall its model and those that it stands on.

    weights: the hash that its weights must have. Raises RunError, with the nearest name, if there
    is none, ValueError if no experiment of its kind is known any more.
    """
    run = find(name, weights)
    experiment, choices = asked_of(name, run.config)
    recipe = experiment(**choices)
    return recall(compare(run, recipe), recipe.model)


def asked_of(name: str, question: dict[str, Any]) -> tuple[Callable[..., Recipe], dict[str, Any]]:
    """The experiment of a run and its choices, the runs among them recalled.

    Raises ValueError if it is not known any more.
    """
    kind, choices = question["experiment"], dict(question["choices"])
    if kind not in EXPERIMENTS:
        hint = nearest(kind, EXPERIMENTS)
        raise ValueError(f"{name} is of the experiment {kind!r}, which is not known {hint}")
    for key, value in choices.items():
        if isinstance(value, dict):
            choices[key] = recall_by_name(value["run"], value["weights"])
        elif isinstance(value, list):  # as JSON keeps a tuple: another value, another name
            choices[key] = tuple(value)
    return EXPERIMENTS[kind], choices


def measure_by_name(name: str) -> Run:
    """Measure a run of this machine that is trained, but not measured, and complete it.

    Raises RunError if there is none, ValueError if its experiment is not known any more.
    """
    experiment, choices = asked_of(name, unmeasured(name)[0])
    return measure(experiment, name, choices)


__all__ = [
    "EXPERIMENTS",
    "autoencoder",
    "beta_tcvae",
    "beta_vae",
    "binary_vae",
    "classifier",
    "cluster_classifier",
    "code_prior",
    "continuous_points",
    "copying",
    "ddpm",
    "digit_network",
    "digit_sequence",
    "discrete_vae",
    "energy_model",
    "extractor",
    "extractor_of",
    "face_glow",
    "face_reader",
    "face_vae",
    "flat_vae",
    "four_layer_face_vae",
    "fsq_vae",
    "gan",
    "glow",
    "halves_image_flow",
    "image_gpt",
    "induction_heads",
    "jem",
    "joint_classifier",
    "layered_prior",
    "layered_vae",
    "learned_prior",
    "made",
    "measure_by_name",
    "pixel_cnn",
    "point_energy",
    "point_flow",
    "realnvp",
    "recall_by_name",
    "residual_digits",
    "residual_points",
    "sc_vae",
    "two_layer_face_vae",
    "vae",
    "vq_vae",
    "wgan",
]  # fmt: skip
