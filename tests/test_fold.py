"""Transforms folded into weights: the network computes the same."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fmcodec import ChannelMoments, CodecSpec, klt_spec
from fmcodec.demo_inputs import REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import load_network
from fmcodec.torch import fold_batch_norm, fold_klt, permute_inputs, permute_outputs


def trained(module: nn.Module) -> Any:
    """With statistics and parameters that are not the initial ones."""
    generator = torch.Generator().manual_seed(0)
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if values.dtype.is_floating_point:
            noise = torch.rand(values.shape, generator=generator)
            values.data = noise + 0.5 if name.endswith(("running_var", "weight")) else noise - 0.5
    return module.eval()


def spec_for(x: torch.Tensor, step: float) -> CodecSpec:
    moments = ChannelMoments(x.shape[1])
    moments.update(x.numpy())
    return klt_spec(moments.principal_components(), step, float(x.min()), float(x.max()))


@pytest.mark.parametrize("has_bias", [True, False])
def test_batch_norm(has_bias: bool) -> None:
    conv, norm = trained(nn.Conv2d(5, 7, 3, padding=1, bias=has_bias)), trained(nn.BatchNorm2d(7))
    x = torch.randn(2, 5, 8, 9)
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(conv, norm)(x), norm(conv(x)), rtol=1e-5, atol=1e-5)
    assert (conv.bias is not None) == has_bias
    with pytest.raises(ValueError, match="8 channels, not 7"):
        fold_batch_norm(conv, nn.BatchNorm2d(8))
    with pytest.raises(ValueError, match="no running statistics"):
        fold_batch_norm(conv, nn.BatchNorm2d(7, track_running_stats=False))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_klt_of_a_convolution(groups: int) -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=groups).eval()
    x = torch.randn(4, 6, 21, 20)
    with torch.no_grad():
        y = conv(x)
        spec = spec_for(y, 1e-3)
        assert spec.basis is not None and spec.kept_band_count == 12
        folded = fold_klt(conv, spec)
        torch.testing.assert_close(folded.inverse(folded.forward(x)), y, rtol=2e-3, atol=2e-3)
        # Components are what the transform of the map gives.
        rows = torch.tensor(spec.basis.entries(12, 12)[0] / 2.0**spec.basis.fraction_bits).float()
        means = torch.tensor(spec.basis.means) * spec.step
        expected = torch.einsum("kc,nchw->nkhw", rows, y - means[:, None, None])
        torch.testing.assert_close(folded.forward(x), expected, rtol=1e-4, atol=1e-4)


def test_klt_with_a_permutation() -> None:
    torch.manual_seed(2)
    conv = nn.Conv2d(3, 8, 1).eval()
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        y = conv(x)
        order = np.random.default_rng(0).permutation(8).tolist()
        spec = spec_for(y[:, order], 1e-2).replace(permutation=tuple(order))
        # Three inputs make three components, however many channels there are.
        assert spec.kept_band_count == 3
        folded = fold_klt(conv, spec)
        torch.testing.assert_close(folded.inverse(folded.forward(x)), y, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="KLT over all 8 channels"):
        fold_klt(conv, CodecSpec())


def test_klt_of_a_real_network() -> None:
    network = load_network("efficientnet_lite0")
    model = network.model
    images = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 2, seed=0).float())
    block = model.get_submodule("_blocks.2")
    inputs: list[torch.Tensor] = []
    handle = block._expand_conv.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        expected = model(images)
        handle.remove()
        y = block._bn0(block._expand_conv(inputs[0]))
        spec = spec_for(y, 0.05 * float(y.std()))
        folded = fold_klt(block._expand_conv, spec, block._bn0)
        # 144 channels of 24 inputs: a sixth of the channels leaves the convolution.
        assert folded.forward(inputs[0]).shape[1] == 24
        restored = folded.inverse(folded.forward(inputs[0]))
        error = (restored - y).square().mean() / y.square().mean()
        assert 10 * torch.log10(error) < -50
        block._expand_conv, block._bn0 = nn.Sequential(*folded), nn.Identity()
        torch.testing.assert_close(model(images), expected, rtol=0.02, atol=0.05)


def test_permutation_of_a_real_network() -> None:
    network = load_network("efficientnet_lite0")
    model = network.model
    images = network.preprocess(photograph_views(REPORT_PHOTOGRAPHS, 2, seed=0).float())
    with torch.no_grad():
        expected = model(images)
        block = model.get_submodule("_blocks.1")
        order = np.random.default_rng(1).permutation(96).tolist()
        before = copy.deepcopy(block._expand_conv.weight)
        for module in (block._expand_conv, block._bn0, block._depthwise_conv, block._bn1):
            permute_outputs(module, order)
        assert not torch.equal(block._expand_conv.weight, before)
        assert not torch.allclose(model(images), expected, atol=1e-2)
        permute_inputs(block._project_conv, order)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-3)


def test_orders_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="each of 4 channels once"):
        permute_outputs(nn.BatchNorm2d(4), [0, 1, 2, 2])
    with pytest.raises(ValueError, match="each of 3 channels once"):
        permute_inputs(nn.Linear(3, 5), [0, 1])
    with pytest.raises(ValueError, match="2 groups"):
        permute_outputs(nn.Conv2d(4, 4, 1, groups=2), [3, 2, 1, 0])
    with pytest.raises(ValueError, match="permute_outputs"):
        permute_inputs(nn.Conv2d(4, 4, 1, groups=4), [3, 2, 1, 0])
