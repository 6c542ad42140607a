// Controls, events, and the first drawing.

const CONTROLS = ["model", "seed", "measure", "against", "order", "task"];
const control = (key) => byId("explorer-" + key);
const option = (value, words) => h("option", { value }, words);

/** Fills the choices that do not depend on others; a choice of one is not worth a control. */
function prepare() {
  control("model").replaceChildren(...data.models.map((each, n) => option(n, each.label)));
  control("order").replaceChildren(...Object.entries(ORDERS).filter(([key]) =>
    !(key in data.kinds) || data.kinds[key].length > 1).map(([key, words]) => option(key, words)));
  control("task").replaceChildren(option(-1, "none"), ...data.tasks.map((task, n) => option(n, task.long)));
  control("model").parentElement.hidden = data.models.length < 2;
  for (const key of CONTROLS) control(key).addEventListener("change", chosen);
  control("keep").addEventListener("input", () => change({ keep: Number(control("keep").value) }));
  control("sure").addEventListener("change", () => change({ sure: control("sure").checked }));
  for (const radio of document.querySelectorAll("input[name=explorer-sign]")) {
    radio.addEventListener("change", () => change({ sign: radio.value }));
  }
  byId("explorer-clear").addEventListener("click", clear);
}

function chosen(event) {
  const key = event.target.id.replace("explorer-", "");
  const value = event.target.value;
  if (key === "task") change({ task: Number(value), source: -1, target: -1 });
  else change({ [key]: key === "model" || key === "seed" ? Number(value) : value });
}

/** Shows the selection in the controls, with the choices that the model in view has. */
function drawControls() {
  const seeds = model().seeds;
  control("seed").replaceChildren(option(-1, seeds.length > 1 ? `mean of ${seeds.length}` : "single seed"),
    ...(seeds.length > 1 ? seeds.map((seed, n) => option(n, seed)) : []));
  const measures = [data.measure, ...Object.keys(model().factors).filter((key) => key !== data.measure)];
  control("measure").replaceChildren(...measures.map((key) => option(key, data.measures[key])));
  const { adjusted } = model();
  control("against").replaceChildren(option("base", "the base"),
    ...(adjusted ? [option("placebo", `the placebo (${adjusted.placebo})`)] : []));
  control("seed").parentElement.hidden = data.models.every((each) => each.seeds.length < 2);
  control("against").parentElement.hidden = data.models.every((each) => !each.adjusted);
  control("measure").parentElement.hidden = data.models.every((each) => !Object.keys(each.factors).length);
  for (const key of CONTROLS) control(key).value = String(state[key]);
  control("keep").value = state.keep;
  control("sure").checked = state.sure;
  for (const radio of document.querySelectorAll("input[name=explorer-sign]")) {
    radio.checked = radio.value === state.sign;
  }
  byId("explorer-clear").disabled = state.task < 0;
}

/** What the view is, in one line: also what a printed page has instead of controls. */
function drawCaption() {
  const seed = state.seed < 0 ? `mean of ${model().seeds.length} seeds` : `seed ${model().seeds[state.seed]}`;
  const beyond = state.against === "placebo" ? `beyond the placebo (${model().adjusted.placebo})` : "against the base";
  const alone = state.seed >= 0 ? " A single seed has no interval." : "";
  const other = state.seed < 0 && ![data.measure, "raw_gain"].includes(state.measure)
    ? " Filled and hollow follow the intervals of the changes of accuracy." : "";
  byId("explorer-caption").textContent =
    `${model().label}, ${seed}, ${data.measures[state.measure]} ${beyond}.${alone}${other}`;
}

/** Draws a view that was linked to and goes there. */
function arrive(step) {
  remember(step);
  draw();
  byId("explore").scrollIntoView();
}

/** For print: the heatmaps of all models, and the rows of tables that were folded away. */
function unfold() {
  copyHeatmaps();
  for (const rest of document.querySelectorAll("details.more:not([open])")) {
    rest.open = rest.dataset.folded = true;
  }
}

function fold() {
  byId("explorer-copies").replaceChildren();
  for (const rest of document.querySelectorAll("details[data-folded]")) {
    rest.open = false;
    delete rest.dataset.folded;
  }
}

function listen() {
  heatmap.addEventListener("keydown", pressed);
  heatmap.addEventListener("pointermove", pointed);
  heatmap.addEventListener("pointerleave", drawReadout);
  heatmap.addEventListener("click", clicked);
  heatmap.parentElement.addEventListener("scroll", () =>
    heatmap.style.setProperty("--scrolled", `${heatmap.parentElement.scrollLeft}px`));
  graphBox.addEventListener("click", graphClicked);
  graphBox.addEventListener("keydown", graphPressed);
  plane.addEventListener("click", planeClicked);
  plane.addEventListener("keydown", planePressed);
  cliqueBox.addEventListener("click", cliqueClicked);
  cliqueBox.addEventListener("keydown", cliquePressed);
  detail.addEventListener("click", detailClicked);
  detail.addEventListener("keydown", detailPressed);
  document.addEventListener("click", figureClicked);
  document.addEventListener("drawn", (event) => markNames(event.target));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.task >= 0) clear();
  });
  window.addEventListener("popstate", ({ state: at }) => at && goBack(at.view));
  window.addEventListener("hashchange", () => {
    if (history.state) return; // a step back, which is shown already
    if (recall(location.hash, START)) arrive();
    else if (address()) remember(); // a link to a section does not drop the view from the address
    else history.replaceState({ view: "" }, "");
  });
  for (const { node } of links) {
    node.addEventListener("click", (event) => {
      event.preventDefault(); // as the link has it, but all else stays as it is
      if (recall(node.hash, state)) arrive(true);
    });
  }
  window.addEventListener("beforeprint", unfold);
  window.addEventListener("afterprint", fold);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) [drawHeatmap, drawPlane].forEach((view) => view());
    width = window.innerWidth;
  });
}

views.push(drawControls, drawCaption, drawHeatmap, drawLegend, drawReadout, drawGraph, drawPlane, drawCliques,
  drawDetail, drawItems, drawLinked);
concerned.keep = concerned.sure = [drawControls, drawGraph];
concerned.sign = [drawControls, drawGraph, drawPlane, drawCliques];
concerned.task = concerned.source = concerned.target = [drawControls, drawChoice, drawReadout,
  drawGraph, drawPlane, drawCliques, drawDetail, drawItems, drawLinked];
byId("explore").hidden = false;
prepare();
listen();
if (recall(location.hash, START)) arrive();
else {
  history.replaceState({ view: "" }, ""); // the first step
  draw();
}
