"""What the programs here measure by: the same as the ones in Go, see ../program."""

import json
import resource
import sys
import threading
import time


def params():
    """The one argument: see Params in ../program/program.go."""
    return json.loads(sys.argv[-1])


def say(line):
    """Print a line that others wait for."""
    print(json.dumps(line), flush=True)


def cpu_time():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def figures(count, took, over, cpu):
    took.sort()
    found = {"messages": count, "messages_per_second": len(took) / over}
    if took:
        for name, q in (("p50_us", 0.50), ("p99_us", 0.99)):
            found[name] = took[min(len(took) - 1, int(q * len(took)))] * 1e6
        found["cpu_us_per_message"] = cpu / len(took) * 1e6
    return found


class Meter:
    """Measures answers from the end of the warm-up on, until its time is over."""

    def __init__(self, p):
        self.begin = time.monotonic() + p.get("warm_up", 0)
        self.until = self.begin + p["seconds"]
        self.all = 0
        self.took = []
        self.timer = threading.Timer(p.get("warm_up", 0), self._note)
        self.timer.start()

    def _note(self):
        self.cpu = cpu_time()

    def over(self):
        return time.monotonic() >= self.until

    def add(self, start):
        now = time.monotonic()
        self.all += 1
        if self.begin <= now < self.until:
            self.took.append(now - start)

    def figures(self):
        used = cpu_time()
        self.timer.join()
        return figures(self.all, self.took, self.until - self.begin, used - self.cpu)


class Arrivals:
    """Counts the messages of a feed as they arrive: each begins with the time at which it was sent, in nanoseconds."""

    def __init__(self, p):
        self.count = p["count"]
        self.took = []
        self.done = threading.Event()

    def add(self, payload):
        now = time.time_ns()
        if not self.took:
            self.first, self.cpu = now, cpu_time()
        self.took.append((now - int.from_bytes(payload[:8], "big")) / 1e9)
        if len(self.took) == self.count:
            self.last, self.used = now, cpu_time()
            self.done.set()

    def figures(self):
        if not self.done.wait(120):
            raise SystemExit(f"{len(self.took)} of {self.count} messages have come")
        return figures(len(self.took), self.took, (self.last - self.first) / 1e9, self.used - self.cpu)
