// Requests to the APIs of the account. The API key is sent in the Authorization header only, never in a URL.

const { account, user } = document.documentElement.dataset;
export const USER = user;
export const ACCOUNT_URL = new URL(account, location.href).href;
const PAGE_SIZE = 500;
const STORAGE = `carto-api-key:${user}`;

export function apiKey() {
  return sessionStorage.getItem(STORAGE);
}

export function setApiKey(key) {
  if (key) sessionStorage.setItem(STORAGE, key);
  else sessionStorage.removeItem(STORAGE);
}

/** An error response of an API, or no response. */
export class RequestFailed extends Error {
  constructor(message, status, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

function headersFor(key) {
  if (!key) return {};
  const bytes = new TextEncoder().encode(`${user}:${key}`);
  return { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

/** Send a request; return the response whatever its status is. */
export async function send(path, { method = "GET", form, json, key = apiKey(), signal, cache = "no-store" } = {}) {
  const headers = headersFor(key);
  let body;
  if (form) body = new URLSearchParams(form);
  if (json) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  try {
    return await fetch(`${ACCOUNT_URL}/${path}`, { method, headers, body, signal, credentials: "omit", cache });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestFailed("The server does not respond. Was it stopped?", 0);
  }
}

/** Send a request and return the JSON of the response; throw RequestFailed for an error status. */
export async function request(path, options) {
  const response = await send(path, options);
  const text = await response.text();
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // Some errors have no body.
  }
  if (!response.ok || content?.error) throw failure(response.status, content);
  return content;
}

function failure(status, content) {
  const found = content?.error ?? content?.errors ?? content?.errors_with_context?.[0]?.message;
  const messages = [found].flat().map((part) => (typeof part === "string" ? part : part && JSON.stringify(part)));
  const message = messages.filter(Boolean).join("; ");
  const hint = typeof content?.hint === "string" ? content.hint : "";
  return new RequestFailed(message || describeStatus(status), status, hint);
}

function describeStatus(status) {
  if (status === 401) return apiKey() ? "The API key does not allow this." : "This requires an API key.";
  if (status === 403) return "The API key does not allow this.";
  if (status === 404) return "Not found.";
  return `The server responded with status ${status}.`;
}

/** Run a statement; `rows` limits the rows of a query, of which `page` is returned, in the order of a column. */
export function runSQL(q, { rows, page = 0, order, ...options } = {}) {
  const form = { q, ...(rows && { rows_per_page: rows, page }), ...(order && { order_by: order }) };
  return request("api/v2/sql", { method: "POST", form, ...options });
}

/** Return a quoted SQL identifier. */
export function quote(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Return "master" or "regular"; throw RequestFailed for an unknown key. */
export async function kindOfKey(key) {
  await runSQL("SELECT 1", { key });
  const response = await send("api/v3/api_keys?type=master", { key });
  const found = response.ok ? await response.json() : {};
  return found.result?.some((one) => one.type === "master") ? "master" : "regular";
}

/** List the catalog entries of a type; without the master key those that are public. */
export async function listCatalog(types) {
  const entries = new Map();
  for (let page = 1; ; page++) {
    const query = { types, page, per_page: PAGE_SIZE, order: "name", order_direction: "asc", show_permission: false };
    const { visualizations, total_entries: total } = await request(`api/v1/viz?${new URLSearchParams(query)}`);
    for (const entry of visualizations) entries.set(entry.id, entry);
    if (!visualizations.length || entries.size >= total) return [...entries.values()];
  }
}
