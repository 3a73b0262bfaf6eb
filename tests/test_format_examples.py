"""The worked examples of docs/format.md are what core and reference do."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fmcodec
from fmcodec import Basis, CodecSpec, TableClass, Tables, reference
from fmcodec._core import kernels
from fmcodec.reference import lattice
from fmcodec.reference.frame import VERSION
from fmcodec.reference.lengths import divide, weight_key
from fmcodec.reference.tables import ones_of_64
from fmcodec.reference.transform import coefficients_from_spatial, matrix_product, spatial_from_coefficients

PAGE = Path(__file__).resolve().parent.parent / "docs" / "format.md"
FENCE = re.compile(r"^```(hex|bits|numbers) name=(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_is_of_this_version() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(f"# The fmcodec stream, version {VERSION}\n")
    assert f"| 4 | 2 | version | {VERSION} |" in text


class Example(NamedTuple):
    """A fenced block: its kind, its attributes and its lines."""

    kind: str
    attributes: dict[str, str]
    lines: list[str]

    def numbers(self, name: str) -> list[int]:
        """An attribute of numbers with commas."""
        return [int(number) for number in self.attributes[name].split(",")]

    def lengths(self, name: str) -> tuple[int, ...]:
        """An attribute of code lengths, given as token:length."""
        pairs = dict(pair.split(":") for pair in self.attributes[name].split(","))
        by_token = {int(token): int(length) for token, length in pairs.items()}
        return tuple(by_token.get(token, 0) for token in range(max(by_token) + 1))

    @property
    def data(self) -> bytes:
        """The bytes of a block of hex or bits."""
        fields = []
        for line in self.lines:
            content, separator, meaning = line.partition(";")
            assert separator and meaning.strip(), f"no meaning: {line}"
            if self.kind == "hex":
                offset, _, content = content.partition(":")
                assert int(offset) == sum(len(field) // 2 for field in fields), f"wrong offset: {line}"
            fields.append(content.replace(" ", ""))
        if self.kind == "hex":
            return bytes.fromhex("".join(fields))
        text = "".join(fields)
        assert set(text) <= {"0", "1"}
        text += "0" * (-len(text) % 8)
        return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))

    @property
    def rows(self) -> dict[str, list[int]]:
        """The lines of a block of numbers by name."""
        pairs = (line.split(":") for line in self.lines)
        return {name: [int(number) for number in numbers.split()] for name, numbers in pairs}


def read_page() -> dict[str, Example]:
    """All examples of the page by name."""
    examples = {}
    for kind, name, attributes, body in FENCE.findall(PAGE.read_text(encoding="ascii")):
        assert name not in examples
        pairs = dict(attribute.split("=") for attribute in attributes.split())
        examples[name] = Example(kind, pairs, body.splitlines())
    return examples


EXAMPLES = read_page()


def check_frame(example: Example) -> None:
    frame = example.data
    x = np.array(example.numbers("values"), example.attributes["dtype"]).reshape(example.numbers("shape"))
    assert fmcodec.encode(x) == reference.encode(x, CodecSpec()) == frame
    np.testing.assert_array_equal(fmcodec.decode(frame), x)
    np.testing.assert_array_equal(reference.decode(frame), x)


def check_frame_class_section(example: Example) -> None:
    assert example.data == bytes.fromhex(example.attributes["bytes"]) == EXAMPLES["frame"].data[92:99]
    tables = reference.read_class_section(example.data, 1, 0)
    lengths = EXAMPLES["frame-stream"].lengths("lengths")
    assert tables == Tables(class_map=(0,), classes=(TableClass(mode="plain", value_lengths=lengths),))


def check_two_classes(example: Example) -> None:
    assert example.data == bytes.fromhex(example.attributes["bytes"])
    lengths = (2, 2, 2, *[0] * 252, 2)
    classes = (TableClass(mode="zero"), TableClass(mode="plain", shift=3, value_lengths=lengths))
    tables = Tables(class_map=(0, 1, 1), classes=classes)
    assert reference.read_class_section(example.data, 3, -128) == tables
    assert reference.write_class_section(tables, -128) == example.data
    # The core writes the same bytes into the spec section of a frame.
    spec = CodecSpec(transform="dct", transform_size=4, tables=tables)
    frame = fmcodec.encode(np.zeros((3, 1, 1), np.float32), spec)
    assert frame[52 + 24 :].startswith(example.data)
    assert fmcodec.inspect(frame).spec.tables == tables


def check_tokens(example: Example) -> None:
    tokens = np.array(example.numbers("tokens"))
    lengths = example.lengths("lengths")
    writer, code = reference.BitWriter(), reference.Code(lengths)
    reference.write_tokens(writer, code, tokens)
    assert writer.to_bytes() == example.data
    np.testing.assert_array_equal(reference.read_tokens(reference.BitReader(example.data), code, len(tokens)), tokens)
    padded = np.zeros(256, np.uint8)
    padded[: len(lengths)] = lengths
    assert kernels.write_wavelet(tokens.astype(np.uint8), padded) == (example.data, len(writer))
    np.testing.assert_array_equal(kernels.read_wavelet(example.data, padded, len(tokens)), tokens)


def check_frame_stream(example: Example) -> None:
    check_tokens(example)
    assert EXAMPLES["frame"].data[99:] == b"\0" + example.data


def check_stream(example: Example, symbols: Any, coder: reference.ClassCoder, word_bits: int = 8) -> None:
    """The reference writes and reads the stream of a class."""
    writer = reference.BitWriter()
    patches = coder.find_patches(symbols)
    assert patches is not None and not patches.places.size
    coder.write(writer, symbols)
    assert writer.to_bytes(word_bits) == example.data
    np.testing.assert_array_equal(coder.read(reference.BitReader(example.data), symbols.shape), symbols)


def check_masked_stream(example: Example) -> None:
    symbols = np.array(example.numbers("symbols"))
    shift = int(example.attributes.get("shift", "0"))
    table_class = TableClass(
        mode="masked", shift=shift, value_lengths=example.lengths("values"), mask_lengths=example.lengths("masks")
    )
    check_stream(example, symbols.reshape(1, 1, -1), reference.ClassCoder(table_class, -128))
    # Levels of 9 bits on both sides of 0 have token_minimum = -128.
    spec = CodecSpec(bits=9, zero_point=128, tables=Tables(class_map=(0,), classes=(table_class,)))
    x = symbols.astype(np.float32).reshape(1, -1, 5)
    frame = fmcodec.encode(x, spec)
    assert frame.endswith(b"\0" + example.data)
    np.testing.assert_array_equal(fmcodec.decode(frame), x)


def check_serial_stream(example: Example) -> None:
    symbols = np.array(example.numbers("symbols"))
    value_lengths = example.lengths("values")
    if "masks" in example.attributes:
        table_class = TableClass(mode="masked", value_lengths=value_lengths, mask_lengths=example.lengths("masks"))
    else:
        table_class = TableClass(mode="plain", shift=int(example.attributes["shift"]), value_lengths=value_lengths)
    word_bits = int(example.attributes["word_bits"])
    check_stream(example, symbols.reshape(1, 1, -1), reference.ClassCoder(table_class, -128, "serial"), word_bits)
    # Levels of 9 bits on both sides of 0 have token_minimum = -128.
    tables = Tables(class_map=(0,), classes=(table_class,))
    spec = CodecSpec(bits=9, zero_point=128, code_layout="serial", word_bits=word_bits, tables=tables)
    x = symbols.astype(np.float32).reshape(1, 1, -1)
    frame = fmcodec.encode(x, spec)
    assert frame.endswith(b"\0" + example.data)
    np.testing.assert_array_equal(fmcodec.decode(frame), x)


def check_dct_group(example: Example) -> None:
    rows = example.rows
    matrix = reference.dct_matrix(4)
    assert [rows[f"M, k = {k}"] for k in range(4)] == matrix.tolist()
    levels = np.array(rows["levels"]).reshape(4, 1)
    assert (matrix @ levels).reshape(-1).tolist() == rows["sums"]
    spec = CodecSpec(transform="dct", transform_size=4, band_steps=(3,), dead_zone=0.6)
    coefficients = reference.coefficients_from_levels(levels, spec)
    assert coefficients.reshape(-1).tolist() == rows["coefficients"]
    symbols = reference.symbols_from_coefficients(coefficients, spec, 4)
    assert symbols.reshape(-1).tolist() == rows["symbols"]
    decoded = reference.coefficients_from_symbols(symbols, spec, 4)
    assert decoded.reshape(-1).tolist() == rows["decoded coefficients"]
    assert (matrix.T @ decoded).reshape(-1).tolist() == rows["decoded sums"]
    assert matrix_product(matrix.T, decoded).reshape(-1).tolist() == rows["decoded levels"]

    as_integers = matrix.astype(np.int32)
    assert kernels.dct(as_integers, levels.astype(np.int32), True).reshape(-1).tolist() == rows["coefficients"]
    assert kernels.dct(as_integers, decoded.astype(np.int32), False).reshape(-1).tolist() == rows["decoded levels"]
    assert kernels.quantize_band(coefficients.astype(np.int32), 3, 1).reshape(-1).tolist() == rows["symbols"]
    x = levels.astype(np.uint8).reshape(4, 1, 1)
    assert fmcodec.decode(fmcodec.encode(x, spec)).reshape(-1).tolist() == rows["decoded levels"]


def check_klt_group(example: Example) -> None:
    rows = example.rows
    matrix = np.array([rows[f"B, k = {k}"] for k in range(2)])
    basis = Basis(means=tuple(rows["means"]), rows=matrix.astype("<i2").tobytes())
    spec = CodecSpec(bits=7, zero_point=50, transform="klt", transform_size=3, kept_bands=2, basis=basis)
    levels = np.array(rows["levels"]).reshape(3, 1)
    centred = levels - np.array(rows["means"]).reshape(3, 1)
    assert centred.reshape(-1).tolist() == rows["less means"]
    assert (matrix @ centred).reshape(-1).tolist() == rows["sums"]
    coefficients = reference.coefficients_from_levels(levels, spec)
    assert coefficients.reshape(-1).tolist() == rows["coefficients"]
    assert (matrix.T @ coefficients).reshape(-1).tolist() == rows["decoded sums"]
    x = levels.astype(np.int8).reshape(3, 1, 1)
    for codec in (fmcodec, reference):
        assert codec.decode(codec.encode(x, spec)).reshape(-1).tolist() == rows["decoded levels"]


def check_spatial_cell(example: Example) -> None:
    rows = example.rows
    cell = np.array([rows["cell, row 0"], rows["cell, row 1"]])
    matrix = reference.dct_matrix(2)
    along_rows = matrix_product(matrix, cell.T).T
    assert along_rows.tolist() == [rows["along rows, row 0"], rows["along rows, row 1"]]
    spatial = spatial_from_coefficients(cell.reshape(1, 4, 1, 1, 1), 2, 2, 2)
    assert spatial.reshape(-1).tolist() == rows["bands 0 to 3"]
    columns = matrix_product(matrix.T, spatial.reshape(2, 2))
    assert columns.tolist() == [rows["decoded columns, row 0"], rows["decoded columns, row 1"]]
    decoded = coefficients_from_spatial(spatial, 2, 2, 2).reshape(2, 2).tolist()
    assert decoded == [rows["decoded cell, row 0"], rows["decoded cell, row 1"]]
    x = cell.astype(np.uint8).reshape(1, 2, 2)
    for codec in (fmcodec, reference):
        assert codec.decode(codec.encode(x, CodecSpec(spatial_size=2))).tolist() == [decoded]


def check_spatial_extents(example: Example) -> None:
    rows = example.rows
    values = np.array(rows["values"])
    cells = [values[:4], values[4:]]
    assert reference.dct_matrix(4)[3].tolist() == rows["first matrix, l = 3"]
    assert reference.dct_matrix(3)[2].tolist() == rows["second matrix, l = 2"]
    bands = [matrix_product(reference.dct_matrix(len(cell)), cell.reshape(-1, 1)).reshape(-1) for cell in cells]
    assert [*bands[0]] == rows["bands 0 to 3, cell 0"]
    assert [*bands[1], 0] == rows["bands 0 to 3, cell 1"]
    decoded = [matrix_product(reference.dct_matrix(len(c)).T, c.reshape(-1, 1)).reshape(-1).tolist() for c in bands]
    assert [value for cell in decoded for value in cell] == rows["decoded values"]
    x = values.astype(np.uint8).reshape(1, 1, 7)
    for codec in (fmcodec, reference):
        assert codec.decode(codec.encode(x, CodecSpec(spatial_size=4))).reshape(-1).tolist() == rows["decoded values"]


def check_raw_block(example: Example) -> None:
    symbols = np.array(example.numbers("symbols"))
    # Static tables for zeros only: what is not zero has no code.
    tables = Tables(class_map=(0,), classes=(TableClass(mode="zero"),))
    spec = CodecSpec(bits=4, zero_point=5, tables=tables)
    x = symbols.astype(np.float32).reshape(1, 2, 2)
    frame = fmcodec.encode(x, spec)
    assert frame.endswith(example.data) and fmcodec.inspect(frame).blocks[-1].size_bytes == len(example.data)
    assert reference.encode(x, spec) == frame
    np.testing.assert_array_equal(fmcodec.decode(frame), x)
    np.testing.assert_array_equal(reference.decode(frame), x)


def check_patched_block(example: Example) -> None:
    symbols = np.array(example.numbers("symbols"))
    tables = Tables(class_map=(0,), classes=(TableClass(mode="plain", value_lengths=example.lengths("values")),))
    # So many positions, of which the first ones are those of the page, that the block is not shorter raw.
    x = np.zeros((1, 8, 8), np.uint8)
    x.reshape(-1)[: symbols.size] = symbols
    frame = fmcodec.encode(x, CodecSpec(tables=tables))
    assert frame[fmcodec.inspect(frame).blocks[-1].offset :].startswith(example.data)
    assert reference.encode(x, CodecSpec(tables=tables)) == frame
    np.testing.assert_array_equal(fmcodec.decode(frame), x)
    np.testing.assert_array_equal(reference.decode(frame), x)


def check_contexts(example: Example) -> None:
    rows = example.rows
    symbols = np.array([[rows[f"row {row}"] for row in range(3)]])
    phases = list(lattice.ordered_phases(symbols))
    assert np.concatenate([ordered for ordered, _ in phases]).tolist() == rows["order"]
    assert np.concatenate([contexts for _, contexts in phases]).tolist() == rows["contexts"]
    assert [min(63, math.floor(8 * math.log2(1 + symbol) + 0.5)) for symbol in rows["order"]] == rows["codes"]
    # Each context in use gets a class that expects its symbols: with another context a symbol would cost 12 bits.
    by_context: dict[int, list[int]] = {context: [] for context in sorted(set(rows["contexts"]))}
    for symbol, context in zip(rows["order"], rows["contexts"], strict=True):
        by_context[context].append(symbol)
    weights = [
        tuple(np.maximum(2048 * np.bincount(members, minlength=7), 1).tolist()) for members in by_context.values()
    ]
    tables = Tables(
        model="neighbours",
        class_map=tuple(max(sum(first <= c for first in by_context) - 1, 0) for c in range(97)),
        classes=tuple(TableClass(mode="rans", weights=row) for row in weights),
    )
    bits = sum(
        math.log2(4096 / reference.frequencies_of(row)[symbol])
        for row, members in zip(weights, by_context.values(), strict=True)
        for symbol in members
    )
    bands = 100  # all alike
    frame = fmcodec.encode(np.repeat(symbols, bands, axis=0).astype(np.uint8), CodecSpec(tables=tables))
    block = fmcodec.inspect(frame).blocks[-1]
    assert frame[block.offset] == 0
    assert bands * bits / 8 < block.size_bytes < bands * bits / 8 + 24
    np.testing.assert_array_equal(fmcodec.decode(frame), np.repeat(symbols, bands, axis=0))


def check_rans_block(example: Example) -> None:
    table_class = TableClass(mode="rans", weights=(4096, *[0] * 199, 1))
    spec = CodecSpec(tables=Tables(model="neighbours", class_map=(0,) * 97, classes=(table_class,)))
    x = np.array(example.numbers("symbols"), np.uint8).reshape(1, 1, -1)
    frame = fmcodec.encode(x, spec)
    assert frame.endswith(example.data) and fmcodec.inspect(frame).blocks[-1].size_bytes == len(example.data)
    assert reference.encode(x, spec) == frame
    np.testing.assert_array_equal(fmcodec.decode(frame), x)


def predicted_symbols() -> Any:
    """The symbols of the predicted class: one band by rows by columns."""
    rows = EXAMPLES["predicted-tokens"].rows
    return np.array([[rows[f"symbols of row {row}"] for row in range(3)]])


def check_predicted_tokens(example: Example) -> None:
    residuals = reference.residuals_from_symbols(predicted_symbols())
    assert (residuals[0] % 256).tolist() == [example.rows[f"residuals of row {row}"] for row in range(3)]
    np.testing.assert_array_equal(reference.symbols_from_residuals(residuals % 256, 0), predicted_symbols())


def check_predicted_class_section(example: Example) -> None:
    assert example.data == bytes.fromhex(example.attributes["bytes"])
    lengths = EXAMPLES["predicted-plain-stream"].lengths("values")
    table_class = TableClass(mode="plain", predicted=True, value_lengths=lengths)
    tables = Tables(class_map=(0,), classes=(table_class,))
    for minimum in (0, -128):
        assert reference.read_class_section(example.data, 1, minimum) == tables
        assert reference.write_class_section(tables, minimum) == example.data
    # The core writes the same bytes into the spec section of a frame.
    frame = fmcodec.encode(predicted_symbols().astype(np.uint8), CodecSpec(tables=tables))
    assert frame[52 + 24 :].startswith(example.data)
    assert fmcodec.inspect(frame).spec.tables == tables


def check_predicted_stream(example: Example) -> None:
    value_lengths = example.lengths("values")
    if "masks" in example.attributes:
        table_class = TableClass(
            mode="masked", predicted=True, value_lengths=value_lengths, mask_lengths=example.lengths("masks")
        )
    else:
        table_class = TableClass(mode="plain", predicted=True, value_lengths=value_lengths)
    symbols = predicted_symbols()
    check_stream(example, symbols, reference.ClassCoder(table_class, 0))
    frame = fmcodec.encode(symbols.astype(np.uint8), CodecSpec(tables=Tables(class_map=(0,), classes=(table_class,))))
    assert frame.endswith(b"\0" + example.data)
    np.testing.assert_array_equal(fmcodec.decode(frame), symbols)


def check_grouped_lengths(example: Example) -> None:
    rows = example.rows
    counts, order, weights = rows["counts of tokens 0 to 5"], rows["tokens in order"], rows["weights in order"]
    assert [weight_key(count) for count in counts] == rows["keys of tokens 0 to 5"]
    wholes, rests = divide(weights)
    assert [wholes[place].cost for place in range(6)] == rows["V of places 0 to 5"]
    assert [rests[place].cost for place in range(5)] == rows["R of places 0 to 4"] and len(rests) == 5
    assert [counts[token] for token in order] == weights
    assert reference.grouped_lengths(np.array(counts), 12)[order].tolist() == rows["lengths in order"]
    assert kernels.grouped_code_lengths(counts, 12)[order].tolist() == rows["lengths in order"]


CHECKS: dict[str, Callable[[Example], None]] = {
    "frame": check_frame,
    "frame-class-section": check_frame_class_section,
    "two-classes": check_two_classes,
    "frame-stream": check_frame_stream,
    "uneven-tree": check_tokens,
    "two-complete-trees": check_tokens,
    "masked-stream": check_masked_stream,
    "masked-low-bits": check_masked_stream,
    "dct-group": check_dct_group,
    "klt-group": check_klt_group,
    "spatial-cell": check_spatial_cell,
    "spatial-extents": check_spatial_extents,
    "raw-block": check_raw_block,
    "patched-block": check_patched_block,
    "contexts": check_contexts,
    "rans-block": check_rans_block,
    "serial-masked": check_serial_stream,
    "serial-low-bits": check_serial_stream,
    "predicted-tokens": check_predicted_tokens,
    "predicted-class-section": check_predicted_class_section,
    "predicted-plain-stream": check_predicted_stream,
    "predicted-masked-stream": check_predicted_stream,
    "grouped-lengths": check_grouped_lengths,
}


def test_every_example_is_checked() -> None:
    assert set(EXAMPLES) == set(CHECKS)
    fences = re.findall(r"^```(hex|bits|numbers)", PAGE.read_text(encoding="ascii"), re.MULTILINE)
    assert len(fences) == len(EXAMPLES)


@pytest.mark.parametrize("name", CHECKS)
def test_example(name: str, isa: str) -> None:
    CHECKS[name](EXAMPLES[name])


def test_crc_check_value_of_the_page() -> None:
    match = re.search(r'ASCII digits "(\d+)" is ([0-9A-F]{8})h', PAGE.read_text(encoding="ascii"))
    assert match and kernels.crc32c(match[1].encode()) == int(match[2], 16)


def test_standard_mask_tables() -> None:
    tables = reference.standard_mask_tables()
    assert len(tables) == 32
    ones = np.array([mask.bit_count() for mask in range(256)])
    for number, lengths in enumerate(tables):
        assert len(lengths) == 256 and min(lengths) > 0 and sum(2.0**-length for length in lengths) == 1.0
        # Not much longer than Huffman's codes for flags of this share.
        share = ones_of_64(number)
        counts = share**ones * (64 - share) ** (8 - ones)
        assert (counts * lengths).sum() < 1.04 * (counts * reference.limited_lengths(counts, 12)).sum()
    match = re.search(r"CRC-32C of the 8192 lengths, .* is ([0-9A-F]{8})h", PAGE.read_text(encoding="ascii"))
    assert match and kernels.crc32c(bytes(itertools.chain(*tables))) == int(match[1], 16)


def test_no_class_section_is_larger_than_the_page_says() -> None:
    match = re.search(r"each at most ([\d,]+) bytes plus (\d+) bits per band", PAGE.read_text(encoding="ascii"))
    assert match
    bytes_, bits_per_band = int(match[1].replace(",", "")), int(match[2])
    for channels in (1, 7, 800):
        spec = CodecSpec(block_shape=(8, 8))
        bound = fmcodec.encode_bound((channels, 8, 8), "uint8", spec)
        fixed = 52 + 4 + len(reference.write_spec_section(spec)) + 2 * 8 + 6 + 64 * channels
        assert bound - fixed <= bytes_ + -(-bits_per_band * channels // 8) + 1
