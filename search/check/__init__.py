"""Every mistake in a space and its data, found before the first trial and told together."""

from search.check.checked import Checked, Hyperparameter, Sample, check
from search.check.inspection import Inspection, inspect

__all__ = ["Checked", "Hyperparameter", "Inspection", "Sample", "check", "inspect"]
