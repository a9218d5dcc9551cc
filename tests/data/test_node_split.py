"""How examples are dealt to nodes: equal shares, nobody's twice, and as unlike as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.data.node_split import check_split, node_split

splits = st.sampled_from(["iid", "shards:1", "shards:3", "dirichlet:0.01", "dirichlet:1", "dirichlet:100"])


@given(st.integers(1, 12), st.integers(36, 200), splits, st.integers(0, 5))
def test_nodes_have_equal_shares_and_no_example_twice(nodes, count, split, seed):
    """Every split gives N rows of m // N different examples, and the same for the same seed."""
    labels = np.random.default_rng(count).integers(0, 4, count)
    rows = node_split(labels, nodes, split, seed)

    assert rows.shape == (nodes, count // nodes)
    assert len(set(rows.reshape(-1).tolist())) == rows.size
    assert 0 <= rows.min() <= rows.max() < count
    assert rows.tolist() == node_split(labels, nodes, split, seed).tolist()


def classes_a_node(split):
    """Return the mean number of classes at a node, for 10 classes of 100 examples at 8 nodes."""
    rows = node_split(np.repeat(np.arange(10), 100), 8, split, 0)
    return np.mean([len(set((row // 100).tolist())) for row in rows])


def test_splits_are_as_unlike_as_asked():
    """One shard a node has about two classes, two about four, iid all ten; a small ALPHA means few."""
    assert classes_a_node("iid") == classes_a_node("dirichlet:1000") == 10
    assert classes_a_node("shards:1") <= 2.25 < classes_a_node("shards:2") <= 4.25
    assert classes_a_node("dirichlet:0.05") < 4


def test_seeds_deal_differently():
    """Another seed, another split."""
    labels = np.repeat(np.arange(10), 20)
    for split in ("iid", "shards:2", "dirichlet:0.5"):
        assert node_split(labels, 4, split, 0).tolist() != node_split(labels, 4, split, 1).tolist()


def test_canonical_texts():
    """One text a split."""
    assert [check_split(text) for text in ("iid", "shards:02", "dirichlet:.30")] == [
        "iid",
        "shards:2",
        "dirichlet:0.3",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "iid:1", "shards", "shards:0", "shards:-1", "shards:x", "dirichlet:0", "dirichlet:nan", "shards:²"],
)
def test_what_is_no_split_is_refused(text):
    """One line with the right form."""
    with pytest.raises(ValueError, match="write iid, shards:K"):
        check_split(text)


def test_too_few_examples_are_refused():
    """More nodes, or shards, than examples."""
    with pytest.raises(ValueError, match="too few"):
        node_split([0, 1], 3, "iid", 0)
    with pytest.raises(ValueError, match="no 6 shards"):
        node_split([0, 1, 0, 1], 2, "shards:3", 0)
