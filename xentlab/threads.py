"""Work done in threads, and what an interruption of the command means for it."""

import threading
import time
from collections.abc import Callable, Sequence

_LOOK_S = 0.005  # between two looks at whether they have ended


def in_threads(work: Sequence[Callable[[], None]], interrupt: Callable[[int], None]) -> KeyboardInterrupt | None:
    """Do all work, each in a thread of its own, and wait for its end; none of it may raise.

    Args:
        interrupt: called with the id of each thread that is still at work where this one is interrupted.

    Returns:
        The last interruption, or None.
    """
    threads = [threading.Thread(target=one, name=f"work {number}") for number, one in enumerate(work)]
    interruption = heard = None
    while any(thread.is_alive() or (thread.ident is None and interruption is None) for thread in threads):
        try:
            for thread in threads:
                if thread.ident is None and interruption is None:
                    thread.start()
                elif thread.ident is not None and thread.is_alive() and heard is not interruption:
                    interrupt(thread.ident)
            heard = interruption
            time.sleep(_LOOK_S)  # an interrupted `join` would take a thread that is at work for one that has ended
        except KeyboardInterrupt as error:
            interruption = error
    return interruption
