"""The services that trials call, each started as a process of its own."""
