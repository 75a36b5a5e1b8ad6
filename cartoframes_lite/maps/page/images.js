// Layers that are a picture, which the page contains.

/** Return a layer of a picture, as page.js describes layers. */
function pictureLayer(map, layer, pane) {
  const overlay = L.imageOverlay(layer.image, layer.bounds, { pane, attribution: content.attribution });
  const member = {
    ...layer,
    isVisible: true,
    setVisible(isVisible) {
      member.isVisible = isVisible;
      if (isVisible) overlay.addTo(map);
      else overlay.remove();
    },
    featureAt: async () => null,
  };
  overlay.on("load", () => document.body.classList.add("drawn"));
  overlay.addTo(map);
  return member;
}
