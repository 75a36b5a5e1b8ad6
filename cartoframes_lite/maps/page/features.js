// Features that the page itself contains: drawn as tiles of a canvas, in the order of their rows.
const CLICK_TOLERANCE_PIXELS = 3;
const WORLDS = [-1, 0, 1]; // copies of a feature: markers and shapes continue beyond the 180th meridian

/** Return a layer of features, as page.js describes layers. */
function featureLayer(map, layer, pane) {
  const tiles = new FeatureTiles(layer, { pane, attribution: content.attribution, ...overlappingWorldOptions(map, pane) });
  const member = {
    ...layer,
    rows: () => tiles.rows(),
    showOnly: (isShown) => tiles.showOnly(isShown),
    isVisible: true,
    setVisible(isVisible) {
      member.isVisible = isVisible;
      if (isVisible) tiles.addTo(map);
      else tiles.remove();
    },
    async featureAt(latlng, columns) {
      const properties = tiles.featureAt(latlng);
      return properties && (columns ?? Object.keys(properties)).map((name) => [name, properties[name]]);
    },
  };
  tiles.addTo(map);
  tiles.ready.then(() => document.body.classList.add("drawn"));
  return member;
}

/** Decompress the features of a layer: gzipped GeoJSON in base64. */
async function readFeatures(data) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(stream).json()).features;
}

const FeatureTiles = L.GridLayer.extend({
  options: { maxZoom: 22 },

  initialize(layer, options) {
    L.setOptions(this, options);
    this._styles = layer.styles;
    this._growth = layer.growth;
    this._features = [];
    this._simplified = { pixelsAcross: 0, paths: new Map() };
    this._isShown = () => true;
    this.ready = this._read(layer.data);
  },

  async _read(data) {
    for (const { geometry, properties, style } of await readFeatures(data)) {
      const shapes = shapesOf(geometry);
      this._features.push({ shapes, box: boxOf(shapes.flatMap((shape) => shape.paths)), properties, style });
    }
    if (this._map) this.redraw();
  },

  /** Draw only the features for whose properties a function returns true. */
  showOnly(isShown) {
    this._isShown = isShown;
    if (this._map) this.redraw();
  },

  /** Return properties and bounding boxes of all features, in the order in which they are drawn. */
  async rows() {
    await this.ready;
    return this._features;
  },

  createTile(coords) {
    const size = this.getTileSize();
    const canvas = L.DomUtil.create("canvas", "leaflet-tile");
    const scale = this._scaleOf(coords.z);
    // Two pixels for one of the screen where tiles are scaled, so that lines stay smooth.
    const ratio = Math.min(window.devicePixelRatio || 1, 2) * (scale === 1 ? 1 : 2 * scale);
    canvas.width = size.x * ratio;
    canvas.height = size.y * ratio;
    const context = canvas.getContext("2d");
    context.lineJoin = context.lineCap = "round";
    const styles = this._stylesAt(coords.z);
    const pixelsAcross = size.x * 2 ** coords.z;
    if (this._simplified.pixelsAcross !== pixelsAcross) this._simplified = { pixelsAcross, paths: new Map() };
    for (const feature of this._features) {
      const style = styles[feature.style];
      const margin = reachOf(style);
      const [west, north, east, south] = feature.box.map((edge) => edge * pixelsAcross);
      if (south < coords.y * size.y - margin || north > (coords.y + 1) * size.y + margin) continue;
      for (const world of WORLDS) {
        const left = coords.x * size.x - world * pixelsAcross;
        if (east < left - margin || west > left + size.x + margin || !this._isShown(feature.properties)) continue;
        context.setTransform(ratio, 0, 0, ratio, -left * ratio, -coords.y * size.y * ratio);
        this._draw(context, feature.shapes, style, pixelsAcross);
      }
    }
    return canvas;
  },

  /** Return by how much tiles are scaled: between two zooms, they are those of the nearest one. */
  _scaleOf(zoom) {
    return this._map.getZoomScale(this._map.getZoom(), zoom);
  },

  /** Return the styles in the pixels of tiles. From some zooms on, points are larger. */
  _stylesAt(zoom) {
    const scale = this._scaleOf(zoom);
    const marker = this._growth.reduce((found, [start, wider]) => (zoom >= start ? wider : found), null);
    return this._styles.map((style) => ({
      ...style,
      markerWidth: (marker ?? style.markerWidth) / scale,
      lineWidth: style.lineWidth / scale,
      strokeWidth: style.strokeWidth / scale,
    }));
  },

  _draw(context, shapes, style, pixelsAcross) {
    for (const { kind, paths } of shapes) {
      if (kind === "point") {
        this._drawPoints(context, paths[0], style, pixelsAcross);
        continue;
      }
      context.beginPath();
      for (const path of paths) this._trace(context, path, pixelsAcross, kind === "polygon");
      if (kind === "polygon") this._paint(context, style);
      else this._stroke(context, style.color, style.lineWidth, style.opacity);
    }
  },

  _drawPoints(context, points, style, pixelsAcross) {
    for (let index = 0; index < points.length; index += 2) {
      context.beginPath();
      context.arc(points[index] * pixelsAcross, points[index + 1] * pixelsAcross, style.markerWidth / 2, 0, 2 * Math.PI);
      this._paint(context, style);
    }
  },

  _paint(context, style) {
    context.globalAlpha = style.opacity;
    context.fillStyle = style.color;
    context.fill("evenodd");
    if (style.stroke) this._stroke(context, style.stroke, style.strokeWidth, style.strokeOpacity);
  },

  _stroke(context, color, width, opacity) {
    context.globalAlpha = opacity;
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  },

  /** Add a path, simplified for the zoom level, to the current path of a context. */
  _trace(context, path, pixelsAcross, isClosed) {
    let simplified = this._simplified.paths.get(path);
    if (!simplified) this._simplified.paths.set(path, (simplified = simplify(path, pixelsAcross)));
    context.moveTo(simplified[0] * pixelsAcross, simplified[1] * pixelsAcross);
    for (let index = 2; index < simplified.length; index += 2) {
      context.lineTo(simplified[index] * pixelsAcross, simplified[index + 1] * pixelsAcross);
    }
    if (isClosed) context.closePath();
  },

  /** Return the properties of the topmost feature at a point, or null. */
  featureAt({ lng, lat }) {
    const zoom = Math.round(this._map.getZoom());
    const styles = this._stylesAt(zoom);
    const pixelsAcross = this.getTileSize().x * 2 ** zoom;
    const [x, y] = projectVertices([[lng, lat]]);
    for (let number = this._features.length - 1; number >= 0; number--) {
      const feature = this._features[number];
      const isHit = (world) => isHitBy(feature, styles[feature.style], x - world, y, pixelsAcross);
      if (WORLDS.some(isHit) && this._isShown(feature.properties)) return feature.properties;
    }
    return null;
  },
});

/** Return how many pixels beyond its geometry a feature is drawn. */
function reachOf({ markerWidth, lineWidth, strokeWidth }) {
  return Math.max((markerWidth + strokeWidth) / 2, lineWidth / 2);
}

/** Return whether a point is on a feature, or very close to a line. */
function isHitBy(feature, style, x, y, pixelsAcross) {
  const reach = (reachOf(style) + CLICK_TOLERANCE_PIXELS) / pixelsAcross;
  const [west, north, east, south] = feature.box;
  if (x < west - reach || x > east + reach || y < north - reach || y > south + reach) return false;
  return feature.shapes.some(({ kind, paths }) => {
    if (kind === "polygon") return isInside(paths, x, y);
    if (kind === "point") return distanceToPoints(paths[0], x, y) * pixelsAcross <= reachOf(style);
    const tolerance = style.lineWidth / 2 + CLICK_TOLERANCE_PIXELS;
    return paths.some((path) => distanceToPath(path, x, y) * pixelsAcross <= tolerance);
  });
}
