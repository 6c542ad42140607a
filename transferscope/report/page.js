// Draws the page's charts: those near the screen first, the others when the browser has time. They
// are drawn again when the color scheme changes, and in light colors for print. Colors are
// swapped by a table; data sets are never looked into, because names in them are untrusted.
(function () {
  "use strict";

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const look = read("look");
  const charts = Array.from(document.querySelectorAll(".chart"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const idle = (act) => window.requestIdleCallback
    ? window.requestIdleCallback(act, { timeout: 300 }) : setTimeout(act, 30);
  const drawn = new Map(); // box -> the scheme in which it was drawn last
  const near = new Set(); // boxes close to the screen
  let printing = false;

  const scheme = () => (dark.matches && !printing ? "dark" : "light");
  const stale = (box) => drawn.get(box) !== scheme();

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

  async function embed(box, isDark) {
    const spec = read(box.dataset.spec);
    try {
      const made = await window.vegaEmbed(box, isDark ? darkened(spec) : spec, {
        mode: "vega-lite",
        config: isDark ? darkened(look.config) : look.config,
        renderer: "svg",
        actions: false,
        ast: true,
        tooltip: { theme: isDark ? "dark" : "light" },
      });
      if (box.finish) box.finish();
      box.finish = made.finalize;
      box.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
    } catch (error) {
      box.textContent = "This figure could not be drawn: " + error.message;
      console.error(box.dataset.spec, error);
    }
  }

  /** Draws a chart in the scheme of now, after what is being drawn in its place. */
  function draw(box) {
    if (!stale(box)) return;
    drawn.set(box, scheme());
    const isDark = scheme() === "dark";
    box.last = (box.last || Promise.resolve()).then(() => embed(box, isDark));
  }

  /** One chart at a time, so that the page stays responsive. */
  async function drawRest() {
    const next = charts.find((box) => near.has(box) && stale(box)) || charts.find(stale);
    if (next) {
      draw(next);
      await next.last;
      idle(drawRest);
    } else {
      await Promise.all(charts.map((box) => box.last));
      document.documentElement.dataset.drawn = scheme();
    }
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      near[isIntersecting ? "add" : "delete"](target);
      if (isIntersecting) draw(target);
    }
  }, { rootMargin: "50% 0px" });
  charts.forEach((box) => watch.observe(box));
  dark.addEventListener("change", () => idle(drawRest));
  window.addEventListener("beforeprint", () => {
    printing = true;
    charts.forEach(draw); // the browser prints as soon as nothing waits any more
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    idle(drawRest);
  });
  idle(drawRest);
})();
