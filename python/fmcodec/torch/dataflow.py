"""Which values of a graph of operations are stored feature maps, whatever the graph was read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from fmcodec.policy import Activation

# What an operation is to a feature map. Pointwise operations are all that hardware does on the way from a convolution
# to memory, or on the way out of the network; a reader is anything else, which reads a stored map.
Role = Literal["convolution", "norm", "sum", "same", "activation", "pointwise", "reader"]


class Operation(NamedTuple):
    """One operation: what it is, and the numbers of the values it reads and makes.

    ``activation`` is the one that an operation of the role ``"activation"`` applies, None for all others.
    """

    role: Role
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: Activation | None = None


class Dataflow:
    """Operations of a network in the order of execution.

    Parameters
    ----------
    operations
        Each value is made by one operation at most.
    shapes
        Of each value by its number; () where it is not known.
    """

    def __init__(self, operations: Sequence[Operation], shapes: Sequence[tuple[int | None, ...]]) -> None:
        self.operations = operations
        self._shapes = shapes
        self._readers: dict[int, list[int]] = {}
        for index, operation in enumerate(operations):
            for value in dict.fromkeys(operation.inputs):
                self._readers.setdefault(value, []).append(index)

    def convolutions(self) -> list[int]:
        """The results of all convolutions that are stored maps, after their norms.

        Left out are those of a single position, and those that only pointwise operations take to the output of the
        network.
        """
        found = []
        for operation in self.operations:
            value = operation.outputs[0] if operation.outputs else -1
            if operation.role == "convolution" and len(self._shapes[value]) == 4:
                value = self._after_norms(value)
                if self._shapes[value][-2:] != (1, 1) and self._is_read(value):
                    found.append(value)
        return found

    def sum_before_activation(self, value: int) -> int:
        """The sum that ends with an activation and that this value is a part of; else the value."""
        total = value
        while (reader := self.only_reader(total)) is not None and reader.role == "sum":
            total = reader.outputs[0]
        return total if total != value and self.activation(total) != "none" else value

    def activation(self, value: int) -> Activation:
        """The activation that all readers of a value apply."""
        kinds: set[Activation] = set()
        for index in self.readers(value):
            operation = self.operations[index]
            if operation.role == "same":
                kinds.add(self.activation(operation.outputs[0]))
            else:
                kinds.add(operation.activation or "none")
        return kinds.pop() if len(kinds) == 1 else "none"

    def readers(self, value: int) -> list[int]:
        """Indices of the operations that read a value."""
        return self._readers.get(value, [])

    def only_reader(self, value: int) -> Operation | None:
        """The operation that reads a value, if there is exactly one."""
        readers = self.readers(value)
        return self.operations[readers[0]] if len(readers) == 1 else None

    def _after_norms(self, value: int) -> int:
        while (reader := self.only_reader(value)) is not None and reader.role == "norm":
            value = reader.outputs[0]
        return value

    def _is_read(self, value: int) -> bool:
        """Whether something reads a value or what pointwise operations make of it."""
        waiting, seen = [value], {value}
        while waiting:
            for index in self.readers(waiting.pop()):
                operation = self.operations[index]
                if operation.role in ("convolution", "norm", "reader"):
                    return True
                fresh = set(operation.outputs) - seen
                seen |= fresh
                waiting.extend(fresh)
        return False
