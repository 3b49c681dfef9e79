"""A client that is over at once: brief.py PORT PATH

One request, made by a thread of another name than the process has.
"""

import ctypes
import http.client
import sys
import threading

PR_SET_NAME = 15


def call(name):
    """Names the calling thread."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)


def request(port, path):
    call(b"brief-thread")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    statuses.append(answer.status)


statuses = []
call(b"brief-process")
thread = threading.Thread(target=request, args=(int(sys.argv[1]), sys.argv[2]))
thread.start()
thread.join()
sys.exit(statuses != [200])
