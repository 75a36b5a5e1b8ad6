"use strict";
// The offline basemap: land, water and borders below the tiles of a Leaflet map, names above them.

/** Add the basemap to a map. `content` comes from cartoframes_lite.maps.basemap.page_content. Returns a promise. */
const naturalEarth = (() => {
  const GROUPS = ["land", "lakes", "rivers", "states", "borders"];
  const FONT = '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';
  const STATES_ZOOM = 4;

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
        const line = { start: end, end: end + length, zoom: 99, west: Infinity, east: -Infinity, north: Infinity, south: -Infinity };
        for (let index = line.start; index < line.end; index++) {
          line.zoom = Math.min(line.zoom, zooms[index]);
          line.west = Math.min(line.west, x[index]);
          line.east = Math.max(line.east, x[index]);
          line.north = Math.min(line.north, y[index]);
          line.south = Math.max(line.south, y[index]);
        }
        end = line.end;
        return { ...line, x, y, zooms };
      });
    }
    return { groups, labels: header.labels };
  }

  /** Return the part of the world that a canvas shows: the scale, and where the copies of the world begin, in pixels. */
  function frameOf(map, bounds) {
    const zoom = map.getZoom();
    const size = 256 * 2 ** zoom;
    const origin = map.getPixelOrigin().add(bounds.min);
    const { x: width, y: height } = bounds.getSize();
    const starts = [];
    if (map.options.worldCopyJump) {
      // One more on each side: lines may leave the world at the antimeridian.
      for (let copy = Math.floor(origin.x / size) - 1; copy * size < origin.x + width; copy++) starts.push(copy * size - origin.x);
    } else {
      starts.push(-size - origin.x, -origin.x);
    }
    return { zoom, size, starts, top: -origin.y, width, height, left: map.options.worldCopyJump ? null : -origin.x };
  }

  /** Add the visible parts of lines to the path of a canvas. */
  function trace(context, lines, frame, start, closed) {
    const { size, top, width, height } = frame;
    const detail = Math.ceil(frame.zoom) + (L.Browser.retina ? 1 : 0);
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

  function drawLines(context, { groups }, theme, frame) {
    const { zoom, starts, size, top, left, width, height } = frame;
    context.lineJoin = context.lineCap = "round";
    context.save();
    context.beginPath();
    context.rect(left ?? 0, Math.max(0, top), left === null ? width : size, Math.min(height, size));
    context.clip();
    context.fillStyle = theme.water;
    context.fillRect(0, 0, width, height);
    for (const start of starts) {
      for (const name of ["land", "lakes"]) {
        trace(context, groups[name], frame, start, true);
        context.fillStyle = theme[name];
        context.fill("evenodd");
      }
      const widths = { rivers: Math.min(1.6, 0.4 + zoom * 0.12), states: 0.8, borders: Math.min(1.6, 0.6 + zoom * 0.1) };
      for (const [name, lineWidth] of Object.entries(widths)) {
        if (name === "states" && zoom < STATES_ZOOM) continue;
        trace(context, groups[name], frame, start, false);
        context.strokeStyle = theme[name];
        context.lineWidth = lineWidth;
        context.stroke();
      }
    }
    context.restore();
  }

  const boxesOverlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

  /** Draw names from the most important one, each where no other name is. */
  function drawLabels(context, { labels }, theme, frame) {
    const { zoom, starts, size, top, width, height } = frame;
    const taken = [];
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = theme.halo;
    for (const [name, isCity, longitude, latitude, minimum] of labels) {
      if (zoom < minimum) continue;
      const y = top + (0.5 - Math.asinh(Math.tan((latitude * Math.PI) / 180)) / (2 * Math.PI)) * size;
      if (y < 0 || y > height) continue;
      const pixels = isCity ? Math.min(14, 10.5 + (zoom - minimum) * 0.5) : Math.min(15, 10.5 + (zoom - minimum) * 0.8);
      context.font = `${isCity ? "500" : "400"} ${pixels}px ${FONT}`;
      const text = isCity ? name : name.toUpperCase();
      context.letterSpacing = isCity ? "0px" : "1.2px";
      const half = context.measureText(text).width / 2;
      for (const start of starts) {
        const x = start + (longitude / 360 + 0.5) * size;
        if (x < -half || x > width + half) continue;
        const middle = isCity ? y - pixels * 0.85 : y;
        const box = [x - half - 3, middle - pixels * 0.6 - 1, x + half + 3, (isCity ? y : middle + pixels * 0.6) + 1];
        if (taken.some((other) => boxesOverlap(box, other))) continue;
        taken.push(box);
        context.lineWidth = 3;
        context.strokeText(text, x, middle);
        context.fillStyle = isCity ? theme.cities : theme.countries;
        context.fillText(text, x, middle);
        if (isCity) {
          context.beginPath();
          context.arc(x, y, 1.8, 0, 2 * Math.PI);
          context.fill();
        }
      }
    }
  }

  const CanvasLayer = L.Renderer.extend({
    options: { padding: 0.5, interactive: false },
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
    _onMoveEnd() {
      this._update();
    },
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
    const { theme } = content;
    map.getContainer().style.background = theme.background;
    for (const [name, zIndex] of [["basemap", 150], ["labels", 450]]) {
      const pane = map.getPane(name) || map.createPane(name);
      pane.style.zIndex = zIndex;
      pane.style.pointerEvents = "none";
    }
    map.attributionControl?.addAttribution(content.attribution);
    const data = decode(await unzip(content.data));
    const lines = new CanvasLayer((context, frame) => drawLines(context, data, theme, frame), "basemap").addTo(map);
    const labels = new CanvasLayer((context, frame) => drawLabels(context, data, theme, frame), "labels").addTo(map);
    return L.layerGroup([lines, labels]).addTo(map);
  };
})();
