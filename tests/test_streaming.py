"""Files of frames, and what is saved of damaged ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import fmcodec
from fmcodec import CodecSpec, FrameReader, FrameWriter
from fmcodec.cli import main

SPEC = CodecSpec(step=1, block_shape=(2, 4))


def batches(count: int = 3) -> list[Any]:
    """Arrays of different shapes."""
    rng = np.random.default_rng(2)
    return [rng.integers(0, 9, (2, 3, 6, 4 + i)).astype(np.uint8) for i in range(count)]


def written(arrays: list[Any], **options: Any) -> bytes:
    """A file of their frames."""
    file = io.BytesIO()
    writer = FrameWriter(file, SPEC, **options)
    sizes = [writer.write(x) for x in arrays]
    assert sum(sizes) == len(file.getvalue())
    return file.getvalue()


class Dribble(io.BytesIO):
    """A file that gives a few bytes at a time, as sockets do."""

    def read(self, count: int | None = -1) -> bytes:
        assert count is not None and 0 < count <= 1 << 20
        return super().read(min(count, 7))


@pytest.mark.parametrize("options", [{}, {"embed_spec": False}, {"threads": 2}])
@pytest.mark.parametrize("kind", [io.BytesIO, Dribble])
def test_arrays_come_back_one_by_one(kind: Any, options: dict[str, Any]) -> None:
    arrays = batches()
    decoded = list(FrameReader(kind(written(arrays, **options)), SPEC))
    assert len(decoded) == len(arrays)
    for x, y in zip(arrays, decoded, strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_cut_is_noticed() -> None:
    data = written(batches(2))
    first = fmcodec.inspect(fmcodec.encode(batches(1)[0], SPEC)).size_bytes
    for end in range(len(data) + 1):
        reader = FrameReader(io.BytesIO(data[:end]))
        if end in (0, first, len(data)):
            assert len(list(reader)) == (0, 1, 2)[(0, first, len(data)).index(end)]
        else:
            with pytest.raises(fmcodec.TruncatedStreamError):
                list(reader)


def test_announced_sizes_take_no_memory() -> None:
    frame = fmcodec.encode(batches(1)[0], SPEC)
    huge = frame[:44] + struct.pack("<Q", 2**50) + frame[52:]
    with pytest.raises(fmcodec.LimitExceededError, match="max_bytes is 4294967296"):
        FrameReader(io.BytesIO(huge)).read_frame()
    assert FrameReader(io.BytesIO(frame), max_bytes=len(frame)).read_frame() == frame
    with pytest.raises(fmcodec.LimitExceededError):
        FrameReader(io.BytesIO(frame), max_bytes=len(frame) - 1).read_frame()
    with pytest.raises(fmcodec.ChecksumError):
        FrameReader(io.BytesIO(huge), max_bytes=2**60).read_frame()
    true = huge[: len(frame) - sum(part.size_bytes for part in fmcodec.inspect(frame).blocks) - 4]
    true += fmcodec._core.kernels.crc32c(true).to_bytes(4, "little")
    with pytest.raises(fmcodec.TruncatedStreamError, match="after"):
        FrameReader(io.BytesIO(true + frame[len(true) :]), max_bytes=2**60).read_frame()
    with pytest.raises(fmcodec.CorruptStreamError, match="not an fmcodec frame") as caught:
        FrameReader(io.BytesIO(b"something else")).read_frame()
    assert caught.value.offset == 0


def test_a_damaged_head_is_noticed_before_the_payload_is_waited_for() -> None:
    frame = fmcodec.encode(batches(1)[0], SPEC)
    first = fmcodec.inspect(frame).blocks[0].offset
    for at in range(first):
        file = io.BytesIO(frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :])
        with pytest.raises(fmcodec.FmcodecError) as caught:
            FrameReader(file).read_frame()
        sizes = 36 <= at < 44  # those of the head itself, which must be read to know
        assert sizes or file.tell() <= first, (at, caught.value)
    assert fmcodec.build_info()["stream_version"] == fmcodec.streaming.STREAM_VERSION
    newer = frame[:4] + bytes([fmcodec.streaming.STREAM_VERSION + 1]) + frame[5:]
    with pytest.raises(fmcodec.UnsupportedVersionError, match="is not supported, this build reads version"):
        FrameReader(io.BytesIO(newer)).read_frame()


@given(st.data())
def test_what_is_whole_is_saved(data: st.DataObject) -> None:
    tables = data.draw(st.booleans())
    x = np.arange(1, 2 * 3 * 12 * 4 + 1).reshape(2, 3, 12, 4).astype(np.uint8)
    spec = SPEC
    if tables:
        statistics = fmcodec.TableStatistics(spec)
        statistics.update(x)
        spec = spec.replace(tables=statistics.build())
    frame = bytearray(fmcodec.encode(x, spec, embed_spec=data.draw(st.booleans())))
    info = fmcodec.inspect(frame, spec=spec)
    first = info.blocks[0].offset
    # A bit or an end, somewhere behind the head.
    at = data.draw(st.integers(first, len(frame) - 1))
    is_cut = data.draw(st.booleans())
    if is_cut:
        del frame[at:]
    else:
        frame[at] ^= 1 << data.draw(st.integers(0, 7))
    saved = fmcodec.recover(frame, spec=spec)
    blocks = [part for part in info.blocks if part.kind == "block"]
    assert saved.blocks == len(blocks) == 12
    hit = [part.offset + part.size_bytes > at and (is_cut or part.offset <= at) for part in blocks]
    if not tables and at < blocks[0].offset:
        hit = [True] * len(blocks)  # the only tables
    assert saved.lost == sum(hit)
    expected = x.copy().reshape(2, 3, 6, 2, 4)
    for block, is_lost in enumerate(hit):
        if is_lost:
            expected[block // 6, :, block % 6] = 0
    np.testing.assert_array_equal(fmcodec.decode(saved.frame, spec=spec), expected.reshape(x.shape))


def test_a_whole_frame_is_saved_as_it_is() -> None:
    frame = fmcodec.encode(batches(1)[0], SPEC)
    assert fmcodec.recover(frame) == (frame, 6, 0)
    assert fmcodec.recover(frame + b"more") == (frame, 6, 0)


def test_without_a_head_nothing_is_saved() -> None:
    frame = fmcodec.encode(batches(1)[0], SPEC)
    first = fmcodec.inspect(frame).blocks[0].offset
    for end in range(first):
        with pytest.raises(fmcodec.TruncatedStreamError):
            fmcodec.recover(frame[:end])
    for at in range(first):
        broken = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
        with pytest.raises(fmcodec.FmcodecError):
            fmcodec.recover(broken)
    external = fmcodec.encode(batches(1)[0], SPEC, embed_spec=False)
    with pytest.raises(fmcodec.SpecMismatchError):
        fmcodec.recover(external)


def test_small_blocks_of_a_damaged_frame() -> None:
    # One symbol only has a code without bits: the block is the byte of its kind.
    frame = bytearray(fmcodec.encode(np.ones((1, 4, 4), np.uint8), SPEC))
    blocks = [part for part in fmcodec.inspect(frame).blocks if part.kind == "block"]
    assert [part.size_bytes for part in blocks] == [1, 1]
    frame[blocks[1].offset] ^= 1
    assert fmcodec.recover(frame)[1:] == (2, 1)
    # Blocks of zeros have no byte, and need no tables.
    x = np.ones((1, 4, 4), np.uint8)
    x[:, 2:] = 0
    frame = bytearray(fmcodec.encode(x, SPEC))
    parts = fmcodec.inspect(frame).blocks
    assert [(part.kind, part.size_bytes > 0) for part in parts] == [("tables", True), ("block", True), ("block", False)]
    frame[parts[0].offset] ^= 1
    assert fmcodec.recover(frame)[1:] == (2, 1)


def test_recover_command(tmp_path: Path) -> None:
    arrays = batches()
    data = written(arrays)
    source, target = tmp_path / "cut.fmc", tmp_path / "saved.fmc"
    source.write_bytes(data[:-5])
    result = CliRunner().invoke(main, ["inspect", str(source), "--recover", str(target)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    # Columns of 4, and of 4 and 1 or 2.
    assert lines[:2] == ["frame 1: 6 of 6 blocks are whole", "frame 2: 12 of 12 blocks are whole"]
    lost = fmcodec.recover(fmcodec.encode(arrays[2], SPEC)[:-5]).lost
    assert 0 < lost < 12 and lines[2] == f"frame 3: {12 - lost} of 12 blocks are whole"
    saved = list(FrameReader(io.BytesIO(target.read_bytes())))
    np.testing.assert_array_equal(saved[1], arrays[1])
    assert saved[2].shape == arrays[2].shape
    source.write_bytes(data)
    result = CliRunner().invoke(main, ["inspect", str(source), "--recover", str(target)])
    assert len(result.output.splitlines()) == 4 and "lost" not in result.output and target.read_bytes() == data
    source.write_bytes(data + data[:40])
    result = CliRunner().invoke(main, ["inspect", str(source), "--recover", str(target)])
    assert "frame 4: lost, the frame ends inside its header" in result.output
    assert "40 bytes are left out" in result.output and target.read_bytes() == data
