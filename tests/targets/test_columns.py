"""What data may be: every form gives the loss of the plain arrays, or a sentence with column, row and remedy."""

import itertools
from collections import namedtuple
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import xarray as xr
from jax.experimental.sparse import BCOO

import slt
from slt.targets.columns import as_array, fitted
from slt.targets.rows import as_rows

RNG = np.random.default_rng(0)
N = 20
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = RNG.integers(0, 3, N)
W = jnp.asarray([0.3, -0.2, 0.5])
Pair = namedtuple("Pair", ["x", "y"])


def loss(w, rows):
    x, y = (rows["x"], rows["y"]) if isinstance(rows, dict) else rows
    return 0.5 * (y - x @ w) ** 2


def flat_loss(w, rows):
    """Of tables: one column a feature."""
    return 0.5 * (rows["y"] - rows["a"] * w[0] - rows["b"] * w[1] - rows["c"] * w[2]) ** 2


EXACT = float(np.mean(0.5 * (Y - X.astype(float) @ np.asarray(W)) ** 2))


class Items:
    """Indexed by number, as a PyTorch data set; no iterator of its own."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        return tuple(column[i] for column in self.columns)


class Frame:
    """A table of another library: names, and columns by name."""

    columns = ("a", "b", "c", "y")

    def __getitem__(self, name):
        return TABLE[name]


def mapped(array, **options):
    """A memory map of the array, in the order and dtype asked."""
    path = f"{pytest.scratch}/{next(COUNTER)}.npy"
    np.save(path, np.asarray(array, **options))
    return np.load(path, mmap_mode="r")


COUNTER = itertools.count()
TABLE = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y}
RECORDS = np.array(list(zip(*TABLE.values(), strict=True)), [("a", "f4"), ("b", "f4"), ("c", "f4"), ("y", "i8")])
ROWS = list(zip(X, Y, strict=True))
RIGHT = {
    "tuple": lambda: (X, Y),
    "namedtuple": lambda: Pair(X, Y),
    "list": lambda: [X, Y],
    "mapping that is no dict": lambda: dict.fromkeys([]) | {"x": X, "y": Y},
    "npz file": lambda: np.load(saved_npz()),
    "jax arrays": lambda: (jnp.asarray(X), jnp.asarray(Y)),
    "float64 and int64": lambda: (X.astype(np.float64), Y.astype(np.int64)),
    "big-endian": lambda: (X.astype(">f4"), Y.astype(">i8")),
    "Fortran order, read-only": lambda: (read_only(np.asfortranarray(X)), read_only(Y)),
    "strided": lambda: (np.repeat(X, 2, 0)[::2], Y[::-1][::-1]),
    "long double": lambda: (X.astype(np.longdouble), Y),
    "narrow integers": lambda: (X, Y.astype(np.uint8)),
    "uint64": lambda: (X, Y.astype(np.uint64)),
    "masked array without a mask": lambda: (np.ma.masked_array(X), np.ma.masked_array(Y, mask=np.zeros(N, bool))),
    "Series": lambda: (X, pd.Series(Y, index=np.arange(N)[::-1])),
    "nullable Series": lambda: (X, pd.Series(Y, dtype="Int64")),
    "Arrow-backed Series": lambda: (X, pd.Series(Y, dtype="int64[pyarrow]")),
    "categories that are numbers": lambda: (X, pd.Categorical(Y)),
    "lists of numbers": lambda: (X.tolist(), Y.tolist()),
    "objects that are numbers": lambda: (X.astype(object), list(map(int, Y))),
    "column of arrays": lambda: (pd.Series(list(X)), pd.Series(Y)),
    "xarray.DataArray": lambda: (xr.DataArray(X), xr.DataArray(Y)),
    "memory maps": lambda: (mapped(X), mapped(Y)),
    "big-endian memory map in Fortran order": lambda: (mapped(X, dtype=">f8", order="F"), Y),
    "list of rows": lambda: ROWS,
    "list of dicts": lambda: [{"x": x, "y": y} for x, y in ROWS],
    "generator of rows": lambda: (row for row in ROWS),
    "zip": lambda: zip(X, Y, strict=True),
    "generator of batches": lambda: ((X[i : i + 8], Y[i : i + 8]) for i in range(0, N, 8)),
    "data set of rows": lambda: Items(X, Y),
    "tuple of an iterator": lambda: (X, iter(Y)),
}
TABLES = {
    "DataFrame": lambda: pd.DataFrame(TABLE),
    "DataFrame in another order": lambda: pd.DataFrame(TABLE)[["y", "c", "a", "b"]],
    "xarray.Dataset": lambda: xr.Dataset({name: ("row", column) for name, column in TABLE.items()}),
    "pyarrow.Table": lambda: pa.table(TABLE),
    "structured array": lambda: RECORDS,
    "record array": lambda: RECORDS.view(np.recarray),
    "structured memory map": lambda: mapped(RECORDS),
    "another library's table": Frame,
    "rows of a table": lambda: pd.DataFrame(TABLE).to_dict("records"),
}


def saved_npz():
    path = f"{pytest.scratch}/{next(COUNTER)}.npz"
    np.savez(path, x=X, y=Y)
    return path


def read_only(array):
    array = array.copy(order="K")
    array.flags.writeable = False
    return array


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest, "scratch", tmp_path, raising=False)


@pytest.mark.parametrize("form", RIGHT)
def test_every_form_is_the_plain_arrays(form):
    target = slt.loss_target(loss, W, RIGHT[form](), localization=1.0)
    assert target.num_data == N
    assert target.loss_at_minimum == pytest.approx(EXACT, rel=1e-5)


@pytest.mark.parametrize("form", TABLES)
def test_every_table_is_its_columns(form):
    assert slt.loss_target(flat_loss, W, TABLES[form]()).loss_at_minimum == pytest.approx(EXACT, rel=1e-5)


def at(value, row=4, of=X[:, 0]):
    column = np.array(of, dtype=object if not isinstance(value, float | np.floating) else np.float64)
    column[row] = value
    return column


MASK = np.arange(N) == 3
LONG = 3_000_000_000
REFUSED = {
    "masked": ((X, np.ma.masked_array(Y, MASK)), r"data\[1\] is masked in 1 of 20 rows, first in row 3; remove"),
    "masked rows": (np.ma.masked_array(X, np.arange(3 * N).reshape(N, 3) == 7), "in row 2; remove"),
    "NaN": ({"x": X, "y": at(np.nan)}, r"data\['y'\] holds NaN or infinite values, first nan in row 4; remove"),
    "infinity": ((X, at(-np.inf)), r"first -inf in row 4"),
    "NaN on disk": (lambda: (X, mapped(at(np.nan))), r"data\[1\] .*row 4"),
    "None": ((X, [1.0] * 19 + [None]), r"data\[1\] holds None .*in row 19.*impute"),
    "pandas NA": (pd.DataFrame({"y": pd.array([1, None] * 10, "Int64")}), r"data\['y'\] holds NaN .*row 1"),
    "int64": (np.full(N, LONG), r"data holds 3000000000 in row 0, beyond int32 .*subtract an offset.*jax_enable_x64"),
    "negative int64": (np.arange(N) - 2**40, r"beyond int32"),
    "uint64": (np.full(N, 2**63 + 1, np.uint64), r"beyond int32"),
    "int64 on disk": (lambda: mapped(np.full(N, LONG)), r"beyond int32"),
    "Python integers": ([10**30] * N, r"data holds an integer beyond 64 bits in row 0; scale"),
    "float64 beyond float32": (at(1e300), r"data holds 1e\+300 in row 4, beyond float32 .*scale"),
    "time stamps": (1.7e9 + np.arange(N), r"data would be rounded by float32 to .*subtract an offset"),
    "integer time stamps": (1_700_000_000 + np.arange(N), r"data would be rounded by float32"),
    "tiny": (1e-60 * X.astype(float), r"would be rounded"),
    "text": ((X, np.array(["a", "b"] * 10)), r"data\[1\] holds text \(.*'a'.* in row 0\), no numbers; encode"),
    "text among numbers": (pd.DataFrame({"y": at("?")}), r"data\['y'\] holds '\?' \(str\) in row 4"),
    "categories": (pd.Series(pd.Categorical(["a", "b"] * 10)), r"holds 'a' .*encode"),
    "dates": (pd.DataFrame({"t": pd.date_range("2024", periods=N)}), r"data\['t'\] holds dates or times"),
    "durations": (np.zeros(N, "m8[s]"), r"holds dates or times"),
    "unequal rows": ((X, [[1, 2]] * 19 + [[1]]), r"data\[1\] has .*unequal shape, \(2,\) in row 0 and \(1,\) in"),
    "unequal arrays": ((X, pd.Series([np.ones(2)] * 19 + [np.ones(3)])), r"unequal shape, .*row 19"),
    "sparse": ((scipy.sparse.csr_matrix(X), Y), r"data\[0\] is a sparse csr_matrix; .*toarray"),
    "sparse of JAX": ((BCOO.fromdense(X), Y), r"data\[0\] is a sparse BCOO.*todense"),
    "keys": (jax.random.split(jax.random.key(0), N), r"data holds key.*key_data"),
    "single number": ((X, 3.0), r"data\[1\] is the single number 3.0; give an array"),
    "single number alone": (np.array(3.0), r"data is the single number"),
    "nothing": ((), "data holds no array"),
    "none": (None, "data holds no array"),
    "no columns": ({}, "data holds no array"),
    "no rows": ((X[:0], Y[:0]), "n = 0 rows; at least 3"),
    "one row": ((X[:1], Y[:1]), "n = 1 rows; at least 3"),
    "unequal columns": ({"x": X, "y": Y[:7]}, r"20 rows in data\['x'\], 7 rows in data\['y'\]"),
    "path": ("data.npz", "data is 'data.npz' .*read it first"),
    "set": ({1.0, 2.0, 3.0}, "set.*give arrays"),
    "object": (SimpleNamespace(x=X), "data is a SimpleNamespace; give arrays"),
    "function": (loss, "data is a function; give arrays"),
    "names of two types": ({"x": X, 1: Y}, "names of several types"),
    "columns of one name": (pd.DataFrame(np.c_[X, Y], columns=list("abca")), "several columns 'a'"),
    "other index": ((pd.Series(X[:, 0]), pd.Series(Y, index=np.arange(N)[::-1])), "indices differ.*to_numpy"),
    "transposed variable": (xr.Dataset({"x": (("f", "i"), X.T), "y": ("i", Y)}), "first dimensions .*transpose"),
    "list of row arrays": (list(X), "list of 20 arrays of 3 numbers; give np.stack"),
    "exhausted": (iter([]), "holds no batches; an exhausted generator"),
    "batches of unequal width": ([(X, Y), (X[:, :2], Y)], r"item 1 has the shapes \[\(20, 2\), \(20,\)\]"),
    "rows of other columns": ([{"x": 1.0}, {"y": 1.0}, {"x": 1.0}], "item 1 is"),
    "rows or batches": (Items(X, X), r"items of the Items have the shapes .* may be rows or batches; .*np.stack"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named(kind):
    data, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        slt.loss_target(loss, W, data() if callable(data) and data is not loss else data)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.int64, bool])
def test_no_integer_wraps_within_the_loss(dtype):
    """2 y - 1 of an unsigned zero is 255 or 4294967295 where integers stay narrow."""
    labels = (Y > 0).astype(dtype)
    target = slt.loss_target(lambda w, y: 0.5 * (2 * y - 1 - w[0]) ** 2, jnp.zeros(1), labels)
    assert target.loss_at_minimum == 0.5


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_half_precision_is_widened_before_it_is_squared(dtype):
    x = np.full(N, 300.0).astype(dtype)
    exact = 0.5 * (float(x[0]) ** 2) ** 2
    target = slt.loss_target(lambda w, x: 0.5 * (x * x - w[0]) ** 2, jnp.zeros(1), x)
    assert target.loss_at_minimum == pytest.approx(exact, rel=1e-6)


def test_with_64_bits_large_integers_and_time_stamps_are_exact():
    with jax.enable_x64(True):
        for data in (np.full(N, LONG), 1.7e9 + np.arange(N), np.full(N, LONG, np.uint64)):
            target = slt.loss_target(lambda w, y: 0.5 * (y - w[0]) ** 2, np.array([float(data[0])]), data)
            assert target.loss_at_minimum == pytest.approx(np.mean(0.5 * (data - data[0].astype(float)) ** 2))


@pytest.mark.parametrize(
    "column", [np.full(N, 0.1), 1.0 + 1e-13 * X[:, 0].astype(float), np.arange(N) / 7, np.zeros(N)]
)
def test_rounding_that_costs_nothing_is_no_reason(column):
    np.testing.assert_allclose(fitted(as_array(column, "data"), "data"), column, rtol=1e-6)


def test_rows_keep_the_precision_they_were_given_in():
    assert as_rows({"x": X.astype(np.float64)})["x"].dtype == np.float64
