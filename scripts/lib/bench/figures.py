"""From figures to what is printed: medians, spread, ratios."""

import statistics
from dataclasses import asdict

from .workloads import Figures


def sound(costs: list) -> list:
    """The rounds that count: a run that failed has no time."""
    return [cost for cost in costs if not cost.problem]


def median(costs: list, key: str) -> float | None:
    values = [getattr(cost, key) for cost in sound(costs)]
    return statistics.median(values) if values else None


def base_of(figures: Figures, key: str) -> tuple[str, float] | None:
    """Whom the others are compared with, and its median: the floor, or the best of the peers."""
    medians = {name: median(costs, key) for name, costs in figures.costs.items()}
    known = {name: value for name, value in medians.items() if value}
    if figures.base:
        return (figures.base, known[figures.base]) if figures.base in known else None
    peers = {name: value for name, value in known.items() if not is_ours(name)}
    return min(peers.items(), key=lambda item: item[1]) if peers else None


def is_ours(name: str) -> bool:
    """Whether a contender is MROSync: the others have fixed names."""
    return name not in ("floor", "floor synced", "lftp", "lftp tuned", "rclone", "wget", "plain")


def ratios(figures: Figures, key: str) -> dict[str, tuple[float, float, float]]:
    """Of each contender the ratio to the base: median, least and greatest of the rounds."""
    base = base_of(figures, key)
    if not base:
        return {}
    result = {}
    for name, costs in figures.costs.items():
        values = [getattr(cost, key) / base[1] for cost in sound(costs)]
        if values:
            result[name] = (statistics.median(values), min(values), max(values))
    return result


def table(figures: Figures) -> str:
    """Markdown, best first."""
    wall, cpu = ratios(figures, "wall"), ratios(figures, "cpu")
    to = (base_of(figures, "wall") or ("",))[0]
    to_cpu = (base_of(figures, "cpu") or ("",))[0]
    lines = [
        f"| {figures.title} | wall s (spread) | × {to or '–'} | CPU s | × {to_cpu or '–'} | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in sorted(figures.costs, key=lambda name: median(figures.costs[name], "wall") or float("inf")):
        costs = figures.costs[name]
        good = sound(costs)
        if not good:
            lines.append(f"| {name} | failed: {costs[-1].problem} | | | | |")
            continue
        walls = [cost.wall for cost in good]
        failed = f", {len(costs) - len(good)} failed" if len(good) < len(costs) else ""
        lines.append(
            f"| {name} | {statistics.median(walls):.2f} ({min(walls):.2f}–{max(walls):.2f}{failed}) | {ratio(wall, name)} "
            f"| {median(costs, 'cpu'):.2f} | {ratio(cpu, name)} | {median(costs, 'memory') / 2**20:.0f} |"
        )
    lines += [""] + [f"- {fact}" for fact in figures.facts] if figures.facts else []
    return "\n".join(lines)


def ratio(of: dict, name: str) -> str:
    return f"{of[name][0]:.2f}" if name in of else ""


def raw(figures: Figures) -> dict:
    """Everything that was measured, for JSON."""
    return {
        "title": figures.title,
        "about": figures.about,
        "base": figures.base,
        "facts": figures.facts,
        "rounds": {name: [asdict(cost) for cost in costs] for name, costs in figures.costs.items()},
        "wall_ratios": ratios(figures, "wall"),
        "cpu_ratios": ratios(figures, "cpu"),
    }
