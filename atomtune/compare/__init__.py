"""Tuning methods compared: trained and scored on the same data, steps, seeds and prompts (floor 2)."""
