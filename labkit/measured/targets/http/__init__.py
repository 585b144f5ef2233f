"""The synthetic HTTP server: `behaviour` decides each answer, `protocol` sends it."""
