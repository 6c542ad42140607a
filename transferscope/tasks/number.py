"""Numbers that may be unknown: NaN here, null in JSON."""

import math
from typing import Annotated

from pydantic import BeforeValidator

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Interval = tuple[Number, Number]
