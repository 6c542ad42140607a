// The chosen task or cell in words and bars; without a choice, the extremes.

const detail = byId("explorer-detail");
const EXTREMES = 6;

function drawDetail() {
  const focused = document.activeElement && document.activeElement.dataset
    ? document.activeElement.dataset.cell : undefined;
  const parts = hasCell() ? cellDetail(state.source, state.target)
    : state.task >= 0 ? taskDetail(state.task) : overview();
  detail.replaceChildren(...parts.filter((part) => part !== null));
  const again = focused && detail.querySelector(`[data-cell="${focused}"]`);
  if (again) again.focus();
  for (const list of detail.querySelectorAll(".bars")) rove(list, "button");
}

function detailPressed(event) {
  const list = event.target.closest(".bars");
  if (list) roved(event, list, "button");
}

function overview() {
  const all = pairs().sort((a, b) => b.value - a.value);
  const best = all.filter((each) => each.value > 0).slice(0, EXTREMES);
  const worst = all.filter((each) => each.value < 0).slice(-EXTREMES).reverse();
  const name = (each) => `${long(data.sources[each.i])} → ${long(data.targets[each.j])}`;
  return [h("h3", {}, "Strongest effects"),
    h("p", { class: "hint screen" }, "Choose a task or a cell anywhere; the whole page follows."),
    h("h4", {}, "Helps most"), bars(best, name),
    h("h4", {}, "Harms most"), worst.length ? bars(worst, name) : h("p", {}, "No effect below 0.")];
}

function taskDetail(task) {
  const { level, granularity, roles } = data.tasks[task];
  const [i, j] = [data.sources.indexOf(task), data.targets.indexOf(task)];
  const facts = [level && `${level} level`, granularity && `${granularity} granularity`,
    j >= 0 && known(model().base[j]) && `${model().label} without finetuning: ${percent(model().base[j])}`,
    roles.length && `${roles.join(" and ")}${data.models.length > 1 ? " in every model" : ""}`];
  const parts = [h("h3", {}, long(task)), h("p", { class: "hint" }, facts.filter(Boolean).join(" · "))];
  if (i >= 0) {
    const row = data.targets.map((_, k) => ({ i, j: k, ...cell(i, k) }));
    parts.push(h("h4", {}, "What it gives as a source"),
      bars(sortedBars(row), (each) => long(data.targets[each.j])));
  }
  if (j >= 0) {
    const col = data.sources.map((_, k) => ({ i: k, j, ...cell(k, j) }));
    parts.push(h("h4", {}, "What it takes as a target"),
      bars(sortedBars(col), (each) => long(data.sources[each.i])), advice(j));
  }
  return [...parts, ...taskInModels(i, j)];
}

/** A task's transferability and malleability in every model. */
function taskInModels(i, j) {
  const before = state.model;
  const kinds = [["give", i], ["take", j]].filter(([, place]) => place >= 0);
  const heads = { give: ["helps others", "harms others"], take: ["is helped", "is harmed"] };
  const rows = data.models.map((each, place) => {
    state.model = place; // values are always those of the model in view
    const fits = (state.against === "base" || each.adjusted) && state.seed < each.seeds.length &&
      (state.measure === data.measure || each.factors[state.measure]);
    const parts = kinds.flatMap(([kind, index]) => [1, -1].map((sign) => fits ? side(kind, index, sign) : null));
    return h("tr", {}, h("th", { scope: "row" }, place === before ? each.label
      : h("button", { type: "button", class: "link", "data-model": place }, each.label)),
    parts.map((part) => h("td", {}, show(part && part.value, Math.min(scale().digits + 1, 3)))));
  });
  state.model = before;
  return [h("h4", {}, `On average, in ${scale().unit}`), h("table", {},
    h("thead", {}, h("tr", {}, h("td", {}), kinds.flatMap(([kind]) => heads[kind]).map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows))];
}

const sortedBars = (cells) =>
  cells.filter((each) => known(each.value)).sort((a, b) => b.value - a.value);

/** A list of effects, each a button that chooses its cell: name, bar with interval, number. */
function bars(cells, name) {
  if (!cells.length) return h("p", {}, "Not measured.");
  const ends = cells.flatMap((each) => [each.value, each.low, each.high]).filter(known);
  // An interval may be far longer than any effect; it is cut off rather than squash the bars.
  const sizes = cells.map((each) => Math.abs(each.value));
  const reach = Math.min(Math.max(...ends.map(Math.abs)), 1.6 * Math.max(...sizes)) || 1;
  return h("ul", { class: "bars" }, cells.map((each) => {
    const chosen = each.i === state.source && each.j === state.target;
    return h("li", {}, h("button", { type: "button", "data-cell": `${each.i}-${each.j}`,
      "aria-label": describe(each.i, each.j), "aria-pressed": String(chosen) },
      h("span", { class: "name" }, name(each)), bar(each, reach),
      h("span", { class: "value" }, show(each.value))));
  }));
}

function bar(each, reach) {
  const x = (value) => 50 + 50 * clamp(value / reach, -1, 1);
  const kind = each.value >= 0 ? "positive" : "negative";
  const [from, to] = [x(0), x(each.value)].sort((a, b) => a - b);
  const drawn = [s("path", { class: "zero", d: "M50 0V14" }),
    s("rect", { class: `bar ${kind}${each.beyond === 0 ? " hollow" : ""}`, x: from, y: 4,
      width: Math.max(to - from, 0.6), height: 6 })];
  if (known(each.low)) {
    drawn.push(s("path", { class: "whisker", d: `M${x(each.low)} 7H${x(each.high)}` }));
  }
  return s("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" }, drawn);
}

/** What to train on for a target, by the default rule of the selection. */
const advice = (j) => h("p", { class: "advice" }, model().advice[j]);

function cellDetail(i, j) {
  const [source, target] = [data.sources[i], data.targets[j]];
  const found = cell(i, j);
  const link = (task) => h("button", { type: "button", class: "link", "data-choose": task }, long(task));
  const rows = [["effect", `${show(found.value)} ${scale().unit}`],
    ["interval", interval(found) || "–"], ["verdict", verdict(found)]];
  const change = points(found.place, j);
  if (change) rows.unshift(["change in accuracy", change]);
  if (state.seed < 0) {
    const [expected, sure, p, q] =
      ["expected", "confidence", "p", "q"].map((name) => column(table()[name], found.place));
    if (known(expected)) rows.push(["expected on new items and seeds", `${signed(100 * expected, 1)} points`]);
    if (known(sure)) rows.push(["probability of the right option", `${signed(100 * sure, 1)} points`]);
    if (known(p)) rows.push(["p of the interval", chance(p)]);
    if (known(q)) rows.push(["q, FDR-corrected over all cells", chance(q)]);
  }
  const { base } = model().own[found.place] || { base: model().base[j] };
  if (known(base)) rows.push(["base accuracy", percent(base)]);
  const flips = column(model().flips, found.place);
  if (flips) rows.push(["items", `${trim(flips[0])} fixed, ${trim(flips[1])} broken of ${trim(flips[2])}`]);
  const items = column(model().items, found.place);
  if (!flips && known(items)) rows.push(["items", trim(items)]);
  if (leftOut(found.place, state.seed < 0 ? null : state.seed)) rows.push(["averages", "excluded: too few items"]);
  const answers = model().answers[`${i},${j}`];
  if (answers) rows.push(["answers", answers]);
  return [h("h3", {}, link(source), " → ", link(target)),
    h("p", { class: "hint" }, `${model().label} finetuned on the first, evaluated on the second` +
      (isOwn(i, j) ? ": self-transfer" : "")),
    h("table", {}, h("tbody", {}, rows.map(([name, value]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))))),
    ...seedDetail(found.place, j), ...elsewhere(i, j), itemHint(i, j)];
}

const trim = (value) => String(Math.round(10 * value) / 10);

/** The effect in each seed, as a list. */
function seedDetail(place, j) {
  if (model().seeds.length < 2) return [];
  const lines = model().seeds.map((seed, k) => h("li", {}, `seed ${seed}: ${show(seedValue(place, j, k))}`));
  return [h("h4", {}, "Seed by seed"), h("ul", { class: "seeds" }, lines)];
}

/** The same cell in the other models, each a button that goes there. */
function elsewhere(i, j) {
  if (data.models.length < 2 || state.seed >= 0) return [];
  const before = state.model;
  const rows = data.models.map((each, place) => {
    const same = (state.against === "base" || each.adjusted) &&
      (state.measure === data.measure || each.factors[state.measure]);
    if (!same) return [place, each.label];
    state.model = place; // values are always those of the model in view
    const found = cell(i, j);
    return [place, `${each.label}: ${show(found.value)}, ${verdict(found)}`];
  });
  state.model = before;
  return [h("h4", {}, "In every model"), h("ul", { class: "seeds" }, rows.map(([place, words]) =>
    h("li", {}, place === before ? h("b", {}, words)
      : h("button", { type: "button", class: "link", "data-model": place }, words))))];
}

function detailClicked(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const { cell: place, choose, model: other } = button.dataset;
  if (place) chooseCell(...place.split("-").map(Number));
  if (choose) change({ task: Number(choose), source: -1, target: -1 });
  if (other) change({ model: Number(other) });
}
