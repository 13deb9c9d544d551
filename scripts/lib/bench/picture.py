"""A picture of the ratios: for each workload a row for each contender, a dot at the median, a line for the spread."""

import math
from html import escape

from .figures import base_of, is_ours, ratios
from .workloads import Figures

WIDTH, LEFT, RIGHT, ROW, HEAD, GAP = 760, 130, 70, 20, 48, 16
TICKS = (0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 14px }
.dim { fill: #57606a } .grid { stroke: #d0d7de } .one { stroke: #57606a } .peer { fill: #8c959f; stroke: #8c959f }
.ours { fill: #0969da; stroke: #0969da } text.ours { stroke: none; font-weight: 600 } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .dim { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.ours { fill: #4493f8; stroke: #4493f8 } .peer { fill: #7d8590; stroke: #7d8590 } .page { fill: #0d1117 }
}
"""


def panels(results: list[Figures]) -> list[tuple[str, str, dict]]:
    """A heading, whom the ratios are to, and the ratios: wall everywhere, CPU too where that is the point."""
    found = []
    for figures in results:
        # of those the growth is the point, which is in the table
        if figures.title.startswith("many"):
            continue
        keys = ("wall", "cpu") if figures.title in ("idle", "large") else ("wall",)
        for key in keys:
            values = ratios(figures, key)
            if len(values) > 1:
                what = "client CPU" if key == "cpu" else "time"
                found.append((f"{figures.title}: {what}", base_of(figures, key)[0], values))
    return found


def draw(results: list[Figures]) -> str:
    """The picture as SVG."""
    body, top = [], 8
    for heading, base, values in panels(results):
        body += panel(heading, base, values, top)
        top += HEAD + ROW * len(values) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" role="img" '
        f'aria-label="How MROSync compares with its peers">\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="{WIDTH}" height="{top}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def panel(heading: str, base: str, values: dict, top: int) -> list[str]:
    least = min(0.95, min(low for _, low, _ in values.values()) * 0.95)
    greatest = max(2.0, max(high for _, _, high in values.values()) * 1.1)

    def across(value: float) -> float:
        """Ratios are compared by factors, so the scale is logarithmic."""
        share = math.log(value / least) / math.log(greatest / least)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    first, last = top + HEAD - 12, top + HEAD + ROW * len(values) - 8
    lines = [f'<text class="title" x="8" y="{top + 14}">{escape(heading)}, × {escape(base)} (less is better)</text>']
    for tick in TICKS:
        if least <= tick <= greatest:
            x, kind = across(tick), "one" if tick == 1 else "grid"
            lines.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{first}" y2="{last}"/>')
            lines.append(f'<text class="dim" x="{x:.1f}" y="{first - 4}" text-anchor="middle">{tick:g}</text>')
    for row, (name, (middle, low, high)) in enumerate(sorted(values.items(), key=lambda item: item[1][0])):
        y = top + HEAD + ROW * row
        kind = "ours" if is_ours(name) else "peer"
        text = ' class="ours"' if is_ours(name) else ""
        lines += [
            f'<text{text} x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<line class="{kind}" stroke-width="3" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="{y}" y2="{y}"/>',
            f'<circle class="{kind}" cx="{across(middle):.1f}" cy="{y}" r="5"/>',
            f'<text{text} x="{across(high) + 10:.1f}" y="{y + 4}">{middle:.2f}</text>',
        ]
    return lines
