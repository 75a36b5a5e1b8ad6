// Features that the page itself contains: drawn as tiles of a canvas, in the order of their rows.
const MAX_LATITUDE = 85.0511287798;
const CLICK_TOLERANCE_PIXELS = 3;
const MIN_SIMPLIFIED_VERTICES = 20; // rings and lines with fewer are drawn as they are
const WORLDS = [-1, 0, 1]; // copies of a feature: markers and shapes continue beyond the 180th meridian

/** Return a layer of features, as page.js describes layers. */
function featureLayer(map, layer, pane) {
  const tiles = new FeatureTiles(layer, { pane });
  const columns = new Set([...layer.popup, ...layer.hover]);
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
    async featureAt(latlng) {
      const properties = tiles.featureAt(latlng, map.getZoom());
      return properties && [...columns].map((name) => [name, properties[name]]);
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

/** Project coordinates to Web Mercator, where the world is from 0 to 1: x, y, x, y ... */
function projectVertices(coordinates) {
  const projected = new Float64Array(coordinates.length * 2);
  coordinates.forEach(([longitude, latitude], index) => {
    const sine = Math.sin((Math.max(-MAX_LATITUDE, Math.min(MAX_LATITUDE, latitude)) * Math.PI) / 180);
    projected[2 * index] = longitude / 360 + 0.5;
    projected[2 * index + 1] = 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
  });
  return projected;
}

/** Return the points, lines and polygons of a geometry, each as a list of projected paths. */
function shapesOf({ type, coordinates, geometries }) {
  const paths = (lists) => lists.map(projectVertices);
  switch (type) {
    case "Point": // without coordinates in a collection with an empty point
      return coordinates.length ? [{ kind: "point", paths: paths([[coordinates]]) }] : [];
    case "MultiPoint":
      return [{ kind: "point", paths: paths([coordinates]) }];
    case "LineString":
      return [{ kind: "line", paths: paths([coordinates]) }];
    case "MultiLineString":
      return [{ kind: "line", paths: paths(coordinates) }];
    case "Polygon":
      return [{ kind: "polygon", paths: paths(coordinates) }];
    case "MultiPolygon":
      return coordinates.map((rings) => ({ kind: "polygon", paths: paths(rings) }));
    default:
      return geometries.flatMap(shapesOf);
  }
}

/** Return the bounding box of paths: west, north, east, south. */
function boxOf(paths) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const path of paths) {
    for (let index = 0; index < path.length; index += 2) {
      box[0] = Math.min(box[0], path[index]);
      box[1] = Math.min(box[1], path[index + 1]);
      box[2] = Math.max(box[2], path[index]);
      box[3] = Math.max(box[3], path[index + 1]);
    }
  }
  return box;
}

/** Return a path without vertices that are closer than half a pixel to the vertex before. */
function simplify(path, pixelsAcross) {
  if (path.length < 2 * MIN_SIMPLIFIED_VERTICES) return path;
  const nearest = 0.5 / pixelsAcross;
  const kept = [path[0], path[1]];
  for (let index = 2; index < path.length; index += 2) {
    const isFar =
      Math.abs(path[index] - kept[kept.length - 2]) > nearest || Math.abs(path[index + 1] - kept[kept.length - 1]) > nearest;
    if (isFar || index === path.length - 2) kept.push(path[index], path[index + 1]);
  }
  return kept;
}

/** Return whether a point is inside of rings, by the even-odd rule. */
function isInside(rings, x, y) {
  let inside = false;
  for (const ring of rings) {
    for (let index = 0, previous = ring.length - 2; index < ring.length; previous = index, index += 2) {
      const [x1, y1, x2, y2] = [ring[index], ring[index + 1], ring[previous], ring[previous + 1]];
      if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
    }
  }
  return inside;
}

/** Return the distance of a point to the nearest segment of a path. */
function distanceToPath(path, x, y) {
  let nearest = Infinity;
  for (let index = 2; index < path.length; index += 2) {
    const [x1, y1, dx, dy] = [path[index - 2], path[index - 1], path[index] - path[index - 2], path[index + 1] - path[index - 1]];
    const along = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
    nearest = Math.min(nearest, Math.hypot(x - x1 - along * dx, y - y1 - along * dy));
  }
  return nearest;
}

/** Return the distance of a point to the nearest of points. */
function distanceToPoints(points, x, y) {
  let nearest = Infinity;
  for (let index = 0; index < points.length; index += 2) {
    nearest = Math.min(nearest, Math.hypot(points[index] - x, points[index + 1] - y));
  }
  return nearest;
}

const FeatureTiles = L.GridLayer.extend({
  options: { maxZoom: 22 },

  initialize(layer, options) {
    L.setOptions(this, options);
    this._styles = layer.styles;
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
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = size.x * ratio;
    canvas.height = size.y * ratio;
    const context = canvas.getContext("2d");
    context.lineJoin = context.lineCap = "round";
    const pixelsAcross = size.x * 2 ** coords.z;
    if (this._simplified.pixelsAcross !== pixelsAcross) this._simplified = { pixelsAcross, paths: new Map() };
    for (const feature of this._features) {
      const margin = this._reach(feature);
      const [west, north, east, south] = feature.box.map((edge) => edge * pixelsAcross);
      if (south < coords.y * size.y - margin || north > (coords.y + 1) * size.y + margin) continue;
      for (const world of WORLDS) {
        const left = coords.x * size.x - world * pixelsAcross;
        if (east < left - margin || west > left + size.x + margin || !this._isShown(feature.properties)) continue;
        context.setTransform(ratio, 0, 0, ratio, -left * ratio, -coords.y * size.y * ratio);
        this._draw(context, feature, pixelsAcross);
      }
    }
    return canvas;
  },

  /** Return how many pixels beyond its geometry a feature is drawn. */
  _reach({ style }) {
    const { markerWidth, lineWidth, strokeWidth } = this._styles[style];
    return Math.max((markerWidth + strokeWidth) / 2, lineWidth / 2, strokeWidth / 2);
  },

  _draw(context, { shapes, style: number }, pixelsAcross) {
    const style = this._styles[number];
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
  featureAt(latlng, zoom) {
    const pixelsAcross = this.getTileSize().x * 2 ** zoom;
    const [x, y] = projectVertices([[latlng.lng, latlng.lat]]);
    for (let number = this._features.length - 1; number >= 0; number--) {
      const feature = this._features[number];
      const isHit = WORLDS.some((world) => this._isHit(feature, x - world, y, pixelsAcross));
      if (isHit && this._isShown(feature.properties)) return feature.properties;
    }
    return null;
  },

  _isHit(feature, x, y, pixelsAcross) {
    const { markerWidth, lineWidth, strokeWidth } = this._styles[feature.style];
    const reach = (this._reach(feature) + CLICK_TOLERANCE_PIXELS) / pixelsAcross;
    const [west, north, east, south] = feature.box;
    if (x < west - reach || x > east + reach || y < north - reach || y > south + reach) return false;
    return feature.shapes.some(({ kind, paths }) => {
      if (kind === "polygon") return isInside(paths, x, y);
      if (kind === "point") return distanceToPoints(paths[0], x, y) * pixelsAcross <= (markerWidth + strokeWidth) / 2;
      return paths.some((path) => distanceToPath(path, x, y) * pixelsAcross <= lineWidth / 2 + CLICK_TOLERANCE_PIXELS);
    });
  },
});
