"""How long steps and decoding take on this machine at present: a linear fit of recent ones. Knows no clock."""

from __future__ import annotations

KEEP = 0.97
"""Weight of the past at each step: about thirty steps count."""
SPREAD = 0.05
"""Relative spread in rows below which the slope cannot be fitted; then seconds are taken as proportional to rows."""


class StepTiming:
    """Seconds of a tick as call + row x rows, by least squares over recent ticks; seconds of a decoding by their mean.

    A row of a larger cover counts as several, in proportion to the pixels.
    """

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._decoded = self._decode_s = 0.0

    def record_step(self, rows: float, seconds: float) -> None:
        """A tick of `rows` took `seconds`."""
        self._n, self._x, self._y = KEEP * self._n + 1, KEEP * self._x + rows, KEEP * self._y + seconds
        self._xx, self._xy = KEEP * self._xx + rows * rows, KEEP * self._xy + rows * seconds

    def record_decoding(self, weight: float, seconds: float) -> None:
        """Covers that count for `weight` were decoded in `seconds`."""
        self._decoded, self._decode_s = KEEP * self._decoded + weight, KEEP * self._decode_s + seconds

    @property
    def known(self) -> bool:
        """Whether any step was recorded; until then every estimate is 0."""
        return self._n > 0

    def tick(self, rows: float) -> float:
        """Seconds of a tick of `rows`."""
        call, row = self._fit()
        return call + row * rows

    def row(self, rows: float) -> float:
        """Seconds of one row in a tick of `rows`."""
        return self.tick(rows) / rows

    @property
    def decode(self) -> float:
        """Seconds of decoding a cover of weight 1."""
        return self._decode_s / self._decoded if self._decoded else 0.0

    def _fit(self) -> tuple[float, float]:
        if not self.known:
            return 0.0, 0.0
        variance = self._xx / self._n - (self._x / self._n) ** 2
        even = self._y / self._x
        if variance < (SPREAD * self._x / self._n) ** 2:
            return 0.0, even
        row = (self._xy / self._n - self._x * self._y / self._n**2) / variance
        row = min(max(row, 0.0), even)  # neither rows nor calls cost less than nothing
        return (self._y - row * self._x) / self._n, row
