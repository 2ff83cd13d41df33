"""A reader finds the field's terms, in either spelling, and sees the passage that was found."""

from pathlib import Path
from typing import Any

import pytest
import terms
from book_search import american, readable
from test_book import PLAN

pytest.importorskip("playwright")
from test_browser import visit  # noqa: F401

pytestmark = pytest.mark.browser
# Where each term leads: the chapter, or chapters of which one must come first. A slash parts
# spellings and names of one thing.
WANTED = {
    "graphs/probability": """change of variables/Jacobian determinant, conditional independence,
        semi-graphoid axioms/graphoid, Riemann zeta function/zeta distribution, free parameters""",
    "graphs/bayes_nets": """Bayesian network/Bayesian networks/bayes net/belief network,
        d-separation/d separation/Bayes ball, v-structure, explaining away, Markov equivalence,
        variable elimination, ancestral sampling, intervention/do-operator, Markov blanket,
        directed acyclic graph/DAG, Simpson's paradox""",
    "graphs/markov_nets": """Markov random field/Markov network/MRF/undirected graphical model,
        Hammersley-Clifford theorem, junction tree/clique tree, Gibbs sampling/MCMC,
        moralisation/moralization/moral graph, chordal graph, perfect map, mixing time,
        partition function/normalizing constant""",
    "graphs/variational_inference": """variational inference, mean field/mean-field approximation,
        KL divergence/Kullback-Leibler divergence, exponential family, Ising model, CAVI,
        EM algorithm/expectation-maximization/expectation maximisation, Gaussian mixture,
        REINFORCE/score-function gradient, control variate""",
    "likelihood/digit_networks": """raster order, logistic regression/linear-sigmoid CPD,
        causal neighbourhood/causal neighborhood, separable data/linearly separable""",
    "likelihood/image_gpt": """Image GPT, PixelCNN, MADE, blind spot, arithmetic coding,
        early stopping, KV cache""",
    "likelihood/state_spaces": """state space model/SSM/S4/Mamba, selective scan/parallel scan,
        HiPPO, zero-order hold, selective copying, induction head""",
    "latent/elbo": """ELBO/evidence lower bound/variational bound, importance sampling,
        IWAE/importance-weighted autoencoder, amortized inference/amortised inference,
        probabilistic PCA, marginal likelihood, latent variable""",
    "latent/elbo latent/vae": """reparameterization trick/reparameterisation trick/
        reparametrization trick""",
    "latent/vae": """VAE/variational autoencoder/variational autoencoders, autoencoder,
        posterior collapse, FGSM/adversarial example, continuous Bernoulli, latent traversal""",
    "latent/beta_vae": """beta-VAE/β-VAE/beta VAE, disentanglement/disentangled representation,
        mutual information gap/MIG, total correlation, identifiability, dSprites,
        mutual information""",
    "latent/priors": """VampPrior/variational mixture of posteriors, pseudo-input,
        sparse coding/sparse code/lasso, ISTA/iterative soft thresholding, FISTA,
        LISTA/learned ISTA, SC-VAE, soft threshold/proximal operator""",
    "latent/faces": "attribute vector/attribute vectors, PSNR, SSIM",
    "latent/hierarchy": """hierarchical VAE/HVAE/two-layer VAE,
        ladder VAE/ladder variational autoencoder,
        KL annealing/KL warm-up, free bits, delta-VAE, reverse water-filling""",
    "flows/realnvp": """normalising flow/normalizing flow/RealNVP/real NVP/flow-based model,
        coupling layer/affine coupling, dequantisation/dequantization,
        checkerboard mask/multi-scale architecture""",
    "flows/glow": """Glow, 1 × 1 convolution/1x1 convolution/invertible 1x1 convolution,
        actnorm/activation normalisation/activation normalization, fusion of faces""",
    "flows/residual_flows": """residual flow/residual flows/i-ResNet/invertible residual network,
        Hutchinson/Hutchinson's estimator, Russian roulette, Neumann series,
        continuous flow/continuous normalising flow/continuous normalizing flow/FFJORD""",
    "adversarial/gan_theory adversarial/gan": "GAN/GANs/generative adversarial network, generator",
    "adversarial/gan_theory": """f-divergence/f-GAN, Jensen-Shannon divergence,
        optimal discriminator, vanishing gradient, non-saturating loss, Dirac-GAN,
        regularization/regularisation""",
    "adversarial/gan": """mode collapse, DCGAN, FID/Fréchet inception distance/Fréchet distance,
        batch normalization/batch normalisation""",
    "adversarial/wgan": """WGAN/Wasserstein GAN, Wasserstein/Wasserstein distance/
        earth mover's distance/optimal transport, gradient penalty/WGAN-GP, weight clipping,
        spectral normalization/spectral normalisation, Lipschitz constant,
        Kantorovich-Rubinstein""",
    "energy/energy": """energy-based model/energy-based models/EBM, contrastive divergence,
        restricted Boltzmann machine/RBM, replay buffer, MALA/Metropolis-adjusted Langevin,
        noise-contrastive estimation/noise contrastive estimation/NCE,
        annealed importance sampling/AIS""",
    "energy/jem": """JEM/joint energy-based model/JEM++, calibration/calibration error/ECE,
        reliability diagram""",
    "diffusion/score_matching": """score matching, denoising score matching, score function,
        sliced score matching, Langevin dynamics, annealed Langevin dynamics, Tweedie's formula""",
    "diffusion/ddpm": """diffusion/diffusion model/diffusion models/DDPM, U-Net,
        classifier-free guidance, noise schedule/cosine schedule, self-attention, simple loss,
        bits per dimension, exponential moving average/EMA""",
    "diffusion/ddim": "DDIM, probability-flow ODE, DDIM inversion",
}
ASKED = {
    (query.strip(), chapters)
    for chapters, queries in WANTED.items()
    for query in queries.replace("/", ",").replace("\n", " ").split(",")
}


@pytest.fixture
def search(visit: Any) -> Any:  # noqa: F811
    """Return a window on the search page, and a function that asks there."""
    window = visit()

    def ask(query: str) -> Any:
        address = (window.book / "search.html").as_uri()
        window.page.goto(f"{address}?q={query.replace(' ', '+')}")
        window.page.locator("#search-results li a").first.wait_for(timeout=20_000)
        return window

    return ask


def test_sixty_terms_lead_to_their_chapter_first(search: Any) -> None:
    assert len(ASKED) > 120 and sum(q.count(",") + 1 for q in WANTED.values()) >= 60
    page = search("GAN").page
    first = page.evaluate(
        """async (queries) => {
          const found = {};
          for (const query of queries) found[query] = (await Search.find(query))[0]?.[0];
          return found;
        }""",
        [query for query, _ in ASKED],
    )
    wrong = {
        query: first[query]
        for query, chapters in ASKED
        if first[query] not in [f"book/{chapter}" for chapter in chapters.split()]
    }
    assert wrong == {}


def test_every_name_of_the_glossary_finds_a_chapter_before_any_other_page(search: Any) -> None:
    names = [name for group in terms.entries() for name in group]
    page = search("GAN").page
    first = page.evaluate(
        "async (names) => Promise.all(names.map(async (n) => (await Search.find(n))[0][0]))", names
    )
    assert [n for n, found in zip(names, first, strict=True) if found not in PLAN] == []


@pytest.mark.parametrize(
    ("query", "quoted"),
    [
        ("mode collapse", "Mode collapse is a generator that draws"),
        ("Gibbs sampling", "Gibbs sampling visits the nodes"),
        ("regularization", ""),
        ("probability-flow ODE", "probability-flow ODE"),
    ],
)
def test_a_hit_quotes_its_passage_and_not_the_list_of_contents(
    search: Any, query: str, quoted: str
) -> None:
    window = search(query)
    hit = window.page.locator("#search-results li").first
    shown = hit.locator("p.context").inner_text()
    assert len(shown) > 60 and quoted in shown
    address = hit.locator("a").get_attribute("href")
    assert [text for text in window.complaints if text.startswith("asked for")] == []
    hit.locator("a").click()
    window.page.wait_for_load_state()
    body = " ".join(window.page.locator("article").inner_text().split())
    assert shown.strip("… ").split("$")[0][:25] in body
    assert "Contents" not in shown
    anchor = address.partition("#")[2]
    assert not anchor or window.page.locator(f"[id='{anchor}']").count() == 1


@pytest.mark.parametrize("name", ["notation", "glossary", "results", "homework", "bibliography"])
def test_a_page_of_record_comes_first_where_its_name_is_asked(search: Any, name: str) -> None:
    assert search("GAN").page.evaluate("n => Search.find(n)", name)[0][0] == f"book/{name}"


@pytest.mark.parametrize(
    ("one", "other"),
    [("regularisation", "regularization"), ("behaviours", "behaviors"), ("centre", "center")],
)
def test_both_spellings_are_one_word(one: str, other: str) -> None:
    assert american(one) == american(other)


def test_the_two_languages_of_the_index_agree_on_stems(search: Any) -> None:
    from book_search import BothSpellings

    words = [
        "regularisation",
        "neighbours",
        "modelling",
        "centre",
        "grey",
        "noise",
        "four",
        "GANs",
    ]
    stems = BothSpellings({})
    page = search("GAN").page
    read = page.evaluate("ws => ws.map(w => new Stemmer().stemWord(w.toLowerCase()))", words)
    assert read == [stems.stem(word.lower()) for word in words]


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        (r"\beta \ge 1", "β ≥ 1"),
        (r"p(x \mid z)", "p(x | z)"),
        (r"\mathcal N(0, I)", "N(0, I)"),
        (r"\bar\alpha_{t}", "α_t"),
    ],
)
def test_formulas_are_quoted_in_plain_signs(formula: str, shown: str) -> None:
    assert " ".join(readable(formula).split()) == shown


def test_only_the_search_page_carries_the_script(book: Path) -> None:
    carrying = [p.name for p in book.rglob("*.html") if "companion-search.js" in p.read_text()]
    assert carrying == ["search.html"]
