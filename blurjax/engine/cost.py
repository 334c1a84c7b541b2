"""What one round of a program costs: operations from its jaxpr, memory traffic from the compiled text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

BITS = re.compile(r"[a-z]+(\d+)")
ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^{}]*\})?")
TILES = re.compile(r"\{([\d,]+):T\(([\d,]+)\)")
KNOWN_TRIPS = re.compile(r"known_trip_count\D*(\d+)")
OPERAND = re.compile(r"%([\w.\-]+)")
COLLECTIVES = (
    *("all-reduce", "all-gather", "all-to-all", "reduce-scatter"),
    *("collective-permute", "collective-broadcast"),
)
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier"),
}
SLICES = {"dynamic-slice", "slice", "gather"}
NEEDED_ON_TPU = re.compile(r"memory required for HLO temporaries \(([\d.]+)([KMGT])\)")


def matrix_flops(jaxpr: Any) -> float:
    """Counts the floating-point operations of matrix products and convolutions, as written (before any compiler).

    A loop of unknown length counts as one round, of branches the costliest. Where trials are mapped over devices, only
    those of one device count.

    Args:
      jaxpr: a `jax.extend.core.Jaxpr`.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        out = math.prod(eqn.outvars[0].aval.shape) if eqn.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += 2 * out * math.prod(shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel, spec = eqn.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
            total += 2 * out * math.prod(kernel) / kernel[spec[0]]
        within = [matrix_flops(inner) for inner in _programs_within(eqn)]
        if within:
            several = max(within) if name == "cond" else sum(within)
            total += several * params.get("length", 1)
    return total


def _programs_within(eqn: Any) -> Iterator[Jaxpr]:
    """Those of a loop, of branches, of a function with a gradient of its own."""
    leaves = jax.tree.leaves(
        list(eqn.params.values()), is_leaf=lambda node: isinstance(node, (ClosedJaxpr, Jaxpr))
    )
    for leaf in leaves:
        if isinstance(leaf, (ClosedJaxpr, Jaxpr)):
            yield leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf


def needed_temporaries(error: Exception) -> float:
    """Returns the bytes of temporary memory for want of which a program does not compile; infinite if unknown."""
    found = NEEDED_ON_TPU.search(str(error))
    return float(found[1]) * 1024 ** (1 + "KMGT".index(found[2])) if found else math.inf


def collectives(text: str) -> dict[str, int]:
    """Counts the instructions that send data between devices in the text of a compiled program."""
    found = re.findall(rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(", text)
    return dict(sorted(Counter(found).items()))


def traffic(text: str) -> float:
    """Estimates the bytes that one device reads from and writes to its memory, from the text of a compiled program.

    Every instruction reads its operands and writes its result once; of a slice, only the part that is taken. A loop of
    unknown length counts as one round, and where there is one, over steps, what is done outside of it, once in a call,
    counts nothing. Of branches the costliest counts. Arrays are padded to the tiles of a TPU; those in faster memory
    count nothing.
    """
    computations = _parsed(text)
    entry = next(c for c in computations.values() if c.is_entry)
    return entry.traffic_of_step(computations) or entry.traffic(computations)


@dataclass
class _Instruction:
    name: str
    type: str
    operation: str
    operands: list[str]
    rest: str

    @cached_property
    def bytes(self) -> float:
        return sum(map(_array_bytes, ARRAY.findall(self.type)))

    def called(self, *attributes: str) -> list[str]:
        """The computations that the instruction names in some attributes."""
        found = []
        for attribute in attributes:
            for one, several in re.findall(
                rf"\b{attribute}=(?:%([\w.\-]+)|\{{([^}}]*)\}})", self.rest
            ):
                found += [one] if one else OPERAND.findall(several)
        return found

    def trips(self, computations: dict[str, _Computation]) -> int | None:
        """The rounds of this loop: as XLA for GPUs writes them, or a number that its counter is compared with."""
        if known := KNOWN_TRIPS.search(self.rest):
            return int(known[1])
        condition = computations[self.called("condition")[0]]
        root = condition.instructions[condition.root]
        limits = [condition.instructions[name] for name in root.operands]
        numbers = [int(limit.rest) for limit in limits if limit.operation == "constant"]
        return numbers[0] if root.operation in ("compare", "fusion") and numbers else None


@dataclass
class _Computation:
    is_entry: bool
    instructions: dict[str, _Instruction] = field(default_factory=dict)
    root: str = ""
    _traffic: float | None = None

    def traffic(self, computations: dict[str, _Computation]) -> float:
        if self._traffic is None:
            self._traffic = sum(
                self._of(instruction, computations) for instruction in self.instructions.values()
            )
        return self._traffic

    def traffic_of_step(self, computations: dict[str, _Computation]) -> float:
        """Of one round of the outermost loops of unknown length, 0 where there is none."""
        total = 0.0
        for own in self.instructions.values():
            called = [computations[name] for name in own.called("body", "to_apply")]
            if own.operation == "while" and own.trips(computations) is None:
                total += called[0].traffic(computations)
            elif own.operation in ("while", "call"):
                rounds = own.trips(computations) or 1 if own.operation == "while" else 1
                total += rounds * called[0].traffic_of_step(computations)
        return total

    def _of(self, own: _Instruction, computations: dict[str, _Computation]) -> float:
        def inner(*attributes: str) -> list[float]:
            return [computations[name].traffic(computations) for name in own.called(*attributes)]

        if own.operation in FREE or own.operation.endswith(("-done", "-update")):
            return 0
        if own.operation == "while":
            return (own.trips(computations) or 1) * sum(inner("body"))
        if own.operation == "conditional":
            names = "branch_computations", "true_computation", "false_computation"
            return max(inner(*names), default=0)
        if own.operation == "call":
            return sum(inner("to_apply"))
        if own.operation == "async-start":
            return sum(inner("calls"))
        if own.operation == "copy-start":  # its type holds source and destination
            return own.bytes
        if own.operation == "slice-start":  # the same, and of the source only the part is read
            source, part = ARRAY.findall(own.type)[:2]
            read = _array_bytes((*part[:2], source[2])) if _array_bytes(source) else 0
            return read + _array_bytes(part)
        if own.operation == "fusion":
            return self._of_fusion(own, computations)
        if own.operation in SLICES:
            return 2 * own.bytes
        if own.operation == "dynamic-update-slice":
            return 2 * self.bytes_of(own.operands[1])
        return own.bytes + sum(map(self.bytes_of, own.operands))

    def _of_fusion(self, own: _Instruction, computations: dict[str, _Computation]) -> float:
        fused = computations[own.called("calls")[0]]
        root = fused.instructions[fused.root]
        while root.operation in ("bitcast", "copy") and root.operands:
            root = fused.instructions[root.operands[0]]
        updated = None
        total = own.bytes
        if root.operation == "dynamic-update-slice":
            updated = fused.source(root.operands[0])
            total = fused.bytes_of(root.operands[1])
        for number, parameter in fused.parameters.items():
            if parameter.name != updated and number < len(own.operands):
                read = fused.read(parameter.name, computations)
                total += min(read, self.bytes_of(own.operands[number]))
        return total

    def source(self, name: str) -> str:
        """The instruction whose value another one passes on unchanged."""
        own = self.instructions[name]
        while own.operation in ("bitcast", "copy") and own.operands:
            own = self.instructions[own.operands[0]]
        return own.name

    @property
    def parameters(self) -> dict[int, _Instruction]:
        """By number."""
        found = [i for i in self.instructions.values() if i.operation == "parameter"]
        return {int(re.match(r"(\d+)", i.rest)[1]): i for i in found}  # pyright: ignore

    def read(self, name: str, computations: dict[str, _Computation]) -> float:
        """The bytes of an array that a fused computation reads, also by computations fused within it."""
        total = 0.0
        for user in self.instructions.values():
            if name not in user.operands:
                continue
            if user.operation in SLICES and user.operands[0] == name:
                total += user.bytes
            elif user.operation == "bitcast":
                total += self.read(user.name, computations)
            elif user.operation == "fusion":
                inner = computations[user.called("calls")[0]]
                used = [n for n, operand in enumerate(user.operands) if operand == name]
                total += sum(inner.read(inner.parameters[n].name, computations) for n in used)
            else:
                total += self.bytes_of(name)
        return min(total, self.bytes_of(name))

    def bytes_of(self, name: str) -> float:
        own = self.instructions.get(name)
        return own.bytes if own else 0


def _array_bytes(found: tuple[str, str, str]) -> float:
    dtype, shape, layout = found
    if re.search(r"S\([1-9]", layout):
        return 0
    bits = 8 if dtype == "pred" else int(size[1]) if (size := BITS.match(dtype)) else 0
    lengths = [int(n) for n in shape.split(",") if n]
    if tiled := TILES.match(layout):
        axes, tile = ([*map(int, numbers.split(","))] for numbers in tiled.groups())
        for axis, whole in zip(axes, reversed(tile), strict=False):
            lengths[axis] = whole * math.ceil(lengths[axis] / whole)
    return math.prod(lengths) * bits / 8


def _parsed(text: str) -> dict[str, _Computation]:
    computations: dict[str, _Computation] = {}
    current = None
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if header:
            current = computations[header[2]] = _Computation(bool(header[1]))
        elif line == "}":
            current = None
        elif current is not None and (found := _instruction(line)):
            current.instructions[found.name] = found
            if line.lstrip().startswith("ROOT"):
                current.root = found.name
    return computations


def _instruction(line: str) -> _Instruction | None:
    begun = re.match(r"\s+(?:ROOT )?%([\w.\-]+) = ", line)
    if not begun:
        return None
    end = begun.end()
    # The type: up to the first space outside of parentheses.
    depth = 0
    while depth or line[end] != " ":
        depth += {"(": 1, ")": -1}.get(line[end], 0)
        end += 1
    called = re.match(r" ([\w\-]+)\(", line[end:])
    if not called:
        return None
    start = position = end + called.end()
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(line[position], 0)
        position += 1
    inside = line[start : position - 1]
    rest = inside if called[1] in ("parameter", "constant") else line[position:]
    return _Instruction(begun[1], line[begun.end() : end], called[1], OPERAND.findall(inside), rest)
