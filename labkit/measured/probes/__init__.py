"""What looks at a running trial from inside the measured process, as cheaply as it can.

Nothing here imports more than the standard library before the window closes; only `profiler`
does, in a process that is not measured.
"""
