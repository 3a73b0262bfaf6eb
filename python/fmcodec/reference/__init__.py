"""The codec in plain NumPy, in the order of docs/format.md: the oracle that the C++ core is tested against."""

from fmcodec.reference.bits import BitReader, BitWriter, pack_codes
from fmcodec.reference.blocks import BlockCoder
from fmcodec.reference.choice import choose_tables
from fmcodec.reference.classes import log2_fixed
from fmcodec.reference.entropy import (
    ClassCoder,
    Code,
    read_tokens,
    read_tokens_serial,
    residuals_from_symbols,
    symbols_from_residuals,
    token_minimum,
    write_tokens,
    write_tokens_serial,
)
from fmcodec.reference.frame import Header, decode, encode, read_header
from fmcodec.reference.lattice import ordered_phases
from fmcodec.reference.lengths import grouped_lengths, limited_lengths
from fmcodec.reference.quantize import levels_from_values, values_from_levels
from fmcodec.reference.rans import RansReader, RansTables, RansWriter, frequencies_of, weights_of
from fmcodec.reference.section import crc32c, read_spec_section, write_spec_section
from fmcodec.reference.tables import (
    read_class_section,
    standard_mask_tables,
    write_class_section,
)
from fmcodec.reference.transform import (
    coefficients_from_levels,
    coefficients_from_symbols,
    dct_matrix,
    levels_from_coefficients,
    symbols_from_coefficients,
)

__all__ = [
    "BitReader",
    "BitWriter",
    "BlockCoder",
    "ClassCoder",
    "Code",
    "Header",
    "RansReader",
    "RansTables",
    "RansWriter",
    "choose_tables",
    "coefficients_from_levels",
    "coefficients_from_symbols",
    "crc32c",
    "dct_matrix",
    "decode",
    "encode",
    "frequencies_of",
    "grouped_lengths",
    "levels_from_coefficients",
    "levels_from_values",
    "limited_lengths",
    "log2_fixed",
    "ordered_phases",
    "pack_codes",
    "read_class_section",
    "read_header",
    "read_spec_section",
    "read_tokens",
    "read_tokens_serial",
    "residuals_from_symbols",
    "standard_mask_tables",
    "symbols_from_coefficients",
    "symbols_from_residuals",
    "token_minimum",
    "values_from_levels",
    "weights_of",
    "write_class_section",
    "write_spec_section",
    "write_tokens",
    "write_tokens_serial",
]
