"""The instruction set: how it is chosen, and that it never changes a result."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import fmcodec

ISAS = fmcodec.available_isas()


def run(code: str, **environment: str) -> str:
    """What code prints in a new interpreter."""
    env = {key: value for key, value in os.environ.items() if key not in ("FMCODEC_ISA", "PYTHONHASHSEED")}
    result = subprocess.run(
        [sys.executable, "-c", code], env={**env, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_names() -> None:
    assert "scalar" in ISAS and len(set(ISAS)) == len(ISAS)
    assert fmcodec.active_isa() in ISAS


def test_force_isa_and_back() -> None:
    default = fmcodec.active_isa()
    for name in ISAS:
        fmcodec.force_isa(name)
        assert fmcodec.active_isa() == name == fmcodec.build_info()["active_isa"]
    with pytest.raises(ValueError, match="instruction set 'mmx' is not available here; valid names are") as caught:
        fmcodec.force_isa("mmx")
    assert all(name in str(caught.value) for name in ISAS)
    assert fmcodec.active_isa() == ISAS[-1]
    fmcodec.force_isa(None)
    assert fmcodec.active_isa() == default


@pytest.mark.parametrize("name", ISAS)
def test_environment_variable(name: str) -> None:
    code = (
        f"import fmcodec; print(fmcodec.active_isa()); fmcodec.force_isa({ISAS[-1]!r}); print(fmcodec.active_isa()); "
    )
    code += "fmcodec.force_isa(None); print(fmcodec.active_isa())"
    assert run(code, FMCODEC_ISA=name).split() == [name, ISAS[-1], name]


def test_environment_variable_that_is_empty_or_wrong() -> None:
    assert run("import fmcodec; print(fmcodec.active_isa())", FMCODEC_ISA="") == ISAS[0]
    assert run("import fmcodec; print(fmcodec.active_isa())") == ISAS[0]
    code = """
import numpy as np
import fmcodec
for call in (fmcodec.active_isa, lambda: fmcodec.encode(np.zeros((1, 2, 2), np.uint8)), fmcodec.active_isa):
    try:
        call()
    except ValueError as error:
        print(error)
fmcodec.force_isa("scalar")
print(fmcodec.active_isa())
"""
    message = f"FMCODEC_ISA 'mmx' is not available here; valid names are {', '.join(ISAS)}"
    assert run(code, FMCODEC_ISA="mmx").splitlines() == [message] * 3 + ["scalar"]


DIGEST = """
import hashlib
import numpy as np
import fmcodec
from fmcodec import CodecSpec

rng = np.random.default_rng(0)
digest = hashlib.sha256()
shapes = [(1, 1, 1), (13, 9, 11), (2, 24, 14, 14), (70, 17, 3), (40, 33, 41)]
tensors = [rng.laplace(size=shape) * 2 for shape in shapes]
specs = [
    CodecSpec(step=0.07, zero_point=60),
    CodecSpec(step=0.07, bits=6, block_shape=(3, 5), dead_zone=(0.7, 0.5), band_steps=(2,)),
    CodecSpec(step=0.01, bits=8, zero_point=128, transform="dct", transform_size=16, kept_bands=7, band_steps=(3,)),
    CodecSpec(step=0.001, bits=14, zero_point=8000, transform="dct", transform_size=8, nonfinite="clamp"),
    CodecSpec(step=0.01, bits=10, zero_point=500, transform="hadamard", transform_size=8, spatial_size=2),
]
for x in tensors:
    for spec in specs:
        for dtype in (np.float32, np.float16, np.int8):
            if dtype == np.int8 and spec.bits > 8:
                continue
            statistics = fmcodec.TableStatistics(spec)
            statistics.update(x.astype(dtype))
            static = spec.replace(tables=statistics.build())
            for used in (spec, static):
                frame = fmcodec.encode(x.astype(dtype), used, threads=2)
                digest.update(frame)
                digest.update(fmcodec.decode(frame).tobytes())
            digest.update(static.to_json().encode())
print(fmcodec.active_isa(), digest.hexdigest())
"""


def test_results_depend_on_nothing_else() -> None:
    outputs = [run(DIGEST, FMCODEC_ISA=name, PYTHONHASHSEED=str(seed)) for seed, name in enumerate(ISAS)]
    outputs += [run(DIGEST, PYTHONHASHSEED=seed) for seed in ("0", "12345", "random")]
    assert [output.split()[0] for output in outputs] == [*ISAS, *ISAS[:1] * 3]
    assert len({output.split()[1] for output in outputs}) == 1
