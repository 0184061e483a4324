"""From images of a concept to its atoms file."""
