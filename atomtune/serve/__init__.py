"""`atomtune serve`: images of many concepts from one base model, over HTTP."""
