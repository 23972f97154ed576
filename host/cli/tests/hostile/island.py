"""A network with nobody beyond it, where everybody answers, and a list of all that is sent in it.

    unshare --net --mount --pid --fork --kill-child python3 island.py

Every address leads to this process, which answers on port 53 whatever name is asked for, and on ports
80 and 443 whatever is requested: what ought not to be sent arrives, and is seen. Nothing leaves the
namespace. Standard input is lines of JSON:

    {"nameserver": IP, "zone": {NAME: [[ADDRESS...]...]}, "certificate": PATH, "key": PATH, "hosts": PATH,
     "nsswitch": PATH, "resolv": PATH}                        once; the answer is {"python": PATH}
    {"argv": [...], "env": {...}, "cwd": PATH}                runs a program to its end

and the answer to the second is {"status", "out", "err", "sent"}, where `sent` is the sorted list of
what the namespace sent meanwhile, without answers: `dns TYPE NAME`, or `PROTOCOL ADDRESS:PORT`. The
answers of a zone's name are given in turn, the last one for ever; names that are not in it lead to
addresses of the public Internet. It all ends with standard input.
"""

import http.server
import ipaddress
import json
import os
import queue
import socket
import ssl
import struct
import subprocess
import sys
import threading

# A program that takes longer hangs.
PATIENCE_SECONDS = 60
ANYWHERE = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
A, AAAA = 1, 28
TYPES = {A: "A", AAAA: "AAAA"}
SYN, ACK = 0x02, 0x10
# What a kernel answers to a packet that nobody takes.
ERRORS = {(socket.IPPROTO_ICMP, 3), (socket.IPPROTO_ICMPV6, 1)}
# The kernel's own: who is there, and which groups are listened to.
NEIGHBOURS = {130, 131, 132, 133, 134, 135, 136, 137, 143}


def question(message):
    """The name and type that a DNS message asks for, and where its question ends."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "replace"))
        at += 1 + message[at]
    (kind,) = struct.unpack_from("!H", message, at + 1)
    return ".".join(labels).lower(), kind, at + 5


def serve_names(zone):
    """Answers every question, on every address of this namespace."""
    turns = {}
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # The answer must come from the address that was asked.
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind(("::", 53))

    def serve():
        while True:
            message, ancillary, _, asker = server.recvmsg(4096, 512)
            try:
                name, kind, end = question(message)
            except (IndexError, struct.error):
                # No DNS. It was seen all the same.
                continue
            answers = zone.get(name, [ANYWHERE])
            turn = turns.get((name, kind), 0)
            turns[name, kind] = turn + 1
            found = [ipaddress.ip_address(text) for text in answers[min(turn, len(answers) - 1)]]
            found = [ip.packed for ip in found if ip.version == {A: 4, AAAA: 6}.get(kind)]
            head = message[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
            records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(ip)) + ip for ip in found]
            info = [(level, what, data) for level, what, data in ancillary if what == socket.IPV6_PKTINFO]
            server.sendmsg([head, message[12:end], *records], info, 0, asker)

    threading.Thread(target=serve, daemon=True).start()


class Everything(http.server.BaseHTTPRequestHandler):
    """Answers every request, and tries to lead the client astray."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        astray = "http://169.254.169.254/latest/meta-data/"
        metadata = {"version": 1, "created_time": "2025-01-01T00:00:00Z", "deletion_time": "", "destroyed": False}
        body = json.dumps({"data": {"data": {"password": "from-the-island"}, "metadata": metadata}}).encode()
        self.send_response(302 if self.path.endswith("/astray") else 200)
        if self.path.endswith("/astray"):
            for name in ["Location", "Content-Location", "Refresh", "Link", "Alt-Svc", "SourceMap"]:
                shape = {"Refresh": "0; url={}", "Link": "<{}>; rel=preload", "Alt-Svc": 'h2="evil.example:443"'}
                self.send_header(name, shape.get(name, "{}").format(astray))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_CONNECT = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    tls = None

    def get_request(self):
        stream, client = self.socket.accept()
        # Whoever breaks off is no event here.
        return (self.tls.wrap_socket(stream, server_side=True, do_handshake_on_connect=False) if self.tls else stream), client

    def handle_error(self, *_):
        pass


def serve_everything(port, tls=None):
    server = Server(("::", port), Everything)
    server.tls = tls
    threading.Thread(target=server.serve_forever, daemon=True).start()


def told(family, source, target, protocol, rest, opened, nameserver):
    """What one packet was, in words; None for an answer to an earlier one."""
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(rest) >= 8:
        sport, dport = struct.unpack_from("!HH", rest)
        one, other = (protocol, source, sport, target, dport), (protocol, target, dport, source, sport)
        opens = protocol == socket.IPPROTO_UDP or rest[13] & (SYN | ACK) == SYN
        # A connection is told once, when it is opened: its last packets may come late.
        if other in opened or (one in opened and not opens):
            return None
        if opens:
            opened.add(one)
        if protocol == socket.IPPROTO_UDP and (target, dport) == (nameserver, 53):
            name, kind, _ = question(rest[8:])
            return f"dns {TYPES.get(kind, kind)} {name}"
        word = "tcp" if protocol == socket.IPPROTO_TCP else "udp"
        return f"{word} [{target}]:{dport}" if family == 6 else f"{word} {target}:{dport}"
    if (protocol, rest[0]) in ERRORS or (protocol == socket.IPPROTO_ICMPV6 and rest[0] in NEIGHBOURS):
        return None
    return f"protocol {protocol} {target}"


def sent(capture, nameserver, opened):
    """All that was sent since the last time. A packet is in the queue before its sender goes on."""
    seen = set()
    while True:
        try:
            packet, (_, ethertype, direction, *_) = capture.recvfrom(65536)
        except BlockingIOError:
            return sorted(seen)
        if direction != socket.PACKET_OUTGOING:
            continue
        if packet[0] >> 4 == 4:
            addresses, protocol, start = (packet[12:16], packet[16:20]), packet[9], (packet[0] & 15) * 4
        elif packet[0] >> 4 == 6:
            addresses, protocol, start = (packet[8:24], packet[24:40]), packet[6], 40
            if protocol == socket.IPPROTO_HOPOPTS:
                protocol, start = packet[40], 48 + packet[41] * 8
        else:
            seen.add(f"ethertype {ethertype:#x}")
            continue
        source, target = (str(ipaddress.ip_address(address)) for address in addresses)
        what = told(packet[0] >> 4, source, target, protocol, packet[start:], opened, nameserver)
        if what:
            seen.add(what)


def run(order):
    ended = subprocess.run(
        order["argv"], env=order["env"], cwd=order["cwd"], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=PATIENCE_SECONDS, check=False,
    )
    return {"status": ended.returncode, "out": ended.stdout.decode(), "err": ended.stderr.decode()}


def listen(orders):
    """Takes orders. When nobody is left to give any, all ends at once, whatever runs: this is the namespace's init."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def main():
    plan = json.loads(sys.stdin.readline())
    # In a mount namespace of its own: nobody else's names change.
    for name, path in [("resolv", "/etc/resolv.conf"), ("hosts", "/etc/hosts"), ("nsswitch", "/etc/nsswitch.conf")]:
        if os.path.exists(path):
            subprocess.run(["mount", "--bind", plan[name], path], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for family, everywhere in [("-4", "0.0.0.0/0"), ("-6", "::/0")]:
        subprocess.run(["ip", family, "route", "add", "local", everywhere, "dev", "lo"], check=True)
    # Of all interfaces, whatever they are.
    everything = 0x0003
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(everything))
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    capture.setblocking(False)
    serve_names(plan["zone"])
    serve_everything(80)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(plan["certificate"], plan["key"])
    serve_everything(443, tls)
    print(json.dumps({"python": sys.executable}), flush=True)
    opened = set()
    orders = queue.Queue()
    threading.Thread(target=listen, args=[orders], daemon=True).start()
    while True:
        order = orders.get()
        sent(capture, plan["nameserver"], opened)
        answer = run(order)
        print(json.dumps({**answer, "sent": sent(capture, plan["nameserver"], opened)}), flush=True)


main()
