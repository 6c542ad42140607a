"""How certain a number is: changes of accuracy, draws of a whole matrix, expectation, power."""

from transferscope.stats.all_targets import borrowed as borrowed
from transferscope.stats.all_targets import over_targets as over_targets
from transferscope.stats.effects import Effect as Effect
from transferscope.stats.effects import TargetEffects as TargetEffects
from transferscope.stats.effects import counted_effects as counted_effects
from transferscope.stats.effects import paired_effects as paired_effects
from transferscope.stats.effects import stacked as stacked
from transferscope.stats.significance import benjamini_hochberg as benjamini_hochberg
from transferscope.stats.significance import mcnemar as mcnemar
