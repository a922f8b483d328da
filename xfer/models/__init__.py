"""What can be trained: backbones, small convolutional networks, heads, and how they are joined.

Nothing is imported here, so that `xfer.models.table` and `xfer.models.limits` load no torch.
"""
