"""Start processes and surely end them: here, each on a core of its own."""
