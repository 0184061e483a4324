"""What any long work needs: progress, seeds, memory and disk space, units."""
