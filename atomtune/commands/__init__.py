"""The command line: one file per verb, none of which holds logic of its own."""
