"""The facade, the one runner, progress, doctor: what a front calls."""
