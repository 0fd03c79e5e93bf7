"""Every sentence by which the package refuses or warns, read from its code, so that a search finds it."""

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
SHORTEST = 40
"""Of a sentence of a verdict [characters]; what is shorter is a name or a part."""


class Refusal(NamedTuple):
    """What is said, by which error ("verdict" for a sentence of a result), in which function of which file."""

    text: str
    kind: str
    function: str
    path: str


def refusals(path: Path) -> list[Refusal]:
    """Of one file, in their order."""
    found: list[Refusal] = []
    where = path.relative_to(ROOT).as_posix()
    for function, node, body in _scopes(ast.parse(path.read_text(encoding="utf-8"))):
        for call in (part for part in body if isinstance(part, ast.Call)):
            kind = ast.unparse(call.func).rpartition(".")[2]
            if kind.endswith("Error") and call.args:
                text = _text(call.args[0], node)
                found += [Refusal(text, kind, function, where)] if text else []
        if where.startswith(("slt/estimate", "slt/stats")):
            said = {refusal.text for refusal in found}
            found += [Refusal(text, "verdict", function, where) for text in _sentences(body, node) if text not in said]
    return list(dict.fromkeys(found))


def _scopes(tree: ast.Module):
    """(name, node, all nodes within) of every function that stands in no other."""
    parents = [*tree.body, *(part for node in tree.body if isinstance(node, ast.ClassDef) for part in node.body)]
    for node in parents:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node, list(ast.walk(node))


def _text(node: ast.expr, scope: ast.AST) -> str:
    """A text with what is filled in as ‹expression›; a name is looked up in its function."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, scope) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"‹{ast.unparse(node.value)}›"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, scope) + _text(node.right, scope)
    if isinstance(node, ast.Name):
        for part in ast.walk(scope):
            if isinstance(part, ast.Assign) and node.id in {ast.unparse(target) for target in part.targets}:
                return _text(part.value, ast.Module([], []))
    return ""


def _sentences(body: list[ast.AST], scope: ast.FunctionDef) -> list[str]:
    joined = [node for node in body if isinstance(node, ast.JoinedStr)]
    inner = {id(part) for node in joined for part in ast.walk(node) if part is not node}
    texts = [
        _text(node, scope)
        for node in body
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in inner
    ]
    docstring = ast.get_docstring(scope, clean=False)
    return [text for text in texts if len(text) >= SHORTEST and text.rstrip().endswith(".") and text != docstring]


def page() -> str:
    """The page of all refusals, by folder and file."""
    parts = [
        "# Errors and refusals",
        "What a call may be refused with, and what a verdict may say: each text names what was given, what is allowed "
        "and what to do. Paste some words of yours into the search, or into your browser's; ‹…› stands for what is "
        "filled in. This page is read from the code when the site is built.",
    ]
    count = 0
    for folder in sorted({path.parent for path in (ROOT / "slt").rglob("*.py")}):
        found = [refusal for path in sorted(folder.glob("*.py")) for refusal in refusals(path)]
        if found:
            parts.append(f"## `{folder.relative_to(ROOT).as_posix().replace('/', '.')}`")
            parts += [f"**{r.kind}** in `{r.function}`, `{r.path}`\n\n```text\n{r.text}\n```" for r in found]
            count += len(found)
    parts.insert(2, f"{count} texts.")
    return "\n\n".join(parts) + "\n"
