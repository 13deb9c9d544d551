"""The table, as it is printed and as docs/servers.md keeps it."""

import re
from datetime import date
from pathlib import Path

from .trial import Row

BEGIN, END = "<!-- scripts/field writes from here -->", "<!-- to here -->"
COLUMNS = ("server", "version", "protocol", "listing", "names", "empty", "200 MB", "slow upload", "cut", "not readable", "calls", "s", "notes")

# failures that a row names one by one
MOST = 5


def cells(row: Row) -> list[str]:
    if row.missing:
        return [row.name, "–", *[""] * 10, f"not to be had: {row.missing}"]
    return [
        row.name, row.version, row.protocol.upper() + row.tls, row.listing, row.odd, row.empty, row.big, row.slow, row.restart,
        row.locked, row.calls, f"{row.seconds:.0f}", notes(row),
    ]


def notes(row: Row) -> str:
    parts = [row.note] if row.note else []
    unknown = [f"**{key}**: {why}" for key, why in row.failures.items() if key not in row.known]
    parts += unknown[:MOST]
    if len(unknown) > MOST:
        parts.append(f"**and {len(unknown) - MOST} more**")
    return "; ".join(parts + known_notes(row))


def known_notes(row: Row) -> list[str]:
    """What is known to fail, those of the same reason together; and the warnings."""
    reasons: dict[str, list[str]] = {}
    for key, why in row.known.items():
        reasons.setdefault(why, []).append(key)
    parts = [f"{', '.join(keys)}: {why}" for why, keys in reasons.items()]
    if row.warnings:
        parts.append(f"{row.warnings} warnings, the first: “{in_short(row.first_warning)}”")
    return parts


def in_short(line: str) -> str:
    """A line of the log without what is the same in all, and without where the tree lay."""
    line = re.sub(r"^\w+ +\[\S+\] server=\S+ ", "", line)
    return re.sub(r"/\w+/run/[^/]+/tree", "", line)[:100]


def table(rows: list[Row]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(document: Path, rows: list[Row], version: str):
    """Puts the table between its marks."""
    text = document.read_text()
    body = f"{BEGIN}\n{version}, {date.today().isoformat()}:\n\n{table(rows)}\n{END}"
    changed, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: body, text, flags=re.S)
    if count != 1:
        raise RuntimeError(f"{document} has no place for the table")
    document.write_text(changed)
