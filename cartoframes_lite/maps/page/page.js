// Starts the page: the map, its basemap, its layers from bottom to top, legend and popups.
// A layer is an object { title, legends, popup, hover, isVisible, setVisible(), featureAt() }, made by the script of
// its type; featureAt(latlng) returns a promise of [column, value] pairs, or of null.
const content = JSON.parse(document.getElementById("content").textContent);

/** Create the map with the initial view of the content. */
function createMap() {
  const map = L.map("map", { center: content.center, zoom: content.zoom, worldCopyJump: true });
  map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
  return map;
}

/** Add the basemap below all layers. */
function addBasemap(map) {
  if (!content.basemap) return;
  if (content.basemap.type === "natural-earth") naturalEarth(map, content.basemap);
  else L.tileLayer(content.basemap.url, content.basemap.options).addTo(map);
}

/** Create the pane of a layer: layers are drawn in their order, whatever their type. */
function createPane(map, position) {
  const name = `layer${position}`;
  map.createPane(name).style.zIndex = 250 + position;
  return name;
}

/** Create the layers from bottom to top; layers of tiles without others between them share their tiles. */
function createLayers(map) {
  const server = content.server && mapServer(map);
  const layers = [];
  let tiles = null;
  content.layers.forEach((layer, position) => {
    if (layer.type === "features") {
      layers.push(featureLayer(map, layer, createPane(map, position)));
      tiles = null;
    } else {
      tiles ??= server.tileGroup(createPane(map, position));
      layers.push(tiles.add(layer));
    }
  });
  server?.open();
  return layers;
}

const map = createMap();
addBasemap(map);
const layers = createLayers(map);
addLegend(map, layers);
addPopups(map, layers);
