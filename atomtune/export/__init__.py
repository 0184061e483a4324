"""A learned concept in the forms that other programs load."""
