// The card with the legends of the layers, and switches that hide layers.
const MAX_COVERED = 0.2; // of the map

/** Add the card, with the top layer first; layers can be hidden if there are several. */
function addLegend(map, layers) {
  const described = layers.filter((layer) => layer.title || layer.legends.length);
  const hasSwitches = described.length > 1;
  if (!hasSwitches && !described.some((layer) => layer.legends.length)) return;
  const control = L.control({ position: "bottomright" });
  control.onAdd = () => {
    const card = L.DomUtil.create("details", "legend card");
    card.open = true;
    L.DomUtil.create("summary", "", card).textContent = hasSwitches ? "Layers" : "Legend";
    const box = L.DomUtil.create("div", "layers", card);
    for (const layer of [...described].reverse()) box.append(layerElement(layer, hasSwitches));
    L.DomEvent.disableClickPropagation(card);
    L.DomEvent.disableScrollPropagation(card);
    return card;
  };
  control.addTo(map);
  foldIfLarge(map, control.getContainer());
}

/** Fold the card at first if it would cover much of a small map. */
function foldIfLarge(map, card) {
  const { x: width, y: height } = map.getSize();
  if (!width) map.once("resize", () => foldIfLarge(map, card)); // the page is hidden
  else if (card.offsetWidth * card.offsetHeight > MAX_COVERED * width * height) card.open = false;
}

/** Return the legends of a layer, with a switch if asked for. */
function layerElement(layer, hasSwitch) {
  const section = L.DomUtil.create("section", "");
  if (hasSwitch) {
    const label = L.DomUtil.create("label", "", section);
    const box = L.DomUtil.create("input", "", label);
    box.type = "checkbox";
    box.checked = layer.isVisible;
    box.addEventListener("change", () => {
      layer.setVisible(box.checked);
      section.classList.toggle("hidden", !box.checked);
    });
    L.DomUtil.create("span", "", label).textContent = layer.title || "Layer";
  }
  layer.legends.forEach((legend) => section.append(...legendElements(legend)));
  return section;
}

/** Return the title and the entries of a legend. */
function legendElements(legend) {
  const elements = [];
  const add = (tag, name) => {
    elements.push(L.DomUtil.create(tag, name));
    return elements.at(-1);
  };
  if (legend.title) add("h2", "").textContent = legend.title;
  if (legend.kind === "continuous") {
    add("div", "gradient").style.background = `linear-gradient(to right, ${legend.colors.join(", ")})`;
    const limits = add("div", "limits");
    for (const limit of legend.limits) L.DomUtil.create("span", "", limits).textContent = limit;
  }
  const list = add("ul", legend.kind);
  for (const item of legend.items) list.append(legendEntry(item));
  return elements;
}

function legendEntry({ color, label, size_px: size }) {
  const line = L.DomUtil.create("li", "");
  const mark = L.DomUtil.create("i", "", size ? L.DomUtil.create("b", "", line) : line);
  mark.style.background = color;
  if (size) mark.style.width = mark.style.height = `${size}px`;
  L.DomUtil.create("span", "", line).textContent = label;
  return line;
}
