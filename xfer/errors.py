"""What can be wrong with what somebody gave to xfer."""


class XferError(Exception):
    """Root of the errors that `xfer` raises on purpose; its text is written for the user."""


class RecipeError(XferError, ValueError):
    """A recipe says something impossible, or something this version has no code for."""


class DataError(XferError, ValueError):
    """Images, labels or splits cannot be used as they are."""


class WeightsError(XferError, RuntimeError):
    """Pretrained weights are not on this machine and cannot be fetched."""


class StoreError(XferError, OSError):
    """The store on disk is full, over its budget, or cannot be read."""


class ModelFileError(XferError, ValueError):
    """A file of an exported model or a checkpoint is missing, damaged or not of this version."""


class NotFinite(XferError, ArithmeticError):
    """A loss or an output stopped being a finite number while a recipe was trained."""
