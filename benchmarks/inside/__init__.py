"""What runs inside the processes that the benchmarks start: it imports torch, and prints its figures as JSON."""
