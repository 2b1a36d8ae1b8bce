"""All quality values of a sample on one page: quality_page.py PAGE.html TITLE=FILE.json [TITLE=FILE.json ...].

Standard library only, so that it runs under any Python 3.11.
"""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path
from typing import Any

_STYLE = """
body { font-family: system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin-bottom: 2em; }
th, td { text-align: left; padding: 0.3em 1em; border-bottom: 1px solid #ddd; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.pass { color: #1a7f37; } .warn { color: #9a6700; font-weight: bold; } .fail { color: #cf222e; font-weight: bold; }
"""


def page(parts: dict[str, dict[str, Any]]) -> str:
    """HTML of the page; `parts` maps a title to {"values": {name: number}, "checks": [...]}."""
    body = "\n".join(
        f"<h2>{html.escape(title)}</h2>\n{_checks(part.get('checks', []))}{_values(part.get('values', {}))}"
        for title, part in parts.items()
    )
    head = f'<head><meta charset="utf-8"><title>Quality</title>\n<style>{_STYLE}</style></head>'
    return f'<!doctype html>\n<html lang="en">{head}\n<body>\n{body}\n</body></html>\n'


def _checks(checks: list[dict[str, Any]]) -> str:
    return _table(
        ["Check", "Value", "Threshold", "Verdict", "Advice"],
        [
            _cell(_words(c["name"]))
            + _number(c["value"])
            + _number(c["threshold"])
            + _cell(c["verdict"], c["verdict"])
            + _cell("" if c["verdict"] == "pass" else c["advice"])
            for c in checks
        ],
    )


def _values(values: dict[str, Any]) -> str:
    rows = []
    for name, value in values.items():
        for index, single in enumerate(value) if isinstance(value, list) else [(None, value)]:
            rows.append(_cell(_words(name) + ("" if index is None else f" [{index}]")) + _number(single))
    return _table(["Value", ""], rows)


def _table(header: list[str], rows: list[str]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in header)
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>\n"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{html.escape(kind)}">{html.escape(text)}</td>'


def _number(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = "unknown" if value is None else f"{value:.4g}" if number else str(value)
    return _cell(text, "number")


def main(arguments: list[str]) -> None:
    target, *named = arguments
    parts = {}
    for argument in named:
        title, _, path = argument.partition("=")
        parts[title] = json.loads(Path(path).read_text(encoding="utf-8"))
    Path(target).write_text(page(parts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
