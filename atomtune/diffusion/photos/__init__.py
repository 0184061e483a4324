"""From files on disk to square pictures and their captions."""
