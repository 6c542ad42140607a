// The numbers behind what is shown: effects in the chosen measure, for the mean or for one seed.

const isOwn = (i, j) => data.tasks[data.sources[i]].own === data.targets[j];
const at = (i, j) => i * count.targets + j;
const table = () => (state.against === "placebo" ? model().adjusted : model().effects);
const column = (list, place) => (list ? list[place] : null);

/** Accuracy is shown in points and relative gain in percent; PGF as it is. */
const SCALES = { pgf: { times: 1, digits: 2, unit: "PGF" },
  raw_gain: { times: 100, digits: 1, unit: "points of accuracy" },
  relative_gain: { times: 100, digits: 0, unit: "% of the base’s accuracy" } };
const scale = () => SCALES[state.measure];
const show = (value, digits) =>
  signed(known(value) ? value * scale().times : null, known(digits) ? digits : scale().digits);

/** What turns one seed's effect into another measure; of a cell on other items than the base's, by the base on those. */
function factorOf(measure, place, target, seed) {
  const own = model().own[place];
  return own ? own[measure][seed] : model().factors[measure][seed][target];
}

/** One seed's effect in the chosen measure. */
function seedValue(place, target, seed) {
  const value = column(table().seeds[seed], place);
  if (!known(value) || state.measure === data.measure) return value;
  const factor = factorOf(state.measure, place, target, seed);
  return known(factor) ? value * factor : null;
}

/** Whether a cell, or one seed of it, has no part in averages: too few items. */
function leftOut(place, seed) {
  const seeds = model().left[place] || [];
  if (known(seed)) return seeds.includes(seed);
  const measured = model().seeds.filter((_, k) => known(column(model().effects.seeds[k], place)));
  return measured.length > 0 && seeds.length >= measured.length;
}

function meanOf(values) {
  const there = values.filter(known);
  return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
}

/**
 * What a cell shows: its value, its interval where there is one for this very number, and whether
 * it is beyond noise (1), may be noise (0), or unknown (null).
 */
function cell(i, j) {
  const place = at(i, j);
  const own = state.measure === data.measure;
  const found = { place, low: null, high: null };
  if (state.seed >= 0) {
    found.value = seedValue(place, j, state.seed);
    found.beyond = column(table().alone[state.seed], place);
    return found;
  }
  found.beyond = column(table().beyond, place);
  const change = changeOf(place);
  if (state.measure === "raw_gain" && known(change.value)) return { ...found, ...change };
  const seeds = model().seeds.map((_, seed) => seedValue(place, j, seed));
  found.value = own ? column(table().mean, place) : meanOf(seeds);
  if (own) {
    found.low = column(table().low, place);
    found.high = column(table().high, place);
  }
  return found;
}

/** An interval in words; where it leaves 0 out, no end of it is written as 0. */
function interval(found) {
  if (!known(found.low)) return "";
  const end = (value) => {
    let { digits } = scale();
    const reads0 = () => Number((value * scale().times).toFixed(digits)) === 0;
    while (found.low * found.high > 0 && digits < 6 && reads0()) digits += 1;
    return show(value, digits);
  };
  return `${end(found.low)} to ${end(found.high)}`;
}

/** The change of accuracy, mean over seeds, and its interval: fractions, which verdicts rest on. */
const changeOf = (place) => ({ value: column(table().change, place),
  low: column(table().change_low, place), high: column(table().change_high, place) });

/** What a cell shows, in points of accuracy; empty where it is not known or shown already. */
function points(place, target) {
  if (state.measure === "raw_gain") return "";
  const { value, low, high } = state.seed < 0 ? changeOf(place) : seedChange(place, target);
  if (!known(value)) return "";
  const number = (each) => signed(100 * each, Math.abs(value) < 0.0995 ? 1 : 0);
  return `${number(value)} points${known(low) ? ` (${number(low)} to ${number(high)})` : ""}`;
}

function seedChange(place, target) {
  const effect = column(table().seeds[state.seed], place);
  const factor = model().factors.raw_gain ? factorOf("raw_gain", place, target, state.seed) : null;
  return { value: known(effect) && known(factor) ? effect * factor : null };
}

/** How sure an effect is, in words. */
function verdict(found) {
  if (!known(found.value)) {
    return known(changeOf(found.place).value) ? "undefined: the base is at the ceiling" : "not measured";
  }
  if (found.beyond === null) return "noise unknown: no interval";
  return found.beyond ? "beyond noise" : "may be noise";
}

/** All pairs of different tasks that were measured. */
function pairs() {
  const found = [];
  for (let i = 0; i < count.sources; i++) {
    for (let j = 0; j < count.targets; j++) {
      const each = cell(i, j);
      if (!isOwn(i, j) && known(each.value)) found.push({ i, j, ...each });
    }
  }
  return found;
}

/** Of each sign the strongest share, rounded up, ties kept: the paper's transfer graph. */
function edges() {
  const all = pairs().filter((each) => !leftOut(each.place, state.seed < 0 ? null : state.seed));
  const kept = [];
  for (const sign of [1, -1]) {
    if (state.sign === (sign > 0 ? "negative" : "positive")) continue;
    const side = all.filter((each) => sign * each.value > 1e-12);
    side.sort((a, b) => sign * (b.value - a.value));
    const number = Math.ceil((state.keep / 100) * side.length - 1e-9);
    if (!number) continue;
    const least = sign * side[number - 1].value - 1e-12;
    kept.push(...side.filter((each) => sign * each.value >= least));
  }
  return state.sure ? kept.filter((each) => each.beyond) : kept;
}

/** Where colors end: the same for all models and seeds, so that what looks alike is alike. */
const limit = () => data.limits[state.measure];

/** The shade of a value, from d0 (most harmful) to d12. */
const shade = (value, end) => "d" + (6 + Math.round(6 * clamp(value / end, -1, 1)));

/** The paper's equations 1 and 2: (1 - exp(-p / N)) / p times the sum of the effects of one sign. */
function part(values, sign) {
  const there = values.filter(known);
  if (!there.length) return null;
  const side = there.filter((value) => sign * value > 0);
  if (!side.length) return 0;
  const sum = side.reduce((a, b) => a + b, 0);
  return ((1 - Math.exp(-side.length / there.length)) / side.length) * sum;
}

/**
 * Transferability (of a source) or malleability (of a target) of one sign, seed by seed and then
 * averaged; with its interval where the analysis has one for this very number.
 */
function side(kind, index, sign) {
  const name = sign > 0 ? "positive" : "negative";
  const stored = model()[kind][name][index];
  const plain = state.measure === data.measure && state.against === "base" && state.seed < 0;
  if (plain) return stored ? { value: stored[0], low: stored[1], high: stored[2] } : null;
  const seeds = state.seed >= 0 ? [state.seed] : model().seeds.map((_, seed) => seed);
  const others = kind === "give" ? count.targets : count.sources;
  const values = seeds.map((seed) => {
    const row = [];
    for (let k = 0; k < others; k++) {
      const [i, j] = kind === "give" ? [index, k] : [k, index];
      if ((data.self || !isOwn(i, j)) && !leftOut(at(i, j), seed)) row.push(seedValue(at(i, j), j, seed));
    }
    return part(row, sign);
  });
  return { value: meanOf(values), low: null, high: null };
}

/** Places of the tasks on an axis, in the chosen order. */
function ordered(tasks) {
  const places = tasks.map((_, place) => place);
  if (state.order === "given") return places;
  const rank = data.tasks.map((task) => {
    if (state.order === "name") return task.long.toLowerCase();
    const kind = data.kinds[state.order];
    return kind ? (kind.indexOf(task[state.order]) + kind.length + 1) % (kind.length + 1) : 0;
  });
  if (state.order === "cluster") model().order.forEach((task, place) => (rank[task] = place));
  const less = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return places.sort((a, b) => less(rank[tasks[a]], rank[tasks[b]]) || a - b);
}
