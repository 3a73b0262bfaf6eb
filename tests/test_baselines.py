"""The baseline coders: the worked examples of docs/baselines.md, edges by hand, and the definitions bit by bit."""

from __future__ import annotations

import dataclasses
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcodec import CorruptStreamError, TruncatedStreamError, baselines
from fmcodec.baselines import Coder, EncodedBits

PAGE = Path(__file__).resolve().parent.parent / "docs" / "baselines.md"
FENCE = re.compile(r"^```bits name=(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(encoded: EncodedBits) -> str:
    """The bits of a stream, which are followed by zeros up to a whole byte."""
    text = "".join(f"{byte:08b}" for byte in encoded.data)
    assert len(text) == -(-encoded.size_bits // 8) * 8
    assert set(text[encoded.size_bits :]) <= {"0"}
    return text[: encoded.size_bits]


def stream_of(text: str) -> EncodedBits:
    """The stream of some bits; spaces between fields are left out."""
    text = text.replace(" ", "")
    padded = text + "0" * (-len(text) % 8)
    return EncodedBits(bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8)), len(text))


def check(coder: Coder, symbols: list[int], text: str) -> None:
    """Encoder, decoder and size agree with bits written by hand."""
    array = np.array(symbols, dtype=np.int64)
    assert text_of(coder.encode(array)) == text.replace(" ", "")
    assert coder.size_bits(array) == len(text.replace(" ", ""))
    np.testing.assert_array_equal(coder.decode(stream_of(text), len(symbols)), array)


# --- fmcodec's own coder with the same interface


@pytest.mark.parametrize("parameters", [{}, {"effort": 3}, {"code_layout": "serial", "effort": 1}])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (7,), (2, 3), (), (0, 4, 4)])
def test_frames_with_the_interface_of_baselines(shape: tuple[int, ...], parameters: dict[str, Any]) -> None:
    for bits, signed in ((8, False), (12, True)):
        coder = baselines.coder("fmcodec", bits=bits, signed=signed, **parameters)
        low = -(1 << bits - 1) if signed else 0
        symbols = np.random.default_rng(0).integers(low, low + (1 << bits), shape)
        encoded = coder.encode(symbols)
        assert encoded.size_bits == 8 * len(encoded.data) == coder.size_bits(symbols)
        decoded = coder.decode(encoded, shape)
        assert decoded.dtype == np.int64
        np.testing.assert_array_equal(decoded, symbols)


def test_what_frames_refuse() -> None:
    coder = baselines.coder("fmcodec", bits=4)
    encoded = coder.encode([1, 2, 3])
    with pytest.raises(TypeError, match="integers"):
        coder.encode([0.5])
    with pytest.raises(ValueError, match="0 to 15"):
        coder.encode([16])
    with pytest.raises(ValueError, match="bits must be 2 to 16"):
        baselines.coder("fmcodec", bits=1)
    with pytest.raises(ValueError, match="negative"):
        coder.decode(encoded, -3)
    for wrong, shape in [
        (EncodedBits(encoded.data, encoded.size_bits - 8), 3),
        (EncodedBits(encoded.data[:-1], encoded.size_bits - 8), 3),
        (encoded, 4),
    ]:
        with pytest.raises(CorruptStreamError):
            coder.decode(wrong, shape)


# --- by hand


def test_examples_of_the_page() -> None:
    page = PAGE.read_text(encoding="ascii")
    names = []
    for name, attributes, body in FENCE.findall(page):
        parameters: dict[str, Any] = dict(pair.split("=") for pair in attributes.split())
        symbols: list[int] = []
        for entry in parameters.pop("symbols").split(","):
            value, _, count = entry.partition("*")
            symbols += [int(value)] * int(count or 1)
        fields = [line.split(";") for line in body.splitlines()]
        assert all(meaning.strip() for _, meaning in fields)
        parameters = {key: bool(int(value)) if key == "signed" else int(value) for key, value in parameters.items()}
        check(baselines.coder(name, **parameters), symbols, "".join(bits for bits, _ in fields))
        names.append(name)
    assert names == list(baselines.CODERS)


def test_zvc_has_a_mask_for_32_symbols() -> None:
    # 33 symbols: the first word stands between the masks of the two groups.
    check(baselines.coder("zvc", bits=3), [6, *[0] * 31, 5], "1" + "0" * 31 + "110" + "1" + "101")


@pytest.mark.parametrize(
    ("zeros", "runs"),
    [
        (1, "0 0000"),
        (15, "0 1110"),
        (16, "0 1111"),
        (17, "0 1111 0 0000"),
        (48, "0 1111 0 1111 0 1111"),
    ],
)
def test_runs_of_zeros(zeros: int, runs: str) -> None:
    check(baselines.coder("rle4", bits=2), [0] * zeros, runs)
    check(baselines.coder("rle4", bits=2), [*[0] * zeros, 3, 2], runs + "1 11  1 10")
    check(baselines.coder("ebpc", bits=2), [0] * zeros, runs)


LEVEL_0 = "0000000000000000"


@pytest.mark.parametrize(
    ("zeros", "pairs", "after"),
    [
        # All zeros; the pair that a symbol of -2 after these zeros ends with is the run of `after`.
        (0, [], "00000"),
        (1, ["00000"], "00001"),
        (31, ["11110"], "11111"),
        (32, ["11111"], "00000"),  # with -2 after: (31, 0), (0, -2)
        (33, ["11111", "00000"], "00001"),  # with -2 after: (31, 0), (1, -2)
    ],
)
def test_runs_of_rlc(zeros: int, pairs: list[str], after: str) -> None:
    coder = baselines.coder("rlc", bits=5, signed=True)

    def word(fields: list[str]) -> str:
        return "".join([*fields, *["00000" + LEVEL_0] * (3 - len(fields))]) + "1"

    check(coder, [0] * zeros, word([pair + LEVEL_0 for pair in pairs]) if pairs else "")
    full = ["11111" + LEVEL_0] * (zeros // 32)
    check(coder, [*[0] * zeros, -2], word([*full, after + "1111111111111110"]))


def test_codes_of_ebpc_planes() -> None:
    # Words of 3 bits in a block of 5: planes 0 to 3 with 4 differences each, places in 3 bits, runs in 2 bits.
    coder = baselines.coder("ebpc", bits=3, block=5)
    # 1, 2, 3, 3, 3: differences 1, 1, 0, 0. Plane 0 is 1100: two ones at place 0. Plane 1 is 0. Two planes as the last.
    check(coder, [1, 2, 3, 3, 3], "11111 001 00010000 00001 0100")
    # 1, 1, 2, 2, 3: differences 0, 1, 0, 1. Plane 0 is 0101: as it is.
    check(coder, [1, 1, 2, 2, 3], "11111 001 10101 00001 0100")
    # 1, 1, 1, 1, 1: all four planes are 0.
    check(coder, [1, 1, 1, 1, 1], "11111 001 0110")
    # 4, 4, 4, 3, 3: differences 0, 0, -1, 0. All planes are 0010; DBX are 0010, 0, 0, 0.
    check(coder, [4, 4, 4, 3, 3], "11111 100 00011010 0101")
    # 5, 6, 7, 6, 5: differences 1, 1, -1, -1. Planes 1111, 0011, 0011, 0011; DBX 1111, 1100, 0, 0.
    check(coder, [5, 6, 7, 6, 5], "11111 101 00000 00010000 0100")
    # A last block of one word, 4, with four zero words: differences -4, 0, 0, 0; planes 0, 0, 1000, 1000.
    check(coder, [4], "1 100 0100 00011000 001")
    hardware = baselines.coder("ebpc", bits=3, block=5, zero_codes="hardware")
    check(hardware, [4], "1 100 00100 00011000 01")


def test_narrow_words() -> None:
    # One bit: no bits for widths and numbers of planes; -1 is the only symbol that is not 0.
    check(baselines.coder("fixed", bits=1, signed=True), [0, -1], "0 1")
    check(baselines.coder("dctcm", bits=1, signed=True, block=3), [0, -1, 0, 0], "010 1 0")
    check(baselines.coder("ebpc", bits=1, block=2), [1, 1, 1], "111 1 01 1 00000 001")


# --- against the definitions, written symbol by symbol


def word_text(value: int, bits: int) -> str:
    """The low bits of a number."""
    return f"{value & ((1 << bits) - 1):0{bits}b}" if bits else ""


def log2_ceil(number: int) -> int:
    """Bits that tell so many things apart."""
    return math.ceil(math.log2(number))


def fixed_text(symbols: list[int], coder: Any) -> str:
    return "".join(word_text(value, coder.bits) for value in symbols)


def zvc_text(symbols: list[int], coder: Any) -> str:
    text = ""
    for first in range(0, len(symbols), 32):
        group = symbols[first : first + 32]
        text += "".join(str(int(value != 0)) for value in group)
        text += "".join(word_text(value, coder.bits) for value in group if value)
    return text


def rlc_text(symbols: list[int], coder: Any) -> str:
    pairs, run = [], 0
    for i, value in enumerate(symbols):
        if value or run == 31 or i == len(symbols) - 1:
            pairs.append(word_text(run, 5) + word_text(value, 16))
            run = 0
        else:
            run += 1
    text = ""
    for first in range(0, len(pairs), 3):
        text += "".join(pairs[first : first + 3]).ljust(63, "0") + str(int(first + 3 >= len(pairs)))
    return text


def rle4_text(symbols: list[int], coder: Any, *, with_words: bool = True) -> str:
    text, run = "", 0
    for value in [*symbols, None]:
        if run and (value or value is None or run == 16):
            text += "0" + word_text(run - 1, 4)
            run = 0
        if value:
            text += "1" + (word_text(value, coder.bits) if with_words else "")
        run += value == 0
    return text


def ebpc_text(symbols: list[int], coder: Any) -> str:
    text = rle4_text(symbols, coder, with_words=False)
    words = [value for value in symbols if value]
    words += [0] * (-len(words) % coder.block)
    single, run_prefix = ("001", "01") if coder.zero_codes == "evaluation" else ("01", "001")
    for first in range(0, len(words), coder.block):
        block = words[first : first + coder.block]
        text += word_text(block[0], coder.bits)
        deltas = [word_text(right - left, coder.bits + 1) for left, right in pairwise(block)]
        planes = ["".join(bits) for bits in zip(*deltas, strict=True)][::-1]
        below, codes = "0" * (coder.block - 1), []
        for plane in planes:
            dbx = "".join(str(int(a != b)) for a, b in zip(plane, below, strict=True))
            below = plane
            place = word_text(dbx.find("1"), log2_ceil(coder.block))
            if "1" not in dbx:
                codes.append("zeros")
            elif "0" not in dbx:
                codes.append("00000")
            elif "1" not in plane:
                codes.append("00001")
            elif dbx.strip("0") == "11":
                codes.append("00010" + place)
            elif dbx.strip("0") == "1":
                codes.append("00011" + place)
            else:
                codes.append("1" + dbx)
        while codes:
            run = next((i for i, code in enumerate(codes) if code != "zeros"), len(codes))
            if run > 1:
                text += run_prefix + word_text(run - 2, log2_ceil(coder.bits))
            else:
                text += single if run else codes[0]
            del codes[: max(1, run)]
    return text


def dctcm_text(symbols: list[int], coder: Any) -> str:
    text = ""
    for first in range(0, len(symbols), coder.block):
        block = symbols[first : first + coder.block]
        text += "".join(str(int(value != 0)) for value in block)
        coded = [value for value in block if value]
        if coded:
            half = [(-(1 << (w - 1)), 1 << (w - 1)) if coder.signed else (0, 1 << w) for w in range(1, coder.bits + 1)]
            width = next(w for w, (low, end) in enumerate(half, 1) if all(low <= value < end for value in coded))
            text += word_text(width - 1, log2_ceil(coder.bits))
            text += "".join(word_text(value, width) for value in coded)
    return text


TEXTS = {
    "fixed": fixed_text,
    "zvc": zvc_text,
    "rlc": rlc_text,
    "rle4": rle4_text,
    "ebpc": ebpc_text,
    "dctcm": dctcm_text,
}


@st.composite
def coders(draw: st.DrawFn) -> Any:
    """A coder with any parameters."""
    name = draw(st.sampled_from(sorted(baselines.CODERS)))
    parameters: dict[str, Any] = {"bits": draw(st.integers(1, 16)), "signed": draw(st.booleans())}
    if name == "ebpc":
        parameters["zero_codes"] = draw(st.sampled_from(["evaluation", "hardware"]))
    if name in ("ebpc", "dctcm"):
        parameters["block"] = draw(st.sampled_from([2, 3, 8, 16, 31, 32]))
    return baselines.coder(name, **parameters)


@st.composite
def arrays(draw: st.DrawFn, coder: Any) -> np.ndarray:
    """Symbols of a coder: any shape, sparsity and roughness."""
    low, high = coder.symbol_range
    shape = draw(st.lists(st.integers(0, 9), max_size=3)) if draw(st.booleans()) else [draw(st.integers(0, 400))]
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    if draw(st.booleans()):
        symbols = rng.integers(low, high, shape, endpoint=True)
    else:
        symbols = np.clip(np.cumsum(rng.integers(-1, 2, shape).reshape(-1)).reshape(shape), low, high)
    return np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0])), 0, symbols)


@given(data=st.data())
def test_streams_follow_the_definitions(data: st.DataObject) -> None:
    coder = data.draw(coders())
    symbols = data.draw(arrays(coder))
    encoded = coder.encode(symbols)
    assert text_of(encoded) == TEXTS[coder.name](symbols.reshape(-1).tolist(), coder)
    assert coder.size_bits(symbols) == encoded.size_bits
    decoded = coder.decode(encoded, symbols.shape)
    assert decoded.dtype == np.int64 and decoded.shape == symbols.shape
    np.testing.assert_array_equal(decoded, symbols)


@given(data=st.data())
def test_cut_and_changed_streams(data: st.DataObject) -> None:
    coder = data.draw(coders())
    symbols = data.draw(arrays(coder))
    encoded = coder.encode(symbols)
    text = text_of(encoded)
    if text:
        cut = data.draw(st.integers(0, len(text) - 1))
        with pytest.raises(TruncatedStreamError):
            coder.decode(stream_of(text[:cut]), symbols.shape)
        with pytest.raises(TruncatedStreamError):
            coder.decode(EncodedBits(encoded.data[: cut // 8], encoded.size_bits), symbols.shape)
        changed = text[:cut] + ("1" if text[cut] == "0" else "0") + text[cut + 1 :]
        check_any(coder, stream_of(changed), symbols.shape)
    for longer in (stream_of(text + "0"), EncodedBits(encoded.data + b"\0", encoded.size_bits)):
        with pytest.raises(CorruptStreamError):
            coder.decode(longer, symbols.shape)


@given(data=st.data(), text=st.text("01", max_size=300), count=st.integers(0, 200))
def test_any_bits(data: st.DataObject, text: str, count: int) -> None:
    check_any(data.draw(coders()), stream_of(text), count)


def check_any(coder: Any, encoded: EncodedBits, shape: int | tuple[int, ...]) -> None:
    """A stream is refused, or it is the stream of what it is decoded to."""
    try:
        symbols = coder.decode(encoded, shape)
    except CorruptStreamError:
        return
    assert coder.encode(symbols) == encoded


# --- edges


@pytest.mark.parametrize("name", baselines.CODERS)
def test_empty_and_all_zero_arrays(name: str) -> None:
    coder = baselines.coder(name, bits=6)
    for shape in ((0,), (3, 0, 2)):
        encoded = coder.encode(np.zeros(shape, np.uint8))
        assert encoded == EncodedBits(b"", 0)
        assert coder.decode(encoded, shape).shape == shape
    sizes = {"fixed": 600, "zvc": 100, "rlc": 2 * 64, "rle4": 7 * 5, "ebpc": 7 * 5, "dctcm": 100}
    zeros = np.zeros((10, 10), np.int8)
    assert coder.size_bits(zeros) == coder.encode(zeros).size_bits == sizes[name]
    assert coder.decode(coder.encode(zeros), (10, 10)).tolist() == zeros.tolist()


@pytest.mark.parametrize("name", baselines.CODERS)
def test_arrays_in_any_memory(name: str) -> None:
    x = np.random.default_rng(0).integers(0, 9, (6, 5, 4))
    coder = baselines.coder(name, bits=4)
    for view in (np.asfortranarray(x), x.astype(np.uint16), x.astype(">i4"), x.tolist()):
        assert coder.encode(view) == coder.encode(x)
    assert coder.encode(x[::-2, :, ::2]) == coder.encode(x[::-2, :, ::2].copy())
    assert coder.decode(coder.encode(np.array(3)), ()).shape == ()


@pytest.mark.parametrize("name", baselines.CODERS)
def test_symbols_without_a_word(name: str) -> None:
    unsigned, signed = baselines.coder(name, bits=4), baselines.coder(name, bits=4, signed=True)
    for coder, symbols in ((unsigned, [0, 16]), (unsigned, [-1]), (signed, [8]), (signed, [0, -9])):
        with pytest.raises(ValueError, match="symbols must be"):
            coder.encode(symbols)
        with pytest.raises(ValueError, match="symbols must be"):
            coder.size_bits(symbols)
    with pytest.raises(ValueError, match="symbols must be"):
        unsigned.encode(np.array([2**64 - 1], np.uint64))
    for array in (np.zeros(3), np.zeros(3, np.bool_)):
        with pytest.raises(TypeError, match="array of integers"):
            unsigned.encode(array)
    with pytest.raises(ValueError, match="shape must not be negative"):
        unsigned.decode(EncodedBits(b"", 0), (3, -1))


@pytest.mark.parametrize("name", baselines.CODERS)
def test_a_large_shape_takes_no_memory(name: str) -> None:
    with pytest.raises(TruncatedStreamError):
        baselines.coder(name).decode(EncodedBits(bytes(64), 512), (2**40, 2**20))


def test_parameters() -> None:
    with pytest.raises(ValueError, match="fixed, zvc, rlc, rle4, ebpc, dctcm, fmcodec, not 'huffman'"):
        baselines.coder("huffman")
    for parameters in ({"bits": 0}, {"bits": 17}):
        with pytest.raises(ValueError, match="bits must be 1 to 16"):
            baselines.coder("fixed", **parameters)
    with pytest.raises(ValueError, match="block must be 2 to 32"):
        baselines.coder("ebpc", block=1)
    with pytest.raises(ValueError, match="block must be 1 to 32"):
        baselines.coder("dctcm", block=33)
    with pytest.raises(ValueError, match="zero_codes must be one of"):
        baselines.coder("ebpc", zero_codes="paper")
    coder: Any = baselines.coder("ebpc", bits=np.int8(7), block=16)
    assert coder == baselines.Ebpc(bits=7, block=16) and hash(coder) == hash(baselines.Ebpc(bits=7, block=16))
    assert type(coder.bits) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        coder.bits = 8
