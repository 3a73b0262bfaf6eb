"""Access plans: nothing is lost, whole bursts, tiles and halos, whole blocks, and traces."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fmcodec
from fmcodec import FmcodecError
from fmcodec.energy import AccessPlan, BlockMap, Layer, RawMap, Run, read_trace, write_trace
from fmcodec.energy.layer import Tiling, choose_tiling, layer_work, map_work
from fmcodec.energy.plan import joined

runs = st.builds(
    Run,
    tensor=st.sampled_from(["input", "output"]),
    direction=st.sampled_from(["read", "write"]),
    start=st.integers(0, 500),
    length=st.integers(0, 100),
    count=st.integers(0, 12),
    stride=st.integers(0, 90),
    order=st.integers(0, 3),
)


@given(st.lists(runs, max_size=5), st.sampled_from([8, 16, 32, 64]))
def test_bursts_against_a_plain_loop(items: list[Run], burst: int) -> None:
    expected = []
    for order in range(4):
        pieces = [
            (index / run.count, number, run.start + index * run.stride, run)
            for number, run in enumerate(items)
            if run.order == order and run.length
            for index in range(run.count)
        ]
        for _, _, start, run in sorted(pieces, key=lambda piece: piece[:2]):
            address = start // burst * burst
            while address < start + run.length:
                expected.append((address, run.direction == "write"))
                address += burst
    plan = AccessPlan(tuple(items))
    bursts = plan.bursts(burst)
    assert list(zip(bursts.addresses.tolist(), bursts.is_write.tolist(), strict=True)) == expected
    assert plan.burst_count(burst) == len(expected)
    assert plan.size_bytes("read") + plan.size_bytes("write") == plan.size_bytes()


@pytest.mark.parametrize(("length", "burst"), [(48, 16), (100, 16), (64, 64), (1, 32)])
def test_unaligned_runs_need_a_part_of_a_burst_more(length: int, burst: int) -> None:
    counts = [Run(tensor="x", direction="read", start=s, length=length).burst_count(burst) for s in range(burst)]
    assert np.mean(counts) == pytest.approx((length + burst - 1) / burst)


def test_runs_of_one_order_take_turns() -> None:
    """A copy in chunks: read a chunk, write it."""
    plan = AccessPlan(
        (
            Run(tensor="a", direction="read", start=0, length=32, count=2, stride=32),
            Run(tensor="b", direction="write", start=4096, length=32, count=2, stride=32),
        )
    )
    bursts = plan.bursts(16)
    assert bursts.addresses.tolist() == [0, 16, 4096, 4112, 32, 48, 4128, 4144]
    assert bursts.is_write.tolist() == [False, False, True, True] * 2
    twice = joined([plan, plan]).bursts(16)
    assert twice.addresses.tolist() == bursts.addresses.tolist() * 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"direction": "up"}, "direction"),
        ({"length": -1}, "pieces"),
        ({"start": -1}, "below address 0"),
        ({"start": 10, "count": 3, "stride": -8}, "below address 0"),
    ],
)
def test_runs_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        Run(**{"tensor": "x", "direction": "read", "start": 0, "length": 1, **fields})  # type: ignore[arg-type]


def test_too_many_bursts() -> None:
    with pytest.raises(FmcodecError, match="cut it into parts"):
        AccessPlan((Run(tensor="x", direction="read", start=0, length=1 << 30),)).bursts(16)


def touched(pieces: list[tuple[int, int, int, int]]) -> set[int]:
    """Bytes of pieces."""
    return {
        byte
        for start, length, count, stride in pieces
        for index in range(count)
        for byte in range(start + index * stride, start + index * stride + length)
    }


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5)),
    st.sampled_from([3, 8, 16]),
    st.sampled_from(["nchw", "nhwc"]),
    st.data(),
)
def test_rows_of_raw_maps(shape: tuple[int, int, int], bits: int, layout: str, data: st.DataObject) -> None:
    """Exactly the bytes of the values that are asked for, for whole bytes; at least them for parts of bytes."""
    depth, height, width = shape
    low, high = sorted(data.draw(st.tuples(st.integers(0, depth), st.integers(0, depth))))
    first, last = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    stored = RawMap(shape=shape, bits=bits, layout=layout)  # type: ignore[arg-type]
    place = np.arange(depth * height * width)
    place = place.reshape(shape) if layout == "nchw" else place.reshape(height, width, depth).transpose(2, 0, 1)
    values = place[low:high, first:last].ravel()
    wanted = {int(v) * bits // 8 + k for v in values for k in range((int(v) * bits % 8 + bits + 7) // 8)}
    got = touched(stored.rows(first, last, (low, high)))
    if bits % 8 == 0:
        assert got == wanted
    elif low < high and first < last and layout == "nhwc" and (low, high) == (0, depth):
        assert wanted <= got
    assert touched(stored.rows(0, height)) == set(range(stored.size_bytes))


def test_blocks_are_read_whole() -> None:
    stored = BlockMap(
        shape=(4, 10, 6), block_rows=4, block_columns=6, block_bytes=(50, 60, 30), side_bytes=12, placement="packed"
    )
    assert stored.offsets == [12, 62, 122, 152]
    assert stored.rows(5, 6) == [(62, 60, 1, 0)]
    assert stored.rows(3, 5) == [(12, 110, 1, 0)]
    assert stored.values(3, 5) == 4 * 8 * 6
    assert stored.values(9, 10) == 4 * 2 * 6
    assert stored.rows(3, 3) == []
    assert stored.size_bytes == 152


def test_placement_of_blocks() -> None:
    fields = {"shape": (4, 10, 6), "block_rows": 4, "block_columns": 6, "block_bytes": (50, 60, 30), "side_bytes": 12}
    aligned = BlockMap(**fields, placement="aligned", slot_bytes=16)  # type: ignore[arg-type]
    assert aligned.offsets == [16, 80, 144, 176]
    assert aligned.rows(0, 10) == [(16, 50, 1, 0), (80, 60, 1, 0), (144, 30, 1, 0)]
    slots = BlockMap(**fields, placement="slot", slot_bytes=64)  # type: ignore[arg-type]
    assert slots.offsets == [64, 128, 192, 256]
    assert slots.rows(4, 8) == [(128, 60, 1, 0)]
    with pytest.raises(FmcodecError, match="does not fit into a slot of 32"):
        BlockMap(**fields, placement="slot", slot_bytes=32)  # type: ignore[arg-type]
    with pytest.raises(FmcodecError, match="3 x 1 blocks"):
        BlockMap(**{**fields, "block_bytes": (50,)})  # type: ignore[arg-type]
    for name, value in (("block_rows", 0), ("block_columns", 0), ("side_bytes", -1)):
        with pytest.raises(FmcodecError, match="at least one row and one column"):
            BlockMap(**{**fields, name: value})  # type: ignore[arg-type]
    for name, wrong in (("placement", "anywhere"), ("slot_bytes", 0)):
        with pytest.raises(FmcodecError, match="placement must be one of packed"):
            BlockMap(**{**fields, name: wrong})  # type: ignore[arg-type]


def test_raw_maps_that_make_no_sense() -> None:
    assert [RawMap(shape=(1, 1, 1), bits=bits).size_bytes for bits in (1, 64)] == [1, 8]
    for bits in (0, 65):
        with pytest.raises(FmcodecError, match=f"bits of a raw map must be 1 to 64, not {bits}"):
            RawMap(shape=(1, 1, 1), bits=bits)
    with pytest.raises(FmcodecError, match="layout must be 'nchw' or 'nhwc', not 'hwc'"):
        RawMap(shape=(1, 1, 1), layout="hwc")  # type: ignore[arg-type]


def test_even_blocks_count_everything_and_fall_back_to_raw() -> None:
    stored = BlockMap.even((16, 10, 8), 2.0, block_rows=4, side_bytes=20)
    assert stored.size_bytes == pytest.approx(16 * 10 * 8 * 2 / 8, abs=3)
    assert sum(stored.block_bytes) == stored.size_bytes - 20
    assert stored.block_bytes[0] == pytest.approx(2 * stored.block_bytes[2], abs=2)
    assert sum(BlockMap.even((16, 10, 8), 9.5).block_bytes) == 16 * 10 * 8
    assert BlockMap.even((16, 10, 8), 3.0, placement="slot", slot_bytes=64).slot_bytes == 384
    with pytest.raises(FmcodecError, match="bits per value"):
        BlockMap.even((16, 10, 8), math.nan)


def test_blocks_of_a_frame() -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal((32, 40, 24), np.float32), 0)
    spec = fmcodec.CodecSpec(step=0.1, block_shape=(8, 24), code_layout="serial", word_bits=16)
    frame = fmcodec.encode(x, spec)
    stored = BlockMap.of_frame(fmcodec.inspect(frame))
    assert stored.size_bytes == len(frame)
    assert (stored.shape, stored.block_rows, len(stored.block_bytes)) == ((32, 40, 24), 8, 5)
    assert map_work(stored).plan.size_bytes() == 2 * len(frame)
    last = np.ascontiguousarray(x.transpose(1, 2, 0))
    nhwc = fmcodec.inspect(fmcodec.encode(last, spec, layout="nhwc"))
    assert BlockMap.of_frame(nhwc, placement="aligned").shape == (32, 40, 24)
    with pytest.raises(FmcodecError, match="2 images"):
        BlockMap.of_frame(fmcodec.inspect(fmcodec.encode(np.stack((x, x)), spec)))


def test_one_tile_moves_everything_once() -> None:
    layer = Layer(name="conv", input_shape=(8, 12, 12), output_shape=(16, 12, 12), kernel=3, shortcut="other")
    tiling = choose_tiling(layer, 1 << 20)
    assert tiling[:2] == (12, 16)
    shortcut = RawMap(shape=layer.output_shape)
    work = layer_work(layer, RawMap(shape=layer.input_shape), RawMap(shape=layer.output_shape), tiling, shortcut)
    sizes = {name: work.plan.size_bytes(tensor=name) for name in ("input", "weights", "shortcut", "output")}
    assert sizes == {"input": 8 * 144, "weights": 16 * 8 * 9, "shortcut": 16 * 144, "output": 16 * 144}
    assert work.macs == 16 * 8 * 9 * 144
    assert (work.decoded, work.encoded) == (0, 0)


def test_rows_as_outer_loop_read_halos() -> None:
    """Tiles of 4 of 12 rows with a kernel of 3: 5, 6 and 5 input rows; weights stay on chip."""
    layer = Layer(name="conv", input_shape=(2, 12, 10), output_shape=(4, 12, 10), kernel=3)
    work = layer_work(layer, RawMap(shape=(2, 12, 10)), RawMap(shape=(4, 12, 10)), Tiling(4, 4, "rows"))
    assert work.plan.size_bytes("read", "input") == 2 * 10 * (5 + 6 + 5)
    assert work.plan.size_bytes("read", "weights") == layer.weights
    assert work.plan.size_bytes("write") == 4 * 12 * 10


def test_loop_order_decides_what_is_read_again() -> None:
    layer = Layer(name="conv", input_shape=(2, 12, 10), output_shape=(4, 12, 10), kernel=1)
    stored = RawMap(shape=(2, 12, 10)), RawMap(shape=(4, 12, 10))
    rows = layer_work(layer, *stored, Tiling(4, 2, "rows")).plan
    channels = layer_work(layer, *stored, Tiling(4, 2, "channels")).plan
    assert (rows.size_bytes("read", "input"), rows.size_bytes("read", "weights")) == (240, 3 * 8)
    assert (channels.size_bytes("read", "input"), channels.size_bytes("read", "weights")) == (2 * 240, 8)
    depthwise = Layer(name="dw", input_shape=(4, 12, 10), output_shape=(4, 12, 10), kernel=3, groups=4)
    plan = layer_work(depthwise, stored[1], stored[1], Tiling(12, 1, "channels")).plan
    assert plan.size_bytes("read", "input") == 4 * 12 * 10


def test_tiles_fit_and_save_bytes() -> None:
    layer = Layer(name="conv", input_shape=(64, 56, 56), output_shape=(128, 56, 56), kernel=3)
    sizes = []
    for buffer in (40_000, 150_000, 600_000, 2_000_000):
        tiling = choose_tiling(layer, buffer)
        plan = layer_work(layer, RawMap(shape=layer.input_shape), RawMap(shape=layer.output_shape), tiling).plan
        assert plan.size_bytes("write", "output") == 128 * 56 * 56
        sizes.append(plan.size_bytes())
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 64 * 56 * 56 + 128 * 56 * 56 + layer.weights
    assert choose_tiling(layer, 150_000, outer="channels").outer == "channels"
    with pytest.raises(FmcodecError, match="the buffer has 1000"):
        choose_tiling(layer, 1000)


def test_blocks_are_decoded_again_for_halos() -> None:
    """Tiles of 4 rows, blocks of 4 rows: the halo of one row takes a whole block on each side."""
    layer = Layer(name="conv", input_shape=(2, 12, 10), output_shape=(4, 12, 10), kernel=3)
    source = BlockMap.even((2, 12, 10), 4.0, block_rows=4, side_bytes=6)
    target = BlockMap.even((4, 12, 10), 4.0, block_rows=4, side_bytes=6)
    work = layer_work(layer, source, target, Tiling(4, 4, "rows"))
    block = source.block_bytes[0]
    assert work.plan.size_bytes("read", "input") == (2 + 3 + 2) * block
    assert work.decoded == (2 + 3 + 2) * 2 * 4 * 10
    assert work.plan.size_bytes("read", "input side") == 6
    assert work.plan.size_bytes("write", "output") == sum(target.block_bytes)
    assert work.plan.size_bytes("write", "output side") == 6
    assert work.encoded == 4 * 12 * 10
    with pytest.raises(FmcodecError, match="rows must be the outer loop"):
        layer_work(layer, source, target, Tiling(4, 2, "channels"))


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 12), st.sampled_from([1, 3]), st.sampled_from([1, 2]))
def test_every_output_block_is_written_once(rows: int, channels: int, unit: int, kernel: int, stride: int) -> None:
    layer = Layer(name="c", input_shape=(3, 12, 5), output_shape=(4, 12 // stride, 5), kernel=kernel, stride=stride)
    source = BlockMap.even(layer.input_shape, 5.0, block_rows=unit)
    target = BlockMap.even(layer.output_shape, 5.0, block_rows=unit)
    work = layer_work(layer, source, target, Tiling(rows, channels, "rows"))
    written = [run for run in work.plan.runs if run.direction == "write"]
    assert sum(run.size_bytes for run in written) == sum(target.block_bytes)
    assert len(touched([(run.start, run.length, 1, 0) for run in written])) == sum(target.block_bytes)
    # What the layer needs of its input is read, at least once.
    low, high = layer.input_rows(0, layer.output_shape[1])
    needed = touched([tuple(piece) for piece in source.rows(low, high)])  # type: ignore[misc]
    read = touched([(run.start, run.length, 1, 0) for run in work.plan.runs if run.tensor == "input"])
    assert read == needed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_shape": (0, 1, 1)}, "shape"),
        ({"kernel": 0}, "kernel"),
        ({"groups": 3}, "3 groups"),
        ({"weight_bits": 65}, "weight_bits"),
    ],
)
def test_layers_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        Layer(**{"name": "x", "input_shape": (4, 4, 4), "output_shape": (4, 4, 4), **fields})  # type: ignore[arg-type]


def test_stored_maps_must_match() -> None:
    layer = Layer(name="x", input_shape=(4, 4, 4), output_shape=(4, 4, 4))
    with pytest.raises(FmcodecError, match="the stored map is"):
        layer_work(layer, RawMap(shape=(4, 4, 5)), RawMap(shape=(4, 4, 4)), Tiling(4, 4, "rows"))


def test_trace_round_trip(tmp_path: Path) -> None:
    plan = AccessPlan(
        (
            Run(tensor="a", direction="read", start=0x1234, length=40),
            Run(tensor="b", direction="write", start=0x8000, length=16, order=1),
        )
    )
    assert write_trace(plan, tmp_path / "t", 16) == 4
    assert (tmp_path / "t").read_text() == "0x1230 R\n0x1240 R\n0x1250 R\n0x8000 W\n"
    read = read_trace(tmp_path / "t")
    assert read.addresses.tolist() == plan.bursts(16).addresses.tolist()
    assert read.is_write.tolist() == [False, False, False, True]


@pytest.mark.parametrize("line", ["0x10", "0xzz R", "0x10 Q", "0x10 R 5", f"0x{1 << 62:x} R", "-0x10 R"])
def test_traces_that_make_no_sense(tmp_path: Path, line: str) -> None:
    (tmp_path / "t").write_text(f"0x0 R\n{line}\n")
    with pytest.raises(FmcodecError, match="line 2"):
        read_trace(tmp_path / "t")
