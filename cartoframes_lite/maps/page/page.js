"use strict";
// Displays a CARTO map with Leaflet; a click shows the attributes of the feature at that point.
const content = JSON.parse(document.getElementById("content").textContent);
const notice = document.getElementById("notice");
const TILE_PIXELS = 256;
const RENEWAL_MS = 30_000;

const map = L.map("map", { center: content.center, zoom: content.zoom, worldCopyJump: true });
map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
if (content.basemap) {
  L.tileLayer(content.basemap.url, content.basemap.options).addTo(map);
}

const tiles = L.tileLayer(L.Browser.retina ? content.tiles.retina : content.tiles.usual, {
  attribution: content.attribution,
  maxZoom: 22,
});
tiles.on("tileload", () => {
  document.body.classList.add("drawn");
  notice.hidden = true;
});

/** Instantiate the map; called again when tiles fail, because the server drops maps that are not in use. */
let instantiatedAt = -Infinity;
async function open() {
  instantiatedAt = performance.now();
  try {
    const response = await fetch(content.opening.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content.opening.body),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    tiles.options.layergroup = (await response.json()).layergroupid;
    if (map.hasLayer(tiles)) tiles.redraw();
    else tiles.addTo(map);
  } catch (error) {
    notice.textContent = `Could not load the map (${error.message})`;
    if (content.hasPicture) notice.textContent += ". Showing a static image.";
    notice.hidden = false;
  }
}
tiles.on("tileerror", () => {
  if (performance.now() - instantiatedAt > RENEWAL_MS) open();
});
open();

if (content.legend.length) {
  const legend = L.control({ position: "bottomright" });
  legend.onAdd = () => {
    const box = L.DomUtil.create("div", "legend");
    let title = null;
    for (const item of content.legend) {
      if (item.title !== title) {
        title = item.title;
        L.DomUtil.create("h2", "", box).textContent = title;
      }
      const line = L.DomUtil.create("div", "", box);
      const mark = L.DomUtil.create("i", item.size_px ? "marker" : "", line);
      mark.style.background = item.color;
      if (item.size_px) mark.style.width = mark.style.height = `${item.size_px}px`;
      L.DomUtil.create("span", "", line).textContent = item.label;
    }
    return box;
  };
  legend.addTo(map);
}

/** Return the feature at a pixel of a UTFGrid, or null. Its characters encode indexes of keys. */
function featureAt(grid, across, down) {
  const row = [...grid.grid[Math.floor((down / TILE_PIXELS) * grid.grid.length)]];
  let code = row[Math.floor((across / TILE_PIXELS) * row.length)].codePointAt(0);
  if (code >= 93) code--;
  if (code >= 35) code--;
  return (grid.data || {})[grid.keys[code - 32]] || null;
}

async function fetchJSON(template, values) {
  const response = await fetch(L.Util.template(template, values));
  return response.ok ? response.json() : null;
}

/** Return the columns and values of a feature. UTFGrids have null for dates, times and JSON; attributes have them. */
async function describe(layer, feature, values) {
  const id = feature[layer.id];
  const found = layer.attributes && id != null && (await fetchJSON(layer.attributes, { ...values, id }));
  const known = { ...feature, ...found };
  const names = new Set([...layer.columns.filter((name) => Object.hasOwn(known, name)), ...Object.keys(known)]);
  return [...names].map((name) => {
    const isUnknown = known[name] === null && layer.hasAttributes && !found;
    return [name, isUnknown ? "?" : known[name]];
  });
}

/** Return the columns and values of the topmost feature at a point, or null. */
async function findFeature(latlng, zoom) {
  const pixel = map.project(latlng, zoom);
  const x = Math.floor(pixel.x / TILE_PIXELS);
  const y = Math.floor(pixel.y / TILE_PIXELS);
  const tilesAcross = 2 ** zoom;
  const values = { layergroup: tiles.options.layergroup, z: zoom, x: ((x % tilesAcross) + tilesAcross) % tilesAcross, y };
  for (const layer of content.interactive) {
    const grid = await fetchJSON(layer.grid, values);
    const feature = grid && featureAt(grid, pixel.x - x * TILE_PIXELS, pixel.y - y * TILE_PIXELS);
    if (feature) return describe(layer, feature, values);
  }
  return null;
}

function attributesTable(feature) {
  const table = L.DomUtil.create("table", "attributes");
  for (const [name, value] of feature) {
    const row = L.DomUtil.create("tr", "", table);
    L.DomUtil.create("th", "", row).textContent = name;
    const text = typeof value === "object" ? JSON.stringify(value) : value;
    L.DomUtil.create("td", "", row).textContent = value === null ? "–" : text;
  }
  return table;
}

map.on("click", async (event) => {
  const feature = await findFeature(event.latlng, map.getZoom());
  if (feature) L.popup({ maxWidth: 320 }).setLatLng(event.latlng).setContent(attributesTable(feature)).openOn(map);
});
