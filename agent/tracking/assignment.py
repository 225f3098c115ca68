"""Which detection goes to which track: the pairs of the highest sum of similarities. No state.

A greedy choice loses ids in crowds (docs/tracking.md), and SciPy, which has the optimal one, is 140 MB.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def assign(similarity: Floats) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) of the highest sum of similarities, by row; pairs of 0 or less are left out.

    Shortest augmenting paths, as in Jonker and Volgenant, A shortest augmenting path algorithm for dense and sparse
    linear assignment problems, Computing 38, 1987; cubic time. Rows and columns that are alike to nobody are left out
    first, and where each row's best column is its own, that is the answer.

    Args:
        similarity: (rows, columns), finite; 0 or less means that the two must not be paired.
    """
    gains = np.maximum(similarity, 0.0)
    rows, columns = np.flatnonzero(gains.any(axis=1)), np.flatnonzero(gains.any(axis=0))
    if rows.size > columns.size:
        return sorted((row, column) for column, row in assign(similarity.T))
    gains = gains[np.ix_(rows, columns)]
    best = gains.argmax(axis=1) if rows.size else np.empty(0, dtype=np.intp)
    chosen = best if np.unique(best).size == rows.size else _shortest_paths(-gains)
    pairs = zip(range(rows.size), chosen.tolist(), strict=True)
    return [(int(rows[row]), int(columns[column])) for row, column in pairs if gains[row, column] > 0]


def _shortest_paths(costs: Floats) -> NDArray[np.intp]:
    """Each row's column in the assignment of the least cost; there are at least as many columns as rows."""
    rows, columns = costs.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)
    for first in range(rows):
        length, came_from = np.full(columns, np.inf), np.full(columns, -1)
        is_open = np.ones(columns, dtype=bool)
        row, last, so_far = first, -1, 0.0
        while row >= 0:
            reached = so_far + costs[row] - row_price[row] - column_price
            nearer = is_open & (reached < length)
            length[nearer], came_from[nearer] = reached[nearer], last
            last = int(np.where(is_open, length, np.inf).argmin())
            is_open[last] = False
            row, so_far = int(owner[last]), float(length[last])
        passed = np.flatnonzero(~is_open & (owner >= 0))
        row_price[first] += so_far
        row_price[owner[passed]] += so_far - length[passed]
        column_price[passed] -= so_far - length[passed]
        while last >= 0:  # every column of the path passes to the row of the one before it
            before = int(came_from[last])
            owner[last], last = (first if before < 0 else owner[before]), before
    chosen = np.empty(rows, dtype=np.intp)
    chosen[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
    return chosen
