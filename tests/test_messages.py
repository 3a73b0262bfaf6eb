"""Mistakes that users make, and the one sentence that each of them gets: it says what to do."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fmcodec
from fmcodec import CodecSpec
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.torch import simulate, wrap

X = np.maximum(np.random.default_rng(0).standard_normal((8, 6, 6), np.float32), 0)
SPEC = CodecSpec(step=0.1)
FRAME = fmcodec.encode(X, SPEC)
NEWER = FRAME[:4] + b"\x08\0" + FRAME[6:]
MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()
IMAGES = torch.rand(2, 3, 8, 8)


def run(name: str, spec: CodecSpec = SPEC, *, x: torch.Tensor = IMAGES, mode: Any = "codec") -> torch.Tensor:
    """A forward pass of the model with the map of one module coded."""
    model = MODEL if x.device.type == "cpu" else nn.Sequential(nn.Identity())
    policy = Policy(layers={name: LayerPolicy(spec)})
    with torch.no_grad(), wrap(model.to(x.dtype), policy, mode=mode):
        output: torch.Tensor = model(x)
    return output


DTYPES = "dtype must be one of float32, float16, bfloat16, int8, uint8, not"
VERSION = (
    "stream version 8 is not supported, this build reads version 7: use the fmcodec that wrote it, or a newer one "
    "(at byte 4)"
)
MISTAKES: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "float64": (
        TypeError,
        lambda: fmcodec.encode(X.astype(np.float64)),
        f"{DTYPES} float64: convert the array to one of them",
    ),
    "float64 of torch": (
        TypeError,
        lambda: fmcodec.encode(torch.zeros(2, 3, 4, dtype=torch.float64)),
        f"{DTYPES} float64: convert the array to one of them",
    ),
    "float64 in a model": (
        TypeError,
        lambda: run("0", x=IMAGES.double()),
        f"{DTYPES} float64: convert the array to one of them; while coding the map of '0'",
    ),
    "bool": (TypeError, lambda: fmcodec.encode(X > 0), f"{DTYPES} bool: convert the array to one of them"),
    "list": (
        TypeError,
        lambda: fmcodec.encode(X.tolist()),
        "what is coded must be an array, not list: np.asarray(x, np.float32) makes one",
    ),
    "another device": (
        TypeError,
        lambda: fmcodec.encode(torch.zeros(2, 3, 4, device="meta")),
        "the tensor must be in CPU memory, not on meta: call .cpu() first",
    ),
    "another device for the output": (
        TypeError,
        lambda: fmcodec.decode(FRAME, out=torch.zeros(8, 6, 6, device="meta")),
        "the tensor must be in CPU memory, not on meta: call .cpu() first",
    ),
    "another device in a model": (
        ValueError,
        lambda: run("0", x=IMAGES.to("meta")),
        "the map is on meta; the codec runs on the CPU: pass allow_device_copy=True to copy it there and back, "
        "or use mode='simulate'; while coding the map of '0'",
    ),
    "two axes": (
        ValueError,
        lambda: fmcodec.encode(X[0], SPEC),
        "the array must have 3 or 4 axes, (N, C, H, W) with or without N, not 2: reshape it",
    ),
    "two axes, simulated": (
        ValueError,
        lambda: simulate(torch.from_numpy(X[0]), SPEC, layout="nhwc"),
        "the tensor must have 3 or 4 axes, (N, H, W, C) with or without N, not 2: reshape it",
    ),
    "two axes in a model": (
        ValueError,
        lambda: run("2"),
        "the output of '2' must have axes (N, C, H, W), not shape (2, 144)",
    ),
    "layout by the name of torch": (
        ValueError,
        lambda: fmcodec.encode(X, SPEC, layout="channels_last"),  # type: ignore[arg-type]
        "layout must be 'nchw' or 'nhwc', not 'channels_last'",
    ),
    "NaN": (
        fmcodec.NonFiniteError,
        lambda: fmcodec.encode(np.full((1, 2, 2), np.nan, np.float32)),
        "the array holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities",
    ),
    "NaN, simulated": (
        fmcodec.NonFiniteError,
        lambda: simulate(torch.full((1, 2, 2), torch.nan), SPEC),
        "the tensor holds NaN or infinity; nonfinite='clamp' codes NaN as 0 and clamps infinities",
    ),
    "KLT without a basis": (
        ValueError,
        lambda: CodecSpec(transform="klt"),
        "transform 'klt' needs a basis: fmcodec.klt_spec makes a spec with one",
    ),
    "spec of another map": (
        ValueError,
        lambda: run("0", CodecSpec(permutation=(1, 0))),
        "the permutation is for 2 channels, the tensor has 4: take a spec that was made for this map; "
        "while coding the map of '0'",
    ),
    "policy of another network": (
        ValueError,
        lambda: run("layer1.0.conv1"),
        "the model has no module 'layer1.0.conv1', so the policy may be of another network; "
        "here they are named '0', '1', '2' and so on",
    ),
    "policy with a wrong letter": (ValueError, lambda: run("01"), "the model has no module '01'; close names: 1, 0"),
    "newer policy": (
        fmcodec.UnsupportedVersionError,
        lambda: Policy.from_json('{"schema_version": 2, "layers": {}, "news": 1}'),
        "the policy has schema_version 2; this fmcodec reads version 1: use the fmcodec that wrote it, or a newer one",
    ),
    "newer stream": (fmcodec.UnsupportedVersionError, lambda: fmcodec.decode(NEWER), VERSION),
    "newer stream, inspected": (fmcodec.UnsupportedVersionError, lambda: fmcodec.inspect(NEWER), VERSION),
    "newer stream in a file": (
        fmcodec.UnsupportedVersionError,
        lambda: fmcodec.FrameReader(io.BytesIO(NEWER)).read_frame(),
        VERSION,
    ),
    "newer stream to recover": (fmcodec.UnsupportedVersionError, lambda: fmcodec.recover(NEWER), VERSION),
    "frame without its spec": (
        fmcodec.SpecMismatchError,
        lambda: fmcodec.decode(fmcodec.encode(X, SPEC, embed_spec=False)),
        "the frame refers to an external spec: pass spec= (at byte 52)",
    ),
    "text for a frame": (
        TypeError,
        lambda: fmcodec.decode("x.fmc"),
        "a frame must be bytes or another buffer of them, not str",
    ),
    "large frame": (
        fmcodec.LimitExceededError,
        lambda: fmcodec.decode(FRAME, max_bytes=1000),
        "the decoded array has 1152 bytes, max_bytes is 1000: pass a larger one if you trust the frame, "
        "or decode a region",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_sentence(mistake: str) -> None:
    error, call, message = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert "; ".join([str(caught.value), *getattr(caught.value, "__notes__", ())]) == message


def test_what_is_no_mistake() -> None:
    same = fmcodec.encode(X[None], SPEC)
    assert fmcodec.encode(torch.from_numpy(X)[None].to(memory_format=torch.channels_last), SPEC) == same
    assert fmcodec.encode(torch.from_numpy(-X)[None].requires_grad_().neg(), SPEC) == same
    assert fmcodec.encode(torch._neg_view(torch.from_numpy(-X))[None], SPEC) == same
    assert fmcodec.encode(np.asfortranarray(X)[None], SPEC) == same
    assert fmcodec.encode(X[None, ::-1][:, ::-1], SPEC) == same
    assert fmcodec.encode(X[None].astype(">f4"), SPEC) == same


# A module that is missing, the command that needs it, and what to install; None if no extra has it.
MISSING = [
    ("torch", ["encode", "x.pt", "x.fmc"], "torch"),
    ("matplotlib", ["transforms", "x.npy", "--plot", "x.png"], "report"),
    ("matplotlib", ["energy", "network.csv", "--plot", "x.png"], "report"),
    ("rich", ["demo"], "demo"),
    ("torch", ["evaluate", "efficientnet_lite0", "--policy", "policy.json", "--data", "."], "evaluation"),
    (
        "efficientnet_lite_pytorch",
        ["learn", "efficientnet_lite0", "--policy", "policy.json", "--data", ".", "--output", "o"],
        "demo",
    ),
    ("torch", ["compare", "efficientnet_lite0", "--data", "."], "evaluation"),
    ("torch", ["search", "efficientnet_lite0", "--data", ".", "--output", "found"], "search"),
    ("jinja2", ["report", "page.html", "--policy", "policy.json"], "evaluation"),
    ("my_layers", ["evaluate", "my_file:make", "--policy", "policy.json", "--data", "."], None),
]
# Nothing is uninstalled: imports of one name fail as those of a missing package do.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from fmcodec.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("module", "command", "extra"), MISSING, ids=[f"{m} {c[0]}" for m, c, _ in MISSING])
def test_missing_extra(module: str, command: list[str], extra: str | None, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.pt").touch()
    (tmp_path / "network.csv").write_text("name,channels,height,width,bits\nconv1,4,8,8,3\n")
    Policy(layers={"0": LayerPolicy(SPEC)}).save(tmp_path / "policy.json")
    (tmp_path / "my_file.py").write_text("import my_layers\n")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    expected = "install the package that holds it" if extra is None else f"pip install 'fmcodec[{extra}]' brings "
    assert line.startswith(f"Error: No module named '{module}") and expected in line
