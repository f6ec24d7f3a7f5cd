"""Tell what happens to all devices, and go on where it was when started again. Ctrl-C ends it.

Usage: python watch.py [FILE]     FILE keeps the place in the sidecar's journal
"""

import contextlib
import sys
from pathlib import Path

from linkkit_sidecar import AttemptFailed, Cursor, Gap, Lost, Refused, SidecarClient, Snapshot

place = Path(sys.argv[1]) if len(sys.argv) > 1 else None
after = None
if place is not None and place.exists():
    epoch, sequence = place.read_text().split()
    after = Cursor(epoch, int(sequence))

with SidecarClient() as client, client.events(after=after) as events, contextlib.suppress(KeyboardInterrupt):
    for event in events:
        match event:
            case Gap(missed, detail):
                print(f"{missed or 'some'} events are gone: {detail}", flush=True)
            case Snapshot(devices=devices):
                for status in devices:
                    print(f"{status.device} is {status.state.name.lower()}", flush=True)
            case Lost(device=device, cause=cause, detail=detail) | AttemptFailed(device=device, cause=cause, detail=detail):
                print(f"{device}: {type(event).__name__}, {cause.name}: {detail}", flush=True)
            case Refused(device=device, meaning=meaning, advice=advice):
                print(f"{device}: refused, {meaning}. {advice}", flush=True)
            case _:
                print(f"{event.device}: {type(event).__name__}", flush=True)
        if place is not None and events.cursor is not None:
            # Replaced whole, so that an end in the middle leaves the last place.
            new = place.with_suffix(".new")
            new.write_text(f"{events.cursor.epoch} {events.cursor.sequence}")
            new.replace(place)
