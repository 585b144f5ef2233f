"""The commands that run a study file: a published benchmark, the claims, the ladder."""
