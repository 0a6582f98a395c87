"""What a Forward-Forward net is compared with."""
