"""A codec of numcodecs, which finds it by its name, ``"fmcodec"``: for zarr v2 arrays and whatever else uses numcodecs.

Arrays of zarr v3 have a codec of their own, `fmcodec.zarr`, which reads parts of chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.abc import Codec
from numcodecs.compat import ndarray_copy

from fmcodec.arrays import Buffer, check_layout
from fmcodec.codec import Layout, decode, encode
from fmcodec.spec import CodecSpec


class FeatureMapCodec(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Arrays as frames: the compressor of a zarr v2 array.

    Parameters
    ----------
    spec
        How arrays are coded, also as the dict of `CodecSpec.to_dict`. It is in the configuration and not in what is
        encoded. None: each array has a spec of its own, without loss for integers and with 8 bits over its range for
        floats.
    layout
        Order of the axes: ``"nchw"`` for (C, H, W) and (N, C, H, W), ``"nhwc"`` for channels last.

    Examples
    --------
    >>> import numcodecs
    >>> codec = numcodecs.get_codec({"id": "fmcodec", "spec": {"step": 0.5}})
    >>> codec.decode(codec.encode(np.ones((2, 4, 4), np.float32))).shape
    (2, 4, 4)
    """

    codec_id = "fmcodec"

    def __init__(self, spec: CodecSpec | Mapping[str, Any] | None = None, layout: Layout = "nchw") -> None:
        check_layout(layout)
        self.spec = CodecSpec.from_dict(spec) if isinstance(spec, Mapping) else spec
        self.layout: Layout = layout

    def encode(self, buf: Buffer) -> bytes:
        """The frame of an array, as `fmcodec.encode` makes it.

        Raises
        ------
        ValueError
            It is in Fortran order, of which zarr tells no decoder; or as `fmcodec.encode`.
        """
        array = np.asanyarray(buf)
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            raise ValueError("the array is in Fortran order; fmcodec needs order='C' in the metadata of zarr")
        return encode(array, self.spec, layout=self.layout, embed_spec=self.spec is None)

    def decode(self, buf: Buffer, out: Buffer | None = None) -> npt.NDArray[Any]:
        """The array of a frame, copied to ``out`` if that is given, any buffer of as many bytes; with the errors of
        `fmcodec.decode`."""
        array: npt.NDArray[Any] = ndarray_copy(decode(buf, spec=self.spec), out)
        return array

    def get_config(self) -> dict[str, Any]:
        """What `numcodecs.get_codec` makes the same codec of."""
        config: dict[str, Any] = {"id": self.codec_id, "layout": self.layout}
        if self.spec is not None:
            config["spec"] = self.spec.to_dict()
        return config
