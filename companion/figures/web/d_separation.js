// The rules of d-separation (Pearl 1988) on a graph of n nodes, 0 to n - 1, and edges [from, to].
//
// A trail is a list of steps { to, edge, out, into }: `out` and `into` say whether the edge has
// its arrow's head at the node that is left, and at the node that is entered.

const dSeparation = (n, edges) => {
  const near = Array.from({ length: n }, () => []);
  edges.forEach(([a, b], edge) => {
    near[a].push({ to: b, edge, out: false, into: true });
    near[b].push({ to: a, edge, out: true, into: false });
  });

  const end = (trail) => trail[trail.length - 1].to;

  // All trails from a node that meet no node twice, the shortest first.
  const trailsFrom = (source) => {
    const found = [[]];
    for (const trail of found) {
      for (const step of near[trail.length ? end(trail) : source]) {
        if (step.to !== source && trail.every((past) => past.to !== step.to)) {
          found.push([...trail, step]);
        }
      }
    }
    return found.slice(1);
  };

  // The nodes themselves, then what lies beyond them: "into" descends, "out" climbs.
  const reach = (nodes, side) => {
    const met = new Set(nodes);
    for (const node of met) {
      near[node].filter((step) => step[side]).forEach((step) => met.add(step.to));
    }
    return met;
  };

  const isCollider = (step, next) => step.into && next.out;
  const descendants = (node) => [...reach([node], "into")].slice(1);

  // What the observed nodes, a set, do to trails.
  const given = (seen) => {
    const open = reach(seen, "out"); // a collider is open if it or a descendant is observed
    const passes = (step, next) =>
      isCollider(step, next) ? open.has(step.to) : !seen.has(step.to);
    const blocker = (trail) =>
      trail.findIndex((step, k) => k + 1 < trail.length && !passes(step, trail[k + 1]));
    const isActive = (trail) => !seen.has(end(trail)) && blocker(trail) < 0;
    return { open, blocker, isActive };
  };

  return { end, trailsFrom, isCollider, descendants, given };
};
