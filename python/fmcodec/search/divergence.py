"""Divergence of two outputs of a network: what a search keeps small."""

from __future__ import annotations

from typing import Literal

import torch

from fmcodec.evaluation.metrics import kl_divergence

Task = Literal["classification", "image"]


def divergence(reference: torch.Tensor, other: torch.Tensor, task: Task) -> list[float]:
    """How far each output of a batch is from that of the uncompressed network.

    Parameters
    ----------
    reference, other
        Logits (N, classes), or images (N, C, H, W).
    task
        ``"classification"``: Kullback-Leibler divergence of the softmax in nats. ``"image"``: half the squared error
        over the energy of the reference, which is the divergence of Gaussians of that variance: 0.005 is 20 dB.
    """
    if task == "classification":
        return kl_divergence(reference, other)
    errors = (other.double() - reference.double()).square().flatten(1).sum(1)
    energy = reference.double().square().flatten(1).sum(1)
    return [float(value) for value in errors / (2 * energy).clamp(min=1e-300)]


def random_score(output: torch.Tensor, task: Task, generator: torch.Generator) -> torch.Tensor:
    """A random number whose gradients have the curvature of `divergence`, summed over a batch.

    For logits it is the log-likelihood of answers drawn from their softmax; for images the product with white noise.
    """
    if task == "classification":
        answers = torch.multinomial(output.detach().double().softmax(1), 1, generator=generator)
        return output.log_softmax(1).gather(1, answers).sum()
    noise = torch.randn(output.shape, generator=generator).to(output)
    energy = output.detach().square().flatten(1).sum(1).clamp(min=1e-30).sqrt()
    return ((output * noise).flatten(1).sum(1) / energy).sum()
