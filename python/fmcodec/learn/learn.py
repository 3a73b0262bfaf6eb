"""learn_policy(): a policy whose parameters were trained through the network that stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from fmcodec import __version__
from fmcodec.evaluation.network import Network
from fmcodec.evaluation.samples import Samples
from fmcodec.learn.importance import coded, group_by_importance
from fmcodec.learn.layer import LearnedLayer, Method
from fmcodec.policy import Policy
from fmcodec.search.divergence import Task, divergence
from fmcodec.torch.observe import run

# Of Adam (D. Kingma and J. Ba, arXiv 1412.6980), at the start; they fall to 0 along half a cosine.
STEP_RATE = 0.03
ANGLE_RATE = 0.003
SHIFT_RATE = 0.005
LENGTH_RATE = 0.005
# Factors of all steps between which the slope of the start is measured: a number and its reciprocal.
SLOPE_FACTORS = (0.8, 1.25)
# Training images are shifted by up to this part of their sides.
SHIFT_SHARE = 8
# Every so many training images one is held out.
HELD_OUT_STRIDE = 4

Progress = Callable[[int, int], None]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement on calibration images that are held out from training.

    Parameters
    ----------
    step
        Training steps before it.
    divergence
        Mean divergence of the outputs; see `fmcodec.search.divergence`.
    bits_per_value
        Of real streams, all maps together.
    loss
        ``divergence`` plus the price times ``bits_per_value``.
    """

    step: int
    divergence: float
    bits_per_value: float
    loss: float


class LearnedPolicy(NamedTuple):
    """What `learn_policy` found.

    Parameters
    ----------
    policy
        That after the last step. It is not chosen by the checks: on so few images a divergence is that of the one or
        two that hesitate between answers, and the smallest of several is luck.
    history
        All checks, the start (`refined`) first.
    price
        What was paid for a bit per value, in units of the divergence.
    """

    policy: Policy
    history: tuple[Check, ...]
    price: float


def learn_policy(
    network: Network,
    calibration: Samples,
    start: Policy,
    *,
    method: Method = "both",
    price: float | None = None,
    steps: int = 400,
    groups: int = 8,
    batch_size: int = 16,
    checks: int = 4,
    vary: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> LearnedPolicy:
    """Trains what a policy codes with, so that the outputs of the network change less for the bits.

    The loss is the divergence from the outputs of the uncompressed network plus ``price`` times a model of the bits per
    value (`model_bits`, scaled layer by layer to the slope that real streams have at the start); gradients go straight
    through the exact simulation. The weights of the network stay as they are, and no labels are needed. Every fourth
    image is held out: there, divergence and the bits of real streams are measured on the way.

    Parameters
    ----------
    network
        On the device of its parameters.
    calibration
        At least 4 images of one size; not those that results are reported on.
    start
        Policy of the same network, without static tables.
    method
        ``"projection"`` trains rows and means of the transforms ``"klt"``, to which the identity counts, as one of
        single channels; after CAP 2021, arXiv 2110.08828.
        ``"precision"`` trains a factor of the steps of each group of bands; after LMPDR 2022, arXiv 2207.07931.
        ``"both"`` does both at once. Of both papers only the abstracts are known to us: docs/learn.md.
    price
        Divergence that one bit per value is worth; None for the one at which it does not pay to scale all steps of the
        start alike, so that the result is near it on the frontier.
    steps
        Of training, one batch each.
    groups
        Groups of bands by importance in each layer, at most.
    batch_size
        Images of a batch, and of a stream.
    checks
        Measurements after the start, at even distances.
    vary
        Whether training images are mirrored and shifted at random (`varied`). Without that, steps are fitted to how the
        values of a few images happen to be rounded. False is for inputs that are no pictures.
    seed
        Of all random numbers: order of images, their variation, answers drawn for importance.
    progress
        Called after each step with the number of steps so far, and of all.

    Returns
    -------
    LearnedPolicy
        The same for equal arguments on one kind of machine and number of threads.

    Raises
    ------
    ValueError
        An argument is out of range, nothing in the start can be learned, a map does not fit its spec, a module is
        unknown, or the slope of the start has no meaning and no price is given.
    """
    if method not in ("projection", "precision", "both"):
        raise ValueError(f"method must be 'projection', 'precision' or 'both', not {method!r}")
    if min(steps, groups, batch_size, checks) < 1:
        raise ValueError("steps, groups, batch_size and checks must be at least 1")
    if price is not None and not (price >= 0 and math.isfinite(price)):
        raise ValueError(f"price must be a number from 0 up, not {price}")
    if len(calibration) < HELD_OUT_STRIDE:
        raise ValueError(f"there must be at least {HELD_OUT_STRIDE} calibration images, not {len(calibration)}")
    held_out, trained = calibration.split(len(calibration) // HELD_OUT_STRIDE)
    generator = torch.Generator().manual_seed(seed)
    training = _Data.of(network, trained, batch_size)
    layers = _layers(network, training.inputs[:1], start, method)
    trainer = _Trainer(network, layers, training, _Data.of(network, held_out, batch_size), batch_size, vary)
    if method != "projection":
        group_by_importance(network, layers, training.inputs[:batch_size], groups, generator)
    trainer.prepare(price)
    history = trainer.train(steps, checks, generator, progress or (lambda done, total: None))
    provenance = {
        **{f"start {topic}": text for topic, text in start.provenance.items()},
        "method": f"fmcodec.learn, {method}",
        "network": network.name,
        "calibration": f"{len(calibration)} images of {calibration.name}",
        "price": f"{trainer.price:.9g}",
        "steps": str(steps),
        "groups": str(groups),
        "batch_size": str(batch_size),
        "vary": str(vary),
        "seed": str(seed),
        "fmcodec": __version__,
        "torch": str(torch.__version__),
    }
    policy = Policy(layers={name: layer.policy() for name, layer in layers.items()}, provenance=provenance)
    return LearnedPolicy(policy, tuple(history), trainer.price)


class _Data(NamedTuple):
    """Inputs of the network and the outputs it has without coding, on its device."""

    inputs: torch.Tensor
    outputs: torch.Tensor

    @classmethod
    def of(cls, network: Network, samples: Samples, batch_size: int) -> _Data:
        device = next((parameter.device for parameter in network.model.parameters()), torch.device("cpu"))
        inputs, outputs = [], []
        with torch.no_grad():
            for batch in samples.batches(batch_size):
                inputs.append(network.preprocess(batch.to(torch.float32)).to(device))
                outputs.append(network.model(inputs[-1]))
        return cls(torch.cat(inputs), torch.cat(outputs))


def _layers(network: Network, example: torch.Tensor, start: Policy, method: Method) -> dict[str, LearnedLayer]:
    channels: dict[str, int] = {}
    places = {name: layer.where for name, layer in start.layers.items()}
    run(network.model, [example], places, lambda name, x: channels.update({name: x.shape[1]}))
    layers = {}
    for name, count in channels.items():
        try:
            layers[name] = LearnedLayer(start.layers[name], count, method).to(example.device)
        except ValueError as error:
            error.add_note(f"while preparing the map of {name!r}")
            raise
    if not any(parameter.requires_grad for layer in layers.values() for parameter in layer.parameters()):
        raise ValueError(f"the start has nothing to learn by {method!r}: DCT and Hadamard transforms have steps only")
    return layers


class _Measurement(NamedTuple):
    """Mean divergence, and bits of streams and of their model by layer, of so many values."""

    divergence: float
    real_bits: dict[str, int]
    model_bits: dict[str, float]
    values: int

    @property
    def bits_per_value(self) -> float:
        return sum(self.real_bits.values()) / self.values


class _Trainer:
    """The loss, its measurement, and the loop."""

    def __init__(
        self,
        network: Network,
        layers: dict[str, LearnedLayer],
        training: _Data,
        held_out: _Data,
        batch_size: int,
        vary: bool,
    ) -> None:
        self._network = network
        self._layers = layers
        self._training = training
        self._held_out = held_out
        self._batch_size = batch_size
        self._vary = vary
        self._scales = dict.fromkeys(layers, 1.0)
        self.price = 0.0

    def measure(self, data: _Data) -> _Measurement:
        """Divergence and bits on some images."""
        divergences: list[float] = []
        real, modelled = dict.fromkeys(self._layers, 0), dict.fromkeys(self._layers, 0.0)
        values = 0
        for layer in self._layers.values():
            layer.is_measuring = True
        with torch.no_grad(), coded(self._network.model, self._layers):
            for start in range(0, len(data.inputs), self._batch_size):
                part = slice(start, start + self._batch_size)
                output = self._network.model(data.inputs[part])
                divergences += divergence(data.outputs[part], output, self._network.task)
                for name, layer in self._layers.items():
                    real[name] += layer.real_bits
                    modelled[name] += float(layer.model_bits)
                    values += layer.values
        for layer in self._layers.values():
            layer.is_measuring = False
            layer.coefficients = torch.zeros(())
        return _Measurement(math.fsum(divergences) / len(divergences), real, modelled, values)

    def prepare(self, price: float | None) -> None:
        """Sets the price, and scales the model of the bits of each layer, by the slopes that the start has.

        All steps are scaled alike to two sides. What streams hold besides symbols does not change then, so slopes say
        more about steps than the bits themselves. Divergence is taken to grow with the square of the steps: measured
        differences of it would be those of single images.
        """
        points = []
        for factor in SLOPE_FACTORS:
            for layer in self._layers.values():
                layer.scale = factor
            points.append(self.measure(self._training))
        for layer in self._layers.values():
            layer.scale = 1.0
        fine, coarse = points
        for name in self._layers:
            modelled = fine.model_bits[name] - coarse.model_bits[name]
            real = fine.real_bits[name] - coarse.real_bits[name]
            self._scales[name] = real / modelled if modelled > 0 and real > 0 else 1.0
        saved = fine.bits_per_value - coarse.bits_per_value
        # The geometric mean is the divergence of the start for any power of the steps.
        middle = math.sqrt(fine.divergence * coarse.divergence)
        if price is None and not (saved > 0 and middle > 0):
            raise ValueError("coarser steps do not change outputs and bits as they should: give a price")
        self.price = 2 * middle * math.log(SLOPE_FACTORS[1] / SLOPE_FACTORS[0]) / saved if price is None else price

    def train(self, steps: int, checks: int, generator: torch.Generator, progress: Progress) -> list[Check]:
        """Trains the layers; all checks."""
        parameters, optimizer = self._optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: 0.5 + 0.5 * math.cos(math.pi * done / steps)
        )
        history = [self._check(0)]
        check_after = {step * steps // min(checks, steps) for step in range(1, min(checks, steps) + 1)}
        order = torch.empty(0, dtype=torch.int64)
        for step in range(1, steps + 1):
            if not len(order):
                order = torch.randperm(len(self._training.inputs), generator=generator)
            batch, order = order[: self._batch_size], order[self._batch_size :]
            inputs = self._training.inputs[batch.to(self._training.inputs.device)]
            loss = self._loss(varied(inputs, generator) if self._vary else inputs)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            schedule.step()
            if step in check_after:
                history.append(self._check(step))
            progress(step, steps)
        return history

    def _optimizer(self) -> tuple[list[nn.Parameter], torch.optim.Adam]:
        rates = {"log_factors": STEP_RATE, "angles": ANGLE_RATE, "shifts": SHIFT_RATE, "log_lengths": LENGTH_RATE}
        learned = [
            (getattr(layer, name), rate)
            for name, rate in rates.items()
            for layer in self._layers.values()
            if getattr(layer, name).requires_grad
        ]
        groups = [{"params": [parameter], "lr": rate} for parameter, rate in learned]
        return [parameter for parameter, _ in learned], torch.optim.Adam(groups)

    def _check(self, step: int) -> Check:
        found = self.measure(self._held_out)
        loss = found.divergence + self.price * found.bits_per_value
        return Check(step=step, divergence=found.divergence, bits_per_value=found.bits_per_value, loss=loss)

    def _loss(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            reference = self._network.model(inputs)
        with coded(self._network.model, self._layers):
            output = self._network.model(inputs)
        error = divergence_loss(reference, output, self._network.task)
        bits = torch.stack([self._scales[name] * layer.model_bits for name, layer in self._layers.items()]).sum()
        return error + self.price * bits / sum(layer.values for layer in self._layers.values())


def varied(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images (N, C, H, W), each mirrored with probability 1/2, all shifted by up to an eighth of each side.

    What is shifted in is the mirror image of what is beside it. No labels are needed, so whatever looks like an image
    can be learned from.
    """
    flips = torch.rand(len(inputs), generator=generator).to(inputs.device) < 0.5
    mirrored = torch.where(flips[:, None, None, None], inputs.flip(3), inputs)
    margins = [extent // SHIFT_SHARE for extent in inputs.shape[2:]]
    padded = nn.functional.pad(mirrored, (margins[1], margins[1], margins[0], margins[0]), mode="reflect")
    top, left = (int(torch.randint(2 * margin + 1, (), generator=generator)) for margin in margins)
    return padded[:, :, top : top + inputs.shape[2], left : left + inputs.shape[3]].contiguous()


def divergence_loss(reference: torch.Tensor, output: torch.Tensor, task: Task) -> torch.Tensor:
    """Mean of `fmcodec.search.divergence` over a batch, with gradients."""
    if task == "classification":
        expected, found = reference.log_softmax(1), output.log_softmax(1)
        return nn.functional.kl_div(found, expected, reduction="batchmean", log_target=True)
    errors = (output - reference).square().flatten(1).sum(1)
    return (errors / (2 * reference.square().flatten(1).sum(1)).clamp(min=1e-30)).mean()
