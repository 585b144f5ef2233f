"""The exam of a strategy: it is run a few times on calls that count what it does.

In most scenarios the calls are the examiner's own, and take turns of the loop instead of time: what
is observed does not depend on how busy the machine is. In one they go to a synthetic server, which
counts for itself. Nothing is judged here.
"""
