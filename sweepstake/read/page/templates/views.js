/* What a figure against weights remaining shows of another metric: the same fields that it was drawn from, made of the numbers of all cells. */
/* Numbers as the figures say them. */
const percent = value => `${Number(value.toPrecision(3))} %`;
const short = value => String(Number(value.toPrecision(4)));
const named = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
const ERRORS = { std: "standard deviation", ci: "95 % interval", range: "minimum to maximum" };
const BARS = { std: "standard deviation over seeds", ci: "95 % bootstrap interval of the mean", range: "minimum to maximum over seeds" };

/* At most `most` of the kept percentages, evenly on a log scale, the largest and the smallest among them. */
function levels(kept, most) {
  const found = [];
  for (const one of [...kept].filter(each => each > 0).sort((a, b) => b - a))
    if (!found.length || one < found.at(-1) * 0.98) found.push(one);
  if (found.length <= most) return found;
  const span = Math.log(found.at(-1) / found[0]);
  const at = place => found.reduce((best, one) => Math.abs(Math.log(one / found[0]) - span * place / (most - 1))
    < Math.abs(Math.log(best / found[0]) - span * place / (most - 1)) ? one : best);
  return [...new Set(Array.from({ length: most }, (_, place) => at(place)))];
}

/* The numbers with the rounds that came since, which stand behind them. What has more has no interval: the page computes none. */
function withNews(all, news) {
  const first = all.seed.length, added = news.flatMap(cell => cell.rows.map(row => ({ ...cell, ...row })));
  if (!added.length) return all;
  const each = (of, make) => Object.fromEntries(Object.entries(of).map(([name, value]) => [name, make(name, value)]));
  const labels = each(all.labels, (axis, known) => [...new Set([...known, ...added.map(row => row.labels[axis])])]);
  const whole = Array.from(all.seed.keys());
  return { ...all, first, labels,
    axes: each(all.axes, (axis, places) => [...places, ...added.map(row => labels[axis].indexOf(row.labels[axis]))]),
    columns: each(all.columns, (column, values) => [...values, ...added.map(row => row.values[column] ?? null)]),
    ...each({ seed: 0, round: 0, kept: 0 }, name => [...all[name], ...added.map(row => row[name])]),
    diverged: [...all.diverged, ...added.flatMap((row, place) => row.diverged ? [first + place] : [])],
    views: all.views.map((view, number) => {
      const here = added.flatMap((row, place) => row.views.includes(number) ? [first + place] : []);
      return { ...view, rows: [...view.rows ?? whole, ...here], grown: here.length > 0 };
    }) };
}

/* Over seeds, a row a group and round: the mean of each seed's cells, then their mean, deviation, range and interval. */
function summarised(all, view, made, metric) {
  const groups = new Map(), lost = new Map(), diverged = new Set(all.diverged), values = all.columns[metric.column];
  const of = axis => axis ? place => all.labels[axis][all.axes[axis][place]] : () => undefined;
  const group = of(made.by), panel = of(made.panel);
  (view.rows ?? all.seed.map((_, place) => place)).forEach((row, place) => {
    const round = view.rounds ? view.rounds[place] : all.round[row], who = JSON.stringify([group(row), panel(row)]), key = `${who} ${round}`;
    if (diverged.has(row)) lost.set(who, [...lost.get(who) ?? [], round]);
    if (!groups.has(key)) groups.set(key, { who, group: group(row) ?? "all", panel: panel(row), round, kept: [], seeds: new Map() });
    const one = groups.get(key);
    one.grown ||= row >= all.first;
    one.kept.push(all.kept[row]);
    if (values[row] === null) return;
    if (!one.seeds.has(all.seed[row])) one.seeds.set(all.seed[row], []);
    one.seeds.get(all.seed[row]).push(values[row]);
  });
  const mean = numbers => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
  const shown = value => value * metric.times + metric.plus;
  return [...groups.values()].map((one, place) => {
    const seeds = [...one.seeds].sort(([a], [b]) => a - b).map(([seed, each]) => [seed, shown(mean(each))]);
    const each = seeds.map(([, value]) => value), middle = each.length ? mean(each) : null;
    const interval = one.grown ? null : view.intervals[metric.column][place]?.map(shown).sort((a, b) => a - b) ?? null;
    return { ...one, kept: 100 * mean(one.kept), seeds, mean: middle, n: each.length, interval,
      diverged: (lost.get(one.who) ?? []).filter(round => round <= one.round).length,
      std: each.length > 1 ? Math.sqrt(each.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (each.length - 1)) : null,
      min: Math.min(...each), max: Math.max(...each) };
  }).filter(one => one.n && one.round % made.every === 0);
}

/* Summaries as the spec's points: the same fields that the figure was drawn from. */
function pointsOf(summary, made, metric, state) {
  const isPercent = Math.abs(metric.times) === 100;
  const show = value => value === null ? "-" : isPercent ? `${value.toFixed(2)} %` : short(value);
  const between = pair => pair ? `${show(pair[0])} to ${show(pair[1])}` : "- to -";
  return summary.flatMap(one => {
    const std = one.std ?? 0, [lo, hi] = { std: [one.mean - std, one.mean + std], ci: one.interval ?? [one.mean, one.mean], range: [one.min, one.max] }[state.error];
    const place = { group: one.group, ...(one.panel === undefined ? {} : { panel: one.panel }), round: one.round, kept: one.kept, kept_told: percent(one.kept) };
    const point = { ...place, mean: one.mean, lo, hi, n: one.n, diverged: one.diverged, mean_told: show(one.mean), std_told: show(one.std),
      interval_told: between(one.interval), range_told: between([one.min, one.max]),
      told: `${made.by ? `${one.group}, ` : ""}${percent(one.kept)} of weights remaining: ${metric.told} ${show(one.mean)}, standard deviation ${show(one.std)}, ${one.n} seeds` };
    return state.lines === "seeds" ? [point, ...one.seeds.map(([seed, value]) => ({ ...place, seed, mean: value, lo: value, hi: value, mean_told: show(value) }))] : [point];
  });
}

/* Where each point lies along x; groups a little apart, so that bars at one level do not hide each other. */
function place(points, made, state) {
  const kept = points.map(point => point.kept), fewest = Math.min(...kept), span = fewest < 50 ? 100 : Math.max(1.05 * (100 - fewest), 1);
  const step = Math.min(0.012, 0.06 / Math.max(1, made.groups.length - 1));
  for (const point of points) {
    const aside = step * ((made.groups.length - 1) / 2 - Math.max(0, made.groups.indexOf(point.group)));
    const log = point.kept * (1 + aside);
    point.x = { log, linear: point.kept + 0.25 * aside * span, compression: 100 / log }[state.x];
  }
  const ticks = levels(kept, 9), least = Math.min(fewest, 99), most = Math.max(...kept, 100), axis = { labelOverlap: "greedy", labelSeparation: 5, grid: false };
  if (state.x === "linear")
    return { title: "weights remaining (%)", scale: { reverse: true, domain: [100 - span, 100 + 0.02 * span], nice: false }, axis: { tickCount: 10, ...axis } };
  if (state.x === "log")
    return { title: "weights remaining (%)", scale: { type: "log", reverse: true, domain: [least * 0.93, most * 1.06], nice: false },
      axis: { values: ticks, labelExpr: "datum.value >= 99.95 ? '100' : datum.value >= 0.995 ? format(datum.value, '.1f') : format(datum.value, '.2~g')", ...axis } };
  return { title: "compression ratio", scale: { type: "log", domain: [100 / (most * 1.06), 100 / (least * 0.93)], nice: false },
    axis: { values: ticks.map(tick => 100 / tick), labelExpr: "format(datum.value, '.3~r') + '×'", ...axis } };
}

/* The y axis without the fewest groups that would squeeze all others into a quarter of it; as figures/clipped.py does. */
function clipped(points, told) {
  const spans = new Map();
  for (const { group, lo, hi } of points) {
    const [low, high] = spans.get(group) ?? [lo, hi];
    spans.set(group, [Math.min(low, lo), Math.max(high, hi)]);
  }
  const low = Math.min(...[...spans.values()].map(one => one[0])), high = Math.max(...[...spans.values()].map(one => one[1]));
  const falling = [...spans.keys()].sort((a, b) => spans.get(a)[0] - spans.get(b)[0]), rising = [...spans.keys()].sort((a, b) => spans.get(b)[1] - spans.get(a)[1]);
  const says = (end, groups, way, furthest) => furthest === end ? `Clipped at ${told(end)}: the bars of ${named(groups)} go on.`
    : `Clipped at ${told(end)}: ${named(groups)} ${groups.length > 1 ? way.slice(0, -1) : way} to ${told(furthest)}.`;
  const means = groups => points.filter(point => groups.includes(point.group)).map(point => point.mean);
  for (let count = 1; count <= Math.floor((spans.size - 1) / 2); count++) {
    const bottom = spans.get(falling[count])[0], top = spans.get(rising[count])[1], fell = falling.slice(0, count), rose = rising.slice(0, count);
    if (high - bottom < (high - low) / 4) return { domain: [bottom, high], says: says(bottom, fell, "falls", Math.min(bottom, ...means(fell))) };
    if (top - low < (high - low) / 4) return { domain: [low, top], says: says(top, rose, "rises", Math.max(top, ...means(rose))) };
  }
  return { domain: [low, high], says: "" };
}
const padded = ([low, high]) => { const pad = Math.max((high - low) * 0.04, 1e-9); return [low - pad, high + pad]; };

/* An axis as far as what others have measured; as figures/references.py does. */
function roomFor(references, [low, high]) {
  const values = references.map(point => point.reference), pad = 0.02 * (high - low);
  return values.length ? [Math.min(low, Math.min(...values) - pad), Math.max(high, Math.max(...values) + pad)] : [low, high];
}

/* Put another metric's points, titles and domains into the marks of a figure. */
function redrawn(inside, domain, x, title, seeds) {
  if (seeds) inside.layer = inside.layer.filter(layer => !layer.encoding.y2 && layer.mark.type !== "tick");
  for (const layer of inside.layer) {
    layer.mark.clip = true;
    if (layer.encoding.x) Object.assign(layer.encoding.x, x);
    Object.assign(layer.encoding.y, title, { scale: { zero: false, domain } });
    if (seeds) layer.transform = [...layer.transform ?? [], { filter: "!isValid(datum.seed)" }];
  }
  if (!seeds) return;
  const { x: across, y, color } = inside.layer.find(layer => layer.mark.type === "line" && layer.encoding.y.field === "mean").encoding;
  inside.layer.unshift({ transform: [{ filter: "isValid(datum.seed)" }], mark: { type: "line", strokeWidth: 0.8, opacity: 0.6, aria: false, clip: true },
    encoding: { x: across, y, color, detail: { field: "seed" } } });
}

/* The line under the title: how many seeds, what the bars are. */
function told(points, state) {
  const means = points.filter(point => point.n), n = sorted(new Set(means.map(point => point.n))), lost = Math.max(0, ...means.map(point => point.diverged));
  const seeds = n.length > 1 ? `Mean of ${n[0]} to ${n.at(-1)} seeds` : n[0] > 1 ? `Mean of ${n[0]} seeds` : "One seed";
  const bars = state.lines === "seeds" ? "; thin lines: each seed" : n.at(-1) > 1 ? `; bars: ${BARS[state.error]}` : "";
  const dense = means.some(point => point.round === 0 && point.kept >= 100) ? "; dashed: the dense network" : "";
  return `${seeds}${bars}${dense}.${lost ? ` Diverged cells are left out (up to ${lost} a point).` : ""}`;
}

/* A point of a line says its own place beside what the line says. */
const lineTold = item => `${item.description ?? ""}${item.datum && !item.datum.told?.includes(":") ? ` (${Object.entries(item.datum)
  .filter(([name, value]) => typeof value === "number" && name !== "place").map(([name, value]) => `${name} ${short(value)}`).join(", ")})` : ""}`;

const MOST = 500;  // Rows of a table on the page.
const tidy = value => typeof value === "number" ? Number(value.toPrecision(6)) : value ?? null;
const lines = text => text.length < 90 ? [text] : text.split(/(?<=[.;]) /);

/* Comma-separated, each text that needs it in quotes. */
function csv(head, rows) {
  const field = value => value === null || value === undefined ? "" : /[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [head, ...rows].map(row => row.map(field).join(",")).join("\n") + "\n";
}
