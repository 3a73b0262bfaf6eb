"""A memory controller clock by clock, in plain Python: slow, and independent of the schedule that it checks.

Queues as in DRAMsim3: 32 reads, 32 writes that are drained when they are full, and 8 commands for each bank; one
command a clock, to the first bank in turn that has one ready. Rows stay open; a rank refreshes when its banks are
closed.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fmcodec.energy import Bursts, Memory


class Walked(NamedTuple):
    """Clocks until the last read has its data and the last write has left the queue, and commands."""

    clocks: int
    activates: int
    refreshes: int


class _Bank:
    def __init__(self, number: int, memory: Memory) -> None:
        self.number = number
        self.group = number // memory.part.organisation.banks_per_group
        self.rank = number // memory.part.banks
        self.row: int | None = None
        self.hits = 0
        self.queue: list[tuple[int, bool]] = []
        self.earliest = dict.fromkeys(("activate", "precharge", "read", "write", "refresh"), 0)

    def wait(self, command: str, until: int) -> None:
        self.earliest[command] = max(self.earliest[command], until)

    def next_command(self, clock: int) -> tuple[str, int] | None:
        """The first command of the queue that may go now, and its place."""
        for place, (row, is_write) in enumerate(self.queue):
            wanted = (
                "activate" if self.row is None else "precharge" if self.row != row else "write" if is_write else "read"
            )
            if clock < self.earliest[wanted]:
                continue
            is_needed = any(other == self.row for other, _ in self.queue) and self.hits < 4
            if wanted == "precharge" and (place or is_needed):
                continue
            return wanted, place
        return None


class ClockWalk:
    """The controller; `run` serves a trace."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.t, self.c = memory, memory.part.timing, memory.clocks
        self.banks = [_Bank(number, memory) for number in range(memory.banks)]
        self.windows: list[deque[int]] = [deque(maxlen=4) for _ in range(memory.ranks)]
        self.reads: list[tuple[int, int, bool]] = []
        self.writes: list[tuple[int, int, bool]] = []
        self.clock = self.turn = self.draining = self.activates = self.refreshes = self.last_data = 0
        self.waiting_ranks: deque[int] = deque()

    def run(self, trace: Bursts) -> Walked:
        location = self.memory.locate(trace.addresses)
        coming = deque(zip(location.bank.tolist(), location.row.tolist(), trace.is_write.tolist(), strict=True))
        interval = self.t.trefi // self.memory.ranks
        while coming or self.reads or self.writes or any(bank.queue for bank in self.banks):
            if self.clock and self.clock % interval == 0:
                self.waiting_ranks.append(self.clock // interval % self.memory.ranks)
            if not (self.waiting_ranks and self._refresh()):
                self._command()
            self._schedule(is_last=not coming)
            if coming:
                queue = self.writes if coming[0][2] else self.reads
                if len(queue) < 32:
                    queue.append(coming.popleft())
            self.clock += 1
        return Walked(max(self.clock, self.last_data), self.activates, self.refreshes)

    def _schedule(self, *, is_last: bool) -> None:
        """One burst from the queue of reads or of writes to that of its bank."""
        idle = not any(bank.queue for bank in self.banks)
        if not self.draining and (
            len(self.writes) == 32 or (idle and len(self.writes) > 8) or (is_last and not self.reads)
        ):
            self.draining = len(self.writes)
        queue = self.writes if self.draining else self.reads
        for place, (bank, row, is_write) in enumerate(queue):
            if len(self.banks[bank].queue) < 8:
                self.banks[bank].queue.append((row, is_write))
                del queue[place]
                self.draining -= is_write
                return

    def _refresh(self) -> bool:
        rank = self.waiting_ranks[0]
        banks = [bank for bank in self.banks if bank.rank == rank]
        for bank in banks:
            if bank.row is not None and self.clock >= bank.earliest["precharge"]:
                self._precharge(bank)
                return True
        if any(bank.row is not None or self.clock < bank.earliest["refresh"] for bank in banks):
            return False
        for bank in banks:
            bank.wait("activate", self.clock + self.t.trfc)
            bank.wait("refresh", self.clock + self.t.trfc)
        self.waiting_ranks.popleft()
        self.refreshes += 1
        return True

    def _command(self) -> None:
        count = len(self.banks)
        for step in range(1, count + 1):
            bank = self.banks[(self.turn + step) % count]
            found = None if bank.rank in list(self.waiting_ranks)[:1] else bank.next_command(self.clock)
            window = self.windows[bank.rank]
            if found is None or (found[0] == "activate" and len(window) == 4 and self.clock < window[0] + self.t.tfaw):
                continue
            self.turn = bank.number
            if found[0] == "activate":
                self._activate(bank, bank.queue[found[1]][0])
            elif found[0] == "precharge":
                self._precharge(bank)
            else:
                self._column(bank, found[1], is_write=found[0] == "write")
            return

    def _activate(self, bank: _Bank, row: int) -> None:
        t, now = self.t, self.clock
        bank.row, self.activates = row, self.activates + 1
        self.windows[bank.rank].append(now)
        for command, clocks in (
            ("activate", t.tras + t.trp),
            ("read", t.trcd),
            ("write", t.trcd),
            ("precharge", t.tras),
        ):
            bank.wait(command, now + clocks)
        single = self.memory.part.organisation.bank_groups == 1
        for other in self.banks:
            if other.rank == bank.rank and other is not bank:
                near = other.group == bank.group and not single
                other.wait("activate", now + (t.trrd_l if near else t.trrd_s))

    def _precharge(self, bank: _Bank) -> None:
        bank.row, bank.hits = None, 0
        bank.wait("activate", self.clock + self.t.trp)
        bank.wait("refresh", self.clock + self.t.trp)

    def _column(self, bank: _Bank, place: int, *, is_write: bool) -> None:
        c, now = self.c, self.clock
        del bank.queue[place]
        bank.hits += 1
        bank.wait("precharge", now + (c.write_precharge if is_write else c.read_precharge))
        for other in self.banks:
            near, here = other.group == bank.group, other.rank == bank.rank
            same = c.read_read_l if near else c.read_read_s
            turn = (c.write_read_l if near else c.write_read_s) if is_write else c.read_write
            if not here:
                same = c.other_rank
                turn = c.other_rank if is_write else c.read_write
            other.wait("write" if is_write else "read", now + same)
            other.wait("read" if is_write else "write", now + turn)
        latency = self.t.cwl if is_write else self.t.cl
        self.last_data = now + latency + self.memory.part.burst_clocks
