"""What loops launch and move is read from XLA's text as it is written for each platform."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from amago_jax.measure.compiled import bytes_of, loop_work, read

DATA = Path(__file__).parent / "data"
# Shortened from what XLA wrote for an H100: a step with a gather from a large buffer, a product in
# a kernel of Triton's, one of cuBLAS's, an inner loop, a branch, and an update in place.
GPU = read((DATA / "loop_gpu.hlo").read_text())
ROW = 4 * 4 * 8  # bytes of its f32[4,8]
# A TPU's compiler says how often a loop goes round in its condition alone, and keeps what it can on
# the chip, in memory space 1.
TPU = read((DATA / "loop_tpu.hlo").read_text())
# A processor's compiler calls what its threads share.
CPU = read((DATA / "loop_cpu.hlo").read_text())


def test_a_loop_is_found_by_its_name_and_its_launches_told_apart():
    work = loop_work(GPU, "learning")
    assert work is not None
    each = {kind: count / 10 for kind, count in work.launches.items()}
    assert each == {
        "fusion": 2,  # the gather and the write; a product in a fusion is one
        "matrix product": 2,
        "custom call": 1,
        "copy": 6,  # one in each turn of the inner loop
        "collective": 1,  # its end is no launch
        "sort": 1,  # of the larger branch
    }
    assert work.total == 130
    assert work.endless == 0


def test_bytes_are_those_that_are_looked_at():
    work = loop_work(GPU, "learning")
    assert work is not None
    gather = ROW + 4 * 4 + ROW  # what is drawn, not the buffer; the places; the result
    products = (ROW + 256 + ROW) + (ROW + 256 + ROW + 64)
    others = 2 * ROW + 6 * 2 * ROW + 2 * ROW + 2 * ROW  # own kernel, copies, sum, sort
    write = ROW + 4 + ROW  # in place: not the whole output
    assert work.bytes == 10 * (gather + products + others + write)


def test_of_branches_the_most_launches_and_the_most_bytes_count():
    few = "ROOT %arg.5 = f32[4,8]{1,0} parameter(0)"
    wide = (
        few.replace("ROOT ", "")
        + """
  %one.5 = f32[64,8]{1,0} broadcast(%arg.5), dimensions={1}
  ROOT %sum.5 = f32[4,8]{1,0} reduce-window(%one.5), to_apply=%unread"""
    )
    text = (DATA / "loop_gpu.hlo").read_text()
    before, after = GPU, read(text.replace(few, wide))
    works = [loop_work(program, "learning") for program in (before, after)]
    assert works[0] is not None
    assert works[1] is not None
    assert works[1].total == works[0].total + 10  # two of the one, no more a sort of the other
    assert works[1].bytes == works[0].bytes + 10 * 2 * 64 * 8 * 4


def test_a_loop_without_an_end_counts_once_with_its_condition_and_is_told():
    work = loop_work(GPU, "acting")
    assert work is not None
    assert work.launches == {"copy": 1, "fusion": 1}
    assert work.endless == 1


def test_a_loop_inside_can_be_left_out_and_stands_for_itself():
    text = (DATA / "loop_gpu.hlo").read_text()
    inner = "learning/while/body/closed_call/while"
    program = read(text.replace(inner, "learning/while/body/closed_call/rare/while"))
    whole, less, alone = (
        loop_work(program, "learning"),
        loop_work(program, "learning", without="rare"),
        loop_work(program, "rare"),
    )
    assert whole is not None
    assert less is not None
    assert alone is not None
    assert less.total == whole.total - 10 * alone.total
    assert alone.launches == {"copy": 6}
    assert loop_work(program, "learning", without="never") == whole


def test_a_loop_that_is_not_there_is_none():
    assert loop_work(GPU, "learn") is None
    assert loop_work(GPU, "body") is None


def test_a_tpu_counts_turns_in_the_condition_and_keeps_arrays_on_the_chip():
    work = loop_work(TPU, "acting")
    assert work is not None
    # Neither the counter nor the room for a buffer is a launch.
    assert work.launches == {"copy": 7, "other": 7}
    assert work.bytes == 7 * (8 * 128 * 4 + 4)  # what leaves the chip, and a copy's own flag
    assert work.endless == 0


def test_a_processor_calls_what_its_threads_share():
    work = loop_work(CPU, "learning")
    assert work is not None
    assert work.launches == {"matrix product": 3, "fusion": 3, "copy": 3}
    assert work.bytes == 3 * (3 * 1024 + 2 * 1024 + 2 * 4)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[24,8]{1,0}", 768),
        ("bf16[3]{0:T(128)(2,1)}", 6),
        ("pred[5]", 5),
        ("f8e4m3fn[4]{0}", 4),
        ("s4[4]{0:E(4)}", 2),
        ("s32[]", 4),
        ("token[]", 0),
        ("(f32[2]{0}, /*index=1*/u8[3]{0})", 11),
        ("f32[8]{0:T(128)S(1)}", 0),
    ],
)
def test_bytes_of_shapes(shape, size):
    assert bytes_of(shape) == size


def test_what_this_machine_compiles_is_read():
    def inner(x, _):
        return jnp.tanh(x @ x), None

    def outer(x, _):
        x, _ = jax.lax.scan(inner, x, None, length=4)
        return jnp.sort(x, axis=0), None

    def program(x):
        with jax.named_scope("here"):
            x, _ = jax.lax.scan(outer, x, None, length=5)
        return x

    compiled = jax.jit(program).lower(jnp.eye(64)).compile()
    work = loop_work(read(compiled.as_text()), "here")
    assert work is not None
    assert work.launches["matrix product"] == 5 * 4
    assert work.launches.get("sort", 0) + work.launches.get("custom call", 0) >= 5
    assert 5 * (4 * 2 + 1) <= work.total <= 5 * (4 * 5 + 5), work.launches
    size = 4 * 64 * 64
    assert 20 * 3 * size <= work.bytes <= 20 * 12 * size
    assert work.endless == 0
