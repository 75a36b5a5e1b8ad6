"use strict";
// The offline basemap: land, water and borders below the tiles of a Leaflet map, names above them.

/**
 * Add the basemap to a map; return a promise of its layer.
 * `content`: lines, labels, halo_px and dot_px of style.json, one of its themes, an attribution, and the data.
 */
const naturalEarth = (() => {
  const GROUPS = ["land", "lakes", "rivers", "states", "borders"];
  const FONT = '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';
  const LINE_HEIGHT = 1.15;
  const MARGIN = 3;

  async function unzip(base64) {
    const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Decode the format that is described in encoding.py. */
  function decode(bytes) {
    let position = bytes.indexOf(10) + 1;
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, position)));
    function readNumber() {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[position++];
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
      }
    }
    function readCoordinates(count, unit) {
      const values = new Float64Array(count);
      for (let index = 0, value = 0; index < count; index++) {
        const number = readNumber();
        value += number & 1 ? -((number + 1) >> 1) : number >> 1;
        values[index] = value * unit;
      }
      return values;
    }
    const groups = {};
    for (const name of GROUPS) {
      const [lineCount, pointCount] = header.groups[name];
      const lengths = Array.from({ length: lineCount }, readNumber);
      const zooms = bytes.subarray(position, position + pointCount);
      position += pointCount;
      const x = readCoordinates(pointCount, 2 ** -header.bits);
      const y = readCoordinates(pointCount, 2 ** -header.bits);
      let end = 0;
      groups[name] = lengths.map((length) => {
        const line = { x, y, zooms, start: end, end: end + length, zoom: Infinity };
        Object.assign(line, { west: Infinity, east: -Infinity, north: Infinity, south: -Infinity });
        for (let index = line.start; index < line.end; index++) {
          line.zoom = Math.min(line.zoom, zooms[index]);
          line.west = Math.min(line.west, x[index]);
          line.east = Math.max(line.east, x[index]);
          line.north = Math.min(line.north, y[index]);
          line.south = Math.max(line.south, y[index]);
        }
        end = line.end;
        return line;
      });
    }
    return { groups, labels: header.labels };
  }

  /** Return what a canvas shows, in pixels: its size, the size of the world, and where its copies begin. */
  function frameOf(map, bounds) {
    const zoom = map.getZoom();
    const size = 256 * 2 ** zoom;
    const { x: left, y: top } = map.getPixelOrigin().add(bounds.min);
    const { x: width, y: height } = bounds.getSize();
    const isWrapped = Boolean(map.options.worldCopyJump);
    const [first, last] = isWrapped ? [Math.floor(left / size), Math.floor((left + width) / size)] : [0, 0];
    const starts = [];
    for (let copy = first; copy <= last; copy++) starts.push(copy * size - left);
    return { zoom, size, starts, top: -top, width, height, isWrapped };
  }

  /** Add the visible parts of lines to the path of a canvas. */
  function trace(context, lines, frame, start, closed) {
    const { size, top, width, height } = frame;
    const detail = 2 * (frame.zoom + (L.Browser.retina ? 1 : 0)); // the data have twice the zoom
    context.beginPath();
    for (const { x, y, zooms, start: first, end, zoom, west, east, north, south } of lines) {
      if (zoom > detail || start + east * size < 0 || start + west * size > width) continue;
      if (top + south * size < 0 || top + north * size > height) continue;
      let isNew = true;
      for (let index = first; index < end; index++) {
        if (zooms[index] > detail) continue;
        if (isNew) context.moveTo(start + x[index] * size, top + y[index] * size);
        else context.lineTo(start + x[index] * size, top + y[index] * size);
        isNew = false;
      }
      if (closed) context.closePath();
    }
  }

  function drawLines(context, { groups }, { theme, lines }, frame) {
    const { zoom, starts, size, top, width, height, isWrapped } = frame;
    context.lineJoin = context.lineCap = "round";
    context.save();
    context.beginPath();
    const [left, right] = isWrapped ? [0, width] : [Math.max(0, starts[0]), Math.min(width, starts[0] + size)];
    context.rect(left, Math.max(0, top), right - left, Math.min(height, top + size) - Math.max(0, top));
    context.clip();
    context.fillStyle = theme.water;
    context.fillRect(0, 0, width, height);
    // Lines may begin in the copy of the world to the west, and end beyond the antimeridian.
    for (const start of [starts[0] - size, ...starts]) {
      for (const name of ["land", "lakes"]) {
        trace(context, groups[name], frame, start, true);
        context.fillStyle = theme[name];
        context.fill();
      }
      for (const [name, style] of Object.entries(lines)) {
        if (zoom < style.min_zoom || zoom > style.max_zoom) continue;
        trace(context, groups[name], frame, start, false);
        context.strokeStyle = theme[name];
        context.lineWidth = Math.min(style.max_px, style.width_px + style.growth_px * zoom);
        context.stroke();
      }
    }
    context.restore();
  }

  const overlaps = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

  /** Return where the center of a text may be, the best place first: for a city, around its dot. */
  function placesOf(isCity, x, y, width, height) {
    if (!isCity) return [[x, y]];
    const [above, beside] = [height / 2 + MARGIN, width / 2 + MARGIN + 2];
    return [[x, y - above], [x, y + above], [x + beside, y], [x - beside, y]];
  }

  /** Draw names from the most important one, each where no other name is. */
  function drawLabels(context, { labels }, content, frame) {
    const { zoom, starts, size, top, width, height } = frame;
    const { theme } = content;
    const taken = [];
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = theme.halo;
    context.lineWidth = content.halo_px;
    for (const [name, kind, longitude, latitude, minimum] of labels) {
      if (zoom < minimum) continue;
      const y = top + (0.5 - Math.asinh(Math.tan((latitude * Math.PI) / 180)) / (2 * Math.PI)) * size;
      if (y < 0 || y > height) continue;
      const style = content.labels[kind];
      const isCity = kind === 1;
      const pixels = Math.min(style.max_px, style.size_px + style.growth_px * (zoom - minimum));
      context.font = `${pixels}px ${FONT}`;
      context.letterSpacing = `${style.spacing_px}px`;
      context.fillStyle = theme[style.color];
      const rows = (style.is_uppercase ? name.toUpperCase() : name).split("\n");
      const textWidth = Math.max(...rows.map((row) => context.measureText(row).width));
      const textHeight = pixels * LINE_HEIGHT * rows.length;
      for (const start of starts) {
        const x = start + (longitude / 360 + 0.5) * size;
        if (x < -textWidth || x > width + textWidth) continue;
        const [halfWidth, halfHeight] = [textWidth / 2 + MARGIN, textHeight / 2];
        const boxOf = ([across, down]) => [
          across - halfWidth,
          down - halfHeight,
          across + halfWidth,
          down + halfHeight,
        ];
        const dot = isCity ? [[x - 3, y - 3, x + 3, y + 3]] : [];
        if (dot.length && taken.some((other) => overlaps(dot[0], other))) continue;
        const places = placesOf(isCity, x, y, textWidth, textHeight);
        const place = places.find((found) => !taken.some((other) => overlaps(boxOf(found), other)));
        if (!place) continue;
        taken.push(boxOf(place), ...dot);
        rows.forEach((row, index) => {
          const down = place[1] + (index - (rows.length - 1) / 2) * pixels * LINE_HEIGHT;
          context.strokeText(row, place[0], down);
          context.fillText(row, place[0], down);
        });
        if (isCity) {
          context.beginPath();
          context.arc(x, y, content.dot_px / 2, 0, 2 * Math.PI);
          context.fill();
        }
      }
    }
  }

  const CanvasLayer = L.Renderer.extend({
    options: { padding: 0.25, interactive: false },
    initialize(draw, pane) {
      L.Renderer.prototype.initialize.call(this, { pane });
      this._draw = draw;
    },
    getEvents() {
      return { ...L.Renderer.prototype.getEvents.call(this), move: this._drawIfOutside };
    },
    _initContainer() {
      this._container = document.createElement("canvas");
      this._container.setAttribute("aria-hidden", "true");
    },
    _destroyContainer() {
      this._container.remove();
    },
    _updatePaths() {},
    /** Draw again when a long drag leaves what has been drawn. */
    _drawIfOutside() {
      const shown = L.bounds(
        this._map.containerPointToLayerPoint([0, 0]),
        this._map.containerPointToLayerPoint(this._map.getSize()),
      );
      if (this._bounds && !this._map._animatingZoom && !this._bounds.contains(shown)) this._update();
    },
    _update() {
      if (this._map._animatingZoom && this._bounds) return;
      L.Renderer.prototype._update.call(this);
      const ratio = window.devicePixelRatio || 1;
      const size = this._bounds.getSize();
      L.DomUtil.setPosition(this._container, this._bounds.min);
      this._container.width = Math.round(size.x * ratio);
      this._container.height = Math.round(size.y * ratio);
      this._container.style.width = `${size.x}px`;
      this._container.style.height = `${size.y}px`;
      const context = this._container.getContext("2d");
      context.scale(ratio, ratio);
      this._draw(context, frameOf(this._map, this._bounds));
      this.fire("update");
    },
  });

  return async (map, content) => {
    map.getContainer().style.background = content.theme.background;
    for (const [name, zIndex] of [["basemap", 150], ["labels", 450]]) {
      const pane = map.getPane(name) || map.createPane(name);
      pane.style.zIndex = zIndex;
      pane.style.pointerEvents = "none";
    }
    map.attributionControl?.addAttribution(content.attribution);
    const data = decode(await unzip(content.data));
    const lines = new CanvasLayer((context, frame) => drawLines(context, data, content, frame), "basemap").addTo(map);
    const labels = new CanvasLayer((context, frame) => drawLabels(context, data, content, frame), "labels").addTo(map);
    return L.layerGroup([lines, labels]).addTo(map);
  };
})();
