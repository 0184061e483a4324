"""Scores of images, and the encoders they rest on."""
