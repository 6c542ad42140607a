// Cliques: tasks that all help, or all harm, each other, and their size by chance.

const cliqueBox = byId("explorer-cliques");
const CLIQUES = 6; // of a sign that are listed; those of what is chosen come first

function drawCliques() {
  cliqueBox.replaceChildren(...shownSigns().map(([, sign]) => cliqueList(sign)));
  rove(cliqueBox, "button");
}

function cliqueList(sign) {
  const { [sign]: all, more, chance: line } = model().cliques;
  const verb = sign === "positive" ? "help" : "harm";
  const title = h("h4", {}, `Tasks that all ${verb} each other`);
  if (line[sign]) return h("div", {}, title, h("p", {}, line[sign]));
  const chosen = hasCell() ? [data.sources[state.source], data.targets[state.target]] : [state.task];
  const holds = (clique) => state.task >= 0 && chosen.every((task) => clique.tasks.includes(task));
  const first = [...all.filter(holds), ...all.filter((clique) => !holds(clique))];
  const hidden = Math.max(0, all.length - CLIQUES) + more[sign];
  return h("div", {}, title,
    h("ul", { class: "nulls" }, model().cliques.nulls.filter((each) => each.sign === sign).map(nullItem)),
    all.length ? h("ul", { class: "cliques" }, first.slice(0, CLIQUES).map((each) => cliqueItem(each, holds(each))))
      : h("p", {}, "No three tasks do."),
    hidden ? h("p", { class: "hint" }, `and ${hidden} more`) : null);
}

function cliqueItem(clique, chosen) {
  const chips = clique.tasks.map((task) => h("button", { type: "button", class: "chip", "data-choose": task,
    title: long(task), "aria-label": long(task), "aria-pressed": String(task === state.task) }, named(task, short)));
  const sure = clique.every_seed ? "in every seed" : "not in every seed";
  return h("li", { class: chosen ? "chosen" : null, "data-size": clique.tasks.length }, chips,
    h("small", {}, ` mean ${signed(clique.mean, 2)} ${SCALES[data.measure].unit}, ${sure}`));
}

/** How large the largest clique is under one null model, as bars, with the size that was found. */
function nullItem(each) {
  const sizes = Object.keys(each.sizes).map(Number).concat(each.observed);
  const [least, most] = [Math.max(2, Math.min(...sizes.filter(Boolean), 3)), Math.max(...sizes, 3)];
  const wide = most > 9 ? 17 : 13;
  const bars = [];
  for (let size = least; size <= most; size++) {
    const share = each.sizes[size] || 0;
    const [x, found] = [(size - least) * wide, size === each.observed];
    if (found) bars.push(s("path", { class: "found " + each.sign, d: `M${x + wide / 2} 0V26` }));
    bars.push(s("rect", { class: "share", x: x + 1.5, y: 26 - 24 * share, width: wide - 3, height: 24 * share }),
      s("text", { class: "axis", x: x + wide / 2, y: 37, "text-anchor": "middle", "font-size": 10 }, String(size)));
  }
  const width = (most - least + 1) * wide;
  const verdict = each.p <= data.alpha ? "larger than by chance" : "within the chance range";
  const found = each.observed ? `the largest has ${each.observed}: ${verdict} (p ${chance(each.p)})` : "no clique was found";
  return h("li", {}, s("svg", { width, height: 40, viewBox: `0 0 ${width} 40`, "aria-hidden": "true" }, bars),
    h("span", {}, `With ${each.words}, the largest has ${each.upper} or fewer in ${percent(1 - data.alpha)} of draws; ` +
      `here ${found}.`));
}

function cliquePressed(event) {
  roved(event, cliqueBox, "button");
}

function cliqueClicked(event) {
  const chip = event.target.closest("[data-choose]");
  if (!chip) return;
  const place = Array.from(cliqueBox.querySelectorAll("button")).indexOf(chip);
  chooseTask(Number(chip.dataset.choose));
  const again = cliqueBox.querySelector(`[data-choose="${chip.dataset.choose}"]`);
  (again || cliqueBox.querySelectorAll("button")[place] || cliqueBox).focus();
  rove(cliqueBox, "button");
}
