"""What runs in the kernel alone: magics, live display, panel, exercises."""
