// Starts the page: the map, its basemap, its layers from bottom to top, legends and popups.
// A layer is an object { title, legends, popup, hover, isVisible, setVisible(), featureAt() }, made by the script of
// its type; featureAt(latlng, columns) returns a promise of [column, value] pairs, or of null.
const content = JSON.parse(document.getElementById("content").textContent);

/** Add the basemap below all layers. */
function addBasemap(map) {
  const { basemap } = content;
  if (!basemap) return;
  if (basemap.type === "natural-earth") {
    naturalEarth(map, basemap);
    return;
  }
  const attribution = textAndLinks(basemap.options.attribution);
  L.tileLayer(basemap.url, { ...basemap.options, ...worldOptions(map), attribution }).addTo(map);
}

/** Create the pane of a layer: layers are drawn in their order, whatever their type. */
function createPane(map, position) {
  const name = `layer${position}`;
  map.createPane(name).style.zIndex = 250 + position;
  return name;
}

/** Create the layers from bottom to top; layers of tiles without others between them share their tiles. */
function createLayers(map, server) {
  const layers = [];
  let tiles = null;
  content.layers.forEach((layer, position) => {
    const create = { features: featureLayer, picture: pictureLayer }[layer.type];
    if (create) {
      layers.push(create(map, layer, createPane(map, position)));
      tiles = null;
    } else {
      tiles ??= server.tileGroup(createPane(map, position));
      layers.push(tiles.add(layer));
    }
  });
  return layers;
}

document.body.classList.toggle("with-widgets", content.widgets.length > 0);
adoptPicture();
const map = createMap();
addBasemap(map);
const server = content.server && mapServer(map);
const layers = createLayers(map, server);
server?.open();
addLegend(map, layers);
addPopups(map, layers);
addHover(map, layers);
addWidgets(map, layers, server);
