"""How long a memory controller takes for a sequence of bursts.

The controller is the usual one, first ready first come first served: it holds some bursts for every bank and some more
beside them, opens rows ahead of their use, and always serves the burst whose data can come first. Each bank serves
bursts of its open row first, then in order; among equals, banks take turns.

A trace is cut into stretches which are walked side by side, one burst of each at a time, so that numpy does thousands
of them at once. Each stretch has a run-up and a run-out that are not counted. Of long traces only stretches at equal
distances are walked. Refresh is not part of the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmcodec.energy.address import Clocks, IntArray, Memory

STRETCH_BURSTS = 512
# Fills the queues before a stretch counts, and keeps them filled until it ends.
EDGE_BURSTS = 128
# Bursts walked in one call, about 0.2 s; more are sampled, though never by fewer stretches of a stream than these.
WALKED_BURSTS = 1 << 16
LEAST_STRETCHES = 4

NEVER = 1 << 40
# Candidates are compared by time, then by precedence, then by bank, packed into one integer.
BANK_BITS = 11
PRECEDENCE_BITS = 10
# Age is counted from the number served, and may be negative; so much is added to it.
AGE_OFFSET = 1 << (PRECEDENCE_BITS - 2)


class Stream(NamedTuple):
    """Bursts in the order in which the controller may serve them; see `Memory.locate`. All arrays have one length."""

    bank: IntArray
    row: IntArray
    is_write: npt.NDArray[np.bool_]


class Schedule(NamedTuple):
    """What a walk without refresh finds.

    ``clocks`` go from the first command to the last data. ``needed_rows`` is how many rows are open and still needed,
    on average. ``row_share`` is how many rows are opened, over those if every bank served its bursts in order.
    """

    clocks: float
    needed_rows: float
    row_share: float


def schedule(streams: Sequence[Stream], memory: Memory) -> list[Schedule]:
    """Clocks of each stream, walked together.

    Examples
    --------
    >>> from fmcodec.energy.parts import load_part
    >>> memory = Memory(part=load_part("ddr3-1066-x16"))
    >>> one = Stream(*np.zeros((2, 100), np.int64), np.zeros(100, bool))  # a hundred bursts of one row, 4 clocks each
    >>> schedule([one], memory)[0].clocks
    414.0
    """
    total = sum(len(stream.row) for stream in streams)
    stretches = [
        piece for index, stream in enumerate(streams) if len(stream.row) for piece in _pieces(index, stream, total)
    ]
    if not stretches:
        return [Schedule(0.0, 0.0, 1.0) for _ in streams]
    walk = _Walk(streams, stretches, memory)
    walk.run()
    latency = memory.part.timing.cl + memory.part.burst_clocks
    results = []
    for index, stream in enumerate(streams):
        mine = [number for number, piece in enumerate(stretches) if piece.stream == index]
        counted = sum(stretches[number].end - stretches[number].start for number in mine)
        if not counted:
            results.append(Schedule(0.0, 0.0, 1.0))
            continue
        clocks = float(walk.measured[mine].sum()) * len(stream.row) / counted
        row_share = walk.activates[mine].sum() / walk.in_order_activates[mine].sum()
        results.append(Schedule(clocks + latency, float(walk.needed[mine].mean()), float(row_share)))
    return results


class _Piece(NamedTuple):
    """A stretch: positions in its stream that are walked, and those of them that count."""

    stream: int
    low: int
    start: int
    end: int
    high: int


def _pieces(index: int, stream: Stream, total: int) -> list[_Piece]:
    length = len(stream.row)
    share = max(WALKED_BURSTS * length // (total * STRETCH_BURSTS), LEAST_STRETCHES)
    share = min(share, -(-length // STRETCH_BURSTS))
    size = min(-(-length // share), STRETCH_BURSTS)
    starts = np.linspace(0, length - size, share).astype(int) if share > 1 else [0]
    ends = [min(int(start) + size, length) for start in starts]
    return [
        _Piece(index, max(int(start) - EDGE_BURSTS, 0), int(start), end, min(end + EDGE_BURSTS, length))
        for start, end in zip(starts, ends, strict=True)
    ]


def _row_changes(bank: IntArray, row: IntArray) -> IntArray:
    """Rows opened in each stretch if every bank served its bursts in order; rows beyond a stretch are -1."""
    changes = (bank[:, 1:] != bank[:, :-1]) | (row[:, 1:] != row[:, :-1])
    counts: IntArray = 1 + (changes & (row[:, 1:] >= 0)).sum(axis=1)
    return counts


def _rows_that_return(bank: IntArray, row: IntArray, depth: int) -> npt.NDArray[np.bool_]:
    """Where a row of a bank comes back within ``depth`` bursts, after another one, soon after each burst.

    Only there can a burst overtake, so this saves a look at all that a bank holds. What was overtaken before moved by
    less than ``depth``.
    """
    returns = np.zeros(bank.shape, np.int64)
    for back in range(2, depth + 1):
        is_same = (row[:, back:] == row[:, :-back]) & (bank[:, back:] == bank[:, :-back])
        returns[:, back:] |= is_same & (row[:, back:] != row[:, back - 1 : -1])
    until = np.cumsum(returns, axis=1)
    ahead = np.minimum(np.arange(bank.shape[1]) + 2 * depth, bank.shape[1] - 1)
    return until[:, ahead] > until


class _Walk:
    """State of all stretches. Arrays are (banks, stretches), (groups, stretches) or (stretches,); times in clocks."""

    def __init__(self, streams: Sequence[Stream], pieces: Sequence[_Piece], memory: Memory) -> None:
        organisation = memory.part.organisation
        self.memory, self.t, self.clocks = memory, memory.part.timing, memory.clocks
        self.banks, self.groups, self.ranks = memory.banks, memory.groups, memory.ranks
        self.count = len(pieces)
        self.lane = np.arange(self.count)
        self.group_of_bank = np.arange(self.banks) // organisation.banks_per_group
        self.rank_of_group = np.arange(self.groups) // organisation.bank_groups
        self.length = np.array([piece.high - piece.low for piece in pieces])
        self.run_up = np.array([piece.start - piece.low for piece in pieces])
        self.last = np.array([piece.end - piece.low for piece in pieces])
        self._sort_by_bank(streams, pieces)

        def zeros(rows: int) -> IntArray:
            return np.zeros((rows, self.count), np.int64)

        self.is_open = np.zeros((self.banks, self.count), bool)
        self.open_row = zeros(self.banks) - 1
        self.ready, self.may_open = zeros(self.banks), zeros(self.banks)
        self.opened_at = zeros(self.banks) - NEVER
        self.may_read, self.may_write = zeros(self.groups), zeros(self.groups)
        self.group_opened_at = zeros(self.groups) - NEVER
        # The last four activates of each rank, the oldest first.
        self.window = np.full((4, self.ranks, self.count), -NEVER)
        # One bank more, which stands for the end of a stretch.
        self.held = zeros(self.banks + 1)
        self.overflow = np.zeros(self.count, np.int64)
        self.frontier = np.zeros(self.count, np.int64)
        self.served = np.zeros(self.count, np.int64)
        self.now = np.zeros(self.count, np.int64)
        self.started = np.zeros(self.count, np.int64)
        self.needed = np.zeros(self.count)
        self.next_bank = np.zeros(self.count, np.int64)
        self.activates = np.zeros(self.count, np.int64)

    def _sort_by_bank(self, streams: Sequence[Stream], pieces: Sequence[_Piece]) -> None:
        """Queues of all banks: bursts of a stretch by bank, each bank in order, with a gap after the stretch."""
        width = int(self.length.max()) + 1
        self.width = width
        bank = np.full((self.count, width), self.banks)
        row = np.full((self.count, width), -1)
        is_write = np.zeros((self.count, width), bool)
        for number, piece in enumerate(pieces):
            stream, size = streams[piece.stream], piece.high - piece.low
            bank[number, :size] = stream.bank[piece.low : piece.high]
            row[number, :size] = stream.row[piece.low : piece.high]
            is_write[number, :size] = stream.is_write[piece.low : piece.high]
        order = np.argsort(bank, axis=1, kind="stable")
        sorted_bank, sorted_row = np.take_along_axis(bank, order, 1), np.take_along_axis(row, order, 1)
        self.in_order_activates = _row_changes(sorted_bank, sorted_row)
        self.may_overtake = _rows_that_return(sorted_bank, sorted_row, self.memory.bank_queue_depth).ravel()
        self.arriving_bank = bank.ravel()
        self.row = sorted_row.ravel()
        self.is_write = np.take_along_axis(is_write, order, 1).ravel()
        self.position = np.where(sorted_bank < self.banks, order, NEVER).ravel()
        cell = (bank * self.count + self.lane[:, None]).ravel()
        sizes = np.bincount(cell, minlength=(self.banks + 1) * self.count).reshape(-1, self.count)[: self.banks]
        self.base = self.lane * width
        self.queue_end = np.cumsum(sizes, axis=0) + self.base
        self.head = self.queue_end - sizes
        has_head = sizes > 0
        at = np.minimum(self.head, len(self.row) - 1)
        self.head_row = np.where(has_head, self.row[at], -1)
        self.head_writes = has_head & self.is_write[at]
        self.head_position = np.where(has_head, self.position[at], NEVER)

    def run(self) -> None:
        """Serves everything; ``measured`` has the clocks of the part of each stretch that counts."""
        rounds = samples = 0
        self._admit(self.memory.queue_depth + self.banks * self.memory.bank_queue_depth)
        finished = np.zeros(self.count, np.int64)
        while True:
            self._activate()
            lanes = self._serve()
            if not len(lanes):
                break
            self.started = np.where(self.served == self.run_up, self.now, self.started)
            finished = np.where(self.served == self.last, self.now, finished)
            self._admit(4)
            rounds += 1
            if rounds % 8 == 0:
                self.needed += self.is_open.sum(axis=0)
                samples += 1
        self.needed /= max(samples, 1)
        self.measured = finished - np.where(self.run_up == 0, 0, self.started)

    def _admit(self, most: int) -> None:
        """Takes bursts in order as long as they find room: with their bank, or beside it."""
        depth, beside = self.memory.bank_queue_depth, self.memory.queue_depth
        lanes = self.lane
        for _ in range(most):
            bank = self.arriving_bank[self.base[lanes] + self.frontier[lanes]]
            held = self.held[bank, lanes]
            fits = (self.frontier[lanes] < self.length[lanes]) & ((held < depth) | (self.overflow[lanes] < beside))
            lanes, bank, held = lanes[fits], bank[fits], held[fits]
            if not len(lanes):
                return
            self.overflow[lanes] += held >= depth
            self.held[bank, lanes] = held + 1
            self.frontier[lanes] += 1
            idle = held == 0
            first, bank = lanes[idle], bank[idle]
            # A row stays open until another one of its bank is asked for.
            close = np.where(self.open_row[bank, first] < 0, 0, self.t.trp)
            self.may_open[bank, first] = np.maximum(self.may_open[bank, first], self.now[first] + close)

    def _column_times(self) -> IntArray:
        """When the head of each bank can be served, if its row is open; NEVER otherwise."""
        bus = np.where(self.head_writes, self.may_write[self.group_of_bank], self.may_read[self.group_of_bank])
        can = self.is_open & (self.head_position < self.frontier)
        return np.where(can, np.maximum(self.ready, bus), NEVER)

    def _activate(self) -> None:
        """Opens the rows that can be opened before the next data, one of each stretch at a time."""
        self.times = self._column_times()
        waiting = ~self.is_open & (self.head_position < self.frontier)
        lanes = np.flatnonzero(waiting.any(axis=0))
        best = self.times.min(axis=0)
        t, per_group = self.t, self.group_of_bank
        while len(lanes):
            rank = np.maximum(self.window[3][:, lanes] + t.trrd_s, self.window[0][:, lanes] + t.tfaw)
            group = np.maximum(self.group_opened_at[:, lanes] + self._trrd_l, rank[self.rank_of_group])
            time = np.maximum(self.may_open[:, lanes], group[per_group])
            time = np.where(
                ~self.is_open[:, lanes] & (self.head_position[:, lanes] < self.frontier[lanes]), time, NEVER
            )
            # The oldest first: with another order, some banks would fall behind until they fill the queue.
            age = self.head_position[:, lanes] - self.served[lanes] + AGE_OFFSET
            time, bank = self._first(time, np.clip(age, 0, (1 << PRECEDENCE_BITS) - 1))
            soon = (time < NEVER) & (time <= best[lanes])
            lanes, time, bank = lanes[soon], time[soon], bank[soon]
            self._open(lanes, bank, time)
            group_number = per_group[bank]
            bus = np.where(
                self.head_writes[bank, lanes], self.may_write[group_number, lanes], self.may_read[group_number, lanes]
            )
            self.times[bank, lanes] = np.maximum(time + t.trcd, bus)
            best[lanes] = np.minimum(best[lanes], self.times[bank, lanes])

    @property
    def _trrd_l(self) -> int:
        return self.t.trrd_l if self.memory.part.organisation.bank_groups > 1 else self.t.trrd_s

    def _first(self, times: IntArray, precedence: IntArray) -> tuple[IntArray, IntArray]:
        """Time and bank of the earliest candidate of each stretch, the one of lowest precedence among equals."""
        key = (((times << PRECEDENCE_BITS) + precedence) << BANK_BITS) + np.arange(self.banks)[:, None]
        least = key.min(axis=0)
        return least >> (PRECEDENCE_BITS + BANK_BITS), least & ((1 << BANK_BITS) - 1)

    def _open(self, lanes: IntArray, bank: IntArray, time: IntArray) -> None:
        group = self.group_of_bank[bank]
        rank = self.rank_of_group[group]
        self.activates[lanes] += 1
        self.is_open[bank, lanes] = True
        self.open_row[bank, lanes] = self.head_row[bank, lanes]
        self.ready[bank, lanes] = time + self.t.trcd
        self.opened_at[bank, lanes] = time
        self.group_opened_at[group, lanes] = time
        for older in range(3):
            self.window[older, rank, lanes] = self.window[older + 1, rank, lanes]
        self.window[3, rank, lanes] = time
        self.next_bank[lanes] = bank + 1

    def _serve(self) -> IntArray:
        """Serves one burst of each stretch that has any left, and returns those stretches."""
        # Banks take turns after every command, as the queues of DRAMsim3 do.
        turn = (np.arange(self.banks)[:, None] - self.next_bank) % self.banks
        time, bank = self._first(self.times, turn)
        lanes = np.flatnonzero(time < NEVER)
        if not len(lanes):
            return lanes
        time, bank = time[lanes], bank[lanes]
        writes = self.head_writes[bank, lanes]
        self.now[lanes] = time
        self.next_bank[lanes] = bank + 1
        self.served[lanes] += 1
        self._occupy_bus(lanes, self.group_of_bank[bank], time, writes)
        closes = time + np.where(writes, self.clocks.write_precharge, self.clocks.read_precharge)
        closes = np.maximum(closes, self.opened_at[bank, lanes] + self.t.tras) + self.t.trp
        self.may_open[bank, lanes] = np.maximum(self.may_open[bank, lanes], closes)
        held = self.held[bank, lanes]
        self.overflow[lanes] -= held > self.memory.bank_queue_depth
        self.held[bank, lanes] = held - 1
        self._next_head(lanes, bank)
        return lanes

    def _occupy_bus(self, lanes: IntArray, group: IntArray, time: IntArray, writes: IntArray) -> None:
        c: Clocks = self.clocks
        read_l = time + np.where(writes, c.write_read_l, c.read_read_l)
        write_l = time + np.where(writes, c.read_read_l, c.read_write)
        read_s = time + np.where(writes, c.write_read_s, c.read_read_s)
        write_s = time + np.where(writes, c.read_read_s, c.read_write)
        if self.ranks == 1:
            self.may_read[:, lanes] = np.maximum(self.may_read[:, lanes], read_s)
            self.may_write[:, lanes] = np.maximum(self.may_write[:, lanes], write_s)
        else:
            same = self.rank_of_group[:, None] == self.rank_of_group[group]
            other_write = np.where(writes, c.other_rank, c.read_write)
            read = np.where(same, read_s, time + c.other_rank)
            self.may_read[:, lanes] = np.maximum(self.may_read[:, lanes], read)
            write = np.where(same, write_s, time + other_write)
            self.may_write[:, lanes] = np.maximum(self.may_write[:, lanes], write)
        self.may_read[group, lanes] = np.maximum(self.may_read[group, lanes], read_l)
        self.may_write[group, lanes] = np.maximum(self.may_write[group, lanes], write_l)

    def _promote_hit(self, lanes: IntArray, bank: IntArray, head: IntArray) -> None:
        """If the next burst of a bank needs another row, one that it holds of the open row goes first."""
        is_other = self.may_overtake[head] & (self.row[head] != self.open_row[bank, lanes])
        is_other &= head < self.queue_end[bank, lanes]
        lanes, bank, head = lanes[is_other], bank[is_other], head[is_other]
        if not len(lanes):
            return
        at = np.minimum(head + np.arange(1, self.memory.bank_queue_depth)[:, None], len(self.row) - 1)
        is_hit = (self.row[at] == self.open_row[bank, lanes]) & (self.position[at] < self.frontier[lanes])
        is_hit &= at < self.queue_end[bank, lanes]
        has_hit = is_hit.any(axis=0)
        head, at = head[has_hit], at[:, has_hit]
        first = is_hit[:, has_hit].argmax(axis=0)
        for queue in (self.row, self.is_write, self.position):
            chosen = queue[at[first, np.arange(len(head))]]
            # Those that it overtakes move back by one place, the last of them first.
            for place in range(len(at) - 1, -1, -1):
                moves = first >= place
                queue[at[place, moves]] = queue[at[place, moves] - 1]
            queue[head] = chosen

    def _next_head(self, lanes: IntArray, bank: IntArray) -> None:
        head = self.head[bank, lanes] + 1
        self.head[bank, lanes] = head
        self._promote_hit(lanes, bank, head)
        exists = head < self.queue_end[bank, lanes]
        row = np.where(exists, self.row[head], -1)
        self.is_open[bank, lanes] = exists & (row == self.open_row[bank, lanes])
        self.head_row[bank, lanes] = row
        self.head_writes[bank, lanes] = exists & self.is_write[head]
        self.head_position[bank, lanes] = np.where(exists, self.position[head], NEVER)
