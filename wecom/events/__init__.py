"""What the decrypted documents mean, one module per family of events."""
