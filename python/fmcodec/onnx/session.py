"""A session like that of onnxruntime, in which named tensors are coded and decoded while the model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmcodec.onnx.graph import Source
from fmcodec.onnx.module import ModelInput, OnnxModule
from fmcodec.policy import Policy
from fmcodec.torch.map_codec import Mode
from fmcodec.torch.statistics import LayerStatistics, Totals
from fmcodec.torch.wrap import wrap


class CompressedSession:
    """Runs an ONNX model with coded feature maps.

    Parameters
    ----------
    source
        A file, or a model.
    policy
        Names of tensors to how they are coded. Without any layer, the model runs as onnxruntime runs it.
    mode, embed_spec
        As in `fmcodec.torch.wrap`.
    threads
        Threads of onnxruntime for one operator, and of each encode and decode.
    optimize
        As in `OnnxModule`.

    Raises
    ------
    ValueError
        The file holds no valid model, or it computes no tensor of a name; see `OnnxModule`.
    """

    def __init__(
        self,
        source: Source,
        policy: Policy,
        *,
        mode: Mode = "codec",
        embed_spec: bool = True,
        threads: int = 1,
        optimize: bool = True,
    ) -> None:
        self._module = OnnxModule(source, policy.layers, threads=threads, optimize=optimize)
        self._session = wrap(self._module, policy, mode=mode, threads=threads, embed_spec=embed_spec)

    @property
    def inputs(self) -> list[ModelInput]:
        """What must be fed."""
        return self._module.inputs

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs of the model."""
        return self._module.output_names

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        """Outputs of the model, as `onnxruntime.InferenceSession.run` gives them; all maps of the policy are coded.

        Parameters
        ----------
        output_names
            Which outputs; all of the model for None.
        input_feed
            Arrays by the names of the inputs.

        Raises
        ------
        ValueError
            Names, dtypes or shapes do not fit the model, or a map cannot be coded; see `fmcodec.encode`.
        """
        names = self.output_names if output_names is None else list(output_names)
        if unknown := set(names) - set(self.output_names):
            raise ValueError(
                f"the model has no output {', '.join(sorted(unknown))}, only {', '.join(self.output_names)}"
            )
        found = self._module.run({name: np.ascontiguousarray(x) for name, x in input_feed.items()})
        return [found[name] for name in names]

    @property
    def stats(self) -> list[LayerStatistics]:
        """Statistics of every coded tensor, in the order in which they first ran."""
        return self._session.stats

    def totals(self) -> Totals:
        """Sums over all coded tensors."""
        return self._session.totals()

    def reset(self) -> None:
        """Forgets all statistics."""
        self._session.reset()
