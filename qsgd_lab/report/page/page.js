"use strict";
// Filters, sorting, curves seed by seed and the details of a run. Strings of the data become text nodes and
// attribute values only, never markup.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const table = document.getElementById("runs-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const multiples = document.getElementById("multiples");
  const SVG = "http://www.w3.org/2000/svg";

  function element(name, attributes, parent, text) {
    const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }
  const field = (run, name) => (Object.hasOwn(run.c, name) ? run.c[name] : data.shared[name]);
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

  // --- curves
  const W = 240, H = 120, L = 34, B = 16, T = 8;
  const across = (last) => (e) => L + (last === 1 ? 0.5 : (e - 1) / (last - 1)) * (W - L - 6);
  const lastEpoch = (runs) => Math.max(1, ...runs.map((run) => run.x[run.x.length - 1] || 1));

  // The axis is the square root of the error: 98 and 99 are apart, and 10 still has a place.
  function accuracyScale(runs) {
    const values = runs.flatMap((run) => run.v).filter((v) => v !== null);
    const low = Math.max(0, Math.floor(Math.min(100, ...values) / 10) * 10);
    const depth = Math.sqrt(100 - Math.min(low, 90)), last = lastEpoch(runs);
    return {
      ticks: [98, 90, 70, 40, 10].filter((v) => v >= low || v === 90), last, x: across(last),
      y: (v) => T + (Math.sqrt(100 - v) / depth) * (H - T - B),
    };
  }
  function lossScale(run) {
    const known = run.l.filter((v) => v !== null), last = lastEpoch([run]);
    const high = Math.max(...known, 1e-9);
    return {
      ticks: [0, Number((high / 2).toPrecision(1)), Number(high.toPrecision(2))], last, x: across(last),
      y: (v) => H - B - (v / high) * (H - T - B),
    };
  }
  function path(xs, ys, s) {
    let text = "", pen = "M";
    xs.forEach((e, i) => {
      if (ys[i] === null) { pen = "M"; return; }
      text += pen + s.x(e).toFixed(1) + " " + s.y(ys[i]).toFixed(1);
      pen = "L";
    });
    return text;
  }
  function line(svg, name, xs, ys, s) {
    const known = ys.filter((v) => v !== null).length;
    if (known !== 1) return element("svg:path", { class: name, d: path(xs, ys, s) }, svg);
    const i = ys.findIndex((v) => v !== null); // a single point has no line
    return element("svg:circle", { class: name, cx: s.x(xs[i]).toFixed(1), cy: s.y(ys[i]).toFixed(1), r: 3 }, svg);
  }
  function meanCurve(runs) {
    const finished = runs.map((run) => run.v.filter((v) => v !== null)).filter((v) => v.length);
    if (!finished.length) return null;
    const n = Math.min(...finished.map((v) => v.length));
    return [runs.find((run) => run.v.length >= n).x.slice(0, n), Array.from({ length: n }, (_, i) => mean(finished.map((v) => v[i])))];
  }
  function axes(svg, s) {
    for (const v of s.ticks) {
      element("svg:line", { class: "grid", x1: L, x2: W - 6, y1: s.y(v), y2: s.y(v) }, svg);
      element("svg:text", { class: "tick", x: L - 4, y: s.y(v) + 4, "text-anchor": "end" }, svg, String(v));
    }
    for (const e of s.last > 1 ? [1, s.last] : [1]) {
      element("svg:text", { class: "tick", x: s.x(e), y: H - 2, "text-anchor": e === 1 ? "start" : "end" }, svg, String(e));
    }
  }
  function panel(grid, members, runs, s) {
    const n = field(members[0], "nodes"), name = data.methods[members[0].m];
    const figure = element("figure", {}, grid);
    const caption = element("figcaption", {}, figure, name + ", N=" + n);
    const svg = element("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img" }, figure);
    axes(svg, s);
    for (const run of members) {
      const drawn = line(svg, run.s === "diverged" ? "seed bad" : "seed", run.x, run.v, s);
      element("svg:title", {}, drawn, "seed " + field(run, "seed") + ", " + run.k);
    }
    const base = name === "fp32" ? null : meanCurve(runs.filter((r) => data.methods[r.m] === "fp32" && field(r, "nodes") === n));
    if (base) line(svg, "base", base[0], base[1], s);
    const own = meanCurve(members);
    if (own) line(svg, "mean", own[0], own[1], s);
    const bad = members.filter((run) => run.s === "diverged").length;
    const end = own ? own[1][own[1].length - 1].toFixed(1) + " %" : "no finished epoch";
    svg.setAttribute("aria-label", `${caption.textContent}: mean ${end} after the last common epoch, ${members.length} seeds${bad ? ", " + bad + " diverged" : ""}`);
    if (bad) element("span", { class: "status diverged" }, caption, ` ${bad}/${members.length} diverged`);
  }
  function drawGroup(title, runs, s) {
    if (title) element("h3", {}, multiples, title);
    const grid = element("div", { class: "grid-of-panels" }, multiples);
    const cells = new Map();
    for (const run of runs) {
      const id = run.m + "/" + field(run, "nodes");
      if (!cells.has(id)) cells.set(id, []);
      cells.get(id).push(run);
    }
    for (const members of cells.values()) panel(grid, members, runs, s);
  }
  function drawMultiples(runs) {
    multiples.replaceChildren();
    const s = accuracyScale(runs), settings = boxes("setting");
    data.groups.forEach((title, g) => {
      if (settings.length && !settings[g].checked) return;
      const own = runs.filter((run) => run.g.includes(g));
      if (own.length) drawGroup(title, own, s);
    });
    if (!runs.length) element("p", {}, multiples, data.runs.length ? "No runs match; tick more boxes." : "No run has finished yet.");
  }

  // --- details of a run
  function list(parent, title, values) {
    element("h3", {}, parent, title);
    const dl = element("dl", {}, parent);
    for (const [key, value] of Object.entries(values).sort()) {
      const pair = element("div", {}, dl);
      element("dt", {}, pair, key);
      element("dd", {}, pair, value === null ? "—" : String(value));
    }
  }
  function chart(parent, title, run, values, s) {
    const figure = element("figure", {}, parent);
    element("figcaption", {}, figure, title);
    const svg = element("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title + ": " + values.map((v) => (v === null ? "none" : v)).join(", ") }, figure);
    axes(svg, s);
    line(svg, "mean", run.x, values, s);
  }
  function detail(row, run) {
    const made = element("tr", { class: "detail" });
    const cell = element("td", { colspan: row.cells.length }, made);
    const charts = element("div", { class: "charts" }, cell);
    chart(charts, "Validation accuracy (%) by epoch", run, run.v, accuracyScale([run]));
    if (run.l.some((v) => v !== null)) chart(charts, "Training loss by epoch", run, run.l, lossScale(run));
    list(cell, "Result", run.r);
    list(cell, "Bits a coordinate", run.b);
    list(cell, "Seconds", run.t);
    list(cell, "Settings", Object.fromEntries([...Object.entries(data.shared), ...Object.entries(run.c)]));
    list(cell, "Made with", data.environments[run.e]);
    return made;
  }
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (!button) return;
    const row = button.closest("tr"), isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) row.nextElementSibling.remove();
    else row.after(detail(row, data.runs[row.dataset.i]));
  });
  function closeDetails() {
    for (const opened of body.querySelectorAll("tr.detail")) opened.remove();
    for (const button of body.querySelectorAll("button[aria-expanded=true]")) button.setAttribute("aria-expanded", "false");
  }

  // --- sorting: ties keep the order of the tables, what is missing comes last both ways
  let sorted = { column: -1, way: 1 };
  function sortKey(row, column, type) {
    if (type === "order") return data.runs[row.dataset.i].m;
    const text = row.cells[column].textContent;
    if (type !== "number") return text;
    const number = parseFloat(text);
    return Number.isNaN(number) ? null : number;
  }
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const column = head.cellIndex;
    const way = sorted.column === column ? -sorted.way : 1;
    sorted = { column, way };
    closeDetails();
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    const keyed = rows.map((row) => [sortKey(row, column, head.dataset.type), Number(row.dataset.i), row]);
    keyed.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return (a < b ? -1 : a > b ? 1 : 0) * way || i - j;
    });
    body.append(...keyed.map((k) => k[2]));
  });

  // --- filters, kept in the address so that a view can be sent to someone
  const boxes = (name) => Array.from(form.querySelectorAll(`input[name=${name}]`));
  const names = ["setting", "method", "nodes", "seed", "status"].filter((name) => boxes(name).length);
  function valueOf(run, name) {
    if (name === "method") return run.m;
    return name === "status" ? run.s : field(run, name);
  }
  function matches(run, name, wanted) {
    return name === "setting" ? run.g.some((g) => wanted.has(String(g))) : wanted.has(String(valueOf(run, name)));
  }
  function apply() {
    const on = names.map((name) => [name, new Set(boxes(name).filter((b) => b.checked).map((b) => b.value))]);
    const shown = data.runs.filter((run) => on.every(([name, wanted]) => matches(run, name, wanted)));
    const keys = new Set(shown.map((run) => run.k));
    closeDetails();
    for (const row of rows) row.hidden = !keys.has(data.runs[row.dataset.i].k);
    document.getElementById("count").textContent = `${shown.length} of ${data.runs.length} runs`;
    drawMultiples(shown);
  }
  function remember() {
    const parts = names.flatMap((name) => {
      const all = boxes(name), kept = all.filter((b) => b.checked);
      return kept.length === all.length ? [] : [name + "=" + kept.map((b) => encodeURIComponent(b.value)).join(",")];
    });
    history.replaceState(null, "", parts.length ? "#?" + parts.join("&") : location.pathname + location.search);
  }
  function recall() {
    if (!location.hash.startsWith("#?")) return;
    for (const part of location.hash.slice(2).split("&")) {
      const [name, kept] = part.split("=");
      if (!names.includes(name) || kept === undefined) continue;
      const wanted = new Set(kept.split(",").map((text) => { try { return decodeURIComponent(text); } catch { return text; } }));
      for (const box of boxes(name)) box.checked = wanted.has(box.value);
    }
  }
  function only(name, wanted) {
    for (const box of boxes(name)) box.checked = wanted(box.value);
  }
  form.addEventListener("change", () => { apply(); remember(); });
  document.getElementById("reset").addEventListener("click", () => {
    for (const name of names) only(name, () => true);
    apply(); remember();
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  // --- from a cell of a table to its runs: the row's label is a method, the column's heading a number of nodes
  function select(cell) {
    const row = cell.parentElement, head = cell.closest("table").tHead.lastElementChild.cells[cell.cellIndex];
    const method = data.methods.indexOf(row.cells[0].textContent), nodes = /^N=(\d+)$/.exec(head.textContent);
    if (method < 0) return;
    only("method", (value) => value === String(method));
    only("nodes", (value) => !nodes || value === nodes[1]);
    only("setting", (value) => value === cell.closest(".group").dataset.group);
    only("seed", () => true);
    only("status", () => true);
    apply(); remember();
    document.getElementById("curves").scrollIntoView();
  }
  for (const cell of document.querySelectorAll("table.numbers tbody td")) {
    if (!data.methods.includes(cell.parentElement.cells[0].textContent)) continue;
    cell.classList.add("selects");
    cell.addEventListener("click", () => select(cell));
  }

  for (const button of table.querySelectorAll("button")) button.disabled = false;
  if (innerWidth < 600) form.querySelector("details").open = false;
  form.hidden = false;
  recall();
  apply();
  window.addEventListener("beforeprint", closeDetails);
})();
