// What dataviews of the Maps API are for the layers of a server, for features that the page contains.

/** Return the source of the widgets of a layer of features. */
function rowsSource(layer, widgets) {
  const columns = Object.fromEntries(widgets.map(({ name, column }) => [name, column]));
  let filters = {};

  /** Return whether a row passes the filters of all widgets except one. */
  function passes(properties, except) {
    return Object.entries(filters).every(([name, filter]) => name === except || matches(properties[columns[name]], filter));
  }

  return {
    async setFilters(wanted) {
      filters = wanted;
      layer.showOnly((properties) => passes(properties, null));
    },
    async read(widget, bounds, parameters = {}) {
      const isInside = bounds ? insideOf(bounds) : () => true;
      const all = await layer.rows();
      const rows = all.filter(
        ({ properties, box }) => isInside(box) && (parameters.no_filters || passes(properties, widget.name))
      );
      return AGGREGATES[widget.type](
        rows.map(({ properties }) => properties),
        widget,
        parameters
      );
    },
  };
}

/** Return whether a value passes a filter: a list of categories or a range. */
function matches(value, { accept, min, max }) {
  return accept ? accept.includes(value) : value !== null && value >= min && value <= max;
}

/** Return a function of projected bounding boxes: whether they intersect bounds in degrees. */
function insideOf([west, south, east, north]) {
  const [left, bottom, right, top] = projectVertices([[west, south], [east, north]]);
  return (box) => {
    if (box[1] > bottom || box[3] < top) return false;
    return WORLDS.some((world) => box[0] + world <= right && box[2] + world >= left);
  };
}

function aggregate(operation, values) {
  if (operation === "count") return values.length;
  const numbers = values.filter(Number.isFinite);
  if (!numbers.length) return null;
  const sum = () => numbers.reduce((total, number) => total + number, 0);
  switch (operation) {
    case "sum":
      return sum();
    case "avg":
      return sum() / numbers.length;
    default:
      return numbers.reduce((one, other) => Math[operation](one, other));
  }
}

function formulaOf(rows, { column, operation }) {
  const values = rows.map((row) => row[column]);
  return { result: aggregate(operation, values), nulls: values.filter((value) => !Number.isFinite(value)).length };
}

function categoriesOf(rows, { column, operation, value, limit }) {
  const groups = new Map();
  for (const row of rows) {
    if (!groups.has(row[column])) groups.set(row[column], []);
    groups.get(row[column]).push(row);
  }
  const nulls = groups.get(null)?.length ?? 0;
  groups.delete(null);
  const aggregated = (members) => aggregate(operation, members.map((row) => row[value]));
  const categories = [...groups].map(([category, members]) => ({ category, value: aggregated(members), agg: false }));
  categories.sort((one, other) => (other.value ?? -Infinity) - (one.value ?? -Infinity) || (one.category < other.category ? -1 : 1));
  const rest = categories.splice(limit);
  if (rest.length) {
    const members = rest.flatMap(({ category }) => groups.get(category));
    categories.push({ category: "Other", value: aggregated(members), agg: true });
  }
  return { categories, nulls };
}

function histogramOf(rows, { column }, { bins, start, end }) {
  const values = rows.map((row) => row[column]);
  const numbers = values.filter(Number.isFinite);
  const nulls = values.length - numbers.length;
  if (!numbers.length) return { bins: [], nulls };
  const [least, most] = [start ?? aggregate("min", numbers), end ?? aggregate("max", numbers)];
  const count = least === most ? 1 : bins;
  const width = (most - least) / count;
  const found = new Map();
  for (const number of numbers) {
    const bin = width ? Math.max(0, Math.min(count - 1, Math.floor((number - least) / width))) : 0;
    const { freq = 0, max = -Infinity } = found.get(bin) ?? {};
    found.set(bin, { bin, freq: freq + 1, max: Math.max(max, number) });
  }
  return { bins: [...found.values()], bins_start: least, bin_width: width, bins_count: count, nulls };
}

const AGGREGATES = { formula: formulaOf, categories: categoriesOf, histogram: histogramOf };
