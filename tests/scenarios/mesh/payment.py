#!/usr/bin/env python3
"""Payments: payment.py PORT. Every fourth product cannot be paid for."""
from service import serve

serve("POST", lambda product: (500, "the bank is closed") if product % 4 == 0 else (200, "paid"))
