"""All that runs inside a measured process, and nothing else. Nobody around it imports it."""
