"""Study files, claims and verdicts. Pure but for reading a file."""
