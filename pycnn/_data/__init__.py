"""What users hand in becomes what the backends read, or a clear exception: nothing else checks."""
