// The items that changed: what stands below the explorer is narrowed to what is chosen in it.

const groups = Array.from(document.querySelectorAll(".examples[data-target]"));
const images = JSON.parse(byId("images").textContent);

const imageUrl = (place) => "data:image/webp;base64," + images[Number(place)];

/** Loads a group's images when it is first opened. */
function showImages(event) {
  for (const image of event.target.querySelectorAll("img[data-image]:not([src])")) {
    image.src = imageUrl(image.dataset.image);
  }
}
for (const group of groups) group.addEventListener("toggle", showImages);

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

const PEEKS = 6;

/** In the detail of a cell: the first items that its source fixed and broke, and where they all are. */
function itemHint(i, j) {
  if (!groups.length) return null;
  const group = groups.find((each) => each.dataset.model === model().label &&
    each.dataset.target === long(data.targets[j]));
  const changes = Array.from(group ? group.querySelectorAll("[data-source]") : [])
    .filter((each) => each.dataset.source === long(data.sources[i]));
  if (!changes.length) return h("p", { class: "hint" }, "No example below is of this pair.");
  return h("div", {}, h("h4", {}, "Some items that the source fixed and broke"),
    h("ul", { class: "peeks" }, changes.slice(0, PEEKS).map((each) => h("li", {}, peek(each)))),
    h("p", { class: "hint" }, h("a", { href: "#items" }, "with their questions and answers")));
}

/** One item, small: the first image, and what happened to it in how many seeds. */
function peek(change) {
  const card = change.closest(".card");
  const image = card.querySelector("img[data-image]");
  const verdict = change.querySelector(".verdict");
  return h("a", { href: "#items" },
    image ? h("img", { src: imageUrl(image.dataset.image), alt: card.dataset.name }) : card.dataset.name,
    h("span", { class: verdict.className }, verdict.textContent), ` ${change.dataset.seeds}`);
}
