"""The script of a graph whose nodes can be observed."""

# `near[v]` holds the steps from node v: `out` and `into` say whether the edge has its arrow's
# head at the node that is left, and at the node that is entered.
SCRIPT = """
for (const root of document.querySelectorAll("[data-separation='ID']:not([data-live])")) {
  root.dataset.live = "yes";
  const { names, edges, source: first, observed } = FACTS;
  const near = names.map(() => []);
  edges.forEach(([a, b], edge) => {
    near[a].push({ to: b, edge, out: false, into: true });
    near[b].push({ to: a, edge, out: true, into: false });
  });
  const all = (kind) => [...root.querySelectorAll(kind)];
  const add = (parent, kind, settings) =>
    parent.appendChild(Object.assign(document.createElement(kind), settings));
  let source, seen, open, trails, active, hovered = -1, focused = -1;

  const allTrails = () => {
    const found = [[]];
    for (const trail of found)
      for (const step of near[trail.length ? trail[trail.length - 1].to : source])
        if (step.to !== source && trail.every((past) => past.to !== step.to))
          found.push([...trail, step]);
    return found.slice(1);
  };
  const passes = (step, next) => step.into && next.out ? open.has(step.to) : !seen.has(step.to);
  const blocker = (trail) =>
    trail.findIndex((step, k) => k + 1 < trail.length && !passes(step, trail[k + 1]));
  const reach = (from, side) => {
    const met = new Set(from);
    for (const node of met) near[node].forEach((step) => step[side] && met.add(step.to));
    return met;
  };
  const end = (trail) => trail[trail.length - 1].to;

  const words = (trail) => names[source] +
    trail.map((step) => (step.into ? " → " : " ← ") + names[step.to]).join("");
  const reason = (step, next) => {
    const node = step.to, collider = step.into && next.out;
    const below = [...reach([node], "into")].slice(1);
    const kind = collider ? "a collider" : step.into || next.out ? "in a chain" : "a common cause";
    const told = seen.has(node) ? "is observed" : !collider || !below.length ? "is not observed"
      : open.has(node) ? `its descendant ${names[below.find((v) => seen.has(v))]} is observed`
      : "neither it nor a descendant is observed";
    return `${names[node]} is ${kind} and ${told}`;
  };
  const explain = (node) => {
    if (node < 0) return ["Point at a node, or go to it with Tab, to read its trail here. " +
      "Enter is a click, S starts there.", [], -1];
    if (node === source) return [`${names[node]} is where the trails start.`, [], -1];
    if (seen.has(node)) return [`${names[node]} is observed.`, [], -1];
    if (active[node]) {
      const trail = active[node], inner = trail.slice(0, -1);
      const why = inner.map((step, k) => reason(step, trail[k + 1])).join("; ");
      return [`${words(trail)} is active: ${why || "nothing lies between"}.`, trail, -1];
    }
    const found = trails.filter((trail) => end(trail) === node), trail = found[0] || [];
    if (!found.length) return [`No trail joins ${names[source]} and ${names[node]}.`, [], -1];
    const k = blocker(trail), why = reason(trail[k], trail[k + 1]);
    const many = found.length > 1 ? `. All ${found.length} trails are blocked` : "";
    return [`${words(trail)} is blocked: ${why}${many}.`, trail, trail[k].to];
  };

  const mark = (kind, key, value) => all(`[data-${kind}]`).forEach((part) => {
    const told = value(+part.dataset[kind]);
    if (told) part.dataset[key] = told; else delete part.dataset[key];
  });
  const show = () => {
    const node = hovered < 0 ? focused : hovered, [text, trail, block] = explain(node);
    if (line.textContent !== text) line.textContent = text;
    const used = new Set(trail.map((step) => step.edge));
    mark("edge", "shown", (edge) => used.has(edge) && (block < 0 ? "active" : "blocked"));
    root.dataset.trail = JSON.stringify(trail.length ? [source, ...trail.map((s) => s.to)] : []);
    all(".cross").forEach((cross) => cross.remove());
    if (block >= 0) all(`[data-node="${block}"]`).forEach((part) => {
      const box = part.querySelector("rect"), at = (side) => +box.getAttribute(side);
      const cross = part.appendChild(
        document.createElementNS("http://www.w3.org/2000/svg", "g"));
      cross.setAttribute("class", "cross");
      cross.setAttribute("transform", `translate(${at("x") + at("width")} ${at("y")})`);
      cross.innerHTML = '<circle r="8"/><text y="5">×</text>';
    });
  };
  const update = () => {
    open = reach(seen, "out");
    active = [];
    const lit = new Set();
    for (const trail of trails) {
      if (seen.has(end(trail)) || blocker(trail) >= 0) continue;
      active[end(trail)] ??= trail;
      trail.forEach((step) => lit.add(step.edge));
    }
    const state = (node) => node === source ? "start" : seen.has(node) ? "observed"
      : active[node] ? "connected" : "separated";
    mark("edge", "lit", (edge) => lit.has(edge) && "yes");
    mark("node", "state", state);
    mark("node", "connected", (node) => active[node] ? "yes" : "no");
    all("[data-node]").forEach((part) => {
      const node = +part.dataset.node;
      part.setAttribute("aria-pressed", seen.has(node));
      part.setAttribute("aria-label", `${names[node]}, ${state(node)}`);
    });
    all("li").forEach((item) => {
      const found = names.filter((name, node) => state(node) === item.dataset.state);
      const text = item.firstChild.textContent.split(": ")[0];
      item.firstChild.textContent = `${text}: ${found.join(", ") || "none"}`;
    });
    show();
  };
  const start = (node) => {
    source = node;
    seen.delete(node);
    trails = allTrails();
    update();
  };
  const observe = (node) => {
    if (node === source) return;
    if (!seen.delete(node)) seen.add(node);
    update();
  };
  const reset = () => { seen = new Set(observed); start(first); };

  const form = document.createElement("form"), line = root.querySelector("p");
  root.querySelector("svg").before(form);
  form.setAttribute("role", "group");
  form.setAttribute("aria-label", "A click on a node");
  add(form, "span", { textContent: "A click on a node" });
  const texts = { observe: "observes it", start: "starts there", why: "says why" };
  const radios = Object.entries(texts).map(([value, text]) => {
    const row = add(form, "label", {});
    const radio = add(row, "input", { type: "radio", name: "mode", value });
    row.append(text);
    return radio;
  });
  radios[0].checked = true;
  add(form, "button", { type: "button", textContent: "Reset" }).addEventListener("click", reset);
  const act = (node, startHere) => {
    const mode = startHere ? "start" : radios.find((radio) => radio.checked).value;
    focused = node;
    mode === "start" ? start(node) : mode === "observe" ? observe(node) : show();
  };
  all("[data-node]").forEach((part) => {
    const node = +part.dataset.node, on = (kind, act) => part.addEventListener(kind, act);
    part.setAttribute("role", "button");
    part.setAttribute("tabindex", "0");
    on("click", (event) => act(node, event.shiftKey));
    on("keydown", (event) => {
      const key = event.key.toLowerCase(), other = event.ctrlKey || event.metaKey || event.altKey;
      if (other || !["enter", " ", "s"].includes(key)) return;
      event.preventDefault();
      event.stopPropagation();
      act(node, key === "s");
    });
    on("pointerenter", (event) => { if (event.pointerType === "mouse") hovered = node, show(); });
    on("pointerleave", () => { hovered = -1; show(); });
    on("focus", () => { focused = node; show(); });
    on("blur", () => { focused = -1; show(); });
  });
  all("svg").forEach((drawing) => drawing.setAttribute("role", "group"));
  reset();
}
"""
