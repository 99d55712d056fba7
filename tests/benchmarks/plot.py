"""The plot: requests per second of every contestant as a part of the limit's, with the spread of the rounds.

Written by hand as SVG: bars, whiskers and text need no library. It has a background of its own, so that it
can be read on a dark page too.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from tests.benchmarks.contestants import LIMIT
from tests.benchmarks.stats import Spread
from tests.benchmarks.throughput import Summary

_WIDTH, _ROW, _TOP, _LEFT, _SCALE = 960, 24, 64, 290, 440
_OURS, _OTHERS, _THE_LIMIT = "#2b6cb0", "#a0aec0", "#4a5568"
_FONT: Final = 'font-family="system-ui, sans-serif" font-size="13"'


def draw(summaries: Sequence[Summary], subtitle: str, path: Path) -> None:
    """Write the plot of `summaries`; none without the limit, which is what the bars are a part of."""
    bars = [(line, line.of_limit) for line in summaries if line.of_limit is not None]
    if not bars:
        path.unlink(missing_ok=True)  # one of another run would be taken for this one's
        return
    height = _TOP + _ROW * len(bars) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {_FONT} fill="#1a202c">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        '<text x="16" y="26" font-size="16" font-weight="600">Requests per second, as a part of the limit</text>',
        f'<text x="16" y="46" fill="#4a5568">{escape(subtitle)}</text>',
    ]
    for number, (line, of_limit) in enumerate(bars):
        parts += _bar(line, of_limit, _TOP + number * _ROW)
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def _bar(line: Summary, of_limit: Spread, top: int) -> list[str]:
    color = _OURS if line.contestant.startswith("tracker") else _OTHERS
    if line.contestant == LIMIT.name:
        color = _THE_LIMIT
    length = max(1.0, of_limit.median * _SCALE)
    least, most = (_LEFT + value * _SCALE for value in (of_limit.least, of_limit.most))
    middle = top + _ROW // 2 - 2
    figure = f"{of_limit.median:.2f} · {line.per_second.median:,.0f}/s · {line.cpu_us.median:,.0f} µs CPU"
    return [
        f'<text x="{_LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(f"{line.title}, {line.shape}")}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_ROW - 6}" rx="2" fill="{color}"/>',
        f'<path d="M{least:.1f} {middle}H{most:.1f}" stroke="#1a202c"/>',
        f'<text x="{max(_LEFT + length, most) + 8:.1f}" y="{middle + 5}">{escape(figure)}</text>',
    ]
