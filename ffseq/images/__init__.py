"""The image experiments of the Forward-Forward paper (Hinton, arXiv 2212.13345): `ffseq images NAME`."""
