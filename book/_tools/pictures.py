"""Make the pictures of the first page from the chapters' outputs and the published runs.

python book/_tools/pictures.py cards    cut one from a figure of each chapter
python book/_tools/pictures.py strip    let the published models draw (a minute)
python book/_tools/pictures.py page     show a theorem, its verdict and a figure of the built book
"""

import argparse
import base64
import io
import re
import shutil
import sys
from pathlib import Path

import matplotlib
import nbformat
import torch
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright
from torch import Tensor

from companion.experiments import ddpm, vae
from companion.samplers.diffusion import path
from companion.train import train
from notebooks import BOOK, scripts
from pdf import NAMES, ROOT

STATIC = BOOK / "_static"
CARD = 480, 270
PREVIEW = 1200, 630  # what links to the book show elsewhere
INK = "#0d1117"
PICTURE = re.compile(r'id="(fig-[\w-]+)".*?data:image/\w+;base64,([\w+/=]+)', re.DOTALL)
# The figure of a chapter, and the left, upper and right edge of the cut as shares of it.
CUTS = {
    "graphs/probability": ("fig-probability-areas", 0.34, 0.0, 1.0),
    "graphs/bayes_nets": ("fig-bn-server", -0.58, 0.0, 1.58),
    "graphs/markov_nets": ("fig-mn-junction", -0.03, -0.03, 1.03),
    "graphs/variational_inference": ("fig-variational-kl", 0.0, 0.0, 1.0),
    "likelihood/digit_networks": ("fig-digit-networks-grid", -0.15, -0.02, 1.15),
    "likelihood/image_gpt": ("fig-image-gpt-completion", 0.105, 0.0, 1.0),
    "likelihood/state_spaces": ("fig-state-spaces-kernels", 0.088, 0.0, 0.8),
    "latent/elbo": ("fig-elbo-arm", 0.07, 0.12, 0.5),
    "latent/vae": ("fig-vae-plane", 0.12, 0.02, 0.99),
    "latent/beta_vae": ("fig-beta-vae-factors", 0.16, 0.0, 0.94),
    "latent/faces": ("fig-faces-lie", 0.17, 0.0, 1.0),
    "latent/hierarchy": ("fig-hierarchy-phases", 0.0, 0.0, 1.0),
    "latent/quantized": ("fig-quantized-copies", 0.1, 0.0, 1.0),
    "latent/priors": ("fig-priors-pseudo", 0.12, 0.0, 1.0),
    "flows/realnvp": ("fig-realnvp-nine", 0.12, 0.0, 1.0),
    "flows/glow": ("fig-glow-faces", 0.16, 0.0, 1.0),
    "flows/residual_flows": ("fig-residual-nine", 0.12, 0.0, 1.0),
    "adversarial/gan_theory": ("fig-gan-theory-eight", 0.33, 0.04, 1.0),
    "adversarial/gan": ("fig-gan-walk", 0.0, 0.0, 0.635),
    "adversarial/wgan": ("fig-wgan-surfaces", 0.255, 0.0, 0.745),
    "energy/energy": ("fig-energy-table", 0.12, 0.0, 1.0),
    "energy/jem": ("fig-jem-table", 0.2, 0.0, 1.0),
    "diffusion/score_matching": ("fig-score-matching-fields", 0.1, 0.05, 0.42),
    "diffusion/ddpm": ("fig-ddpm-guess", 0.087, 0.1, 0.84),
    "diffusion/ddim": ("fig-ddim-edit", 0.0, 0.075, 0.74),
}
PAGE, THEOREM = "adversarial/gan_theory", "thm-gan-theory-weights"
SCREEN = {"width": 1280, "height": 1220}
TIMES = [1000, 960, 900, 840, 780, 700, 620, 540, 460, 380, 300, 200, 100, 0]


def figures(notebook: Path) -> dict[str, Image.Image]:
    """Return the labelled figures that a chapter shows."""
    found = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            for label, data in PICTURE.findall(output.get("data", {}).get("text/html", "")):
                found[label] = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return found


def card(chapter: str) -> Image.Image:
    """Cut a chapter's card from its figure. Raises SystemExit if the figure is gone."""
    label, left, top, right = CUTS[chapter]
    shown = figures(BOOK / f"{chapter}.ipynb")
    if label not in shown:
        raise SystemExit(f"{chapter} has no figure {label}; it has {', '.join(shown)}")
    picture = shown[label]
    width = round((right - left) * picture.width)
    sheet = Image.new("RGB", (width, width * CARD[1] // CARD[0]), picture.getpixel((0, 0)))
    sheet.paste(picture, (round(-left * picture.width), round(-top * picture.height)))
    return sheet.resize(CARD, Image.Resampling.LANCZOS)


def drawn(digits: list[int], seed: int = 0) -> Tensor:
    """Let the published diffusion model draw these digits: images at TIMES, in [0, 1]."""
    model = train(ddpm, 0, seed).model
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((len(digits), 1, 28, 28), generator=generator)
    stages = {1000: noise}
    for time, now, _ in path(model, noise, 50, 1.0, 1.0, generator, y=torch.tensor(digits)):
        stages[time] = now
    pale = [(1 + stages[t] / (2 - model.alpha_bar[t])) / 2 for t in TIMES]
    return torch.stack(pale, 1).clamp(0, 1)  # (B, times, 1, 28, 28)


def walked(heights: list[float], seed: int = 0) -> Tensor:
    """Walk through the plane of the published VAE's codes, one way for each height."""
    model = train(vae, 0, seed, latent=2).model
    along = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.02, 0.98, len(TIMES)))
    codes = torch.stack([torch.stack([along, 0 * along + height], 1) for height in heights])
    with torch.no_grad():
        return torch.stack([model.decode(way).mean for way in codes])


def strip() -> Image.Image:
    """Return digits that come out of noise, and clothes that turn into others, left to right."""
    rows = torch.cat([drawn([2, 0, 7]), walked([0.6, -0.5])]).squeeze(2)
    grid = torch.nn.functional.pad(rows, (1, 1, 1, 1))
    high, wide = grid.shape[0] * 30, grid.shape[1] * 30
    pixels = grid.permute(0, 2, 1, 3).reshape(high, wide)
    return Image.fromarray((255 * pixels).round().byte().numpy())


def preview(picture: Image.Image) -> Image.Image:
    """Return the picture that a link to the book shows: its name above the strip."""
    image = Image.new("RGB", PREVIEW, INK)
    height = round(picture.height * PREVIEW[0] / picture.width)
    image.paste(picture.resize((PREVIEW[0], height)), (0, PREVIEW[1] - height))
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    draw, large = ImageDraw.Draw(image), ImageFont.truetype(fonts / "DejaVuSans-Bold.ttf", 60)
    small = ImageFont.truetype(fonts / "DejaVuSans.ttf", 34)
    draw.text((48, 36), "Deep Generative Models", "white", large)
    draw.text((50, 120), "a companion to read, run, check and vary", "#9fc5f8", small)
    return image


def page() -> Image.Image:
    """Return the screen of the built book that begins with THEOREM."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = running.new_page(viewport=SCREEN, color_scheme="light")
        shown.goto((ROOT / f"_build/html/book/{PAGE}.html").as_uri() + f"#{THEOREM}")
        shown.evaluate("companionFormulas")
        shown.evaluate(f"document.getElementById('{THEOREM}').scrollIntoView()")
        shown.evaluate("scrollBy(0, -70)")  # the bar at the top covers as much
        shown.wait_for_timeout(500)
        data = shown.screenshot()
        running.close()
    return Image.open(io.BytesIO(data)).convert("RGB")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["cards", "strip", "page"])
    what = parser.parse_args(arguments).what
    if what == "page":
        page().save(STATIC / "page.webp", quality=65, method=6)
    elif what == "cards":
        (STATIC / "cards").mkdir(exist_ok=True)
        for script in scripts():
            chapter = script.relative_to(BOOK).with_suffix("").as_posix()
            target = STATIC / f"cards/{script.stem}.webp"
            card(chapter).save(target, quality=75, method=6)
            print(f"{target.relative_to(BOOK)}: {target.stat().st_size // 1000} kB")
    else:
        picture = strip()
        large = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.LANCZOS)
        large.save(STATIC / "strip.webp", quality=75, method=6)
        preview(picture).save(STATIC / "preview.jpg", quality=60, optimize=True, progressive=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
