"""Pages that are made from the code: written where they changed, so that a build renews what it must."""

from pathlib import Path

import evidence
import faces
import refusals

ROOT = Path(__file__).parents[3]


def everything(folder: Path) -> None:
    """The API by namespace, the errors, the evidence and the changelog, into this folder."""
    pages = {f"api/{name}.md": faces.page(name) for name in faces.namespaces()}
    pages["errors.md"] = refusals.page()
    pages["evidence.md"] = evidence.page()
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
