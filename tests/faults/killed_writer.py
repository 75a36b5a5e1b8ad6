"""A process that writes one version of a table and is killed: MODE (four fields), VERSION, BASE_URL; key on stdin."""

from __future__ import annotations

import sys

import cartoframes_lite as cfl
from cartoframes_lite.write import staging
from tests.faults.written_tables import Mode

if __name__ == "__main__":
    if_exists, other_columns, geometry, pieces, version, base_url = sys.argv[1:]
    mode = Mode(if_exists, other_columns == "True", geometry == "True", int(pieces))  # type: ignore[arg-type]  # of five
    staging.CHUNK_BYTES = 1  # each frame is a piece
    frames = mode.frames(int(version), turned=mode.other_columns)
    credentials = cfl.Credentials(api_key=sys.stdin.readline().strip(), base_url=base_url)
    cfl.to_carto(iter(frames), "t", credentials, if_exists=mode.if_exists, key=mode.key, progress=False)
