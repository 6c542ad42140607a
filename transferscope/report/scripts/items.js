// The items that changed: what stands below the explorer is narrowed to what is chosen in it.

const groups = Array.from(document.querySelectorAll(".exhibits[data-target]"));

/** Shows the groups of the model and target in view, and of the chosen source only its items. */
function drawItems() {
  let cards = 0;
  for (const group of groups) {
    const fits = group.dataset.model === model().label && (!hasCell() ||
      group.dataset.target === long(data.targets[state.target]));
    const asTask = state.task >= 0 && !hasCell() && group.dataset.target === long(state.task);
    group.hidden = !fits;
    for (const card of group.querySelectorAll(".card")) {
      const by = Array.from(card.querySelectorAll("[data-source]"));
      const source = hasCell() ? long(data.sources[state.source]) : null;
      card.hidden = source !== null && !by.some((each) => each.dataset.source === source);
      for (const each of by) each.classList.toggle("chosen", each.dataset.source === source);
      if (fits && hasCell() && !card.hidden) cards += 1;
    }
    if (hasCell() || asTask) group.open = fits;
  }
  const words = byId("items-chosen");
  if (words) words.textContent = hasCell() ? chosenItems(cards) : "";
}

function chosenItems(cards) {
  const pair = `${long(data.sources[state.source])} → ${long(data.targets[state.target])}`;
  return `Narrowed to ${pair} in ${model().label}: ${cards} item${cards === 1 ? "" : "s"} shown.`;
}

/** In the detail of a cell: where its items are. */
function itemHint() {
  if (!groups.length) return null;
  return h("p", {}, h("a", { href: "#items" }, "The items that it fixed and broke"));
}
