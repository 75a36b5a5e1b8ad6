// Geometries of features as paths in Web Mercator, and what is at a point.
const MAX_LATITUDE = 85.0511287798;
const MIN_SIMPLIFIED_VERTICES = 20; // rings and lines with fewer are drawn as they are

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
