"use strict";
/* The table of runs, and what the reader takes along: tables, texts and commands. */
(() => {
  const PAGE = 100;
  const state = { by: null, down: false, text: "", status: "", page: 0 };  // Outside of the elements, which a live page replaces.
  const news = window.report?.news ?? new Map();  // Of a page that follows its study: the lines of cells that have more by now.
  let runs = null, source = "";

  const quoted = value => /[",\n]/.test(value = String(value ?? "")) ? `"${value.replaceAll('"', '""')}"` : value;
  const csv = lines => lines.map(line => line.map(quoted).join(",")).join("\n") + "\n";
  const made = (tag, text, kind) => { const one = document.createElement(tag); one.textContent = text; if (kind) one.className = kind; return one; };

  /* The cells with their labels in words, and the text that the filter looks through. */
  function read(element) {
    const { axes, statuses, heads, cells } = JSON.parse(element.textContent);
    const names = [...axes.map(([axis]) => axis), ...heads.map(([name]) => name)];
    const shown = [...axes.map(([axis]) => axis), ...heads.map(([, head]) => head)];
    const rows = cells.map(cell => cell.map((value, place) => place < axes.length ? axes[place][1][value] : place === axes.length + 1 ? statuses[value] : value));
    for (const { place, line } of news.values()) rows[place] = line;
    const texts = rows.map(row => row.join(" ").toLowerCase());
    const words = new Set([...axes.map((_, place) => place), axes.length + 1, names.length - 1]);
    const accuracies = new Set([axes.length + 4, axes.length + 5]);
    return { names, shown, rows, texts, words, accuracies, status: axes.length + 1 };
  }

  const told = (column, value) => value === null ? "–" : runs.accuracies.has(column) ? value.toFixed(2) : value;

  function chosen() {
    const asked = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    let found = runs.rows.map((_, place) => place).filter(place =>
      (!state.status || runs.rows[place][runs.status] === state.status) && asked.every(word => runs.texts[place].includes(word)));
    if (state.by !== null) {
      const by = state.by, way = state.down ? -1 : 1;
      const order = runs.words.has(by) ? (one, two) => String(one).localeCompare(String(two), "en", { numeric: true }) : (one, two) => one - two;
      found.sort((a, b) => {  // What is not there comes last, whichever way.
        const one = runs.rows[a][by], two = runs.rows[b][by];
        return one === null || two === null ? (one === null) - (two === null) : way * order(one, two) || a - b;
      });
    }
    return found;
  }

  function show() {
    const table = document.getElementById("run-table"), pages = document.getElementById("run-pages");
    const found = chosen(), last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    state.page = Math.min(state.page, last);
    const from = state.page * PAGE, here = found.slice(from, from + PAGE);
    const total = runs.rows.length.toLocaleString("en"), count = found.length.toLocaleString("en");
    document.getElementById("run-count").textContent =
      `${count} of ${total} runs` + (last ? `, of which ${from + 1} to ${from + here.length} are shown` : "");
    table.tBodies[0].replaceChildren(...here.map(place => {
      const line = document.createElement("tr");
      runs.rows[place].forEach((value, column) => {
        const cell = made("td", "", runs.words.has(column) ? "" : "n");
        cell.append(column === runs.names.length - 1 ? made("code", value) : told(column, value));
        line.append(cell);
      });
      return line;
    }));
    [...table.tHead.rows[0].cells].forEach((head, column) =>
      head.setAttribute("aria-sort", column !== state.by ? "none" : state.down ? "descending" : "ascending"));
    pages.hidden = !last;
    pages.querySelector("[name=before]").disabled = state.page === 0;
    pages.querySelector("[name=after]").disabled = state.page === last;
  }

  function begin() {
    const data = document.getElementById("run-data"), form = document.getElementById("run-controls");
    if (!data || (form.dataset.begun && source === `${news.number} ${data.textContent}`)) return;
    source = `${news.number} ${data.textContent}`;
    runs = read(data);
    for (const { line } of news.values())
      if (![...form.elements.status.options].some(one => one.text === line[runs.status])) form.elements.status.add(new Option(line[runs.status]));
    if (form.dataset.begun) return show();  // A live page has changed the numbers alone.
    form.dataset.begun = "yes";
    const head = document.createElement("tr");
    runs.shown.forEach((name, column) => {
      const cell = made("th", "", runs.words.has(column) ? "" : "n"), button = made("button", name);
      button.type = "button";
      button.addEventListener("click", () => { state.down = state.by === column && !state.down; state.by = column; state.page = 0; show(); });
      cell.scope = "col";
      cell.append(button);
      head.append(cell);
    });
    document.getElementById("run-table").tHead.replaceChildren(head);
    form.elements.text.value = state.text;
    form.elements.status.value = state.status;
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("input", () => { state.text = form.elements.text.value; state.status = form.elements.status.value; state.page = 0; show(); });
    form.elements.csv.addEventListener("click", () => save("runs.csv", csv([runs.names, ...chosen().map(place => runs.rows[place])]), "text/csv"));
    for (const [name, step] of [["before", -1], ["after", 1]])
      document.querySelector(`#run-pages [name=${name}]`).addEventListener("click", () => { state.page += step; show(); });
    show();
  }

  const within = cell => cell.innerText.trim().replace(/\s*\n\s*/g, " ");
  /* A script element holds JSON: a text as it is, or anything else. */
  function content(element) {
    if (element.tagName !== "SCRIPT") return element.textContent;
    const value = JSON.parse(element.textContent);
    return typeof value === "string" ? value : JSON.stringify(value, null, 1);
  }
  /* Every round's row, as Python writes it: of each column one value, one a cell, or one a row. */
  async function rows({ rounds, columns }) {
    const counts = JSON.parse(await unpack(rounds)), of_cell = counts.flatMap((count, cell) => Array(count).fill(cell));
    const values = await Promise.all(columns.map(async ([, way, held]) => way === "all" ? held : JSON.parse(await unpack(held))));
    const told = value => value === true ? "True" : value === false ? "False" : value;
    const at = { all: value => value, cell: (value, row) => value[of_cell[row]], row: (value, row) => value[row] };
    return [columns.map(([name]) => name), ...of_cell.map((_, row) => values.map((value, place) => told(at[columns[place][1]](value, row))))];
  }
  const types = { csv: "text/csv", json: "application/json", toml: "application/toml" };
  document.addEventListener("click", async event => {
    const { copy, save: saved, table, rows: data, name } = event.target.closest("button")?.dataset ?? {};
    if (table) save(name, csv([...document.querySelector(table).rows].map(row => [...row.cells].map(within))), "text/csv");
    if (data) save("rows.csv", csv(await rows(JSON.parse(document.querySelector(data).textContent))), "text/csv");
    if (saved) save(name, content(document.querySelector(saved)), types[name.split(".").pop()]);
    if (copy) document.getElementById("copied").textContent = await copied(document.querySelector(copy)) ? "Copied." : "Selected: copy it with your keyboard.";
  });

  /* By the clipboard, or where that is refused, as in a file from a disk, by a selection. */
  async function copied(element) {
    try { await navigator.clipboard.writeText(element.textContent); return true; } catch { /* Refused. */ }
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }

  const before = window.report?.start;
  window.report = { ...window.report, start() { before?.(); begin(); } };
  begin();
})();
