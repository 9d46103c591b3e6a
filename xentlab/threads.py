"""Work done in threads: what an interruption of the command means for it, and whose the time is that passes."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

_LOOK_S = 0.005  # between two looks at whether they have ended
_END: Any = object()


class _Work(threading.Thread):
    """A thread that an interruption of the command reaches where it calls `heed_interruption`.

    Python can raise in another thread by its id, but a thread that was made and has not begun still bears its maker's:
    the interruption could end one that somebody waits for.
    """

    interrupted = over = False

    def run(self) -> None:
        try:
            super().run()
        finally:
            self.over = (
                True  # an interrupted `is_alive` or `join` takes a thread that is at work for one that has ended
            )


_here = threading.local()


def take_share(part: float) -> None:
    """Say what part of the machine this thread has from now on."""
    _here.part = part


def share() -> float:
    """What part of the machine this thread has: what each of its seconds counts for."""
    return float(getattr(_here, "part", 1.0))


def heed_interruption() -> None:
    """Raise KeyboardInterrupt, once, in work of `in_threads` that was interrupted; to be called between steps."""
    thread = threading.current_thread()
    if isinstance(thread, _Work) and thread.interrupted:
        thread.interrupted = False
        raise KeyboardInterrupt


def in_threads(work: Iterable[Callable[[], None] | None], at_once: int | None = None) -> KeyboardInterrupt | None:
    """Do all work, each in a thread of its own, and wait for its end; none of it may raise.

    Args:
        work: taken one after another, as there is a place; None where there is none yet. What it raises itself is
            raised once the others have ended.
        at_once: places; None: one for each.

    Returns:
        The last interruption, after which nothing begins, or None.
    """
    left, threads, heard = iter(work), list[_Work](), list[KeyboardInterrupt]()
    more, taking, told = True, False, 0
    failure: BaseException | None = None

    def hear(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal taking
        heard.append(KeyboardInterrupt())
        if taking:
            taking = False
            raise heard[-1]

    with _instead_of_raising(hear):
        while more or threads:
            try:
                if told != len(heard):
                    more, told = False, len(heard)
                    for thread in threads:
                        thread.interrupted = True
                while more and len(threads) != at_once:
                    taking = True
                    one = next(left, _END)
                    taking = False
                    more = one is not _END
                    if not more or one is None:
                        break
                    threads.append(_Work(target=one, name="work"))
                    threads[-1].start()
                time.sleep(_LOOK_S)
                threads = [thread for thread in threads if thread.ident is not None and not thread.over]
            except BaseException as error:
                taking, more = False, False
                if not isinstance(error, KeyboardInterrupt):
                    failure = error
                elif told == len(heard):  # not of `hear`
                    heard.append(error)
    if failure is not None and not heard:
        raise failure
    return heard[-1] if heard else None


@contextlib.contextmanager
def _instead_of_raising(hear: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have signals that raise KeyboardInterrupt in this thread call `hear`.

    Raised between any two instructions, it may come within a callback of the garbage collector, where Python prints it
    and goes on.
    """
    here = threading.current_thread() is threading.main_thread()
    signs = (signal.SIGINT, signal.SIGTERM) if here else ()
    raising = [sign for sign in signs if signal.getsignal(sign) is signal.default_int_handler]
    try:
        for sign in raising:
            signal.signal(sign, hear)
        yield
    finally:
        for sign in raising:
            signal.signal(sign, signal.default_int_handler)
