"""Does several pieces of work at the same time, and stops waiting at the first failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed

from sandbox.cluster.docker import Say

Work = Callable[[Say], None]


def do(works: Sequence[Work], say: Say) -> None:
    """Do all of it; what the first one to fail raises is raised at once, and so is Ctrl-C.

    What is still under way then is left to end with this process, unheard: each piece has to leave nothing
    half done behind when it is cut off.
    """
    over = threading.Event()
    one_at_a_time = threading.Lock()

    def heard(text: str) -> None:
        with one_at_a_time:
            if not over.is_set():
                say(text)

    try:
        for done in as_completed([_start(work, heard) for work in works]):
            done.result()
    finally:
        over.set()


def _start(work: Work, say: Say) -> Future[None]:
    future: Future[None] = Future()

    def run() -> None:
        try:
            work(say)
        except BaseException as error:  # noqa: BLE001  # handed to the one who waits
            future.set_exception(error)
        else:
            future.set_result(None)

    # A daemon: a pool's threads would keep a process alive that was told to end.
    threading.Thread(target=run, daemon=True).start()
    return future
