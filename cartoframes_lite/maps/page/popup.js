// Popups with the attributes of a clicked feature.

/** Open a popup when a feature is clicked. */
function addPopups(map, layers) {
  map.on("click", async (event) => {
    const feature = await findFeature(layers, event.latlng);
    if (feature) L.popup({ maxWidth: 320 }).setLatLng(event.latlng).setContent(attributesTable(feature)).openOn(map);
  });
}

/** Return the columns and values of the topmost visible feature at a point, or null. */
async function findFeature(layers, latlng) {
  for (const layer of layers.toReversed()) {
    const feature = layer.isVisible && (await layer.featureAt(latlng));
    if (feature) return feature;
  }
  return null;
}

/** Return a table of columns and values. */
function attributesTable(feature) {
  const table = L.DomUtil.create("table", "attributes");
  for (const [name, value] of feature) {
    const row = L.DomUtil.create("tr", "", table);
    L.DomUtil.create("th", "", row).textContent = name;
    L.DomUtil.create("td", "", row).textContent = formatValue(value);
  }
  return table;
}
