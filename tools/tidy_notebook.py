"""Takes out of a notebook what changes from run to run and tells a reader nothing: times, counts,
progress bars, widget noise, the paths of one machine. Cell ids, sources and results stay. Tidying
twice is tidying once."""
import ast
import base64
import json
import re
import tempfile
from pathlib import Path

from nbdev.clean import clean_nb

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BAR = re.compile(r"\d+%\|.*\| *\S+/\S+ \[|\d+\w* \[\d\d:\d\d, ")  # a line drawn by tqdm
MODEL = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # a widget's random id


def plain(
    text,  # as a terminal would get it
):  # str
    "`text` without colours, and each line as it stood when it was last drawn over (`\\r`)."
    lines = COLOUR.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def without_paths(
    text,  # any output
    root,  # the repository's folder
):  # str
    """`text` with no path of this machine: the repository becomes `.`, packages their own name,
    temporary files `TMP`."""
    text = re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "this cell", text)
    text = re.sub(r"/[^\s:'\"]*/(site-packages|lib/python3\.\d+)/", "", text)
    text = text.replace(f"{root}/", "").replace(str(root), ".")
    for folder in {tempfile.gettempdir(), "/tmp"}:
        text = re.sub(rf"{re.escape(folder)}/[\w.-]+", "TMP", text)
    return re.sub(rf"{re.escape(str(Path.home()))}(?=[/\s'\"])", "~", text)


def _each_text(
    value,  # str, list of str, or anything else of a notebook's output
    change,  # str -> str
):
    "`value` with `change` applied to its text."
    if isinstance(value, str):
        return change(value)
    return change("".join(value)) if isinstance(value, list) else value


def _streams(
    outputs,  # a cell's
):  # list of outputs
    """`outputs` with neighbouring pieces of one stream joined, drawn-over lines resolved, progress
    bars gone."""
    joined = []
    for out in outputs:
        if out.output_type == "stream" and joined and joined[-1].get("name") == out.name:
            joined[-1].text += out.text
        else:
            joined.append(out)
    for out in joined:
        if out.output_type == "stream":
            lines = plain(out.text).split("\n")
            out.text = "\n".join(line for line in lines if not BAR.search(line))
    return [out for out in joined if out.output_type != "stream" or out.text.strip()]


def _is_bar(
    out,  # an output
):  # bool
    "True for tqdm's notebook bar, which is a widget."
    data = out.get("data", {})
    return VIEW in data and bool(BAR.search("".join(data.get("text/plain", ""))))


def _is_docstring(
    source,  # a code cell's text
):  # bool
    "True where a cell is one string and nothing else: what a module says of itself needs no echo."
    try: module = ast.parse(source)
    except SyntaxError: return False  # a cell may speak IPython's own language
    return len(module.body) == 1 and ast.get_docstring(module) is not None


def _lean(
    model,  # a widget's state
):  # dict
    """`model` without what a layout or a style leaves open: where a form is shown, that is a
    quarter of the file."""
    if not model.get("model_name", "").endswith(("LayoutModel", "StyleModel")):
        return model
    return dict(model, state={k: v for k, v in model["state"].items() if v is not None})


def _widgets(
    nb,  # changed in place
):
    """Keeps the state of the widgets that are shown, and gives them names that do not change from
    run to run."""
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    shown = [
        o.data[VIEW]["model_id"]
        for c in nb.cells
        for o in c.get("outputs", [])
        if VIEW in o.get("data", {})
    ]
    kept, queue = [], list(shown)
    while queue:
        model = queue.pop(0)
        if model in state and model not in kept:
            kept.append(model)
            queue += MODEL.findall(json.dumps(state[model], sort_keys=True))
    if not kept:
        nb.metadata.pop("widgets", None)
        return
    names = {model: f"{i:032x}" for i, model in enumerate(kept, 1)}

    def renamed(value):
        if isinstance(value, str):
            return MODEL.sub(lambda m: names.get(m[0], m[0]), value)
        if isinstance(value, list):
            return [renamed(v) for v in value]
        return {k: renamed(v) for k, v in value.items()} if isinstance(value, dict) else value

    nb.metadata["widgets"][STATE]["state"] = {names[m]: renamed(_lean(state[m])) for m in kept}
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            if VIEW in out.get("data", {}):
                out.data[VIEW] = renamed(out.data[VIEW])


def tidy(
    nb,  # changed in place
    root,  # the repository's folder
):  # the same notebook
    "The notebook as it is committed."
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = _streams(
            [
                out
                for out in cell.outputs
                if not _is_bar(out)
                and not (out.output_type == "execute_result" and _is_docstring(cell.source))
            ]
        )
        for out in cell.outputs:
            if "text" in out:
                out.text = _each_text(out.text, lambda t: without_paths(t, root))
            for kind in [k for k in out.get("data", {}) if k.startswith("text/")]:
                out.data[kind] = _each_text(out.data[kind], lambda t: without_paths(t, root))
    _widgets(nb)
    clean_nb(nb)
    nb.metadata["kernelspec"] = {"display_name": "python3", "language": "python", "name": "python3"}
    return nb


def image_sizes(
    nb,  # a notebook
):  # list of (cell number, bytes)
    "Every picture in the outputs, with its size."
    return [(i, len(base64.b64decode(data)) if not kind.endswith("svg+xml") else len("".join(data)))
            for i, cell in enumerate(nb.cells) for out in cell.get("outputs", [])
            for kind, data in out.get("data", {}).items() if kind.startswith("image/")]
