"""The report page in a real browser: it opens, filters, sorts, and hostile names stay text."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import browser
import checkout
import pytest
from fake_runs import record
from stored_runs import epoch_lines

from qsgd_lab.report.page.build import page
from qsgd_lab.report.page.contents import PageContents, Unfinished
from qsgd_lab.report.render import render
from qsgd_lab.runs.epochs import EpochRecord
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore

CHROMIUM = browser.find()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"),
]

#: Each tries to get out of another place: an element, an attribute, a script, a comment, a template.
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=2">',
    "' onmouseover='window.pwned=3",
    "<svg onload=window.pwned=4>",
    "--><script>window.pwned=5</script><!--",
    "]]><script>window.pwned=6</script>",
    "${window.pwned=7}{{7*7}} javascript:window.pwned=8",
    "__proto__",
)
WIDTHS = (320, 400, 768, 1280, 1920)
VISIBLE = "Array.from(document.querySelectorAll('#runs-table tbody tr')).filter((row) => !row.hidden)"


def hostile_runs() -> list[RunRecord]:
    """Return runs whose model, data set, preset and environment are hostile."""
    return [
        dataclasses.replace(
            record(
                bits=bits,
                model="".join(HOSTILE[k::2]),
                preset=HOSTILE[0] + HOSTILE[k],
                dataset="".join(HOSTILE),
                bucket_size=HOSTILE[k + 2],
                epochs=1 + k,
                nodes=2,
            ),
            environment={name: name for name in HOSTILE},
        )
        for k in range(2)
        for bits in (2, 32)
    ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    """Start one browser for all tests."""
    assert CHROMIUM is not None
    with browser.running(CHROMIUM) as running:
        yield running


@pytest.fixture(scope="module")
def runs() -> list[RunRecord]:
    """Return the runs of the paper's main table."""
    return list(RunStore(checkout.ROOT / "paper/runs.jsonl").records())


@pytest.fixture(scope="module")
def address(runs: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the page of the paper's runs."""
    store = RunStore(checkout.ROOT / "paper/runs.jsonl")
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page(PageContents(runs, store.all_epochs(runs)[0])), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def hostile_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a page of hostile names."""
    runs = hostile_runs()
    epochs = {run.key: tuple(EpochRecord(**line) for line in epoch_lines(run)) for run in runs}
    lost = [Unfinished("0" * 12, "failed", name) for name in HOSTILE]
    contents = PageContents(runs, epochs, lost, runs[:1], "".join(HOSTILE), list(HOSTILE), HOSTILE[0])
    file = tmp_path_factory.mktemp("hostile") / "report.html"
    file.write_text(page(contents), encoding="utf-8")
    return file.as_uri()


def click(opened: browser.Page, selector: str) -> None:
    """Click on the first element of a selector."""
    opened.run(f"document.querySelector({json.dumps(selector)}).click()")


def count(opened: browser.Page) -> list[int | str]:
    """Return the visible rows, the panels of curves, and what the page says of them."""
    panels = "document.querySelectorAll('#multiples figure').length"
    said = "document.getElementById('count').textContent"
    return opened.run(f"[{VISIBLE}.length, {panels}, {said}]")


def test_it_opens_whole_and_silent(chromium: browser.Browser, address: str, runs: list[RunRecord]) -> None:
    """The page asks for nothing but itself, reports nothing, and shows what `table --format json` has."""
    opened = chromium.open(address)
    document = json.loads(render(runs, "json"))
    expected = [
        [cell["printed_test_accuracy_percent"] for cell in method["cells"]]
        for method in document["tables"][0]["methods"]
    ]
    shown = opened.run(
        "Array.from(document.querySelectorAll('table.numbers')[0].tBodies[0].rows).map((row) => "
        "Array.from(row.cells).slice(1).map((cell) => cell.firstChild.textContent))"
    )

    assert opened.requests() == [address]
    assert opened.complaints() == []
    assert count(opened) == [140, 28, "140 of 140 runs"]
    assert shown == expected
    assert opened.run("document.scripts.length") == 2
    assert (
        opened.run("Array.from(document.querySelectorAll('path')).some((p) => /NaN/.test(p.outerHTML))")
        is False
    )
    assert opened.run("document.querySelectorAll('[role=img]:not([aria-label])').length") == 0


def test_filters(chromium: browser.Browser, address: str) -> None:
    """Boxes choose runs and curves; the address keeps the choice; no match says what to do."""
    opened = chromium.open(address)
    click(opened, "input[name=nodes][value='1']")
    assert count(opened) == [105, 21, "105 of 140 runs"]
    assert opened.run("location.hash") == "#?nodes=2,4,8"

    again = chromium.open(opened.run("location.href"))
    assert count(again) == [105, 21, "105 of 140 runs"]

    for nodes in (2, 4, 8):
        click(again, f"input[name=nodes][value='{nodes}']")
    assert count(again) == [0, 0, "0 of 140 runs"]
    assert "tick more boxes" in again.run("document.getElementById('multiples').textContent")

    click(again, "#reset")
    assert count(again) == [140, 28, "140 of 140 runs"]
    assert again.run("location.hash") == ""


def test_a_cell_of_a_table_chooses_its_runs(chromium: browser.Browser, address: str) -> None:
    """A click on a cell leaves the runs of its method and number of nodes."""
    opened = chromium.open(address)
    opened.run("document.querySelector('table.numbers').tBodies[0].rows[1].cells[2].click()")

    assert count(opened) == [5, 1, "5 of 140 runs"]
    assert "8 bit, stochastic + EF, N=2" in opened.run("document.querySelector('#multiples').textContent")


def test_sorting(chromium: browser.Browser, address: str, runs: list[RunRecord]) -> None:
    """A heading sorts up and then down, says so, and loses no row; what is missing comes last both ways."""
    opened = chromium.open(address)
    accuracies = sorted(round(100 * run.result["test_accuracy"], 1) for run in runs)
    for column, expected in ((3, accuracies), (3, accuracies[::-1])):
        opened.run(f"document.querySelectorAll('#runs-table thead button')[{column}].click()")
        shown = opened.run(f"{VISIBLE}.map((row) => Number(row.cells[{column}].textContent))")
        assert shown == expected
    assert (
        opened.run("document.querySelectorAll('#runs-table th')[3].getAttribute('aria-sort')") == "descending"
    )

    for _ in range(2):
        opened.run("document.querySelectorAll('#runs-table thead button')[5].click()")
        assert opened.run(f"{VISIBLE}.at(-1).cells[5].textContent") == "–"


def test_the_keyboard_is_enough(chromium: browser.Browser, address: str) -> None:
    """The first stop skips to the results; space ticks a box; enter opens the details of a run."""
    opened = chromium.open(address)
    opened.press("Tab", 9)
    assert opened.run("document.activeElement.className") == "skip"

    opened.run('document.querySelector("input[name=seed]").focus()')
    opened.press(" ", 32, " ")
    assert count(opened)[0] == 112

    opened.run("document.querySelector('tr:not([hidden]) button.open').focus()")
    opened.press("Enter", 13, "\r")
    assert opened.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert opened.run("document.querySelector('tr.detail').textContent.includes('learning_rate')") is True


def test_it_fits_every_window(chromium: browser.Browser, address: str, hostile_address: str) -> None:
    """From 320 to 1920 pixels nothing is wider than the window, also with details open."""
    for url in (address, hostile_address):
        opened = chromium.open(url)
        opened.run(
            "Array.from(document.querySelectorAll('button.open')).slice(0, 3).forEach((b) => b.click())"
        )
        for width in WIDTHS:
            opened.resize(width)
            assert opened.run("document.documentElement.scrollWidth") <= width


def test_without_javascript(chromium: browser.Browser, address: str) -> None:
    """Tables, five figures and all runs are there; what needs the script is not shown."""
    opened = chromium.open(address, script=False)

    # the debugger's own expressions run all the same
    assert opened.run("document.querySelectorAll('#runs-table tbody tr').length") == 140
    assert opened.run("document.querySelectorAll('figure.plot svg').length") == 5
    assert opened.run("document.getElementById('filters').checkVisibility()") is False


def test_dark_pages_can_be_read(chromium: browser.Browser, address: str) -> None:
    """Where the reader prefers dark, text in the page and in figures is light on dark."""
    opened = chromium.open(address, dark=True)
    paper = opened.run("getComputedStyle(document.body).backgroundColor")
    texts = ["body", "td", ".hint", "a:not(.skip)"]
    inks = opened.run(f"{texts}.map((name) => getComputedStyle(document.querySelector(name)).color)")
    inks.append(opened.run("getComputedStyle(document.querySelector('figure.plot svg text')).fill"))

    assert all(contrast(ink, paper) > 4.5 for ink in inks), (paper, inks)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two CSS colours by WCAG 2: from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)``."""
    shares = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_prints(chromium: browser.Browser, address: str) -> None:
    """In print the page is a few sheets, without boxes to tick."""
    opened = chromium.open(address)
    pdf = base64.b64decode(opened.send("Page.printToPDF", preferCSSPageSize=True)["data"])
    opened.send("Emulation.setEmulatedMedia", media="print")

    assert 4 <= pdf.count(b"/Type /Page\n") <= 10
    assert opened.run("document.getElementById('filters').checkVisibility()") is False


@pytest.mark.parametrize("policy", [True, False])
def test_hostile_names_are_inert(chromium: browser.Browser, hostile_address: str, policy: bool) -> None:
    """With and without the policy no name runs, loads, or adds an element; each is there as text."""
    opened = chromium.open(hostile_address, policy=policy)
    opened.run("document.querySelectorAll('button.open').forEach((b) => b.click())")
    opened.run("document.querySelectorAll('*').forEach((e) => e.dispatchEvent(new Event('mouseover')))")

    assert opened.run("[window.pwned, ({}).polluted].filter((v) => v !== undefined)") == []
    assert opened.requests() == [hostile_address]
    assert opened.complaints() == []
    assert opened.run("document.querySelectorAll('tr.detail').length") == 4
    assert opened.run("[document.scripts.length, document.images.length]") == [2, 0]
    foreign = "foreignObject, iframe, object, embed, link, base, svg svg"
    assert opened.run(f"document.querySelectorAll('{foreign}').length") == 0
    handlers = "(e) => e.getAttributeNames().some((n) => n.startsWith('on'))"
    assert opened.run(f"Array.from(document.querySelectorAll('*')).filter({handlers}).length") == 0
    for name in HOSTILE:
        assert opened.run(f"document.body.textContent.includes({json.dumps(name)})") is True


def test_a_single_epoch_and_no_epoch_are_drawn(chromium: browser.Browser, tmp_path: Path) -> None:
    """A run of one epoch is a point; a run that diverged in its first epoch has an empty panel."""
    one, none = record(epochs=1), record(epochs=1, nodes=2, status="diverged")
    epochs = {one.key: (EpochRecord(1, 9, 0.5, 0.25),), none.key: (EpochRecord(1, 4, None, None),)}
    file = tmp_path / "report.html"
    file.write_text(page(PageContents([one, none], epochs)), encoding="utf-8")
    opened = chromium.open(file.as_uri())

    assert opened.complaints() == []
    assert opened.run("document.querySelectorAll('#multiples circle.mean').length") == 1
    labels = opened.run("Array.from(document.querySelectorAll('#multiples svg')).map((s) => s.ariaLabel)")
    assert "no finished epoch" in labels[1]
    assert "1 diverged" in labels[1]
