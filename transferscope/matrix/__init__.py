"""Predictions become the transfer matrix: what each source changed in each target.

The matrix is an `xarray.Dataset` with dimensions (model, seed, source, target):

      pgf; accuracy, correct, total: the run on the items    (model, seed, source, target)
          that base and run both answered
      paired_base_accuracy, paired_base_correct: the base    (model, seed, source, target)
          on the same items
      run_total: all items that the run answered             (model, seed, source, target)
      base_accuracy, base_correct, base_total, base_errors:  (model, seed, target)
          the base on all items that it answered
      ceiling                                                (target); (model, target) if "self"
      item_confidence (.., source, item), base_item_confidence (.., item): where log-probabilities
      are known, the probability of the right option
      item_correct (.., source, item), base_item_correct (.., item): 1, 0, a score between, or -1
          (not evaluated); from predictions alone, and with them the options chosen: see `collapse`
      coordinates on target: level, granularity, abbreviation, and with `source_` before them on
          source; "" is unknown. A checkpoint has those of its task. On item: item_target, and
          item_group, a number that items about one image, video or scene share. What the readers
          return has `counted` (model, seed, source, target): which cells have a part in averages;
          `cliques`, `transferability` and their like leave out the others.
      attrs: `notes`, sentences a reader must know; `ceiling_notes`, those of them that another
          ceiling replaces; `inputs`, what was read.

Not measured and not known are NaN; so are counts where answers have scores. No module here opens a
file or draws at random.
"""

from transferscope.matrix.ceiling import Ceiling as Ceiling
from transferscope.matrix.ceiling import apply_ceiling as apply_ceiling
from transferscope.matrix.transfer_matrix import check_same_tasks as check_same_tasks
from transferscope.matrix.transfer_matrix import from_accuracy as from_accuracy
from transferscope.matrix.transfer_matrix import from_pgf as from_pgf
from transferscope.matrix.transfer_matrix import from_predictions as from_predictions
