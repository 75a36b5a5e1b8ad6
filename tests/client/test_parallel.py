from __future__ import annotations

import signal
import threading
from contextvars import ContextVar
from functools import partial
from operator import truediv

import pytest
import requests

from cartoframes_lite._client.parallel import at_once, both
from cartoframes_lite.credentials import Credentials

ANN = Credentials("ann")


def test_functions_run_at_the_same_time():
    barrier = threading.Barrier(4)
    assert sorted(at_once(ANN, *[partial(barrier.wait, 10)] * 4)) == [0, 1, 2, 3]


def test_results_are_in_order():
    assert at_once(ANN, *(partial(pow, number, 2) for number in range(10))) == [number**2 for number in range(10)]
    assert both(ANN, lambda: "a", lambda: 1) == ("a", 1)
    assert at_once(ANN) == []


def test_the_first_error_is_raised_at_the_end():
    ended = threading.Event()
    slow = threading.Event()

    def succeed() -> float:
        assert slow.wait(10)
        ended.set()
        return 0.0

    def fail() -> float:
        slow.set()
        return truediv(1, 0)

    with pytest.raises(ZeroDivisionError):
        at_once(ANN, succeed, fail, partial(float, "x"))
    assert ended.is_set()
    with pytest.raises(ValueError, match="convert"):
        at_once(ANN, succeed, partial(float, "x"), fail)


def test_the_first_function_runs_in_the_calling_thread():
    first, second = at_once(ANN, threading.current_thread, threading.current_thread)
    assert first is threading.current_thread() is not second


def test_context_variables_are_those_of_the_caller():
    variable = ContextVar("variable", default="")
    variable.set("set")
    assert at_once(ANN, variable.get, variable.get) == ["set", "set"]


def test_a_session_of_the_user_is_used_by_one_thread():
    with requests.Session() as session:
        credentials = Credentials("ann", session=session)
        assert set(at_once(credentials, *[threading.current_thread] * 3)) == {threading.current_thread()}


def test_an_interrupt_does_not_wait_for_the_others():
    finish, started = threading.Event(), threading.Event()

    def wait() -> bool:
        started.set()
        return finish.wait(60)

    def interrupt() -> bool:
        assert started.wait(10)
        signal.raise_signal(signal.SIGINT)
        return True

    try:
        with pytest.raises(KeyboardInterrupt):
            at_once(ANN, interrupt, wait)
    finally:
        finish.set()
