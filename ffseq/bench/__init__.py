"""How fast ffseq is here and how much memory it takes, measured: what `ffseq bench` does."""
