// The pages of a dataset and of a saved map.

import { ACCOUNT_URL, quote, request, runSQL } from "./api.js";
import { addConsole } from "./console.js";
import { ago, badge, el, formatBytes, formatNumber, fromTemplate, link, showError, table } from "./dom.js";
import { showNamed, showSaved } from "./map.js";
import { datasetUrl, mapUrl } from "./overview.js";

const PREVIEW_ROWS = 25;

function open(place, kind, title) {
  place.replaceChildren(fromTemplate("entry-template"));
  const find = (selector) => place.querySelector(selector);
  find(".up").href = ACCOUNT_URL;
  find(".kind").textContent = kind;
  find("h1").textContent = title;
  document.title = `${title} – CARTO, embedded server`;
  return find;
}

/** Request a catalog entry; return null if the key may not see it. */
async function findEntry(name) {
  const query = "with_dependent_visualizations=100&fetch_related_canonical_visualizations=true";
  try {
    return await request(`api/v1/viz/${encodeURIComponent(name)}?${query}`);
  } catch (error) {
    if ([401, 403, 404].includes(error.status)) return null;
    throw error;
  }
}

export async function showDataset(place, name, access) {
  const find = open(place, "Tables", name);
  try {
    const [entry, found] = await Promise.all([findEntry(name), runSQL(`SELECT * FROM ${quote(name)} LIMIT 0`)]);
    const dataset = entry?.type === "table" ? entry : null;
    showColumns(find, found.fields);
    if (dataset) showFacts(find, dataset);
    else find(".summary").textContent = access === "master" ? "A table that is not in the catalog" : "";
    const run = addConsole(find(".console-place"), { rows: PREVIEW_ROWS });
    await run(`SELECT * FROM ${quote(name)}`, "cartodb_id" in found.fields ? "cartodb_id" : null);
  } catch (error) {
    showError(find(".error"), error);
    if (access !== "master") find(".summary").textContent = "The table does not exist or is private: enter an API key that can read it.";
  }
}

export async function showMapPage(place, id, access) {
  const find = open(place, "Maps", "Map");
  try {
    const entry = await request(`api/v1/viz/${encodeURIComponent(id)}?fetch_related_canonical_visualizations=true`);
    if (entry.type === "table") {
      await showDataset(place, entry.name, access);
      return;
    }
    open(place, "Maps", entry.name);
    showFacts(find, entry);
    await showSaved(find(".map-place"), entry);
  } catch (error) {
    showError(find(".error"), error);
    if (access !== "master") find(".summary").textContent = "The map does not exist or is private: enter the master key.";
  }
}

export async function showNamedMap(place, name, access) {
  const find = open(place, "Named maps", name);
  try {
    const { template } = await request(`api/v1/map/named/${encodeURIComponent(name)}`);
    find(".summary").replaceChildren(badge("named map"));
    fillFacts(find, {
      Authorization: template.auth?.method,
      Placeholders: Object.keys(template.placeholders ?? {}).join(", "),
      Layers: template.layergroup.layers.length,
    });
    await showNamed(find(".map-place"), template);
  } catch (error) {
    showError(find(".error"), error);
    if (access !== "master") find(".summary").textContent = "Named maps are visible with the master key.";
  }
}

function showColumns(find, fields) {
  const columns = [
    { title: "Name", class: "name", cell: ([name]) => name },
    { title: "Type", cell: ([, { type, pgtype }]) => el("span", { class: "type" }, pgtype ?? type) },
  ];
  find(".columns-of-table .list").replaceChildren(table("Columns", columns, Object.entries(fields)));
  find(".columns-of-table").hidden = false;
}

function showFacts(find, entry) {
  const { table: details } = entry;
  const summary = [badge(entry.privacy.toLowerCase())];
  if (entry.type === "table" && details) summary.push(` ${formatNumber(details.row_count)} rows, ${formatBytes(details.size)}`);
  find(".summary").replaceChildren(...summary);
  find(".description").textContent = entry.description ?? "";
  const tables = entry.type === "table" ? [] : (entry.related_tables ?? []).map(({ name }) => name.replace(/^.*\./, ""));
  fillFacts(find, {
    Title: entry.title,
    Geometry: (details?.geometry_types ?? []).map((type) => type.replace("ST_", "")).join(", "),
    Tables: links(tables.map((name) => link(name, datasetUrl(name)))),
    "Used by maps": links((entry.dependent_visualizations ?? []).map(({ id, name }) => link(name, mapUrl(id)))),
    Tags: (entry.tags ?? []).join(", "),
    License: entry.license,
    Attributions: entry.attributions,
    Source: entry.source,
    Created: ago(entry.created_at),
    Updated: ago(entry.updated_at),
  });
}

function fillFacts(find, facts) {
  const filled = Object.entries(facts).filter(([, value]) => value);
  find(".facts dl").replaceChildren(...filled.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  find(".facts").hidden = false;
}

function links(items) {
  return items.length ? el("ul", {}, items.map((item) => el("li", {}, item))) : null;
}
