"""The command line, a verb a file: its options, the calls it makes, what it prints.

What it hides: how options are spelled, how results reach stdout and everything else stderr, and how
a mistake becomes one sentence and exit code 2.
"""
