"""DRAM energy and time against recorded results of simulators, hand-worked figures, and plain walks of bursts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from clock_walk import ClockWalk
from dram_traces import MEMORIES, Result, make_trace, results, rows, table
from hypothesis import given
from hypothesis import strategies as st

from fmcodec import FmcodecError
from fmcodec.energy import Bursts, Memory, dram_cost, dram_costs, load_part, part_names
from fmcodec.energy.dram import TERMS, command_energy, row_activates, service_order
from fmcodec.energy.schedule import WALKED_BURSTS, Stream, schedule

NAMES = [f"{row.memory}, {row.trace}" for row in rows()]


@pytest.fixture(params=range(len(NAMES)), ids=NAMES)
def result(request: pytest.FixtureRequest) -> Result:
    """Each recorded result beside ours."""
    return results()[request.param]


def test_core_energy_against_simulators(result: Result) -> None:
    limit = {"copy4K": 0.05, "copy256": 0.15}.get(result.row.trace, 0.03 if "DDR4" in result.row.memory else 0.02)
    assert abs(result.energy_deviation) <= limit


def test_bandwidth_against_simulators(result: Result) -> None:
    assert abs(result.bandwidth_deviation) <= (0.10 if result.row.trace in ("blocks48", "blocks256") else 0.05)


def test_activates_against_simulators(result: Result) -> None:
    # The simulator reopens rows that reads and writes take from each other; those of a copy are few in energy.
    ours = result.cost.activates * result.row.bursts / (result.cost.read_bursts + result.cost.written_bursts)
    assert ours == pytest.approx(result.row.activates, rel=0.12 if "copy" in result.row.trace else 0.04)


def test_command_energies_against_simulators(result: Result) -> None:
    memory = MEMORIES[result.row.memory]
    command = command_energy(memory.part, memory.part.rails[0])
    counts = {"activate": result.row.activates, "refresh": result.row.refreshes}
    for name, microjoule in result.row.command_microjoule.items():
        # The record has 4 decimals of pJ per bit.
        slack = 0.5e-4 * 8 * result.row.bursts * memory.burst_bytes * 1e-6
        copies = 0.5 if "copy" in result.row.trace else 1.0
        count = counts.get(name, result.row.bursts * copies if microjoule else 0)
        ours = count * getattr(command, name) * memory.chips * 1e6
        assert ours == pytest.approx(microjoule, rel=1e-3, abs=slack)


def test_commands_by_hand() -> None:
    """1.5 V * (75 mA * 27 - 60 mA * 20 - 42 mA * 7) * 1.875 ns, and so on."""
    part = load_part("ddr3-1066-x16")
    command = command_energy(part, part.rails[0])
    assert command.activate == pytest.approx(1.5 * 531e-3 * 1.875e-9)
    assert command.read == pytest.approx(1.5 * 0.160 * 7.5e-9)
    assert command.write == pytest.approx(1.5 * 0.120 * 7.5e-9)
    assert command.refresh == pytest.approx(56.7e-9, rel=1e-3)
    ddr4 = load_part("ddr4-2400-x16")
    assert command_energy(ddr4, ddr4.rails[0]).activate == pytest.approx(2.061e-9, rel=1e-3)
    # The pump supply adds (4 - 3) mA of 2.5 V for the 56 clocks of a row cycle.
    assert command_energy(ddr4, ddr4.rails[1]).activate == pytest.approx(2.5e-3 * 56 * 0.83e-9)


@pytest.mark.parametrize(("trace", "picojoule_per_bit"), [("seq_read", 4.8516), ("seq_write", 24.8438)])
def test_pins_of_ddr3(trace: str, picojoule_per_bit: float) -> None:
    memory = Memory(part=load_part("ddr3-1066-x16"))
    cost = dram_cost(make_trace(trace, 16), memory)
    pins = cost.energy.read_io + cost.energy.write_io
    assert pins / (8 * cost.bytes_moved) * 1e12 == pytest.approx(picojoule_per_bit, rel=1e-3)
    two = dram_cost(make_trace(trace, 16), msgspec.structs.replace(memory, ranks=2))
    others = {"seq_read": 15.5 / 4.6, "seq_write": 15.4 / 21.2}[trace]
    assert two.energy.read_io + two.energy.write_io == pytest.approx(pins * (1 + others))


@pytest.mark.parametrize("name", part_names())
def test_every_part_streams_near_its_peak(name: str) -> None:
    memory = Memory(part=load_part(name))
    cost = dram_cost(Bursts(np.arange(20_000) * memory.burst_bytes, np.zeros(20_000, bool)), memory)
    t = memory.part.timing
    assert 0.98 < cost.gb_per_s / (memory.part.peak_gb_per_s * (1 - t.trfc / t.trefi)) <= 1.0
    assert cost.energy.total == pytest.approx(sum(getattr(cost.energy, term) for term in TERMS))
    assert cost.low_joules < cost.joules < cost.high_joules
    assert (cost.energy.pump > 0) == name.startswith("ddr4")
    assert cost.energy.power_down == cost.energy.write == 0.0


def test_chips_multiply_and_nothing_else() -> None:
    part = load_part("ddr3-1066-x16")
    one = dram_cost(make_trace("seq_read", 16), Memory(part=part))
    four = dram_cost(make_trace("seq_read", 64), Memory(part=part, chips=4))
    assert four.bytes_moved == one.bytes_moved
    assert four.energy.read == pytest.approx(one.energy.read)
    assert four.busy_seconds == pytest.approx(one.busy_seconds / 4, rel=1e-3)


def test_waiting_costs_standby_refresh_or_power_down() -> None:
    memory = Memory(part=load_part("ddr3-1066-x16"))
    trace = make_trace("seq_read", 16)
    busy = dram_cost(trace, memory)
    rest = 1e-3
    waits = dram_cost(trace, memory, seconds=busy.seconds + rest)
    assert waits.busy_seconds == busy.busy_seconds
    assert waits.energy.idle_standby - busy.energy.idle_standby == pytest.approx(1.5 * 42e-3 * rest)
    assert waits.refreshes - busy.refreshes == pytest.approx(rest / 7.8e-6)
    down = dram_cost(trace, memory, seconds=busy.seconds + rest, power_down=True)
    assert down.energy.power_down == pytest.approx(1.5 * 20e-3 * rest)
    assert down.joules < waits.joules
    assert dram_cost(trace, memory, seconds=busy.seconds / 2) == busy
    for seconds in (-1.0, float("nan")):
        with pytest.raises(FmcodecError, match="seconds"):
            dram_cost(trace, memory, seconds=seconds)


def test_nothing_costs_nothing() -> None:
    memory = Memory(part=load_part("ddr4-2400-x8"))
    nothing = Bursts(np.zeros(0, np.int64), np.zeros(0, bool))
    assert dram_cost(nothing, memory).joules == 0.0
    something, none = dram_costs([make_trace("blocks48", 8), nothing], memory)
    assert something.joules > 0.0
    assert none.busy_seconds == none.activates == 0.0


@pytest.mark.parametrize(("queue_depth", "clocks"), [(1, 6.0), (32, 4.9)])
def test_bank_group_bits_cost_bandwidth(queue_depth: int, clocks: float) -> None:
    """Within one group a burst takes tCCD_L = 6 clocks, between groups tCCD_S = 4.

    A controller that sees the next row reads two rows of different groups in turn at the end of each: 4.9 is what a
    walk clock by clock gives, refresh left out.
    """
    memory = Memory(part=load_part("ddr4-2400-x16"), queue_depth=queue_depth, bank_queue_depth=min(queue_depth, 8))
    trace = make_trace("seq_read", 16)
    for bits, expected in (("lowest", 4.0), ("above column", clocks)):
        there = msgspec.structs.replace(memory, bank_group_bits=bits)
        stream = Stream(*there.locate(trace.addresses), trace.is_write)
        assert schedule([stream], there)[0].clocks / len(trace.addresses) == pytest.approx(expected, rel=0.02)


def test_write_batches_save_time() -> None:
    """Alternating reads and writes of one bank turn the bus and change the row for every burst, unless they wait."""
    memory = Memory(part=load_part("ddr3-1066-x16"), bank_queue_depth=1)
    costs = [
        dram_cost(make_trace("copy16", 16), msgspec.structs.replace(memory, write_batch=batch, queue_depth=batch))
        for batch in (1, 8, 32)
    ]
    assert costs[0].activates > 4 * costs[1].activates > 12 * costs[2].activates
    assert costs[0].busy_seconds > 2 * costs[1].busy_seconds > 2.5 * costs[2].busy_seconds


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chips": 3}, "chips"),
        ({"ranks": 0}, "ranks"),
        ({"queue_depth": 0}, "queue_depth"),
        ({"write_batch": 1000}, "write_batch"),
        ({"bank_group_bits": "highest"}, "bank_group_bits"),
    ],
)
def test_memories_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(FmcodecError, match=message):
        Memory(part=load_part("ddr3-1066-x16"), **fields)  # type: ignore[arg-type]


def plain_location(memory: Memory, address: int) -> tuple[int, int, int]:
    """Rank, bank (with its group) and row of an address, bit field by bit field."""
    organisation = memory.part.organisation
    rest = address // memory.burst_bytes
    columns = organisation.page_bytes // memory.part.burst_bytes
    fields = {"group": organisation.bank_groups, "column": columns}
    order = ["group", "column"] if memory.bank_group_bits == "lowest" else ["column", "group"]
    found = {}
    for name in order:
        found[name] = rest % fields[name]
        rest //= fields[name]
    bank = rest % organisation.banks_per_group
    rest //= organisation.banks_per_group
    return rest % memory.ranks, found["group"] * organisation.banks_per_group + bank, rest // memory.ranks


memories = st.builds(
    Memory,
    part=st.sampled_from(part_names()).map(load_part),
    chips=st.sampled_from([1, 4]),
    ranks=st.sampled_from([1, 2]),
    bank_group_bits=st.sampled_from(["lowest", "above column"]),
    write_batch=st.integers(1, 40),
)


@given(memories, st.data())
def test_open_rows_against_a_plain_walk(memory: Memory, data: st.DataObject) -> None:
    """Rows opened, by a loop over bursts with a dictionary of open rows."""
    row = memory.row_bytes
    places = st.integers(0, 64).map(lambda number: number * row // 4)
    addresses = np.array(data.draw(st.lists(places, max_size=120)), np.int64)
    open_rows: dict[tuple[int, int], int] = {}
    activates = 0
    for address in addresses.tolist():
        rank, bank, number = plain_location(memory, address)
        if open_rows.get((rank, bank)) != number:
            open_rows[rank, bank] = number
            activates += 1
    assert row_activates(memory.locate(addresses)) == activates


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 40), st.integers(1, 40))
def test_service_order_against_two_queues(writes: list[bool], batch: int, depth: int) -> None:
    """Two queues by hand: writes leave when a batch is full, reads when the queue is."""
    memory = Memory(part=load_part("ddr3-1066-x16"), write_batch=batch, queue_depth=depth)
    read_queue: list[int] = []
    write_queue: list[int] = []
    served: list[int] = []
    for index, is_write in enumerate(writes):
        (write_queue if is_write else read_queue).append(index)
        if len(write_queue) == batch:
            served += write_queue
            write_queue = []
        if len(read_queue) > depth:
            served.append(read_queue.pop(0))
    order = service_order(np.array(writes, bool), memory).tolist()
    # At the end both queues empty, in an order that does not matter here.
    assert order[: len(served)] == served or sorted(order) == list(range(len(writes)))
    assert [index for index in order if not writes[index]] == sorted(i for i, w in enumerate(writes) if not w)
    assert [index for index in order if writes[index]] == sorted(i for i, w in enumerate(writes) if w)


def plain_in_order_clocks(memory: Memory, addresses: list[int]) -> int:
    """Clocks of reads that are served strictly in order, each row opened as early as all rules allow."""
    t, c = memory.part.timing, memory.clocks
    opened: dict[int, tuple[int, int]] = {}
    last_read: dict[int, int] = {}
    activates: list[tuple[int, int]] = []
    bus: list[tuple[int, int]] = []
    for address in addresses:
        _, bank, row = plain_location(memory, address)
        group = bank // memory.part.organisation.banks_per_group
        earliest = 0
        if opened.get(bank, (-1, 0))[0] != row:
            if bank in opened:
                close = max(last_read[bank] + t.trtp, opened[bank][1] + t.tras)
                earliest = close + t.trp
            for other, time in activates:
                same = other // memory.part.organisation.banks_per_group == group
                earliest = max(earliest, time + (t.trrd_l if same else t.trrd_s))
            if len(activates) >= 4:
                earliest = max(earliest, activates[-4][1] + t.tfaw)
            activates.append((bank, earliest))
            opened[bank] = row, earliest
        read = opened[bank][1] + t.trcd
        for other, time in bus:
            read = max(read, time + (c.read_read_l if other == group else c.read_read_s))
        bus.append((group, read))
        last_read[bank] = read
    return bus[-1][1] + t.cl + memory.part.burst_clocks


@given(st.sampled_from(["ddr3-1066-x16", "ddr4-2400-x16"]), st.lists(st.integers(0, 40), min_size=1, max_size=24))
def test_schedule_against_a_plain_loop(name: str, numbers: list[int]) -> None:
    """No rule is broken: never faster than the bus and the rows allow, never slower than one after the other."""
    memory = Memory(part=load_part(name))
    addresses = [number * memory.row_bytes for number in numbers]
    array = np.array(addresses, np.int64)
    ours = schedule([Stream(*memory.locate(array), np.zeros(len(array), bool))], memory)[0].clocks
    t = memory.part.timing
    # Bursts of an open row overtake, so that each row may be opened just once.
    activates = len({plain_location(memory, address) for address in addresses})
    first_data = t.trcd + t.cl + memory.part.burst_clocks
    assert ours >= first_data + max((activates - 1) // 4 * t.tfaw, (len(numbers) - 1) * memory.clocks.read_read_s)
    assert ours <= plain_in_order_clocks(memory, addresses)


@pytest.mark.parametrize("trace", ["seq_read", "copy256", "random_read", "stride7168", "stride320", "blocks100"])
@pytest.mark.parametrize("name", part_names())
def test_schedule_against_a_walk_clock_by_clock(name: str, trace: str) -> None:
    """Every part, refresh left out, which a short trace would meet once or not at all."""
    part = load_part(name)
    part = msgspec.structs.replace(part, timing=msgspec.structs.replace(part.timing, trefi=1 << 20))
    memory = Memory(part=part)
    bursts = Bursts(*(array[:800] for array in make_trace(trace, memory.burst_bytes)))
    walked = ClockWalk(memory).run(bursts)
    cost = dram_cost(bursts, memory)
    clocks = cost.busy_seconds / part.timing.tck_ns * 1e9
    # Of random bursts the last ones wait for their bank, in this order or another.
    assert clocks == pytest.approx(walked.clocks, rel={"copy256": 0.08, "random_read": 0.11}.get(trace, 0.06))
    # In a copy, reads and writes take rows from each other, which depends on how long each waits.
    assert cost.activates == pytest.approx(walked.activates, rel=0.25 if trace == "copy256" else 0.02)


@pytest.mark.parametrize(("depth", "low", "high"), [(1, 64, 64), (8, 2, 16)])
def test_open_rows_go_first(depth: int, low: int, high: int) -> None:
    """Two rows of a bank, a burst of each in turn: a queue of 8 bursts serves at least 4 of each together."""
    memory = Memory(part=load_part("ddr3-1066-x16"), queue_depth=1, bank_queue_depth=depth)
    other_row = memory.row_bytes * memory.banks
    addresses = np.array([16 * (i // 2) + other_row * (i % 2) for i in range(64)])
    stream = Stream(*memory.locate(addresses), np.zeros(64, bool))
    share = schedule([stream], memory)[0].row_share
    assert row_activates(memory.locate(addresses)) == 64
    assert low <= round(share * 64, 6) <= high


def test_long_traces_are_sampled_evenly() -> None:
    """Stretches of a long trace stand for all of it: half random, half streamed takes the mean of both."""
    memory = Memory(part=load_part("ddr3-1066-x16"))
    count = 2 * WALKED_BURSTS
    random = np.random.default_rng(1).integers(0, 1 << 24, count) * 16
    streamed = np.arange(count) * 16
    costs = dram_costs(
        [Bursts(a, np.zeros(len(a), bool)) for a in (random, streamed, np.concatenate((random, streamed)))], memory
    )
    assert costs[2].busy_seconds == pytest.approx(costs[0].busy_seconds + costs[1].busy_seconds, rel=0.01)


def test_table_of_the_documentation(root: Path) -> None:
    text = (root / "docs" / "energy.md").read_text(encoding="ascii")
    assert text.split("<!-- recorded results -->\n")[1].startswith(table() + "\n\n")
