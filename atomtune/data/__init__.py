"""Concepts, captions and images: from files on disk to square RGB images."""
