"""Where a burst is in DRAM: a memory of chips in lockstep, and its address map."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from fmcodec.energy.parts import Part, Timing
from fmcodec.errors import FmcodecError

IntArray = npt.NDArray[np.int64]

BankGroupBits = Literal["lowest", "above column"]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One channel: chips side by side, ranks one behind the other, and how addresses are spread over banks.

    From the highest bits down an address is row, rank, bank, bank group, column, byte of a burst. With
    ``bank_group_bits="lowest"`` the bank group is below the column, so that consecutive bursts alternate between groups
    and need not wait for each other; with ``"above column"`` a row is read to its end before the group changes. A part
    with one bank group knows no difference.

    Parameters
    ----------
    part
        The chip.
    chips
        Chips that share an address and move their bits in parallel: width of the bus over the width of the part.
    ranks
        Sets of such chips on the same bus.
    bank_group_bits
        See above.
    queue_depth, bank_queue_depth
        Bursts that the controller holds beside those of the banks, and those it holds for each bank. DRAMsim3 has 32
        and 8.
    write_batch
        Writes that are gathered before they are served together, so that the bus turns around less often. DRAMsim3
        fills its buffer of 32 and then drains it.

    Raises
    ------
    FmcodecError
        A number is out of its range.
    """

    part: Part
    chips: int = 1
    ranks: int = 1
    bank_group_bits: BankGroupBits = "lowest"
    queue_depth: int = 32
    bank_queue_depth: int = 8
    write_batch: int = 32

    def __post_init__(self) -> None:
        for name in ("chips", "ranks"):
            value = getattr(self, name)
            if value not in (1, 2, 4, 8, 16):
                raise FmcodecError(f"{name} must be 1, 2, 4, 8 or 16, not {value}")
        for name in ("queue_depth", "bank_queue_depth", "write_batch"):
            value = getattr(self, name)
            if not 1 <= value <= 256:
                raise FmcodecError(f"{name} must be 1 to 256, not {value}")
        if self.bank_group_bits not in ("lowest", "above column"):
            raise FmcodecError(f"bank_group_bits must be 'lowest' or 'above column', not {self.bank_group_bits!r}")

    @property
    def burst_bytes(self) -> int:
        """Bytes that one burst moves on the whole bus."""
        return self.part.burst_bytes * self.chips

    @property
    def row_bytes(self) -> int:
        """Bytes of one row over all chips of a rank."""
        return self.part.organisation.page_bytes * self.chips

    @property
    def groups(self) -> int:
        """Bank groups of all ranks."""
        return self.ranks * self.part.organisation.bank_groups

    @property
    def banks(self) -> int:
        """Banks of all ranks; the chips of a rank act as one."""
        return self.ranks * self.part.banks

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the channel; addresses beyond wrap around."""
        return self.banks * self.part.organisation.rows * self.row_bytes

    def locate(self, addresses: npt.NDArray[Any]) -> Location:
        """Bank and row of each byte address."""
        organisation = self.part.organisation
        rest = np.asarray(addresses, dtype=np.int64) // self.burst_bytes
        columns = self.row_bytes // self.burst_bytes
        if self.bank_group_bits == "lowest":
            rest, group = np.divmod(rest, organisation.bank_groups)
            rest = rest // columns
        else:
            rest = rest // columns
            rest, group = np.divmod(rest, organisation.bank_groups)
        rest, bank = np.divmod(rest, organisation.banks_per_group)
        row, rank = np.divmod(rest, self.ranks)
        group = rank * organisation.bank_groups + group
        return Location(group * organisation.banks_per_group + bank, row % organisation.rows)

    @property
    def clocks(self) -> Clocks:
        """The distances of commands that follow from the timing of the part."""
        return Clocks.of(self.part.timing, self.part.burst_clocks, self.part.organisation.bank_groups)


class Location(NamedTuple):
    """Arrays of the same length: bank of each burst, numbered rank by rank and group by group, and its row."""

    bank: IntArray
    row: IntArray


class Clocks(NamedTuple):
    """Clocks from one column command to the next, on the same bank group (``_l``), another, or another rank."""

    read_read_s: int
    read_read_l: int
    read_write: int
    write_read_s: int
    write_read_l: int
    other_rank: int
    read_precharge: int
    write_precharge: int
    refresh: int

    @classmethod
    def of(cls, t: Timing, burst: int, bank_groups: int) -> Clocks:
        """As in data sheets: a write may follow a read as soon as its data find the bus free."""
        has_groups = bank_groups > 1
        return cls(
            read_read_s=max(burst, t.tccd_s),
            read_read_l=max(burst, t.tccd_l if has_groups else t.tccd_s),
            read_write=t.cl + burst - t.cwl + t.trtrs,
            write_read_s=t.cwl + burst + t.twtr_s,
            write_read_l=t.cwl + burst + (t.twtr_l if has_groups else t.twtr_s),
            other_rank=burst + t.trtrs,
            read_precharge=t.trtp,
            write_precharge=t.cwl + burst + t.twr,
            # The bus is idle from the last data before a refresh to the first row opened after it.
            refresh=t.trtp + t.trp + t.trfc + t.trcd,
        )
