"""Policies: which layers of a network are coded, where, and with which spec, as a file that round-trips exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from fmcodec.errors import FmcodecError, UnsupportedVersionError
from fmcodec.spec import CodecSpec, restore_defaults

SCHEMA_VERSION = 1

Activation = Literal["none", "relu", "relu6"]
Where = Literal["output", "input"]


class LayerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the feature map at one named module is coded.

    Parameters
    ----------
    spec
        Parameters of the codec.
    where
        Whether the ``"output"`` or the ``"input"`` of the module is coded.
    activation
        Activation applied just before coding: ``"none"``, ``"relu"`` or ``"relu6"``. This is the switch between coding
        before and after the activation of a layer. With ``"relu6"`` at the output of a batch norm that feeds a ReLU6,
        the map is coded as it is after the activation, although the model applies its own ReLU6 only later. That is
        exact and needs no change of the model, because these activations are idempotent:
        relu(relu(x)) = relu(x). ``"none"`` codes the map before the activation.
    """

    spec: CodecSpec
    where: Where = "output"
    activation: Activation = "none"

    def __post_init__(self) -> None:
        restore_defaults(self)


class _Version(msgspec.Struct):
    """The part of a policy that is read first, so that a newer file is told apart from a wrong one."""

    schema_version: int


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The layers of one network that are coded.

    Parameters
    ----------
    layers
        Module name, as in ``model.named_modules()``, to `LayerPolicy`.
    schema_version
        Version of the file's layout; this package reads and writes version 1.
    provenance
        Free text by topic: who made the policy, from what.

    Raises
    ------
    UnsupportedVersionError
        ``schema_version`` is not 1.

    Examples
    --------
    >>> policy = Policy(layers={"conv1": LayerPolicy(spec=CodecSpec(step=0.1), activation="relu")})
    >>> Policy.from_json(policy.to_json()) == policy
    True
    """

    layers: dict[str, LayerPolicy]
    schema_version: int = SCHEMA_VERSION
    provenance: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_version(self.schema_version)

    def to_json(self) -> str:
        """JSON text; the fields of specs and layers that have their default are left out."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Policy:
        """The policy of `to_json`.

        Raises
        ------
        UnsupportedVersionError
            The schema version is not one this package reads.
        FmcodecError
            The text is not JSON, has an unknown or missing key, or a value is out of its range.
        """
        return _decode(msgspec.json.decode, text)

    @classmethod
    def from_toml(cls, text: str | bytes) -> Policy:
        """The policy in a TOML text, with the same keys and the same errors as `from_json`."""
        return _decode(msgspec.toml.decode, text)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """The policy in a file: TOML if its name ends in ``.toml``, else JSON."""
        path = Path(path)
        return cls.from_toml(path.read_bytes()) if path.suffix == ".toml" else cls.from_json(path.read_bytes())

    def save(self, path: str | Path) -> None:
        """Writes the policy as indented JSON."""
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def _decode(decode: Callable[..., Any], text: str | bytes) -> Policy:
    """The policy in a text, by msgspec's decoder of its format."""
    try:
        _check_version(decode(text, type=_Version).schema_version)
        policy: Policy = decode(text, type=Policy)
    except msgspec.MsgspecError as error:
        raise FmcodecError(f"not a valid policy: {error}") from error
    return policy


def _check_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise UnsupportedVersionError(
            f"the policy has schema_version {version}; this fmcodec reads version {SCHEMA_VERSION}"
        )
