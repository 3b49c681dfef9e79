#!/usr/bin/env python3
"""Load for the mesh: load.py FRONT [--seconds N] [--rate N] [--zipkin URL].

Every request carries B3 headers with ids of its own. With --zipkin it reports
the spans to these ids, as an instrumented edge would. Prints one line
`TRACE METHOD PATH STATUS` per request.
"""
import argparse
import http.client
import json
import random
import secrets
import threading
import time
import urllib.request


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("front")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=5)
    parser.add_argument("--zipkin")
    options = parser.parse_args()

    spans, threads = [], []
    chance = random.Random(1)  # The same products in every demonstration.
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        path = f"/{chance.choice(['product', 'product', 'buy'])}/{chance.randint(1, 30)}"
        threads.append(threading.Thread(target=call, args=(options.front, path, spans)))
        threads[-1].start()
        time.sleep(1 / options.rate)
    for thread in threads:
        thread.join()
    if options.zipkin and spans:
        url = options.zipkin.rstrip("/") + "/api/v2/spans"
        headers = {"Content-Type": "application/json", "b3": "0"}  # Of no interest to anybody.
        request = urllib.request.Request(url, json.dumps(spans).encode(), headers)
        urllib.request.urlopen(request, timeout=30).close()


def call(front, path, spans):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    headers = {
        "X-B3-TraceId": trace, "X-B3-SpanId": span, "X-B3-Sampled": "1",
        "X-Request-Id": trace, "User-Agent": "load/1",
    }
    method = "POST" if path.startswith("/buy") else "GET"
    start, status = time.time(), "failed"
    try:
        conn = http.client.HTTPConnection(front, timeout=30)
        conn.request(method, path, headers=headers)
        answer = conn.getresponse()
        answer.read()
        conn.close()
        status = answer.status
    except OSError as error:
        status = f"failed: {error}"
    print(trace, method, path, status, flush=True)
    spans.append({
        "traceId": trace, "id": span, "name": f"click {path.split('/')[1]}",
        "timestamp": int(start * 1e6), "duration": max(1, int((time.time() - start) * 1e6)),
        "localEndpoint": {"serviceName": "browser"},
    })


if __name__ == "__main__":
    main()
