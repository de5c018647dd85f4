"use strict";
/* Follow the study: ask the server again and again what is new; it answers once something is, or after a second. What cells have beyond the page is added to charts and the table of runs at once;
   where the page is another by now, the parts of it that are others are replaced. */
(() => {
  const PAUSE = 0.1, HIDDEN = 10, ATTEMPTS = [1, 2, 4, 8, 10];  // Seconds between two questions: on a page nobody sees, and to a server that does not answer.
  const RESTS = 1000;  // Milliseconds since a reader last did something: nothing is replaced under a pointer that is down or a key that is held.
  const news = new Map();  // Of the cells that have more than the page, by their place in the study: charts.js and tables.js add it to what they show.
  news.number = 0;  // Another is other news.
  window.report = { news };
  const bar = document.getElementById("live"), [cells, when] = bar.children;
  const clock = (time = Date.now()) => new Date(time).toLocaleTimeString("en-GB");
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  let version = Number(bar.dataset.version), seen = 0, after = 0, updated = clock(), failures = 0, answered = "", ran = false, touched = 0, timer;

  /* The parts that are replaced one by one: children of header and main, and figures in these. Of each, what the server said last. */
  const tops = root => [...root.querySelectorAll("header > *, main > *")];
  const figuresIn = root => [...root.querySelectorAll("figure[id]")];
  const nameOf = part => part.id || `${part.parentElement.localName}-${[...part.parentElement.children].indexOf(part)}`;
  const sourceOf = part => {  // Without the figures in it, which are parts themselves, and without data, which are no part to be seen.
    const copy = part.cloneNode(true);
    for (const figure of figuresIn(copy)) figure.replaceWith(`figure ${figure.id}`);
    for (const script of copy.querySelectorAll("script[id]")) script.textContent = "";
    return copy.outerHTML;
  };
  const namesOf = root => new Map([...tops(root), ...figuresIn(root)].map(part => [part, nameOf(part)]));
  const sourcesOf = names => new Map([...names].map(([part, name]) => [name, sourceOf(part)]));
  let names = namesOf(document), sources = sourcesOf(names);  // This script is the first: no other has changed the page yet.

  /* What a reader has done to a part, put back into the one that replaces it. */
  const key = (element, root) => element.id || element.name || [...root.querySelectorAll(element.localName)].indexOf(element);
  function held(part) {
    return {
      open: [...part.querySelectorAll("details")].map(each => [each.querySelector("summary")?.textContent.replace(/\d+/g, "#"), each.open]),
      fields: [...part.querySelectorAll("input, select, textarea")].map(each => [each.localName, key(each, part), each.value, each.checked]),
      scrolls: [...part.querySelectorAll(".scroll, pre")].map(each => [each.scrollLeft, each.scrollTop]),
      focus: part.contains(document.activeElement) ? [document.activeElement.localName, key(document.activeElement, part)] : null,
    };
  }
  function find(part, name, wanted) {
    return [...part.querySelectorAll(name)].find(each => key(each, part) === wanted);
  }
  function put(part, was) {
    const details = [...part.querySelectorAll("details")];
    was.open.forEach(([summary, open], place) => {
      const same = details.filter(each => each.querySelector("summary")?.textContent.replace(/\d+/g, "#") === summary);
      const one = same.length === 1 ? same[0] : details[place];
      if (one) one.open = open;
    });
    for (const [name, wanted, value, checked] of was.fields) {
      const field = find(part, name, wanted);
      if (!field || (field.value === value && field.checked === checked)) continue;
      field.value = value;
      field.checked = checked;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }
    part.querySelectorAll(".scroll, pre").forEach((each, place) => { if (was.scrolls[place]) [each.scrollLeft, each.scrollTop] = was.scrolls[place]; });
    if (was.focus) find(part, ...was.focus)?.focus({ preventScroll: true });
  }

  /* A figure stays, and is told what it shows by now: its chart draws that, with all that a reader has set. */
  function update(figure, made) {
    for (const { name, value } of made.attributes) if (name !== "class") figure.setAttribute(name, value);
    for (const name of figure.getAttributeNames()) if (name.startsWith("data-") && !made.hasAttribute(name)) figure.removeAttribute(name);
    const [now, then] = [figure, made].map(each => each.querySelector("script"));
    if (now && then) now.textContent = then.textContent;
    if (!figure.classList.contains("live")) figure.querySelector("figcaption")?.replaceWith(made.querySelector("figcaption"));
  }

  function show(text) {
    const made = new DOMParser().parseFromString(text, "text/html");
    const made_names = namesOf(made), next = sourcesOf(made_names), back = [], there = new Map([...names].map(([part, name]) => [name, part]));
    const isNew = part => sources.get(made_names.get(part)) !== next.get(made_names.get(part));
    const was = part => there.get(made_names.get(part));
    const anchor = [...names].find(([part]) => part.matches("section, figure") && part.getBoundingClientRect().bottom > 0);
    const top = anchor?.[0].getBoundingClientRect().top;
    const kept = new Map();
    for (const place of ["header", "main"]) {
      const parent = document.querySelector(place);
      const following = part => { while (part && !names.has(part)) part = part.nextElementSibling; return part; };  // What a script has added stays.
      let at = following(parent.firstElementChild);
      for (const part of [...made.querySelector(place).children]) {
        const old = was(part), stays = old && !isNew(part);
        for (const figure of figuresIn(part)) {
          const drawn = was(figure);
          if (!drawn) continue;
          if (isNew(figure)) update(drawn, figure);
          if (!stays) figure.replaceWith(drawn);
        }
        if (stays) for (const script of part.querySelectorAll("script[id]")) old.querySelector(`#${CSS.escape(script.id)}`).textContent = script.textContent;
        else if (old) back.push([part, held(old)]);
        const node = stays ? old : part;
        for (const alert of [node, ...node.querySelectorAll("[role=alert]")]) if (alert.getAttribute("role") === "alert") alert.removeAttribute("role");  // The line above is what is read out.
        if (node === at) { at = following(at.nextElementSibling); } else parent.insertBefore(node, at);
        kept.set(node, made_names.get(part));
      }
      for (const part of [...parent.children]) if (names.has(part) && !kept.has(part)) part.remove();
    }
    names = namesOf(document);
    for (const part of names.keys()) if (tops(document).includes(part) && !kept.has(part)) names.delete(part);
    for (const [part, name] of kept) names.set(part, name);
    sources = next;
    version = Number(made.getElementById("live").dataset.version);
    news.clear();  // What it has by now; the rest is asked for again.
    news.number = after = 0;
    window.report.start?.();
    for (const [part, before] of back) put(part, before);
    const now = anchor && [...names].find(([, name]) => name === anchor[1])?.[0];
    if (now && Math.abs(now.getBoundingClientRect().top - top) > 1) scrollBy({ top: now.getBoundingClientRect().top - top, behavior: "instant" });
  }

  function tell(state) {
    ran ||= state.running > 0;
    const count = `${state.whole + state.failed} of ${state.cells} cells`;
    const all = state.cells > 0 && state.whole + state.failed >= state.cells;
    const now = state.running ? `${count}, ${state.running} running`
      : state.others ? `${count}; other cells are computed in this store`
      : !state.over ? count
      : all || ran ? `${count}: the run has ended` : `${count}: nobody computes now`;
    say(cells, state.problem || (state.failed ? `${now}, ${state.failed} failed` : now));
    const older = news.size ? `; verdicts as of ${clock(1000 * state.as_of)}` : "";
    say(when, `updated ${updated}, ${state.rounds.toLocaleString("en")} of ${state.planned.toLocaleString("en")} rounds${older}`);
    bar.classList.toggle("gone", Boolean(state.problem));
  }

  async function ask() {
    clearTimeout(timer);
    let wait = document.hidden ? HIDDEN : PAUSE;
    try {
      const state = await (await fetch(`/changes?version=${version}&seen=${seen}&after=${after}`, { signal: AbortSignal.timeout(10000) })).json();
      if (Date.now() - touched <= RESTS) {
        wait = 1;  // It is asked for again.
      } else if (state.version !== version) {
        const answer = await fetch("/report", { signal: AbortSignal.timeout(60000) });
        if (!answer.ok) throw new Error(answer.statusText);
        show(await answer.text());
        updated = clock();
        wait = 0;  // Rounds may have come since that page was begun.
      } else if (state.news.length) {
        for (const cell of state.news) news.set(cell.place, cell);
        news.number = after = state.seen;
        updated = clock();
        window.report.start();
      }
      seen = state.seen;
      failures = 0;
      answered = clock();
      tell(state);
    } catch (error) {
      if (!(error instanceof TypeError) && !["TimeoutError", "AbortError"].includes(error.name)) console.error(error);
      wait = ATTEMPTS[Math.min(failures++, ATTEMPTS.length - 1)];
      say(cells, "no connection: what is shown stays readable");
      say(when, answered && `last answer ${answered}`);
      bar.classList.add("gone");
    }
    timer = setTimeout(ask, 1000 * wait);
  }
  for (const kind of ["pointerdown", "keydown", "input"])
    addEventListener(kind, event => { if (event.target.closest?.("main")) touched = Date.now(); }, { capture: true, passive: true });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  document.addEventListener("DOMContentLoaded", ask);
})();
