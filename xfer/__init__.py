"""Transfer learning on images: images in, a trained, explained, exported model out."""
