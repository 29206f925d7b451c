"""From an English entity to the words of the source it came from."""
