// The page: what is shown and chosen stands in the address, so back, links and Escape work.
// Charts are drawn near the screen first, again when the color scheme changes, and in light colors
// for print. Names are untrusted: they are only ever text, never markup or keys of objects.
(function () {
  "use strict";

  const $ = (id) => document.getElementById(id);
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const read = (id) => JSON.parse($(id).textContent);
  const look = read("look");
  const study = read("study");
  const images = read("images");
  const label = (n) => study.tasks[n];

  /** Rows from {name: [values, places, divisor]}: see `packed` in page_data.py. */
  function unpacked(columns) {
    const rows = [];
    for (const [name, [values, places, divisor]] of Object.entries(columns)) {
      (places || values).forEach((place, n) => {
        const value = places ? values[place] : place;
        rows[n] = rows[n] || {};
        if (place !== -1 || !places) rows[n][name] = divisor && typeof value === "number" ? value / divisor : value;
      });
    }
    return rows;
  }
  for (const each of study.models) each.cells = unpacked(each.cells);

  // ---- What is chosen -------------------------------------------------------------------------

  const KEYS = ["tab", "model", "shown", "adjusted", "task", "source", "target"];
  let state = {};

  function fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const found = {};
    for (const key of KEYS) if (given.get(key)) found[key] = given.get(key);
    return found;
  }

  const models = study.models.map((each) => each.label);
  const model = () => study.models[models.indexOf(state.model)] || study.models[models.length - 1];
  const place = (name) => (name === undefined ? -1 : study.tasks.indexOf(name));
  const pair = () => [place(state.source), place(state.target)];

  /** Goes to another view; what is not named stays. */
  function go(change, replace) {
    const next = { tab: "matrix", ...state, ...change };
    const kept = new URLSearchParams();
    for (const key of KEYS) if (next[key]) kept.set(key, next[key]);
    history[replace ? "replaceState" : "pushState"](null, "", "#" + kept);
    show();
  }

  /** An address from the text: only what it names is chosen, the rest of the view stays. */
  function follow(hash) {
    const given = new URLSearchParams(hash);
    const change = { task: "", source: "", target: "" };
    for (const [key, value] of given) if (KEYS.includes(key)) change[key] = value;
    go(change);
  }

  function show() {
    state = fromAddress();
    const tabs = all("[role=tab]");
    const tab = tabs.find((each) => each.value === state.tab) || tabs[0];
    for (const each of tabs) {
      each.setAttribute("aria-selected", each === tab);
      each.tabIndex = each === tab ? 0 : -1;
      $(each.value).hidden = each !== tab;
    }
    const now = model().label;
    for (const each of all("[data-model]")) {
      const other = each.classList.contains("scroll")
        && Boolean(state.adjusted) !== ("adjusted" in each.dataset);
      each.hidden = each.dataset.model !== now || (other && hasBoth(now));
    }
    for (const each of all("button[data-set=model]")) {
      each.setAttribute("aria-pressed", each.value === now);
    }
    const shown = all("button[data-set=shown]");
    const number = shown.find((each) => each.value === state.shown) || shown[0];
    for (const each of shown) each.setAttribute("aria-pressed", each === number);
    for (const each of all("input[data-set=adjusted]")) each.checked = Boolean(state.adjusted);
    views.forEach(mark);
    listAccuracies();
    showDetail();
    for (const each of all(".examples")) {
      if ([state.target, state.task].includes(each.dataset.target)) each.open = true;
    }
    for (const each of all("main tbody th a")) {
      const chosen = [state.task, state.source].includes(each.textContent);
      each.closest("tr").classList.toggle("chosen", chosen);
    }
    charts.forEach((box) => visible(box) && draw(box));
  }

  const hasBoth = (name) => all(".heat .scroll").some(
    (each) => each.dataset.model === name && "adjusted" in each.dataset,
  );

  // ---- Words ----------------------------------------------------------------------------------

  const known = (value) => value !== null && value !== undefined;
  const minus = (text) => text.replace("-", "−");
  const plus = (value, digits) => {
    const text = value.toFixed(digits);
    return Number(text) > 0 ? "+" + text : minus(Number(text) === 0 ? text.replace("-", "") : text);
  };
  // With a decimal: a browser rounds 10.5 up and Python to 10, which the heatmap shows.
  const points = (value) => plus(100 * value, 1);
  const percent = (value) => (known(value) ? (100 * value).toFixed(1) + "%" : "–");
  const range = (low, high, word) => (known(low) && known(high) ? `${word(low)} to ${word(high)}` : "");
  const two = (value) => plus(value, 2);

  function make(tag, options, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(options || {})) {
      if (key === "class") made.className = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((each) => each !== "" && each !== null));
    return made;
  }
  const link = (text, view) => make("a", { href: "#" + new URLSearchParams(view) }, text);
  const cellOf = (one, i, j) => one.cells.find((each) => each.source === i && each.target === j);
  const verdict = (cell) => (!known(cell.beyond) ? (known(cell.effect_low) ? "not tested" : "no interval")
    : cell.beyond ? "beyond noise" : "may be noise");
  const size = (cell) => (known(cell.change) ? cell.change : cell.effect);
  const words = (cell) => (known(cell.change) ? `${points(cell.change)} points` : `${two(cell.effect)} ${study.measure}`);

  // ---- The panel beside what is chosen ----------------------------------------------------------

  let opener = null; // what the focus returns to when the panel closes

  function showDetail() {
    const panel = $("detail");
    const [i, j] = pair();
    const task = place(state.task);
    panel.replaceChildren();
    const open = !panel.hidden;
    panel.hidden = (i < 0 || j < 0) && task < 0;
    if (open && panel.hidden && opener) opener.focus();
    document.body.classList.toggle("chosen", !panel.hidden);
    if (panel.hidden) return;
    const close = make("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => go({ task: "", source: "", target: "" }));
    panel.append(close, ...(task < 0 ? aboutPair(i, j) : aboutTask(task)));
  }

  function aboutPair(i, j) {
    const one = model();
    const parts = [make("h2", {}, link(label(i), { task: label(i) }), " → ", link(label(j), { task: label(j) }))];
    const cell = cellOf(one, i, j);
    if (!cell) return [...parts, make("p", {}, "Not measured.")];
    const ends = known(cell.change) ? range(cell.low, cell.high, points)
      : range(cell.effect_low, cell.effect_high, two);
    parts.push(
      make("p", { class: "big " + ["down", "", "up"][1 + Math.sign(size(cell))] }, words(cell)),
      make("p", {}, [ends, verdict(cell), state.adjusted ? "against the base" : ""].filter(Boolean).join("; ")),
    );
    const facts = [
      [study.measure, known(cell.effect) && known(cell.change)
        ? [two(cell.effect), range(cell.effect_low, cell.effect_high, two)] : null],
      ["Accuracy", known(cell.base) ? [`${percent(cell.base)} → ${percent(cell.base + cell.change)}`, ""] : null],
      ["Items", known(cell.items) ? [String(Math.round(cell.items)), ""] : null],
      ["q among all effects", known(cell.q) ? [cell.q < 0.001 ? "< 0.001" : cell.q.toFixed(3), ""] : null],
      ["Expected on new items", known(cell.expected) ? [points(cell.expected), ""] : null],
      ["Confidence", known(cell.confidence) ? [points(cell.confidence), "change of the right option’s probability"] : null],
    ].filter(([, value]) => value);
    parts.push(table(facts.map(([name, [value, small]]) => [name, value, small])));
    const seeds = study.models.map((each) => [each, cellOf(each, i, j)]).filter(([, c]) => c);
    parts.push(make("h3", {}, study.models.length > 1 ? "Models and seeds" : "Seeds"));
    parts.push(table(seeds.map(([each, c]) => {
      const runs = each.seeds.map((_, n) => (known(c[`seed${n}`]) ? points(c[`seed${n}`]) : "–"));
      return [each.label, words(c), runs.length > 1 ? runs.join("  ") : ""];
    })));
    parts.push(...replies(one, cell), ...flipped(one, cell));
    return parts;
  }

  function replies(one, cell) {
    if (!cell.replies) return [];
    const base = one.base_replies[cell.target];
    return [make("h3", {}, "Options chosen"),
      table([["adapter", cell.replies, ""], ...(base ? [["base", base, ""]] : [])])];
  }

  function flipped(one, cell) {
    if (!known(cell.fixed)) return [];
    const [source, target] = [label(cell.source), label(cell.target)];
    const parts = [make("h3", {}, "Items"), make("p", {},
      make("b", { class: "up" }, `${Math.round(10 * cell.fixed) / 10} fixed`), ", ",
      make("b", { class: "down" }, `${Math.round(10 * cell.broken) / 10} broken`),
      ` of ${Math.round(cell.flipped_of)}${one.seeds.length > 1 ? ", mean over seeds" : ""}`)];
    const cards = all(`.examples`).filter((each) => each.dataset.model === one.label && each.dataset.target === target)
      .flatMap((each) => all(".card", each))
      .filter((card) => all(".changes li", card).some((line) => line.dataset.source === source));
    if (cards.length) {
      const copies = cards.map((card) => {
        const copy = card.cloneNode(true);
        for (const line of all(".changes li", copy)) if (line.dataset.source !== source) line.remove();
        return copy;
      });
      const list = make("ul", { class: "cards" }, ...copies);
      fill(list);
      return [...parts, list];
    }
    const named = [["often fixed", cell.most_fixed], ["often broken", cell.most_broken]].filter(([, names]) => names.length);
    return [...parts, table(named.map(([what, names]) => [what, names.join(", "), ""]))];
  }

  function aboutTask(task) {
    const one = model();
    const parts = [make("h2", {}, label(task))];
    if (study.roles[task].length) parts.push(make("p", {}, `In every model a ${study.roles[task].join(" and a ")}.`));
    const base = one.base[task];
    if (known(base)) parts.push(make("p", {}, `Base accuracy ${percent(base)}.`));
    for (const [title, mine, other] of [["Finetuning on it", "source", "target"], ["What it takes from others", "target", "source"]]) {
      const cells = one.cells.filter((each) => each[mine] === task && each[other] !== task)
        .sort((a, b) => size(b) - size(a));
      if (!cells.length) continue;
      const most = Math.max(...cells.map((each) => Math.abs(size(each)))) || 1;
      parts.push(make("h3", {}, title), make("ul", { class: "bars" }, ...cells.map((cell) => {
        const name = label(cell[other]);
        const kind = (size(cell) > 0 ? "up" : "down") + (cell.beyond ? "" : " unsure");
        const bar = make("i", {});
        bar.style.width = `${100 * Math.abs(size(cell)) / most}%`;
        return make("li", { class: kind },
          link(name, { source: label(cell.source), target: label(cell.target) }), bar, make("b", {}, words(cell)));
      })));
    }
    return parts;
  }

  function table(rows) {
    return make("table", { class: "facts" }, make("tbody", {}, ...rows.map(([name, value, small]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value, small ? make("small", {}, small) : "")))));
  }

  /** Images are decoded where they are seen. */
  function fill(root) {
    for (const image of all("img[data-image]:not([src])", root)) {
      image.src = "data:image/webp;base64," + images[image.dataset.image];
    }
  }

  // ---- The table of accuracies ------------------------------------------------------------------

  const HEADS = [
    ["source", "Finetuned on"], ["target", "Evaluated on"], ["items", "Items"], ["base", "Base, %"],
    ["tuned", "Tuned, %"], ["change", "Change, points"], ["low", "from"], ["high", "to"],
    ["q", "q"], ["effect", study.measure],
  ];
  const FIRST = 30;
  let order = ["change", true];
  let everything = false;

  function rows() {
    const task = place(state.task);
    return model().cells
      .map((cell) => ({ ...cell, tuned: known(cell.change) && known(cell.base) ? cell.base + cell.change : null }))
      .filter((cell) => task < 0 || cell.source === task || cell.target === task);
  }

  function listAccuracies() {
    if ($("accuracy").hidden && !document.documentElement.dataset.printing) return;
    const [key, down] = order;
    const found = rows();
    const value = (cell) => (key === "source" || key === "target" ? label(cell[key]) : cell[key]);
    if (key) {
      found.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!known(x) || !known(y)) return known(y) - known(x);
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
      });
    }
    const heads = HEADS.map(([name, title]) => {
      const button = make("button", { type: "button" }, title);
      button.addEventListener("click", () => {
        order = [name, order[0] === name ? !order[1] : !["source", "target"].includes(name)];
        listAccuracies();
        all("#accuracies th button")[HEADS.findIndex((each) => each[0] === name)].focus();
      });
      const sorted = key === name ? (down ? "descending" : "ascending") : "none";
      return make("th", { scope: "col", "aria-sort": sorted }, button);
    });
    const word = {
      items: (v) => String(Math.round(v)), base: (v) => (100 * v).toFixed(1), tuned: (v) => (100 * v).toFixed(1),
      change: points, low: points, high: points, q: (v) => (v < 0.001 ? "< 0.001" : v.toFixed(3)), effect: two,
    };
    const lines = found.slice(0, everything ? found.length : FIRST).map((cell) => {
      const names = { source: label(cell.source), target: label(cell.target) };
      const kind = !known(cell.beyond) || !cell.beyond ? "" : size(cell) > 0 ? "up" : "down";
      return make("tr", {}, make("th", { scope: "row" }, link(names.source, names)), make("td", {}, names.target),
        ...HEADS.slice(2).map(([name]) => make("td", { class: name === "change" ? kind : "" },
          known(cell[name]) ? word[name](cell[name]) : "–")));
    });
    $("accuracies").replaceChildren(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines));
    $("listed").textContent = `${model().label}: ${found.length} effects${state.task ? ` of ${state.task}` : ""}`;
    $("all").hidden = lines.length === found.length;
    $("all").textContent = `Show all ${found.length} rows`;
  }

  function download() {
    // A name that a spreadsheet would take for a formula gets an apostrophe.
    const quoted = (text) => `"${String(text).replace(/^(?=[=+\-@\t\r])/, "'").replace(/"/g, '""')}"`;
    const names = ["source", "target", "items", "base", "tuned", "change", "low", "high", "q", "effect"];
    const lines = rows().map((cell) => names.map((name) => (name === "source" || name === "target"
      ? quoted(label(cell[name])) : known(cell[name]) ? cell[name] : "")).join(","));
    const text = [["model", ...names].join(","), ...lines.map((line) => `${quoted(model().label)},${line}`)].join("\n");
    const url = URL.createObjectURL(new Blob([text + "\n"], { type: "text/csv" }));
    const anchor = make("a", { href: url, download: "accuracies.csv" });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // ---- Charts -----------------------------------------------------------------------------------

  const charts = all(".chart");
  const views = new Map(); // box -> Vega's view, and the names of its parameters
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const idle = (act) => (window.requestIdleCallback ? window.requestIdleCallback(act, { timeout: 300 }) : setTimeout(act, 30));
  const drawn = new Map(); // box -> the scheme in which it was drawn last
  let printing = false;

  const visible = (box) => box.offsetParent !== null;
  const scheme = () => (dark.matches && !printing ? "dark" : "light");

  function darkened(part) {
    if (typeof part === "string") return Object.hasOwn(look.dark, part) ? look.dark[part] : part;
    if (Array.isArray(part)) return part.map(darkened);
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(
      Object.entries(part).map(([key, value]) => [key, key === "datasets" ? value : darkened(value)]),
    );
  }

  /** On a narrow screen cells shrink until all columns fit, and rows have short names. */
  function narrowed(spec) {
    const columns = spec.encoding.x.scale.domain.length;
    const step = Math.floor((document.body.clientWidth - 92) / columns);
    if (step >= spec.width.step) return spec;
    spec.width.step = spec.height.step = Math.max(step, 11);
    const y = spec.encoding.y;
    const names = new Map(Object.values(spec.datasets)[0].map((row) => [row.row, row.brief]));
    const brief = y.scale.domain.map((row) => names.get(row) || "");
    spec.params.push({ name: "long", value: y.scale.domain }, { name: "brief", value: brief });
    y.axis = { ...y.axis, title: null, labelLimit: 40, labelExpr: "brief[indexof(long, datum.value)]" };
    return spec;
  }

  async function embed(box, isDark) {
    let spec = read(box.dataset.spec);
    for (const name of Object.keys(spec.datasets)) spec.datasets[name] = unpacked(spec.datasets[name]);
    if (box.classList.contains("map")) spec = narrowed(spec);
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
      made.view.addEventListener("click", (_, item) => chooseMark(item));
      if (spec.params) {
        views.set(box, { view: made.view, params: new Set(spec.params.map((each) => each.name)) });
        mark(views.get(box));
      }
    } catch (error) {
      box.textContent = "This figure could not be drawn: " + error.message;
      console.error(box.dataset.spec, error);
    }
  }

  function draw(box) {
    if (drawn.get(box) === scheme()) return;
    drawn.set(box, scheme());
    const isDark = scheme() === "dark";
    box.last = (box.last || Promise.resolve()).then(() => embed(box, isDark));
  }

  /** One chart at a time, so that the page stays responsive. */
  async function drawRest() {
    const stale = charts.filter((box) => drawn.get(box) !== scheme());
    const next = stale.find(visible) || stale[0];
    if (next) {
      draw(next);
      await next.last;
      idle(drawRest);
    } else {
      await Promise.all(charts.map((box) => box.last));
      document.documentElement.dataset.drawn = scheme();
    }
  }

  /** Sets the parameters of a heatmap or a graph: the numbers shown, and what is chosen. */
  function mark({ view, params }) {
    const [i, j] = pair();
    const task = place(state.task);
    const shown = all("button[data-set=shown]").find((each) => each.getAttribute("aria-pressed") === "true");
    const [row, column] = task < 0 ? [i, j] : [task, task];
    const values = {
      shown: shown.value, cross: task >= 0, task: task < 0 ? "" : state.task,
      row: study.sources.indexOf(row), column: study.targets.indexOf(column),
    };
    for (const [name, value] of Object.entries(values)) if (params.has(name)) view.signal(name, value);
    view.runAsync();
  }

  /** A mark of a pair or of a task, in any chart. */
  function chooseMark(item) {
    const { source, target } = (item && item.datum) || {};
    if (place(source) >= 0 && place(target) >= 0) go({ source, target, task: "" });
    else if (place(source) >= 0 && target === undefined) go({ task: source, source: "", target: "" });
  }

  // ---- Pointer, keyboard, print -------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-set]");
    if (button) go({ [button.dataset.set]: button.value });
    const anchor = event.target.closest("a[href^='#']");
    if (anchor && !anchor.classList.contains("skip")) {
      event.preventDefault();
      if (!anchor.closest("#detail")) opener = anchor;
      follow(anchor.getAttribute("href").slice(1));
      if (!$("detail").hidden) $("detail").focus();
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.dataset.set === "adjusted") go({ adjusted: event.target.checked ? "yes" : "" });
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.open) fill(event.target);
  }, true);
  document.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = steps[event.key];
    if (event.key === "Escape") go({ task: "", source: "", target: "" });
    const tab = event.target.closest("[role=tab]");
    if (tab && step && step[1]) {
      const tabs = all("[role=tab]");
      const next = tabs[(tabs.indexOf(tab) + step[1] + tabs.length) % tabs.length];
      go({ tab: next.value });
      next.focus();
    } else if (event.target.closest(".heat .scroll") && step) {
      event.preventDefault();
      const [i, j] = pair();
      const row = study.sources.indexOf(i) + (i < 0 ? 1 : step[0]);
      const column = study.targets.indexOf(j) + (j < 0 ? 1 : step[1]);
      const inside = (n, list) => label(list[Math.max(0, Math.min(list.length - 1, n))]);
      go({ source: inside(row, study.sources), target: inside(column, study.targets), task: "" }, i >= 0);
      const cell = cellOf(model(), ...pair());
      $("readout").textContent = `${state.source} → ${state.target}: `
        + (cell ? `${words(cell)}, ${verdict(cell)}` : "not measured");
    }
  });
  $("csv").addEventListener("click", download);
  $("all").addEventListener("click", () => {
    everything = true;
    listAccuracies();
  });
  window.addEventListener("popstate", show);
  window.addEventListener("hashchange", show);
  dark.addEventListener("change", () => idle(drawRest));
  window.addEventListener("beforeprint", () => {
    printing = true;
    document.documentElement.dataset.printing = "yes";
    for (const each of all("details:not([open])")) each.open = each.dataset.folded = true;
    listAccuracies();
    charts.forEach(draw); // the browser prints as soon as nothing waits any more
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    delete document.documentElement.dataset.printing;
    for (const each of all("details[data-folded]")) {
      each.open = false;
      delete each.dataset.folded;
    }
    idle(drawRest);
  });
  show();
  idle(drawRest);
})();
