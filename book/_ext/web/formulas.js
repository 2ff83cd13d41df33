// Sets the formulas of a page, and lets none of them be cut: a wide one breaks where it may,
// then shrinks a little, then scrolls in a box that shows it.
const SMALLEST = 0.72;
let stopped = () => {};
window.companionFormulas = new Promise((resolve) => (stopped = resolve));

const set = (place) => {
  const number = place.querySelector(".eqno");
  const tex = [...place.childNodes]
    .filter((node) => node !== number)
    .map((node) => node.textContent)
    .join("")
    .trim();
  const display = place.tagName === "DIV";
  const body = tex.replace(/^\\[[(]/, "").replace(/\\[\])]$/, "");
  const box = document.createElement("span");
  box.className = display ? "formula" : "";
  katex.render(body, box, {
    displayMode: display,
    macros: { ...window.companionMacros },
    throwOnError: false,
    strict: false,
  });
  place.replaceChildren(...(display ? [box] : box.childNodes), ...(number ? [number] : []));
};

// What touches a formula goes into its first or last part, which never break from it.
const glue = (place) => {
  const parts = place.querySelectorAll(".katex-html .base");
  if (!parts.length || place.parentElement.className !== "glued") return;
  if (parts.length === 1) {
    place.parentElement.classList.add("whole");
    return;
  }
  const move = (text, put) => {
    if (text?.nodeType !== 3 || !text.textContent) return;
    const shown = document.createElement("span");
    shown.className = "beside";
    shown.textContent = text.textContent;
    const told = document.createElement("span");
    told.className = "visually-hidden";
    text.replaceWith(told);
    told.append(text);
    put(shown);
  };
  move(place.previousSibling, (text) => parts[0].prepend(text));
  move(place.nextSibling, (text) => parts[parts.length - 1].append(text));
};

const fit = (place) => {
  const display = place.tagName === "DIV";
  const box = display ? place.querySelector(".formula") : place;
  box.style.fontSize = "";
  box.classList.remove("scrolls");
  if (!box.getClientRects().length) return;
  const parts = [...box.querySelectorAll(".katex-html .base")];
  const widest = Math.max(0, ...parts.map((part) => part.getBoundingClientRect().width));
  const block = display ? box : box.closest("p, li, td, th, dd, h1, h2, h3, h4, figcaption, div");
  const room = block.clientWidth - (display ? 0 : sides(block));
  if (widest <= room || room <= 0) return;
  const scale = Math.max(SMALLEST, Math.floor((100 * room) / widest) / 100 - 0.01);
  box.style.fontSize = `${100 * scale}%`;
  if (widest * scale > room) {
    box.classList.add("scrolls");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "a wide formula, scrolls sideways");
  }
};

const sides = (block) => {
  const style = getComputedStyle(block);
  return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
};

const places = () => document.querySelectorAll(".math.notranslate");

window.companionFit = (root = document) => {
  root.querySelectorAll(".math.notranslate").forEach(fit);
  window.companionMark?.(root);
};

document.addEventListener("DOMContentLoaded", async () => {
  places().forEach(set);
  places().forEach(glue);
  await document.fonts.ready;
  window.companionFit();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) window.companionFit();
    width = innerWidth;
  });
  // A formula in a fold has no size until the fold opens.
  document.addEventListener("toggle", (event) => window.companionFit(event.target), true);
  stopped(true);
});
