// Formats the values of features as text and links.
"use strict";
const MIDNIGHT = "00:00:00";
const TIMESTAMP = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?$/;
const UTC = ["Z", "+00:00", undefined];
const LINK = /^https?:\/\/[^\s"<>]+$/i;

/** Return a value as text: the same in all languages of the browser. */
function formatValue(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return formatNumber(value);
  if (typeof value === "object") return JSON.stringify(value);
  const time = TIMESTAMP.exec(value);
  if (!time) return String(value);
  const seconds = Number(time[3] ?? 0) ? time[2] + time[3].replace(/0+$/, "") : time[2];
  if (!UTC.includes(time[4])) return `${time[1]} ${seconds}${time[4]}`;
  return seconds === MIDNIGHT ? time[1] : `${time[1]} ${seconds}`;
}

/** Return a number with thousands separators; not those of four digits, which often are years. */
function formatNumber(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size >= 1e15 || (size > 0 && size < 1e-6)) return String(value);
  const isGrouped = size >= 10_000;
  return value.toLocaleString("en-US", { useGrouping: isGrouped, maximumSignificantDigits: 15 });
}

/** Return a node with a value; addresses of the web are links. */
function valueNode(value) {
  if (typeof value !== "string" || !LINK.test(value)) return document.createTextNode(formatValue(value));
  const link = document.createElement("a");
  Object.assign(link, { href: value, target: "_blank", rel: "noopener noreferrer", textContent: value });
  return link;
}

/** Return the text and the links of HTML, as HTML; nothing else of it, such as scripts. */
function textAndLinks(html) {
  const box = document.createElement("div");
  for (const node of new DOMParser().parseFromString(html, "text/html").body.childNodes) {
    const isLink = node.nodeName === "A" && LINK.test(node.href);
    const shown = isLink ? document.createElement("a") : document.createElement("span");
    if (isLink) Object.assign(shown, { href: node.href, target: "_blank", rel: "noopener noreferrer" });
    shown.textContent = node.nodeName === "SCRIPT" ? "" : node.textContent;
    box.append(shown);
  }
  return box.innerHTML;
}
