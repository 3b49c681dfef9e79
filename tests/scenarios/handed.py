"""Sockets that change hands: handed.py PORT WORKER_PROCS SESSION_PROCS INETD

Listens on PORT and the ports behind it, one for each of MODES, and answers
every request with `hello`. Workers put themselves into the cgroup whose
`cgroup.procs` is WORKER_PROCS before they touch a connection; `threads` and
`inetd` run in that of SESSION_PROCS. INETD is this script by another name.
"""

import array
import ctypes
import os
import signal
import socket
import sys
import threading
import time

PR_SET_NAME = 15
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


def request(connection):
    """Reads one request without a body; false at the end."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(4096)
        if not more:
            return False
        data += more
    return True


def serve(connection):
    """Answers until the client goes."""
    while request(connection):
        connection.sendall(ANSWER)
    connection.close()


def move(procs):
    """Puts this process into a cgroup."""
    with open(procs, "w") as file:
        file.write(str(os.getpid()))


def forked(procs, work):
    """Does work in a child; procs, if any, is its cgroup's."""
    if os.fork() == 0:
        if procs:
            move(procs)
        work()
        os._exit(0)


def fork(listener, worker, _session, _inetd):
    """The parent accepts, a child for each connection serves."""
    while True:
        connection, _ = listener.accept()
        forked(worker, lambda: serve(connection))
        connection.close()


def prefork(listener, worker, _session, _inetd):
    """The parent listens, children accept and serve."""

    def accept():
        while True:
            serve(listener.accept()[0])

    for _ in range(2):
        forked(worker, accept)
    signal.pause()


def passes(listener, worker, before):
    """The parent accepts, answers so many requests, and passes the connection
    to a worker that exists already (SCM_RIGHTS)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def receive():
        ours.close()
        while True:
            _, extra, _, _ = theirs.recvmsg(1, socket.CMSG_LEN(4))
            descriptor = array.array("i", extra[0][2])[0]
            serve(socket.socket(fileno=descriptor))

    forked(worker, receive)
    while True:
        connection, _ = listener.accept()
        for _ in range(before):
            if request(connection):
                connection.sendall(ANSWER)
        rights = array.array("i", [connection.fileno()])
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        connection.close()


def passed(listener, worker, _session, _inetd):
    """Passed before the first request."""
    passes(listener, worker, 0)


def midway(listener, worker, _session, _inetd):
    """Passed behind the first request."""
    passes(listener, worker, 1)


def threads(listener, _worker, session, _inetd):
    """One thread accepts, one reads, and each answer is another's."""
    move(session)

    def run(work):
        def named():
            ctypes.CDLL(None).prctl(PR_SET_NAME, b"a-thread", 0, 0, 0)
            work()

        thread = threading.Thread(target=named)
        thread.start()
        return thread

    def read(connection):
        while request(connection):
            run(lambda: connection.sendall(ANSWER)).join()
        connection.close()

    while True:
        connection, _ = listener.accept()
        run(lambda: read(connection))


def inetd(listener, _worker, session, path):
    """The parent accepts, another program serves its standard input."""
    move(session)
    while True:
        connection, _ = listener.accept()

        def execute():
            os.dup2(connection.fileno(), 0)
            os.execv(sys.executable, [sys.executable, path])

        forked(None, execute)
        connection.close()


MODES = [fork, prefork, passed, midway, threads, inetd]


def main():
    if len(sys.argv) == 1:
        serve(socket.socket(fileno=0))
        # Its name is in its arguments, which only a process that is there can
        # be asked for, and an agent on a busy machine reads late. The parent
        # ends it.
        time.sleep(5)
        return
    port, *places = sys.argv[1:]
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listeners = []
    for n, mode in enumerate(MODES):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(port) + n))
        listener.listen(16)
        forked(None, lambda: mode(listener, *places))
        listener.close()
    # Children end with their parent.
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
