"""What is held out: decided by the text itself, and so the same in every run and every corpus."""

from hashlib import blake2b


def held_out(text: str, share: float) -> bool:
    """Whether a name or text belongs to the held-out ones, always the same.

    text (str): A name or text; case and spaces do not matter.
    share (float): Share of all that are held out, 0.0 to 1.0.
    RETURNS (bool): Whether it does.
    """
    digest = blake2b(" ".join(text.casefold().split()).encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * 2**32
