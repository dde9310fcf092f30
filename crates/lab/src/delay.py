"""Holds each packet of an interface for as long as its two ends are slow.

Reads "ADDRESS SECONDS" lines; a packet waits the sum of what was said of its sender and its receiver.
"""

import fcntl
import heapq
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
# More than waits at a gigabit and a second; beyond that packets are dropped, as a switch does.
WAITING_MAX = 100_000

tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", sys.argv[1].encode(), IFF_TUN | IFF_NO_PI))
print("ready", flush=True)

delays = {}
waiting = []
number = 0
said = b""

while True:
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        try:
            os.write(tun, heapq.heappop(waiting)[2])
        except OSError:
            pass
    pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
    readable, _, _ = select.select([tun, sys.stdin], [], [], pause)
    if sys.stdin in readable:
        part = os.read(0, 4096)
        if not part:
            sys.exit(0)
        *lines, said = (said + part).split(b"\n")
        for line in lines:
            address, seconds = line.decode().split()
            delays[socket.inet_aton(address)] = float(seconds)
    if tun in readable:
        for _ in range(64):
            try:
                packet = os.read(tun, 65536)
            except BlockingIOError:
                break
            if len(packet) < 20 or packet[0] >> 4 != 4 or len(waiting) >= WAITING_MAX:
                continue
            delay = delays.get(packet[12:16], 0.0) + delays.get(packet[16:20], 0.0)
            number += 1
            heapq.heappush(waiting, (time.monotonic() + delay, number, packet))
