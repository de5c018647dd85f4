/* The figures, live: each drawn as it comes into view, from the spec that its still was drawn from. What a reader sets (another metric, a zoom,
   groups singled out) changes that spec's data, domains and titles. It is kept by the figure's id, so that it outlives the document around it. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const states = new Map();
let charts = [];

function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

let library;
const nonce = document.currentScript.nonce || null;  // A served page runs no script without it.
const vegaIsThere = () => library ??= unpack(document.getElementById("library").textContent).then(text => {
  document.head.append(element("script", { nonce }, text));
});

/* The numbers of all cells; unpacked again where the document holds others, with the rounds that a page which follows its study has got since. */
const news = window.report?.news ?? new Map();
let numbers = [null, null], joined = [null, null, null];
async function runs() {
  const text = document.getElementById("runs").textContent;
  if (numbers[0] !== text) numbers = [text, unpack(text).then(JSON.parse)];
  const all = await numbers[1];
  if (joined[0] !== all || joined[1] !== news.number) joined = [all, news.number, withNews(all, [...news.values()])];
  return joined[2];
}

/* One line that is read out, and seen at the foot of the window while a point is walked to. */
let readout;
function say(text) {
  if (!readout?.isConnected) readout = document.body.appendChild(element("div", { id: "readout", role: "status", "aria-live": "polite" }));
  readout.textContent = text;
}

const inks = () => dark.matches
  ? { background: "#14171b", axis: { labelColor: "#c9d1d9", titleColor: "#e6e9ed", gridColor: "#353c45", domainColor: "#6b7480", tickColor: "#6b7480" },
      legend: { labelColor: "#c9d1d9", titleColor: "#a3adb8" }, header: { labelColor: "#e6e9ed" } }
  : { background: "#ffffff" };
const mix = (one, two) => Object.fromEntries([...new Set([...Object.keys(one), ...Object.keys(two)])].map(key =>
  [key, typeof two[key] === "object" ? { ...one[key], ...two[key] } : two[key] ?? one[key]]));
const layersOf = spec => (spec.spec ?? spec).layer ?? [spec.spec ?? spec];
const sorted = numbers => [...numbers].sort((a, b) => a - b);

const SHAPES = { circle: "M4.5,0A4.5,4.5 0 1 1 -4.5,0A4.5,4.5 0 1 1 4.5,0Z", square: "M-4,-4H4V4H-4Z", diamond: "M0,-5.5L5.5,0L0,5.5L-5.5,0Z",
  cross: "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z", "triangle-up": "M0,-5L5,4H-5Z", "triangle-down": "M0,5L-5,-4H5Z",
  "triangle-right": "M5,0L-4,5V-5Z", "triangle-left": "M-5,0L4,-5V5Z" };

/* A group of marks that is a plotting area, not the lines of one. */
const isPanel = mark => mark.marktype === "group" && mark.role === "scope" && !mark.name?.endsWith("_pathgroup");

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.box = figure.querySelector(".chart");
    this.name = figure.id.replace(/^figure-/, "");
    this.state = states.get(figure.id) ?? { groups: [], zoom: { x: null, y: null }, everything: false, table: false };
    states.set(figure.id, this.state);
  }

  /* What the document says of it now. */
  get source() {
    const { view } = this.figure.dataset, grown = [...news.values()].some(cell => cell.rows.length && cell.views.includes(Number(view)));
    return [this.figure.querySelector("script.spec").textContent, ...view ? [document.getElementById("runs").textContent, grown ? news.number : ""] : []].join(" ");
  }

  /* Drawn again if the document says something else by now. */
  refresh() {
    if (!this.prepared || this.source === this.prepared_from) return;
    this.prepared = null;
    this.draw().catch(error => console.error(error));
  }

  /* What is in the packed spec, and all that surrounds the chart. */
  async prepare() {
    this.prepared_from = this.source;
    const [spec] = await Promise.all([unpack(this.figure.querySelector("script.spec").textContent).then(JSON.parse), vegaIsThere()]);
    this.spec = spec;
    this.made = this.figure.dataset.view ? spec.usermeta : null;
    if (this.made) {
      this.runs = await runs();
      this.view = this.runs.views[this.figure.dataset.view];
      this.first = { y: this.made.column, error: this.made.error, lines: "mean", x: this.made.x };
      Object.assign(this.state, { ...this.first, ...this.state });
      if (!this.runs.metrics.some(one => one.name === this.state.y)) this.state.y = this.first.y;
    }
    const colour = layersOf(spec).map(layer => layer.encoding?.color).find(one => one?.type === "nominal" && one.field);
    const values = spec.data?.values ?? [];
    this.by = colour?.field;
    this.all = this.by ? (colour.scale?.domain ?? [...new Set(values.map(value => value[this.by]))])
      .filter(group => values.some(value => value[this.by] === group && value.reference === undefined)) : [];
    this.called = colour?.legend?.title ?? "";
    this.state.groups = this.state.groups.filter(group => this.all.includes(group));
    const surroundings = JSON.stringify([this.all, this.called, this.made && this.runs.metrics]);
    if (this.surroundings !== surroundings) this.surround();  // Else what a reader has open or focused stays.
    this.surroundings = surroundings;
  }

  /* Whether the spec's own points are what is to be shown: nothing is set, and no round has come since it was made. */
  get isAsMade() { return this.isFirst && !this.view?.grown; }

  get isFirst() { return !this.made || Object.entries(this.first).every(([name, value]) => this.state[name] === value); }

  get metric() { return this.runs.metrics.find(one => one.name === this.state.y); }

  get showsPercent() { return Math.abs(this.metric.times) === 100; }

  summary() {
    const shown = this.state.groups.length ? this.state.groups : this.all;  // A group that has come since has no colour before the next page.
    return summarised(this.runs, this.view, this.made, this.metric).filter(one => !shown.length || shown.includes(one.group));
  }

  points() {
    if (!this.isAsMade) return pointsOf(this.summary(), this.made, this.metric, this.state);
    const points = (this.spec.data?.values ?? []).filter(point => point.reference === undefined);
    return this.state.groups.length ? points.filter(point => this.state.groups.includes(point[this.by])) : points;
  }

  /* What others have measured of the figure's own metric: it is there whatever groups are shown. */
  references() {
    if (this.made && this.state.y !== this.first.y) return [];
    const found = (this.spec.data?.values ?? []).filter(point => point.reference !== undefined);
    return this.made ? found.map(point => ({ ...point, x: this.state.x === "compression" ? 100 / point.kept : point.kept })) : found;
  }

  /* The spec of what is set now, and the words that go with it. */
  now() {
    const spec = structuredClone(this.spec), state = this.state, points = this.points(), laid = this.references();
    const words = { title: spec.title.text, about: this.figure.dataset.about, clip: "" };
    if (spec.data?.values) spec.data.values = [...points, ...laid];
    if (!this.made) return [spec, words];
    const asDrawn = this.isAsMade && !state.groups.length;
    const clip = asDrawn ? { says: this.made.clip } : clipped(points, this.showsPercent ? value => `${short(value)} %` : short);
    words.clip = clip.says;
    if (!asDrawn || state.everything && clip.says) {
      const domain = padded(state.everything || !clip.domain ? [Math.min(...points.map(point => point.lo)), Math.max(...points.map(point => point.hi))] : clip.domain);
      redrawn(spec.spec ?? spec, roomFor(laid, domain), this.isAsMade ? {} : place(points, this.made, state),
        this.isAsMade ? {} : { title: `${this.metric.told}${this.showsPercent ? " (%)" : ""}` }, state.lines === "seeds");
    }
    if (!this.isAsMade) {
      words.about = [told(points, state), ...spec.title.subtitle.slice(1).filter(line => laid.length || !/^Grey(, dashed)?: /.test(line))].join(" ");
      if (state.y !== this.first.y) words.title = `${this.metric.told[0].toUpperCase()}${this.metric.told.slice(1)} against weights remaining`;
    }
    return [spec, words];
  }

  /* Scales that a zoom moves; marks that end with the panel once it has. */
  zoomable(vega) {
    const walk = scope => {
      for (const scale of scope.scales ?? [])
        if (["linear", "log", "sqrt", "pow", "symlog", "time", "utc"].includes(scale.type) && /(^|_)[xy]$/.test(scale.name))
          scale.domainRaw = { signal: `zoom_${scale.name.at(-1)}` };
      for (const mark of scope.marks ?? [])
        if (mark.type === "group") walk(mark);
        else if (mark.clip !== true) mark.clip = { signal: "!!(zoom_x || zoom_y)" };
    };
    walk(vega);
    vega.signals = [...vega.signals ?? [], { name: "zoom_x", value: this.state.zoom.x }, { name: "zoom_y", value: this.state.zoom.y }];
    return vega;
  }

  draw() { return this.drawn = this.drawAnew(); }

  async drawAnew() {
    const drawing = this.drawing = Symbol();
    await (this.prepared ??= this.prepare());
    const [spec, words] = this.now(), width = this.figure.clientWidth;
    delete spec.title;  // The page says it, where it can wrap, and has a button for each group.
    for (const layer of layersOf(spec))
      for (const channel of ["color", "shape"])
        if (this.all.length && layer.encoding?.[channel]?.field === this.by) layer.encoding[channel].legend = null;
    spec.config = mix(spec.config ?? {}, inks());
    const flat = (spec.layer || spec.mark) && !spec.facet;
    if (flat) Object.assign(spec, { width, height: width < 520 ? 260 : 340, autosize: { type: "fit-x", contains: "padding" } });
    if (spec.facet && spec.spec.width) {
      spec.columns = width < 520 ? 1 : Math.min(spec.columns ?? 2, 2);
      spec.spec.width = Math.floor((width - (this.slack ?? 80)) / spec.columns);
    }
    this.plot.style.minHeight = `${this.plot.offsetHeight}px`;  // Nothing below it jumps meanwhile.
    const result = await vegaEmbed(this.plot, spec, { mode: "vega-lite", actions: false, renderer: "svg", patch: vega => this.zoomable(vega),
      tooltip: { theme: dark.matches ? "dark" : "light" } });
    if (drawing !== this.drawing) return;  // Another has begun.
    this.vega = result.view;
    const missed = Number(this.plot.querySelector("svg").getAttribute("width")) - width;
    if (spec.facet && spec.spec.width && (missed > 0 || missed <= -4)) {  // Around panels, axes take what they take.
      this.slack = (this.slack ?? 80) + missed + 1;
      await this.vega.signal("child_width", Math.floor((width - this.slack) / spec.columns)).runAsync();
      if (drawing !== this.drawing) return;
    }
    this.plot.style.minHeight = "";
    this.figure.classList.add("live");
    this.tell(words);
    this.walkTo(this.at);
  }

  /* ---- what surrounds the chart ---- */

  surround() {
    const { figure, state } = this;
    for (const old of figure.querySelectorAll(".tools, details.numbers, .keys")) old.remove();
    this.box.replaceChildren(this.plot = element("div", { class: "plot" }), this.band = element("div", { class: "band", hidden: "" }),
      this.ring = element("div", { class: "ring", hidden: "" }));
    const title = figure.querySelector("h3").textContent, id = figure.id;
    for (const [name, value] of Object.entries({ tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": title, "aria-describedby": `${id}-keys` }))
      this.box.setAttribute(name, value);
    const button = (text, act, more = {}) => element("button", { type: "button", onclick: act, ...more }, text);
    const choice = (label, name, options) => {
      const select = element("select", { "data-sets": name, onchange: () => { state[name] = select.value; if (name !== "error") state.zoom = { x: null, y: null }; this.draw(); } },
        ...options.map(([value, text]) => element("option", { value, ...value === state[name] ? { selected: "" } : {} }, text)));
      return element("label", {}, element("span", {}, label), " ", select);
    };
    const bar = element("div", { class: "bar" });
    if (this.made)
      bar.append(choice("y", "y", this.runs.metrics.map(one => [one.name, one.told])),
        choice("x", "x", [["log", "weights remaining, log"], ["linear", "weights remaining, linear"], ["compression", "compression, log"]]),
        choice("bars", "error", Object.entries(ERRORS)), choice("lines", "lines", [["mean", "mean"], ["seeds", "every seed"]]));
    bar.append(element("span", { class: "set", role: "group", "aria-label": "Zoom" }, button("+", () => this.zoomBy(0.7), { "aria-label": "Zoom in" }),
      button("−", () => this.zoomBy(1 / 0.7), { "aria-label": "Zoom out" }), this.reset = button("Reset", () => this.resetAll(), { "data-does": "reset" })));
    bar.append(element("span", { class: "set", role: "group", "aria-label": "Take it with you" }, button("SVG", () => this.hand("svg")), button("PNG", () => this.hand("png")),
      button("PDF", () => this.print(), { title: "Opens the print dialog with this figure alone" }), button("CSV", () => save(`${this.name}.csv`, csv(...this.table()), "text/csv"))));
    const tools = element("div", { class: "tools screen" });
    if (this.all.length > 1) {
      this.legend = element("div", { class: "groups", role: "group", "aria-label": this.called ? `Single out: ${this.called}` : "Single out groups" });
      this.shows = element("p", { class: "shows small" });
      tools.append(this.legend, this.shows);
    }
    this.details = element("details", { class: "numbers screen", ontoggle: () => { state.table = this.details.open; this.fill(); } },
      element("summary", {}, "Table of the numbers shown"));
    this.details.open = state.table;
    this.box.before(tools);
    this.box.after(element("div", { class: "tools screen" }, bar), element("p", { class: "keys", id: `${id}-keys`, hidden: "" },
      "Arrow keys walk the points: left and right along a group, up and down between groups. Plus and minus zoom, shift and an arrow key move, 0 zooms out, Escape leaves."), this.details);
    this.listen();
  }

  /* Words, legend and table of what is shown now. */
  tell({ title, about, clip }) {
    const { figure, state } = this, show = (selector, text) => { figure.querySelector(selector).textContent = text; };
    show("h3", title);
    show(".about", about);
    this.box.setAttribute("aria-label", title);
    this.words = [title, [about, clip && !state.everything ? clip : ""].filter(Boolean)];
    const line = figure.querySelector(".clip");
    line.replaceChildren();
    line.hidden = !clip;
    if (clip) line.append(state.everything ? "All of the y axis is shown. " : `${clip} `, element("button", { type: "button", class: "screen", "data-does": "everything",
      onclick: () => { state.everything = !state.everything; state.zoom.y = null; this.draw().then(() => figure.querySelector("[data-does=everything]")?.focus()); } },
      state.everything ? "Clip again" : "Show everything"));
    const touched = state.groups.length || state.zoom.x || state.zoom.y || !this.isFirst || state.everything;
    this.reset.disabled = !touched;
    this.tellGroups();
    if (state.table) this.fill();
  }

  tellGroups() {
    if (!this.legend) return;
    const { state } = this, focused = document.activeElement?.dataset?.group;
    this.legend.replaceChildren(...this.all.map(group => element("button", { type: "button", "data-group": group, "aria-pressed": String(state.groups.includes(group)),
      class: state.groups.length && !state.groups.includes(group) ? "out" : null, onclick: () => this.single(group) }, this.swatch(group), ` ${group}`)),
      ...[...new Set(this.references().map(point => point.group))].map(label => element("span", { class: "soft" }, `┄ ${label}`)));
    if (focused) [...this.legend.children].find(one => one.dataset.group === focused)?.focus();
    const shown = this.all.filter(group => state.groups.includes(group));
    this.shows.replaceChildren(...shown.length ? [`Showing ${shown.length} of ${this.all.length}: ${shown.join(", ")}. `,
      element("button", { type: "button", "data-does": "all", onclick: () => { state.groups = []; this.draw().then(() => this.legend.firstChild.focus()); } }, "Show all")]
      : [`Showing all ${this.all.length}. Click a name to single it out.`]);
  }

  single(group) {
    const { state } = this;
    state.groups = state.groups.includes(group) ? state.groups.filter(one => one !== group) : [...state.groups, group];
    if (state.groups.length === this.all.length) state.groups = [];
    this.draw();
  }

  /* A group's colour and shape, as the chart has them. */
  swatch(group) {
    const of = (name, otherwise) => { try { return this.vega.scale(name)(group) ?? otherwise; } catch { return otherwise; } };
    const colour = of("color", "currentColor"), shape = of("shape", "circle");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of Object.entries({ viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true" })) svg.setAttribute(name, value);
    svg.append(document.createElementNS(svg.namespaceURI, "path"));
    svg.firstChild.setAttribute("d", SHAPES[shape] ?? SHAPES.circle);
    svg.firstChild.setAttribute("fill", colour);
    return svg;
  }

  resetAll() {
    Object.assign(this.state, { groups: [], zoom: { x: null, y: null }, everything: false, ...this.first });
    for (const select of this.figure.querySelectorAll("select")) select.value = this.state[select.dataset.sets];
    this.box.focus();
    this.draw();
  }

  /* ---- numbers out of it ---- */

  /* Columns and rows of what is shown; a figure that says nothing of its points shows all their fields. */
  table() {
    if (this.made) {
      const seeds = this.state.lines === "seeds", head = [...this.made.by ? [this.made.by] : [], ...this.made.panel ? [this.made.panel] : [], "round", "weights_remaining_percent",
        ...seeds ? ["seed", this.state.y] : [`${this.state.y}_mean`, "standard_deviation", "interval_low", "interval_high", "minimum", "maximum", "seeds", "diverged"]];
      const who = one => [...this.made.by ? [one.group] : [], ...this.made.panel ? [one.panel] : [], one.round, tidy(one.kept)];
      return [head, this.summary().flatMap(one => seeds ? one.seeds.map(([seed, value]) => [...who(one), seed, tidy(value)])
        : [[...who(one), ...[one.mean, one.std, one.interval?.[0], one.interval?.[1], one.min, one.max].map(tidy), one.n, one.diverged]])];
    }
    const values = this.points(), fields = [...new Set(values.flatMap(Object.keys))].filter(field => field !== "told" && !field.endsWith("_told"));
    return [fields, values.map(value => fields.map(field => typeof value[field] === "number" ? tidy(value[field]) : value[field]))];
  }

  fill() {
    this.details.querySelector(".scroll")?.remove();
    if (!this.details.open) return;
    const [head, rows] = this.table(), cell = (tag, value) => element(tag, typeof value === "number" ? { class: "n" } : tag === "th" ? { scope: "col" } : {}, value === null || value === undefined ? "–" : String(value));
    this.details.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table: ${this.words?.[0] ?? ""}` }, element("table", {}, element("thead", {}, element("tr", {}, ...head.map(name => cell("th", name.replaceAll("_", " "))))),
      element("tbody", {}, ...rows.slice(0, MOST).map(row => element("tr", {}, ...row.map(value => cell("td", value))))))));
    if (rows.length > MOST) this.details.lastChild.append(element("p", { class: "small soft" }, `The first ${MOST} of ${rows.length} rows; the CSV has all.`));
  }

  /* The chart as it is set, on white, with its title and legend. */
  async onPaper() {
    const [spec] = this.now(), [title, subtitle] = this.words, holder = element("div");
    spec.title = { text: title, subtitle: subtitle.flatMap(lines) };
    if (this.state.groups.length)
      for (const layer of layersOf(spec))
        for (const channel of ["color", "shape"]) {
          const one = layer.encoding?.[channel];
          if (one?.field === this.by && one.legend) one.legend = { ...one.legend, values: this.state.groups };
        }
    const { view } = await vegaEmbed(holder, spec, { mode: "vega-lite", actions: false, renderer: "svg", patch: vega => this.zoomable(vega) });
    return view;
  }

  async hand(kind) {
    const view = await this.onPaper();
    if (kind === "svg") save(`${this.name}.svg`, await view.toSVG(), "image/svg+xml");
    else save(`${this.name}.png`, await new Promise(async done => (await view.toCanvas(3)).toBlob(done)), "image/png");
    view.finalize();
  }

  async print() {
    const view = await this.onPaper(), alone = element("div", { class: "alone" });
    alone.innerHTML = await view.toSVG();
    view.finalize();
    document.body.append(alone);
    document.body.classList.add("one-figure");
    addEventListener("afterprint", () => { alone.remove(); document.body.classList.remove("one-figure"); }, { once: true });
    print();
  }

  /* ---- pointer and keys ---- */

  /* The plotting areas, in the view's pixels. */
  panels() {
    const found = [], walk = (item, x, y) => {
      let inner = 0;
      for (const mark of item.items ?? [])
        if (isPanel(mark))
          for (const group of mark.items) { inner += 1; walk(group, x + (group.x ?? 0), y + (group.y ?? 0)); }
      if (!inner && item.width > 0 && item.height > 0) found.push({ x, y, width: item.width, height: item.height, item });
    };
    const [x, y] = this.vega.origin();
    for (const root of this.vega.scenegraph().root.items) walk(root, x, y);
    return found;
  }

  /* Where the pointer is, in the view's pixels. */
  where(event) {
    const svg = this.plot.querySelector("svg"), at = svg.getBoundingClientRect(), scale = at.width / Number(svg.getAttribute("width"));
    return { x: (event.clientX - at.left) / scale, y: (event.clientY - at.top) / scale };
  }

  panelAt({ x, y }) {
    return this.panels().find(one => x >= one.x - 1 && x <= one.x + one.width + 1 && y >= one.y - 1 && y <= one.y + one.height + 1);
  }

  scale(panel, name) {
    try { return this.vega.scale(name); } catch { return panel.item.context?.scales?.[name]?.value ?? null; }
  }

  /* Show what lies between these pixels of a panel. */
  async window(panel, across, down) {
    const { zoom } = this.state;
    for (const [name, ends] of [["x", across], ["y", down]]) {
      const scale = ends && this.scale(panel, name);
      if (!scale?.invert) continue;
      this.base ??= {};
      const base = this.base[name] = zoom[name] ? this.base[name] ?? sorted(scale.domain()) : sorted(scale.domain()), to = sorted(ends.map(end => +scale.invert(end)));
      const wide = to.map((end, place) => place ? Math.min(end, base[1]) : Math.max(end, base[0]));
      zoom[name] = wide[0] <= base[0] && wide[1] >= base[1] || !(wide[1] > wide[0]) ? null : wide;
      this.vega.signal(`zoom_${name}`, zoom[name]);
    }
    await this.vega.runAsync();
    this.reset.disabled = !(this.state.groups.length || zoom.x || zoom.y || !this.isFirst || this.state.everything);
    this.walkTo(this.at);
  }

  zoomBy(factor, at = null) {
    const panel = at ? this.panelAt(at) : this.panels()[0];
    if (!panel) return;
    const x = at ? at.x - panel.x : panel.width / 2, y = at ? at.y - panel.y : panel.height / 2;
    return this.window(panel, [x - x * factor, x + (panel.width - x) * factor], [y - y * factor, y + (panel.height - y) * factor]);
  }

  /* Move the window by a share of itself; not beyond the whole. */
  move(across, down) {
    const panel = this.panels()[0], { zoom } = this.state;
    const within = (name, by, size) => {
      if (!zoom[name] || !by) return null;
      const scale = this.scale(panel, name), ends = sorted(this.base[name].map(end => scale(end)));
      const shift = Math.max(ends[0], Math.min(by * size, ends[1] - size));
      return [shift, size + shift];
    };
    return this.window(panel, within("x", across, panel.width), within("y", down, panel.height));
  }

  listen() {
    const { box, band } = this;
    let from = null;
    box.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== box) return;  // Whoever scrolls the page past the chart goes on.
      if (!this.panelAt(this.where(event))) return;
      event.preventDefault();
      this.zoomBy(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) / 400), this.where(event));
    }, { passive: false });
    box.addEventListener("pointerdown", event => {
      const at = this.where(event), panel = event.pointerType !== "touch" && event.button === 0 && this.panelAt(at);
      if (panel) { from = { at, panel, id: event.pointerId }; box.setPointerCapture(event.pointerId); }
    });
    const ends = at => ["x", "y"].map(name => sorted([from.at[name], at[name]].map(end => Math.max(0, Math.min(end - from.panel[name], from.panel[name === "x" ? "width" : "height"])))));
    box.addEventListener("pointermove", event => {
      if (!from) return;
      const [across, down] = ends(this.where(event)), scale = this.plot.querySelector("svg").getBoundingClientRect().width / Number(this.plot.querySelector("svg").getAttribute("width"));
      band.hidden = across[1] - across[0] < 6 && down[1] - down[0] < 6;
      Object.assign(band.style, { left: `${(from.panel.x + across[0]) * scale}px`, top: `${(from.panel.y + down[0]) * scale}px`,
        width: `${(across[1] - across[0]) * scale}px`, height: `${(down[1] - down[0]) * scale}px` });
    });
    box.addEventListener("pointerup", event => {
      if (!from) return;
      const [across, down] = ends(this.where(event)), { panel } = from, wide = across[1] - across[0] >= 6, high = down[1] - down[0] >= 6;
      from = null;
      band.hidden = true;
      if (wide || high) this.window(panel, wide ? across : null, high ? down : null);
    });
    box.addEventListener("pointercancel", () => { from = null; band.hidden = true; });
    box.addEventListener("dblclick", () => this.unzoom());
    box.addEventListener("keydown", event => this.key(event));
    box.addEventListener("blur", () => this.leave());
  }

  unzoom() {
    this.state.zoom = { x: null, y: null };
    return this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, way = ways[event.key];
    if (way && event.shiftKey) this.move(way[0] / 4, way[1] / 4);
    else if (way) this.step(...way);
    else if (event.key === "+" || event.key === "=") this.zoomBy(0.7);
    else if (event.key === "-") this.zoomBy(1 / 0.7);
    else if (event.key === "0") this.unzoom();
    else if (event.key === "Home" || event.key === "End") this.step(event.key === "Home" ? -Infinity : Infinity, 0);
    else if (event.key === "Escape") this.at ? this.leave() : this.box.blur();
    else return;
    event.preventDefault();
  }

  /* The chart's points as rows: one a panel and group, each from left to right. */
  rows() {
    const rows = new Map(), panels = this.panels();
    let marks = [];
    panels.forEach((panel, place) => {
      const walk = (item, x, y) => {
        for (const mark of item.items ?? [])
          if (mark.marktype === "group") for (const group of ["scope", "mark"].includes(mark.role) ? mark.items : []) walk(group, x + (group.x ?? 0), y + (group.y ?? 0));
          else if (mark.role === "mark") marks.push({ mark, panel, place, x, y });
      };
      walk(panel.item, panel.x, panel.y);
    });
    marks = marks.filter(({ mark }) => mark.items.some(item => item.aria !== false && item.description));
    if (marks.some(({ mark }) => mark.marktype === "symbol")) marks = marks.filter(({ mark }) => mark.marktype === "symbol");
    for (const { mark, panel, place, x, y } of marks)
      for (const item of mark.items) {
        const at = { x: x + (item.x ?? 0) + (item.width ?? 0) / 2, y: y + (item.y ?? 0) + (item.height ?? 0) / 2 };
        if (at.x < panel.x - 1 || at.x > panel.x + panel.width + 1 || at.y < panel.y - 1 || at.y > panel.y + panel.height + 1) continue;
        const group = this.by ? item.datum?.[this.by] : "", key = `${place} ${this.all.indexOf(group)}`;
        if (!rows.has(key)) rows.set(key, { order: [place, this.all.indexOf(group)], points: [] });
        rows.get(key).points.push({ ...at, key, told: item.datum?.told && mark.marktype !== "line" ? item.datum.told : lineTold(item) });
      }
    return [...rows.values()].sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]).map(row => row.points.sort((a, b) => a.x - b.x));
  }

  step(across, down) {
    const rows = this.rows();
    if (!rows.length) return say("No point is in sight. Press 0 to see the whole chart.");
    const row = this.at ? rows.findIndex(points => points[0].key === this.at.key) : -1;
    if (row < 0) return this.walkTo(rows[0][0]);
    const points = rows[row], place = points.reduce((best, one, place) => Math.abs(one.x - this.at.x) < Math.abs(points[best].x - this.at.x) ? place : best, 0);
    if (across) return this.walkTo(points[Math.max(0, Math.min(points.length - 1, place + across))]);
    const other = rows[Math.max(0, Math.min(rows.length - 1, row + down))];
    this.walkTo(other.reduce((best, one) => Math.abs(one.x - this.at.x) < Math.abs(best.x - this.at.x) ? one : best));
  }

  /* Mark a point and read it out; after the chart has changed, the one that is now where it was told of. */
  walkTo(point) {
    if (!point) return;
    const now = this.rows().flat().find(one => one.told === point.told);
    if (!now) return this.leave();
    const svg = this.plot.querySelector("svg"), scale = svg.getBoundingClientRect().width / Number(svg.getAttribute("width"));
    this.ring.hidden = false;
    Object.assign(this.ring.style, { left: `${now.x * scale}px`, top: `${now.y * scale}px` });
    if (this.at?.told !== now.told) say(now.told);
    this.at = now;
  }

  leave() {
    this.at = null;
    this.ring.hidden = true;
    say("");
  }
}

const seen = new IntersectionObserver(entries => {
  for (const entry of entries)
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      charts.find(chart => chart.figure === entry.target)?.draw().catch(error => console.error(error));
    }
}, { rootMargin: "300px" });

/* Draw the figures of the document as they come into view. After a part of it was replaced: those that are new or say something else. */
function start() {
  charts = charts.filter(chart => chart.figure.isConnected);
  for (const figure of document.querySelectorAll("figure:has(> script.spec)")) {
    const there = charts.find(chart => chart.figure === figure);
    if (there) {
      there.refresh();
      continue;
    }
    charts.push(new Chart(figure));
    seen.observe(figure);
  }
}

function again() {
  for (const chart of charts) if (chart.prepared) chart.draw().catch(error => console.error(error));
}

let lastWidth = innerWidth, timer;
addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { if (innerWidth !== lastWidth) { lastWidth = innerWidth; again(); } }, 150); });
dark.addEventListener("change", again);
window.report = { ...window.report, start, settled: () => Promise.all(charts.map(chart => chart.drawn)) };
start();
