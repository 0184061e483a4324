"""From atoms files and prompts to images."""
