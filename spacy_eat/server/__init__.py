"""The web page and API: `python -m spacy eat serve`. Needs the extra `serve`."""
