"""The largest and smallest tensors."""

from __future__ import annotations

import numpy as np
import pytest

import fmcodec
from fmcodec import CodecSpec


def test_more_values_than_32_bits_count() -> None:
    # Pages that nothing was written to take no memory.
    x = np.zeros((2, 64, 8192, 4097), np.uint8)
    assert x.size > 2**32
    x[0, 0, 0, 0], x[1, 5, 4000, 2000], x[1, 63, 8191, 4096] = 5, 9, 7
    frame = fmcodec.encode(x, CodecSpec(effort=1), threads=2)
    assert len(frame) < 400_000 and fmcodec.inspect(frame).values == x.size
    for image, channel, row, column in ((0, 0, 0, 0), (1, 5, 4000, 2000), (1, 63, 8191, 4096)):
        region = tuple(slice(max(i - 2, 0), i + 1) for i in (image, channel, row, column))
        np.testing.assert_array_equal(fmcodec.decode(frame, region=region), x[region])
    with pytest.raises(fmcodec.LimitExceededError):
        fmcodec.decode(frame)


@pytest.mark.parametrize("channels", [65535, 65536, 65537])
def test_many_channels(channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 9, (channels, 1, 2)).astype(np.uint8)
    for spec in (
        CodecSpec(),
        CodecSpec(effort=3),
        CodecSpec(transform="hadamard", transform_size=32, exact_zeros=True),
    ):
        frame = fmcodec.encode(x, spec)
        assert fmcodec.decode(frame).shape == x.shape
        if spec.transform == "identity":
            np.testing.assert_array_equal(fmcodec.decode(frame), x)
    order = CodecSpec(transform="dct", transform_size=4, permutation=tuple(reversed(range(min(channels, 65536)))))
    if channels <= 65536:
        assert fmcodec.decode(fmcodec.encode(x, order)).shape == x.shape
    else:
        with pytest.raises(ValueError, match="permutation"):
            fmcodec.encode(x, order)


def test_one_value() -> None:
    for value in (0, 1, 255):
        x = np.full((1, 1, 1), value, np.uint8)
        for effort in (1, 2, 3):
            assert fmcodec.decode(fmcodec.encode(x, CodecSpec(effort=effort))).tolist() == [[[value]]]


@pytest.mark.parametrize("empty", range(4))
def test_no_values(empty: int) -> None:
    shape = [3, 4, 5, 6]
    shape[empty] = 0
    x = np.zeros(shape, np.float32)
    frame = fmcodec.encode(x)
    assert fmcodec.decode(frame).shape == tuple(shape)
    assert fmcodec.cost(x) == len(frame) <= fmcodec.encode_bound(x.shape, x.dtype, CodecSpec())
