"""Profile with yappi, trace memory with memray: in the worker, and time in the kernel, too."""
