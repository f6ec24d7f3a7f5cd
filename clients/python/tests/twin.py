"""Makes the asyncio client look like the blocking one, so that the same tests judge both."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading

from linkkit_sidecar import aio


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def close(self):
        left = [t for t in asyncio.all_tasks(self.loop) if (t.get_name() or "").startswith("linkkit-sidecar")]
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        assert not left, f"tasks that were not ended: {left}"


class Blocked:
    """An object of the asyncio client whose coroutines block."""

    def __init__(self, loop, inner):
        self._loop, self._inner = loop, inner

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._call(found, *args, **kwargs)

    def _call(self, function, *args, **kwargs):
        async def call():
            result = function(*args, **kwargs)  # some of it must run in the loop although it is no coroutine
            return await result if inspect.isawaitable(result) and not isinstance(result, asyncio.Future) else result

        if self._loop.thread is threading.current_thread():  # a handler of the test's: it runs in the loop
            return self._loop.loop.create_task(call())
        return self._wrap(self._loop.run(call()))

    def _wrap(self, result):
        if isinstance(result, asyncio.Future):
            return Awaited(self._loop, result)
        if inspect.isasyncgen(result):
            return self._loop.run(_collect(result))
        if type(result).__module__.startswith("linkkit_sidecar._aio"):
            return Blocked(self._loop, result)
        if inspect.isfunction(result):  # a decorator
            return lambda handler: self._wrap(self._in_loop(result, handler))
        return result

    def _in_loop(self, function, *args):
        async def call():
            return function(*args)

        return self._loop.run(call())

    def __call__(self, *args):
        return self._call(self._inner, *args)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._loop.run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._loop.run(self._inner.close())


class Awaited:
    """A future of the loop's, to be waited for from outside."""

    def __init__(self, loop, future):
        self._loop, self._future = loop, future

    def result(self, timeout=None):
        async def wait():
            return await asyncio.wait_for(asyncio.shield(self._future), 120)

        try:
            return self._loop.run(wait())
        except concurrent.futures.TimeoutError:
            raise TimeoutError from None


async def _collect(generator):
    return [one async for one in generator]


class BlockedClient(Blocked):
    """`SidecarClient` of asyncio as if it were the blocking one."""

    def __init__(self, *args, **kwargs):
        super().__init__(Loop(), aio.SidecarClient(*args, **kwargs))
        self._ended = False

    def close(self):
        if not self._ended:
            self._loop.run(self._inner.close())
            self._loop.close()
            self._ended = True

    def _call(self, function, *args, **kwargs):
        if not self._ended:
            return super()._call(function, *args, **kwargs)

        async def call():
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run(call())

    def __exit__(self, *args):
        self.close()
