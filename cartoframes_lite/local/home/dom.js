// Elements, tables and formats. Texts are set as text, never parsed as HTML.

/** Create an element. Properties whose name begins with "on" are listeners; null children are omitted. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return the content of a template. */
export function fromTemplate(id) {
  return document.getElementById(id).content.cloneNode(true);
}

export function link(text, url, { external = false } = {}) {
  return el("a", { href: url, target: external && "_blank", rel: external && "noopener noreferrer" }, text);
}

export function badge(text) {
  return el("span", { class: "badge", "data-value": text }, text);
}

/** Return a table. `columns` are objects with title, cell (function of a row), and optional class. */
export function table(caption, columns, rows) {
  return el(
    "table",
    {},
    el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, columns.map(({ title, class: name }) => el("th", { scope: "col", class: name }, title)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(({ cell, class: name }) => el("td", { class: name }, cell(row)))))),
  );
}

export function empty(text) {
  return el("p", { class: "empty" }, text);
}

export function formatNumber(value) {
  return value === null || value === undefined || value < 0 ? "–" : value.toLocaleString("en-US");
}

export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let index = 0;
  let value = bytes;
  for (; value >= 1000 && index < units.length - 1; index++) value /= 1000;
  return `${index ? Number(value.toPrecision(3)) : value} ${units[index]}`;
}

/** Return an element with the time that has passed since a time, and the time as its title. */
export function ago(text) {
  const time = new Date(text);
  if (!text || Number.isNaN(time.getTime())) return el("span", {}, "–");
  const seconds = Math.round((time - Date.now()) / 1000);
  const steps = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];
  let value = seconds;
  let unit = "second";
  for (const [name, count] of steps) {
    unit = name;
    if (Math.abs(value) < count) break;
    value /= count;
  }
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(value), unit);
  return el("time", { datetime: time.toISOString(), title: time.toLocaleString() }, words);
}

export function formatDuration(seconds) {
  if (seconds % 86400 === 0) return seconds === 86400 ? "day" : `${seconds / 86400} days`;
  if (seconds % 3600 === 0) return seconds === 3600 ? "hour" : `${seconds / 3600} hours`;
  return `${Math.round(seconds / 60)} minutes`;
}

const GEOMETRY_TYPES = ["Geometry", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"];

/** Describe a geometry in hexadecimal EWKB: its type, and the coordinates of a point. */
export function describeGeometry(hex) {
  const bytes = Uint8Array.from(hex.slice(0, 50).match(/../g) ?? [], (pair) => parseInt(pair, 16));
  if (bytes.length < 5) return hex;
  const view = new DataView(bytes.buffer);
  const isLittle = bytes[0] === 1;
  const type = view.getUint32(1, isLittle);
  const name = GEOMETRY_TYPES[type & 0xff] ?? "Geometry";
  const start = type & 0x20000000 ? 9 : 5;
  if ((type & 0xff) !== 1 || bytes.length < start + 16) return name;
  const [x, y] = [view.getFloat64(start, isLittle), view.getFloat64(start + 8, isLittle)];
  return Number.isNaN(x) ? "Point empty" : `Point ${Number(x.toFixed(5))} ${Number(y.toFixed(5))}`;
}

/** Return the cell of a value of a query. */
export function formatValue(value, type) {
  if (value === null || value === undefined) return el("span", { class: "null" }, "NULL");
  if (type === "geometry" && typeof value === "string") return el("span", { class: "geometry" }, describeGeometry(value));
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** Show an error in an element with the role alert; null clears it. */
export function showError(element, error) {
  element.replaceChildren();
  if (error) element.append(error.message, error.hint ? el("span", { class: "hint" }, ` ${error.hint}`) : "");
}
