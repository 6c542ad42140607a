// The items that changed: what stands below the explorer is narrowed to what is chosen in it.

const groups = Array.from(document.querySelectorAll(".exhibits[data-target]"));

const pictures = JSON.parse(byId("pictures").textContent);

/** Gives a group's pictures to its cards when it is first opened. */
function showPictures(event) {
  for (const image of event.target.querySelectorAll("img[data-picture]:not([src])")) {
    image.src = "data:image/webp;base64," + pictures[Number(image.dataset.picture)];
  }
}
for (const group of groups) group.addEventListener("toggle", showPictures);

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
      const source = state.task >= 0 ? long(state.task) : null; // a chosen cell's source is the task
      card.hidden = hasCell() && !by.some((each) => each.dataset.source === source);
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
