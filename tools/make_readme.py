"""Makes README.md from nbs/index.ipynb: text as it is, code as fenced blocks, text outputs below
it, pictures as files.

python tools/make_readme.py            writes README.md and nbs/images/readme-*.png
python tools/make_readme.py --check    writes nothing; exit 1 if they are not what the notebook says
"""
import argparse
import base64
import re
import sys
from pathlib import Path

import nbformat

from tidy_notebook import plain

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "nbs/images/readme-{}.png"
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook. -->\n"
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+)")  # a relative target, as seen from nbs/


def from_root(
    markdown,  # a cell of the notebook
):  # str
    "The cell with its relative links as seen from the root instead of from nbs/."
    def moved(match):
        target = match[2]
        return match[1] + (target[3:] if target.startswith("../") else f"nbs/{target}")
    return LINK.sub(moved, markdown)


def directives(
    source,  # a cell
):  # (dict of directives, the source without them)
    "What `#| name: value` lines say, and the rest."
    lines = source.splitlines()
    said = [line[2:].strip() for line in lines if line.startswith("#|")]
    pairs = (line.partition(":") for line in said)
    code = "\n".join(line for line in lines if not line.startswith("#|")).strip()
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}, code


def output_parts(
    cell,  # a code cell
    alt,  # what its picture shows
    images,  # dict of path -> bytes, added to
):  # list of markdown blocks
    "The outputs of `cell`: pictures as links, text fenced, errors and warnings left out."
    parts = []
    for out in cell.outputs:
        data = out.get("data", {})
        if "image/png" in data:
            path = IMAGE.format(len(images) + 1)
            images[path] = base64.b64decode(data["image/png"])
            parts.append(f"![{alt}]({path})")
        elif "text/markdown" in data:
            parts.append(from_root("".join(data["text/markdown"])))
        elif "text/plain" in data or out.get("name") == "stdout":
            text = plain("".join(data.get("text/plain", out.get("text", "")))).rstrip()
            parts.append(f"```text\n{text}\n```")
    return parts


def render(
    nb,  # index.ipynb, with its outputs
):  # (README's text, dict of path -> bytes)
    "README.md and its pictures."
    parts, images = [NOTE.rstrip()], {}
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            parts.append(from_root(cell.source.strip()))
        elif cell.cell_type == "code":
            says, code = directives(cell.source)
            if "hide" in says or says.get("include") == "false":
                continue
            if says.get("echo") != "false" and code:
                parts.append(f"```python\n{code}\n```")
            parts += output_parts(cell, says.get("fig-alt", ""), images)
    return "\n\n".join(p for p in parts if p) + "\n", images


def differences(
    text,  # README.md as it should be
    images,  # dict of path -> bytes
    root=ROOT,
):  # list of paths
    "The files that are missing, left over, or not as they should be."
    wanted = {"README.md": text.encode()} | images
    left_over = {p.relative_to(root).as_posix() for p in root.glob(IMAGE.format("*"))} - set(wanted)
    return sorted(
        left_over
        | {
            p
            for p, data in wanted.items()
            if not (root / p).exists() or (root / p).read_bytes() != data
        }
    )


def main():
    "Returns 1 if --check finds a difference."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text, images = render(nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4))
    changed = differences(text, images)
    for path in changed:
        print(("differs: " if check else "wrote ") + path)
        if not check:
            if path in images or path == "README.md":
                (ROOT / path).parent.mkdir(exist_ok=True)
                (ROOT / path).write_bytes(images.get(path, text.encode()))
            else:
                (ROOT / path).unlink()
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
