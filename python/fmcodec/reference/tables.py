"""Class sections (docs/format.md, section 8)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fmcodec.errors import CorruptStreamError
from fmcodec.reference.bits import BitReader, BitWriter
from fmcodec.reference.entropy import (
    LARGEST_SHIFT,
    TOKEN_COUNT,
    Code,
    stream_minimum,
)
from fmcodec.reference.lengths import grouped_lengths, limited_lengths
from fmcodec.spec import CLASS_MODELS, TableClass, Tables

ASCENDING = range(256)
CONTEXT_COUNT = 97
MASK_TABLES = 32
MASK_CODE_LENGTH = 12
WEIGHT_BITS = 2
MODES: tuple[Literal["zero", "plain", "masked"], ...] = ("zero", "plain", "masked")
FIRST_LENGTH = 4
LONGEST_LENGTH = 15
LONGEST_RUN = 16


def scan_order(minimum: int) -> list[int]:
    """Section 8: the tokens in the order of the entries of a value table. Others are in ascending order."""
    if minimum == 0:
        return list(range(TOKEN_COUNT))
    return [(i // 2 if i % 2 == 0 else -(i + 1) // 2) % TOKEN_COUNT for i in range(TOKEN_COUNT)]


def write_class_section(tables: Tables, minimum: int) -> bytes:
    """Section 8: the bytes of a class section."""
    writer = BitWriter()
    writer.write_fields(CLASS_MODELS.index(tables.model), 1)
    writer.write_fields(len(tables.classes) - 1, 5)
    if len(tables.classes) > 1 and tables.class_map:
        if tables.model == "neighbours":
            writer.write(np.diff(tables.class_map))
        else:
            _write_band_map(writer, tables.class_map)
    for table_class in tables.classes:
        if table_class.mode == "rans":
            write_weight_table(writer, table_class.weights, scan_order(minimum))
            continue
        writer.write_fields(MODES.index(table_class.mode), 2)
        writer.write([table_class.predicted])
        writer.write_fields(table_class.shift, 4)
        if table_class.mode == "masked":
            write_mask_table(writer, table_class.mask_lengths)
        if table_class.mode != "zero":
            order = scan_order(stream_minimum(minimum, is_predicted=table_class.predicted))
            write_table(writer, table_class.value_lengths, order)
    return writer.to_bytes()


def _write_band_map(writer: BitWriter, class_map: Sequence[int]) -> None:
    """Section 8: a code table over the classes, then the code of each band."""
    lengths = limited_lengths(np.bincount(class_map, minlength=TOKEN_COUNT), LONGEST_LENGTH)
    write_table(writer, lengths.tolist(), ASCENDING)
    code = Code(lengths.tolist())
    for rank in code.rank_of[np.array(class_map)].tolist():
        depth = int(code.depths[rank])
        writer.write([int(code.codes[rank]) >> bit & 1 for bit in reversed(range(depth))])


def write_mask_table(writer: BitWriter, lengths: Sequence[int]) -> None:
    """Section 8.1: the number of a standard table, or the table."""
    tables = standard_mask_tables()
    number = tables.index(tuple(lengths)) if tuple(lengths) in tables else None
    writer.write([number is None])
    if number is None:
        write_table(writer, lengths, ASCENDING)
    else:
        writer.write_fields(number, 5)


def ones_of_64(number: int) -> int:
    """Section 8.1: how many of 64 flags a standard mask table supposes to be 1."""
    return number + 1 if number < 4 else 2 * number - 2


@functools.cache
def standard_mask_tables() -> tuple[tuple[int, ...], ...]:
    """Section 8.1: the code lengths of the 32 standard mask tables."""
    ones = np.array([mask.bit_count() for mask in range(TOKEN_COUNT)])
    tables = []
    for number in range(MASK_TABLES):
        share = ones_of_64(number)
        weights = np.array([share**one * (64 - share) ** (8 - one) for one in ones.tolist()])
        tables.append(tuple(grouped_lengths(weights, MASK_CODE_LENGTH).tolist()))
    return tuple(tables)


def write_table(writer: BitWriter, lengths: Sequence[int], order: Sequence[int]) -> None:
    """Sections 8 and 10.7: runs of unused entries as long as possible, lengths in their shortest form."""
    entries = [lengths[token] if token < len(lengths) else 0 for token in order]
    while entries[-1] == 0:
        entries.pop()
    writer.write_fields(len(entries) - 1, 8)

    previous, i = FIRST_LENGTH, 0
    while i < len(entries):
        if entries[i]:
            _write_length(writer, entries[i], previous)
            previous = entries[i]
            i += 1
            continue
        run = 1
        while run < LONGEST_RUN and entries[i + run] == 0:
            run += 1
        writer.write([1, 1, 1, 1])
        writer.write_fields(run - 1, 4)
        i += run


def _write_length(writer: BitWriter, length: int, previous: int) -> None:
    """One length that is not 0, relative to the last one."""
    short_forms = {previous: [0], previous + 1: [1, 0], previous - 1: [1, 1, 0]}
    if length in short_forms:
        writer.write(short_forms[length])
    else:
        writer.write([1, 1, 1, 0])
        writer.write_fields(length, 4)


def read_class_section(data: bytes, band_count: int, minimum: int, offset: int = 0) -> Tables:
    """Section 8: the tables of a class section that begins at byte ``offset`` of the frame."""
    reader = BitReader(data, offset)
    model = CLASS_MODELS[reader.read_field(1)]
    class_count = 1 + reader.read_field(5)
    class_map = [0] * (CONTEXT_COUNT if model == "neighbours" else band_count)
    if class_count > 1 and class_map:
        if model == "neighbours":
            class_map = [0, *np.cumsum(reader.read(CONTEXT_COUNT - 1)).tolist()]
        else:
            class_map = _read_band_map(reader, band_count)
        is_missing = model == "neighbours" and class_map[-1] + 1 != class_count
        if max(class_map) >= class_count or is_missing:
            raise CorruptStreamError(f"the class map does not fit {class_count} classes", offset)
    read = _read_weight_class if model == "neighbours" else _read_class
    classes = tuple(read(reader, minimum) for _ in range(class_count))
    reader.finish()
    return Tables(model=model, class_map=tuple(class_map), classes=classes)


def _read_band_map(reader: BitReader, band_count: int) -> list[int]:
    table = read_table(reader, ASCENDING)
    lengths = [length for length in table if length]
    if lengths != [1] and sum(2.0**-length for length in lengths) != 1.0:
        raise CorruptStreamError("the code of the class map is not complete", reader.offset)
    code = Code(table)
    return [code.read_token(reader) for _ in range(band_count)]


def write_weight_table(writer: BitWriter, weights: Sequence[int], order: Sequence[int]) -> None:
    """Section 8.2: the widths of the weights, then up to two bits of each."""
    widths = [weight.bit_length() for weight in weights]
    write_table(writer, widths, order)
    for token in order:
        if token < len(weights) and widths[token] > 1:
            stored = min(widths[token] - 1, WEIGHT_BITS)
            writer.write_fields(weights[token] >> (widths[token] - 1 - stored) & (2**stored - 1), stored)


def _read_weight_class(reader: BitReader, minimum: int) -> TableClass:
    """Section 8.2: a class of contexts."""
    order = scan_order(minimum)
    widths = read_table(reader, order)
    weights = [0] * len(widths)
    for token in order:
        if token < len(widths) and widths[token]:
            stored = min(widths[token] - 1, WEIGHT_BITS)
            weights[token] = (2**stored | reader.read_field(stored)) << (widths[token] - 1 - stored)
    return TableClass(mode="rans", weights=tuple(weights))


def _read_class(reader: BitReader, minimum: int) -> TableClass:
    offset = reader.offset
    mode, is_predicted, shift = reader.read_field(2), bool(reader.read_bit()), reader.read_field(4)
    if mode >= len(MODES) or shift > LARGEST_SHIFT:
        raise CorruptStreamError(f"mode {mode} or shift {shift} is not valid", offset)
    mask_lengths: tuple[int, ...] = ()
    value_lengths: tuple[int, ...] = ()
    if MODES[mode] == "masked":
        mask_lengths = _read_mask_table(reader)
    if MODES[mode] != "zero":
        value_lengths = read_table(reader, scan_order(stream_minimum(minimum, is_predicted=is_predicted)))
    try:
        return TableClass(
            mode=MODES[mode],
            shift=shift,
            predicted=is_predicted,
            value_lengths=value_lengths,
            mask_lengths=mask_lengths,
        )
    except ValueError as error:
        raise CorruptStreamError(str(error), offset) from error


def _read_mask_table(reader: BitReader) -> tuple[int, ...]:
    """Section 8.1: the code lengths of a mask table."""
    if reader.read_field(1):
        return read_table(reader, ASCENDING)
    return standard_mask_tables()[reader.read_field(5)]


def read_table(reader: BitReader, order: Sequence[int]) -> tuple[int, ...]:
    """Section 8: the code lengths of a table by token, cut after the last used token."""
    entry_count = 1 + reader.read_field(8)
    entries: list[int] = []
    previous = FIRST_LENGTH
    while len(entries) < entry_count:
        offset = reader.offset
        length = _read_length(reader, previous)
        if length > 0:
            entries.append(length)
            previous = length
        else:
            entries += [0] * -length
        if length > LONGEST_LENGTH or length == 0 or len(entries) > entry_count:
            raise CorruptStreamError("a code length outside 1 to 15, or a run beyond the entries", offset)
    if entries[-1] == 0:
        raise CorruptStreamError("the last entry of a table is not used", reader.offset)

    lengths = [0] * TOKEN_COUNT
    for token, length in zip(order, entries, strict=False):
        lengths[token] = length
    while lengths[-1] == 0:
        lengths.pop()
    return tuple(lengths)


def _read_length(reader: BitReader, previous: int) -> int:
    """The next length, or minus the number of unused entries; 0 for the lengths that do not exist."""
    for change in (0, 1, -1):
        if not reader.read_field(1):
            return previous + change
    if not reader.read_field(1):
        return reader.read_field(4)
    return -(reader.read_field(4) + 1)
