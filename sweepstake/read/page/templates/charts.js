"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const inks = () => dark.matches
  ? { background: "#14171b", axis: { labelColor: "#c9d1d9", titleColor: "#e6e9ed", gridColor: "#353c45", domainColor: "#6b7480", tickColor: "#6b7480" },
      legend: { labelColor: "#c9d1d9", titleColor: "#a3adb8" }, header: { labelColor: "#e6e9ed" } }
  : { background: "#ffffff" };
const mix = (one, two) => Object.fromEntries([...new Set([...Object.keys(one), ...Object.keys(two)])].map(key =>
  [key, typeof two[key] === "object" ? { ...one[key], ...two[key] } : two[key] ?? one[key]]));

/* Fit the width: fewer panels and legend columns on a narrow screen. */
function fit(spec, width, slack) {
  const made = structuredClone(spec);
  if (made.facet) {
    made.columns = width < 520 ? 1 : 2;
    made.spec.width = Math.floor((width - slack) / made.columns);
  } else {
    made.width = width - slack;
    made.height = width < 520 ? 260 : 340;
  }
  for (const layer of (made.spec || made).layer)
    for (const channel of ["color", "shape"]) {
      const legend = layer.encoding?.[channel]?.legend;
      if (legend) legend.columns = Math.max(2, Math.min(legend.columns, Math.floor(width / (legend.symbolType === "stroke" ? 90 : 155))));
    }
  made.config = mix(made.config, inks());
  return made;
}

async function show(figure) {
  const chart = figure.querySelector(".chart");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const width = figure.clientWidth;
  let slack = 80;
  for (const attempt of [1, 2]) {  // Axes and labels take what they take: draw, see by how much it misses the width, draw again.
    await vegaEmbed(chart, fit(spec, width, slack), { mode: "vega-lite", actions: false, renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" } });
    slack += Number(chart.querySelector("svg").getAttribute("width")) - width + 1;
  }
  figure.classList.add("live");
}

const all = () => document.querySelectorAll("figure").forEach(figure => show(figure).catch(error => console.error(error)));
let last = innerWidth, timer;
addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { if (innerWidth !== last) { last = innerWidth; all(); } }, 150); });
dark.addEventListener("change", all);
all();
