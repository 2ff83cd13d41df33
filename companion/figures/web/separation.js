// A graph whose nodes are observed by click, touch or keyboard; active trails light up.

const HINT = "Point at a node, or go to it with Tab, to read its trail here. " +
  "Enter is a click, S starts there.";
const MODES = { observe: "observes it", start: "starts there", why: "says why" };

// Say in words why a trail passes a node, or does not.
const reason = (names, rules, { seen, given }, step, next) => {
  const node = step.to;
  const collider = rules.isCollider(step, next);
  const below = rules.descendants(node);
  let kind = "a common cause";
  if (collider) {
    kind = "a collider";
  } else if (step.into || next.out) {
    kind = "in a chain";
  }
  let told = "is not observed";
  if (seen.has(node)) {
    told = "is observed";
  } else if (collider && given.open.has(node)) {
    told = `its descendant ${names[below.find((other) => seen.has(other))]} is observed`;
  } else if (collider && below.length) {
    told = "neither it nor a descendant is observed";
  }
  return `${names[node]} is ${kind} and ${told}`;
};

// Say what the state holds for a node: a text, the trail it tells of, the node that blocks it.
const explain = (names, rules, state, node) => {
  const { source, seen, given, trails, active } = state;
  const words = (trail) => names[source] +
    trail.map((step) => (step.into ? " → " : " ← ") + names[step.to]).join("");
  const why = (trail, k) => reason(names, rules, state, trail[k], trail[k + 1]);
  if (node < 0) {
    return { text: HINT, trail: [], block: -1 };
  }
  if (node === source) {
    return { text: `${names[node]} is where the trails start.`, trail: [], block: -1 };
  }
  if (seen.has(node)) {
    return { text: `${names[node]} is observed.`, trail: [], block: -1 };
  }
  if (active[node]) {
    const trail = active[node];
    const inner = trail.slice(0, -1);
    const told = inner.map((_, k) => why(trail, k)).join("; ") || "nothing lies between";
    return { text: `${words(trail)} is active: ${told}.`, trail, block: -1 };
  }
  const found = trails.filter((trail) => rules.end(trail) === node);
  if (!found.length) {
    return { text: `No trail joins ${names[source]} and ${names[node]}.`, trail: [], block: -1 };
  }
  const trail = found[0];
  const k = given.blocker(trail);
  const many = found.length > 1 ? `. All ${found.length} trails are blocked` : "";
  const text = `${words(trail)} is blocked: ${why(trail, k)}${many}.`;
  return { text, trail, block: trail[k].to };
};

// Draw a cross at the upper right corner of a node that blocks.
const addCross = (part) => {
  const box = part.querySelector("rect");
  const at = (side) => +box.getAttribute(side);
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "g");
  cross.setAttribute("class", "cross");
  cross.setAttribute("transform", `translate(${at("x") + at("width")} ${at("y")})`);
  cross.innerHTML = '<circle r="8"/><text y="5">×</text>';
  part.append(cross);
};

// Add the choice of what a click does, and a way back; return how to read the choice.
const addControls = (root, reset) => {
  const form = document.createElement("form");
  root.querySelector("svg").before(form);
  form.setAttribute("role", "group");
  form.setAttribute("aria-label", "A click on a node");
  add(form, "span", { textContent: "A click on a node" });
  const radios = Object.entries(MODES).map(([value, text]) => {
    const row = add(form, "label", {});
    const radio = add(row, "input", { type: "radio", name: "mode", value });
    row.append(text);
    return radio;
  });
  radios[0].checked = true;
  const button = add(form, "button", { type: "button", textContent: "Reset" });
  button.addEventListener("click", reset);
  return () => radios.find((radio) => radio.checked).value;
};

// Let a node be clicked, focused, pointed at, and used by keyboard.
const listen = (part, { act, hover, focus }) => {
  const node = +part.dataset.node;
  part.setAttribute("role", "button");
  part.setAttribute("tabindex", "0");
  part.addEventListener("click", (event) => act(node, event.shiftKey));
  part.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    const other = event.ctrlKey || event.metaKey || event.altKey;
    if (!other && ["enter", " ", "s"].includes(key)) {
      event.preventDefault();
      event.stopPropagation();
      act(node, key === "s");
    }
  });
  part.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && hover(node));
  part.addEventListener("pointerleave", () => hover(-1));
  part.addEventListener("focus", () => focus(node));
  part.addEventListener("blur", () => focus(-1));
};

wake("companion-separation", (root, facts) => {
  const { names, edges } = facts;
  const rules = dSeparation(names.length, edges);
  const line = root.querySelector("p");
  const all = (kind) => [...root.querySelectorAll(kind)];
  const state = {};
  let hovered = -1;
  let focused = -1;

  const mark = (kind, key, value) => all(`[data-${kind}]`).forEach((part) => {
    const told = value(+part.dataset[kind]);
    if (told) {
      part.dataset[key] = told;
    } else {
      delete part.dataset[key];
    }
  });

  const nameOf = (node) => {
    if (node === state.source) {
      return "start";
    }
    if (state.seen.has(node)) {
      return "observed";
    }
    return state.active[node] ? "connected" : "separated";
  };

  // Show the trail of the node that is pointed at, or in focus.
  const show = () => {
    const node = hovered < 0 ? focused : hovered;
    const { text, trail, block } = explain(names, rules, state, node);
    if (line.textContent !== text) {
      line.textContent = text;
    }
    const used = new Set(trail.map((step) => step.edge));
    mark("edge", "shown", (edge) => used.has(edge) && (block < 0 ? "active" : "blocked"));
    const nodes = trail.length ? [state.source, ...trail.map((step) => step.to)] : [];
    root.dataset.trail = JSON.stringify(nodes);
    all(".cross").forEach((cross) => cross.remove());
    all(`[data-node="${block}"]`).forEach(addCross);
  };

  // Show what follows from the source and the observed nodes.
  const update = () => {
    state.given = rules.given(state.seen);
    const open = state.trails.filter(state.given.isActive);
    state.active = [];
    open.forEach((trail) => state.active[rules.end(trail)] ??= trail);
    const lit = new Set(open.flat().map((step) => step.edge));
    mark("edge", "lit", (edge) => lit.has(edge) && "yes");
    mark("node", "state", nameOf);
    mark("node", "connected", (node) => (state.active[node] ? "yes" : "no"));
    all("[data-node]").forEach((part) => {
      const node = +part.dataset.node;
      part.setAttribute("aria-pressed", state.seen.has(node));
      part.setAttribute("aria-label", `${names[node]}, ${nameOf(node)}`);
    });
    all("li").forEach((item) => {
      const found = names.filter((_, node) => nameOf(node) === item.dataset.state);
      const title = item.firstChild.textContent.split(": ")[0];
      item.firstChild.textContent = `${title}: ${found.join(", ") || "none"}`;
    });
    show();
  };

  const start = (node) => {
    state.source = node;
    state.seen.delete(node);
    state.trails = rules.trailsFrom(node);
    update();
  };
  const observe = (node) => {
    if (node !== state.source) {
      state.seen.delete(node) || state.seen.add(node);
      update();
    }
  };
  const reset = () => {
    state.seen = new Set(facts.observed);
    start(facts.source);
  };

  const chosen = addControls(root, reset);
  const act = (node, startHere) => {
    focused = node;
    const does = { observe, start, why: show };
    does[startHere ? "start" : chosen()](node);
  };
  const hover = (node) => {
    hovered = node;
    show();
  };
  const focus = (node) => {
    focused = node;
    show();
  };
  all("[data-node]").forEach((part) => listen(part, { act, hover, focus }));
  all("svg").forEach((drawing) => drawing.setAttribute("role", "group"));
  reset();
});
