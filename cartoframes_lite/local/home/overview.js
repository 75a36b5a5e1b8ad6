// The home page: tables, maps, published pages, and what is running.

import { ACCOUNT_URL, listCatalog, request, runSQL, send } from "./api.js";
import { addConsole } from "./console.js";
import { ago, badge, el, empty, formatBytes, formatDuration, formatNumber, fromTemplate, link, table } from "./dom.js";

const REFRESH_MS = 10_000;
const ACTIVE_MS = 1_500;
const FOCUSABLE = "a, button";
const STAGING = /^cfl_staging_/;
const ACTIVE = new Set(["pending", "running", "enqueued", "uploading", "unpacking", "importing", "guessing", "created", "queued", "syncing"]);

export const datasetUrl = (name) => `${ACCOUNT_URL}/tables/${encodeURIComponent(name)}`;
export const mapUrl = (id) => `${ACCOUNT_URL}/viz/${id}/map`;
const namedMapUrl = (name) => `${ACCOUNT_URL}/named/${encodeURIComponent(name)}`;

/** Show the home page in an element; `access` is "public", "regular" or "master". Returns a function that ends it. */
export function showOverview(place, access) {
  place.replaceChildren(fromTemplate("home-template"));
  const find = (selector) => place.querySelector(selector);
  const filter = find(".filter input");
  let tables = [];
  let timer = null;
  let isEnded = false;

  const showTables = () => {
    const wanted = filter.value.trim().toLowerCase();
    const found = tables.filter(({ name }) => name.toLowerCase().includes(wanted));
    const shown = found.length ? tableOfTables(found) : empty(tables.length ? "No table has such a name." : noTables(access));
    update(find(".tables .list"), shown);
  };
  filter.addEventListener("input", showTables);

  async function loadTables() {
    tables = await listTables();
    const size = tables.reduce((sum, table) => sum + (table.size ?? 0), 0);
    find(".summary").textContent = `${formatNumber(tables.length)} ${tables.length === 1 ? "table" : "tables"}, ${formatBytes(size)}`;
    showTables();
  }

  async function refresh() {
    clearTimeout(timer);
    const load = (name, loading) => loading.catch((error) => update(find(`.${name} .list`), el("p", { class: "error" }, error.message)));
    const [activity] = await Promise.all([
      load("activity", showActivity(find(".activity .list"), access, refresh)),
      load("tables", loadTables()),
      load("maps", showMaps(find(".maps .list"), access)),
      load("pages", showPages(find(".pages .list"))),
    ]);
    if (!isEnded) timer = setTimeout(refreshIfVisible, activity?.isActive ? ACTIVE_MS : REFRESH_MS);
  }
  function refreshIfVisible() {
    if (document.visibilityState === "visible") refresh();
    else timer = setTimeout(refreshIfVisible, ACTIVE_MS);
  }

  addConsole(find(".console-place"), { onrun: refresh });
  refresh();
  return () => {
    isEnded = true;
    clearTimeout(timer);
  };
}

/** Replace the content of an element unless it is the same; the focus stays on the link or button of the same place. */
function update(place, content) {
  if (place.childNodes.length === 1 && place.firstChild.isEqualNode(content)) return;
  const focused = [...place.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  place.replaceChildren(content);
  place.querySelectorAll(FOCUSABLE)[focused]?.focus();
}

function noTables(access) {
  return access === "public" ? "No public tables. With an API key, the page shows the tables that the key can read." : "No tables yet.";
}

/** Return the tables that the key can read: datasets with their catalog entries, and other tables by name only. */
async function listTables() {
  const [catalog, readable] = await Promise.all([
    listCatalog("table"),
    runSQL("SELECT CDB_UserTables() AS name").catch(() => ({ rows: [] })),
  ]);
  const datasets = catalog.map((entry) => ({
    name: entry.name,
    privacy: entry.privacy.toLowerCase(),
    rows: entry.table?.row_count,
    size: entry.table?.size,
    geometry: (entry.table?.geometry_types ?? []).map((type) => type.replace("ST_", "")).join(", "),
    updated: entry.updated_at,
  }));
  const known = new Set(datasets.map(({ name }) => name));
  const others = readable.rows.filter(({ name }) => !known.has(name)).map(({ name }) => ({ name }));
  return [...datasets, ...others].filter(({ name }) => !STAGING.test(name)).sort((one, other) => (one.name < other.name ? -1 : 1));
}

function tableOfTables(tables) {
  const columns = [
    { title: "Name", class: "name", cell: ({ name }) => link(name, datasetUrl(name)) },
    { title: "Privacy", cell: ({ privacy }) => (privacy ? badge(privacy) : el("span", { class: "null", title: "Not in the part of the catalog that this key may see" }, "–")) },
    { title: "Rows", class: "number", cell: ({ rows }) => formatNumber(rows) },
    { title: "Size", class: "number", cell: ({ size }) => formatBytes(size) },
    { title: "Geometry", class: "wide", cell: ({ geometry }) => geometry || "–" },
    { title: "Updated", class: "wide", cell: ({ updated }) => ago(updated) },
  ];
  return table("Tables", columns, tables);
}

async function showMaps(place, access) {
  const [saved, named] = await Promise.all([
    listCatalog("derived"),
    access === "master" ? request("api/v1/map/named") : { template_ids: [] },
  ]);
  const maps = saved.map((entry) => [link(entry.name, mapUrl(entry.id)), badge(entry.privacy.toLowerCase())]);
  const names = named.template_ids.map((id) => id.replace(/^[^@]*@/, ""));
  const templates = names.map((name) => [link(name, namedMapUrl(name)), badge("named map")]);
  const items = [...maps, ...templates];
  update(place, items.length ? list(items) : empty(access === "master" ? "No maps yet." : "No public maps."));
}

async function showPages(place) {
  const items = (await listCatalog("kuviz")).map((entry) => [
    link(entry.name, `${ACCOUNT_URL}/kuviz/${entry.id}`, { external: true }),
    badge(entry.privacy.toLowerCase()),
  ]);
  update(place, items.length ? list(items) : empty("No published pages."));
}

function list(items) {
  return el("ul", { class: "items" }, items.map((item) => el("li", {}, item)));
}

/** Show batch jobs, unfinished imports and synchronizations; return whether any of them is running. */
async function showActivity(place, access, refresh) {
  if (access !== "master") {
    update(place, empty("Visible with the master key."));
    return { isActive: false };
  }
  const [jobs, imports, syncs] = await Promise.all([
    request("home/jobs"),
    request("api/v1/imports"),
    request("api/v1/synchronizations"),
  ]);
  const running = await Promise.all(imports.imports.map((id) => request(`api/v1/imports/${id}`).catch(() => null)));
  const items = [
    ...jobs.jobs.map((job) => jobItem(job, refresh)),
    ...running.filter(Boolean).map((job) => activity("Import", job.display_name || job.table_name || job.id, job.state)),
    ...syncs.synchronizations.map(syncItem),
  ];
  update(place, items.length ? list(items) : empty("Nothing is running."));
  const states = [...jobs.jobs.map(({ status }) => status), ...running.map((job) => job?.state), ...syncs.synchronizations.map(({ state }) => state)];
  return { isActive: states.some((state) => ACTIVE.has(state)) };
}

function activity(kind, what, state, { button = null, detail = null } = {}) {
  return [el("span", { class: "what" }, el("b", {}, kind), " ", what), el("span", { class: "state" }, button, " ", badge(state)), detail];
}

function jobItem(job, refresh) {
  const query = typeof job.query === "string" ? job.query : JSON.stringify(job.query);
  const cancel = async () => {
    await send(`api/v2/sql/job/${job.job_id}`, { method: "DELETE" });
    await refresh();
  };
  const button = ["pending", "running"].includes(job.status)
    ? el("button", { type: "button", class: "small", "aria-label": `Cancel job ${job.job_id}`, onclick: cancel }, "Cancel")
    : null;
  const code = el("code", { title: query }, query.length > 120 ? `${query.slice(0, 120)}…` : query);
  const detail = job.failed_reason ? el("span", { class: "failed" }, job.failed_reason) : null;
  return activity("Job", code, job.status, { button, detail });
}

function syncItem(sync) {
  const every = el("span", { class: "detail" }, `every ${formatDuration(sync.interval)}, next run `, ago(sync.run_at));
  const detail = sync.error_message ? el("span", { class: "failed" }, sync.error_message) : every;
  return activity("Synchronization", sync.name ? link(sync.name, datasetUrl(sync.name)) : sync.url, sync.state, { detail });
}
