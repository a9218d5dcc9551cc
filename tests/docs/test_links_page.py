"""What docs and paper say of measured links is what the committed results hold."""

from __future__ import annotations

import copy
import subprocess
import sys

import checkout
import pytest

sys.path.insert(0, str(checkout.ROOT / "paper" / "scripts"))

import links


def test_the_page_has_the_committed_results():
    """docs/distributed.md is what docs/scripts/make_links_page.py writes."""
    command = [sys.executable, "docs/scripts/make_links_page.py", "--check"]
    done = subprocess.run(command, cwd=checkout.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_results_are_of_an_idle_machine():
    """Else they are of the load."""
    conditions = links.links()["conditions"]
    assert conditions["others_used"] <= 0.5
    assert conditions["processor"]
    assert {"torch", "numpy", "numba"} <= conditions["packages"].keys()


def test_every_sentence_holds():
    """Of the committed results."""
    assert {name: claim(None).holds for name, claim in links.LINK_CLAIMS.items()} == dict.fromkeys(
        links.LINK_CLAIMS, True
    )


@pytest.mark.parametrize(
    ("claim", "rate", "method", "changes"),
    [
        ("links: pays", links.FAST, links.TWO_BIT, {"median_s": 9.0}),
        ("links: model is near", links.SLOW, links.TWO_BIT, {"modelled_s": 9.0}),
        ("links: model is near", links.FAST, links.FLOAT32, {"modelled_s": 1e-3}),
        ("links: loopback", links.LOOPBACK, links.TWO_BIT, {"median_s": 1e-3}),
        ("links: short", links.SLOW, links.SHORT, {"counted_bytes": 9e6}),
    ],
)
def test_results_that_deny_a_sentence_are_noticed(monkeypatch, claim, rate, method, changes):
    """Each condition can fail, and says why."""
    changed = copy.deepcopy(links.links())
    monkeypatch.setattr(links, "links", lambda: changed)
    links.row_of(rate, method).update(changes)
    verdict = links.LINK_CLAIMS[claim](None)
    assert verdict.holds is False
    assert verdict.reason
