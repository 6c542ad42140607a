// The heatmap: sources down, targets across. Filled is beyond noise, hollow may be noise.

const heatmap = byId("explorer-heatmap");
const readout = byId("explorer-readout");
const NUMBERS = 24; // pixels of a cell from which it holds its number
const cursor = { row: 0, column: 0 };
let grid = null; // the order of rows and columns and the size of a cell, as last drawn

/** Sizes that fit the space there is: full names where they leave room, small cells where not. */
function measureGrid() {
  const room = heatmap.parentElement.clientWidth || 600;
  const letters = (tasks, name) => Math.max(...tasks.map((task) => name(task).length));
  const wide = 7.4 * letters(data.sources, long) + 12;
  const narrow = 8 * Math.min(letters(data.sources, short), 8) + 10;
  const full = room - wide >= 26 * count.targets;
  const left = full ? wide : narrow;
  const least = room > 500 ? 9 : 12; // on a phone a cell must take a finger; the grid scrolls
  const side = clamp(Math.floor((2 * (room - left - 2)) / count.targets) / 2, least, 40);
  const upright = letters(data.targets, short) <= 3 && side >= 22;
  const names = upright ? 20 : 7 * Math.min(letters(data.targets, short), 12) + 10;
  const top = names + (data.kinds[state.order] ? 16 : 0); // groups have names above those of tasks
  return { left, top, side, full, upright,
    rows: ordered(data.sources), columns: ordered(data.targets) };
}

function drawHeatmap() {
  const focused = document.activeElement === heatmap;
  grid = measureGrid();
  const width = grid.left + grid.side * count.targets + 2;
  const height = grid.top + grid.side * count.sources + 2;
  fill(heatmap, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
  heatmap.setAttribute("aria-rowcount", count.sources);
  heatmap.setAttribute("aria-colcount", count.targets);
  const rows = grid.rows.map((i, row) => s("g", { role: "row" },
    grid.columns.map((j, col) => drawCell(i, j, row, col))));
  const marks = grid.rows.flatMap((i, row) => grid.columns.map((j, col) => marksOf(i, j, row, col)));
  heatmap.replaceChildren(s("g", { class: "columns" }, grid.columns.map(columnLabel)), ...rows,
    s("g", { class: "marks", "aria-hidden": "true" }, marks, groupMarks()));
  drawChoice();
  if (focused) heatmap.focus();
}

/** What shows the choice, over cells that stay as they are. */
function drawChoice() {
  for (const old of heatmap.querySelectorAll(".band, .rings, .rows")) old.remove();
  heatmap.append(band(), ring(), rowLabels());
  for (const label of heatmap.querySelectorAll(".columns text")) {
    label.classList.toggle("chosen", label.dataset.task === String(state.task));
  }
  moveCursor(0, 0);
  const across = grid.columns.findIndex((j) => data.targets[j] === state.task);
  intoSight(hasCell() ? grid.columns.indexOf(state.target) : across);
}

const named = (task, name) => {
  const text = name(task);
  const most = name === long ? 40 : 10;
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
};

/** The names of rows, which stay in sight when a wide grid scrolls under them. */
function rowLabels() {
  const high = grid.side * count.sources;
  return s("g", { class: "rows" },
    s("rect", { class: "ground", x: 0, y: grid.top, width: grid.left - 1, height: high }),
    grid.rows.map(rowLabel));
}

/** Scrolls a wide grid so that a column is seen. */
function intoSight(col) {
  const box = heatmap.parentElement;
  const x = grid.left + col * grid.side;
  const seen = x - grid.left >= box.scrollLeft && x + grid.side <= box.scrollLeft + box.clientWidth;
  if (col >= 0 && !seen) box.scrollLeft = x - (box.clientWidth + grid.left) / 2;
}

function rowLabel(i, row) {
  const task = data.sources[i];
  const chosen = state.task === task ? " chosen" : "";
  return s("text", { class: "axis" + chosen, "data-row": i, x: grid.left - 6, "text-anchor": "end",
    y: grid.top + (row + 0.5) * grid.side, "dominant-baseline": "central", "data-task": task,
    "font-size": clamp(grid.side * 0.9, 8, 12) }, named(task, grid.full ? long : short));
}

function columnLabel(j, col) {
  const task = data.targets[j];
  const x = grid.left + (col + 0.5) * grid.side;
  const turn = grid.upright ? null : `rotate(-90 ${x} ${grid.top - 6})`;
  return s("text", { class: "axis", "data-column": j, x, y: grid.top - 6, transform: turn,
    "text-anchor": grid.upright ? "middle" : "start", "data-task": task,
    "dominant-baseline": grid.upright ? "auto" : "central",
    "font-size": clamp(grid.side * 0.9, 8, 12) }, named(task, short));
}

/** A cell: hollow where it may be noise, hatched by a cross where it was not measured. */
function drawCell(i, j, row, col) {
  const found = cell(i, j);
  const inset = grid.side > 18 ? 1 : 0.5;
  const hollow = found.beyond === 0;
  const line = hollow ? clamp(grid.side / 14, 1, 2) : 0;
  const kind = known(found.value) ? shade(found.value, limit()) : "missing";
  return s("rect", { id: `cell-${i}-${j}`, role: "gridcell", "data-i": i, "data-j": j,
    class: `cell ${kind}${hollow ? " hollow" : ""}`, "stroke-width": line, rx: 2,
    x: grid.left + col * grid.side + inset + line / 2,
    y: grid.top + row * grid.side + inset + line / 2,
    width: grid.side - 2 * inset - line, height: grid.side - 2 * inset - line,
    "data-value": known(found.value) ? found.value.toPrecision(6) : null,
    "aria-colindex": col + 1, "aria-label": describe(i, j) });
}

/** Where rows and columns are in the order of groups: lines between these, and their names. */
function groupMarks() {
  if (!data.kinds[state.order]) return [];
  const runs = (places, tasks) => places.reduce((found, place, n) => {
    const group = data.tasks[tasks[place]][state.order] || "none";
    if (found.length && found[found.length - 1].group === group) found[found.length - 1].size += 1;
    else found.push({ group, from: n, size: 1 });
    return found;
  }, []);
  const [wide, high] = [grid.side * count.targets, grid.side * count.sources];
  const across = runs(grid.columns, data.targets).flatMap(({ group, from, size }) => {
    const x = grid.left + from * grid.side;
    const name = 6.2 * group.length < size * grid.side ? s("text", { class: "group", x: x + (size * grid.side) / 2,
      y: 10, "text-anchor": "middle", "font-size": 11 }, group) : null;
    return [from ? s("path", { class: "divide", d: `M${x} 2V${grid.top + high}` }) : null, name];
  });
  const down = runs(grid.rows, data.sources).map(({ from }) => from
    ? s("path", { class: "divide", d: `M${grid.left - 4} ${grid.top + from * grid.side}h${wide + 4}` }) : null);
  return [...across, ...down].filter(Boolean);
}

/** What stands on a cell: its number or, where it is small, the sign of a harm beyond noise. */
function marksOf(i, j, row, col) {
  const found = cell(i, j);
  const [x, y] = [grid.left + (col + 0.5) * grid.side, grid.top + (row + 0.5) * grid.side];
  const drawn = [];
  if (isOwn(i, j)) {
    drawn.push(s("rect", { class: "own", x: x - grid.side / 2 + 0.5, y: y - grid.side / 2 + 0.5,
      width: grid.side - 1, height: grid.side - 1, rx: 2 }));
  }
  if (!known(found.value)) {
    const a = grid.side * 0.22;
    drawn.push(s("path", { class: "unmeasured", d: `M${x - a} ${y - a}l${2 * a} ${2 * a}` }));
    return drawn;
  }
  // From here on `shade` rounds to more than two thirds of the way, where ink changes.
  const strong = found.beyond !== 0 && Math.abs(found.value) > limit() * 0.75;
  const tone = found.beyond === 0 ? "faint" : strong ? "on-strong" : "on-weak";
  if (grid.side >= NUMBERS) {
    drawn.push(s("text", { class: "number " + tone, x, y, "text-anchor": "middle",
      "dominant-baseline": "central", "font-size": clamp(grid.side * 0.31, 8, 11) },
      shortNumber(found.value)));
  } else if (found.value < 0 && found.beyond !== 0) {
    const a = grid.side * 0.25;
    drawn.push(s("path", { class: "minus " + tone, d: `M${x - a} ${y}h${2 * a}` }));
  }
  if (model().answers[`${i},${j}`] && model().answers[`${i},${j}`].startsWith("collapsed")) {
    const [a, b] = [x + grid.side / 2 - 1, y - grid.side / 2 + 1];
    const cut = clamp(grid.side * 0.28, 3, 9);
    drawn.push(s("path", { class: "collapsed", d: `M${a - cut} ${b}H${a}V${b + cut}Z` }));
  }
  return drawn;
}

/** A number without plus, and without its leading zero where there is little room. */
function shortNumber(value) {
  const long = Math.abs(value * scale().times) >= 0.995 && grid.side < 36;
  const digits = state.measure !== "pgf" ? 0 : long ? 1 : 2;
  const text = show(value, digits).replace("+", "");
  return grid.side < 32 ? text.replace("0.", ".") : text;
}

/** A frame around the chosen task's row and column. */
function band() {
  if (state.task < 0) return s("g", {});
  const row = grid.rows.findIndex((i) => data.sources[i] === state.task);
  const col = grid.columns.findIndex((j) => data.targets[j] === state.task);
  const [wide, high] = [grid.side * count.targets, grid.side * count.sources];
  const frames = [];
  if (row >= 0) frames.push([grid.left, grid.top + row * grid.side, wide, grid.side]);
  if (col >= 0 && !hasCell()) frames.push([grid.left + col * grid.side, grid.top, grid.side, high]);
  return s("g", { class: "band" }, frames.map(([x, y, width, height]) =>
    s("rect", { x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1, rx: 3 })));
}

/** A ring around the chosen cell, and one around the keyboard's. */
function ring() {
  const box = (kind, row, col) => s("rect", { class: kind, rx: 3, width: grid.side, height: grid.side,
    x: grid.left + col * grid.side, y: grid.top + row * grid.side });
  const rings = [box("cursor", cursor.row, cursor.column)];
  if (hasCell()) {
    rings.push(box("picked", grid.rows.indexOf(state.source), grid.columns.indexOf(state.target)));
  }
  return s("g", { class: "rings", "aria-hidden": "true" }, rings);
}

/** One cell in words, for screen readers and for the line under the heatmap. */
function describe(i, j) {
  const found = cell(i, j);
  const pair = `${long(data.sources[i])} → ${long(data.targets[j])}`;
  const change = points(found.place, j);
  if (!known(found.value)) return [`${pair}: ${verdict(found)}`, change].filter(Boolean).join("; ");
  const range = interval(found);
  const own = isOwn(i, j) ? ", self-transfer" : "";
  const items = column(model().items, found.place);
  return `${pair}${own}: ${show(found.value)} ${scale().unit}${range ? ` (${range})` : ""}` +
    `${change ? ` or ${change}` : ""}${known(items) ? ` on ${Math.round(items)} items` : ""}, ${verdict(found)}`;
}

// The keyboard's place is one cell; the browser keeps the focus on the whole grid.

function moveCursor(down, right) {
  cursor.row = clamp(cursor.row + down, 0, count.sources - 1);
  cursor.column = clamp(cursor.column + right, 0, count.targets - 1);
  const [i, j] = [grid.rows[cursor.row], grid.columns[cursor.column]];
  heatmap.setAttribute("aria-activedescendant", `cell-${i}-${j}`);
  const mark = heatmap.querySelector(".cursor");
  fill(mark, { x: grid.left + cursor.column * grid.side, y: grid.top + cursor.row * grid.side }, []);
  return [i, j];
}

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  Home: [0, -1000], End: [0, 1000], PageUp: [-1000, 0], PageDown: [1000, 0] };

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in MOVES) {
    pointTo(...moveCursor(...MOVES[event.key]));
    intoSight(cursor.column);
  } else if (event.key === "Enter" || event.key === " ") {
    chooseCell(...moveCursor(0, 0));
  } else {
    return;
  }
  event.preventDefault();
}

/** Announces a cell, and sets off the names of its row and column. */
function pointTo(i, j) {
  readout.textContent = describe(i, j);
  for (const label of heatmap.querySelectorAll("text.axis")) {
    const { row, column } = label.dataset;
    label.classList.toggle("pointed", row === String(i) || column === String(j));
  }
}

function pointed(event) {
  const { i, j } = event.target.dataset || {};
  if (i !== undefined) pointTo(Number(i), Number(j));
}

function clicked(event) {
  const { i, j, task } = event.target.dataset || {};
  if (task !== undefined) chooseTask(Number(task));
  if (i === undefined) return;
  cursor.row = grid.rows.indexOf(Number(i));
  cursor.column = grid.columns.indexOf(Number(j));
  const again = state.source === Number(i) && state.target === Number(j);
  if (again) clear();
  else chooseCell(Number(i), Number(j));
}

/** For print: a still copy of the heatmap of each model that is not in view. */
function copyHeatmaps() {
  const before = state.model;
  const copies = data.models.map((each, place) => {
    if (place === before) return null;
    state.model = place;
    settle();
    drawHeatmap();
    const copy = heatmap.cloneNode(true);
    for (const node of [copy, ...copy.querySelectorAll("[id]")]) node.removeAttribute("id");
    return h("figure", {}, h("figcaption", {}, each.label), copy);
  });
  state.model = before;
  drawHeatmap();
  byId("explorer-copies").replaceChildren(...copies.filter(Boolean));
}

function drawReadout() {
  readout.textContent = hasCell() ? describe(state.source, state.target)
    : "Point at a cell, or move with the arrow keys; click or press Enter to choose, Esc to clear.";
}

/** The key to the colors, written anew because its ends depend on the measure. */
function drawLegend() {
  const end = limit();
  const steps = Array.from({ length: 13 }, (_, n) =>
    s("rect", { class: "d" + n, x: n * 14, y: 0, width: 14, height: 10 }));
  const label = (x, value, anchor, sign) =>
    s("text", { class: "axis", x, y: 24, "text-anchor": anchor, "font-size": 11 }, sign + show(value));
  const beyond = data.sources.some((_, i) => data.targets.some((__, j) => Math.abs(cell(i, j).value) > end));
  byId("explorer-legend").replaceChildren(...steps, label(0, -end, "start", beyond ? "≤ " : ""),
    label(91, 0, "middle", ""), label(182, end, "end", beyond ? "≥ " : ""));
  byId("explorer-unit").textContent = scale().unit;
  byId("explorer-corner").hidden = !Object.values(model().answers).some((each) => each.startsWith("collapsed"));
}
