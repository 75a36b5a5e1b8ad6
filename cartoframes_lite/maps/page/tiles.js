// Layers that a CARTO server renders: tiles, the features at their pixels (UTFGrids), and attributes.
const TILE_PIXELS = 256;
const RENEWAL_MS = 30_000;

/** Return the server of the map, which is instantiated by open(). */
function mapServer(map) {
  const groups = [];
  const values = { layergroup: "" };
  const notice = document.getElementById("notice");
  let instantiatedAt = -Infinity;

  /** Instantiate the map; called again when tiles fail, because the server drops maps that are not in use. */
  async function open() {
    instantiatedAt = performance.now();
    try {
      const response = await fetch(content.server.opening.url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(content.server.opening.body),
      });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      values.layergroup = (await response.json()).layergroupid;
      groups.forEach((group) => group.draw());
    } catch (error) {
      notice.textContent = `Could not load the map (${error.message})`;
      if (content.hasPicture) notice.textContent += ". Showing a static image.";
      notice.hidden = false;
    }
  }

  function renew() {
    if (performance.now() - instantiatedAt > RENEWAL_MS) open();
  }

  function tileGroup(pane) {
    const group = createTileGroup(map, values, pane);
    group.tiles.on("tileerror", renew);
    group.tiles.on("tileload", () => {
      document.body.classList.add("drawn");
      notice.hidden = true;
    });
    groups.push(group);
    return group;
  }

  return { open, tileGroup };
}

/** Return layers that share their tiles: the server draws those that are visible into the same images. */
function createTileGroup(map, values, pane) {
  const members = [];
  const url = L.Browser.retina ? content.server.tiles.retina : content.server.tiles.usual;
  const tiles = L.tileLayer(url, { attribution: content.attribution, maxZoom: 22, pane });

  /** Draw the tiles of the visible layers; nothing is requested if none is visible. */
  function draw() {
    const visible = members.filter((layer) => layer.isVisible).map((layer) => layer.index);
    if (!values.layergroup || !visible.length) {
      tiles.remove();
      return;
    }
    Object.assign(tiles.options, values, { layers: visible.join(",") });
    if (map.hasLayer(tiles)) tiles.redraw();
    else tiles.addTo(map);
  }

  function add(layer) {
    const member = {
      ...layer,
      isVisible: true,
      setVisible(isVisible) {
        member.isVisible = isVisible;
        draw();
      },
      featureAt: (latlng) => tileFeature(map, layer, values, latlng),
    };
    members.push(member);
    return member;
  }

  return { add, draw, tiles };
}

/** Return the columns and values of the feature of a layer at a point, or null. */
async function tileFeature(map, layer, values, latlng) {
  if (!layer.grid || !values.layergroup) return null;
  const zoom = Math.round(map.getZoom());
  const pixel = map.project(latlng, zoom);
  const x = Math.floor(pixel.x / TILE_PIXELS);
  const y = Math.floor(pixel.y / TILE_PIXELS);
  const tilesAcross = 2 ** zoom;
  const place = { ...values, z: zoom, x: ((x % tilesAcross) + tilesAcross) % tilesAcross, y };
  const grid = await fetchJSON(layer.grid, place);
  const feature = grid && gridFeature(grid, pixel.x - x * TILE_PIXELS, pixel.y - y * TILE_PIXELS);
  return feature && describeFeature(layer, feature, place);
}

/** Return the feature at a pixel of a UTFGrid, or null. Its characters encode indexes of keys. */
function gridFeature(grid, across, down) {
  const row = [...grid.grid[Math.floor((down / TILE_PIXELS) * grid.grid.length)]];
  let code = row[Math.floor((across / TILE_PIXELS) * row.length)].codePointAt(0);
  if (code >= 93) code--;
  if (code >= 35) code--;
  return (grid.data || {})[grid.keys[code - 32]] || null;
}

/** Return the columns and values of a feature. UTFGrids have null for dates, times and JSON; attributes have them. */
async function describeFeature(layer, feature, place) {
  const id = feature[layer.id];
  const found = layer.attributes && id != null && (await fetchJSON(layer.attributes, { ...place, id }));
  const known = { ...feature, ...found };
  const names = new Set([...layer.popup.filter((name) => Object.hasOwn(known, name)), ...Object.keys(known)]);
  return [...names].map((name) => {
    const isUnknown = known[name] === null && layer.hasAttributes && !found;
    return [name, isUnknown ? "?" : known[name]];
  });
}

async function fetchJSON(template, values) {
  const response = await fetch(L.Util.template(template, values));
  return response.ok ? response.json() : null;
}
