"""What to measure: a trial and its parts, delays, the order of runs. Values only, no I/O."""
