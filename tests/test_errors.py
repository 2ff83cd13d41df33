"""Bad input to a public function is one line with the value and what is allowed."""

from functools import partial
from math import nan

import pytest
import torch
from torch import Tensor, nn
from toys import denoiser, denoising, mlp

from companion.data import load, unit
from companion.experiments import (
    autoencoder,
    beta_vae,
    classifier,
    extractor_of,
    gan,
    vae,
)
from companion.maths import cosine, log_mean_exp
from companion.metrics import (
    accuracy,
    active_units,
    elbo_terms,
    fgsm,
    frechet_distance,
    importance_weighted_nll,
    linear_probe,
    mean_of,
    robust_accuracy,
)
from companion.models.likelihoods import likelihood
from companion.models.vae import VAE
from companion.nets import image_decoder, image_encoder
from companion.objectives import joint, negative_elbo
from companion.recipes import Player, Recipe
from companion.train import train
from companion.words import nearest
from companion.worlds.gaussians import eight_gaussians

MODEL = VAE(image_encoder(6, size=12, width=4), image_decoder(3, 1, 12, 4), 3)
X, Y = torch.rand(4, 1, 12, 12), torch.tensor([0, 1, 2, 1])
CODES = (torch.rand(4, 3), Y)
PLAYER = Player(mlp(2, 2), denoising)


def classify(x: Tensor) -> Tensor:
    """Three numbers of each image."""
    return x.flatten(1)[:, :3]


recipe = partial(Recipe, MODEL, {"one": PLAYER}, partial(eight_gaussians, 9))

WRONG = {
    "nothing to average": (lambda: log_mean_exp(torch.rand(2, 0), 1), "got shape (2, 0)"),
    "no horizon": (lambda: cosine(0), "horizon must be above 0 epochs, got 0"),
    "a negative warmup": (
        lambda: cosine(9, warmup=-1),
        "needs warmup and hold >= 0 and floor in [0, 1]",
    ),
    "a floor above 1": (lambda: cosine(9, floor=2), "got 0.0, 0.0 and 2"),
    "unknown data": (lambda: load("minst"), "'minst' (did you mean 'mnist'? known:"),
    "an unknown split": (lambda: load("mnist", "oficial"), "(did you mean 'official'?"),
    "floats for bytes": (lambda: unit(X), "takes uint8 pixels in 0..255, got torch.float32"),
    "no points": (lambda: eight_gaussians(0), "at least one point, got n=0"),
    "no width": (lambda: eight_gaussians(9, std=0), "std > 0, got radius=2.0 and std=0"),
    "a tiny image": (lambda: image_encoder(3, size=4), "size must be at least 5"),
    "a tiny picture": (lambda: image_decoder(3, size=2), "got 2 and 32"),
    "half a pixel": (lambda: image_encoder(3, size=28.5), "got 28.5 and 32"),
    "no channels": (lambda: image_encoder(3, width=0), "width at least 1, got 28 and 0"),
    "no code": (lambda: VAE(MODEL, MODEL, 0), "at least 1 dimension, a whole number, got 0"),
    "half a code": (lambda: VAE(MODEL, MODEL, 2.5), "a whole number, got 2.5"),
    "another code": (lambda: MODEL.decode(torch.rand(1, 4)), "must have 3 dimensions, got 4"),
    "no samples": (lambda: MODEL.sample(0), "n must be at least 1 image, got 0"),
    "no head": (lambda: MODEL.classify(X), "no classifier head"),
    "a likelihood": (lambda: likelihood("bernouli"), "(did you mean 'bernoulli'? known: bern"),
    "a negative beta": (lambda: negative_elbo(MODEL, (X,), 0, -1), "0 or above, got -1"),
    "a headless joint": (lambda: joint(MODEL, (X, Y), 0, 1.0), "no classifier head"),
    "one observation": (lambda: mean_of(torch.rand(1)), "two or more observations (N,), got"),
    "a table": (lambda: mean_of(torch.rand(3, 2)), "got shape (3, 2)"),
    "labels missing": (lambda: accuracy(classify, X, Y[:3]), "(4, 1, 12, 12) and (3,)"),
    "labels missing, moved": (lambda: robust_accuracy(classify, X, Y[:3], 0.1), "and (3,)"),
    "labels missing, FGSM": (lambda: fgsm(classify, X, Y[:3], 0.1), "and (3,)"),
    "backwards": (lambda: fgsm(classify, X, Y, -0.1), "epsilon must be 0 or above, got -0.1"),
    "pixels to 255": (lambda: fgsm(classify, X + 254, Y, 0.1), "in [0, 1], got torch.float32 up"),
    "bytes": (lambda: fgsm(classify, X.byte(), Y, 0.1), "in [0, 1], got torch.uint8 up to 0"),
    "no draws": (lambda: importance_weighted_nll(MODEL, X, 0), "at least 1 draw an image, got 0"),
    "one image": (lambda: elbo_terms(MODEL, X[:1]), "two or more observations (N,), got shape"),
    "codes in a row": (lambda: active_units(torch.rand(5)), "needs codes (N, K) with N at least"),
    "fewer labels": (lambda: linear_probe((CODES[0], Y[:2]), CODES), "got (4, 3) and (2,)"),
    "other codes": (lambda: linear_probe(CODES, (torch.rand(4, 2), Y)), "got (4, 2) and (4,)"),
    "other features": (lambda: frechet_distance(CODES[0], X.flatten(1)), "(4, 3) and (4, 144)"),
    "one feature": (lambda: frechet_distance(CODES[0], CODES[0][:1]), "(4, 3) and (1, 3)"),
    "no extractor": (lambda: extractor_of("mnst"), "'mnst' (did you mean 'mnist'? known: fash"),
    "no form": (lambda: eight_gaussians(9).seen_as("unit"), "no form 'unit' (known: stored)"),
    "no part": (lambda: eight_gaussians(9).examples("tests"), "'tests' (did you mean 'test'?"),
    "saved nowhere": (lambda: recipe(saved="decodr"), "(encoder, decoder), got 'decodr'"),
    "no updates": (lambda: Player(MODEL, denoising, updates=0), "at least 1, got 0"),
    "nothing to move": (lambda: Player(nn.ReLU(), denoising), "some parameters, got ReLU()"),
    "no players": (lambda: Recipe(MODEL, {}, denoiser), "at least one player"),
    "no batch": (lambda: recipe(batch_size=0), "batch_size must be at least 1, got 0"),
    "a decay of 1": (lambda: recipe(ema=1.0), "ema must be a decay in [0, 1), got 1.0"),
    "no gradient": (lambda: recipe(clip=0.0), "norm above 0, got 0.0"),
    "a precision": (lambda: recipe(precision="fp16"), "auto, no or bf16, got 'fp16'"),
    "never watched": (lambda: recipe(watch_every=0), "at least 1 epoch, got 0"),
    "negative epochs": (lambda: train(denoiser, -1), "epochs must be a whole number, 0 or above"),
    "half an epoch": (lambda: train(denoiser, 1.5), "0 or above, got 1.5"),
    "true epochs": (lambda: train(denoiser, True), "0 or above, got True"),
    "a negative seed": (lambda: train(denoiser, 1, -1), "seed must be a whole number, 0 or"),
    "a large subset": (lambda: train(denoiser, 1, subset=257), "at most the 256 training exam"),
    "a name": (lambda: train("vae", 1), "a function that returns a Recipe, got 'vae'"),
    "no recipe": (lambda: train(lambda: 3, 1), "must return a Recipe, got 3"),
    "a choice": (lambda: train(denoiser, 1, em=0.9), "no choice 'em' (did you mean 'ema'?"),
    "a word": (lambda: train(denoiser, 1, ema="much"), "must be float, as 0.0 is, got 'much'"),
    "a latent": (lambda: vae(latent=0), "latent must be at least 1 dimension, got 0"),
    "a latent below": (lambda: autoencoder(latent=-3), "at least 1 dimension, got -3"),
    "a beta": (lambda: vae(beta=-0.5), "0 or above, got beta=-0.5, head=0.0"),
    "a head": (lambda: vae(head=-1.0), "0 or above, got beta=1.0, head=-1.0"),
    "no number": (lambda: vae(beta=nan), "0 or above, got beta=nan, head=0.0"),
    "no weight": (lambda: vae(head=nan), "0 or above, got beta=1.0, head=nan"),
    "no rate": (lambda: gan(rate=nan), "learning rates must be above 0, got nan and"),
    "no penalty": (lambda: gan(r1=nan), "r1 0 or above, got smoothing=0.0 and r1=nan"),
    "no share": (lambda: beta_vae(beta=nan), "beta must be 0 or above, got nan"),
    "a horizon": (lambda: classifier(horizon=-1), "horizon must be above 0 epochs, got -1"),
}


@pytest.mark.parametrize(("call", "sentence"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_line_with_the_value(call, sentence, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert not list(tmp_path.iterdir())


def test_a_long_list_of_known_names_is_cut() -> None:
    tail = nearest("node 99x", [f"node {i}" for i in range(1000)])
    assert "did you mean 'node 99'" in tail and tail.endswith("and 960 more)")
    assert len(tail) < 500
