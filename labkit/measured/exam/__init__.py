"""The exam of a strategy: it is run a few times on calls that count what it does.

The calls are the examiner's own, and take turns of the loop instead of time: what is observed does
not depend on how busy the machine is. Nothing is judged here.
"""
