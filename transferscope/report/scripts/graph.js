// The transfer graph: tasks on a circle, an arrow from a source to each target it moves much.

const graphBox = byId("explorer-graph");
const SIZE = 460; // of the drawing, in its own units; it shrinks with the page

/** Where the tasks stand, in the chosen order, and how large a task and its name are. */
function circle() {
  const tasks = data.tasks.map((_, task) => task);
  const places = ordered(tasks);
  const inside = places.length <= 24 && places.every((task) => short(task).length <= 4);
  const radius = inside ? SIZE / 2 - 26 : SIZE / 2 - 66;
  const spots = new Map(places.map((task, n) => {
    const angle = (2 * Math.PI * n) / places.length - Math.PI / 2;
    return [task, { angle, x: SIZE / 2 + radius * Math.cos(angle),
      y: SIZE / 2 + radius * Math.sin(angle) }];
  }));
  return { spots, inside, node: inside ? 17 : 3.5, inward: inside ? 0 : 0.2 * radius };
}

const toward = (a, b, distance) => {
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  return { x: a.x + (distance * (b.x - a.x)) / length, y: a.y + (distance * (b.y - a.y)) / length };
};
const point = (p) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`;

/**
 * An arrow's line and head: a point where it helps, a bar across where it harms. It bends to its
 * own left, so that the arrow back is separate, and between dots inward, off those on its way.
 */
function arrow(from, to, round, width, helps) {
  const bend = 0.13;
  const { node } = round;
  const bent = { x: (from.x + to.x) / 2 + bend * (to.y - from.y),
    y: (from.y + to.y) / 2 - bend * (to.x - from.x) };
  const middle = toward(bent, { x: SIZE / 2, y: SIZE / 2 }, round.inward);
  const start = toward(from, middle, node + 1);
  const tip = toward(to, middle, node + 2);
  const size = 4 + 1.7 * width;
  const back = toward(tip, middle, size);
  const neck = toward(tip, middle, size * 0.8);
  const [ax, ay] = [(tip.y - back.y) * 0.42, (back.x - tip.x) * 0.42];
  if (!helps) {
    const near = toward(tip, middle, 1.2 + 0.5 * width);
    const corner = (p, side) => point({ x: p.x + 1.35 * side * ax, y: p.y + 1.35 * side * ay });
    return { line: `M${point(start)}Q${point(middle)} ${point(near)}`,
      head: `M${corner(tip, 1)}L${corner(near, 1)}L${corner(near, -1)}L${corner(tip, -1)}Z` };
  }
  return { line: `M${point(start)}Q${point(middle)} ${point(neck)}`,
    head: `M${point(tip)}L${point({ x: back.x + ax, y: back.y + ay })}L${point(neck)}` +
      `L${point({ x: back.x - ax, y: back.y - ay })}Z` };
}

const OWN = 4; // arrows that a chosen task has each way and of each sign, however weak they are

/** The chosen cell, or the strongest of what the chosen task gives and takes. */
function chosenEdges() {
  if (state.task < 0) return [];
  const all = pairs().filter((each) => hasCell() || state.sign === "both" ||
    (each.value > 0) === (state.sign === "positive"));
  if (hasCell()) return all.filter((each) => each.i === state.source && each.j === state.target);
  const found = ["i", "j"].flatMap((end) => [1, -1].flatMap((sign) => all
    .filter((each) => (end === "i" ? data.sources : data.targets)[each[end]] === state.task && sign * each.value > 0)
    .sort((a, b) => sign * (b.value - a.value)).slice(0, OWN)));
  return state.sure ? found.filter((each) => each.beyond) : found;
}

function drawGraph() {
  const all = edges();
  const picked = chosenEdges().filter((each) => !all.some((other) => other.place === each.place));
  const round = circle();
  const most = Math.max(...all.map((each) => Math.abs(each.value)), 1e-9);
  const crowd = clamp(50 / all.length, 0.35, 1);
  const sorted = [...all, ...picked].sort((a, b) => Math.abs(a.value) - Math.abs(b.value));
  fill(graphBox, { viewBox: `0 0 ${SIZE} ${SIZE}` }, []);
  graphBox.replaceChildren(
    s("g", { class: "edges" }, sorted.map((each) => drawEdge(each, round, most, crowd))),
    s("g", { class: "nodes" }, [...round.spots].map(([task, spot]) => drawNode(task, spot, round))));
  graphBox.classList.toggle("focused", state.task >= 0);
  rove(graphBox, ".node");
  sayEdges(all, picked.length);
}

function drawEdge(each, round, most, crowd) {
  const [source, target] = [data.sources[each.i], data.targets[each.j]];
  const width = (0.7 + 2.8 * (Math.abs(each.value) / most)) * crowd;
  const drawn = arrow(round.spots.get(source), round.spots.get(target), round, width, each.value > 0);
  const touches = hasCell() ? each.i === state.source && each.j === state.target
    : source === state.task || target === state.task;
  const kind = each.value > 0 ? "positive" : "negative";
  return s("g", { class: `edge ${kind}${touches ? " touching" : ""}${each.beyond === 0 ? " noise" : ""}`,
    "data-i": each.i, "data-j": each.j },
    s("title", {}, describe(each.i, each.j)),
    s("path", { class: "reach", d: drawn.line }),
    s("path", { class: "line", d: drawn.line, "stroke-width": width.toFixed(2) }),
    s("path", { class: "head", d: drawn.head }));
}

function drawNode(task, spot, round) {
  const chosen = state.task === task;
  const parts = [s("title", {}, long(task)), s("circle", { cx: spot.x, cy: spot.y, r: round.node })];
  if (round.inside) {
    parts.push(s("text", { x: spot.x, y: spot.y, "text-anchor": "middle",
      "dominant-baseline": "central", "font-size": 11 }, short(task)));
  } else {
    parts.push(outerLabel(task, spot));
  }
  return s("g", { class: "node" + (chosen ? " chosen" : ""), role: "button",
    "data-task": task, "aria-label": long(task), "aria-pressed": String(chosen) }, parts);
}

/** A name outside the circle, turned outward, so that many fit. */
function outerLabel(task, spot) {
  const away = Math.cos(spot.angle) >= -1e-6;
  const [x, y] = [spot.x + 8 * Math.cos(spot.angle), spot.y + 8 * Math.sin(spot.angle)];
  const turn = (spot.angle * 180) / Math.PI + (away ? 0 : 180);
  return s("text", { x, y, "text-anchor": away ? "start" : "end", "dominant-baseline": "central",
    transform: `rotate(${turn.toFixed(1)} ${x.toFixed(1)} ${y.toFixed(1)})`, "font-size": 9.5 },
    named(task, short));
}

/** The number of arrows and the weakest of each sign, beside the slider. */
function sayEdges(all, more) {
  const positive = all.filter((each) => each.value > 0).map((each) => each.value);
  const negative = all.filter((each) => each.value < 0).map((each) => each.value);
  const parts = [`${all.length} arrow${all.length === 1 ? "" : "s"}`];
  if (positive.length) parts.push(`help from ${show(Math.min(...positive))}`);
  if (negative.length) parts.push(`harm from ${show(Math.max(...negative))}`);
  if (more) parts.push(`and ${more} weaker ones of the selection`);
  byId("explorer-edges").textContent = parts.join(", ");
  byId("explorer-keep-value").textContent = `${state.keep}%`;
}

function graphClicked(event) {
  const node = event.target.closest("[data-task]");
  if (node) return chooseTask(Number(node.dataset.task));
  const edge = event.target.closest("[data-i]");
  if (edge) chooseCell(Number(edge.dataset.i), Number(edge.dataset.j));
}

function graphPressed(event) {
  if (roved(event, graphBox, ".node")) return;
  const node = event.target.closest("[data-task]");
  if (!node || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  const task = Number(node.dataset.task);
  chooseTask(task);
  graphBox.querySelector(`.node[data-task="${task}"]`).focus(); // drawn anew by the choice
  rove(graphBox, ".node");
}
