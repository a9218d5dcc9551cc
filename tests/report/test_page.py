"""The report page without a browser: its markup, its data, its sentences."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from random import Random

import pytest
from fake_runs import demo_records, names, record
from hypothesis import given, settings
from stored_runs import epoch_lines

from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.page.answer import answer
from qsgd_lab.report.page.build import page
from qsgd_lab.report.page.contents import MAX_POINTS, PageContents, Progress, Unfinished, script_data
from qsgd_lab.report.page.markup import escape, json_island
from qsgd_lab.report.page.svg import inline_svg
from qsgd_lab.report.render import render
from qsgd_lab.runs.epochs import EpochRecord

VOID = {"meta", "input", "br", "link", "img"}
RUNS = demo_records(seeds=(0, 1, 2, 3, 4))
EPOCHS = {run.key: tuple(EpochRecord(**line) for line in epoch_lines(run)) for run in RUNS}


class Reader(HTMLParser):
    """Reads a page strictly: every element must be closed by its own tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open and "abbr" not in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def text() -> str:
    """Return a page of invented runs with all kinds of cells."""
    lost = (Unfinished("0" * 12, "failed", "ValueError: <b>"), Unfinished("1" * 12, "not finished"))
    return page(PageContents(RUNS, EPOCHS, lost, [record(seed=9)], "skipped 1 damaged run", ["do & so"]))


def test_elements_are_closed_and_ids_are_unique(text: str) -> None:
    """Each element is closed by its own tag, and no two have one id."""
    reader = Reader(text)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]

    assert reader.open == []
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded(text: str) -> None:
    """The page names no address but its own anchors, and its policy allows this script only."""
    reader = Reader(text)
    addresses = [a[name] for _, a in reader.elements for name in ("href", "src", "action") if name in a]
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert all(address and address.startswith("#") for address in addresses)
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in text


def test_every_printed_number_of_the_table_is_there(text: str) -> None:
    """The cells are the strings that `table --format json` prints."""
    document = json.loads(render(RUNS, "json"))
    methods = [method for table in document["tables"] for method in table["methods"]]
    printed = {
        value
        for fields in (*methods, *(cell for method in methods for cell in method["cells"]))
        for name, value in fields.items()
        if name.startswith("printed_") and not ("difference" in name and fields.get("method") == "fp32")
    }
    shown = {re.sub(r" \(\d+/\d+\)$", "", cell) for cell in Reader(text).cells}

    assert len(printed) > 30
    assert printed <= shown


def test_the_order_of_the_records_does_not_show() -> None:
    """The same runs give the same bytes."""
    runs = [record(bits=bits, seed=seed) for bits in (2, 4) for seed in range(3)]
    shuffled = Random(7).sample(runs, len(runs))

    assert shuffled != runs
    assert page(PageContents(shuffled)) == page(PageContents(runs))


def test_what_went_wrong_is_listed(text: str) -> None:
    """Diverged, failed, unfinished, left out and damaged runs are named, and commands are text."""
    trouble = text.split('<h2 id="trouble">')[1].split("</section>")[0]

    for words in (
        "2 bit, stochastic, N=1: 5 of 5 runs",
        "failed: <code>ValueError: &lt;b&gt;</code>",
        "not finished",
        "seed 9",
        "skipped 1 damaged run",
    ):
        assert words in trouble
    assert "<code>do &amp; so\n" in text


def test_a_page_without_runs() -> None:
    """Before the first run has finished the page says so, and renews itself."""
    text = page(PageContents((), progress=Progress(0, 12, 30)))

    assert Reader(text).open == []
    assert "No run has finished yet." in text
    assert "0 of 12 runs finished" in text
    assert '<meta http-equiv="refresh" content="30">' in text


def test_a_sweep_that_has_ended_is_not_renewed() -> None:
    """The last page of a sweep does not reload; one that stopped early says how far it came."""
    stopped = page(PageContents((), progress=Progress(3, 12)))
    complete = page(PageContents((), progress=Progress(12, 12)))

    assert "3 of 12 runs finished; the sweep has stopped" in stopped
    assert "runs finished" not in complete
    assert "refresh" not in stopped.split("<script>")[0] + complete.split("<script>")[0]


@settings(max_examples=30)
@given(names)
def test_names_are_inert(name: str) -> None:
    """No stored string adds an element, ends an attribute or ends the script that holds the data."""
    content, attribute, data = escape(name), f'<p title="{escape(name)}"></p>', json_island({name: name})
    reader = Reader(content + attribute)

    assert [tag for tag, _ in reader.elements] == ["p"]
    assert set(reader.elements[0][1]) == {"title"}
    assert not set(data) & set("<>&")
    assert json.loads(data) == {name: name}


def test_text_that_hides_itself_is_shown_as_such() -> None:
    """Control characters and overrides of the writing direction become U+FFFD."""
    assert escape("a\u202eb\x00c\u2028d\ue000\n") == "a\ufffdb\ufffdc\ufffdd\ue000\n"


def test_a_drawing_keeps_what_draws() -> None:
    """Scripts, styles, links and handlers in a drawing are dropped; ids get the prefix."""
    ns = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = (
        f'<svg {ns} viewBox="0 0 10 20"><style>*{{}}</style><script>x</script>'
        '<g id="a" onclick="x"><path id="b" d="M 0\n0" style="fill: #000000; stroke: #dddddd"/></g>'
        '<use xlink:href="#b"/><use xlink:href="http://x"/></svg>'
    )
    drawn = inline_svg(svg, "p-", 'a "label"')

    assert [tag for tag, _ in Reader(drawn).elements] == ["svg", "g", "path", "use", "use"]
    assert '<g><path id="p-b" d="M 0 0" style="fill: currentColor; stroke: var(--rule)"></path></g>' in drawn
    assert '<use href="#p-b"></use><use></use>' in drawn
    assert 'aria-label="a &quot;label&quot;"' in drawn


def test_long_curves_are_thinned_between_their_ends() -> None:
    """A curve keeps its first and last epoch and at most MAX_POINTS; an epoch without accuracy is null."""
    run = record(epochs=200)
    curve = tuple(EpochRecord(k, k, None, None if k == 200 else 0.5) for k in range(1, 201))
    (data,) = script_data(PageContents([run], {run.key: curve}))["runs"]

    assert (data["x"][0], data["x"][-1], len(data["x"])) == (1, 200, MAX_POINTS)
    assert data["v"][-1] is None
    assert len(data["v"]) == len(data["l"]) == MAX_POINTS


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([record(seed=s) for s in range(3)], "Nothing is tested against fp32"),
        (
            [record(bits=b, seed=s, accuracy=0.9 + 0.01 * s) for b in (2, 32) for s in range(3)],
            "Nothing is tested against fp32: a test takes",
        ),
        (
            [
                record(bits=b, seed=s, accuracy=0.9 - (b == 2) * 0.2 + 0.001 * s * (b - 1))
                for b in (2, 32)
                for s in range(8)
            ],
            "Against fp32, of 1 cells: 1 worse. No run diverged.",
        ),
        (
            [record(nodes=n, status="diverged") for n in (1, 2, 4, 8, 16)],
            "Runs diverged in 5 cells, listed below.",
        ),
    ],
)
def test_the_answer_claims_what_was_tested(runs: list, words: str) -> None:
    """The sentences at the head say what tests found, and why there were none."""
    groups = group_records(runs)

    assert words in answer(groups, [""] * len(groups))
