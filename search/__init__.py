"""The service: space file in, finished and reviewed search out."""
