"""Laws are checked however slow the machine is: no deadline per case, and fewer cases."""

from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=60)
settings.load_profile("laws")
