"""Work done in threads: what an interruption of the command means for it, and whose the time is that passes."""

import threading
import time
from collections.abc import Callable, Sequence

_LOOK_S = 0.005  # between two looks at whether they have ended


class _Work(threading.Thread):
    """A thread that an interruption of the command reaches where it calls `heed_interruption`.

    Python can raise in another thread by its id, but a thread that was made and has not begun still bears its maker's:
    the interruption could end one that somebody waits for.
    """

    interrupted = False


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


def in_threads(work: Sequence[Callable[[], None]]) -> KeyboardInterrupt | None:
    """Do all work, each in a thread of its own, and wait for its end; none of it may raise.

    Returns:
        The last interruption, or None.
    """
    threads = [_Work(target=one, name=f"work {number}") for number, one in enumerate(work)]
    interruption = heard = None
    while any(thread.is_alive() or (thread.ident is None and interruption is None) for thread in threads):
        try:
            for thread in threads:
                if thread.ident is None and interruption is None:
                    thread.start()
                elif heard is not interruption:
                    thread.interrupted = True
            heard = interruption
            time.sleep(_LOOK_S)  # an interrupted `join` would take a thread that is at work for one that has ended
        except KeyboardInterrupt as error:
            interruption = error
    return interruption
