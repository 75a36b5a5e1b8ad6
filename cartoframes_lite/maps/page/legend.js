// The legends of the layers.

/** Add the legends of all layers, the top layer first. */
function addLegend(map, layers) {
  if (!layers.some((layer) => layer.legends.length)) return;
  const control = L.control({ position: "bottomright" });
  control.onAdd = () => {
    const box = L.DomUtil.create("div", "legend");
    for (const layer of layers) layer.legends.forEach((legend) => box.append(legendElement(legend)));
    L.DomEvent.disableClickPropagation(box);
    L.DomEvent.disableScrollPropagation(box);
    return box;
  };
  control.addTo(map);
}

/** Return the element of a legend. */
function legendElement(legend) {
  const section = L.DomUtil.create("section", "");
  L.DomUtil.create("h2", "", section).textContent = legend.title;
  for (const item of legend.items) {
    const line = L.DomUtil.create("div", "", section);
    const mark = L.DomUtil.create("i", item.size_px ? "marker" : "", line);
    mark.style.background = item.color;
    if (item.size_px) mark.style.width = mark.style.height = `${item.size_px}px`;
    L.DomUtil.create("span", "", line).textContent = item.label;
  }
  return section;
}
