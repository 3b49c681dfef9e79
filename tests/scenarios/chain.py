#!/usr/bin/env python3
"""A link of a chain of services: chain.py PORT NAME [ROUTE=URL]...

GET /chain/ROUTE/N answers `NAME`, or, if there is a next service for ROUTE,
calls it at the same path and answers `NAME <its answer>`. The only thing it
does for tracing is to copy x-b3-*, b3 and x-request-id to the outgoing call.
"""
import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT, NAME = int(sys.argv[1]), sys.argv[2]
NEXT = dict(arg.split("=", 1) for arg in sys.argv[3:])
POOL, LOCK = {}, threading.Lock()


def call(route, path, headers):
    """One call over a kept-alive connection of the pool."""
    with LOCK:
        idle = POOL.setdefault(route, [])
        conn = idle.pop() if idle else None
    if conn is None:
        conn = http.client.HTTPConnection(urlsplit(NEXT[route]).netloc, timeout=60)
    conn.request("GET", path, headers=headers)
    answer = conn.getresponse()
    body = answer.read()
    with LOCK:
        POOL[route].append(conn)
    return answer.status, body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        route = self.path.split("/")[2]
        status, body = 200, b""
        if route in NEXT:
            copied = {
                name: value for name, value in self.headers.items()
                if name.lower().startswith("x-b3-") or name.lower() in ("b3", "x-request-id")
            }
            status, body = call(route, self.path, copied)
            body = b" " + body.strip()
        body = NAME.encode() + body + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socket.socket.bind(self.socket, self.server_address)
        self.server_name, self.server_port = "chain", self.server_address[1]


Server(("::", PORT), Handler).serve_forever()
