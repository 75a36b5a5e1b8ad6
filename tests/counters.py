"""Counters of the tests in faults/, for the last line of the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts over all tests of a run.

    Attributes
    ----------
    faults : int
        Faults that have happened: cuts, wrong responses, kills, restarts, writers that meet.
    survived : int
        After how many of them the call succeeded all the same; the others raised an error that was true.
    rows_lost, rows_doubled : int
        Against what the end of the call promised.
    short_reads : int
        Frames without all rows that were returned as if they were whole.
    leftovers : int
        Staging tables that the next write did not remove.
    """

    faults: int = 0
    survived: int = 0
    rows_lost: int = 0
    rows_doubled: int = 0
    short_reads: int = 0
    leftovers: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of another process."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)

    def line(self) -> str:
        """Return the line of the summary: the number of faults, then the counts that must be 0."""
        return (
            f"faults {self.faults}, rows lost {self.rows_lost}, rows doubled {self.rows_doubled},"
            f" short reads {self.short_reads}, leftovers {self.leftovers}"
        )


COUNTERS = Counters()
