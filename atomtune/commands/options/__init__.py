"""From options classes to the command line, and back to their objects."""
