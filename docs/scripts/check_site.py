"""Check a built site: it loads nothing from elsewhere, formulas are drawn, the search knows the words.

python docs/scripts/check_site.py build/site
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

import qsgd_lab

_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(https?:)?//"
    r"|<link\b[^>]*\brel=\"stylesheet\"[^>]*href=\"(https?:)?//"
)
_TEXTLESS = re.compile(r"<img\b(?![^>]*\balt=\"[^\"]*\")[^>]*>")
_WORDS = ("quantiz", "error", "feedback", "elia")


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong, with the page's name."""
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        text, name = page.read_text(encoding="utf-8"), page.relative_to(site)
        if _LOADED.search(text):
            yield f"{name} loads something from another site"
        if ".. math" in text or ":math:" in text:
            yield f"{name} has a formula that is not drawn"
        if name.parts[0] == "api" and "<blockquote>" in text:
            yield f"{name} has a quotation, which is a docstring with wrong indentation"
        if images := _TEXTLESS.findall(text):
            yield f"{name} has an image without a text: {images[0]}"
    if len(pages) < 100:
        yield f"only {len(pages)} pages"
    top = (site / "api" / "index.html").read_text(encoding="utf-8")
    yield from (f"api/index.html has no link to {n}" for n in qsgd_lab.__all__ if f'.{n}"' not in top)
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    yield from (f"the search does not know {word}" for word in _WORDS if f'"{word}":' not in index)


@click.command()
@click.argument("site", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(site: Path) -> None:
    """Check the pages of a site."""
    found = list(faults(site))
    if found:
        raise click.ClickException("; ".join(found))


if __name__ == "__main__":
    main()
