"""What counts as an answer: a module a notebook, a function an exercise.

Right answers are computed here as the lab computes them (delays and their floor, Little's law), or
read in the records that a learner hands over. A module is found by being here.
"""
