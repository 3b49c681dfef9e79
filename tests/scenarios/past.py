"""Moves bytes over TCP past the functions that nodespan watches.

    past.py PATH TIMES

does it so many times and prints how many calls should have been counted, or
`none: why` where this kernel has no such path.
"""

import ctypes
import os
import socket
import struct
import sys
import tempfile

IPPROTO_MPTCP = 262
TCP_ULP = 31


def pair(protocol=0):
    """Both ends of a connection over loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def mptcp(times):
    """A send and a receive on MPTCP sockets count as two."""
    try:
        client, server = pair(IPPROTO_MPTCP)
    except OSError as error:
        return f"none: {error}"
    for _ in range(times):
        client.sendall(b"0123456789")
        assert server.recv(100) == b"0123456789"
    return 2 * times


def splice(times):
    """A receive by splice counts as one; its send is an ordinary one."""
    client, server = pair()
    reader, writer = os.pipe()
    for _ in range(times):
        client.sendall(b"0123456789")
        # From a socket into a pipe, x86-64 and arm64 alike through libc.
        moved = ctypes.CDLL(None, use_errno=True).splice(
            server.fileno(), None, writer, None, ctypes.c_size_t(100), 0
        )
        assert moved == 10, os.strerror(ctypes.get_errno())
        assert os.read(reader, 100) == b"0123456789"
    return times


def sendfile(times):
    """The body of a response by sendfile counts as one."""
    client, server = pair()
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.flush()
        for _ in range(times):
            client.sendall(b"GET /sendfile HTTP/1.1\r\nHost: past\r\n\r\n")
            assert server.recv(100).endswith(b"\r\n\r\n")
            server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            assert os.sendfile(server.fileno(), file.fileno(), 0, 1000) == 1000
            left = len(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n") + 1000
            while left > 0:
                left -= len(client.recv(left))
    return times


def bpf(command, *fields):
    """bpf(2); the fields are unsigned ints, or bytes to point to."""
    kept, attributes = [], b""
    for field in fields:
        if isinstance(field, bytes):
            kept.append(ctypes.create_string_buffer(field, len(field)))
            attributes += b"\0" * (-len(attributes) % 8)
            attributes += struct.pack("Q", ctypes.addressof(kept[-1]))
        else:
            attributes += struct.pack("I", field)
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, command, attributes, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def sockmap(times):
    """A send on a socket whose sends a program looks at counts as one."""
    client, server = pair()
    # BPF_MAP_CREATE of a BPF_MAP_TYPE_SOCKMAP, BPF_PROG_LOAD of a
    # BPF_PROG_TYPE_SK_MSG that returns SK_PASS, BPF_PROG_ATTACH as
    # BPF_SK_MSG_VERDICT, BPF_MAP_UPDATE_ELEM.
    sockets = bpf(0, 15, 4, 4, 1)
    program = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)
    passing = bpf(5, 16, 2, program, b"GPL\0")
    bpf(8, sockets, passing, 7, 0)
    bpf(2, sockets, struct.pack("I", 0), struct.pack("I", client.fileno()))
    for _ in range(times):
        client.sendall(b"0123456789")
        assert server.recv(100) == b"0123456789"
    return times


def tls(times):
    """A socket that is given to the kernel's TLS counts as one."""
    for n in range(times):
        client, _server = pair()
        try:
            client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError as error:
            return f"none: {error}"
    return times


if __name__ == "__main__":
    _, path, times = sys.argv
    print(globals()[path](int(times)))
