"""Which transforms hardware without multipliers can compute."""

from __future__ import annotations

from fmcodec.reference.transform import transform_groups
from fmcodec.spec import CodecSpec


def needs_multipliers(spec: CodecSpec, channels: int) -> bool:
    """Whether the transforms and band steps of a spec multiply or divide by anything but powers of two.

    Entries of the Hadamard matrix are 4096 over the root of its size (docs/format.md, section 4.1): a shift for groups
    of 1, 4 and 16 channels, also for those left over at the end, and a multiplication for 2, 8 and 32. DCT, KLT and
    the spatial transform always multiply. The scale between values and levels (``step``) is not looked at: quantized
    networks have it anyway.

    >>> [needs_multipliers(CodecSpec(transform="hadamard", transform_size=size), 64) for size in (4, 8, 16, 32)]
    [False, True, False, True]
    >>> needs_multipliers(CodecSpec(transform="hadamard", transform_size=16), 24)
    True
    """
    if spec.spatial_size > 1 or spec.transform in ("dct", "klt"):
        return True
    if any(step & (step - 1) for step in spec.band_steps):
        return True
    sizes = {group.size for group in transform_groups(spec, channels)} if spec.transform == "hadamard" else set()
    return not sizes <= {1, 4, 16}
