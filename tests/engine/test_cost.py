"""What a step costs: products counted in the jaxpr, traffic and collectives read off the compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from blurjax.engine import make_mesh, sweep
from blurjax.engine.cost import collectives, matrix_flops, traffic


def flops(function, *args):
    return matrix_flops(jax.make_jaxpr(function)(*args).jaxpr)


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile().as_text()


A, B = jnp.zeros((3, 5)), jnp.zeros((5, 7))
MEGABYTE = jnp.zeros((512, 512))


def test_products_and_convolutions_are_counted():
    assert flops(jnp.matmul, A, B) == 2 * 3 * 5 * 7
    images, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))

    def convolve(images, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=numbers
        )

    assert flops(convolve, images, kernel) == 2 * (2 * 8 * 8 * 4) * (3 * 3 * 3)


def test_loops_of_known_length_and_the_costliest_branch_count():
    one = 2 * 5 * 5 * 5
    square = jnp.zeros((5, 5))

    def twice(x):
        return x @ x @ x

    assert flops(lambda x: jax.lax.map(lambda y: y @ y, x), jnp.zeros((4, 5, 5))) == 4 * one
    assert flops(lambda n, x: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x), 9, square) == one
    assert flops(lambda i, x: jax.lax.switch(i, [jnp.sin, twice], x), 0, square) == 2 * one


def test_of_a_sweep_the_trials_of_one_device_count():
    mesh = make_mesh(2, jax.devices())
    swept = sweep(lambda x: x @ x, mesh=mesh, trials_per_vmap=1)
    assert flops(swept, jnp.zeros((6, 5, 5))) == 3 * 2 * 5 * 5 * 5


def test_every_operand_is_read_and_every_result_written_once():
    found = traffic(compiled(jnp.matmul, MEGABYTE, MEGABYTE))
    assert found == pytest.approx(3 * 2**20, rel=0.01)
    assert traffic(compiled(jnp.tanh, MEGABYTE)) == pytest.approx(2 * 2**20, rel=0.01)


def test_of_a_slice_the_part_that_is_taken_counts():
    large = jnp.zeros((1000, 1024))
    taken = compiled(lambda x, i: jnp.tanh(jax.lax.dynamic_index_in_dim(x, i)), large, 3)
    assert traffic(taken) < 0.01 * large.nbytes


SLICED = """
ENTRY %main (x: f32[4,8,512]) -> f32[1,8,512] {
  %x = f32[4,8,512]{2,1,0:T(8,128)} parameter(0)
  %begun = ((f32[4,8,512]{2,1,0:T(8,128)}), f32[1,8,512]{2,1,0:T(8,128)S(1)}, s32[]) slice-start(%x), slice={[0:1]}
  ROOT %part = f32[1,8,512]{2,1,0:T(8,128)S(1)} slice-done(%begun)
}
"""
NESTED = """
%taken (array: f32[85,8,512], index: s32[]) -> f32[1,8,512] {
  %array = f32[85,8,512]{2,1,0} parameter(0)
  %index = s32[] parameter(1)
  ROOT %part = f32[1,8,512]{2,1,0} dynamic-slice(%array, %index)
}

%fused (array: f32[85,8,512], index: s32[]) -> f32[1,8,512] {
  %array = f32[85,8,512]{2,1,0} parameter(0)
  %index = s32[] parameter(1)
  %part = f32[1,8,512]{2,1,0} fusion(%array, %index), kind=kLoop, calls=%taken
  ROOT %y = f32[1,8,512]{2,1,0} negate(%part)
}

ENTRY %main (x: f32[85,8,512], i: s32[]) -> f32[1,8,512] {
  %x = f32[85,8,512]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %y = f32[1,8,512]{2,1,0} fusion(%x, %i), kind=kLoop, calls=%fused
}
"""
NEGATED = """
ENTRY %main (x: bf16[64,3]) -> bf16[64,3] {
  %x = bf16[64,3]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %y = bf16[64,3]{0,1:T(8,128)(2,1)} negate(%x)
}
"""


def test_of_a_slice_into_faster_memory_the_part_is_read():
    """As XLA for TPUs writes it."""
    assert traffic(SLICED) == 8 * 512 * 4


def test_of_a_slice_within_fused_computations_the_part_is_read():
    assert traffic(NESTED) == 2 * 8 * 512 * 4 + 4  # and the index


def test_arrays_of_a_tpu_are_padded_to_tiles():
    assert traffic(NEGATED) == (64 * 128 + 8 * 128) * 2


def test_a_loop_counts_its_rounds_where_they_are_known():
    def loop(x, rounds):
        return jax.lax.fori_loop(0, rounds, lambda _, x: jnp.tanh(x @ x), x)

    known = traffic(compiled(lambda x: loop(x, 10), MEGABYTE))
    once = traffic(compiled(loop, MEGABYTE, 10))
    assert 6 < known / once < 12


def test_of_a_loop_over_steps_only_a_step_counts():
    """Not what is done once in a call, and of trials one after another a step of each."""

    def one_trial(x, steps):
        start = jnp.tanh(jnp.sin(x) @ jnp.cos(x))
        return jax.lax.fori_loop(0, steps, lambda _, y: jnp.tanh(y @ x), start)

    def trials(x, steps):
        return jax.lax.map(lambda x: one_trial(x, steps), x)

    step = traffic(compiled(lambda x, y: jnp.tanh(x @ y), MEGABYTE, MEGABYTE))
    assert traffic(compiled(one_trial, MEGABYTE, 10)) == pytest.approx(step, rel=0.4)
    of_three = traffic(compiled(trials, jnp.stack([MEGABYTE] * 3), 10))
    assert of_three == pytest.approx(3 * step, rel=0.4)


def test_it_agrees_with_xla_where_there_is_no_loop():
    def loss(kernels, images):
        for kernel in kernels:
            images = jnp.tanh(images @ kernel)
        return (images**2).mean()

    kernels, images = [jnp.zeros((256, 256))] * 3, jnp.zeros((512, 256))
    program = jax.jit(jax.grad(loss)).lower(kernels, images).compile()
    by_xla = program.cost_analysis()["bytes accessed"]
    assert traffic(program.as_text()) == pytest.approx(by_xla, rel=0.2)


def test_collectives_are_counted_by_name():
    mesh = make_mesh(2, jax.devices())
    spread = NamedSharding(mesh, P("trial"))
    text = (
        jax.jit(jnp.sum).lower(jax.ShapeDtypeStruct((8,), np.float32, sharding=spread)).compile()
    ).as_text()
    assert collectives(text) == {"all-reduce": 1}
    assert collectives(compiled(jnp.sin, MEGABYTE)) == {}
