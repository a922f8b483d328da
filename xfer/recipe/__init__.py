"""What is trained: images, objective and recipe as plain values.

Standard library only, so that loading a space loads neither torch nor Ray. Every class checks
itself when it is made and tells all of its problems together. What later versions will do, and
this one cannot, is refused by name.
"""

from xfer.recipe.as_json import from_json, to_json
from xfer.recipe.augment import Augment, AugmentMode
from xfer.recipe.images import Fit, Images, Table, is_local
from xfer.recipe.model import (
    Activation,
    BatchNorm,
    ConvNet,
    ConvPool,
    Head,
    Initial,
    Padding,
    Pool,
    Pretrained,
    Weights,
)
from xfer.recipe.objective import (
    BestScore,
    FixedThreshold,
    Objective,
    ObjectiveName,
    TargetRecall,
)
from xfer.recipe.training import (
    Balance,
    HeadFirst,
    L1On,
    OptimizerName,
    Recipe,
    Schedule,
    ScheduleName,
)

__all__ = [
    "Activation",
    "Augment",
    "AugmentMode",
    "Balance",
    "BatchNorm",
    "BestScore",
    "ConvNet",
    "ConvPool",
    "Fit",
    "FixedThreshold",
    "Head",
    "HeadFirst",
    "Images",
    "Initial",
    "L1On",
    "Objective",
    "ObjectiveName",
    "OptimizerName",
    "Padding",
    "Pool",
    "Pretrained",
    "Recipe",
    "Schedule",
    "ScheduleName",
    "Table",
    "TargetRecall",
    "Weights",
    "from_json",
    "is_local",
    "to_json",
]
