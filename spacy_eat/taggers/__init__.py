"""Who finds labelled spans in a text."""
