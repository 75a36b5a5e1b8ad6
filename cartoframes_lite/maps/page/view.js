// The map and its view: the bounds of the content are fitted at the size of the page, and the world is shown once.
const WORLD = [[-85.06, -180], [85.06, 180]];
const INHABITED = [[-60, -180], [75, 180]];
const FIT_SNAP = 0.25;
const MAX_FIT_ZOOM = 17; // of a single point

/** Create the map with the initial view of the content. */
function createMap() {
  const map = L.map("map", { center: content.center, zoom: content.zoom, worldCopyJump: crossesAntimeridian() });
  map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
  const keepFit = fitUntilMoved(map);
  new ResizeObserver(() => keepFit(() => map.invalidateSize({ pan: false }))).observe(map.getContainer());
  return map;
}

function crossesAntimeridian() {
  return content.bounds !== null && (content.bounds[0][1] < -180 || content.bounds[1][1] > 180);
}

/** Fit the initial bounds; return a function that changes the size, and fits them again until the user moves the map. */
function fitUntilMoved(map) {
  let isFitting = false;
  let isMoved = false;
  map.on("movestart zoomstart", () => {
    isMoved ||= !isFitting;
  });
  function keepFit(change) {
    isFitting = true;
    change();
    const { x: width, y: height } = map.getSize();
    if (width && height && !isMoved) fitBounds(map);
    isFitting = false;
  }
  keepFit(() => {});
  return keepFit;
}

/** Fit the bounds of the content, and limit the map to one world unless it has to cross the antimeridian. */
function fitBounds(map) {
  map.setMinZoom(0);
  map.setMaxBounds(null);
  if (content.bounds) {
    // Tiles look best at whole zooms: the map returns to them when the user zooms. Tiles with names always need them.
    map.options.zoomSnap = content.basemap?.type === "tiles" ? 1 : FIT_SNAP;
    const padding = [content.padding, content.padding];
    map.fitBounds(content.bounds, { animate: false, maxZoom: MAX_FIT_ZOOM, padding });
    map.options.zoomSnap = 1;
  }
  const zoom = map.getZoom();
  if (crossesAntimeridian()) {
    map.setMinZoom(Math.min(zoom, Math.log2(map.getSize().x / TILE_PIXELS)));
    return;
  }
  map.setMinZoom(Math.min(zoom, Math.floor(map.getBoundsZoom(INHABITED))));
  map.setMaxBounds(L.latLngBounds(WORLD).pad(0.25).extend(map.getBounds()));
}
