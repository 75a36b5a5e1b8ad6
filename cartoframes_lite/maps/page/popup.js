// Popups with the attributes of a clicked feature, and tooltips of the feature under the pointer.
const COUNT_COLUMN = "_cdb_feature_count"; // number of points that a marker stands for

/** Open a popup when a feature is clicked, or is in the middle of the map when the Enter key is pressed. */
function addPopups(map, layers) {
  async function open(latlng) {
    const found = await findFeature(layers, latlng, "popup");
    if (!found) return;
    const caption = layers.length > 1 ? found.layer.title : "";
    const options = { maxWidth: Math.min(320, map.getSize().x - 60), autoPanPadding: [12, 12] };
    L.popup(options).setLatLng(latlng).setContent(attributesTable(found.pairs, caption)).openOn(map);
  }
  map.on("click", (event) => open(event.latlng));
  document.addEventListener("keydown", () => document.body.classList.add("keyboard"), true);
  document.addEventListener("pointerdown", () => document.body.classList.remove("keyboard"), true);
  map.getContainer().addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === map.getContainer()) open(map.getCenter());
  });
}

/** Show the columns `hover` of the feature under the pointer. */
function addHover(map, layers) {
  if (!layers.some((layer) => layer.hover.length)) return;
  const tooltip = L.tooltip({ direction: "top", offset: [0, -8], opacity: 1 });
  let latest = null;
  async function show(event) {
    latest = event;
    const found = await findFeature(layers, event.latlng, "hover");
    if (latest !== event) return; // the pointer has moved on
    map.getContainer().style.cursor = found ? "pointer" : "";
    if (!found) tooltip.remove();
    else tooltip.setLatLng(event.latlng).setContent(tooltipText(found.pairs)).addTo(map);
  }
  function hide() {
    latest = null;
    map.getContainer().style.cursor = "";
    tooltip.remove();
  }
  map.on("mousemove", show);
  map.on("mouseout dragstart zoomstart popupopen", hide);
}

/** Return the topmost visible feature at a point with the columns for a purpose, "popup" or "hover"; null if none. */
async function findFeature(layers, latlng, purpose) {
  for (const layer of [...layers].reverse()) {
    const columns = layer[purpose]; // null: all
    if (!layer.isVisible || columns?.length === 0) continue;
    const found = await layer.featureAt(latlng, columns);
    if (!found) continue;
    const pairs = found.filter(([name]) => columns?.includes(name) ?? name !== layer.id);
    if (pairs.length) return { layer, pairs: withoutSample(pairs) };
  }
  return null;
}

/** Return of a marker for several points only their number: its other columns are those of one of them. */
function withoutSample(pairs) {
  const count = pairs.find(([name]) => name === COUNT_COLUMN);
  if (count && (count[1] > 1 || pairs.length === 1)) return [count];
  return pairs.filter((pair) => pair !== count);
}

function columnLabel(name) {
  return name === COUNT_COLUMN ? "Number of points" : name;
}

/** Return a table of columns and values. */
function attributesTable(pairs, caption) {
  const table = L.DomUtil.create("table", "attributes");
  if (caption) L.DomUtil.create("caption", "", table).textContent = caption;
  for (const [name, value] of pairs) {
    const row = L.DomUtil.create("tr", "", table);
    const heading = L.DomUtil.create("th", "", row);
    heading.scope = "row";
    heading.textContent = columnLabel(name);
    L.DomUtil.create("td", "", row).append(valueNode(value));
  }
  return table;
}

/** Return the text of a tooltip: one value, or a line for each column. */
function tooltipText(pairs) {
  const box = document.createElement("div");
  for (const [name, value] of pairs) {
    const isNamed = pairs.length > 1 || name === COUNT_COLUMN;
    const text = formatValue(value);
    L.DomUtil.create("div", "", box).textContent = isNamed ? `${columnLabel(name)}: ${text}` : text;
  }
  return box;
}
