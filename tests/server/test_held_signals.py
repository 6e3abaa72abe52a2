"""A signal that comes while a process is started is felt once the process is in good hands."""

import os
import signal
import threading

import pytest

from onepath.server.held_signals import HeldSignals


def test_a_signal_is_held_back_until_it_is_released():
    done = []
    held = HeldSignals().__enter__()
    os.kill(os.getpid(), signal.SIGINT)
    done.append("started")
    with pytest.raises(KeyboardInterrupt):
        held.release()
    held.release()
    assert done == ["started"]


def test_the_end_of_the_context_releases_and_restores_the_usual_handlers():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), HeldSignals():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_without_a_signal_nothing_happens_also_in_another_thread():
    ended = []

    def use():
        with HeldSignals() as held:
            held.release()
        ended.append(True)

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert ended == [True, True]
