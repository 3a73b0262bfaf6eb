"""Policies: exact round trips, and clear errors for everything a file can get wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcodec.errors import FmcodecError, UnsupportedVersionError
from fmcodec.policy import LayerPolicy, Policy
from fmcodec.spec import CodecSpec, TableClass, Tables

TABLES = Tables(class_map=(0, 0, 0, 0), classes=(TableClass(mode="plain", value_lengths=(1, 2, 2)),))

specs = st.builds(
    CodecSpec,
    step=st.floats(2.0**-64, 2.0**64),
    zero_point=st.integers(0, 255),
    bits=st.integers(8, 16),
    transform=st.just("dct"),
    transform_size=st.sampled_from([4, 8]),
    kept_bands=st.none() | st.integers(1, 4),
    band_steps=st.lists(st.integers(1, 65535), min_size=1, max_size=4).map(tuple),
    permutation=st.none() | st.permutations(range(4)).map(tuple),
    tables=st.none() | st.just(TABLES),
    dead_zone=st.floats(0.5, 1.0),
    block_shape=st.none() | st.just((3, 5)),
)
layers = st.builds(
    LayerPolicy,
    spec=specs,
    where=st.sampled_from(["output", "input"]),
    activation=st.sampled_from(["none", "relu", "relu6"]),
)
policies = st.builds(
    Policy,
    layers=st.dictionaries(st.text(), layers, max_size=3),
    provenance=st.dictionaries(st.text(), st.text(), max_size=2),
)


@given(policies)
def test_round_trip(policy: Policy) -> None:
    again = Policy.from_json(policy.to_json())
    assert again == policy
    assert list(again.layers) == list(policy.layers)
    assert again.to_json() == policy.to_json()


def test_save_and_load(tmp_path: Path) -> None:
    policy = Policy(
        layers={"a.b": LayerPolicy(spec=CodecSpec(step=0.1, tables=TABLES), activation="relu")},
        provenance={"made by": "a test"},
    )
    path = tmp_path / "policy.json"
    policy.save(path)
    assert Policy.load(str(path)) == policy
    assert path.read_text().startswith('{\n  "layers": {\n    "a.b": {')


def test_load_toml(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        """
        schema_version = 1
        [layers."features.0"]
        where = "input"
        activation = "relu6"
        spec = { step = 0.1, bits = 6, transform = "dct", transform_size = 8, permutation = [1, 0] }
        """
    )
    spec = CodecSpec(step=0.1, bits=6, transform="dct", transform_size=8, permutation=(1, 0))
    assert Policy.load(path) == Policy(layers={"features.0": LayerPolicy(spec=spec, where="input", activation="relu6")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "truncated"),
        ('{"layers": {}}', "schema_version"),
        ('{"schema_version": 1}', "layers"),
        ('{"schema_version": 1, "layers": {}, "leyers": {}}', "leyers"),
        ('{"schema_version": 1, "layers": {"a": {"spec": {"stap": 1}}}}', "stap"),
        ('{"schema_version": 1, "layers": {"a": {"spec": {"bits": 17}}}}', "bits must be 2 to 16"),
        ('{"schema_version": 1, "layers": {"a": {"spec": {}, "where": "inside"}}}', "inside"),
        ('{"schema_version": 1, "layers": {"a": {"spec": {}, "activation": "gelu"}}}', "gelu"),
    ],
)
def test_invalid_json(text: str, message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        Policy.from_json(text)


def test_invalid_toml() -> None:
    with pytest.raises(FmcodecError, match="not a valid policy"):
        Policy.from_toml("schema_version = ")


def test_unknown_schema_version() -> None:
    # Unknown keys of a later version must not hide that it is later.
    with pytest.raises(UnsupportedVersionError, match="schema_version 2; this fmcodec reads version 1"):
        Policy.from_json('{"schema_version": 2, "new_key": 0}')
    with pytest.raises(UnsupportedVersionError):
        Policy(layers={}, schema_version=3)


def test_policies_are_immutable() -> None:
    layer = LayerPolicy(spec=CodecSpec())
    with pytest.raises(AttributeError):
        layer.where = "input"  # type: ignore[misc]
    assert hash(layer) == hash(LayerPolicy(spec=CodecSpec()))


def test_text_does_not_depend_on_the_way_of_a_policy() -> None:
    policy = Policy(
        layers={"a": LayerPolicy(CodecSpec(step=0.1)), "b": LayerPolicy(CodecSpec(bits=9), "input", "relu")}
    )
    for other in (pickle.loads(pickle.dumps(policy)), Policy.from_json(policy.to_json())):
        assert other.to_json() == policy.to_json()
    assert "identity" not in policy.to_json() and "where" not in policy.layers["a"].spec.to_json()
