"""Split inference on loopback: one process runs the head of EfficientNet-Lite0, the other its tail.

    python examples/split_inference.py --layer _blocks.10 --images 96

The network is cut at a layer. Steps, transform and code tables are calibrated on some photographs; views of others go
through the head, over a TCP connection to the tail, and answers come back. Beside it stand what else could be sent: the
map as it is or with 8 bits, and the photograph itself as JPEG. Needs `pip install "fmcodec[demo]"`.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import socket
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

import fmcodec
from fmcodec.demo_inputs import CALIBRATION_PHOTOGRAPHS, REPORT_PHOTOGRAPHS, photograph_views
from fmcodec.evaluation import ArraySamples, MapSite, Network, NetworkInputs, load_network
from fmcodec.link import Receiver, Sender
from fmcodec.split import split
from fmcodec.torch import calibrate, relative_rms

ANSWER = struct.Struct("<I")
TIMEOUT = 60.0


class Row(NamedTuple):
    """What it costs to get answers in one of the ways."""

    what: str
    bytes_per_image: float
    agreeing: float
    images_per_second: float | None = None
    relative_speed: float | None = None
    spec_bytes: int = 0


def views(network: Network, photographs: tuple[str, ...], count: int, seed: int) -> list[torch.Tensor]:
    """Inputs (1, 3, 224, 224) of the network."""
    return list(NetworkInputs(network, ArraySamples(photograph_views(photographs, count, seed)), 1))


def parts(network: Network, layer: str) -> tuple[nn.Module, nn.Module]:
    """Head and tail of the network."""
    return split(network.model, layer, torch.zeros(1, 3, 224, 224))


def calibrated(head: nn.Module, inputs: list[torch.Tensor], relative_step: float) -> fmcodec.CodecSpec:
    """The spec with the fewest bits for the output of the head, with code tables."""
    model = nn.Sequential()
    model.add_module("head", head)
    policy = calibrate(
        model,
        inputs,
        {"head": MapSite()},
        step_rule=relative_rms(relative_step),
        static_tables=True,
        embed_spec=False,
    )
    return policy.layers["head"].spec


def serve(listener: socket.socket, layer: str, ready: Event) -> None:
    """The process of the tail: takes a connection after the other, and sends an answer for each map."""
    torch.set_num_threads(1)
    _, tail = parts(load_network("efficientnet_lite0"), layer)
    ready.set()
    while True:
        connection, _ = listener.accept()
        with connection, torch.inference_mode():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for x in Receiver(connection, timeout=TIMEOUT):
                connection.sendall(ANSWER.pack(int(tail(torch.from_numpy(x)).argmax())))


def receive_answer(connection: socket.socket) -> int:
    """A class number from the tail."""
    data = connection.recv(ANSWER.size, socket.MSG_WAITALL)
    if len(data) < ANSWER.size:
        raise ConnectionError("the process of the tail is gone")
    return int(ANSWER.unpack(data)[0])


def over_the_link(
    address: tuple[str, int], head: nn.Module, inputs: list[torch.Tensor], spec: fmcodec.CodecSpec
) -> tuple[list[int], int, float]:
    """Answers, bytes sent and seconds for all inputs, one image in a frame."""
    with socket.create_connection(address, TIMEOUT) as connection, torch.inference_mode():
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        with Sender(connection, spec, timeout=TIMEOUT) as sender:
            # Answers of 4 bytes wait in the socket while the head goes on with the next image.
            sent = sum(sender.send(head(x)) for x in inputs)
        answers = [receive_answer(connection) for _ in inputs]
        return answers, sent, time.perf_counter() - start


def with_8_bits(x: torch.Tensor) -> torch.Tensor:
    """The map rounded to 256 levels over its own range."""
    low, high = min(0.0, float(x.min())), float(x.max())
    step = (high - low) / 255
    return ((x - low) / step).round() * step + low


def as_jpeg(images: torch.Tensor, quality: int) -> tuple[torch.Tensor, int]:
    """What JPEG makes of images (N, 3, H, W), colors at full resolution, and its bytes."""
    decoded, size = [], 0
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling=0)
        size += len(file.getvalue())
        decoded.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(decoded), size


def in_one_process(network: Network, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, float]:
    """Answers of the whole network, and seconds."""
    start = time.perf_counter()
    with torch.inference_mode():
        answers = torch.cat([network.model(x).argmax(1) for x in inputs])
    return answers, time.perf_counter() - start


@contextmanager
def tail_process(layer: str) -> Iterator[tuple[str, int]]:
    """The process of the tail, ready for connections to the address."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = context.Process(target=serve, args=(listener, layer, ready), daemon=True)
        process.start()
        try:
            if not ready.wait(TIMEOUT):
                raise TimeoutError("the process of the tail did not start")
            yield listener.getsockname()
        finally:
            process.kill()
            process.join()


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the table, one after the other."""
    network = load_network("efficientnet_lite0")
    head, tail = parts(network, options.layer)
    inputs = views(network, REPORT_PHOTOGRAPHS, options.images, 2)
    samples = views(network, CALIBRATION_PHOTOGRAPHS, options.calibration, 1)
    expected, _ = in_one_process(network, inputs)
    with torch.inference_mode():
        maps = [head(x) for x in inputs]
        rounded = torch.cat([tail(with_8_bits(x)).argmax(1) for x in maps])
    yield Row("map as float32", 4 * maps[0].numel(), 1.0)
    yield Row("map with 8 bits", maps[0].numel(), agreement(rounded, expected))
    with tail_process(options.layer) as address:
        for relative_step in options.relative_steps:
            spec = calibrated(head, samples, relative_step)
            seconds, ratios = [], []
            # In turn with the whole network, because other work on the machine comes and goes.
            for _ in range(options.rounds):
                _, alone = in_one_process(network, inputs)
                answers, sent, linked = over_the_link(address, head, inputs, spec)
                seconds.append(linked)
                ratios.append(alone / linked)
            # The spec goes over the link once, in a frame of its own before the first map.
            spec_bytes = len(fmcodec.encode(maps[0][0, :, :0, :0], spec))
            yield Row(
                f"fmcodec, step {relative_step:g} RMS",
                (sent - spec_bytes) / len(inputs),
                agreement(torch.tensor(answers), expected),
                len(inputs) / statistics.median(seconds),
                statistics.median(ratios),
                spec_bytes,
            )
    yield from photographs(network, options.images, expected)


def agreement(answers: torch.Tensor, expected: torch.Tensor) -> float:
    """Share of equal answers."""
    return float((answers == expected).float().mean())


def photographs(network: Network, count: int, expected: torch.Tensor) -> Iterator[Row]:
    """What the whole network says at the other end if photographs travel."""
    images = photograph_views(REPORT_PHOTOGRAPHS, count, 2)
    yield Row("photograph as it is", images[0].numel(), 1.0)
    for quality in (95, 85, 70):
        decoded, size = as_jpeg(images, quality)
        answers, _ = in_one_process(network, list(NetworkInputs(network, ArraySamples(decoded), 1)))
        yield Row(f"photograph as JPEG {quality}", size / count, agreement(answers, expected))


def main() -> None:
    """Prints the table as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", default="_blocks.10", help="where the network is cut")
    parser.add_argument("--images", type=int, default=96, help="views of photographs to send")
    parser.add_argument("--calibration", type=int, default=16, help="views of other photographs to calibrate on")
    parser.add_argument("--relative-steps", type=float, nargs="+", default=[0.2, 0.4, 0.8])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of time, of which the median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| sent | bytes per image | and once | same answers | images/s | against one process |")
    print("|---|---|---|---|---|---|", flush=True)
    for row in measure(options):
        speed = "" if row.images_per_second is None else f"{row.images_per_second:.1f}"
        ratio = "" if row.relative_speed is None else f"{row.relative_speed:.2f}"
        once = f"{row.spec_bytes:,}" if row.spec_bytes else ""
        print(
            f"| {row.what} | {row.bytes_per_image:,.0f} | {once} | {row.agreeing:.1%} | {speed} | {ratio} |", flush=True
        )


if __name__ == "__main__":
    main()
