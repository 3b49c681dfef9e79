#!/usr/bin/env python3
"""The stock: inventory.py PORT. Every fifth product takes its time."""
import time

from service import serve


def stock(product):
    if product % 5 == 0:
        time.sleep(0.3)
    return 200, product * 3 % 11


serve("GET", stock)
