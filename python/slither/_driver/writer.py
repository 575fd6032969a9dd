"""The thread ``slither-writer``, which carries out the orders of other threads, one by one.

Orders are for long frames, which take more than one step and must not be left half written,
and work that must not wait where it is asked for: the closes of finalisers, and single calls
until there is room. Any thread may give orders; the function of an order runs in the writer
alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from slither._driver.channel import Channel, Pieces, header

# Bytes of small frames that the writer sends together.
_TOGETHER = 65_536

_Step = Callable[..., object]
_Order = tuple[_Step, _Step, tuple[object, ...]]


class Writer:
    """Carries out orders until it is told to stop, and has what comes then refused."""

    def __init__(
        self, channel: Channel, kill: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        """Take what kills BEAM when its time is up, and what to call at the very end."""
        self._channel = channel
        self._kill, self._ended = kill, ended
        # An order is a function for the writer, another for whatever thread finds the order
        # once the writer has stopped, and the arguments of both.
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._small: list[bytes | memoryview] = []
        self._small_size = 0
        self._kill_at: float | None = None
        self.stopped = False
        """Whether nothing is carried out any more."""
        self.next_look: Callable[[], float | None] = lambda: None
        """Tells after how many idle seconds to call :attr:`look`; None for never."""
        self.look: Callable[[], None] = lambda: None
        self.failed: Callable[[Exception], None] = lambda _error: None
        """Is told of an order that has raised; the writer goes on with the next."""
        self.thread = threading.Thread(target=self._run, name="slither-writer", daemon=True)

    ## For any thread

    def order(self, carry_out: _Step, *args: object, refuse: _Step = lambda *_of: None) -> None:
        """Have the writer call ``carry_out``, or ``refuse`` where it has stopped."""
        self._orders.put((carry_out, refuse, args))
        # This thread looks at the flag after it has queued the order, and the writer at the
        # queue after it has set the flag. So one of the two finds the order.
        if self.stopped:
            self._refuse_orders()

    ## For the writer

    def write(self, pieces: Pieces, size: int) -> None:
        """Send a frame, a small one together with others."""
        self._small += (header(size), *pieces)
        self._small_size += size
        if self._small_size > _TOGETHER:
            self.flush()

    def kill_in(self, seconds: float) -> None:
        """Kill BEAM if it is still there after so many seconds."""
        self._kill_at = time.monotonic() + seconds

    def stop(self) -> None:
        """Carry out nothing after the order that calls this."""
        self.stopped = True

    def flush(self) -> None:
        """Send what waits to be sent together."""
        small, self._small = self._small, []
        size, self._small_size = self._small_size, 0
        # Joined, so that frames of other threads go
        # before or after all of these, never between.
        if size:
            self._channel.put(b"".join(small))

    def _run(self) -> None:
        orders = self._orders
        try:
            while not self.stopped:
                try:
                    carry_out, _refuse, args = orders.get_nowait()
                except Empty:
                    self.flush()
                    carry_out, _refuse, args = self._next_order()
                self._carry_out(carry_out, args)
                # What an order had is not to live until the next one comes.
                del carry_out, _refuse, args
        finally:
            self.stopped = True
            self._channel.shut()
            self._refuse_orders()
            self._ended()

    def _carry_out(self, carry_out: _Step, args: tuple[object, ...]) -> None:
        # Everything that this program asks for goes by here, and
        # must not hang for ever because of one order.
        try:
            carry_out(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, others wait for their orders
            self.failed(error)

    def _next_order(self) -> _Order:
        while True:
            wait, looks = self.next_look(), True
            if self._kill_at is not None:
                wait, looks = max(0.0, self._kill_at - time.monotonic()), False
            try:
                return self._orders.get(timeout=wait)
            except Empty:
                if looks:
                    self.look()
                else:
                    self._kill_at = None
                    self._kill()

    def _refuse_orders(self) -> None:
        while True:
            try:
                _carry_out, refuse, args = self._orders.get_nowait()
            except Empty:
                return
            refuse(*args)
