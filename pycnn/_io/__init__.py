"""What a network is written to and read from."""
