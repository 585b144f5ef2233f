"""Observe a running trial from inside the measured process, as cheaply as possible.

Nothing here imports more than the standard library and msgspec before the window closes.
"""
