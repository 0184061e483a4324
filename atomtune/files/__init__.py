"""Files on disk: atoms files, decomposition files, checkpoints; safetensors and JSON only, never pickle."""
