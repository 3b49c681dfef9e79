#!/usr/bin/env python3
"""A client on http.client: client.py HOST PORT TAG. Six requests."""
import http.client
import sys

host, port, tag = sys.argv[1], int(sys.argv[2]), sys.argv[3]
conn = http.client.HTTPConnection(host, port, timeout=60)


def exchange(method, path, **kwargs):
    conn.request(method, path, **kwargs)
    answer = conn.getresponse()
    body = answer.read()
    assert answer.status == 200, (method, path, answer.status, body)
    return body


for n in range(3):
    exchange("GET", f"/small/{tag}/{n}")
exchange("HEAD", f"/small/{tag}/3")
assert exchange("POST", f"/echo/{tag}/4", body=b"p" * 3000).strip() == b"3000"
assert exchange("POST", f"/echo/{tag}/5", body=iter([b"a" * 100, b"b" * 50])).strip() == b"150"
