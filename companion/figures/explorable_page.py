"""The HTML of an explorable: one picture that holds all frames, and a script that cuts it."""

import json
from hashlib import sha256
from html import escape
from typing import Any

# Without the script (an untrusted notebook, a printer) the page shows the whole sheet.
# Colours are inherited, so that the controls fit a light and a dark page.
STYLE = """
.explorable { margin: 1em 0; max-width: 100%; }
.explorable canvas { display: block; width: 100%; height: auto; border-radius: 6px; }
.explorable figcaption { margin-top: 0.5em; text-align: left; color: inherit; }
.explorable .crisp { image-rendering: pixelated; }
.explorable label { display: flex; flex-wrap: wrap; align-items: center; gap: 0 0.75em; }
.explorable label span { min-width: 5em; }
.explorable input { flex: 1 1 6em; min-width: 0; height: 44px; margin: 0; }
.explorable output { min-width: 3.5em; font-variant-numeric: tabular-nums; }
.explorable button { min-width: 88px; min-height: 44px; padding: 0 1em; cursor: pointer;
  font: inherit; color: inherit; background: transparent; border: 1px solid currentColor;
  border-radius: 6px; }
.explorable input:focus-visible, .explorable button:focus-visible {
  outline: 2px solid currentColor; outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) { .explorable button { display: none; } }
"""

# `sheet` holds frame k at column k % columns and row floor(k / columns). Several copies of
# one explorable may be on a page, and a front end may run the script more than once.
SCRIPT = """
for (const root of document.querySelectorAll("[data-explorable='ID']:not([data-live])")) {
  root.dataset.live = "yes";
  const facts = FACTS, sheet = root.querySelector("img");
  const add = (parent, kind, settings) =>
    parent.appendChild(Object.assign(document.createElement(kind), settings));
  const stage = document.createElement("canvas");
  [stage.width, stage.height, stage.className] = [facts.width, facts.height, facts.look];
  stage.style.maxWidth = facts.shown + "px";
  stage.setAttribute("role", "img");
  stage.setAttribute("aria-label", sheet.alt);
  const controls = document.createElement("div");
  sheet.before(stage, controls);
  sheet.style.display = "none";
  const draw = () => {
    const k = sliders.reduce((sum, slider, i) => sum * facts.labels[i].length + +slider.value, 0);
    const x = facts.width * (k % facts.columns);
    const y = facts.height * Math.floor(k / facts.columns);
    const size = [facts.width, facts.height];
    stage.getContext("2d").drawImage(sheet, x, y, ...size, 0, 0, ...size);
    stage.dataset.frame = k;
  };
  const sliders = facts.labels.map((labels, i) => {
    const row = add(controls, "label", {});
    add(row, "span", { textContent: facts.descriptions[i] });
    const slider = add(row, "input", { type: "range", min: 0, max: labels.length - 1, step: 1 });
    slider.value = facts.start[i];
    slider.setAttribute("aria-label", facts.descriptions[i]);
    slider.dataset.lmSuppressShortcuts = "true";  // or JupyterLab takes the arrow keys
    const reading = add(row, "output", {});
    reading.setAttribute("aria-live", "off");
    slider.addEventListener("input", () => {
      reading.textContent = labels[slider.value];
      slider.setAttribute("aria-valuetext", labels[slider.value]);
      draw();
    });
    return slider;
  });
  const last = sliders[sliders.length - 1], move = () => last.dispatchEvent(new Event("input"));
  const button = add(controls, "button", { type: "button", textContent: "Play" });
  button.dataset.lmSuppressShortcuts = "true";
  let timer = 0;
  const stop = () => { timer = clearInterval(timer); button.textContent = "Play"; };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (last.value === last.max) { last.value = 0; move(); }
    button.textContent = "Pause";
    timer = setInterval(() => {
      if (last.value === last.max || !root.isConnected) return stop();
      last.stepUp();
      move();
    }, 400);
  });
  controls.addEventListener("pointerdown", (event) => event.target === button || stop());
  controls.addEventListener("keydown", (event) => event.target === button || stop());
  const begin = () => sliders.forEach((slider) => slider.dispatchEvent(new Event("input")));
  sheet.complete ? begin() : sheet.addEventListener("load", begin);
}
"""


def identity(*parts: Any) -> str:
    """Name content by its hash, the same in every process."""
    return "ex-" + sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def page(source: str, alt: str, caption: str, facts: dict[str, Any]) -> tuple[str, str]:
    """Write an explorable's id and HTML; `source` is the address of its sheet of frames."""
    name = identity(source, alt, caption, facts)
    data = json.dumps(facts).replace("<", "\\u003c")
    script = SCRIPT.replace("ID", name, 1).replace("FACTS", data, 1)
    across = facts["columns"] * facts["width"]
    across *= max(1, 700 // across)
    look = "max-width:100%;height:auto" + (";image-rendering:pixelated" if facts["look"] else "")
    style = STYLE.replace(".explorable", ".companion-explorable")
    return name, (
        f'<figure class="companion-explorable" data-explorable="{name}"><style>{style}</style>'
        f'<img class="dark-light" src="{source}" alt="{escape(alt)}" width="{across}"'
        f' style="{look}">'
        f"<figcaption>{caption}</figcaption></figure><script>{{{script}}}</script>"
    )
