"""Feature maps in zarr arrays, of version 3 and of version 2, and by numcodecs alone."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases, same, share
from zarr.codecs import Crc32cCodec, ShardingCodec
from zarr.storage import MemoryStore

import fmcodec
from fmcodec import CodecSpec
from fmcodec.zarr import FeatureMapCodec, region_of_selection

SPEC = CodecSpec(step=0.1, block_shape=(8, 16))


def feature_maps(shape: tuple[int, ...] = (8, 6, 32, 16)) -> Any:
    """Sparse maps."""
    return np.maximum(np.random.default_rng(3).standard_normal(shape, np.float32), 0)


def stored(store: Any, x: Any, codec: FeatureMapCodec | None = None, **options: Any) -> zarr.Array[Any]:
    """An array with these values and chunks of four images."""
    options = {"chunks": (4, *x.shape[1:]), "compressors": None, **options}
    array = zarr.create_array(store, shape=x.shape, dtype=x.dtype, serializer=codec or FeatureMapCodec(SPEC), **options)
    array[:] = x
    return array


class CountingStore(MemoryStore):
    """A store in memory that counts the requests for chunks, and their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[int] = []

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        value = await super().get(key, prototype, byte_range)
        if "zarr.json" not in key and value is not None:
            self.requests.append(len(value))
        return value


# --- version 3


def test_values_are_those_of_the_codec() -> None:
    x = feature_maps()
    array = stored(MemoryStore(), x)
    expected = np.concatenate([fmcodec.decode(fmcodec.encode(part, SPEC)) for part in (x[:4], x[4:])])
    assert same(np.asarray(array[:]), expected)
    assert abs(np.asarray(array[:]) - x).max() <= 0.05001


def test_a_chunk_is_a_frame_without_the_spec() -> None:
    store = MemoryStore()
    x = feature_maps()
    stored(store, x)
    assert store._store_dict["c/1/0/0/0"].to_bytes() == fmcodec.encode(x[4:], SPEC, embed_spec=False)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32", ">f4"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_without_a_spec(dtype: str, layout: Any) -> None:
    x = (40 * feature_maps()).astype(dtype)
    array = zarr.open_array(stored(MemoryStore(), x, FeatureMapCodec(layout=layout)).store, mode="r")
    if x.dtype.kind in "iu":
        np.testing.assert_array_equal(array[:], x)
        np.testing.assert_array_equal(array[1, :, 3:5], x[1, :, 3:5])
    else:
        assert abs(np.asarray(array[:]) - x).max() <= x.max() / 255 / 2 * 1.01


SELECTIONS = [
    (slice(2, 7),),
    (slice(3, 4), slice(None), slice(9, 12)),
    (5, 2, 30, 15),
    (slice(1, 8, 3), slice(None), slice(None, None, 7), 3),
    (slice(None), 0),
    (slice(0, 0),),
    (Ellipsis, slice(15, 16)),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=repr)
@pytest.mark.parametrize("sharded", [False, True])
def test_parts_equal_the_whole(selection: Any, sharded: bool) -> None:
    options = {"chunks": (2, 6, 16, 16), "shards": (4, 6, 32, 16)} if sharded else {}
    array = stored(MemoryStore(), feature_maps(), **options)
    whole = np.asarray(array[:])
    assert same(np.asarray(array[selection]), np.asarray(whole[selection]))


def test_other_ways_to_select() -> None:
    array = stored(MemoryStore(), feature_maps())
    whole = np.asarray(array[:])
    rows = np.array([30, 3, 17])
    np.testing.assert_array_equal(array.oindex[[6, 1], :, rows], whole[np.ix_([6, 1], range(6), rows)])
    np.testing.assert_array_equal(array.oindex[:, np.arange(6) > 3, 2, 5], whole[:, 4:, 2, 5])
    points = ([0, 7, 7], [5, 0, 1], [31, 0, 4], [0, 15, 8])
    np.testing.assert_array_equal(array.vindex[points], whole[points])
    np.testing.assert_array_equal(array.get_mask_selection(whole > 2), whole[whole > 2])
    np.testing.assert_array_equal(array.blocks[1], whole[4:])


@given(st.data())
def test_the_region_of_a_selection(data: st.DataObject) -> None:
    shape = (5, 9)
    x = np.arange(45).reshape(shape)
    selection = []
    for extent in shape:
        numbers = st.integers(0, extent - 1)
        selection.append(
            data.draw(
                st.builds(slice, st.integers(0, extent), st.integers(0, extent), st.integers(1, 4))
                | numbers
                | st.lists(numbers, min_size=1, max_size=1).map(np.array)
            )
        )
    region, inner = region_of_selection(tuple(selection), shape)
    np.testing.assert_array_equal(x[region][inner], x[tuple(selection)])
    assert x[region].size <= x.size


def test_a_part_reads_what_it_needs() -> None:
    store = CountingStore()
    # Dense, so that chunks are far larger than what is read at first; a tile is 4 rows.
    x = np.random.default_rng(0).standard_normal((8, 16, 32, 64), np.float32)
    array = stored(store, x, FeatureMapCodec(CodecSpec(step=0.05, zero_point=128, block_shape=(4, 64))))
    store.requests.clear()
    whole = np.asarray(array[:])
    assert len(store.requests) == 2
    chunk_bytes = store.requests[0]
    store.requests.clear()
    np.testing.assert_array_equal(array[5, :, 8:12], whole[5, :, 8:12])
    # One of 32 tiles, with the head and the tables of its group before it.
    assert len(store.requests) <= 3 and sum(store.requests) < chunk_bytes / 32 + 3 * 4096
    store.requests.clear()
    np.testing.assert_array_equal(array[0:4], whole[0:4])
    assert store.requests == [chunk_bytes]


def test_writing_a_part_leaves_the_rest() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32)
    array = stored(MemoryStore(), x, FeatureMapCodec(CodecSpec(step=0.07, zero_point=128)))
    before = np.asarray(array[:])
    array[1, :, 3] = 0
    after = np.asarray(array[:])
    assert not after[1, :, 3].any()
    before[1, :, 3] = 0
    assert same(after, before)


def test_small_chunks_are_one_request() -> None:
    store = CountingStore()
    array = stored(store, np.zeros((8, 4, 8, 8), np.float32) + np.float32(0.4))
    store.requests.clear()
    np.testing.assert_allclose(array[1, 0, :3], 0.4)
    assert len(store.requests) == 1


def test_missing_chunks_and_chunks_that_are_written_in_parts() -> None:
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=(6, 3, 8, 8),
        chunks=(4, 3, 8, 8),
        dtype="uint8",
        serializer=FeatureMapCodec(),
        compressors=None,
        fill_value=7,
    )
    assert array[2, 1, 3, 4] == 7 and (array[:] == 7).all()
    array[5, 0, 2:4] = 9
    expected = np.full((6, 3, 8, 8), 7, np.uint8)
    expected[5, 0, 2:4] = 9
    np.testing.assert_array_equal(array[:], expected)
    assert [key for key in store._store_dict if key.startswith("c/")] == ["c/1/0/0/0"]


def test_other_codecs_around_it() -> None:
    x = feature_maps()
    array = stored(MemoryStore(), x, compressors=[Crc32cCodec()])
    np.testing.assert_array_equal(array[3, :, 4:6], fmcodec.decode(fmcodec.encode(x[:4], SPEC))[3, :, 4:6])
    sharding = ShardingCodec(chunk_shape=(2, 6, 32, 16), codecs=[FeatureMapCodec(SPEC)])
    array = stored(MemoryStore(), x, sharding)
    np.testing.assert_array_equal(array[3, :, 4:6], fmcodec.decode(fmcodec.encode(x[2:4], SPEC))[1, :, 4:6])


@share(0.5)
@given(cases(dtypes=("float32", "float16", "int8", "uint8"), with_empty=False))
def test_any_spec_is_in_the_metadata(case: Case) -> None:
    codec = FeatureMapCodec(case.spec, case.layout)
    described = json.loads(json.dumps(codec.to_dict()))
    assert FeatureMapCodec.from_dict(described) == codec
    store = MemoryStore()
    stored(store, np.ascontiguousarray(case.x), codec, chunks=case.x.shape)
    array = zarr.open_array(store, mode="r")
    expected = fmcodec.decode(fmcodec.encode(case.x, case.spec, layout=case.layout))
    assert same(np.asarray(array[:]), expected)
    part = tuple(slice(extent // 2, None) for extent in expected.shape)
    assert same(np.asarray(array[part]), expected[part])


def test_arrays_that_cannot_be_coded() -> None:
    with pytest.raises(TypeError, match=r"float32.*not float64"):
        stored(MemoryStore(), np.zeros((4, 2, 3, 3)))
    with pytest.raises(ValueError, match="3 or 4 axes, not 2"):
        stored(MemoryStore(), np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match="permutation has 2 entries for 3 channels"):
        stored(MemoryStore(), np.zeros((4, 3, 3, 3), np.float32), FeatureMapCodec(CodecSpec(permutation=(1, 0))))
    with pytest.raises(ValueError, match="layout must be"):
        FeatureMapCodec(layout="chwn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown field"):
        FeatureMapCodec({"steps": 1})
    with pytest.raises(fmcodec.NonFiniteError):
        stored(MemoryStore(), np.full((4, 2, 3, 3), np.nan, np.float32), fill_value=0)


def test_damaged_chunks_are_errors() -> None:
    store = MemoryStore()
    x = np.random.default_rng(0).integers(0, 99, (4, 2, 9, 9)).astype(np.uint8)
    array = stored(store, x, FeatureMapCodec(CodecSpec(block_shape=(3, 9))))
    key = "c/0/0/0/0"
    buffer = store._store_dict[key]
    chunk = buffer.to_bytes()

    def put(data: bytes) -> None:
        store._store_dict[key] = type(buffer).from_bytes(data)

    blocks = fmcodec.inspect(chunk, spec=CodecSpec()).blocks
    # The middle rows of the third image are in its second tile, the block before three others and the end.
    last_needed = blocks[1 + 2 * 3 + 1]
    needed_end = last_needed.offset + last_needed.size_bytes
    for end in range(0, len(chunk), 7):
        put(chunk[:end])
        with pytest.raises(fmcodec.TruncatedStreamError):
            array[:]
        if end < needed_end:
            with pytest.raises(fmcodec.TruncatedStreamError):
                array[2, :, 4:5]
    for at in range(blocks[0].offset):
        put(chunk[:at] + bytes([chunk[at] ^ 0x20]) + chunk[at + 1 :])
        with pytest.raises(fmcodec.FmcodecError):
            array[1, :, 4:5]
    put(chunk[:36] + b"\xff" * 16 + chunk[52:])
    with pytest.raises(fmcodec.CorruptStreamError, match=r"announces .* bytes; chunks of this array have at most"):
        array[1, :, 4:5]
    put(fmcodec.encode(x[:, :, :, :8], embed_spec=False))
    for selection in (slice(None), (1, 1)):
        with pytest.raises(fmcodec.CorruptStreamError, match=r"uint8 of shape \(4, 2, 9, 8\).*, not uint8 of shape"):
            array[selection]
    put(fmcodec.encode(x, CodecSpec(step=2), embed_spec=False))
    with pytest.raises(fmcodec.SpecMismatchError):
        array[:]


# --- the plugin


def in_new_interpreter(code: str, *arguments: str) -> Any:
    """What a program prints as JSON."""
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_arrays_are_read_without_a_word_about_the_plugin(tmp_path: Path) -> None:
    x = feature_maps()
    array = stored(tmp_path / "maps.zarr", x)
    code = (
        "import json, sys, zarr\n"
        "array = zarr.open_array(sys.argv[1], mode='r')\n"
        "print(json.dumps([array[6, :, 3].tolist(), 'torch' in sys.modules]))"
    )
    values, has_torch = in_new_interpreter(code, str(tmp_path / "maps.zarr"))
    np.testing.assert_array_equal(values, array[6, :, 3])
    assert not has_torch


def test_entry_points_are_those_of_the_project(root: Path) -> None:
    declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert set(declared) == {"numcodecs.codecs", "zarr.codecs"}
    for group, points in declared.items():
        found = {point.name: point.value for point in importlib.metadata.entry_points(group=group)}
        assert points.items() <= found.items(), group


# --- numcodecs


@share(0.5)
@given(cases(dtypes=("float32", "float16", "int8", "uint8")))
def test_numcodecs(case: Case) -> None:
    config = {"id": "fmcodec", "spec": case.spec.to_dict(), "layout": case.layout}
    codec = numcodecs.get_codec(json.loads(json.dumps(config)))
    assert codec == numcodecs.get_codec(codec.get_config())
    x = np.ascontiguousarray(case.x)
    encoded = codec.encode(x)
    assert encoded == fmcodec.encode(x, case.spec, layout=case.layout, embed_spec=False)
    expected = fmcodec.decode(encoded, spec=case.spec)
    assert same(codec.decode(encoded), expected)
    out = np.empty_like(expected)
    codec.decode(encoded, out=out)
    assert same(out, expected)
    memory = bytearray(expected.nbytes)
    codec.decode(np.frombuffer(encoded, np.uint8), out=memory)
    assert memory == expected.tobytes()


def test_numcodecs_without_a_spec() -> None:
    x = np.random.default_rng(0).integers(0, 99, (4, 2, 9, 9)).astype(np.uint8)
    codec = numcodecs.get_codec({"id": "fmcodec"})
    assert repr(codec) == "FeatureMapCodec(layout='nchw', spec=None)"
    np.testing.assert_array_equal(codec.decode(codec.encode(x)), x)
    with pytest.raises(ValueError, match="Fortran order"):
        codec.encode(np.asfortranarray(x))


def test_zarr_version_2(tmp_path: Path) -> None:
    x = feature_maps()
    codec = numcodecs.get_codec({"id": "fmcodec", "spec": SPEC.to_dict()})
    array = zarr.create_array(
        tmp_path, shape=x.shape, chunks=(4, 6, 32, 16), dtype=x.dtype, compressors=codec, zarr_format=2
    )
    array[:] = x
    code = "import json, sys, zarr; print(json.dumps(zarr.open_array(sys.argv[1])[5, :, 3].tolist()))"
    expected = fmcodec.decode(fmcodec.encode(x[4:], SPEC))[1, :, 3]
    np.testing.assert_array_equal(in_new_interpreter(code, str(tmp_path)), expected)
