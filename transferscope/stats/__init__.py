"""How certain a number is: intervals, tests, corrections, null models, power.

The central idea is one bootstrap that all numbers share. A draw gives every item a random weight,
the same for the base and all adapters, and every seed a random weight, the same for all cells; each
quantity is computed anew from the draw. So an interval accounts for both kinds of chance and for
what cells have in common, above all the baseline. Draws are always the last axis.
"""

from transferscope.stats.bootstrap import Draws as Draws
from transferscope.stats.bootstrap import ItemTable as ItemTable
from transferscope.stats.bootstrap import ModelData as ModelData
from transferscope.stats.bootstrap import bootstrap as bootstrap
from transferscope.stats.bootstrap import resamples as resamples
from transferscope.stats.bootstrap import signed as signed
from transferscope.stats.intervals import draw_mean as draw_mean
from transferscope.stats.intervals import intervals as intervals
from transferscope.stats.intervals import sign_p_values as sign_p_values
from transferscope.stats.significance import benjamini_hochberg as benjamini_hochberg
from transferscope.stats.significance import mcnemar as mcnemar
