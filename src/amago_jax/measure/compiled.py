"""Reading a compiled program: what one of its loops launches and moves, from XLA's own text.

A loop is found by the name that it was traced under (`jax.named_scope`), which XLA keeps. What is
counted is what the compiler left to do on each device, so a program for a device that is not here
is read as well as one that runs.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
# What costs nothing on a device: names, constants, and the ends of what was started before.
FREE = {
    "add-dependency",
    "after-all",
    "bitcast",
    "constant",
    "domain",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
FREE_ENDS = ("-done", "-update")
FREE_CALLS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast")
# Reading part of the first operand; writing part of it in place, from so many-th operand.
READS_PART = {"dynamic-slice", "gather"}
WRITES_PART = {"dynamic-update-slice": 1, "scatter": 2}
_PRODUCTS = ("dot", "convolution")
_PRODUCT = re.compile("gemm|matmul|conv", re.IGNORECASE)  # of a library's function


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: its name, unique in the program.
        opcode: what it does, for example "fusion".
        shape: its result, in XLA's notation.
        operands: names of instructions of the same computation.
        rest: what the line says from the operands on.
        root: whether it is its computation's result.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    rest: str
    root: bool = False

    def attribute(self, name: str) -> str | None:
        """Return what an attribute names, for example a computation."""
        found = re.search(rf'\b{name}=[%"]?([\w.$\-]+)', self.rest)
        return found and found.group(1)

    @property
    def called(self) -> list[str]:
        """Names of computations that it is made of, in order."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        if branches:
            return re.findall(r"%?([\w.\-]+)", branches.group(1))
        names = ("calls", "to_apply", "true_computation", "false_computation")
        return [found for name in names if (found := self.attribute(name))]

    @property
    def scope(self) -> str:
        """The names that it was traced under, joined by slashes."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found.group(1) if found else ""


Computation = dict[str, Instruction]
Program = dict[str, Computation]


@dataclasses.dataclass(frozen=True)
class Work:
    """What a part of a program does on each device.

    Attributes:
        launches: how many of each kind, see `kind_of`.
        bytes: read and written, as if no launch found anything in a cache.
        endless: inner loops whose turns the compiler does not know; one turn of each is counted.
    """

    launches: Mapping[str, float]
    bytes: float = 0.0
    endless: int = 0

    def __mul__(self, times: float) -> "Work":
        """Do the same several times."""
        launches = {kind: times * count for kind, count in self.launches.items()}
        return Work(launches, times * self.bytes, self.endless)

    @property
    def total(self) -> float:
        """All launches."""
        return sum(self.launches.values())


def loop_work(program: Program, scope: str, without: str | None = None) -> Work | None:
    """Return what all turns of a loop do.

    Args:
        program: from `read`.
        scope: the loop was traced under `jax.named_scope` of it.
        without: the scope of a loop inside that is left out, for it runs now and then.

    Returns:
        Its work in all, of one turn where the program does not say how many there are; None if the
        compiler left no such loop.
    """
    loops = list(_loops(program, scope))
    if not loops:
        return None
    if without is not None:
        left_out = {loop.name for _, loop in _loops(program, without)}
        program = {
            name: {key: line for key, line in computation.items() if key not in left_out}
            for name, computation in program.items()
        }
    return _work_of(program, *loops[0])


def _loops(program: Program, scope: str) -> Iterator[tuple[Computation, Instruction]]:
    # A transformation is written around the name, as in vmap(acting)/while.
    named = re.compile(rf"(^|[/(]){scope}\)*/while$")
    for computation in program.values():
        for instruction in computation.values():
            if instruction.opcode == "while" and named.search(instruction.scope):
                yield computation, instruction


def read(text: str) -> Program:
    """Read the computations of a program, by name.

    Args:
        text: from `jax.stages.Compiled.as_text`.
    """
    program: Program = {}
    current: Computation = {}
    for line in text.splitlines():
        opened = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if opened:
            current = program[opened.group(1)] = {}
        elif (instruction := _read_line(line)) is not None:
            current[instruction.name] = instruction
    return program


def _read_line(line: str) -> Instruction | None:
    found = re.match(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$", line)
    # Shapes have parentheses, too, but none that follows a word behind a space.
    opened = found and re.search(r" ([a-z][\w\-]*)\(", found.group(3))
    if not found or not opened:
        return None
    root, name, text = found.groups()
    depth = 1
    for end in range(opened.end(), len(text)):
        depth += (text[end] == "(") - (text[end] == ")")
        if not depth:
            break
    operands = tuple(re.findall(r"%([\w.\-]+)", text[opened.end() : end]))
    shape, opcode = text[: opened.start()], opened.group(1)
    return Instruction(name, opcode, shape, operands, text[opened.end() :], bool(root))


def trips_of(program: Program, loop: Instruction) -> int | None:
    """Return how often a loop goes round; None if that is not written down.

    A TPU's compiler says it only in the condition: JAX counts scans from 0 up to a constant.
    """
    found = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
    if found:
        return int(found.group(1))
    condition = program.get(loop.attribute("condition") or "", {}).values()
    ends = [line.rest for line in condition if line.opcode == "constant"]
    below = any(line.root and "direction=LT" in line.rest for line in condition)
    end = re.match(r"(\d+)\)", ends[0]) if below and len(ends) == 1 else None
    return int(end.group(1)) if end else None


def kind_of(program: Program, instruction: Instruction) -> str | None:
    """Return what kind of launch an instruction is; None if it is none.

    A "matrix product" is one of XLA's, a library's, or a fusion around one; what a library or a
    kernel of one's own does else is a "custom call"; "copy", "sort" and "collective" are what they
    say, "fusion" is what XLA fused, and "other" the rest. Arithmetic on single numbers outside of
    fusions, which a TPU does beside the program, is none.
    """
    opcode = instruction.opcode.removesuffix("-start")
    if opcode in FREE or opcode.endswith(FREE_ENDS):
        return None
    if opcode in COLLECTIVES:
        return "collective"
    if opcode == "custom-call":
        target = instruction.attribute("custom_call_target") or ""
        if target in FREE_CALLS:
            return None
        return "matrix product" if _PRODUCT.search(target) else "custom call"
    if opcode in _PRODUCTS or (opcode == "fusion" and _multiplies(program, instruction)):
        return "matrix product"
    if opcode in ("fusion", "copy", "sort"):
        return opcode
    single = re.match(r"\w+\[\]", instruction.shape) and not opcode.startswith("reduce")
    return None if single else "other"


def _multiplies(program: Program, instruction: Instruction) -> bool:
    if instruction.opcode in _PRODUCTS:
        return True
    return any(
        _multiplies(program, inner)
        for name in instruction.called
        for inner in program.get(name, {}).values()
    )


def _work_of(program: Program, computation: Computation, instruction: Instruction) -> Work:
    """Return what one instruction does, and everything that it calls."""
    opcode = instruction.opcode
    if opcode == "while":
        body = _sum(_parts(program, instruction.attribute("body")))
        trips = trips_of(program, instruction)
        if trips is not None:
            return body * trips
        turn = _sum([body, *_parts(program, instruction.attribute("condition"))])
        return dataclasses.replace(turn, endless=turn.endless + 1)
    if opcode == "conditional":
        branches = [_sum(_parts(program, name)) for name in instruction.called]
        most = max(branches, key=lambda work: work.total)
        return dataclasses.replace(most, bytes=max(work.bytes for work in branches))
    if opcode in ("call", "async-start"):
        return _sum(part for name in instruction.called for part in _parts(program, name))
    kind = kind_of(program, instruction)
    return Work({}) if kind is None else Work({kind: 1}, _bytes(program, computation, instruction))


def _parts(program: Program, name: str | None) -> Iterator[Work]:
    computation = program.get(name or "", {})
    for instruction in computation.values():
        yield _work_of(program, computation, instruction)


def _sum(parts: Iterable[Work]) -> Work:
    launches: collections.Counter[str] = collections.Counter()
    moved, endless = 0.0, 0
    for part in parts:
        launches.update(part.launches)
        moved += part.bytes
        endless += part.endless
    return Work(dict(launches), moved, endless)


def _bytes(program: Program, computation: Computation, instruction: Instruction) -> float:
    """Return what a launch reads and writes, of arrays that it only looks into what it looks at."""
    if instruction.opcode == "copy-start":
        return bytes_of(instruction.shape)  # of both arrays
    if instruction.opcode != "fusion":
        # As if it were fused with nothing.
        read = sum(_read_bytes(computation, name, [instruction]) for name in instruction.operands)
        return read + _written_bytes(computation, instruction)
    inner = program.get(instruction.called[0], {})
    read = 0.0
    for line in inner.values():
        if line.opcode == "parameter":
            read += _read_bytes(inner, line.name, inner.values())
    root = next((line for line in inner.values() if line.root), instruction)
    return read + _written_bytes(inner, root)


def _read_bytes(computation: Computation, name: str, users: Iterable[Instruction]) -> float:
    """Return how much of an array is read by those of ``users`` that use it."""
    total, whole = 0.0, bytes_of(computation[name].shape) if name in computation else 0.0
    for user in users:
        if name not in user.operands:
            continue
        first = user.operands[0] == name
        if first and user.opcode in READS_PART:
            total += bytes_of(user.shape)
        elif first and user.opcode == "bitcast":
            total += _read_bytes(computation, user.name, computation.values())
        elif not (first and user.opcode in WRITES_PART):
            return whole
    return min(total, whole)


def _written_bytes(computation: Computation, root: Instruction) -> float:
    """Return how much is written where a result comes from ``root``."""
    if root.opcode == "tuple":
        parts = [computation[name] for name in root.operands if name in computation]
        return sum(_written_bytes(computation, part) for part in parts)
    if root.opcode == "bitcast" and root.operands and root.operands[0] in computation:
        return _written_bytes(computation, computation[root.operands[0]])
    update = WRITES_PART.get(root.opcode)
    if update is not None and root.operands[update] in computation:
        return bytes_of(computation[root.operands[update]].shape)
    return bytes_of(root.shape)


def bytes_of(shape: str) -> float:
    """Return the bytes of an array, or of a tuple of arrays, in XLA's notation.

    What a TPU keeps on the chip, memory space 1, counts nothing.
    """
    total = 0.0
    for dtype, sizes, layout in re.findall(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?", shape):
        if "S(1)" in layout:
            continue
        bits = re.match(r"[a-z]+(\d+)", dtype)
        count = math.prod(int(size) for size in sizes.split(",") if size)
        # Of what has no number, a truth value takes a byte, a token nothing.
        total += count * (int(bits.group(1)) / 8 if bits else float(dtype == "pred"))
    return total
