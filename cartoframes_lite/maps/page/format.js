// Formats the values of features as text.
"use strict";

/** Return a value as text. */
function formatValue(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
