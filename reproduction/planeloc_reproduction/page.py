"""One HTML page that needs nothing else: pictures inside, no script, readable on a phone and on paper.

All texts are plain and escaped here. The look is that of the quality pages (`workflow/scripts/quality_page.py`).
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STYLE = """
:root { color-scheme: light; }
body { font-family: system-ui, sans-serif; line-height: 1.5; color: #222; background: #fff; margin: 0 auto;
       padding: 1.2em 1.2em 4em; max-width: 66rem; }
h1 { line-height: 1.2; margin-bottom: 0.2em; }
h2 { margin-top: 2.4em; padding-top: 0.6em; border-top: 2px solid #ddd; line-height: 1.25; }
nav { font-size: 0.92em; } nav a { margin-right: 1.1em; white-space: nowrap; }
a { color: #0b5394; }
figure { margin: 1.2em 0; }
img { width: 100%; height: auto; }
figcaption, caption, .mark { color: #555; font-size: 0.9em; text-align: left; }
caption { caption-side: top; padding: 0.3em 0; font-weight: 600; color: #222; }
.why { border-left: 4px solid #0072B2; background: #f3f8fc; padding: 0.6em 1em; margin: 1em 0; }
.missing { border-left: 4px solid #bbb; background: #f6f6f6; padding: 0.6em 1em; color: #555; }
.table { overflow-x: auto; margin: 1em 0 0.3em; }
table { border-collapse: collapse; font-size: 0.95em; }
th, td { text-align: left; padding: 0.3em 0.9em 0.3em 0; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #bbb; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th.number { text-align: right; }
@media (max-width: 40rem) { body { padding: 0.8em; font-size: 0.95em; } }
@media print { body { max-width: none; font-size: 9.5pt; } nav { display: none; } .table { overflow: visible; }
  figure, tr, .why { break-inside: avoid; } h2, caption { break-after: avoid; }
  table { font-size: 8pt; } td.number { white-space: normal; } th, td { padding-right: 0.5em; } }
"""
_NUMBER = re.compile(r"[−+≤≥<>×]?\s?\d|—$")


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; `mark` is a small line below, where something holds for all of it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    mark: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG on disk, what it shows (for those who cannot see it) and its caption."""

    path: Path
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One experiment: pictures, tables, one sentence on what explains the difference, further remarks."""

    anchor: str
    title: str
    why: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    missing: str = ""


def render(title: str, introduction: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page. `introduction` are paragraphs; the first section is the summary."""
    links = "".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a> ' for s in sections)
    head = (
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>"
    )
    paragraphs = "\n".join(f"<p>{html.escape(text)}</p>" for text in introduction)
    body = "\n".join(_section(section) for section in sections)
    top = f"<h1>{html.escape(title)}</h1>\n{paragraphs}\n<nav>{links}</nav>"
    return f'<!doctype html>\n<html lang="en">{head}\n<body>\n{top}\n{body}\n</body></html>\n'


def _section(section: Section) -> str:
    parts = [f'<section id="{section.anchor}">', f"<h2>{html.escape(section.title)}</h2>"]
    if section.missing:
        parts.append(f'<p class="missing">{html.escape(section.missing)}</p>')
    parts += [_picture(picture) for picture in section.pictures]
    if section.why:
        parts.append(f'<p class="why">{html.escape(section.why)}</p>')
    parts += [_table(table) for table in section.tables]
    if section.notes:
        parts.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in section.notes) + "</ul>")
    return "\n".join([*parts, "</section>"])


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" alt="{html.escape(picture.alt)}">'
    return f"<figure>{image}\n<figcaption>{html.escape(picture.caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    numeric = [all(_NUMBER.match(row[column]) for row in table.rows) for column in range(len(table.header))]
    head = "".join(
        f"<th{_class(right)}>{html.escape(name)}</th>" for name, right in zip(table.header, numeric, strict=True)
    )
    rows = "\n".join("<tr>" + "".join(_cell(text) for text in row) + "</tr>" for row in table.rows)
    mark = f'<p class="mark">{html.escape(table.mark)}</p>' if table.mark else ""
    caption = f"<caption>{html.escape(table.caption)}</caption>"
    return f'<div class="table"><table>{caption}\n<tr>{head}</tr>\n{rows}\n</table></div>{mark}'


def _cell(text: str) -> str:
    return f"<td{_class(bool(_NUMBER.match(text)))}>{html.escape(text)}</td>"


def _class(number: bool) -> str:
    return ' class="number"' if number else ""
