"""The image and text encoders that metrics rest on."""
