"""The tools that run and tidy notebooks, on small notebooks made here."""
import json
import copy

import nbformat
import pytest
from nbdev.clean import clean_nb
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import make_readme
import run_notebooks
from tidy_notebook import STATE, VIEW, image_sizes, plain, tidy

ROOT = run_notebooks.ROOT


def saved(tmp_path, *sources, name="nb.ipynb"):
    "The path of a notebook with these code cells."
    path = tmp_path / name
    nbformat.write(new_notebook(cells=[new_code_cell(s) for s in sources]), path)
    return path


def test_a_run_has_outputs_time_and_the_fast_switch(tmp_path):
    path = saved(tmp_path, "import os", "print(os.environ.get('SGDIFF_FAST'))")
    for fast, said in ((True, "1\n"), (False, "None\n")):
        run = run_notebooks.execute(path, fast=fast)
        assert run.error == "" and run.notebook.cells[1].outputs[0].text == said
        assert run.seconds >= run.slowest[0] > 0


def test_a_failed_cell_is_shown_with_its_source_and_traceback(tmp_path):
    run = run_notebooks.execute(saved(tmp_path, "x = 1", "assert x == 2, 'the answer'", "y = 3"))
    assert (
        "cell 1" in run.error
        and "assert x == 2" in run.error
        and "AssertionError: the answer" in run.error
    )
    assert "\x1b" not in run.error and "FAILED" in run_notebooks.table([run])


def test_the_time_of_notebooks_that_ran_at_once_counts_once(tmp_path):
    runs = [
        run_notebooks.Run(saved(tmp_path, name=f"{i}.ipynb"), None, started, seconds, (0.0, 0), "")
        for i, (started, seconds) in enumerate([(100, 10), (104, 2), (108, 6), (200, 5)])
    ]
    assert (
        run_notebooks.busy_seconds(runs[::-1]) == 10 + 4 + 5
        and run_notebooks.busy_seconds([]) == 0
    )
    assert run_notebooks.table(runs).splitlines()[-1].split() == ["all", "19.0", "s"]


def test_a_cell_that_does_not_end_and_a_kernel_that_dies_are_failures(tmp_path):
    run = run_notebooks.execute(saved(tmp_path, "import time", "time.sleep(60)"), timeout=1)
    assert "cell 1" in run.error and "Timeout" in run.error
    run = run_notebooks.execute(saved(tmp_path, "import os", "os._exit(1)"))
    assert "cell 1" in run.error and "Dead" in run.error


def test_cells_marked_as_not_run_are_not(tmp_path):
    path = saved(tmp_path, "#| eval: false\n1/0", "#| slow\nprint('long')")
    run = run_notebooks.execute(path, fast=True)
    assert run.error == "" and run.notebook.cells[1].outputs == []
    assert run_notebooks.execute(path).notebook.cells[1].outputs[0].text == "long\n"


def test_a_notebook_is_run_from_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run_notebooks.py", "nbs/graphs/names.ipynb", "--fast"])
    assert run_notebooks.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "names ..." and said[-1].startswith("all ")


def test_notebooks_are_found_by_number_name_or_path(tmp_path):
    contents = [
        "nbs/index.ipynb",
        {"section": "Two", "contents": ["nbs/b/10_vae.ipynb", "nbs/a/00_core.ipynb"]},
        "nbs/page.qmd",
    ]
    # JSON is YAML
    (tmp_path / "_quarto.yml").write_text(
        json.dumps({"website": {"sidebar": {"contents": contents}}})
    )
    found = lambda *names: [p.stem for p in run_notebooks.find_notebooks(names, tmp_path)]
    assert found() == ["index", "10_vae", "00_core"]
    assert found("nbs/a/00_core.ipynb", "10") == ["10_vae", "00_core"]
    with pytest.raises(SystemExit, match="no notebook fits 'gan'"):
        found("gan")


def noisy(ids=("a" * 32, "b" * 32, "c" * 32)):
    "A notebook with everything that tidying is for; `ids` are its widgets' random ids."
    shown, layout, unused = ids
    cell = new_code_cell(
        "f()",
        execution_count=7,
        metadata={"execution": {"iopub.status.busy": "2024"}, "tags": ["skip-execution"]},
    )
    cell.outputs = [
        new_output(
            "stream",
            name="stderr",
            text="  0%|          | 0/9 [00:00<?, ?it/s]\r100%|####| 9/9 [00:01<00:00, 8.1step/s]\n",
        ),
        new_output(
            "stream", name="stdout", text=f"loss 0.5\nat {ROOT}/nbs/x.png, /tmp/tmpab12/y and "
        ),
        new_output("stream", name="stdout", text="/tmp/ipykernel_12/345.py:3: UserWarning\n"),
        new_output(
            "display_data",
            data={
                "text/plain": "  0%|          | 0/9 [00:00<?, ?it/s]",
                VIEW: {"model_id": unused},
            },
        ),
        new_output("display_data", data={"text/plain": "Dropdown()", VIEW: {"model_id": shown}}),
        new_output("execute_result", data={"text/plain": "<object at 0x7f12>"}, execution_count=7),
    ]
    nb = new_notebook(cells=[new_markdown_cell("# Title"), cell])
    nb.metadata = {
        "language_info": {"version": "3.11.7"},
        "widgets": {
            STATE: {
                "version_major": 2,
                "version_minor": 0,
                "state": {
                    unused: {"state": {"value": 9}},
                    layout: {
                        "model_name": "LayoutModel",
                        "state": {"width": "9px", "height": None},
                    },
                    shown: {"state": {"layout": f"IPY_MODEL_{layout}", "tooltip": None}},
                },
            }
        },
    }
    return nb


def test_tidying_leaves_results_and_takes_noise():
    nb = tidy(noisy(), ROOT)
    cell = nb.cells[1]
    assert cell.outputs[0].text == "loss 0.5\nat nbs/x.png, TMP/y and this cell:3: UserWarning\n"
    assert [o.output_type for o in cell.outputs] == ["stream", "display_data", "execute_result"]
    assert cell.outputs[2].data["text/plain"] == "<object>"
    assert cell.metadata == {} and cell.execution_count is None
    assert set(nb.metadata) == {"kernelspec", "widgets"}
    state = nb.metadata["widgets"][STATE]["state"]
    view = cell.outputs[1].data[VIEW]["model_id"]
    layout = state[view]["state"]["layout"].removeprefix("IPY_MODEL_")
    assert (
        len(state) == 2
        and state[layout]["state"] == {"width": "9px"}
        and "tooltip" in state[view]["state"]
    ), "only a layout's gaps go"


def test_what_a_module_says_of_itself_is_not_echoed():
    echo = [new_output("execute_result", data={"text/plain": "'Says.'"})]
    cells = [
        new_code_cell('#| export\n"""Says."""', outputs=copy.deepcopy(echo)),
        new_code_cell("'Says.'.strip()", outputs=copy.deepcopy(echo)),
        new_code_cell("42", outputs=copy.deepcopy(echo)),
        new_code_cell("!ls"),
    ]
    assert [len(cell.outputs) for cell in tidy(new_notebook(cells=cells), ROOT).cells] == [
        0, 1, 1, 0,
    ]


def test_a_chapter_tells_how_long_it_runs_and_keeps_to_what_still_holds():
    nb, told = new_notebook(cells=[new_markdown_cell("# 3. Title\n> Text.")]), []
    for seconds in (3, 58, 61, 110, 50, 39, 15, 700, 5000):
        run_notebooks.say_how_long(nb, seconds)
        told.append(nb.cells[0].source.removeprefix("# 3. Title\n> Text.\n\n"))
    minutes = [1 if "under" in line else int(line.split()[3]) for line in told]
    assert (
        minutes == [1, 1, 2, 2, 2, 1, 1, 20, 30]
        and told[0] == "*Runs in under a minute on two cores.*"
        and told[2] == "*Runs in about 2 minutes on two cores.*"
    )


def test_tidying_does_not_depend_on_random_ids_and_is_done_once():
    one, other = noisy(), noisy(("1" * 32, "2" * 32, "3" * 32))
    for a, b in zip(one.cells, other.cells, strict=True):
        b["id"] = a["id"]
    assert tidy(one, ROOT) == tidy(other, ROOT)
    assert tidy(copy.deepcopy(one), ROOT) == one
    cleaned = copy.deepcopy(one)
    clean_nb(cleaned)
    assert cleaned == one, "nbdev's own cleaning finds nothing more"


def test_text_is_as_a_terminal_would_leave_it():
    assert plain("\x1b[31mred\x1b[0m\r\nnow\rlater\n") == "red\nlater\n"


def test_pictures_are_measured():
    nb = new_notebook(cells=[new_code_cell("x")])
    nb.cells[0].outputs = [
        new_output("display_data", data={"image/png": "QUJD", "text/plain": "<Figure>"})
    ]
    assert image_sizes(nb) == [(0, 3)]


def test_writing_says_whether_the_file_changed(tmp_path, capsys):
    path = saved(tmp_path, "1")
    nb = nbformat.read(path, as_version=4)
    assert run_notebooks.write(nb, path) and not run_notebooks.write(nb, path)
    big = "A" * (4 * run_notebooks.MAX_IMAGE)
    nb.cells[0].outputs = [new_output("display_data", data={"image/png": big})]
    run_notebooks.write(nb, path)
    assert "warning: nb.ipynb cell 0: a picture of 450 kB" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["nb.ipynb"]


def test_a_readme_is_the_notebook_as_markdown(tmp_path):
    cells = [
        new_markdown_cell(
            "# Title\n[first](core.ipynb#a), ![map](images/map.png), [site](https://a.b/c.ipynb), "
            "[up](../LICENSE)"
        ),
        new_code_cell("#| hide\nimport secret"),
        new_code_cell(
            '#| echo: false\n#| fig-alt: "a sheep"\ndraw()',
            outputs=[
                new_output("display_data", data={"image/png": "QUJD", "text/plain": "<Figure>"})
            ],
        ),
        new_code_cell("print(1)", outputs=[new_output("stream", name="stdout", text="1\n")]),
        new_code_cell("2", outputs=[new_output("execute_result", data={"text/plain": "2"})]),
    ]
    text, images = make_readme.render(new_notebook(cells=cells))
    assert (
        "[first](nbs/core.ipynb#a), ![map](nbs/images/map.png), [site](https://a.b/c.ipynb), "
        "[up](LICENSE)"
        in text
    )
    assert "secret" not in text and "draw()" not in text and "<Figure>" not in text
    assert (
        "![a sheep](nbs/images/readme-1.png)" in text
        and images == {"nbs/images/readme-1.png": b"ABC"}
    )
    assert (
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\n2\n```\n\n```text\n2\n```\n"
        in text
    )
