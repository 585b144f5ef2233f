"""What a person holds and reads: results, tables, text, HTML. It runs nothing."""
