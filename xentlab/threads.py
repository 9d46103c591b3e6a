"""Work done in threads: what an interruption of the command means for it, and whose the time is that passes."""

import threading
import time
from collections.abc import Callable, Iterable

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


def in_threads(work: Iterable[Callable[[], None]], at_once: int | None = None) -> KeyboardInterrupt | None:
    """Do all work, each in a thread of its own, and wait for its end; none of it may raise.

    Args:
        work: taken one after another, as there is a place; what it raises itself is raised once the others have ended.
        at_once: places; None: one for each.

    Returns:
        The last interruption, after which nothing begins, or None.
    """
    left, threads = iter(work), list[_Work]()
    more, interruption, heard, failure = True, None, None, None
    while more or threads:
        try:
            if heard is not interruption:
                for thread in threads:
                    thread.interrupted = True
                heard = interruption
            while more and len(threads) != at_once:
                one = next(left, None)
                if one is None:
                    more = False
                else:
                    threads.append(_Work(target=one, name="work"))
                    threads[-1].start()
            time.sleep(_LOOK_S)  # an interrupted `join` would take a thread that is at work for one that has ended
            threads = [thread for thread in threads if thread.is_alive()]
        except KeyboardInterrupt as error:
            interruption, more = error, False
        except Exception as error:
            failure, more = error, False
    if failure is not None and interruption is None:
        raise failure
    return interruption
