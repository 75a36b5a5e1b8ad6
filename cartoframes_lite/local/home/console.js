// The box for SQL: its result as a table and a map.

import { runSQL } from "./api.js";
import { el, formatNumber, formatValue, fromTemplate, showError, table } from "./dom.js";
import { geometryColumn, showQuery } from "./map.js";

const HIDDEN = "the_geom_webmercator";

/**
 * Add the box to an element. `onrun` is called after each statement. Returns a function that runs a query with its rows
 * in the order of a column; in the query itself, an order would slow down the map.
 */
export function addConsole(place, { rows = 100, onrun = () => {} } = {}) {
  place.replaceChildren(fromTemplate("console-template"));
  const find = (selector) => place.querySelector(selector);
  const [form, text, state, error] = ["form", "textarea", ".state", ".error"].map(find);
  const [mapPlace, rowsPlace] = [".map-place", ".rows-place"].map(find);
  let running = null;
  let preset = {};

  async function run(page = 0, { keepMap = false } = {}) {
    const query = text.value.trim().replace(/[;\s]+$/, "");
    if (!query) {
      text.focus();
      return;
    }
    running?.abort();
    const { signal } = (running = new AbortController());
    showError(error, null);
    state.textContent = "Running …";
    const start = performance.now();
    try {
      const order = query === preset.query ? preset.order : null;
      const result = await runSQL(query, { rows, page, order, signal });
      const seconds = (performance.now() - start) / 1000;
      state.textContent = describe(result, page, rows, seconds);
      showRows(result, page);
      if (!keepMap) await showMap(query, result, signal);
    } catch (failed) {
      if (signal.aborted) return;
      state.textContent = "";
      rowsPlace.replaceChildren();
      mapPlace.replaceChildren();
      showError(error, failed);
    }
    if (!signal.aborted) onrun();
  }

  function showRows(result, page) {
    const names = Object.keys(result.fields).filter((name) => name !== HIDDEN);
    rowsPlace.replaceChildren();
    if (!names.length) return;
    const columns = names.map((name) => {
      const { type } = result.fields[name];
      return { title: name, class: type === "number" ? "number" : null, cell: (row) => formatValue(row[name], type) };
    });
    const scroll = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows" }, table("Rows", columns, result.rows));
    rowsPlace.append(scroll);
    const pages = [
      page > 0 ? el("button", { type: "button", onclick: () => run(page - 1, { keepMap: true }) }, "Previous rows") : null,
      result.rows.length === rows ? el("button", { type: "button", onclick: () => run(page + 1, { keepMap: true }) }, "Next rows") : null,
    ].filter(Boolean);
    if (pages.length) rowsPlace.append(el("p", { class: "buttons" }, pages));
  }

  async function showMap(query, result, signal) {
    mapPlace.replaceChildren();
    if (!result.rows.length || geometryColumn(result.fields) === null) return;
    const box = el("div");
    try {
      mapPlace.append(box);
      await showQuery(box, query, result.fields);
    } catch (failed) {
      if (!signal.aborted) box.replaceChildren(el("p", { class: "empty" }, `No map: ${failed.message}`));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  return (query, order) => {
    preset = { query, order };
    text.value = query;
    return run();
  };
}

function describe(result, page, rows, seconds) {
  const time = seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
  const count = Object.keys(result.fields).length ? result.rows.length : result.total_rows;
  const noun = count === 1 ? "row" : "rows";
  if (!Object.keys(result.fields).length) return `Done, ${formatNumber(count)} ${noun} affected, ${time}`;
  const range = page || count === rows ? `Rows ${page * rows + 1} to ${page * rows + count}` : `${formatNumber(count)} ${noun}`;
  return `${range}, ${time}`;
}
