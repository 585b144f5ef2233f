"""The commands that both the terminal and a notebook have: their words, and what these ask for.

A module for each command; it reads and checks its options, and answers with a `Job`, which nobody
has started yet. Fronts decide who waits for the job and how its outcome is shown.
"""
