"""What the user writes as a condition (CEL): owner rules, rules of their own, `list --where`."""

from certwatch.expressions.condition import Expression, ExpressionError, compile

__all__ = ["Expression", "ExpressionError", "compile"]
