"""What is known of each language: one YAML file per language code."""
