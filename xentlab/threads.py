"""Work done in threads, and what an interruption of the command means for it."""

import queue
import threading
from collections.abc import Callable, Sequence


def in_threads(work: Sequence[Callable[[], None]], interrupt: Callable[[int], None]) -> KeyboardInterrupt | None:
    """Do all work, each in a thread of its own, and wait for its end; none of it may raise.

    Args:
        interrupt: called with the id of each thread that is still at work where this one is interrupted.

    Returns:
        The last interruption, or None. An interrupted `Thread.join` would take a thread at work for one that has ended.
    """
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def do(number: int) -> None:
        try:
            work[number]()
        finally:
            ended.put(number)

    threads = {i: threading.Thread(target=do, args=(i,), name=f"work {i}") for i in range(len(work))}
    interruption = None
    for thread in threads.values():
        thread.start()
    while threads:
        try:
            threads.pop(ended.get()).join()
        except KeyboardInterrupt as error:
            interruption = error
            for thread in threads.values():
                interrupt(thread.ident or 0)
    return interruption
