// Maps: Leaflet with tiles of the Maps API. Tiles are fetched with the Authorization header, so that no URL has the key.

import { quote, request, runSQL, send } from "./api.js";
import { el, formatValue } from "./dom.js";

const TILE_PIXELS = 256;
const MAX_ZOOM = 18;
const WEB_MERCATOR = "the_geom_webmercator";
const ID = "cartodb_id";
// Of many points, tiles show one in each square of 4 pixels, which its marker covers.
const MANY_POINTS = 50_000;
const SAMPLE = { placement: "point-sample", threshold: 1, resolution: 4 };
const WORLD = [[-85.06, -180], [85.06, 180]];
const INHABITED = [[-58, -180], [78, 180]];
const STYLES = {
  1: "marker-width: 8; marker-fill: #e4572e; marker-fill-opacity: 0.9; marker-line-color: #fff; marker-line-width: 1; marker-allow-overlap: true;",
  2: "line-color: #e4572e; line-width: 2; line-opacity: 0.9;",
  3: "polygon-fill: #e4572e; polygon-opacity: 0.65; line-color: #fff; line-width: 0.7;",
};
const CARTOCSS = Object.entries(STYLES)
  .map(([type, style]) => `#layer['mapnik::geometry_type'=${type}] { ${style} }`)
  .join("\n");

// Requested at once: the first map should not wait for it.
const basemap = Promise.all(["natural_earth.base64", "style.json"].map(loadAsset));
basemap.catch(() => {});

async function loadAsset(name) {
  const response = await send(`assets/${name}`, { key: null, cache: "default" });
  return name.endsWith(".json") ? response.json() : response.text();
}

/** Draw the basemap in the color scheme of the page; without it if it cannot be loaded. */
async function addBasemap(map) {
  const [data, { themes, ...style }] = await basemap;
  const theme = themes[matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"];
  const attribution = '<a href="https://www.naturalearthdata.com" target="_blank" rel="noopener">Natural Earth</a>';
  await naturalEarth(map, { ...style, theme, attribution, data });
}

const Tiles = L.GridLayer.extend({
  initialize(layergroup, options) {
    L.GridLayer.prototype.initialize.call(this, options);
    this._layergroup = layergroup;
    this.on("tileunload", ({ tile }) => tile.abort.abort());
  },
  createTile({ x, y, z }, done) {
    const tile = el("img", { alt: "", role: "presentation" });
    tile.abort = new AbortController();
    const retina = window.devicePixelRatio > 1 ? "@2x" : "";
    send(`api/v1/map/${this._layergroup}/${z}/${x}/${y}${retina}.png`, { signal: tile.abort.signal })
      .then(async (response) => {
        if (!response.ok) throw new Error(`status ${response.status}`);
        tile.src = URL.createObjectURL(await response.blob());
        await tile.decode();
        done(null, tile);
      })
      .catch((error) => done(error, tile))
      .finally(() => URL.revokeObjectURL(tile.src));
    return tile;
  },
});

/** Return the name of the column that a map of a query shows, or null. */
export function geometryColumn(fields) {
  if (WEB_MERCATOR in fields) return WEB_MERCATOR;
  if (fields.the_geom?.type === "geometry") return "the_geom";
  return Object.keys(fields).find((name) => fields[name].type === "geometry") ?? null;
}

/** Show the geometries of a query in an element; return the Leaflet map, or null if there are none. */
export async function showQuery(place, query, fields) {
  const column = geometryColumn(fields);
  const projected = `ST_Transform(CASE ST_SRID(${quote(column)}) WHEN 0 THEN ST_SetSRID(${quote(column)}, 4326) ELSE ${quote(column)} END, 3857)`;
  const source = column === WEB_MERCATOR ? query : `SELECT *, ${projected} AS ${WEB_MERCATOR} FROM (${query}\n) AS source`;
  const found = `ST_Extent(${WEB_MERCATOR}) AS e, count(*) AS shown, bool_and(GeometryType(${WEB_MERCATOR}) = 'POINT') AS only_points`;
  const extent = `SELECT ST_XMin(e) AS west, ST_YMin(e) AS south, ST_XMax(e) AS east, ST_YMax(e) AS north, shown, only_points FROM (SELECT ${found} FROM (${source}\n) AS shown) AS found`;
  const { rows } = await runSQL(extent);
  if (rows[0].west === null) return null;
  const options = { sql: source, cartocss: CARTOCSS, cartocss_version: "2.3.0" };
  const columns = Object.keys(fields).filter((name) => fields[name].type !== "geometry" && /^[a-z_]\w*$/.test(name));
  if (ID in fields) Object.assign(options, { interactivity: [ID], attributes: { id: ID, columns } });
  if (rows[0].only_points && rows[0].shown > MANY_POINTS) options.aggregation = SAMPLE;
  const config = { version: "1.3.0", layers: [{ type: "cartodb", options }] };
  const { layergroupid } = await request("api/v1/map", { method: "POST", json: config });
  const [southwest, northeast] = [["west", "south"], ["east", "north"]].map(([x, y]) =>
    L.CRS.EPSG3857.unproject(L.point(rows[0][x], rows[0][y])),
  );
  return draw(place, layergroupid, L.latLngBounds(southwest, northeast), ID in fields ? fields : null);
}

/** Show a saved dataset or map with its own style. */
export async function showSaved(place, entry) {
  const [view, described] = await Promise.all([
    request(`api/v3/viz/${entry.id}/viz`),
    entry.privacy === "PASSWORD" ? request(`api/v2/viz/${entry.id}/viz`) : { auth_tokens: [] },
  ]);
  const template = `tpl_${entry.id.replaceAll("-", "_")}`;
  const tokens = entry.auth_tokens ?? described.auth_tokens ?? [];
  const query = tokens.map((token) => `auth_token=${encodeURIComponent(token)}`).join("&");
  const { layergroupid } = await request(`api/v1/map/named/${template}?${query}`, { method: "POST", json: {} });
  return draw(place, layergroupid, L.latLngBounds(view.bounds), null);
}

/** Show a named map with the defaults of its placeholders. */
export async function showNamed(place, template) {
  const token = template.auth?.valid_tokens?.[0];
  const query = token ? `?auth_token=${encodeURIComponent(token)}` : "";
  const path = `api/v1/map/named/${encodeURIComponent(template.name)}${query}`;
  const { layergroupid } = await request(path, { method: "POST", json: {} });
  const { bounds, center, zoom } = template.view ?? {};
  const view = bounds ? L.latLngBounds([bounds.south, bounds.west], [bounds.north, bounds.east]) : L.latLngBounds(WORLD);
  const map = draw(place, layergroupid, view, null);
  if (!bounds && center) map.setView([center.lat, center.lng], zoom ?? 2);
}

function draw(place, layergroup, bounds, fields) {
  const box = el("div", { class: "map", role: "region", "aria-label": "Map" });
  place.replaceChildren(box);
  const map = L.map(box, { maxZoom: MAX_ZOOM });
  map.attributionControl.setPrefix(false);
  const isWorld = bounds.getEast() - bounds.getWest() > 180; // then without the empty space around the poles
  const shown = isWorld ? L.latLngBounds(INHABITED) : bounds;
  map.fitBounds(shown, { padding: [24, 24], maxZoom: 14 });
  addBasemap(map).catch((error) => console.warn("No basemap:", error));
  new Tiles(layergroup, { maxZoom: 22, zIndex: 400, noWrap: true, bounds: WORLD }).addTo(map);
  if (fields) map.on("click", (event) => showAttributes(map, layergroup, event.latlng, fields));
  return map;
}

/** Show the attributes of the feature at a point, if there is one. */
async function showAttributes(map, layergroup, latlng, fields) {
  const zoom = map.getZoom();
  const pixel = map.project(latlng, zoom);
  const [x, y] = [Math.floor(pixel.x / TILE_PIXELS), Math.floor(pixel.y / TILE_PIXELS)];
  const across = ((x % 2 ** zoom) + 2 ** zoom) % 2 ** zoom;
  const grid = await request(`api/v1/map/${layergroup}/0/${zoom}/${across}/${y}.grid.json`);
  const feature = featureAt(grid, pixel.x - x * TILE_PIXELS, pixel.y - y * TILE_PIXELS);
  if (!feature) return;
  const attributes = await request(`api/v1/map/${layergroup}/0/attributes/${feature[ID]}`);
  const rows = Object.entries(attributes).map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, formatValue(value, fields[name]?.type))),
  );
  L.popup({ maxWidth: 320 }).setLatLng(latlng).setContent(el("table", { class: "attributes" }, rows)).openOn(map);
}

/** Return the feature at a pixel of a UTFGrid, or null. Its characters encode indexes of keys. */
function featureAt(grid, across, down) {
  const row = [...grid.grid[Math.floor((down / TILE_PIXELS) * grid.grid.length)]];
  let code = row[Math.floor((across / TILE_PIXELS) * row.length)].codePointAt(0);
  if (code >= 93) code--;
  if (code >= 35) code--;
  return grid.data?.[grid.keys[code - 32]] ?? null;
}
