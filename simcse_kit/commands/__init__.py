"""One command a file: its options, the calls it makes, what it prints."""
