"""From pictures of a concept to its atoms file."""
