"""PostgreSQL as a target: started and ended, given its table, and asked what it has counted."""
