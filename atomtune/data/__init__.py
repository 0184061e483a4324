"""Concepts, their images and captions: from files on disk to square RGB images."""
