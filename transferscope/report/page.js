// Draws the page's charts, again when the colour scheme changes, and in light colours for print.
// Colours are swapped by a table; data sets are never looked into, as names in them are untrusted.
(function () {
  "use strict";

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const look = read("look");
  const charts = Array.from(document.querySelectorAll(".chart"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let round = 0;

  function darkened(part) {
    if (typeof part === "string") {
      return Object.prototype.hasOwnProperty.call(look.dark, part) ? look.dark[part] : part;
    }
    if (Array.isArray(part)) return part.map(darkened);
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(
      Object.entries(part).map(([key, value]) => [key, key === "datasets" ? value : darkened(value)]),
    );
  }

  async function draw(box, isDark) {
    const spec = read(box.dataset.spec);
    try {
      const drawn = await window.vegaEmbed(box, isDark ? darkened(spec) : spec, {
        mode: "vega-lite",
        config: isDark ? darkened(look.config) : look.config,
        renderer: "svg",
        actions: false,
        ast: true,
        tooltip: { theme: isDark ? "dark" : "light" },
      });
      if (box.finish) box.finish();
      box.finish = drawn.finalize;
    } catch (error) {
      box.textContent = "This figure could not be drawn: " + error.message;
      console.error(box.dataset.spec, error);
    }
  }

  const pause = () => new Promise((resolve) => setTimeout(resolve, 0));

  async function drawAll(isDark) {
    const mine = ++round;
    for (const box of charts) {
      await draw(box, isDark);
      await pause();
      if (mine !== round) return;
    }
    document.documentElement.dataset.drawn = isDark ? "dark" : "light";
  }

  dark.addEventListener("change", () => drawAll(dark.matches));
  // No pause here: the browser prints as soon as nothing waits any more.
  window.addEventListener("beforeprint", () => {
    round += 1;
    if (dark.matches) charts.forEach((box) => draw(box, false));
  });
  window.addEventListener("afterprint", () => {
    if (dark.matches) drawAll(true);
  });
  drawAll(dark.matches);
})();
