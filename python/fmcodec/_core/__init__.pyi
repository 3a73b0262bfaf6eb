"""The C++ core as Python sees it: what cpp/bindings registers."""

from collections.abc import Sequence
from typing import Any, final, type_check_only

import numpy as np
import numpy.typing as npt

from fmcodec._core import kernels as kernels

# Mode, whether it is predicted (0 or 1), shift, code lengths of the values and of the masks, weights.
_ClassTuple = tuple[int, int, int, list[int], list[int], list[int]]

@type_check_only
class _ExtensionType(type): ...

version: str

def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def force_isa(name: str) -> None: ...
def build_info() -> dict[str, Any]: ...
def encode(
    array: npt.NDArray[Any], dtype: int, spec: Spec, is_nhwc: bool, threads: int, embeds_spec: bool
) -> bytes: ...
def encode_into(
    array: npt.NDArray[Any],
    dtype: int,
    spec: Spec,
    is_nhwc: bool,
    threads: int,
    embeds_spec: bool,
    buffer: memoryview | npt.NDArray[np.uint8],
) -> int: ...
def encoded_size(
    array: npt.NDArray[Any], dtype: int, spec: Spec, is_nhwc: bool, threads: int, embeds_spec: bool
) -> int: ...
def encode_bound(images: int, channels: int, rows: int, columns: int, dtype: int, spec: Spec) -> int: ...

@final
class Spec(metaclass=_ExtensionType):
    step: float
    zero_point: int
    bits: int
    transform: int
    transform_size: int
    kept_bands: int
    spatial_size: int
    exact_zeros: bool
    band_steps: list[int]
    permutation: list[int]
    code_layout: int
    word_bits: int
    dead_zone: list[float]
    max_code_length: int
    effort: int
    block_rows: int
    block_columns: int
    clamps_nonfinite: bool
    def __init__(self) -> None: ...
    def set_basis(self, bytes: bytes, channels: int) -> None: ...
    def basis(self) -> tuple[bytes, int] | None: ...
    def set_tables(
        self,
        model: int,
        class_map: Sequence[int],
        classes: Sequence[tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int]]],
    ) -> None: ...
    def tables(self) -> tuple[int, list[int], list[_ClassTuple]] | None: ...

@final
class ParsedFrame(metaclass=_ExtensionType):
    def __init__(self, buffer: memoryview, spec: Spec | None) -> None: ...
    def decode_into(self, out: npt.NDArray[Any], origin: Sequence[int], max_block_bytes: int, threads: int) -> None: ...
    def relayout(self, code_layout: int, word_bits: int, threads: int) -> bytes: ...
    def outline(self) -> tuple[int, bool, int, tuple[int, int, int, int]]: ...
    def describe(self) -> dict[str, Any]: ...
    def spec(self) -> Spec: ...

@final
class TableStatistics(metaclass=_ExtensionType):
    def __init__(self, spec: Spec) -> None: ...
    def update(self, array: npt.NDArray[Any], dtype: int, is_nhwc: bool) -> None: ...
    def merge(self, other: TableStatistics) -> None: ...
    def build(self) -> tuple[int, list[int], list[_ClassTuple]]: ...
    def magnitudes(self) -> tuple[list[int], int, int]: ...
