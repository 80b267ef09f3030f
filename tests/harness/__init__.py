"""What the tests share: real peers, hand-made bytes and a corpus of objects."""
