"""Check that links between the project's Markdown pages resolve: the file is there, and so is the heading.

Links to other sites are left alone, so that the check needs no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent.parent

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = ("http://", "https://", "mailto:")
#: Pages that `make site` makes, and whose links Sphinx checks.
_MADE = ("tutorials/", "api/")


def broken_links(page: Path) -> Iterator[str]:
    """Yield the targets in `page` that lead nowhere."""
    text = _CODE_SPAN.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for match in _LINK.finditer(text):
        target = match[1] or match[2]
        if not target.startswith((*_ELSEWHERE, *_MADE)) and not _resolves(page, target):
            yield target


def _resolves(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not path.exists():
        return False
    return not anchor or path.suffix != ".md" or anchor in anchors(path.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings: lower case, spaces to hyphens, no punctuation."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pages() -> list[Path]:
    """Return the project's Markdown pages."""
    made = {ROOT / "docs" / name.rstrip("/") for name in _MADE}
    docs = [page for page in (ROOT / "docs").rglob("*.md") if not made & set(page.parents)]
    return sorted([*ROOT.glob("*.md"), *docs, *(ROOT / "paper").rglob("*.md")])


@click.command()
def main() -> None:
    """Check the links between all pages."""
    broken = [f"{page.relative_to(ROOT)}: {target}" for page in pages() for target in broken_links(page)]
    if broken:
        raise click.ClickException("links that lead nowhere: " + ", ".join(broken))


if __name__ == "__main__":
    main()
