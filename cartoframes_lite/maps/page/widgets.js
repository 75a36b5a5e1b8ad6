// Widgets under the map: histograms, categories and numbers of the visible rows. Selections filter their layers.
const WIDGET_DELAY_MS = 150;

/** Add the widgets of the content under the map. */
function addWidgets(map, layers, server) {
  if (!content.widgets.length) return;
  const panel = document.getElementById("widgets");
  panel.hidden = false;
  map.invalidateSize({ pan: false });
  const serverData = server && serverSource(server);
  const frameData = new Map();
  const views = content.widgets.map((widget) => {
    const layer = layers[widget.layer];
    if (layer.rows && !frameData.has(layer)) {
      const ofLayer = content.widgets.filter((other) => layers[other.layer] === layer);
      frameData.set(layer, rowsSource(layer, ofLayer));
    }
    const source = layer.rows ? frameData.get(layer) : serverData;
    const view = { source, widget, ...WIDGET_TYPES[widget.type](widget, (filter) => select(view, filter)) };
    panel.append(view.element);
    return view;
  });

  async function select(view, filter) {
    view.filter = filter;
    view.element.classList.toggle("filtered", filter !== null);
    const filters = {};
    for (const other of views) if (other.source === view.source && other.filter) filters[other.widget.name] = other.filter;
    await view.source.setFilters(filters);
    refresh();
  }

  let latest = 0;
  async function refresh() {
    const number = ++latest;
    const bounds = visibleBounds(map);
    await Promise.all(
      views.map(async (view) => {
        try {
          const result = await view.read(view.source, bounds);
          if (number === latest) view.show(result);
          view.element.classList.remove("failed");
        } catch (error) {
          if (number === latest) view.element.classList.add("failed");
        }
      })
    );
    if (number === latest) panel.classList.add("drawn");
  }

  let timer = 0;
  map.on("moveend resize", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, WIDGET_DELAY_MS);
  });
  refresh();
}

/** Return the visible part of the world: west, south, east, north in degrees; null if all of it is visible. */
function visibleBounds(map) {
  const bounds = map.getBounds();
  const [west, east] = [bounds.getWest(), bounds.getEast()];
  if (east - west >= 360) return null;
  return [west, Math.max(-90, bounds.getSouth()), east, Math.min(90, bounds.getNorth())];
}

/** Return the source of the widgets of layers that a server renders: dataviews of the Maps API. */
function serverSource(server) {
  return {
    setFilters: (filters) => server.setFilters(filters),
    read: ({ name, limit }, bounds, parameters = {}) =>
      server.readDataview(name, {
        ...(parameters.no_filters ? {} : { own_filter: 0 }),
        ...(limit ? { categories: limit + 1 } : {}), // the last one is "Other"
        ...(bounds ? { bbox: bounds.join() } : {}),
        ...parameters,
      }),
  };
}

/** Return a number as a short text. */
function shortNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return "–";
  const size = Math.abs(value);
  const isLong = size >= 1e5 || (size > 0 && size < 1e-3);
  const options = isLong && size >= 1e5 ? { notation: "compact", maximumSignificantDigits: 3 } : { maximumSignificantDigits: 4 };
  return new Intl.NumberFormat("en", options).format(value);
}

/** Return the element of a widget with its title, a place for a note, and a button that clears its filter. */
function widgetElement(widget, clear) {
  const element = L.DomUtil.create("section", `widget ${widget.type}`);
  const head = L.DomUtil.create("header", "", element);
  const heading = L.DomUtil.create("h2", "", head);
  heading.textContent = heading.title = widget.title;
  const button = L.DomUtil.create("button", "reset", head);
  button.type = "button";
  button.textContent = "Reset";
  button.setAttribute("aria-label", `Reset the filter of ${widget.title}`);
  button.addEventListener("click", clear);
  const body = L.DomUtil.create("div", "body", element);
  const note = L.DomUtil.create("p", "note", element);
  return { element, body, note };
}

/** Return how many rows have no value, as a note; empty if all have one. */
function missingNote(result) {
  const count = (result.nulls || 0) + (result.nans || 0) + (result.infinities || 0);
  return count ? `${shortNumber(count)} without a value` : "";
}

/** A number: the rows that are visible, or an aggregate of them. */
function formulaWidget(widget) {
  const { element, body, note } = widgetElement(widget, () => {});
  body.textContent = "–";
  return {
    element,
    read: (source, bounds) => source.read(widget, bounds),
    show(result) {
      const isCount = widget.operation === "count";
      body.textContent = isCount && result.result !== null ? Number(result.result).toLocaleString("en") : shortNumber(result.result);
      note.textContent = isCount ? "" : missingNote(result);
    },
  };
}

/** The most frequent values as bars that are buttons. */
function categoriesWidget(widget, select) {
  let accepted = new Set();
  const { element, body, note } = widgetElement(widget, () => choose(new Set()));
  const list = L.DomUtil.create("ul", "", body);

  function choose(categories) {
    accepted = categories;
    mark();
    select(accepted.size ? { accept: [...accepted] } : null);
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) {
      const isPressed = accepted.has(button.category);
      button.setAttribute("aria-pressed", isPressed);
      button.classList.toggle("off", accepted.size > 0 && !isPressed);
    }
  }

  function row({ category, value, agg }, largest) {
    const item = document.createElement("li");
    const button = L.DomUtil.create("button", agg ? "other" : "", item);
    button.type = "button";
    button.disabled = agg;
    button.category = category;
    const isNumber = Number.isFinite(value);
    button.style.setProperty("--share", `${isNumber && largest > 0 ? Math.max(0, (100 * value) / largest) : 0}%`);
    const label = L.DomUtil.create("span", "label", button);
    label.textContent = label.title = agg ? "Other" : category === "" ? "(empty)" : category;
    L.DomUtil.create("span", "value", button).textContent = shortNumber(value);
    button.addEventListener("click", () => {
      const next = new Set(accepted);
      if (!next.delete(category)) next.add(category);
      choose(next);
    });
    return item;
  }

  /** Add selected categories that are not among the largest any more, so that they can be deselected. */
  function withSelected(categories) {
    const shown = new Set(categories.map(({ category }) => category));
    return [...categories, ...[...accepted].filter((category) => !shown.has(category)).map((category) => ({ category, value: 0, agg: false }))];
  }

  return {
    element,
    read: (source, bounds) => source.read(widget, bounds),
    show(result) {
      const focused = document.activeElement?.category;
      const hadFocus = list.contains(document.activeElement);
      const categories = withSelected(result.categories.filter(({ category, agg }) => agg || category !== null));
      const largest = Math.max(...categories.filter(({ agg }) => !agg).map(({ value }) => value), 0);
      list.replaceChildren(...categories.map((category) => row(category, largest)));
      mark();
      if (hadFocus) [...list.querySelectorAll("button")].find((button) => button.category === focused)?.focus();
      note.textContent = categories.length ? missingNote(result) : "No rows here";
    },
  };
}

/** A histogram: bars that are selected by dragging, or with the arrow keys. */
function histogramWidget(widget, select) {
  let scale = null; // of all rows: start, width and count of the bins
  let reading = null;
  let chosen = null; // first and last selected bin
  let anchor = null;
  let timer = 0;
  const { element, body, note } = widgetElement(widget, () => choose(null));
  const plot = L.DomUtil.create("div", "bins", body);
  plot.tabIndex = 0;
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", `${widget.title}: arrow keys select bars, with Shift several, Escape none`);
  const axis = L.DomUtil.create("div", "axis", body);
  const [low, range, high] = ["", "range", ""].map((name) => L.DomUtil.create("span", name, axis));
  range.setAttribute("aria-live", "polite");

  const edge = (bin) => scale.start + bin * scale.width;
  const label = (value) => (widget.isTime ? shortTime(value, scale.width) : shortNumber(value));

  function choose(bins) {
    chosen = bins;
    mark();
    clearTimeout(timer);
    timer = setTimeout(() => select(chosen && filterOf(chosen)), WIDGET_DELAY_MS);
  }

  /** Return the filter of bins; the upper edge of a bin belongs to the next one, except that of the last. */
  function filterOf([first, last]) {
    const end = edge(last + 1);
    const isLast = last === scale.count - 1;
    return { min: edge(first), max: isLast ? scale.end : end - Math.max(Math.abs(end) * 2 ** -52, Number.MIN_VALUE) };
  }

  function mark() {
    [...plot.children].forEach((bar, bin) => bar.classList.toggle("off", chosen !== null && (bin < chosen[0] || bin > chosen[1])));
    range.textContent = chosen && scale ? `${label(edge(chosen[0]))} to ${label(edge(chosen[1] + 1))}` : "";
  }

  function binAt(event) {
    const { left, width } = plot.getBoundingClientRect();
    return Math.max(0, Math.min(scale.count - 1, Math.floor(((event.clientX - left) / width) * scale.count)));
  }

  const between = (one, other) => [Math.min(one, other), Math.max(one, other)];

  plot.addEventListener("pointerdown", (event) => {
    if (!scale) return;
    plot.setPointerCapture(event.pointerId);
    anchor = binAt(event);
    chosen = [anchor, anchor];
    mark();
  });
  plot.addEventListener("pointermove", (event) => {
    if (anchor === null || !plot.hasPointerCapture(event.pointerId)) return;
    chosen = between(anchor, binAt(event));
    mark();
  });
  plot.addEventListener("pointerup", (event) => {
    if (anchor !== null && plot.hasPointerCapture(event.pointerId)) choose(between(anchor, binAt(event)));
  });
  plot.addEventListener("keydown", (event) => {
    if (!scale) return;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (event.key === "Escape") choose(null);
    else if (step) moveSelection(step, event.shiftKey);
    else return;
    event.preventDefault();
  });

  /** Move the selected bin, or extend the selection from the bin where it began. */
  function moveSelection(step, isExtending) {
    const inside = (bin) => Math.max(0, Math.min(scale.count - 1, bin));
    if (!chosen) {
      anchor = step > 0 ? 0 : scale.count - 1;
      choose([anchor, anchor]);
      return;
    }
    const moving = anchor === chosen[0] ? chosen[1] : chosen[0];
    const next = inside(moving + step);
    if (!isExtending) anchor = next;
    choose(between(anchor, next));
  }

  /** Return the limits of the bins of all rows, which do not change with the view; null if there are no values. */
  async function readScale(source) {
    const { bins, bins_start: start, bin_width: width, bins_count: count } = await source.read(widget, null, { bins: widget.bins, no_filters: 1 });
    if (!bins.length || !count) return null;
    return { start, width: width || 0, count: width ? count : 1, end: Math.max(...bins.map(({ max }) => max)) };
  }

  async function read(source, bounds) {
    reading ??= readScale(source);
    try {
      scale = await reading;
    } catch (error) {
      reading = null;
      throw error;
    }
    if (!scale) return null;
    const limits = scale.width ? { start: scale.start, end: edge(scale.count) } : {};
    return source.read(widget, bounds, { bins: scale.count, ...limits });
  }

  function show(result) {
    if (!scale) {
      note.textContent = "No values";
      return;
    }
    const counts = new Array(scale.count).fill(0);
    for (const { bin, freq } of result.bins) counts[Math.min(bin, scale.count - 1)] += freq;
    const most = Math.max(...counts, 1);
    plot.replaceChildren(
      ...counts.map((count, bin) => {
        const bar = document.createElement("i");
        bar.style.setProperty("--share", count ? `max(2px, ${(100 * count) / most}%)` : "0px");
        bar.title = `${label(edge(bin))} to ${label(edge(bin + 1))}: ${count.toLocaleString("en")}`;
        return bar;
      })
    );
    [low.textContent, high.textContent] = [label(scale.start), label(scale.width ? edge(scale.count) : scale.end)];
    note.textContent = missingNote(result);
    mark();
  }

  return { element, read, show };
}

/** Return a time, given in seconds, as precisely as an interval of this many seconds needs. */
function shortTime(seconds, interval) {
  const [day, year] = [86_400, 31_557_600];
  const date = { year: "numeric", timeZone: "UTC" };
  if (interval < 2 * year) date.month = "short";
  if (interval < 60 * day) date.day = "numeric";
  if (interval < 2 * day) Object.assign(date, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return new Intl.DateTimeFormat("en", date).format(new Date(seconds * 1000));
}

const WIDGET_TYPES = { formula: formulaWidget, categories: categoriesWidget, histogram: histogramWidget };
