"""Target sizes of a token grid after each of the tower's merge blocks."""

from luvc_core.compression.algorithms.merging import smallest_side


def plan_targets(
    rows: int,
    columns: int,
    keep_rows: float,
    keep_columns: float,
    steps: int,
    multiple: int,
) -> list[tuple[int, int]]:
    """Plan the grid (rows, columns) after each of `steps` merge blocks.

    A share of 1 leaves its side alone. Otherwise the final side is the multiple of `multiple`
    nearest to the share, the larger of two; at least one multiple, and no less than half a side for
    every block. A side shorter than `multiple` stays. The blocks shrink a side by about the same
    factor each, and none by more than half.

    Args:
        rows: of the source grid.
        columns: of the source grid.
        keep_rows: share of the rows to keep, in (0, 1].
        keep_columns: share of the columns to keep, in (0, 1].
        steps: how many blocks of the tower merge.
        multiple: the sides of the blocks of tokens that the projector takes.

    Returns:
        One grid a merge block.
    """
    row_plan = _plan_side(rows, keep_rows, steps, multiple)
    column_plan = _plan_side(columns, keep_columns, steps, multiple)
    return list(zip(row_plan, column_plan, strict=True))


def _plan_side(side: int, keep: float, steps: int, multiple: int) -> list[int]:
    if keep >= 1 or side < multiple:
        return [side] * steps
    nearest = int(side * keep / multiple + 0.5)
    reachable = -(-(side >> steps) // multiple)
    final = max(nearest, reachable, 1) * multiple
    final = min(final, side // multiple * multiple)
    plan, length = [], side
    for remaining in range(steps, 0, -1):
        even_factor = round(length * (final / length) ** (1 / remaining))
        # Longer than this, the steps after this one could no longer reach the final side.
        longest = ((final + 1) << (remaining - 1)) - 1
        length = min(max(even_factor, smallest_side(length), final), longest, length)
        plan.append(length)
    return plan
