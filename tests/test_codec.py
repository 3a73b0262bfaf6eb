"""encode and decode: the core against the reference byte for byte, and everything the interface promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    ISAS,
    VIEWS,
    Case,
    Layout,
    as_dtype,
    cases,
    in_layout,
    nchw_shapes,
    numpy_dtype,
    on_isa,
    same,
    share,
    specs,
    tensors,
    values,
    with_view,
)

import fmcodec
from fmcodec import CodecSpec, TableStatistics, reference
from fmcodec.basis import Basis
from fmcodec.reference.choice import sequence_cost
from fmcodec.reference.quantize import to_binary32
from fmcodec.reference.transform import dct_matrix

DCT = CodecSpec(step=0.01, bits=12, zero_point=1500, transform="dct", transform_size=16, band_steps=(24,))
MANY_SPECS = [
    CodecSpec(step=0.1),
    CodecSpec(step=0.1, zero_point=100, dead_zone=0.8, band_steps=(3,)),
    CodecSpec(step=0.003, bits=16, zero_point=30000),
    CodecSpec(step=0.05, bits=5, zero_point=9, max_code_length=8, block_shape=(3, 4)),
    DCT,
    DCT.replace(transform_size=32, kept_bands=11, band_steps=tuple(range(8, 40))),
    CodecSpec(step=0.001, bits=14, zero_point=5000, transform="dct", transform_size=4),
    DCT.replace(transform="hadamard", transform_size=8, spatial_size=2),
    CodecSpec(step=0.01, bits=12, zero_point=1500, spatial_size=4, band_steps=(24,)),
    CodecSpec(step=0.02, bits=10, zero_point=300, spatial_size=8, band_steps=(9,), effort=1, block_shape=(20, 30)),
    DCT.replace(transform_size=4, spatial_size=4, effort=3),
    DCT.replace(transform_size=8, exact_zeros=True),
    DCT.replace(transform="hadamard", transform_size=4, spatial_size=2, exact_zeros=True, effort=3),
]


def random_array(shape: tuple[int, ...], dtype: str = "float32", kind: str = "heavy", seed: int = 0) -> Any:
    """Values of a kind in a dtype; channels first."""
    return as_dtype(values(np.random.default_rng(seed), kind, shape, 1.0 if dtype.count("float") else 20.0), dtype)


# --- core and reference


@given(cases(), st.integers(1, 4))
def test_core_equals_reference(case: Case, threads: int) -> None:
    frame = case.encode_by_reference()
    decoded = reference.decode(frame, spec=case.decode_spec)
    for name in ISAS:
        with on_isa(name):
            assert case.encode(threads=threads) == frame
            assert same(fmcodec.decode(frame, spec=case.decode_spec, threads=threads), decoded)


@pytest.mark.parametrize("kind", ["dense", "relu", "heavy", "sparse"])
@pytest.mark.parametrize("shape", [(24, 40, 56), (2, 320, 7, 7), (33, 1, 700), (1, 3, 200, 210)])
@pytest.mark.parametrize("spec", MANY_SPECS, ids=range(len(MANY_SPECS)))
def test_core_equals_reference_on_larger_tensors(shape: tuple[int, ...], spec: CodecSpec, kind: str) -> None:
    # Large enough for sampled histograms; with small blocks also for several groups.
    x = random_array(shape, kind=kind)
    frame = reference.encode(x, spec)
    assert fmcodec.encode(x, spec, threads=3) == frame
    assert same(fmcodec.decode(frame, threads=3), reference.decode(frame))


def test_instruction_sets_agree_on_larger_tensors(isa: str) -> None:
    x = random_array((24, 40, 56), kind="relu")
    for spec in MANY_SPECS:
        frame = fmcodec.encode(x, spec)
        decoded = fmcodec.decode(frame)
        with on_isa("scalar"):
            assert fmcodec.encode(x, spec) == frame
            assert same(fmcodec.decode(frame), decoded)
        fmcodec.force_isa(isa)


@pytest.mark.parametrize("step", [0.998037, 1.0019665])
def test_steps_at_which_only_one_way_is_the_identity(step: float) -> None:
    # 255 is level 255 but level 255 is the value 254; or 255 is level 254, and level 255 the value 255.
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for dtype, zero_point in (("uint8", 0), ("int8", 128)):
        spec = CodecSpec(step=step, zero_point=zero_point)
        decoded = fmcodec.decode(fmcodec.encode(every.view(dtype), spec))
        assert same(decoded, reference.decode(reference.encode(every.view(dtype), spec)))
        assert dtype == "int8" or decoded.flat[255] == 254


@pytest.mark.parametrize("shape", [(1, 84, 49), (1, 49, 84), (3, 95, 96)])
def test_strips_of_cells_end_at_cells_of_any_extent(shape: tuple[int, ...]) -> None:
    # Cell 1024, the first of the second strip, is the smallest of its row in the first shape.
    x = random_array(shape, kind="dense")
    for spec in (
        CodecSpec(step=0.05, bits=10, zero_point=500, spatial_size=2, block_shape=shape[1:]),
        CodecSpec(step=0.05, bits=10, zero_point=500, spatial_size=4, exact_zeros=True, block_shape=shape[1:]),
    ):
        frame = fmcodec.encode(x, spec)
        assert frame == reference.encode(x, spec)
        assert same(fmcodec.decode(frame), reference.decode(frame))


def test_strips_of_a_klt_of_many_channels() -> None:
    # 2240 positions: several strips, in which the kernel writes up to the next multiple of 64.
    rng = np.random.default_rng(6)
    basis = Basis(means=(0,) * 24, rows=rng.bytes(24 * 24), entry_bits=8)
    spec = CodecSpec(bits=8, transform="klt", transform_size=24, basis=basis, band_steps=(9,), block_shape=(40, 56))
    x = rng.integers(0, 256, (24, 40, 56), dtype=np.uint8)
    frame = fmcodec.encode(x, spec)
    assert frame == reference.encode(x, spec)
    assert same(fmcodec.decode(frame), reference.decode(frame))


# --- what is lost, and what is not


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("spec", [None, CodecSpec(), CodecSpec(zero_point=200)])
def test_integers_are_lossless_by_default(dtype: str, spec: CodecSpec | None) -> None:
    if spec is not None and dtype == "int8":
        spec = spec.replace(zero_point=128)
    elif spec is not None:
        spec = spec.replace(zero_point=0)
    info = np.iinfo(dtype)
    every = np.arange(info.min, info.max + 1).astype(dtype)
    x = np.random.default_rng(0).choice(every, size=(3, 21, 13, 11))
    x[0, 0, :, 0], x[0, 1].flat[:143] = info.min, every[:143]
    assert same(fmcodec.decode(fmcodec.encode(x, spec)), x)


@share(0.5)
@given(tensors("nchw", ("int8", "uint8")), st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)), st.data())
def test_integers_are_lossless(x: Any, block_shape: tuple[int, int] | None, data: st.DataObject) -> None:
    channels = x.shape[-3]
    permutation = data.draw(st.permutations(range(channels)).map(tuple)) if channels else None
    spec = CodecSpec(zero_point=128 if x.dtype == np.int8 else 0, block_shape=block_shape, permutation=permutation)
    assert same(fmcodec.decode(fmcodec.encode(x, spec)), np.ascontiguousarray(x))


@share(2)
@given(
    st.sampled_from([1, 2, 3, 4, 5, 8, 16, 21, 32, 44]),
    st.integers(0, 999),
    st.sampled_from(["uniform", "edges", "ties", "worst"]),
    st.data(),
)
def test_error_bound(channels: int, seed: int, kind: str, data: st.DataObject) -> None:
    spec = data.draw(specs(channels, "float32", with_tables=False)).replace(block_shape=None)
    bound = fmcodec.error_bound(spec, channels)
    assert isinstance(bound, float) and bound >= 0.5 * spec.step
    assume(np.isfinite(bound))
    low, high = spec.level_range
    rng = np.random.default_rng(seed)
    shape = (channels, 5, 6)
    if kind == "uniform":
        levels = rng.uniform(low - 0.5, high + 0.5, shape)
    elif kind == "edges":
        levels = rng.choice([low - 0.5, low, high, high + 0.5], shape)
    elif kind == "ties":
        levels = rng.integers(low, high, shape, endpoint=True) + rng.choice([-0.5, 0.5], shape)
    else:
        # Levels far out along one row of the transform, each rounded as far as possible in its direction.
        size = spec.transform_size
        rows = np.sign(np.resize(dct_matrix(size)[int(rng.integers(size))], channels)).reshape(-1, 1, 1)
        levels = np.where(rows > 0, high, low) + 0.499 * rng.choice([-1, 1], shape)
    # One step of binary32 inwards, so that rounding to binary32 does not leave the range.
    limit = np.float32(1 - 2.0**-22)
    x = (levels.clip(low - 0.5, high + 0.5) * spec.step).astype(np.float32) * limit
    decoded = fmcodec.decode(fmcodec.encode(x, spec))
    assert np.abs(x.astype(np.float64) - decoded).max() <= bound


def test_error_bound_of_plain_quantization_is_half_a_step() -> None:
    for bits in (2, 8, 12):
        spec = CodecSpec(step=0.25, bits=bits, zero_point=1)
        assert 0.125 <= fmcodec.error_bound(spec, 7) <= 0.125 * 1.01
    fine = CodecSpec(step=0.25, bits=8, transform="dct", transform_size=8)
    assert 0.125 < fmcodec.error_bound(fine, 64) < 0.25 * 6
    assert fmcodec.error_bound(fine.replace(kept_bands=4), 64) > fmcodec.error_bound(fine, 64)
    assert fmcodec.error_bound(fine.replace(band_steps=(9,)), 64) > fmcodec.error_bound(fine, 64)


@given(tensors("nchw", ("float16", "bfloat16")), st.data())
def test_half_precision_is_widened_exactly(x: Any, data: st.DataObject) -> None:
    spec = data.draw(specs(x.shape[-3], x.dtype.name, with_tables=False))
    wide = np.ascontiguousarray(x).astype(np.float32)
    from_half = fmcodec.decode(fmcodec.encode(x, spec))
    assert from_half.dtype == x.dtype
    # Float32 decodes to the level times the step; the half precision result is that, rounded and never infinite.
    decoded = fmcodec.decode(fmcodec.encode(wide, spec)).astype(np.float64)
    assert same(from_half, as_dtype(decoded, x.dtype.name))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_default_spec_of_floats_covers_the_range(dtype: str) -> None:
    x = random_array((6, 9, 11), dtype, "dense")
    decoded = fmcodec.decode(fmcodec.encode(x)).astype(np.float64)
    wide = to_binary32(x, dtype).astype(np.float64)
    step = (max(wide.max(), 0) - min(wide.min(), 0)) / 255
    assert np.abs(decoded - wide).max() <= 0.51 * step * (1.0 if dtype == "float32" else 1.5)
    assert fmcodec.decode(fmcodec.encode(np.zeros((0, 3, 3), numpy_dtype(dtype)))).shape == (0, 3, 3)


# --- memory and layouts


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_do_not_matter(dtype: str, view: str) -> None:
    x = random_array((2, 19, 9, 10), dtype)
    spec = CodecSpec(step=0.1 if dtype.count("float") else 1.0, zero_point=100, block_shape=(4, 5))
    expected = fmcodec.encode(x, spec)
    strided = with_view(x, view)
    assert fmcodec.encode(strided, spec) == expected
    channels_last = with_view(in_layout(x, "nhwc"), view)
    assert fmcodec.encode(channels_last.transpose(0, 3, 1, 2), spec) == expected
    assert (
        fmcodec.decode(fmcodec.encode(channels_last, spec, layout="nhwc")).tobytes()
        == in_layout(fmcodec.decode(expected), "nhwc").tobytes()
    )


@given(cases(dtypes=("float32", "uint8")))
def test_layout_has_no_influence_on_the_payload(case: Case) -> None:
    other: Layout = "nhwc" if case.layout == "nchw" else "nchw"
    moved = np.moveaxis(case.x, -3, -1) if other == "nhwc" else np.moveaxis(case.x, -1, -3)
    ours, theirs = case.encode(), fmcodec.encode(moved, case.spec, layout=other, embed_spec=case.embed_spec)
    header = reference.read_header(ours)
    check = len(ours) - header.payload_size - 4
    assert ours[6] ^ theirs[6] == 1
    assert ours[7:check] == theirs[7:check] and ours[check + 4 :] == theirs[check + 4 :]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rank_three_is_one_image(dtype: str) -> None:
    x = random_array((5, 6, 7), dtype)
    single, batch = fmcodec.encode(x), fmcodec.encode(x[None])
    assert same(fmcodec.decode(single)[None], fmcodec.decode(batch))
    assert len(single) == len(batch)


def test_big_endian_arrays_are_read() -> None:
    x = random_array((5, 6, 7))
    for dtype in (">f4", ">f2"):
        swapped = x.astype(dtype)
        native = swapped.astype(swapped.dtype.newbyteorder("="))
        assert fmcodec.encode(swapped, CodecSpec(step=0.1)) == fmcodec.encode(native, CodecSpec(step=0.1))


def test_inputs_of_other_libraries() -> None:
    x = random_array((4, 5, 6))
    spec = CodecSpec(step=0.1)
    expected = fmcodec.encode(x, spec)
    tensor = torch.from_numpy(x.copy()).requires_grad_()

    class OnlyDlpack:
        def __dlpack__(self, **options: Any) -> Any:
            return x.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return x.__dlpack_device__()

    class OnlyArray:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            return x

    buffer = memoryview(x.tobytes()).cast("f", shape=list(x.shape))
    for source in (tensor, torch.nn.Parameter(tensor.detach()), OnlyDlpack(), OnlyArray(), buffer):
        assert fmcodec.encode(source, spec) == expected
    channels_last = tensor.detach()[None].to(memory_format=torch.channels_last)
    assert fmcodec.encode(channels_last, spec) == fmcodec.encode(x[None], spec)

    half = random_array((4, 5, 6), "bfloat16")
    as_torch = torch.from_numpy(half.view(np.int16)).view(torch.bfloat16)
    assert fmcodec.encode(as_torch, spec) == fmcodec.encode(half, spec)
    assert fmcodec.encode(as_torch) == fmcodec.encode(half)


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, np.frombuffer, torch.frombuffer], ids=lambda f: f.__name__
)
def test_frames_from_any_buffer(make: Any) -> None:
    x = random_array((4, 5, 6), "uint8")
    frame = fmcodec.encode(x)
    if make is np.frombuffer:
        buffer = np.frombuffer(frame, np.uint8)
    elif make is torch.frombuffer:
        buffer = torch.frombuffer(bytearray(frame), dtype=torch.uint8)
    else:
        buffer = make(frame)
    assert same(fmcodec.decode(buffer), x)
    assert fmcodec.inspect(buffer).shape == (4, 5, 6)
    words = np.frombuffer(frame[: len(frame) // 4 * 4], np.uint32)
    with pytest.raises(fmcodec.TruncatedStreamError):
        fmcodec.decode(words[:-1])


# --- region= and out=


@share(2)
@given(cases(), st.data())
def test_region_is_a_slice_of_the_whole(case: Case, data: st.DataObject) -> None:
    frame = case.encode()
    whole = fmcodec.decode(frame, spec=case.decode_spec)
    bound = st.none() | st.integers(-9, 14)
    region = tuple(
        slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([None, 1]))) for _ in whole.shape
    )
    part = fmcodec.decode(frame, spec=case.decode_spec, region=region, threads=data.draw(st.integers(1, 3)))
    assert same(part, np.ascontiguousarray(whole[region]))


@pytest.mark.parametrize("spatial_size", [1, 2])
def test_region_of_later_images(spatial_size: int) -> None:
    x = random_array((4, 3, 9, 11))
    frame = fmcodec.encode(x, CodecSpec(step=0.05, bits=10, zero_point=500, spatial_size=spatial_size))
    whole = fmcodec.decode(frame)
    for region in ((slice(1, 4), *[slice(None)] * 3), (slice(2, 3), slice(1, 3), slice(4, 8), slice(3, 10))):
        assert same(fmcodec.decode(frame, region=region), np.ascontiguousarray(whole[region]))


def test_region_reads_only_the_blocks_it_needs() -> None:
    x = random_array((3, 40, 40), "uint8")
    frame = bytearray(fmcodec.encode(x, CodecSpec(block_shape=(8, 8))))
    # 25 blocks in two groups. Damage in the first block is not seen by a region in the last one.
    blocks = [part for part in fmcodec.inspect(frame).blocks if part.kind == "block"]
    frame[blocks[0].offset] ^= 255
    region = (slice(0, 3), slice(33, 40), slice(33, 40))
    assert same(fmcodec.decode(frame, region=region), np.ascontiguousarray(x[region]))
    with pytest.raises(fmcodec.ChecksumError):
        fmcodec.decode(frame)


@given(cases(with_tables=False), st.sampled_from(VIEWS), st.integers(1, 3))
def test_out_takes_any_strides(case: Case, view: str, threads: int) -> None:
    frame = case.encode()
    expected = fmcodec.decode(frame, spec=case.decode_spec)
    assume(view != "packed" or expected.itemsize == 1)
    out = with_view(np.zeros(expected.shape, expected.dtype), view)
    result = fmcodec.decode(frame, spec=case.decode_spec, out=out, threads=threads)
    assert result is out
    assert same(np.ascontiguousarray(out), expected)


def test_out_leaves_the_memory_around_it_alone() -> None:
    for dtype in DTYPES:
        x = random_array((2, 5, 7, 9), dtype)
        for spec in (CodecSpec(), CodecSpec(block_shape=(3, 4)), CodecSpec(transform="dct", transform_size=4)):
            memory = np.full((4, 9, 11, 13), 77, numpy_dtype(dtype))
            fmcodec.decode(fmcodec.encode(x, spec), out=memory[1:3, 2:7, 2:9, 2:11], threads=2)
            memory[1:3, 2:7, 2:9, 2:11] = 77
            assert (memory == 77).all()


def check_memory_around(rows: tuple[int, int], columns: tuple[int, int], width: int, first_column: int) -> None:
    """Decodes a part of tiles of 4 by 5 into memory of this width, which it leaves as it was around the part."""
    x = random_array((2, 3, 11, 13), "uint8")
    frame = fmcodec.encode(x, CodecSpec(block_shape=(4, 5)))
    region = (slice(0, 2), slice(0, 3), slice(*rows), slice(*columns))
    memory = np.full((4, 5, 31, width), 77, np.uint8)
    part = memory[1:3, 1:4, 10:, first_column:][..., : rows[1] - rows[0], : columns[1] - columns[0]]
    fmcodec.decode(frame, out=part, region=region)
    assert (part == x[region]).all()
    part[...] = 77
    assert (memory == 77).all()


@pytest.mark.parametrize("rows", [(0, 7), (2, 9), (4, 8), (5, 6), (3, 11), (8, 11)], ids=str)
@pytest.mark.parametrize("columns", [(0, 6), (3, 8), (5, 10), (7, 8), (1, 13), (10, 13)], ids=str)
def test_regions_leave_the_memory_around_them_alone(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    # The region holds tiles, cuts them at each side, or lies in one.
    check_memory_around(rows, columns, 33, 10)


@pytest.mark.parametrize("rows", [(0, 8), (0, 7), (2, 8), (1, 11), (5, 6), (4, 8)], ids=str)
@pytest.mark.parametrize("columns", [(5, 10), (5, 9), (6, 10), (7, 8)], ids=str)
def test_regions_in_memory_as_wide_as_tiles(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    # Tiles that lie in the region are decoded to the output itself if its rows follow each other as theirs do.
    check_memory_around(rows, columns, 5, columns[0] - 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_be_a_torch_tensor(dtype: str) -> None:
    x = random_array((3, 8, 5, 6), dtype)
    spec = CodecSpec(step=0.1, zero_point=100)
    frame = fmcodec.encode(x, spec)
    expected = fmcodec.decode(frame)
    kinds = [
        torch.empty((3, 8, 5, 6), dtype=getattr(torch, dtype)),
        torch.empty((3, 8, 5, 6), dtype=getattr(torch, dtype)).to(memory_format=torch.channels_last),
        torch.empty((3, 8, 5, 12), dtype=getattr(torch, dtype))[..., ::2],
    ]
    for out in kinds:
        assert fmcodec.decode(frame, out=out) is out
        assert out.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
    region = (slice(1, 2), slice(0, 8), slice(2, 5), slice(0, 6))
    part = torch.empty((1, 8, 3, 6), dtype=getattr(torch, dtype))
    fmcodec.decode(frame, out=part, region=region)
    assert part.view(torch.uint8).numpy().tobytes() == np.ascontiguousarray(expected[region]).tobytes()


# --- sizes


@given(cases())
def test_encode_bound_holds(case: Case) -> None:
    assert fmcodec.cost(case.x, case.spec, layout=case.layout, embed_spec=case.embed_spec) == len(case.encode())
    frame = case.encode()
    bound = fmcodec.encode_bound(case.x.shape, case.x.dtype, case.spec, layout=case.layout)
    assert len(frame) <= bound
    # With room to spare the frame is made in place, and what is behind it may be overwritten, but not what is outside.
    for room in (len(frame), bound, 4 * bound + 1000):
        outer = bytearray(b"\xaa" * (room + 200))
        buffer = memoryview(outer)[100:-100]
        size = fmcodec.encode_into(case.x, buffer, case.spec, layout=case.layout, embed_spec=case.embed_spec)
        assert bytes(buffer[:size]) == frame
        assert outer[:100] == outer[-100:] == b"\xaa" * 100


def test_encode_bound_takes_any_name_of_a_dtype() -> None:
    spec = CodecSpec()
    bound = fmcodec.encode_bound((3, 4, 5), "float32", spec)
    for dtype in (np.float32, np.dtype(">f4"), torch.float32, "f4"):
        assert fmcodec.encode_bound((3, 4, 5), dtype, spec) == bound
    for dtype in ("bfloat16", torch.bfloat16, numpy_dtype("bfloat16")):
        assert fmcodec.encode_bound((3, 4, 5), dtype, spec) == bound
    assert fmcodec.encode_bound((4, 5, 3), "float32", spec, layout="nhwc") == bound
    assert fmcodec.encode_bound((1, 3, 4, 5), "float32", spec) == bound


def test_encode_into_any_buffer() -> None:
    x = random_array((4, 5, 6), "uint8")
    frame = fmcodec.encode(x)
    for buffer in (
        bytearray(500),
        np.zeros(500, np.uint8),
        np.zeros(125, np.int32),
        torch.zeros(500, dtype=torch.uint8),
    ):
        size = fmcodec.encode_into(x, buffer)
        assert bytes(memoryview(np.asarray(buffer)).cast("B"))[:size] == frame
    exact = bytearray(len(frame))
    assert fmcodec.encode_into(x, exact) == len(frame) and exact == frame
    with pytest.raises(ValueError, match=f"the frame has {len(frame)} bytes, the buffer only {len(frame) - 1}"):
        fmcodec.encode_into(x, bytearray(len(frame) - 1))
    with pytest.raises(ValueError, match="buffer must be writable"):
        fmcodec.encode_into(x, bytes(500))
    with pytest.raises(ValueError, match="contiguous"):
        fmcodec.encode_into(x, np.zeros(1000, np.uint8)[::2])


@pytest.mark.parametrize("bits", [8, 5, 2])
@pytest.mark.parametrize("shape", [(64, 40, 40), (3, 200, 7), (2, 70, 9, 9)])
def test_incompressible_data_hardly_grows(shape: tuple[int, ...], bits: int) -> None:
    x = np.random.default_rng(0).integers(0, 2**bits, shape, dtype=np.uint8)
    spec = CodecSpec(bits=bits)
    info = fmcodec.inspect(fmcodec.encode(x, spec))
    blocks = [part for part in info.blocks if part.kind == "block"]
    assert sum(part.size_bytes for part in blocks) <= x.size * bits / 8 + 7 * len(blocks)
    tables = [part for part in info.blocks if part.kind == "tables"]
    assert all(part.size_bytes < 400 for part in tables)


@pytest.mark.parametrize("spec", [CodecSpec(), CodecSpec(bits=16, zero_point=9), DCT], ids=["narrow", "wide", "dct"])
def test_tensors_of_zeros_cost_next_to_nothing(spec: CodecSpec) -> None:
    x = np.zeros((64, 56, 56), np.float32)
    frame = fmcodec.encode(x, spec)
    info = fmcodec.inspect(frame)
    assert all(part.size_bytes == 0 for part in info.blocks if part.kind == "block")
    assert len(frame) < 52 + 48 + 12 * len(info.blocks)
    assert not fmcodec.decode(frame).any()


# --- static tables and external specs


def sample_tensors(count: int, channels: int = 12) -> list[Any]:
    """Tensors of one layer."""
    return [random_array((channels, 10, 11 + i), kind=("relu", "heavy", "sparse")[i % 3], seed=i) for i in range(count)]


@pytest.mark.parametrize("spec", MANY_SPECS, ids=range(len(MANY_SPECS)))
def test_statistics_of_halves_are_those_of_the_whole(spec: CodecSpec) -> None:
    samples = sample_tensors(6)
    whole, first, second, empty = (TableStatistics(spec) for _ in range(4))
    for x in samples:
        whole.update(x)
    for x in samples[:2]:
        first.update(x)
    for x in reversed(samples[2:]):
        second.update(np.moveaxis(x, 0, -1), layout="nhwc")
    other_order = TableStatistics(spec)
    other_order.merge(second)
    other_order.merge(first)
    first.merge(empty)
    first.merge(second)
    assert first.build() == whole.build() == other_order.build()


@pytest.mark.parametrize("spec", MANY_SPECS, ids=range(len(MANY_SPECS)))
def test_static_tables_code_what_was_counted(spec: CodecSpec) -> None:
    samples = sample_tensors(5)
    statistics = TableStatistics(spec)
    for x in samples:
        statistics.update(x)
    static = spec.replace(tables=statistics.build())
    assert CodecSpec.from_json(static.to_json()) == static
    for x in samples:
        frame = fmcodec.encode(x, static, embed_spec=False)
        assert frame == reference.encode(x, static, embed_spec=False)
        info = fmcodec.inspect(frame, spec=static)
        assert info.has_external_spec and {part.kind for part in info.blocks} == {"block"}
        assert same(fmcodec.decode(frame, spec=static), fmcodec.decode(fmcodec.encode(x, spec)))
    # What was never seen is coded all the same.
    unseen = random_array((12, 9, 9), kind="extreme")
    assert same(
        fmcodec.decode(fmcodec.encode(unseen, static)),
        fmcodec.decode(fmcodec.encode(unseen, spec.replace(tables=None))),
    )


OUTLIER_SPECS = {
    "identity": CodecSpec(step=0.05),
    "predicted": CodecSpec(step=0.05),
    "contexts": CodecSpec(step=0.05, effort=3),
    "shift": CodecSpec(step=0.0005, bits=14, zero_point=1000),
    "serial": CodecSpec(step=0.05, code_layout="serial", word_bits=64),
    "dct": CodecSpec(step=0.05, bits=10, zero_point=500, transform="dct", transform_size=4, band_steps=(2,)),
    "wide contexts": CodecSpec(step=0.05, bits=14, zero_point=6000, effort=3),
}


@pytest.mark.parametrize("name", OUTLIER_SPECS)
def test_rare_values_without_a_code_cost_little(name: str, isa: str) -> None:
    spec = OUTLIER_SPECS[name]
    x = 0.5 + 0.1 * np.cumsum(random_array((8, 24, 24), kind="relu", seed=4), axis=1) / np.arange(1, 25)[:, None]
    if "contexts" in name:  # as large as their neighbours
        rows, columns = np.indices((24, 24))
        x = (
            0.05
            * np.abs(random_array((8, 24, 24), kind="dense", seed=4))
            * np.exp2(3 * np.sin(rows / 4) * np.sin(columns / 5))
        )
    x[5] = 0  # a class of zeros
    x = x.clip(0, 2).astype(np.float32)
    statistics = TableStatistics(spec)
    statistics.update(x)
    static = spec.replace(tables=statistics.build())
    assert static.tables is not None
    assert static.tables.model == ("neighbours" if "contexts" in name else "bands")
    outliers = x.copy()
    outliers[1, 3, 4] = outliers[2, 0, 0] = outliers[7, -1, -1] = 4.5
    outliers[5, 7, 8] = 4.0
    frame = fmcodec.encode(outliers, static, embed_spec=False)
    assert frame == reference.encode(outliers, static, embed_spec=False)
    assert frame[fmcodec.inspect(frame, spec=static).blocks[0].offset] == 2
    decoded = fmcodec.decode(frame, spec=static)
    assert same(decoded, reference.decode(frame, spec=static))
    assert same(decoded, fmcodec.decode(fmcodec.encode(outliers, spec)))
    # A patch has 8 bytes; a transform spreads a value over 4 of them, prediction over two rows.
    most = 5 + 4 * 4 * 8 + 64
    assert len(frame) < len(fmcodec.encode(x, static, embed_spec=False)) + most
    other = fmcodec.relayout(frame, "wavelet" if name == "serial" else "serial", spec=static)
    swapped = static.replace(
        **{"code_layout": "wavelet"} if name == "serial" else {"code_layout": "serial"}, word_bits=32
    )
    assert other == fmcodec.encode(outliers, swapped, embed_spec=False)


@share(0.5)
@given(st.lists(tensors("nchw", ("float32", "uint8")), min_size=1, max_size=4), st.data())
def test_statistics_of_any_tensors(tensors_: list[Any], data: st.DataObject) -> None:
    channels = tensors_[0].shape[-3]
    assume(channels > 0)
    spec = data.draw(specs(channels, "uint8", with_tables=False))
    whole, parts = TableStatistics(spec), TableStatistics(spec)
    fitting = [x for x in tensors_ if x.shape[-3] == channels]
    for x in fitting:
        whole.update(x)
        single = TableStatistics(spec)
        single.update(x)
        parts.merge(single)
    if not any(x.size for x in fitting):
        with pytest.raises(ValueError, match="no values were seen"):
            whole.build()
        return
    tables = whole.build()
    assert parts.build() == tables
    static = spec.replace(tables=tables)
    for x in fitting:
        frame = fmcodec.encode(x, static)
        assert frame == reference.encode(x, static)
        assert same(fmcodec.decode(frame), fmcodec.decode(fmcodec.encode(x, spec)))


def test_static_contexts_where_they_save_bits() -> None:
    rng = np.random.default_rng(8)
    rows, columns = np.indices((48, 48))
    smooth = (40 * rng.random((4, 48, 48)) ** 2 * np.exp2(np.sin(rows / 9) * np.sin(columns / 7))).astype(np.uint8)
    slope = (5 * rows + rng.integers(0, 3, (4, 48, 48))).astype(np.uint8)  # what prediction from the row above is for
    for x, model in ((smooth, "neighbours"), (slope, "bands")):
        spec = CodecSpec(effort=3)
        statistics = TableStatistics(spec)
        statistics.update(x)
        static = spec.replace(tables=statistics.build())
        of_bands = TableStatistics(spec.replace(effort=2))
        of_bands.update(x)
        assert static.tables is not None and static.tables.model == model
        size, size_of_bands = (
            fmcodec.cost(x, spec.replace(tables=tables), embed_spec=False)
            for tables in (static.tables, of_bands.build())
        )
        assert size < size_of_bands if model == "neighbours" else size == size_of_bands
        # Once a symbol needs low bits there are no contexts.
        wide = TableStatistics(CodecSpec(bits=12, effort=3))
        wide.update(x.astype(np.float32))
        wide.update(np.full((4, 1, 1), 3000, np.float32))
        assert wide.build().model == "bands"


def test_statistics_predict_what_the_reference_would() -> None:
    # From rows that resemble the one above to rows that do not. Without negative symbols, signs cost nothing.
    rng = np.random.default_rng(8)
    share = np.linspace(0, 1, 40)[:, None]
    x = rng.normal(0, 9, (40, 48, 48))
    for row in range(1, 48):
        x[:, row] = share * x[:, row - 1] + np.sqrt(1 - share**2) * x[:, row]
    x = np.abs(x).astype(np.uint8)
    statistics = TableStatistics(CodecSpec())
    statistics.update(x)
    tables = statistics.build()
    symbols = x.astype(np.int64)
    below, differences = symbols[:, 1:], np.diff(symbols, axis=1)
    expected, with_signs = (
        [
            16 * sequence_cost(residual.reshape(-1), is_signed=True)
            < 15 * sequence_cost(band.reshape(-1), is_signed=is_signed)
            for residual, band in zip(differences, below, strict=True)
        ]
        for is_signed in (False, True)
    )
    assert [tables.classes[k].predicted for k in tables.class_map] == expected != with_signs
    assert any(expected) and not all(expected)


def test_statistics_that_do_not_fit() -> None:
    statistics = TableStatistics(CodecSpec())
    statistics.update(np.zeros((4, 3, 3), np.float32))
    with pytest.raises(ValueError, match="4 channels cannot take 5"):
        statistics.update(np.zeros((5, 3, 3), np.float32))
    with pytest.raises(ValueError, match="different specs"):
        statistics.merge(TableStatistics(CodecSpec(step=2.0)))
    with pytest.raises(ValueError, match="different specs"):
        # Not in the stream, but it decides which symbols there are.
        statistics.merge(TableStatistics(CodecSpec(dead_zone=0.9)))
    with pytest.raises(ValueError, match="different specs"):
        statistics.merge(TableStatistics(CodecSpec(effort=3)))
    with pytest.raises(ValueError, match="3 or 4 axes"):
        statistics.update(np.zeros((3, 3), np.float32))
    with pytest.raises(fmcodec.NonFiniteError):
        statistics.update(np.full((4, 3, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="no values were seen"):
        TableStatistics(CodecSpec()).build()


@given(cases())
def test_external_specs_only_leave_out_the_spec(case: Case) -> None:
    embedded = fmcodec.encode(case.x, case.spec, layout=case.layout)
    external = fmcodec.encode(case.x, case.spec, layout=case.layout, embed_spec=False)
    section = reference.write_spec_section(case.spec)
    assert len(embedded) - len(external) == len(section) - 8
    assert same(fmcodec.decode(external, spec=case.spec), fmcodec.decode(embedded))
    # A spec that is given but not needed is not looked at.
    assert same(fmcodec.decode(embedded, spec=case.spec.replace(step=0.77)), fmcodec.decode(embedded))
    with pytest.raises(fmcodec.SpecMismatchError):
        fmcodec.decode(external)
    with pytest.raises(fmcodec.SpecMismatchError):
        fmcodec.decode(external, spec=case.spec.replace(step=0.77))


# --- inspect


@given(cases())
def test_inspect_accounts_for_every_bit(case: Case) -> None:
    frame = case.encode()
    info = fmcodec.inspect(frame, spec=case.decode_spec)
    assert set(info.sections) == {"header", "spec", "index", "tables", "payload"}
    assert sum(info.sections.values()) == 8 * info.size_bytes == 8 * len(frame)
    assert info.shape == case.x.shape and info.layout == case.layout and info.dtype == case.x.dtype.name
    assert info.has_external_spec is not case.embed_spec and info.values == case.x.size
    header = reference.read_header(frame)
    assert info.block_shape == (header.tile_height, header.tile_width)
    assert (info.version, info.blocks_per_group, len(info.blocks)) == (7, header.blocks_per_group, header.index_count)
    assert info.sections["header"] == 8 * 56

    # The parts stand one after the other up to the end, and their checksums are right.
    at = len(frame) - header.payload_size
    for part in info.blocks:
        assert part.offset == at
        at += part.size_bytes
        assert part.crc32c == (reference.crc32c(frame[part.offset : at]) if part.size_bytes else 0)
    assert at == len(frame)
    is_static = case.spec.tables is not None
    kinds = ["block" if is_static or i % (1 + info.blocks_per_group) else "tables" for i in range(len(info.blocks))]
    assert [part.kind for part in info.blocks] == kinds

    # Of the spec, the fields that a decoder needs come back.
    assert reference.write_spec_section(info.spec) == reference.write_spec_section(case.spec)
    if info.values:
        assert info.bits_per_value == 8 * len(frame) / case.x.size
    else:
        assert info.bits_per_value == float("inf")


def test_inspect_lists_parts_in_the_order_of_the_payload() -> None:
    # Blocks of size 0 stand where the tables of the next group begin.
    frame = fmcodec.encode(np.zeros((1, 13, 10), np.float32), CodecSpec(block_shape=(1, 1)))
    kinds = [part.kind for part in fmcodec.inspect(frame).blocks]
    assert kinds == ["tables", *["block"] * 64, "tables", *["block"] * 64, "tables", "block", "block"]


@given(nchw_shapes())
def test_blocks_can_be_found_from_the_header_alone(shape: tuple[int, int, int, int]) -> None:
    x = np.zeros(shape, np.uint8)
    for spec in (CodecSpec(), CodecSpec(block_shape=(2, 3)), CodecSpec(block_shape=(1000, 1))):
        info = fmcodec.inspect(fmcodec.encode(x, spec))
        rows, columns = info.block_shape
        count = shape[0] * -(-shape[2] // rows) * -(-shape[3] // columns) if x.size else 0
        assert sum(part.kind == "block" for part in info.blocks) == count
