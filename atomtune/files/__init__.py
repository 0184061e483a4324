"""Files on disk: atoms files, decomposition files, checkpoints (floor 1). safetensors and JSON only, never pickle."""
