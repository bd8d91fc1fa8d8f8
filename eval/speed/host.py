"""What a virtual machine's host does to a measurement."""

from __future__ import annotations

from pathlib import Path

_STAT = Path("/proc/stat")  # Linux; elsewhere nothing is known, and nothing is said to be taken
_STEAL = 7  # after user, nice, system, idle, iowait, irq, softirq


class Stolen:
    """The share of processor time that the host gave to others since it was last asked.

    Linux counts as stolen the time in which a virtual processor had work and was not run.
    """

    def __init__(self) -> None:
        self._before = self._ticks()

    @staticmethod
    def _ticks() -> tuple[int, int]:
        """Stolen, and in all, of every processor since the machine started."""
        if not _STAT.is_file():
            return 0, 0
        ticks = [int(each) for each in _STAT.read_text().split("\n", 1)[0].split()[1:]]
        return ticks[_STEAL], sum(ticks[: _STEAL + 1])

    def share(self) -> float:
        """Between 0 and 1, since this was made or last asked."""
        (stolen, total), self._before = self._before, self._ticks()
        elapsed = self._before[1] - total
        return (self._before[0] - stolen) / elapsed if elapsed else 0.0
