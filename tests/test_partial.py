"""Regions of frames of which only the needed bytes are there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases, same

import fmcodec
from fmcodec import CodecSpec
from fmcodec.partial import ByteRange, PartialFrame
from fmcodec.streaming import head_size


def content_of(frame: bytes, ranges: list[ByteRange]) -> dict[ByteRange, bytes]:
    """The bytes of ranges."""
    return {part: frame[part.start : part.stop] for part in ranges}


@given(cases(), st.data(), st.sampled_from([0, 50, 10**6]), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_region_is_that_of_the_whole(case: Case, data: st.DataObject, gap: int, block: tuple[int, int]) -> None:
    spec = case.spec.replace(block_shape=block)
    frame = fmcodec.encode(case.x, spec, layout=case.layout, embed_spec=case.embed_spec)
    bounds = [sorted(data.draw(st.tuples(*[st.integers(0, extent)] * 2))) for extent in case.x.shape]
    region = tuple(slice(*pair) for pair in bounds)
    partial = PartialFrame(frame[: head_size(frame)], region, spec=spec, max_gap=gap)
    values = partial.decode(content_of(frame, partial.needed))
    assert same(values, fmcodec.decode(frame, spec=spec, region=region))
    assert all(a.stop + gap < b.start for a, b in zip(partial.needed, partial.needed[1:], strict=False))


def test_nothing_more_is_needed() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 50, (3, 4, 10, 12)).astype(np.uint8)
    # 3 x 2 tiles of 4 x 6 positions in each image.
    frame = fmcodec.encode(x, CodecSpec(block_shape=(4, 6)))
    parts = fmcodec.inspect(frame).blocks
    assert [part.kind for part in parts] == ["tables"] + ["block"] * 18
    region = (slice(1, 2), slice(0, 2), slice(4, 9), slice(7, 8))
    partial = PartialFrame(frame, region)
    # The tables, and of the second image the right tiles of the second and third row.
    wanted = [parts[0], parts[1 + 6 + 3], parts[1 + 6 + 5]]
    assert partial.needed == [ByteRange(part.offset, part.offset + part.size_bytes) for part in wanted]
    near = PartialFrame(frame, region, max_gap=10**6)
    assert near.needed == [ByteRange(wanted[0].offset, wanted[2].offset + wanted[2].size_bytes)]
    assert PartialFrame(frame, (slice(0, 0),) * 4).needed == []


def test_groups_have_tables_of_their_own() -> None:
    x = np.random.default_rng(0).integers(0, 50, (5, 64, 80, 80)).astype(np.uint8)
    frame = fmcodec.encode(x, CodecSpec())
    info = fmcodec.inspect(frame)
    tables = [number for number, part in enumerate(info.blocks) if part.kind == "tables"]
    assert len(tables) > 1
    last = PartialFrame(frame, (slice(4, 5), *[slice(None)] * 3))
    assert last.needed[0].start == info.blocks[tables[-1]].offset
    assert same(last.decode(content_of(frame, last.needed)), x[4:])


def test_damaged_and_missing_bytes() -> None:
    x = np.random.default_rng(0).integers(0, 50, (2, 4, 10, 12)).astype(np.uint8)
    frame = fmcodec.encode(x, CodecSpec(block_shape=(5, 12)))
    region = (slice(1, 2), slice(0, 4), slice(0, 5), slice(0, 12))
    partial = PartialFrame(frame, region)
    content = content_of(frame, partial.needed)
    for part in partial.needed:
        for at in range(part.stop - part.start):
            damaged = bytearray(content[part])
            damaged[at] ^= 1
            with pytest.raises(fmcodec.ChecksumError):
                partial.decode({**content, part: damaged})
        with pytest.raises(fmcodec.TruncatedStreamError, match="ends before the end of its part at bytes"):
            partial.decode({**content, part: content[part][:-1]})
    with pytest.raises(fmcodec.LimitExceededError):
        partial.decode(content, max_bytes=100)
    head = head_size(frame)
    for at in range(head):
        with pytest.raises(fmcodec.TruncatedStreamError):
            PartialFrame(frame[:at], region)
        broken = frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]
        with pytest.raises(fmcodec.FmcodecError):
            PartialFrame(broken, region)
    with pytest.raises(ValueError, match="one slice per axis"):
        PartialFrame(frame, region[1:])
