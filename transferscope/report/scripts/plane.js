// Personas: what each task gives (across) against what it takes (up), help and harm apart.

const plane = byId("explorer-plane");
const PLANE = { width: 560, height: 460, left: 48, right: 10, top: 24, bottom: 44 }; // in pixels
const SIGNS = [[1, "positive"], [-1, "negative"]];

const shownSigns = () => SIGNS.filter(([, name]) => state.sign === "both" || state.sign === name);

/** One point for each task and sign; only a task that is source and target has a place here. */
function planePoints() {
  const points = [];
  data.tasks.forEach((task, place) => {
    const [i, j] = [data.sources.indexOf(place), data.targets.indexOf(place)];
    if (i < 0 || j < 0) return;
    for (const [sign, name] of shownSigns()) {
      const [give, take] = [side("give", i, sign), side("take", j, sign)];
      if (give && take && known(give.value) && known(take.value)) {
        points.push({ task: place, sign, name, give, take });
      }
    }
  });
  return points;
}

/** A scale over the points and, as far as they do not squash them, their intervals. */
function span(points, key) {
  const values = points.map((each) => each[key].value);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const margin = 0.12 * (high - low) || 0.01;
  return [low < 0 ? low - margin : -margin / 3, high > 0 ? high + margin : margin / 3];
}

function drawPlane() {
  const points = planePoints();
  PLANE.width = clamp(plane.parentElement.clientWidth || 560, 320, 620);
  PLANE.height = Math.round(clamp(0.85 * PLANE.width, 330, 460));
  fill(plane, { viewBox: `0 0 ${PLANE.width} ${PLANE.height}` }, []);
  if (!points.length) {
    plane.replaceChildren(s("text", { class: "axis", x: 20, y: 40 },
      "No task is both a source and a target here."));
    return;
  }
  const [xs, ys] = [span(points, "give"), span(points, "take")];
  const across = PLANE.width - PLANE.left - PLANE.right;
  const up = PLANE.height - PLANE.top - PLANE.bottom;
  const x = (value) => PLANE.left + (across * (value - xs[0])) / (xs[1] - xs[0]);
  const y = (value) => PLANE.top + (up * (ys[1] - value)) / (ys[1] - ys[0]);
  plane.replaceChildren(frame(x, y, xs, ys), averages(points, x, y),
    s("g", {}, points.map((each) => drawPoint(each, x, y, xs, ys))), pointLabels(points, x, y));
  rove(plane, ".spot");
}

/** Round values inside a span, a handful. */
function ticks([low, high]) {
  const rough = (high - low) / 5;
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(n * step);
  return found;
}

function frame(x, y, xs, ys) {
  const [bottom, right] = [PLANE.height - PLANE.bottom, PLANE.width - PLANE.right];
  const text = (more, words) => s("text", { class: "axis", "font-size": 11, ...more }, words);
  const digits = Math.min(scale().digits + 1, 2);
  const lines = ticks(xs).map((v) => s("g", {},
    s("path", { class: v === 0 ? "zero" : "gridline", d: `M${x(v)} ${PLANE.top}V${bottom}` }),
    text({ x: x(v), y: bottom + 15, "text-anchor": "middle" }, show(v, digits))));
  lines.push(...ticks(ys).map((v) => s("g", {},
    s("path", { class: v === 0 ? "zero" : "gridline", d: `M${PLANE.left} ${y(v)}H${right}` }),
    text({ x: PLANE.left - 7, y: y(v), "text-anchor": "end", "dominant-baseline": "central" },
      show(v, digits)))));
  lines.push(text({ x: right, y: PLANE.height - 8, "text-anchor": "end" },
    "transferability: what it gives →"));
  lines.push(text({ x: PLANE.left - 7, y: 11 }, "↑ malleability: what it takes"));
  return s("g", {}, lines);
}

/** The averages over tasks, one cross of dashed lines for each sign. */
function averages(points, x, y) {
  const lines = shownSigns().flatMap(([, name]) => {
    const group = points.filter((each) => each.name === name);
    const middle = (key) => meanOf(group.map((each) => each[key].value));
    const [give, take] = [middle("give"), middle("take")];
    if (give === null) return [];
    const up = name === "positive" ? PLANE.top : PLANE.height - PLANE.bottom;
    const out = name === "positive" ? PLANE.width - PLANE.right : PLANE.left;
    return [s("path", { class: "average " + name, d: `M${x(give)} ${y(0)}V${up}` }),
      s("path", { class: "average " + name, d: `M${x(0)} ${y(take)}H${out}` })];
  });
  return s("g", { "aria-hidden": "true" }, lines);
}

/** On which side of the averages a task plays which part: [words, x, y, anchor] for each. */
function parts(points, x, y) {
  return shownSigns().flatMap(([, name]) => {
    const group = points.filter((each) => each.name === name);
    if (group.length < 2) return [];
    const [give, take] = ["give", "take"].map((key) => meanOf(group.map((each) => each[key].value)));
    return name === "positive"
      ? [["donors →", x(give) + 4, PLANE.top + 6, "start"], ["sponges ↑", PLANE.width - 12, y(take) - 8, "end"]]
      : [["← pirates", x(give) - 4, PLANE.height - PLANE.bottom - 7, "end"],
        ["sieves ↓", PLANE.left + 2, y(take) + 9, "start"]];
  });
}

/** A point and its two intervals: a disc for help, a diamond for harm. */
function drawPoint(each, x, y, xs, ys) {
  const [px, py] = [x(each.give.value), y(each.take.value)];
  const chosen = state.task === each.task;
  const parts = [s("title", {}, sayPoint(each))];
  if (known(each.give.low) && known(each.take.low)) {
    const within = (value, ends) => clamp(value, ends[0], ends[1]);
    parts.push(s("path", { class: "whisker",
      d: `M${x(within(each.give.low, xs))} ${py}H${x(within(each.give.high, xs))}` +
        `M${px} ${y(within(each.take.low, ys))}V${y(within(each.take.high, ys))}` }));
  }
  const r = chosen ? 7 : 5;
  parts.push(each.sign > 0 ? s("circle", { class: "dot", cx: px, cy: py, r })
    : s("path", { class: "dot", d: `M${px} ${py - r - 1}L${px + r + 1} ${py}L${px} ${py + r + 1}L${px - r - 1} ${py}Z` }));
  return s("g", { class: `spot ${each.name}${chosen ? " chosen" : ""}`, role: "button",
    "data-task": each.task, "data-sign": each.name, "aria-pressed": String(chosen),
    "data-give": each.give.value.toPrecision(6), "data-take": each.take.value.toPrecision(6),
    "aria-label": sayPoint(each) }, parts);
}

function sayPoint(each) {
  const range = (part) => (known(part.low) ? ` (${show(part.low, 3)} to ${show(part.high, 3)})` : "");
  const word = each.sign > 0 ? "helps" : "harms";
  return `${long(each.task)}: ${word} others by ${show(each.give.value, 3)}${range(each.give)}, ` +
    `others ${word.slice(0, -1)} it by ${show(each.take.value, 3)}${range(each.take)}`;
}

/** Names beside their points, each at the first of eight places where it covers nothing. */
function pointLabels(points, x, y) {
  const taken = points.map((each) => {
    const [px, py] = [x(each.give.value), y(each.take.value)];
    return [px - 6, py - 6, px + 6, py + 6];
  });
  const sides = parts(points, x, y);
  for (const [words, at, up, anchor] of sides) {
    const left = anchor === "end" ? at - 5.6 * words.length : at;
    taken.push([left, up - 6, left + 5.6 * words.length, up + 6]);
  }
  const free = (box) => box[0] > PLANE.left && box[2] < PLANE.width && box[1] > 0 &&
    box[3] < PLANE.height - PLANE.bottom &&
    taken.every((other) => box[0] > other[2] || box[2] < other[0] || box[1] > other[3] || box[3] < other[1]);
  const places = [[9, 0], [-9, 0], [0, -13], [0, 13], [9, -11], [9, 11], [-9, -11], [-9, 11]];
  const first = [...points].sort((a, b) => (b.task === state.task) - (a.task === state.task));
  const labels = first.map((each) => {
    const [px, py] = [x(each.give.value), y(each.take.value)];
    const name = each.task === state.task ? named(each.task, long) : named(each.task, short);
    const wide = 6.6 * name.length;
    for (const [dx, dy] of places) {
      const left = dx > 0 ? px + dx : dx < 0 ? px + dx - wide : px - wide / 2;
      const box = [left, py + dy - 6, left + wide, py + dy + 6];
      if (!free(box)) continue;
      taken.push(box);
      return s("text", { class: `label ${each.name}${each.task === state.task ? " chosen" : ""}`,
        x: left, y: py + dy, "dominant-baseline": "central", "font-size": 11 }, name);
    }
    return null; // no room: its name is in the title of its point
  });
  const roles = sides.map(([words, at, up, anchor]) => s("text", { class: "group", x: at, y: up,
    "text-anchor": anchor, "dominant-baseline": "central", "font-size": 10.5 }, words));
  return s("g", { "aria-hidden": "true" }, roles, labels.filter(Boolean));
}

function planeClicked(event) {
  const spot = event.target.closest("[data-task]");
  if (spot) chooseTask(Number(spot.dataset.task));
}

function planePressed(event) {
  if (roved(event, plane, ".spot")) return;
  const spot = event.target.closest("[data-task]");
  if (!spot || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  const { task, sign } = spot.dataset;
  chooseTask(Number(task));
  const again = plane.querySelector(`.spot[data-task="${task}"][data-sign="${sign}"]`);
  if (again) again.focus();
  rove(plane, ".spot");
}
