"""Symbolic sizes and guards: arithmetic and nothing else, because torch evaluates their text.

Sizes go through sympy.sympify, which is eval (serialize.py:2412); guards are pasted into source that is
executed (export/_unlift.py:213). Both are parsed here and every node of the syntax tree is looked at.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

_MAX_LENGTH: Final = 20_000
_MAX_INT: Final = 2**63
# Evaluating 9**9**9 never ends.
_MAX_EXPONENT: Final = 16
_MAX_POWERS: Final = 4

_CHARACTERS: Final = re.compile(r"[\w\s\[\]().,'<>=!+\-*/%&|~]*\Z", re.ASCII)
_SYMBOL: Final = re.compile(r"(?:s|u|z|zf|zuf|f|h|n)\d+\Z", re.ASCII)
_NUMBER_TEXT: Final = re.compile(r"-?[\d.]+(?:e[+-]?\d+)?\Z", re.ASCII)
_KEY: Final = re.compile(r"[\w.\-:/ ]*\Z", re.ASCII)

_QUOTING: Final = {"Symbol", "Float"}
_FUNCTIONS: Final = {
    *("Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs", "Eq", "Ne", "Equality", "Unequality"),
    *("Ge", "Gt", "Le", "Lt", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan"),
    *("And", "Or", "Not", "Piecewise", "ExprCondPair", "floor", "ceiling"),
    *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv"),
    *("LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat"),
    *("TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity"),
    "IsNonOverlappingAndDenseIndicator",
}
_SIZE_CALLS: Final = _FUNCTIONS | _QUOTING | {"Integer", "Rational"}
_GUARD_CALLS: Final = _FUNCTIONS | {"abs", "max", "min"}
_GUARD_METHODS: Final = {"size", "stride", "storage_offset"}
_SIZE_NAMES: Final = {"true", "false", "oo"}
_POWER_CALLS: Final = {"Pow", "PowByNatural", "FloatPow", "LShift"}
_ASSUMPTIONS: Final = {"positive", "integer", "nonnegative", "negative", "real", "finite", "nonzero", "zero"}
_ARITHMETIC: Final = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop),
    *(ast.boolop, ast.cmpop, ast.expr_context, ast.Expression),
)


def is_size(text: object) -> bool:
    """Sums, products and known functions of symbols such as `s0`."""
    nodes = _parse(text)
    if nodes is None:
        return False
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    quoted = {id(node.args[0]) for node in nodes if isinstance(node, ast.Call) and _quotes(node)}
    return _powers_are_small(nodes) and all(_is_size_node(node, called, quoted) for node in nodes)


def is_guard(text: object) -> bool:
    """Comparisons of input sizes, such as `L['x'].size()[0] <= 64`."""
    nodes = _parse(text)
    if nodes is None:
        return False
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    keys = {id(node.slice) for node in nodes if isinstance(node, ast.Subscript)}
    return _powers_are_small(nodes) and all(_is_guard_node(node, called, keys) for node in nodes)


def _parse(text: object) -> list[ast.AST] | None:
    if not isinstance(text, str) or len(text) > _MAX_LENGTH or "\n" in text or not _CHARACTERS.match(text):
        return None
    try:
        return [*ast.walk(ast.parse(text.strip(), mode="eval"))]
    except (SyntaxError, ValueError):
        return None


def _quotes(node: ast.Call) -> bool:
    """A call that may hold text: Symbol('s0'), Float('0.5')."""
    return isinstance(node.func, ast.Name) and node.func.id in _QUOTING and len(node.args) == 1


def _is_size_node(node: ast.AST, called: set[int], quoted: set[int]) -> bool:
    match node:
        case ast.Name(id=name) if id(node) in called:
            return name in _SIZE_CALLS
        case ast.Name(id=name):
            return name in _SIZE_NAMES or _SYMBOL.match(name) is not None
        case ast.Constant(value=str(text)):
            return id(node) in quoted and bool(_SYMBOL.match(text) or _NUMBER_TEXT.match(text))
        case ast.Constant(value=value):
            return _is_number(value)
        case ast.keyword(arg="precision", value=ast.Constant()):
            return True
        case ast.keyword(arg=name, value=ast.Constant()):
            return name in _ASSUMPTIONS
        case ast.Call(func=ast.Name()):
            return True
    return isinstance(node, _ARITHMETIC)


def _is_guard_node(node: ast.AST, called: set[int], keys: set[int]) -> bool:
    match node:
        case ast.Name(id=name) if id(node) in called:
            return name in _GUARD_CALLS
        case ast.Name(id=name):
            return name == "L"
        case ast.Attribute(attr=name, value=ast.Subscript()):
            return id(node) in called and name in _GUARD_METHODS
        case ast.Constant(value=str(text)):
            return id(node) in keys and _KEY.match(text) is not None
        case ast.Constant(value=value):
            return _is_number(value)
        case ast.Call(func=ast.Name() | ast.Attribute(), keywords=[]):
            return True
    return isinstance(node, (*_ARITHMETIC, ast.Subscript))


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _MAX_INT)


def _powers_are_small(nodes: list[ast.AST]) -> bool:
    exponents = [exponent for node in nodes for exponent in _exponents(node)]
    return len(exponents) <= _MAX_POWERS and all(_is_small(exponent) for exponent in exponents)


def _exponents(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift(), right=right):
            yield right
        case ast.Call(func=ast.Name(id=name), args=args) if name in _POWER_CALLS:
            yield args[1] if len(args) == 2 else node


def _is_small(node: ast.AST) -> bool:
    match node:
        case ast.UnaryOp(operand=operand):
            return _is_small(operand)
        case ast.Call(func=ast.Name(id="Symbol"), args=[_, *_]):
            return True
        case ast.Call(func=ast.Name(id="Integer" | "Rational"), args=[first, *_]):
            return _is_small(first)
        case ast.Constant(value=int(value) | float(value)):
            return abs(value) <= _MAX_EXPONENT
    return isinstance(node, ast.Name)
