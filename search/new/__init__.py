"""A first space for somebody's own images: written after a look at them, to be read and changed."""
