#!/usr/bin/env python3
"""Somebody in the network who hears heartbeats and sends them again.

`forger overhear FILE` keeps every datagram of heartbeats that passes this host, until it is killed. `forger send FILE SECONDS`
sends all of them for so long, each from the address that it had: as it was, changed in every place, as another node's, as of
another cell, too short, too long, and noise that begins alike.
"""

import random
import socket
import struct
import sys
import time

MAGIC = b"MuHb"
ETHERNET_BYTES, IP_BYTES, UDP_BYTES = 14, 20, 8
CELL, NODE = slice(8, 16), slice(16, 20)
# A few seconds of a small cell.
KEPT_MAX = 2000


def overhear(path):
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    kept = 0
    with open(path, "wb", buffering=0) as file:
        while kept < KEPT_MAX:
            frame = heard.recv(2048)
            packet = frame[ETHERNET_BYTES:]
            data = packet[IP_BYTES + UDP_BYTES:]
            # IPv4 without options, UDP.
            if frame[12:14] == b"\x08\x00" and packet[0] == 0x45 and packet[9] == 17 and data[:4] == MAGIC:
                file.write(struct.pack("!H", len(packet)) + packet)
                kept += 1


def forged(data):
    yield data
    for place in range(len(data)):
        yield data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1:]
    for node in range(8):
        yield data[:NODE.start] + struct.pack("!I", node) + data[NODE.stop:]
    yield data[:CELL.start] + random.randbytes(8) + data[CELL.stop:]
    yield data[:random.randrange(len(data))]
    yield data + random.randbytes(100)
    yield MAGIC + b"\x01" + random.randbytes(len(data) - 5)


def send(path, seconds):
    with open(path, "rb") as file:
        rest = file.read()
    packets = []
    while rest:
        length = struct.unpack("!H", rest[:2])[0]
        packets.append(rest[2:2 + length])
        rest = rest[2 + length:]
    if not packets:
        sys.exit("nothing was overheard")
    random.seed(1)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    until, sent = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        packet = random.choice(packets)
        ports, data = packet[IP_BYTES:IP_BYTES + 4], packet[IP_BYTES + UDP_BYTES:]
        for wrong in forged(data):
            datagram = ports + struct.pack("!HH", UDP_BYTES + len(wrong), 0) + wrong
            header = bytearray(packet[:IP_BYTES])
            # The kernel fills in length and sum.
            header[2:4] = struct.pack("!H", IP_BYTES + len(datagram))
            header[10:12] = b"\0\0"
            try:
                out.sendto(bytes(header) + datagram, (socket.inet_ntoa(packet[16:20]), 0))
                sent += 1
            except OSError:
                # It is addressed to somebody who is not there.
                pass
        time.sleep(0.005)
    print(f"{sent} datagrams, of {len(packets)} that were overheard")
    if sent == 0:
        sys.exit("nothing could be sent")


if sys.argv[1] == "overhear":
    overhear(sys.argv[2])
else:
    send(sys.argv[2], float(sys.argv[3]))
