"""Groups of symbols as a mask of those that are not 0, followed by these."""

from __future__ import annotations

import numpy as np

from fmcodec.baselines.fields import FieldReader, IntArray


def in_groups(symbols: IntArray, group: int) -> IntArray:
    """Rows of ``group`` symbols, the last one filled up with zeros."""
    rows = np.zeros((-(-len(symbols) // group), group), dtype=np.int64)
    rows.reshape(-1)[: len(symbols)] = symbols
    return rows


def masked_fields(symbols: IntArray, group: int, widths: IntArray, header_bits: int) -> tuple[IntArray, IntArray]:
    """Values and widths of all fields: per group its mask, its width less 1 in a header, the symbols that are not 0.

    ``widths`` has an entry for each group. The mask of the last group has a bit for each symbol that there is; a group
    of zeros has no header.
    """
    rows = in_groups(symbols, group)
    lengths = np.minimum(group, len(symbols) - group * np.arange(len(rows)))
    masks = ((rows != 0) @ (1 << np.arange(group)[::-1])) >> (group - lengths)
    field_values = np.column_stack([masks, widths - 1, rows])
    field_widths = np.column_stack([lengths, header_bits * (masks != 0), widths[:, None] * (rows != 0)])
    return field_values.reshape(-1), field_widths.reshape(-1)


def read_masked(
    reader: FieldReader, count: int, group: int, bits: int, header_bits: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Places, words and widths of the symbols that are not 0 in the stream of `masked_fields`.

    Without a header all words have ``bits`` bits.
    """
    mask_starts, word_starts, counts, widths = [], [], [], []
    position = 0
    for first in range(0, count, group):
        end = position + min(group, count - first)
        reader.require(end)
        ones = reader.text.count(b"1", position, end)
        mask_starts.append(position)
        position = end
        width = bits
        if ones and header_bits:
            position += header_bits
            width = 1 + int(reader.text[end:position], 2)
        word_starts.append(position)
        counts.append(ones)
        widths.append(width)
        position += ones * width
    reader.require(position)

    places = np.arange(count)
    is_coded = reader.take(np.array(mask_starts, dtype=np.int64)[places // group] + places % group, 1) != 0
    # The number of each word in its group gives its position.
    first_words = np.cumsum([0, *counts])[:-1]
    numbers = np.arange(sum(counts)) - np.repeat(first_words, counts)
    word_widths = np.repeat(np.array(widths, dtype=np.int64), counts)
    starts = np.repeat(np.array(word_starts, dtype=np.int64), counts) + numbers * word_widths
    return np.flatnonzero(is_coded), reader.take(starts, word_widths), word_widths
