"""What computes: backend, devices, memory, processes."""
