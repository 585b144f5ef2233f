"""What was measured and how far to trust it, and its files. The worker reads only the record."""
