// The state of the explorer: one object, held in the address bar; every view draws from it.

const data = JSON.parse(byId("explorer-data").textContent);
const count = { sources: data.sources.length, targets: data.targets.length };

const ARROWS = 80; // about as many as can be followed

const START = {
  model: data.models.length - 1, // the largest
  seed: -1, // the mean over seeds
  measure: data.measure,
  against: "base", // or "placebo"
  order: "given", // or cluster, level, granularity, name
  // Share of the strongest edges of each sign, in percent: the analysis's, less of very many tasks.
  keep: Math.min(data.keep, Math.ceil((100 * ARROWS) / (count.sources * count.targets))),
  sign: "both", // or positive, negative
  sure: false, // whether edges within noise are left out
  task: -1, // a place in data.tasks
  source: -1, // a chosen cell: places in data.sources and data.targets
  target: -1,
};
const state = { ...START };
const CHOICES = ["model", "task", "source", "target"]; // to which the browser's back returns
const views = [];
const concerned = {}; // by a key of the state: the views that show a change of it, where not all do

const ORDERS = { given: "as given", cluster: "by cluster", level: "by level",
  granularity: "by granularity", name: "by name" };
const long = (task) => data.tasks[task].long;
const short = (task) => data.tasks[task].short;
const model = () => data.models[state.model];
const hasCell = () => state.source >= 0 && state.target >= 0;

/** Changes the selection, draws what shows it again and puts it into the address. */
function change(changes) {
  Object.assign(state, changes);
  settle();
  remember(Object.keys(changes).some((key) => CHOICES.includes(key)));
  draw(Object.keys(changes));
}

/** Makes choices that cannot be together fit: a seed or a placebo that the model has not. */
function settle() {
  if (state.seed >= model().seeds.length) state.seed = -1;
  if (!model().adjusted) state.against = "base";
  if (state.measure !== data.measure && !model().factors[state.measure]) {
    state.measure = data.measure;
  }
}

/** Chooses a task everywhere; choosing it again clears the selection. */
function chooseTask(task) {
  change({ task: task === state.task && !hasCell() ? -1 : task, source: -1, target: -1 });
}

/** Chooses a cell, and its source as the task. */
function chooseCell(source, target) {
  change({ source, target, task: data.sources[source] });
}

function clear() {
  change({ task: -1, source: -1, target: -1 });
}

/** Draws the views again that show one of these keys of the state; without keys, all. */
function draw(keys) {
  const some = keys && keys.every((key) => key in concerned);
  for (const view of new Set(some ? keys.flatMap((key) => concerned[key]) : views)) view();
}

// The address holds names where there are names, so that a link still fits a larger study.

/** The view as an address writes it; empty for the one that the page begins with. */
function address() {
  const parts = new URLSearchParams();
  const differs = (key) => state[key] !== START[key];
  if (differs("model")) parts.set("model", model().label);
  if (differs("seed")) parts.set("seed", model().seeds[state.seed]);
  for (const key of ["measure", "against", "order", "sign", "keep"]) {
    if (differs(key)) parts.set(key, state[key]);
  }
  if (state.sure) parts.set("sure", "yes");
  if (hasCell()) {
    parts.set("source", long(data.sources[state.source]));
    parts.set("target", long(data.targets[state.target]));
  } else if (state.task >= 0) {
    parts.set("task", long(state.task));
  }
  return parts.toString();
}

/** Puts what is in view into the address; as a step, so that the browser's back undoes it. */
function remember(step) {
  const view = address();
  const here = location.href.split("#")[0];
  const known = history.state && history.state.view;
  const put = step && view !== known ? "pushState" : "replaceState";
  history[put]({ view }, "", view ? here + "#" + view : here);
}

/** Shows again what was in view at a step of the browser's history. */
function goBack(view) {
  Object.assign(state, START);
  recall("#" + view, START);
  draw();
}

/** What an address names: places of a model, a task, a source and a target; -1 for none. */
function places(parts) {
  const place = (list, key) => (parts.has(key) ? list.indexOf(parts.get(key)) : -1);
  return { model: place(data.models.map((each) => each.label), "model"),
    task: place(data.tasks.map((each) => each.long), "task"),
    source: place(data.sources.map(long), "source"),
    target: place(data.targets.map(long), "target") };
}

/**
 * Reads a view from an address; false where it names none. What the address does not say is as it
 * is in `from`.
 */
function recall(hash, from) {
  const text = hash.slice(1);
  if (!text.includes("=")) return false;
  const parts = new URLSearchParams(text);
  const named = places(parts);
  const next = { ...from, ...named, model: named.model >= 0 ? named.model : from.model };
  if (parts.has("seed")) next.seed = data.models[next.model].seeds.indexOf(parts.get("seed"));
  const allowed = { measure: Object.keys(data.measures), against: ["base", "placebo"],
    order: Object.keys(ORDERS), sign: ["both", "positive", "negative"] };
  for (const [key, values] of Object.entries(allowed)) {
    if (values.includes(parts.get(key))) next[key] = parts.get(key);
  }
  const keep = Number(parts.get("keep"));
  if (keep >= 1 && keep <= 100) next.keep = Math.round(keep);
  if (parts.has("sure")) next.sure = parts.get("sure") === "yes";
  if (next.source < 0 || next.target < 0) next.source = next.target = -1;
  else next.task = data.sources[next.source];
  Object.assign(state, next);
  settle();
  return true;
}
