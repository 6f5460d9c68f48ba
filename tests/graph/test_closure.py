"""Closures: which classes go together where axes are split and merged, on products made by hand."""

from __future__ import annotations

import numpy as np

from edgeprune.core.group import Reason
from edgeprune.graph.closure import Closures
from edgeprune.graph.flow import Product

LOCK = Reason("because")


def product(flat: list[list[int]], *factors: list[int]) -> Product:
    return Product(np.asarray(flat), tuple(np.asarray(one) for one in factors))


def closures(
    *products: Product, locked: tuple[int, ...] = (), same: tuple[tuple[int, int], ...] = ()
) -> Closures:
    """Every label is a class of its own, except those that are said to be the same."""
    count = max(int(max(one.flat.max(), *(factor.max() for factor in one.factors))) for one in products) + 1
    class_of = np.arange(count)
    for first, second in same:
        class_of[class_of == class_of[second]] = class_of[first]
    return Closures(products, class_of, dict.fromkeys(locked, LOCK))


def units(found: Closures) -> list[list[int]]:
    return sorted(sorted(one) for one in found.units())


# Six flat indices as two rows of three: rows are 10 and 11, columns 20, 21 and 22.
GRID = product([[0, 1, 2], [3, 4, 5]], [10, 11], [20, 21, 22])


def test_a_factor_takes_its_row_or_column_along() -> None:
    assert units(closures(GRID)) == [[0, 1, 2, 10], [0, 3, 20], [1, 4, 21], [2, 5, 22], [3, 4, 5, 11]]


def test_units_of_rows_and_of_columns_are_two_families() -> None:
    families = closures(GRID).units()

    assert len(set(families.values())) == 2
    rows = [unit for unit, family in families.items() if family == families[frozenset({0, 1, 2, 10})]]
    assert rows == [{0, 1, 2, 10}, {3, 4, 5, 11}]


def test_members_are_all_that_takes_part() -> None:
    assert closures(GRID).members == {0, 1, 2, 3, 4, 5, 10, 11, 20, 21, 22}


def test_a_flat_index_that_goes_is_covered_by_the_cheaper_factor() -> None:
    # Index 0 is in a row of three and a column of two.
    assert closures(GRID).of(0) == {0, 3, 20}


def test_what_covers_avoids_what_is_locked() -> None:
    found = closures(GRID, locked=(20,))

    assert found.of(0) == {0, 1, 2, 10}


def test_a_cover_that_has_no_way_round_a_lock_holds_the_lock() -> None:
    found = closures(GRID, locked=(20, 10))

    assert found.of(0) & {10, 20}


def test_two_products_of_one_axis_are_closed_under_both() -> None:
    """Two rows of six and three rows of four: the even and the odd are whole columns of either."""
    twelve = np.arange(12)
    first = Product(twelve.reshape(2, 6), (np.arange(20, 22), np.arange(30, 36)))
    second = Product(twelve.reshape(3, 4), (np.arange(40, 43), np.arange(50, 54)))
    found = closures(first, second).of(30)

    assert {one for one in found if one < 12} == set(range(0, 12, 2))
    assert found == {*range(0, 12, 2), 30, 32, 34, 50, 52}


def test_a_factor_that_is_divided_itself_is_no_seed() -> None:
    """Columns are made of two more: the units are those of the outermost rows and innermost factors."""
    inner = product([[20, 21], [22, 23]], [30, 31], [40, 41])
    outer = product([[0, 1, 2, 3], [4, 5, 6, 7]], [10, 11], [20, 21, 22, 23])
    found = units(closures(outer, inner))

    assert [0, 1, 4, 5, 20, 21, 30] in found
    assert [0, 2, 4, 6, 20, 22, 40] in found
    assert [0, 1, 2, 3, 10] in found
    assert len(found) == 2 + 2 + 2


def test_a_row_whose_factor_is_a_class_of_another_row_takes_both() -> None:
    found = closures(GRID, same=((10, 11),))

    assert [0, 1, 2, 3, 4, 5, 10] in units(found)


def test_units_of_one_family_that_overlap_are_united() -> None:
    # Indices 0 and 3 are one class, in two different columns of the second row of columns.
    skewed = product([[0, 1], [2, 3]], [10, 11], [20, 21])
    found = closures(skewed, same=((0, 3),))
    families = found.units()

    by_family: dict[object, list[frozenset[int]]] = {}
    for unit, family in families.items():
        by_family.setdefault(family, []).append(unit)
    for each in by_family.values():
        assert sum(map(len, each)) == len(frozenset().union(*each)), "disjoint within a family"
    assert all(unit >= {0} or unit.isdisjoint({0}) for unit in families)


def test_a_unit_is_closed() -> None:
    """Whatever unit goes, alone or with others: a flat index goes exactly when one of its factors does."""
    twelve = np.arange(12)
    products = [
        Product(twelve.reshape(2, 6), (np.arange(20, 22), np.arange(30, 36))),
        Product(twelve.reshape(3, 4), (np.arange(40, 43), np.arange(50, 54))),
    ]
    found = [*closures(*products).units()]
    for first in found:
        for second in found:
            gone = first | second
            for one in products:
                for place, flat in np.ndenumerate(one.flat):
                    factors = {int(factor[index]) for factor, index in zip(one.factors, place, strict=True)}
                    assert (int(flat) in gone) == bool(factors & gone)


def test_a_flat_axis_that_is_locked_locks_its_factors() -> None:
    found = closures(GRID, locked=tuple(range(6)))

    assert found.reasons.keys() >= {10, 11, 20, 21, 22}
    assert units(found) == []


def test_factors_that_are_locked_lock_the_flat_axis() -> None:
    found = closures(GRID, locked=(10, 11, 20, 21, 22))

    assert found.reasons.keys() >= {0, 1, 2, 3, 4, 5}


def test_locks_spread_from_product_to_product() -> None:
    inner = product([[20, 21], [22, 23]], [30, 31], [40, 41])
    outer = product([[0, 1, 2, 3], [4, 5, 6, 7]], [10, 11], [20, 21, 22, 23])

    assert closures(outer, inner, locked=tuple(range(8))).reasons.keys() >= {20, 30, 31, 40, 41}
    assert closures(inner, outer, locked=(30, 31, 40, 41, 10, 11)).reasons.keys() >= {20, 0, 7}


def test_one_locked_row_leaves_the_columns_and_the_other_row() -> None:
    found = closures(GRID, locked=(10,))

    assert {10} <= found.reasons.keys()
    assert {11, 20, 21, 22}.isdisjoint(found.reasons)
    assert [3, 4, 5, 11] in units(found)
