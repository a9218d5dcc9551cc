"""The split of examples over nodes: alike, or unlike by class; always in equal shares.

Equal shares keep the objective: the mean over nodes is the mean over examples.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.stream import Purpose, generator

IID = "iid"
SPLIT_FORMS = "write iid, shards:K such as shards:2, or dirichlet:ALPHA such as dirichlet:0.3"


def check_split(text: str) -> str:
    """Return the canonical text of a split.

    Raises
    ------
    ValueError
        If it is not one.
    """
    kind, colon, value = text.partition(":")
    if kind == IID and not colon:
        return IID
    if kind == "shards" and value.isascii() and value.isdigit() and 0 < int(value) <= 10**6:
        return f"shards:{int(value)}"
    if kind == "dirichlet":
        try:
            alpha = float(value)
        except ValueError:
            alpha = math.nan
        if 1e-3 <= alpha <= 1e6:
            return f"dirichlet:{alpha:g}"
    raise ValueError(f"{text!r} is not a split over nodes; {SPLIT_FORMS}")


def check_shards(count: int, nodes: int, split: str) -> None:
    """Refuse a split into more shards than there are examples, known without their labels.

    Raises
    ------
    ValueError
        If N K > m.
    """
    kind, _, value = split.partition(":")
    pieces = nodes * int(value) if kind == "shards" else 0
    if count < pieces:
        raise ValueError(f"{count} examples make no {pieces} shards; ask for fewer a node")


def node_split(labels: ArrayLike, nodes: int, split: str, seed: int) -> NDArray[np.int64]:
    """Deal examples to nodes, m // N each; the rest is left out.

    Parameters
    ----------
    labels : array_like, shape (m,)
        Classes.
    nodes : int
        N, at most m.
    split : str
        ``iid``: at random. ``shards:K``: examples sorted by class are cut into N K equal pieces, and each
        node gets K of them at random (McMahan et al. 2017). ``dirichlet:ALPHA``: each node draws its shares
        of the classes from a symmetric Dirichlet law, and gets its examples by these from what is left
        (after Hsu, Qi, Brown 2019); small ALPHA means few classes a node.
    seed : int
        The same split for the same seed, on every platform.

    Returns
    -------
    ndarray of int64, shape (N, m // N)
        Indices into `labels`, none twice.

    Raises
    ------
    ValueError
        If the split is none, or there are more nodes or shards than examples.
    """
    labels = np.asarray(labels)
    kind, _, value = check_split(split).partition(":")
    share = labels.size // nodes
    check_shards(labels.size, nodes, split)
    if share < 1:
        raise ValueError(f"{labels.size} examples are too few for {nodes} nodes")
    random = generator(seed, Purpose.NODE_SPLIT, nodes)
    shuffled = random.permutation(labels.size)
    if kind == IID:
        return shuffled[: nodes * share].reshape(nodes, share)
    if kind == "shards":
        return _shards(labels, shuffled, nodes, int(value), random)
    return _dirichlet(labels, shuffled, nodes, float(value), random)


def _shards(
    labels: NDArray[np.generic],
    shuffled: NDArray[np.int64],
    nodes: int,
    count: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    pieces = nodes * count
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    bounds = labels.size * np.arange(pieces + 1) // pieces
    shards = [by_class[a:b] for a, b in itertools.pairwise(bounds)]
    dealt = random.permutation(pieces).reshape(nodes, count)
    rows = [np.concatenate([shards[i] for i in own]) for own in dealt]
    # Shards differ by one example: what a node has too many goes to those that have too few.
    share = labels.size // nodes
    spare = np.concatenate([row[share:] for row in rows])
    for node, row in enumerate(rows):
        missing = max(0, share - row.size)
        rows[node], spare = np.concatenate([row[:share], spare[:missing]]), spare[missing:]
    return np.array(rows)


def _dirichlet(
    labels: NDArray[np.generic],
    shuffled: NDArray[np.int64],
    nodes: int,
    alpha: float,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    share = labels.size // nodes
    classes = np.unique(labels)
    pools = [shuffled[labels[shuffled] == each] for each in classes]
    taken = np.zeros(len(classes), np.int64)
    rows = np.empty((nodes, share), np.int64)
    for node in range(nodes):
        counts = _apportion(
            random.dirichlet(np.full(len(classes), alpha)),
            np.array([pool.size for pool in pools]) - taken,
            share,
        )
        pieces = [pool[t : t + c] for pool, t, c in zip(pools, taken, counts, strict=True)]
        rows[node] = np.concatenate(pieces)
        taken += counts
    return rows


def _apportion(weights: NDArray[np.float64], left: NDArray[np.int64], share: int) -> NDArray[np.int64]:
    """Return how many examples of each class a node gets: by its weights, as far as classes last.

    Rounded by the largest remainders: drawn at random, the counts of all nodes would leave the last one with
    classes that happen to be over, also where ALPHA is large.
    """
    counts = np.zeros(left.size, np.int64)
    while (missing := share - int(counts.sum())) > 0:
        # Classes that are used up leave the law; a tiny ALPHA may have left no weight on the others.
        still = np.where(left > counts, np.maximum(weights, 1e-300), 0.0)
        wanted = missing * still / still.sum()
        whole = np.floor(wanted).astype(np.int64)
        order = np.argsort(-(wanted - whole), kind="stable")
        whole[order[: missing - int(whole.sum())]] += 1
        counts += np.minimum(whole, left - counts)
    return counts
