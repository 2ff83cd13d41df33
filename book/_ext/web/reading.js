// The second stop of the Tab key leads to the first figure that moves.
document.addEventListener("DOMContentLoaded", () => {
  const figure = document.querySelector("article [data-facts]");
  const skip = document.querySelector("#pst-skip-link");
  if (!figure || !skip) return;
  const link = skip.cloneNode(true);
  link.id = "";
  const a = link.querySelector("a") ?? link;
  a.href = `#${figure.id}`;
  a.textContent = "Skip to the first figure that moves";
  figure.tabIndex = -1;
  skip.after(link);
});

// A drawn figure opens large by a tap or by Enter; Escape or another tap closes it.
document.addEventListener("DOMContentLoaded", () => {
  const pictures = document.querySelectorAll("figure.companion-figure > img");
  if (!pictures.length) return;
  const large = document.createElement("dialog");
  large.className = "large-figure";
  large.setAttribute("aria-label", "The figure, enlarged");
  document.body.append(large);
  large.addEventListener("click", () => large.close());
  for (const picture of pictures) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    const number = picture.parentElement.querySelector(".figure-number");
    const name = number?.textContent ?? "the figure";
    button.setAttribute("aria-label", `Enlarge ${name}: ${picture.alt}`);
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => {
      const copy = picture.cloneNode();
      copy.style = "";
      copy.removeAttribute("width");
      const whole = picture.naturalWidth;
      copy.width = Math.max(whole / 2, Math.min(whole, innerWidth - 40));
      const close = document.createElement("button");
      close.type = "button";
      close.textContent = "Close";
      large.replaceChildren(close, copy);
      large.showModal();
    });
  }
});

// The results' table shows the rows that hold all words of its filter, and their chapters.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector(".companion-overview");
  if (!table) return;
  const label = document.createElement("label");
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "vae, Fréchet, reached …";
  label.className = "overview-filter";
  label.append("Show only ", field);
  table.before(label);
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  field.addEventListener("input", () => {
    const words = plain(field.value).split(/\s+/);
    let chapter;
    for (const row of table.tBodies[0].rows) {
      if (row.querySelector("th")) {
        chapter = row;
        chapter.hidden = true;
        continue;
      }
      const text = plain(`${chapter.textContent} ${row.textContent}`);
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) chapter.hidden = false;
    }
  });
});

// A wide table or formula fades at the edge beyond which it goes on.
const BOXES = ".scrolls, .pst-scrollable-table-container, .cell_output .text_html";
const mark = (box) => {
  const more = box.scrollWidth - box.clientWidth - box.scrollLeft;
  box.classList.toggle("goes-on", more > 2);
};
window.companionMark = (root = document) => root.querySelectorAll(BOXES).forEach(mark);
document.addEventListener("DOMContentLoaded", () => {
  window.companionMark();
  addEventListener("resize", () => window.companionMark());
  document.addEventListener("toggle", (event) => window.companionMark(event.target), true);
  document.addEventListener(
    "scroll",
    (event) => event.target.matches?.(BOXES) && mark(event.target),
    { capture: true, passive: true },
  );
});
