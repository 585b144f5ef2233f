"""The synthetic HTTP server: `behaviour` decides each answer, an engine sends it."""
