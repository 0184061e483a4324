"""Scores of pictures, and the encoders they rest on."""
