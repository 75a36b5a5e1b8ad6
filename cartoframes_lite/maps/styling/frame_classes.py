"""The classes of the rows of a frame: what the SQL expressions of `cartocss` are for the rows of a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cartoframes_lite.maps.styling.classification import Classification
from cartoframes_lite.maps.styling.frame_statistics import numbers_of, texts_of
from cartoframes_lite.maps.styling.sizes import SizeClasses

Indexes = npt.NDArray[np.intp]


def color_indexes(classification: Classification, series: pd.Series[Any]) -> Indexes:
    """Return the index of the color of each row."""
    if classification.texts is not None:
        indexes = {text: index for index, text in enumerate(classification.texts)}
        texts = texts_of(series, classification.kind)
        found = [classification.no_data if text is None else indexes.get(text, classification.other) for text in texts]
        return np.array(found, np.intp)
    numbers = numbers_of(series, classification.kind)
    if classification.numbers is not None:
        places = np.full(len(numbers), classification.other, np.intp)
        for index, number in enumerate(classification.numbers):
            places[numbers == number] = index
    else:
        places = np.searchsorted(np.array(classification.limits), numbers)  # a limit belongs to the class below
    places[~np.isfinite(numbers)] = classification.no_data
    return places


def size_indexes(sizes: SizeClasses, series: pd.Series[Any]) -> Indexes:
    """Return the index of the size of each row."""
    numbers = numbers_of(series, "number")
    places = np.searchsorted(np.array(sizes.limits), numbers)
    places[~np.isfinite(numbers)] = 0
    return places
