// What stands outside the explorer follows it: links to tasks, rows of tables, names in figures.

const links = Array.from(document.querySelectorAll("a.task"), (node) =>
  ({ node, row: node.closest("tr"), ...places(new URLSearchParams(node.hash.slice(1))) }));
const rowsOf = new Map();
for (const each of links) {
  if (each.row) rowsOf.set(each.row, [...(rowsOf.get(each.row) || []), each]);
}
const taskByName = new Map();
data.tasks.forEach((task, place) => taskByName.set(task.short, place));
data.tasks.forEach((task, place) => taskByName.set(task.long, place));

const isPair = (each) => each.source >= 0 && each.target >= 0;
const inPair = (each, task) => data.sources[each.source] === task || data.targets[each.target] === task;

/** Whether a link leads to what is chosen, or to a part of it. */
function meant(each) {
  if (hasCell()) {
    return isPair(each) ? each.source === state.source && each.target === state.target
      : inPair(state, each.task);
  }
  return state.task >= 0 && (isPair(each) ? inPair(each, state.task) : each.task === state.task);
}

/** A row is chosen with any of its tasks; one about pairs, where a cell is chosen, with its own. */
function rowMeant(its) {
  const about = hasCell() && its.some(isPair) ? its.filter(isPair) : its;
  const here = its.every((each) => each.model < 0 || each.model === state.model);
  return about.some(meant) && (here || !hasCell());
}

function drawLinked() {
  for (const each of links) {
    const chosen = meant(each);
    each.node.classList.toggle("chosen", chosen);
    if (chosen) each.node.setAttribute("aria-current", "true");
    else each.node.removeAttribute("aria-current");
  }
  for (const [row, its] of rowsOf) row.classList.toggle("chosen", rowMeant(its));
  for (const box of document.querySelectorAll(".chart")) markNames(box);
}

/** The place of the task that a text in a figure names, also where its end was cut off. */
function taskNamed(text) {
  const found = taskByName.get(text) ?? taskByName.get(text.split(" · ")[0]);
  if (found !== undefined || !text.endsWith("…")) return found;
  const fits = data.tasks.filter((task) => task.long.startsWith(text.slice(0, -1)));
  return fits.length === 1 ? data.tasks.indexOf(fits[0]) : undefined;
}

/** Tasks by name, and the groups that the chosen task belongs to, wherever a figure writes them. */
function markNames(box) {
  const chosen = hasCell() ? [data.sources[state.source], data.targets[state.target]] : [state.task];
  const grouped = box.closest("#categories") !== null;
  const groups = chosen.filter((task) => task >= 0)
    .flatMap((task) => [data.tasks[task].level, data.tasks[task].granularity]);
  for (const node of box.querySelectorAll(".role-axis-label text, .mark-text:not(.role-legend-label) text")) {
    const task = grouped ? undefined : taskNamed(node.textContent);
    const group = grouped ? node.textContent.replace(/ \(\d+\)$/, "") : null;
    node.classList.toggle("task-name", task !== undefined);
    if (task !== undefined) node.dataset.task = task;
    node.classList.toggle("chosen", chosen.includes(task) || (grouped && groups.includes(group)));
  }
}

function figureClicked(event) {
  const node = event.target.closest(".chart .task-name");
  if (node) chooseTask(Number(node.dataset.task));
}
