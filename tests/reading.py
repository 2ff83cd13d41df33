"""What a browser sees of a page: formulas cut, stray commas, pictures, letters, height of code."""

# Formulas that stick out of what shows them, and that nothing scrolls with a sign.
CUT = """() => {
  const bad = [], width = document.documentElement.clientWidth;
  for (const place of document.querySelectorAll("article .math.notranslate")) {
    if (!place.getClientRects().length || place.closest("details:not([open])")) continue;
    if (place.closest(".goes-on") || place.querySelector(".goes-on")) continue;
    let box = place.parentElement;
    while (getComputedStyle(box).display === "inline") box = box.parentElement;
    const edges = [Math.min(box.getBoundingClientRect().right, width) + 2];
    for (let at = box; at.tagName !== "ARTICLE"; at = at.parentElement)
      if (getComputedStyle(at).overflowX !== "visible")
        edges.push(at.getBoundingClientRect().right + 1);
    const right = Math.min(...edges);
    const number = place.querySelector(".eqno")?.getBoundingClientRect();
    for (const part of place.querySelectorAll(".katex-html .base")) {
      const at = part.getBoundingClientRect();
      const laid = number && at.right > number.left + 1 && at.left < number.right;
      if (at.right > right || laid) {
        bad.push(place.textContent.slice(0, 60));
        break;
      }
    }
  }
  return bad;
}"""

# Where the first picture begins, in pixels from the top of the page.
FIRST = """() => Math.min(
  ...[...document.querySelectorAll("article :is(img, svg, canvas)")]
    .filter((one) => !one.closest("details:not([open]), .katex"))
    .map((one) => one.getBoundingClientRect())
    .filter((at) => at.height > 60)
    .map((at) => at.top + scrollY),
)"""

# The least size of a letter in the drawn diagrams, in pixels.
LETTERS = """() => Math.min(
  ...[...document.querySelectorAll("article svg text")]
    .filter((one) => one.getClientRects().length && !one.closest(".katex"))
    .map((one) => {
      const { a, b } = one.getScreenCTM();
      return parseFloat(getComputedStyle(one).fontSize) * Math.hypot(a, b);
    }),
)"""

# Lines that begin with the punctuation of a formula on the line before.
ORPHANS = """() => {
  const bad = [];
  for (const place of document.querySelectorAll("article span.math.notranslate")) {
    const next = place.nextSibling;
    const parts = place.querySelectorAll(".katex-html .base");
    if (!parts.length || next?.nodeType !== 3 || !/^[.,;:!?)]/.test(next.textContent)) continue;
    if (!place.getClientRects().length) continue;
    const mark = document.createRange();
    mark.setStart(next, 0);
    mark.setEnd(next, 1);
    const last = parts[parts.length - 1].getBoundingClientRect();
    const at = mark.getBoundingClientRect();
    const next_line = at.left < last.left || at.top > last.bottom - 2;
    if (next_line) bad.push(place.parentElement.textContent);
  }
  return bad;
}"""

# Share of a page's height that is code, unfolded.
CODE = """() => {
  let height = 0;
  for (const block of document.querySelectorAll("article div.highlight")) {
    if (block.parentElement.closest("div.highlight")) continue;
    if (!block.closest("details:not([open])")) height += block.getBoundingClientRect().height;
  }
  return height / document.querySelector("article").getBoundingClientRect().height;
}"""
