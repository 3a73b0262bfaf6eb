"""Finished batches of evaluations in a file, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from fmcodec import __version__
from fmcodec.evaluation.batch import BatchRecord, Job, weights_digest
from fmcodec.evaluation.samples import Samples


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One finished batch: of which evaluation, its number, its record."""

    digest: str
    batch: int
    record: BatchRecord


class Journal:
    """Records of finished batches in a file of JSON lines, which may hold those of many evaluations.

    A line that was cut while it was written, and only the last one, is dropped.

    Parameters
    ----------
    path
        The file; made when the first batch is added.
    digest
        Of the evaluation; see `digest_of`.

    Raises
    ------
    ValueError
        The file is not a journal.
    """

    def __init__(self, path: str | Path, digest: str) -> None:
        self._path = Path(path)
        self._digest = digest
        self.records: dict[int, BatchRecord] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        *lines, rest = content.split(b"\n")
        try:
            entries = [msgspec.json.decode(line, type=_Line) for line in lines]
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path} is not a journal of evaluations: {error}") from error
        if rest:
            with self._path.open("r+b") as file:
                file.truncate(len(content) - len(rest))
        for entry in entries:
            if entry.digest == digest:
                self.records[entry.batch] = entry.record

    def add(self, batch: int, record: BatchRecord) -> None:
        """Writes a finished batch at the end of the file."""
        self.records[batch] = record
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(_Line(digest=self._digest, batch=batch, record=record)) + b"\n")


def digest_of(job: Job, samples: Samples, batch_size: int) -> str:
    """What all numbers of an evaluation follow from, as one hexadecimal number: network, codecs, images, settings."""
    network = job.network
    targets = None if samples.targets is None else _array_digest(samples.targets.numpy())
    content = {
        "version": __version__,
        "torch": str(torch.__version__),
        "network": network.name,
        "task": network.task,
        "peak": network.output_peak,
        # A function cannot be told by its name; what it does to an image says more.
        "input": _array_digest(network.preprocess(samples.images(0, 1).to(torch.float32)).numpy()),
        "weights": weights_digest(network.model),
        "modules": [(name, type(module).__qualname__) for name, module in network.model.named_modules()],
        "placements": [(name, _plain(site), _plain(codec)) for name, (site, codec) in job.placements.items()],
        "images": samples.keys(),
        "targets": targets,
        "settings": [batch_size, job.weight_bits, job.threads],
    }
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def _plain(value: Any) -> Any:
    """A value by its type and fields, arrays by their digests."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _array_digest(value.numpy() if isinstance(value, torch.Tensor) else value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(entry)] for key, entry in value.items()]
    names = getattr(value, "__struct_fields__", None) or getattr(value, "__dict__", {})
    return [type(value).__qualname__, *([name, _plain(getattr(value, name))] for name in names)]


def _array_digest(array: np.ndarray[Any, Any]) -> str:
    content = np.ascontiguousarray(array)
    return hashlib.sha256(f"{content.dtype} {content.shape}".encode() + content.tobytes()).hexdigest()
