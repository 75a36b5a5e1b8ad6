"""Compare an sdist and a wheel with the files that git knows: nothing is missing, nothing else is in them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

IN_SDIST = ("cartoframes_lite/", "tests/", "docs/", "notebooks/", "README.md", "LICENSE", "pyproject.toml")
MOVED = {  # by pyproject.toml
    "cartoframes_lite/cli/launcher.py": "cartoframes_lite_command.py",
    "cartoframes_lite/local/pytest_plugin.py": "carto_local_pytest.py",
}
NEEDED = (
    *(f"maps/page/page.{ending}" for ending in ("html", "css", "js")),
    *(f"local/home/{name}" for name in ("page.html", "home.css", "main.js", "icon.svg")),
    *(f"maps/basemap/{name}" for name in ("basemap.js", "natural_earth.xz", "style.json")),
    *(
        "py.typed",
        *(f"local/postgres/{name}.sql" for name in ("cartodb", "cartodbfy", "state")),
        "data/countries.geojson",
    ),
)


def main(directory: Path) -> int:
    """Print what is wrong; return the exit status."""
    (wheel,), (sdist,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines())
    package = {name for name in tracked if name.startswith("cartoframes_lite/")}
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        in_sdist = {member.name.partition("/")[2] for member in archive if member.isfile()}
    wrong = [
        *_differences("wheel", in_wheel, {MOVED.get(name, name) for name in package}),
        *_differences("sdist", in_sdist - {"PKG-INFO", ".gitignore"}, {n for n in tracked if n.startswith(IN_SDIST)}),
        *(f"not in the wheel: {name}" for name in NEEDED if f"cartoframes_lite/{name}" not in in_wheel),
    ]
    size_kib = wheel.stat().st_size / 1024
    print("\n".join(wrong) or f"{wheel.name}: {len(in_wheel)} files, {size_kib:.0f} KiB; sdist: {len(in_sdist)} files")
    return 1 if wrong else 0


def _differences(what: str, have: set[str], want: set[str]) -> list[str]:
    missing, surplus = sorted(want - have), sorted(have - want)
    return [f"not in the {what}: {name}" for name in missing] + [f"only in the {what}: {name}" for name in surplus]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
