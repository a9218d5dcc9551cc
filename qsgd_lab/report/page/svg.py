"""Figures as inline SVG: matplotlib's drawing, rewritten from a list of allowed elements and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.figures.registry import FIGURES, draw
from qsgd_lab.report.figures.style import figure_bytes, style
from qsgd_lab.report.page.markup import attribute_text, element, escape

#: What matplotlib draws with. Metadata, style sheets and comments are left out: a style sheet inside an SVG
#: would apply to the whole page.
_ELEMENTS = frozenset(
    ("svg", "g", "defs", "path", "use", "clipPath", "rect", "text", "tspan", "circle", "ellipse", "line")
)
_ATTRIBUTES = frozenset(
    (
        *("id", "d", "x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "x1", "y1", "x2", "y2"),
        *("transform", "style", "clip-path", "clip-rule"),
    )
)
_HREF = "{http://www.w3.org/1999/xlink}href"
_URL = re.compile(r"url\(#([^)]+)\)")
_PAINT = re.compile(r"\b(fill|stroke):\s*(#[0-9a-fA-F]{6}|black|white)\b")
_FONT = re.compile(r"font: ([\d.]+px) [^;]*")

#: Colours that would vanish on a dark page -> the page's own.
_COLOURS = {
    "#000000": "currentColor",
    "black": "currentColor",
    "#ffffff": "var(--paper)",
    "white": "var(--paper)",
    "#0072b2": "var(--blue)",
}
#: Greys darker than this are text, lighter ones are rules.
_SOFT_BELOW = 0x90
#: Page pixels a point of the drawing.
_SCALE = 1.45


def figures(data: FigureRuns, number: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the markup of each figure that the runs of a group have something to show in.

    Parameters
    ----------
    data : FigureRuns
    number : int
        Of the group in the page; part of every id in its figures.
    """
    for name, title in FIGURES.items():
        with style():
            from matplotlib import rc_context

            # text as text: it can be selected and searched, and is a third of the bytes
            with rc_context({"svg.fonttype": "none"}):
                figure = draw(name, data)
                svg = None if figure is None else figure_bytes(figure, ".svg").decode()
        if svg is None:
            continue
        label = title[0].upper() + title[1:]
        drawing = inline_svg(svg, f"f{number}-{name}-", label)
        yield name, element("figure", drawing + element("figcaption", escape(f"{label}.")), class_="plot")


def inline_svg(svg: str, prefix: str, label: str) -> str:
    """Return a drawing for use inside a page.

    Parameters
    ----------
    svg : str
        What matplotlib wrote.
    prefix : str
        Prefix of every id, so that several drawings of a page share none.
    label : str
        What a screen reader says instead of the drawing.
    """
    root = ET.fromstring(svg)  # our own output; comments are dropped here
    referred = {(part.get(_HREF) or "#")[1:] for part in root.iter()} | set(_URL.findall(svg))
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    attributes = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": label,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "style": f"max-width:{_SCALE * width:.0f}px",
    }
    inside = "".join(_rewritten(child, prefix, referred) for child in root)
    return f"<svg{attribute_text(attributes)}>{inside}</svg>"


def _rewritten(part: ET.Element, prefix: str, referred: set[str]) -> str:
    tag = part.tag.rpartition("}")[2]
    if tag not in _ELEMENTS:
        return ""
    attributes = {name: " ".join(value.split()) for name, value in part.attrib.items() if name in _ATTRIBUTES}
    if attributes.get("id") in referred:
        attributes["id"] = prefix + attributes["id"]
    else:
        attributes.pop("id", None)
    if (target := part.get(_HREF, "")).startswith("#"):
        attributes["href"] = f"#{prefix}{target[1:]}"
    for name in ("style", "clip-path"):
        if name in attributes:
            attributes[name] = _URL.sub(lambda found: f"url(#{prefix}{found[1]})", attributes[name])
    if "style" in attributes:
        attributes["style"] = _FONT.sub(r"font: \1 var(--sans)", _PAINT.sub(_recoloured, attributes["style"]))
    text = escape(part.text) if part.text and part.text.strip() else ""
    inside = "".join(_rewritten(child, prefix, referred) for child in part)
    return f"<{tag}{attribute_text(attributes)}>{text}{inside}</{tag}>"


def _recoloured(found: re.Match[str]) -> str:
    colour = found[2].lower()
    is_grey = len(colour) == 7 and colour[1:3] == colour[3:5] == colour[5:7]
    grey = "var(--soft)" if is_grey and int(colour[1:3], 16) < _SOFT_BELOW else "var(--rule)"
    return f"{found[1]}: {_COLOURS.get(colour, grey if is_grey else found[2])}"
