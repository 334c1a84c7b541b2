"""Every program of an experiment compiled for a target, and what the compiler says of memory and cost."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from blurjax.config.settings import Config
from blurjax.data import Dataset
from blurjax.engine import TRIAL_AXIS, Target
from blurjax.engine.cost import collectives, matrix_flops, needed_temporaries, traffic
from blurjax.engine.hardware import Hardware
from blurjax.engine.mesh import Layout
from blurjax.experiment.calls import TRAINING, Call, calls, make_programs
from blurjax.experiment.layout import Memory
from blurjax.experiment.plan import slow_settings


@dataclass(frozen=True)
class CompiledProgram:
    """One program, and what its compilation for a target gave; bytes and costs are those of one device."""

    name: str
    kind: str
    trials: int
    """On all devices, with padding."""
    steps: float
    """In the whole experiment, of all these trials."""
    flops: float
    """Of a step: of its matrix products and convolutions, with the costliest view."""
    seconds: float
    """That the compilation took."""
    error: str = ""
    """Why it does not compile; empty where it does."""
    argument_bytes: int = 0
    output_bytes: int = 0
    """Without those that take the place of arguments."""
    temporary_bytes: int = 0
    """Known, alone of these sizes, also of a program that is too large to compile for a TPU."""
    other_bytes: int = 0
    """That lie on the device besides while it runs."""
    bytes: float = math.nan
    """Of a step: read from and written to memory, an estimate."""
    collectives: dict[str, int] = field(default_factory=dict)
    """Instruction that sends data between devices -> how often it stands in the program."""
    step_bound: float | None = None
    """Seconds below which no step can be, by the device's peak rates; None where these are not known."""
    text: str = field(default="", repr=False)
    """The compiled program."""
    aliased_bytes: int = 0
    """Of arguments that are given up and whose place results take."""

    @property
    def needed_bytes(self) -> int:
        """Memory that each device needs while the program runs."""
        own = self.argument_bytes + self.output_bytes + self.temporary_bytes
        return own + self.other_bytes


@dataclass(frozen=True)
class CompiledExperiment:
    """An experiment compiled for a target."""

    target: str
    devices: int
    """That the experiment uses."""
    hardware: Hardware
    mesh: dict[str, int]
    trials_per_vmap: int
    """Trials side by side on each device."""
    most_per_vmap: int | None
    """How many trials side by side the memory has room for, of those that a device has; None where programs do not
    compile."""
    programs: tuple[CompiledProgram, ...]
    notes: tuple[str, ...] = ()
    """Of settings that may disappoint on these devices."""

    @property
    def bound(self) -> float | None:
        """Seconds below which the whole experiment cannot be; None where it is not known."""
        bounds = [p.steps * p.step_bound for p in self.programs if p.step_bound is not None]
        return sum(bounds) if len(bounds) == len(self.programs) else None

    def fits(self, program: CompiledProgram) -> bool:
        """Returns whether a program compiles and the memory of a device is enough for it."""
        return not program.error and program.needed_bytes <= self.hardware.available

    @property
    def works(self) -> bool:
        """Whether all programs compile and fit."""
        return all(map(self.fits, self.programs))


def compile_experiment(
    config: Config,
    dataset: Dataset,
    target: Target,
    *,
    wanted: Callable[[Call], bool] = lambda call: True,
    say: Callable[[str], None] = lambda line: None,
) -> CompiledExperiment:
    """Compiles every program of an experiment for a target; nothing runs.

    Args:
      config: fitted to the data.
      dataset: of which only the shapes, the splits and the classes count.
      target: with known hardware.
      wanted: which programs.
      say: called with a line for every program that is compiled.

    Raises:
      UserError: the settings ask for more devices than there are, or batches do not divide evenly.
    """
    assert target.hardware is not None
    hardware = target.hardware
    done: dict[tuple[str, int], CompiledProgram] = {}

    def finish(call: Call, layout: Layout) -> CompiledProgram:
        key = call.name, layout.trials_per_vmap
        if key not in done:
            done[key] = _compile(call, target)
            say(f"{target.name}: {call.name}, {done[key].seconds:.0f} s")
        return done[key]

    def memory_of(call: Call, layout: Layout) -> Memory:
        program = finish(call, layout)
        if program.error:
            return Memory(math.inf, program.temporary_bytes or math.inf)
        return Memory(program.needed_bytes, program.temporary_bytes)

    with without_cache():
        programs = make_programs(config, dataset, target, memory_of=memory_of)
        layout, order = programs.layout, [*filter(wanted, calls(programs))]
        # Lowering holds Python's lock, compiling does not.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            longest_first = sorted(order, key=lambda call: call.kind != TRAINING)
            waiting = {call.name: pool.submit(finish, call, layout) for call in longest_first}
            compiled = tuple(waiting[call.name].result() for call in order)
    return CompiledExperiment(
        target=target.name,
        devices=layout.mesh.size,
        hardware=hardware,
        mesh=dict(layout.mesh.shape),
        trials_per_vmap=layout.trials_per_vmap,
        most_per_vmap=_most_per_vmap(compiled, layout, hardware),
        programs=compiled,
        notes=(*slow_settings(config, target.platform),),
    )


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Leaves jax's cache on disk alone, out of which programs for absent devices cannot be read."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _compile(call: Call, target: Target) -> CompiledProgram:
    traced = call.function.trace(*call.arguments)
    flops = matrix_flops(traced.jaxpr.jaxpr)
    lowered = traced.lower()
    begun = time.perf_counter()
    hardware = target.hardware
    assert hardware is not None

    def result(**found: Any) -> CompiledProgram:
        seconds = time.perf_counter() - begun
        return CompiledProgram(
            call.name, call.kind, call.trials, call.steps, flops, seconds, **found
        )

    try:
        compiled = lowered.compile(compiler_options=target.compiler_options)
    except jax.errors.JaxRuntimeError as error:
        needed = needed_temporaries(error)
        temporary = int(needed) if math.isfinite(needed) else 0
        return result(error=" ".join(str(error).split()), temporary_bytes=temporary)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    moved = traffic(text)
    peak = hardware.peak(call.dtype)
    bound = None
    if peak and hardware.bandwidth:
        bound = max(flops / peak, moved / hardware.bandwidth)
    return result(
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        other_bytes=call.beside,
        aliased_bytes=memory.alias_size_in_bytes,
        bytes=moved,
        collectives=collectives(text),
        step_bound=bound,
        text=text,
    )


def _most_per_vmap(
    compiled: tuple[CompiledProgram, ...], layout: Layout, hardware: Hardware
) -> int | None:
    """Returns how many of a device's trials the memory has room for, if temporaries grow as their number does."""
    fitting = []
    for program in compiled:
        if program.error:
            return None
        if program.kind == TRAINING:
            rest = program.needed_bytes - program.temporary_bytes
            each = max(1, program.temporary_bytes / layout.trials_per_vmap)
            fitting.append(max(0, int((hardware.available - rest) / each)))
    trials = max((program.trials for program in compiled), default=0)
    return min([*fitting, trials // layout.mesh.shape[TRIAL_AXIS]]) if fitting else None
