#!/usr/bin/env python3
"""HTTP/1.1 test server: server.py PORT LOG.

Serves the suite's common verbs (see tests/src/verbs.rs) and writes one line
`METHOD path status` per request to LOG, `-` where no response was sent.
"""
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BIG = 10 * 1024 * 1024
BLOCK = b"x" * 65536


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socket.socket.bind(self.socket, self.server_address)
        self.server_name, self.server_port = "server", self.server_address[1]

    def handle_error(self, request, client_address):
        pass  # Aborted connections are what some cases are about.


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    log = None
    status = None

    def log_message(self, *args):
        pass

    def send_response(self, code, message=None):
        if code >= 200 or code == 101:
            self.status = code
        self.send_response_only(code, message)

    def serve(self):
        self.status = None
        try:
            self.answer()
        except OSError:
            self.close_connection = True
        finally:
            line = f"{self.command} {self.path.split('?')[0]} {self.status or '-'}\n"
            with self.lock:
                self.log.write(line)
                self.log.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PROPFIND = serve

    def head(self, code, *headers):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def sized(self, code, body, *headers):
        self.head(code, ("Content-Length", str(len(body))), *headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self):
        verb = self.path.split("/")[1]
        if verb == "small":
            if self.headers.get("If-Modified-Since"):
                self.head(304)
            else:
                self.sized(200, b"hello\n")
        elif verb == "big":
            self.head(200, ("Content-Length", str(BIG)))
            for _ in range(BIG // len(BLOCK)):
                self.wfile.write(BLOCK)
        elif verb == "chunked":
            self.head(200, ("Transfer-Encoding", "chunked"))
            for part in (b"hello ", b"chunked ", b"world\n"):
                self.wfile.write(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")
        elif verb == "empty":
            self.head(204)
        elif verb == "error":
            self.sized(500, b"broken\n")
        elif verb == "echo":
            got = self.read_body()
            if got is None:
                self.close_connection = True
            else:
                self.sized(200, b"%d\n" % got)
        elif verb == "close":
            self.head(200, ("Connection", "close"))
            self.close_connection = True
            for _ in range(5):
                self.wfile.write(b"y" * 1000)
        elif verb == "upgrade":
            self.head(101, ("Connection", "Upgrade"), ("Upgrade", "echo"))
            self.close_connection = True
            while data := self.connection.recv(4096):
                self.connection.sendall(data)
        elif verb in ("cut", "reset"):
            self.head(200, ("Content-Length", "1000"))
            self.wfile.write(b"z" * 500)
            self.close_connection = True
            if verb == "reset":
                self.rfile.read(1)  # The client says that it has the first half.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif verb == "drop":
            self.close_connection = True
        else:
            self.sized(404, b"no such verb\n")

    def read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            left = length = int(self.headers.get("Content-Length", 0))
            while left:
                data = self.rfile.read(min(left, 65536))
                if not data:
                    return None
                left -= len(data)
            return length
        total = 0
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            if size == 0:
                while self.rfile.readline().strip():
                    pass
                return total
            total += len(self.rfile.read(size))
            self.rfile.readline()


def main():
    port, log = int(sys.argv[1]), sys.argv[2]
    Handler.log = open(log, "a")
    Server(("::", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
