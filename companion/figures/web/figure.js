// What the scripts of all live figures share. A live figure shows what it holds without any
// script; `begin(root, facts)` brings it to life with the facts that its attribute holds.

const add = (parent, kind, settings) =>
  parent.appendChild(Object.assign(document.createElement(kind), settings));

// Each output of a notebook carries its script, for it may stand in a frame of its own; a page of
// the book keeps one copy of it. So the figures that stand already wake now, the others once the
// page is read. One that is awake, for a cell ran twice or its copy ran, is left as it is.
const wake = (kind, begin) => {
  const wakeAll = () => {
    for (const root of document.querySelectorAll(`.${kind}[data-facts]:not([data-live])`)) {
      root.dataset.live = "yes";
      begin(root, JSON.parse(root.dataset.facts));
    }
  };
  wakeAll();
  document.addEventListener("DOMContentLoaded", wakeAll);
};
