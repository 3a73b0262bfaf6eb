"""fmcodec itself as a system: the best transform of each layer at a common relative step."""

from __future__ import annotations

from typing import ClassVar

from fmcodec.evaluation import Network, placements_of
from fmcodec.systems.system import Batches, Placements, System, require_positive
from fmcodec.torch import calibrate, relative_rms


class Fmcodec(System):
    """Level: step as a share of the root mean square of the map after its activation."""

    name: ClassVar[str] = "fmcodec"
    source = "this package"
    stated = "calibration by exact sizes, see `fmcodec.torch.calibrate`; frames hold their tables"
    reconstruction = "nothing"
    level_name = "step / RMS of the map"
    levels = (0.1, 0.15, 0.2, 0.3)
    effort: ClassVar[int] = 2

    def calibrate(self, network: Network, batches: Batches, level: float) -> Placements:
        """As in `System`."""
        require_positive(level)
        policy = calibrate(
            network.model,
            batches,
            network.maps,
            step_rule=relative_rms(level),
            effort=self.effort,
            embed_spec=False,
        )
        return placements_of(policy)


class FmcodecSmallest(Fmcodec):
    """The same with the effort that makes the smallest frames."""

    name: ClassVar[str] = "fmcodec-smallest"
    effort = 3
