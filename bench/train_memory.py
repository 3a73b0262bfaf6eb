"""Training with compressed activations: memory, time and loss beside no compression and gradient checkpointing.

    python bench/train_memory.py --output results
    python bench/train_memory.py --data cifar10.npz --output results --steps 400

A residual network for images of 32 x 32 (20 layers, K. He et al., arXiv 1512.03385, section 4.2) is trained by SGD from
the same weights on the same batches, once in each way and each in a process of its own, on one thread. Checkpointing
is `torch.utils.checkpoint` around every block. DATA is what `fmcodec evaluate` takes, with labels: a fifth of it is
held out. By default the images are patches of photographs that scikit-image installs, and the class is the photograph.

Bytes saved are those that the graph holds at the end of the forward pass. Peak memory is the largest resident set of
the process above that before the first step (Linux only): with the allocator of glibc as it is, and, in a short run of
its own, with MALLOC_MMAP_THRESHOLD_=262144, so that memory of freed tensors goes back at once. Times are medians of
processor time of steps that alternate between the variants in one process; `--times` prints them alone, so that they
can be taken with other settings of the allocator. `--gradients` compares gradients of one batch instead.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import load_samples
from fmcodec.torch import relative_step, saved_tensors

Hooks = contextlib.AbstractContextManager[Any]
Batch = tuple[torch.Tensor, torch.Tensor]

VARIANTS = ("uncompressed", "checkpointing", "coded 0.25", "coded 0.5")
SIZE = 32


class Block(nn.Module):
    """Two convolutions and a shortcut; checkpointed if its attribute says so."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.is_checkpointed = False
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self._forward, x, use_reentrant=False) if self.is_checkpointed else self._forward(x)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def make_network(classes: int) -> nn.Sequential:
    """The network of 20 layers with weights of seed 0."""
    torch.manual_seed(0)
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in itertools.pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


class Data:
    """Images and classes; every fifth is held out."""

    def __init__(self, path: Path | None) -> None:
        images, labels = photograph_patches() if path is None else labelled_images(path)
        is_held_out = torch.arange(len(images)) % 5 == 4
        self.images, self.labels = images[~is_held_out], labels[~is_held_out]
        self.held_out_images, self.held_out_labels = images[is_held_out], labels[is_held_out]
        self.classes = int(labels.max()) + 1

    def batches(self, steps: int, size: int, seed: int = 1) -> Iterator[Batch]:
        """Random batches, mirrored at random; the same in each run with this seed."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            places = torch.randint(len(self.images), (size,), generator=generator)
            x = normalized(self.images[places])
            yield (x.flip(-1) if torch.rand((), generator=generator) < 0.5 else x), self.labels[places]


def normalized(images: torch.Tensor) -> torch.Tensor:
    """Network inputs from images of uint8."""
    return (images.float() - 120.0) / 60.0


def photograph_patches() -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of views of eight photographs, and the number of the photograph of each."""
    names = CALIBRATION_PHOTOGRAPHS + REPORT_PHOTOGRAPHS
    views = photograph_views(names, 15 * len(names), seed=0)
    patches = views.unfold(2, SIZE, SIZE).unfold(3, SIZE, SIZE).permute(0, 2, 3, 1, 4, 5)
    labels = (torch.arange(len(views)) % len(names))[:, None, None].expand(patches.shape[:3])
    return patches.reshape(-1, 3, SIZE, SIZE), labels.flatten()


def labelled_images(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a source with labels."""
    samples = load_samples(path, size=SIZE)
    if samples.targets is None:
        raise SystemExit(f"{path} has no labels")
    return samples.images(0, len(samples)), samples.targets


def resident_bytes(field: str) -> int:
    """VmRSS, the resident set of this process, or VmHWM, its peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


class Trainer:
    """A network on its way, in one of the variants."""

    def __init__(self, variant: str, classes: int, steps: int) -> None:
        self.network = make_network(classes)
        for module in self.network.modules():
            if isinstance(module, Block):
                module.is_checkpointed = variant == "checkpointing"
        self._relative = float(variant.split()[1]) if variant.startswith("coded") else None
        self._optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """One step; returns the loss before it."""
        with saved_tensors(relative_step(self._relative)) if self._relative else contextlib.nullcontext():
            loss = F.cross_entropy(self.network(x), y)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

    def saved_bytes(self, x: torch.Tensor, y: torch.Tensor) -> int:
        """Bytes that a graph holds after the forward pass."""
        with saved_tensors(relative_step(self._relative) if self._relative else lambda _: None) as saved:
            loss = F.cross_entropy(self.network(x), y)
        del loss
        return saved.stored_bytes


def train(variant: str, data: Data, steps: int, batch_size: int, seed: int) -> dict[str, Any]:
    """One training run and what it took."""
    trainer = Trainer(variant, data.classes, steps)
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    losses = [trainer.step(x, y) for x, y in data.batches(steps, batch_size, seed)]
    peak = resident_bytes("VmHWM") - before
    saved = trainer.saved_bytes(*next(data.batches(1, batch_size)))
    return {
        "losses": losses,
        "held_out_accuracy": accuracy(trainer.network, data),
        "saved_bytes": saved,
        "peak_bytes": peak,
    }


def step_seconds(data: Data, rounds: int, batch_size: int) -> dict[str, float]:
    """Median processor time of a step of each variant, in turn in one process."""
    trainers = {variant: Trainer(variant, data.classes, rounds) for variant in VARIANTS}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for x, y in data.batches(rounds, batch_size):
        for variant, trainer in trainers.items():
            start = time.process_time()
            trainer.step(x, y)
            seconds[variant].append(time.process_time() - start)
    return {variant: statistics.median(values[2:]) for variant, values in seconds.items()}


@torch.no_grad()
def accuracy(network: nn.Module, data: Data) -> float:
    """Share of the held-out images with the right answer."""
    network.eval()
    answers = torch.cat([network(normalized(images)).argmax(1) for images in data.held_out_images.split(250)])
    return float((answers == data.held_out_labels).float().mean())


def gradient_errors(data: Data, batch_size: int) -> None:
    """Prints errors of the gradient of one batch, after some training, by relative step and kind of rounding."""
    network = make_network(data.classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    *batches, other, last = data.batches(102, batch_size)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def gradient(hooks: Hooks, batch: Batch) -> torch.Tensor:
        network.zero_grad()
        with hooks:
            loss = F.cross_entropy(network(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])

    def to_nearest(relative: float) -> Callable[[torch.Tensor], torch.Tensor]:
        def pack(t: torch.Tensor) -> torch.Tensor:
            if isinstance(t, nn.Parameter) or t.dim() != 4:
                return t
            step = relative * t.detach().square().mean().sqrt()
            return (t.detach() / step).round() * step

        return pack

    exact = gradient(contextlib.nullcontext(), last)

    def error(hooks: Hooks, batch: Batch) -> float:
        return float((gradient(hooks, batch) - exact).norm() / exact.norm())

    print("norm of the error over norm of the gradient")
    print(f"{'step / RMS':>10}{'fmcodec':>10}{'to nearest':>12}")
    for relative in (0.1, 0.25, 0.5, 1.0):
        hooks = torch.autograd.graph.saved_tensors_hooks(to_nearest(relative), lambda t: t)
        ours, nearest = error(saved_tensors(relative_step(relative)), last), error(hooks, last)
        print(f"{relative:>10}{ours:>10.4f}{nearest:>12.4f}")
    print(f"another batch, not coded: {error(contextlib.nullcontext(), other):.2f}")


def smoothed(losses: list[float], window: int) -> list[float]:
    """Means of the last values up to each step."""
    return [statistics.fmean(losses[max(0, end - window) : end]) for end in range(1, len(losses) + 1)]


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Loss by step of all variants."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fmcodec", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for (name, result), style in zip(results.items(), ("-", "--", "-.", ":"), strict=True):
        axes.plot(smoothed(result["losses"], 20), style, label=name, linewidth=1.5)
    axes.set(xlabel="step", ylabel="training loss, mean of 20 steps")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """A row for each variant."""
    first = results[VARIANTS[0]]["seconds_per_step"]
    print(f"{'':<14}{'saved':>8}{'peak':>8}{'glibc':>8}  MB{'s/step':>9}{'time':>7}{'loss':>8}{'held out':>10}")
    for name, result in results.items():
        sizes = "".join(f"{result[key] / 1e6:>8.1f}" for key in ("saved_bytes", "peak_bytes_returned", "peak_bytes"))
        seconds, loss = result["seconds_per_step"], statistics.fmean(result["losses"][-50:])
        answers = result["held_out_accuracy"]
        print(f"{name:<14}{sizes}    {seconds:>9.3f}{seconds / first:>6.2f}x{loss:>8.3f}{answers:>10.3f}")


def run_apart(variant: str, steps: int, arguments: argparse.Namespace, **environment: str) -> dict[str, Any]:
    """`train` in a process of its own, whose peak memory is that of this variant alone."""
    command = [sys.executable, __file__, "--variant", variant, "--steps", str(steps)]
    command += ["--batch-size", str(arguments.batch_size), "--seed", str(arguments.seed)]
    command += ["--data", str(arguments.data)] if arguments.data else []
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def compare(data: Data, arguments: argparse.Namespace) -> None:
    """All variants: training, memory and time, as a table and as files."""
    seconds = step_seconds(data, 20, arguments.batch_size)
    results = {}
    for variant in VARIANTS:
        short = run_apart(variant, 6, arguments, MALLOC_MMAP_THRESHOLD_="262144")
        results[variant] = {
            **run_apart(variant, arguments.steps, arguments),
            "peak_bytes_returned": short["peak_bytes"],
            "seconds_per_step": seconds[variant],
        }
    print_table(results)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        rounded = {name: {**r, "losses": [round(loss, 4) for loss in r["losses"]]} for name, r in results.items()}
        (arguments.output / "train_memory.json").write_text(json.dumps(rounded) + "\n")
        plot(results, arguments.output / "train_memory.svg")


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="labelled images; photographs of scikit-image if left out")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1, help="of the order of batches")
    parser.add_argument("--output", type=Path, help="folder for train_memory.json and train_memory.svg")
    parser.add_argument("--variant", choices=VARIANTS, help="only this one, in this process, as JSON")
    parser.add_argument("--times", action="store_true", help="processor time of a step only")
    parser.add_argument("--gradients", action="store_true", help="errors of one gradient, without a training run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(arguments.data)
    if arguments.gradients:
        gradient_errors(data, arguments.batch_size)
    elif arguments.times:
        for variant, seconds in step_seconds(data, 20, arguments.batch_size).items():
            print(f"{variant:<14}{seconds:>8.3f} s")
    elif arguments.variant:
        print(json.dumps(train(arguments.variant, data, arguments.steps, arguments.batch_size, arguments.seed)))
    else:
        compare(data, arguments)


if __name__ == "__main__":
    main()
