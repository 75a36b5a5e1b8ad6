"""Natural breaks: the classes with the least sum of squared deviations from their means (Fisher, Jenks)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cartoframes_lite.maps.styling.statistics import Group

Numbers = npt.NDArray[np.float64]

MAX_GROUPS = 1000
"""More distinct values are grouped, since the time grows with the square of their number."""


def natural_breaks(groups: Sequence[Group], k: int) -> list[float]:
    """Return the upper limits of at most ``k`` classes, by dynamic programming; the optimum for the groups.

    Parameters
    ----------
    groups : sequence of Group
        In ascending order.
    k : int
    """
    if len(groups) <= k:
        return [group.top for group in groups]
    center = np.average([group.mean for group in groups], weights=[group.size for group in groups])
    spread = max(abs(group.mean - center) for group in groups)
    means = np.array([(group.mean - center) / spread for group in groups])
    counts = np.array([group.size for group in groups], dtype=np.float64)
    n = np.concatenate(([0.0], np.cumsum(counts)))
    total = np.concatenate(([0.0], np.cumsum(counts * means)))
    squares = np.concatenate(([0.0], np.cumsum(counts * means**2)))

    def costs(end: int) -> Numbers:
        """Return the squared deviations of classes from each start to ``end``, exclusive."""
        sizes, sums = n[end] - n[:end], total[end] - total[:end]
        deviations: Numbers = np.maximum(squares[end] - squares[:end] - sums**2 / sizes, 0)
        return deviations

    length = len(groups)
    cost = np.array([0.0, *(costs(end)[0] for end in range(1, length + 1))])
    starts = np.zeros((k, length + 1), dtype=int)
    for number in range(1, k):
        previous, cost = cost, np.full(length + 1, np.inf)
        for end in range(number + 1, length + 1):
            candidates = previous[number:end] + costs(end)[number:]
            best = int(np.argmin(candidates))
            cost[end], starts[number, end] = candidates[best], best + number
    tops, end = [], length
    for number in range(k - 1, -1, -1):
        tops.append(groups[end - 1].top)
        end = starts[number, end]
    return tops[::-1]
