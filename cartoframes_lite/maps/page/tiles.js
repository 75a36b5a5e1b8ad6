// Layers that a CARTO server renders: tiles, the features at their pixels (UTFGrids), and attributes.
const TILE_PIXELS = 256;
const MAX_GRIDS = 200;

const ServerTiles = L.TileLayer.extend({
  /** Between two zooms, tiles are scaled: those of a high resolution stay sharp. */
  getTileUrl(coords) {
    const { usual, retina } = content.server.tiles;
    const isSharp = !L.Browser.retina && Number.isInteger(this._map.getZoom());
    const layers = this.options.visibleLayers().join(",");
    const place = { layers, x: wrapColumn(coords.x, coords.z), y: coords.y, z: coords.z };
    return this.options.server.url(isSharp ? usual : retina, place);
  },
});

/** Return the column of a tile in the world, of a column in any of its copies. */
function wrapColumn(x, zoom) {
  const tilesAcross = 2 ** zoom;
  return ((x % tilesAcross) + tilesAcross) % tilesAcross;
}

/** Return layers that share their tiles: the server draws those that are visible into the same images. */
function createTileGroup(map, server, pane) {
  const members = [];
  const visibleLayers = () => members.filter((layer) => layer.isVisible).map((layer) => layer.index);
  const options = { attribution: content.attribution, maxZoom: 22, pane, server, visibleLayers };
  const tiles = new ServerTiles("", { ...options, ...overlappingWorldOptions(map, pane) });

  /** Draw the tiles of the visible layers; nothing is requested if none is visible. */
  function draw() {
    if (!server.values.layergroup || !visibleLayers().length) tiles.remove();
    else if (map.hasLayer(tiles)) tiles.redraw();
    else tiles.addTo(map);
  }

  function add(layer) {
    const features = tileFeatures(map, server, layer);
    const member = {
      ...layer,
      isVisible: true,
      setVisible(isVisible) {
        member.isVisible = isVisible;
        draw();
      },
      featureAt: features.find,
    };
    members.push(member);
    return member;
  }

  return { add, draw, tiles };
}

/** Return the features of a layer, found in UTFGrids; grids and attributes are requested when they are needed. */
function tileFeatures(map, server, layer) {
  const requests = new Map();

  /** Request JSON once; null if there is none. */
  function request(template, place) {
    const url = server.url(template, place);
    if (!requests.has(url)) {
      if (requests.size >= MAX_GRIDS) requests.delete(requests.keys().next().value);
      const found = fetch(url).then((response) => (response.ok ? response.json() : null));
      requests.set(url, found.catch(() => null));
    }
    return requests.get(url);
  }

  /** Return [column, value] pairs of the feature at a point, null if there is none; columns null is all of them. */
  async function find(latlng, columns) {
    if (!layer.grid || !server.values.layergroup) return null;
    const zoom = Math.round(map.getZoom());
    const pixel = map.project(latlng, zoom);
    const x = Math.floor(pixel.x / TILE_PIXELS);
    const y = Math.floor(pixel.y / TILE_PIXELS);
    const place = { z: zoom, x: wrapColumn(x, zoom), y };
    const grid = await request(layer.grid, place);
    const feature = grid && gridFeature(grid, pixel.x - x * TILE_PIXELS, pixel.y - y * TILE_PIXELS);
    return feature && describe(feature, columns);
  }

  /** Return columns and values. UTFGrids have null for dates, times and JSON; attributes have them. */
  async function describe(feature, columns) {
    const id = feature[layer.id];
    const isIncomplete = !columns || columns.some((name) => feature[name] == null);
    const found = isIncomplete && layer.attributes && id != null ? await request(layer.attributes, { id }) : null;
    const known = { ...feature, ...found };
    const names = columns?.filter((name) => Object.hasOwn(known, name)) ?? Object.keys(known);
    return names.map((name) => {
      const isUnknown = known[name] === null && layer.hasAttributes && !found;
      return [name, isUnknown ? "?" : known[name]];
    });
  }

  return { find };
}

/** Return the feature at a pixel of a UTFGrid, or null. Its characters encode indexes of keys. */
function gridFeature(grid, across, down) {
  const row = [...grid.grid[Math.floor((down / TILE_PIXELS) * grid.grid.length)]];
  let code = row[Math.floor((across / TILE_PIXELS) * row.length)].codePointAt(0);
  if (code >= 93) code--;
  if (code >= 35) code--;
  return (grid.data || {})[grid.keys[code - 32]] || null;
}
