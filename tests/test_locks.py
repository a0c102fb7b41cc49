"""Locks: one holder at a time, free in a forked child, forgotten with the object that has them."""

import copy
import gc
import inspect
import os
import pickle
import threading
import weakref

import pytest
from helpers import run_python

from cyrnn import locks
from cyrnn.locks import ForkSafeLock

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# A child that waits for ever is ended by SIGALRM, and so fails the test.
IN_A_CHILD = """
import os, signal, threading
from cyrnn import random
from cyrnn.locks import ForkSafeLock

def taken_by_another_thread(lock):  # until the process ends
    taken = threading.Event()
    def hold():
        with lock:
            taken.set()
            threading.Event().wait()
    threading.Thread(target=hold, daemon=True).start()
    taken.wait()

def taken_within(seconds, lock):  # by another thread
    taken = threading.Event()
    def take():
        with lock:
            taken.set()
    threading.Thread(target=take, daemon=True).start()
    return taken.wait(seconds)

def free(lock):
    return taken_within(60, lock)

def held(lock):
    return not taken_within(1, lock)

def passes(check):
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, code
"""


def test_the_holder_may_take_it_again_and_others_wait():
    lock, order, inside = ForkSafeLock(), [], threading.Event()

    def other():
        inside.set()
        with lock:
            order.append("other")

    thread = threading.Thread(target=other)
    with lock:
        with lock:
            thread.start()
            inside.wait()
        thread.join(timeout=0.2)  # it waits, still
        order.append("holder")
    thread.join()
    assert order == ["holder", "other"]


def test_an_error_within_the_block_frees_it():
    lock = ForkSafeLock()
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    taken = []

    def take():
        with lock:
            taken.append(True)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert taken


def test_no_line_of_python_runs_between_taking_it_and_the_block():
    lock = ForkSafeLock()  # so that no KeyboardInterrupt can come there
    assert inspect.isbuiltin(lock.__enter__)
    assert inspect.isbuiltin(lock.__exit__)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_duplicate_is_another_lock_and_free(duplicate):
    lock = ForkSafeLock()
    with lock:
        other = duplicate(lock)
        taken = []

        def take():
            with other:
                taken.append(True)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        thread.join(timeout=20)
    assert taken
    assert type(other) is ForkSafeLock
    assert other is not lock


def test_nothing_keeps_a_lock_alive():
    lock = ForkSafeLock()
    assert lock in locks._alive
    known = weakref.ref(lock)
    del lock
    gc.collect()
    assert known() is None


@forks
def test_in_a_child_a_lock_of_another_thread_is_free():
    run_python(f"""{IN_A_CHILD}
locks = [ForkSafeLock() for _ in range(50)]
for lock in locks:
    taken_by_another_thread(lock)

def check():
    for lock in locks:
        with lock, lock:
            pass
    with locks[0]:
        return held(locks[0]) and all(map(free, locks[1:]))

passes(check)
passes(lambda: passes(check) is None and check())  # and in a child of the child
assert held(locks[0])  # in the parent nothing has changed
""")


@forks
def test_in_a_child_what_the_forking_thread_holds_it_still_holds():
    run_python(f"""{IN_A_CHILD}
lock = ForkSafeLock()
with lock:
    child = os.fork()
    if child == 0:
        signal.alarm(100)
    assert held(lock)
assert free(lock)
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""")


@forks
def test_a_seed_generator_draws_in_a_child_though_a_thread_was_drawing():
    run_python(f"""{IN_A_CHILD}
own, shared = random.SeedGenerator(3), random._shared_generator()
taken_by_another_thread(own._lock)
taken_by_another_thread(shared._lock)

def check():
    assert random.uniform((2,)).shape == (2,)
    return [own.next().tolist(), own.next().tolist()] == [[3, 0], [3, 1]]

passes(check)
""")


@forks
def test_in_a_child_what_a_lost_thread_had_half_done_is_undone():
    run_python(f"""{IN_A_CHILD}
locks, undone = [ForkSafeLock() for _ in range(20)], []
def undo():
    with locks[0], locks[-1]:  # other locks are free by then
        undone.append(True)
for lock in locks[::2]:
    lock.undo = undo
for lock in locks:
    taken_by_another_thread(lock)
passes(lambda: len(undone) == 10 and not any(lock.undo for lock in locks))
with ForkSafeLock() as mine:
    own = ForkSafeLock()
    own.undo = undo  # this thread has it, and goes on
    with own:
        passes(lambda: len(undone) == 10 and own.undo is undo)
assert undone == [] and all(lock.undo for lock in locks[::2])
""")


@forks
def test_a_layer_that_another_thread_was_building_is_built_in_a_child():
    run_python(f"""{IN_A_CHILD}
import numpy as np
from cyrnn import layers

parent, inside, go = os.getpid(), threading.Event(), threading.Event()

class Slow(layers.Layer):
    def build(self, input_shape):
        self.first = self.add_weight((2,), "ones", name="first")
        self.inner = layers.Dense(2)
        self.inner.build(input_shape)
        inside.set()
        if os.getpid() == parent:
            go.wait()
        self.second = self.add_weight((3,), "ones", name="second")

    def call(self, inputs):
        return self.inner(inputs) * self.first

layer, x = Slow(), np.ones((1, 2), "float32")
thread = threading.Thread(target=layer, args=(x,), daemon=True)
thread.start()
inside.wait()

def check():
    assert not layer.built
    outputs = layer(x)
    return layer.built and len(layer.weights) == 4 and np.array_equal(layer(x), outputs)

passes(check)
go.set()
thread.join()
assert layer.built and len(layer.weights) == 4
""")
