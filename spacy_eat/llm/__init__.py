"""What only the LLM knows: prompts, backends, decoding, the request cache."""
