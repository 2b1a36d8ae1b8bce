"""Links in the documents must lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.repository import REPOSITORY

FOLDERS = (".", "config", "containers", "docs", "reproduction")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.md"))


def relative_links(document: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_exist(document):
    assert [link for link in relative_links(document) if not (document.parent / link).exists()] == []
