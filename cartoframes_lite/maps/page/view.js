// The map and its view: the bounds of the content are fitted at the size of the page, and the world is shown once.
const WORLD = [[-85.06, -180], [85.06, 180]];
const INHABITED = [[-60, -180], [75, 180]];
const FIT_SNAP = 0.25;
const OVERLAP_PIXELS = 16; // half of a large marker
const MAX_FIT_ZOOM = 17; // of a single point

// redraw() of Leaflet does not round the zoom of the tiles.
const clampZoom = L.GridLayer.prototype._clampZoom;
L.GridLayer.include({
  _clampZoom(zoom) {
    return clampZoom.call(this, Math.round(zoom));
  },
});

/** Create the map with the initial view of the content. */
function createMap() {
  const map = L.map("map", { center: content.center, zoom: content.zoom, worldCopyJump: crossesAntimeridian() });
  map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
  const keepFit = fitUntilMoved(map);
  new ResizeObserver(() => keepFit(() => map.invalidateSize({ pan: false }))).observe(map.getContainer());
  map.on("dragend", () => returnToWorld(map));
  return map;
}

/** The view has to cross the 180th meridian; only then the world is repeated. */
function crossesAntimeridian() {
  return content.bounds !== null && (content.bounds[0][1] < -180 || content.bounds[1][1] > 180);
}

/** Return the options of tiles that show the world once, or repeat it. */
function worldOptions(map) {
  return map.options.worldCopyJump ? {} : { noWrap: true, bounds: WORLD };
}

/** Return the options of the tiles of a layer: its markers at the edge of the world are not cut. */
function overlappingWorldOptions(map, pane) {
  if (map.options.worldCopyJump) return {};
  const [[south, west], [north, east]] = WORLD;
  const element = map.getPane(pane);
  function clip() {
    const [left, right] = [west, east].map((longitude) => map.latLngToLayerPoint([0, longitude]).x);
    const [start, end] = [left - OVERLAP_PIXELS, right + OVERLAP_PIXELS];
    element.style.clipPath = `polygon(${start}px -1e6px, ${end}px -1e6px, ${end}px 1e6px, ${start}px 1e6px)`;
  }
  clip();
  map.on("viewreset zoomend moveend resize", clip);
  map.on("zoomanim", () => {
    element.style.clipPath = "";
  });
  // The first and the last column of the next world, of which only the overlap is visible.
  return { noWrap: true, bounds: [[south, west - 1e-6], [north, east + 1e-6]] };
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

/** Fit the bounds of the content, and limit how far the user can zoom out. */
function fitBounds(map) {
  map.setMinZoom(0);
  if (content.bounds) {
    // Tiles look best at whole zooms: the map returns to them when the user zooms. Tiles with names always need them.
    map.options.zoomSnap = content.basemap?.type === "tiles" ? 1 : FIT_SNAP;
    const padding = [content.padding, content.padding];
    map.fitBounds(content.bounds, { animate: false, maxZoom: MAX_FIT_ZOOM, padding });
    map.options.zoomSnap = 1;
  }
  const wholeWorld = crossesAntimeridian()
    ? Math.log2(map.getSize().x / TILE_PIXELS)
    : Math.floor(map.getBoundsZoom(INHABITED));
  map.options.minZoom = Math.max(0, Math.min(map.getZoom(), wholeWorld));
}

/** Bring the center of the map back to the world if it was dragged beyond its edge. */
function returnToWorld(map) {
  if (map.options.worldCopyJump) return;
  const center = map.getCenter();
  const nearest = L.latLngBounds(WORLD).contains(center) ? center : clampToWorld(center);
  if (nearest !== center) map.panBy(map.latLngToContainerPoint(nearest).subtract(map.getSize().divideBy(2)));
}

function clampToWorld({ lat, lng }) {
  const [[south, west], [north, east]] = WORLD;
  return L.latLng(Math.max(south, Math.min(north, lat)), Math.max(west, Math.min(east, lng)));
}
