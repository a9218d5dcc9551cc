"""Gradients that are not plain dense arrays: each kind works, or is one clear error on every entry."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import qsgd_lab as ql
from qsgd_lab.compressors import COMPRESSORS, QSGD, Damped, ErrorFeedback, Layout

ENTRIES = {
    "quantize": lambda gradient: ql.quantize(gradient, bits=2),
    "reference": lambda gradient: ql.quantize(gradient, bits=2, backend="reference"),
    "quantize_and_encode": lambda gradient: ql.quantize_and_encode(gradient, bits=2),
    "fused": lambda gradient: ql.quantize_and_encode(gradient, 2, "omega", "dense"),
}


def _sparse(layout):
    return torch.eye(4).to_sparse(layout=layout, **({"blocksize": (2, 2)} if "bs" in str(layout) else {}))


def _of_embedding():
    embedding = torch.nn.Embedding(9, 4, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    return embedding.weight.grad


#: What is refused, and the words that say what to do.
REFUSED = {
    "gradient of an embedding": (_of_embedding, "sparse_coo tensor; only dense .*call .to_dense"),
    "sparse csr": (lambda: _sparse(torch.sparse_csr), "sparse_csr tensor; only dense .*call .to_dense"),
    "sparse csc": (lambda: _sparse(torch.sparse_csc), "sparse_csc tensor; only dense .*call .to_dense"),
    "sparse bsr": (lambda: _sparse(torch.sparse_bsr), "sparse_bsr tensor; only dense .*call .to_dense"),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        "nested tensor; .*quantize its parts",
    ),
    "meta": (lambda: torch.ones(3, device="meta"), "meta tensor, which has a shape and no data"),
    "conjugate": (lambda: torch.ones(3, dtype=torch.complex64).conj(), "complex64; .*imaginary part apart"),
    "complex": (lambda: np.ones(3, np.complex64), "complex64; .*imaginary part apart"),
    "scipy": (lambda: scipy.sparse.csr_matrix(np.eye(3, dtype=np.float32)), r"csr_matrix.*call .toarray\(\)"),
    "masked": (lambda: np.ma.masked_array(np.ones(3, np.float32), [0, 1, 0]), r"masked .*with .filled\(0\)"),
    "masked nowhere": (lambda: np.ma.masked_array(np.ones(3, np.float32)), "masked array"),
    "nothing": (lambda: None, "gradient is a NoneType; quantize takes an array of numbers"),
    "words": (lambda: "0.5", "gradient is a str; quantize takes an array of numbers"),
    "rows of two lengths": (
        lambda: [[1.0], [1.0, 2.0]],
        "gradient is a list; quantize takes an array of numbers",
    ),
    "objects": (lambda: np.array([None]), "gradient is object; quantize takes float32"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:.*in beta state:UserWarning")
def test_what_is_no_dense_array_is_refused_in_one_line(entry, kind):
    """A TypeError of one line names the kind and what would be right, whatever function takes it."""
    make, words = REFUSED[kind]
    with pytest.raises(TypeError) as caught:
        ENTRIES[entry](make())
    assert re.search(words, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "transform", [torch.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())], ids=["vmap", "grad"]
)
def test_inside_a_transform_of_torch_there_is_no_data(transform):
    """Tensors without data, as under vmap and grad of torch.func, are one clear error."""
    with pytest.raises(TypeError, match=r"no data that can be read, as inside torch\.func"):
        transform(lambda row: ql.dequantize(ql.quantize(row, bits=2)))(torch.ones(3, 3))


@given(
    st.lists(st.floats(-10, 10, width=32), max_size=20),
    st.sampled_from(["negated", "reversed", "parameter", "strided", "expanded", "part"]),
)
def test_every_view_of_a_tensor_is_quantized_as_its_values(values, view):
    """A lazily negated, transposed, strided, expanded or differentiable tensor gives what its copy gives."""
    values = torch.tensor(values, dtype=torch.float32)
    tensor = {
        "negated": lambda: torch.complex(values, -values).conj().imag,
        "reversed": lambda: values.flip(0),
        "parameter": lambda: torch.nn.Parameter(values.clone()),
        "strided": lambda: torch.stack([values, values], 1)[:, 1],
        "expanded": lambda: values[:1].expand(7) if len(values) else values,
        "part": lambda: torch.stack([values, values]).T,
    }[view]()
    copied = tensor.detach().resolve_neg().numpy().copy()
    expected = ql.quantize(copied, bits=3, seed=5)
    found = ql.quantize(tensor, bits=3, seed=5)
    assert found.levels.tolist() == expected.levels.tolist()
    assert found.norms.tolist() == expected.norms.tolist()
    whole = ql.quantize_and_encode(tensor, 3, "gamma", "dense", seed=5)
    assert whole == ql.encode(expected, "gamma", "dense")


def _round_trip(v):
    message = ql.encode(ql.quantize(v * 1, bits=3))
    return ql.dequantize(ql.decode(torch.from_numpy(np.array(message)))) + 1


def _values(v):
    total = torch.zeros(v.numel())
    ql.add_decoded([ql.quantize_and_encode(v, bits=3)], total)
    return total


COMPILED = {
    "quantize and dequantize": lambda v: ql.dequantize(ql.quantize(2 * v, bits=3)) + 1,
    "encode and decode": _round_trip,
    "add_decoded": _values,
}


@pytest.mark.parametrize("name", COMPILED)
def test_inside_torch_compile_values_are_the_same(name):
    """A compiled function that quantizes gives the same bits: graphs break around kernels."""
    vector = torch.randn(600, generator=torch.Generator().manual_seed(0))
    expected = COMPILED[name](vector)
    compiled = torch.compile(COMPILED[name], backend="eager")
    assert torch.equal(compiled(vector), expected)
    assert torch.equal(compiled(vector), expected)


@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch's remark on Python 3.13.0
@pytest.mark.parametrize("make", [lambda: QSGD(bits=2), lambda: ErrorFeedback(Damped(QSGD(bits=2)))])
def test_a_compressor_inside_torch_compile_gives_the_same(make):
    """A compressor's methods are not traced, wrapped or not."""
    from qsgd_lab.stream import Stream

    compressor = make()
    state = compressor.init(Layout.of(600))
    gradient = np.random.default_rng(0).standard_normal(600).astype(np.float32)

    def send(v):
        payload, _ = compressor.compress(gradient, state, Stream(seed=1))
        return v + torch.from_numpy(compressor.decompress(payload))

    zero = torch.zeros(600)
    assert torch.equal(torch.compile(send, backend="eager")(zero), send(zero))


def test_a_whole_graph_is_refused_with_the_reason():
    """With fullgraph=True torch's error says that the function is left out of compilation, and why."""
    compiled = torch.compile(lambda v: ql.quantize(v, bits=3).levels, backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="its kernels are compiled already"):
        compiled(torch.ones(3))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
@pytest.mark.parametrize("of", [np.zeros, torch.zeros], ids=["numpy", "torch"])
@pytest.mark.parametrize("layout", ["auto", "fixed", "dense", "sparse"])
def test_an_empty_gradient_goes_all_the_way(shape, of, layout):
    """No coordinates make a message of no coordinates, whose values have the shape."""
    gradient = of(shape, dtype=torch.float32 if of is torch.zeros else np.float32)
    for backend in ("auto", "reference"):
        message = ql.encode(ql.quantize(gradient, bits=2, backend=backend), layout=layout)
        assert tuple(ql.dequantize(ql.decode(message)).shape) == shape
        assert tuple(ql.decode_values(message).shape) == shape
        ql.add_decoded([message], np.zeros(shape, np.float32))


@pytest.mark.parametrize("text", ["qsgd", "fp32", "top-k", "damped(qsgd)", "ef(qsgd)", "raw-small(qsgd)"])
def test_an_empty_gradient_goes_through_every_compressor(text):
    """A network without parameters is allowed: nothing is sent."""
    from qsgd_lab.exchange import SimulatedExchange

    exchange = SimulatedExchange(COMPRESSORS.parse(text).make(), 2, 0, Layout.of(0))
    out = np.zeros(0, np.float32)
    exchange.mean(np.zeros((2, 0), np.float32), 0, out)
    exchange.mean(np.zeros((2, 0), np.float32), 1, out)
    assert exchange.ledger.coordinates == 0
