"""The API by namespace: what the curated faces (`__init__.pyi`) name, with signature and docstring, as markdown."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
EXAMPLES = Path(__file__).parents[1] / "examples"
HEADS = ("Args", "Returns", "Raises", "Source")


def namespaces() -> list[str]:
    """"slt", and every folder with a face, in alphabetical order."""
    return ["slt", *(f"slt.{path.parent.name}" for path in sorted((ROOT / "slt").glob("*/__init__.pyi")))]


def face(namespace: str) -> list[str]:
    """The names of a face that are no folders or modules."""
    path = ROOT / namespace.replace(".", "/") / "__init__.pyi"
    imports = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports if node.module for alias in node.names]


def page(namespace: str) -> str:
    """The page of a namespace. An example, `examples/NAME.md`, stands with the name wherever it appears first."""
    module = importlib.import_module(namespace)
    first_line = (module.__doc__ or _summary(namespace)).strip()
    parts = [f"# `{namespace}`", first_line]
    names = face(namespace)
    if not names:
        modules = ", ".join(f"`{namespace}.{name}`" for name in module.__all__)
        parts.append(f"Its names are in modules: {modules}.")
    for name in sorted(names, key=lambda name: (name[0].isupper(), name.lower())):
        parts += entry(namespace, name, getattr(module, name))
    return "\n\n".join(parts) + "\n"


def entry(namespace: str, name: str, found: Any) -> list[str]:
    """Heading, signature, docstring and example of one name."""
    if namespace != "slt" and name in face("slt"):
        return [f"## {name}", f"[`slt.{name}`](slt.md#{name.lower()}), at the top."]
    parts = [f"## {name}"]
    if inspect.isclass(found) or callable(found):
        parts += [f"```python\n{signature(found)}\n```", markdown(inspect.getdoc(found) or "")]
    else:
        parts.append(f"A {type(found).__name__}: {_value(found)}.")
    if inspect.isclass(found):
        parts += _methods(found)
    example = EXAMPLES / f"{name}.md"
    if example.is_file():
        parts.append(example.read_text(encoding="utf-8").replace("\n\n```\n", "\n```\n").strip())
    return parts


def signature(found: Any) -> str:
    """As it is written in the source, defaults and annotations included."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(found)))
    node = ast.parse(source).body[0]
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return "\n".join([f"class {node.name}({bases}):", *(f"    {field}" for field in fields or ["..."])])
    assert isinstance(node, ast.FunctionDef)
    given = node.args
    positional, named = [*given.posonlyargs, *given.args], given.kwonlyargs
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    parts = [_parameter(a, d) for a, d in zip(positional, defaults, strict=True)]
    parts += [f"*{ast.unparse(given.vararg)}"] if given.vararg else (["*"] if named else [])
    parts += [_parameter(a, d) for a, d in zip(named, given.kw_defaults, strict=True)]
    parts += [f"**{ast.unparse(given.kwarg)}"] if given.kwarg else []
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(parts)}){returns}"
    if len(line) <= 88:
        return line
    return f"{node.name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def _parameter(name: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if name.annotation else "="
    return ast.unparse(name) + (f"{equals}{ast.unparse(default)}" if default is not None else "")


def _methods(found: type) -> list[str]:
    own = [(n, f) for n, f in vars(found).items() if not n.startswith("_") and inspect.isfunction(f)]
    own += [(n, f.fget) for n, f in vars(found).items() if isinstance(f, property)]
    lines = [f"- **{name}**: {escaped((inspect.getdoc(f) or '').splitlines()[0])}" for name, f in own if f.__doc__]
    return ["\n".join(lines)] if lines else []


def _value(found: Any) -> str:
    return ", ".join(f"`{key}`" for key in found) if hasattr(found, "__iter__") else f"`{found!r}`"


def _summary(namespace: str) -> str:
    text = (ROOT / namespace.replace(".", "/") / "__init__.pyi").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


def markdown(docstring: str) -> str:
    """A docstring of this package: paragraphs, and Args, Returns, Raises, Source."""
    parts: list[str] = []
    for block in re.split(rf"^(?=(?:{'|'.join(HEADS)}):)", docstring, flags=re.M):
        head, _, rest = block.partition(":")
        if head in HEADS and "\n" not in head:
            parts.append(_section(head, rest))
        else:
            parts.append(escaped(block.strip()))
    return "\n\n".join(part for part in parts if part)


def _section(head: str, rest: str) -> str:
    """Items hang on lines `name: text` at the first indent; what is indented by no item is a paragraph."""
    first, _, body = rest.partition("\n")
    if first.strip():
        after = textwrap.dedent(body).strip()
        return f"*{head}:* {escaped(first.strip())}" + (f" {escaped(after)}" if after else "")
    within = re.match(r"(?:[ \t]+.*\n?|\n)*", body)
    inside = textwrap.dedent(within.group() if within else "").strip("\n")
    outside = body[within.end() :].strip() if within else ""
    items: list[str] = []
    for line in inside.splitlines():
        if items and (line.startswith(" ") or (head == "Returns" and not re.match(r"[\w*]+: ", line))):
            items[-1] += f" {line.strip()}"
        elif line.strip():
            items.append(line.strip())
    bullets = "\n".join(f"- {_item(item)}" for item in items)
    return f"*{head}:*\n\n{bullets}" + (f"\n\n{escaped(outside)}" if outside else "")


def _item(item: str) -> str:
    found = re.match(r"(\*{0,2}[\w, *]{1,60}): (.*)", item)
    if not found:
        return escaped(item)
    names = ", ".join(f"`{name.strip()}`" for name in found[1].split(","))
    return f"{names}: {escaped(found[2])}"


def escaped(text: str) -> str:
    """Text as it stands: stars, tildes and angle brackets are no markup outside of code and formulas."""
    parts = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    return "".join(part if i % 2 else re.sub(r"([*<~])", r"\\\1", part) for i, part in enumerate(parts))
