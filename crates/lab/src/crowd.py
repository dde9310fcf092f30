#!/usr/bin/env python3
"""A crowd of clients that know members: `crowd COUNT TOKEN_FILE FIRST SECOND`, both `HOST:PORT` of routers.

Each fetches its view from the first router and keeps the connection. When that breaks, all come to the second one at once, as
programs that know nothing any more, and do as they are told: who is put off comes again when it was told to. Ends with 0
when each has a view again, and says how long the slowest took.
"""

import asyncio
import json
import random
import sys
import time

PATH = "/muster/views"
WITHIN_SECONDS = 60


class Broken(Exception):
    pass


async def fetch(reader, writer, claim):
    request = f"GET {PATH} HTTP/1.1\r\nHost: crowd\r\nMuster-View: {claim}\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    body = await reader.readexactly(int(fields["content-length"]))
    return int(lines[0].split(" ")[1]), body


async def view_of(router, claim, tally):
    """Connects, and asks until there is a view."""
    host, port = router.split(":")
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            while True:
                status, body = await fetch(reader, writer, claim)
                if status == 200:
                    return json.loads(body)["epoch"], reader, writer
                if status != 503:
                    raise Broken(f"status {status}: {body[:200]}")
                tally["put off"] += 1
                wait_ms = json.loads(body)["retry_ms"]
                await asyncio.sleep(wait_ms / 1000 + random.uniform(0, 0.05))
        except (OSError, asyncio.IncompleteReadError):
            tally["broken"] += 1
            await asyncio.sleep(random.uniform(0.05, 0.5))


async def client(claim, first, second, here, gone, tally):
    _, reader, _ = await view_of(first, claim, tally)
    here.release()
    # Until the router is no more.
    try:
        await reader.read()
    except OSError:
        pass
    gone.set()
    await gone.wait()
    began = time.monotonic()
    epoch, _, writer = await view_of(second, claim, tally)
    writer.close()
    return epoch, time.monotonic() - began


async def main(count, token, first, second):
    claim = f"shop 0.0 {token}"
    here, gone, tally = asyncio.Semaphore(0), asyncio.Event(), {"put off": 0, "broken": 0}
    clients = [asyncio.create_task(client(claim, first, second, here, gone, tally)) for _ in range(count)]
    for _ in range(count):
        await asyncio.wait_for(here.acquire(), WITHIN_SECONDS)
    print("all are here", flush=True)
    await gone.wait()
    came = await asyncio.wait_for(asyncio.gather(*clients), WITHIN_SECONDS)
    slowest = max(seconds for _, seconds in came)
    epochs = sorted({epoch for epoch, _ in came})
    print(f"all are back: epochs {epochs}, the slowest after {slowest:.2f} s; {tally}", flush=True)


random.seed(1)
asyncio.run(main(int(sys.argv[1]), open(sys.argv[2]).read().strip(), sys.argv[3], sys.argv[4]))
