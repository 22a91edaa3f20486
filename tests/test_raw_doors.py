"""Raw annotations as other people's programs leave them: every format, every field, whatever stands
there. A broken record costs that record."""
import argparse
import copy
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from sgdiff.errors import SGDiffError

h5py = pytest.importorskip("h5py", reason="the extra [data] is not installed")
pytest.importorskip("pycocotools", reason="the extra [data] is not installed")

from sgdiff.real.coco_stuff import decode_mask  # noqa: E402
from sgdiff.real.prepare import add_command  # noqa: E402
from sgdiff.real.tiny import write_tiny_coco, write_tiny_gqa, write_tiny_vg  # noqa: E402

WRITERS = {"vg": write_tiny_vg, "gqa": write_tiny_gqa, "coco": write_tiny_coco}
FEW = [f"--min-{kind}-instances=1" for kind in ("object", "attribute", "predicate")]
DEEP = "a list a hundred thousand deep"  # put into the text, since `json` could not write it
BAD = [None, "x", "", -1, 1e400, [], {}, [[]], True, 10**30, "../../x", DEEP]
# no words for users
PYTHON = re.compile(
    r"NoneType|object is not|object "
    r"cannot|unhashable|subscriptable|KeyError|TypeError|argument|iterable"
)
# pycocotools under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Raw:
    "A tiny data set whose files can be spoilt one by one."
    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        WRITERS[kind](folder / "first", 16)
        for name in ("images", "train2017", "val2017"):
            shutil.rmtree(folder / "first" / name, ignore_errors=True)
        self.raw = {"vg": "raw", "gqa": ".", "coco": "annotations"}[kind]
        self.data = {
            p.name: json.loads(p.read_text())
            for p in sorted((folder / "first" / self.raw).glob("*.json"))
        }
        self.fresh()
        self.whole = self.prepare(), self.tables()

    def fresh(self):
        shutil.rmtree(self.folder / "now", ignore_errors=True)
        shutil.copytree(self.folder / "first", self.folder / "now")

    def file(self, name): return self.folder / "now" / self.raw / name

    def change(self, name, edit):
        "The file `name` as `edit` leaves it, which may give something else back."
        data = copy.deepcopy(self.data[name])
        given = edit(data)
        text = json.dumps(data if given is None else given).replace(
            f'"{DEEP}"', "[" * 100_000 + "]" * 100_000
        )
        self.file(name).write_text(text)

    def prepare(self, *more):
        parser = argparse.ArgumentParser()
        add_command(parser.add_subparsers())
        words = [
            "prepare", self.kind, "--raw",
            str(self.file(".")),
            "--out",
            str(self.folder / "out"),
            "--quiet",
            "--force",
            *(FEW if self.kind != "coco" else []),
            *more,
        ]
        args = parser.parse_args(words)
        return args.run(args)

    def tables(self):
        out = {"vocab": json.loads((self.folder / "out" / "vocab.json").read_text())}
        for path in sorted((self.folder / "out").glob("*.h5")):
            with h5py.File(path) as h5:
                out |= {f"{path.stem} {name}": h5[name][()].tolist() for name in h5}
        return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {kind: Raw(kind, tmp_path_factory.mktemp(kind)) for kind in WRITERS}


@pytest.fixture
def vg(made): made["vg"].fresh(); return made["vg"]


@pytest.fixture
def gqa(made): made["gqa"].fresh(); return made["gqa"]


@pytest.fixture
def coco(made): made["coco"].fresh(); return made["coco"]


def named(report): return {reason: len(names) for reason, names in report["broken"].items()}


# --- any value anywhere

def places(data, path=()):
    "The paths to all values below `data`."
    inner = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def put(data, path, value):
    for key in path[:-1]: data = data[key]
    data[path[-1]] = value


WORDS = {"names", "name", "predicate", "attributes", "url", "file_name"}  # any text may stand there
# -1 may
NUMBERS = {
    "x", "y", "w", "h", "bbox", "object_id", "relationship_id", "id", "merged_object_ids",
    "image_id", "segmentation",
}
# of which there may be none
LISTS = {
    "objects", "relationships", "attributes", "relations", "merged_object_ids", "train", "val",
    "test", "names",
}


def may_stand(path, value):
    "Whether a value is legal at a place, though the tables come out otherwise."
    key = next((k for k in reversed(path) if isinstance(k, str) and not k.isdigit()), None)
    if isinstance(value, str): return key in WORDS and value != ""
    # an image that is not there is counted
    if value == -1: return key in NUMBERS or key in ("train", "val", "test")
    return not value and value is not True and key in LISTS or value in ({}, []) and len(path) == 1


def spoil(raw, rng):
    "One value replaced -> (what was done, how it ended)."
    name = str(rng.choice(sorted(raw.data)))
    paths = list(places(raw.data[name]))
    short = [p for p in paths if len(p) <= 4]
    path = [paths, short][int(rng.integers(2))]
    path, value = path[rng.integers(len(path))], BAD[rng.integers(len(BAD))]
    what = f"{raw.kind} {name} {path} = {value!r}"
    raw.change(name, lambda data: put(data, path, value))
    try: report = raw.prepare()
    except SGDiffError as error:
        assert not PYTHON.search(str(error)), (what, str(error))
        return what, "refused"
    finally: shutil.copy(raw.folder / "first" / raw.raw / name, raw.file(name))
    told = [f"{reason} {n}" for reason, names in report["broken"].items() for n in names]
    assert not any(PYTHON.search(line) for line in told), (what, told)
    assert told or raw.tables() == raw.whole[1] or may_stand(path, value), (
        f"{what}: not a word, and other tables"
    )
    return what, "named" if told else "harmless"


@pytest.mark.parametrize("kind", list(WRITERS))
def test_whatever_stands_anywhere_is_named_refused_or_harmless(made, kind, seed=0, n=20):
    made[kind].fresh()
    rng = np.random.default_rng([seed, list(WRITERS).index(kind)])
    ends = [spoil(made[kind], rng)[1] for _ in range(n)]
    assert ends.count("named") > n // 5 and ends.count("refused") < n // 2, ends


@pytest.mark.parametrize("kind, name", [("vg", "objects.json"), ("vg", "relationships.json"), ("vg", "attributes.json"), ("vg", "image_data.json"),
                                        ("gqa", "sceneGraphs.json"), ("coco", "instances_train2017.json")])
@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "9" * 5000, '{"a": 1, "a": 2}', "null", '"\\ud800"'], ids=["deep", "digits", "twice", "null", "surrogate"])
def test_a_record_that_cannot_be_held_costs_itself(made, kind, name, text):
    raw = made[kind]
    raw.fresh()
    mark = "here it goes"
    if kind == "coco": edit = lambda data: data["annotations"].insert(0, mark)
    elif kind == "gqa": edit = lambda data: data.update({mark: mark})
    else: edit = lambda data: data.insert(0, mark)
    raw.change(name, edit)
    raw.file(name).write_text(
        raw.file(name)
        .read_text()
        .replace(f'"{mark}": "{mark}"', f'"0": {text}')
        .replace(f'"{mark}"', text)
    )
    report = raw.prepare()
    assert (
        sum(named(report).values()) in (1, 4)
        and report["images"] == raw.whole[0]["images"]
        and raw.tables() == raw.whole[1]
    )
    with pytest.raises(SGDiffError, match="strict"): raw.prepare("--strict")


# --- text written by other programs

@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "windows"])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_text_of_any_program(made, kind, encoding):
    raw = made[kind]
    raw.fresh()
    for path in [*raw.file(".").glob("*.json"), *raw.file(".").glob("*.txt")]:
        text = path.read_text()
        if path.suffix == ".json": text = json.dumps(json.loads(text), indent=1)
        path.write_bytes(
            text.replace("\n", "\r\n").encode("utf-8" if encoding == "windows" else encoding)
        )
    report = raw.prepare()
    assert not report["broken"] and raw.tables() == raw.whole[1]


def test_a_legacy_code_page_is_told(vg):
    vg.file("object_alias.txt").write_bytes("caf\u00e9,coffee bar\n".encode("cp1252"))
    with pytest.raises(SGDiffError, match="object_alias.txt.*Save it as UTF-8"): vg.prepare()


def capitals(vg):
    def objects(data):
        for image in data:
            for thing in image["objects"]:
                thing["names"] = [
                    word.upper() if thing["object_id"] % 2 else word for word in thing["names"]
                ]
    vg.change("objects.json", objects)
    vg.file("object_alias.txt").write_text("Sheep,SHEEPS\nPerson,MAN, Woman\n")


def test_words_that_differ_by_case_are_one_word(vg):
    capitals(vg)
    vg.prepare()
    assert vg.tables() == vg.whole[1]


def test_as_sg2im_takes_words_they_stay_as_they_were_typed(vg):
    capitals(vg)
    vg.prepare("--sg2im")
    words = vg.tables()["vocab"]["object_idx_to_name"]
    assert {"SKY", "sky"} <= set(words) and vg.tables()["vocab"]["object_aliases"] == {}


def test_a_line_of_aliases_without_its_first_word_is_named(vg):
    vg.file("object_alias.txt").write_text("sheep,sheeps\n,man,woman\n\n")
    assert named(vg.prepare()) == {"aliases: cannot be read": 1}


# --- ids and references are the file's

def test_large_ids_and_ids_in_text_are_kept(vg):
    large = lambda n: 2**62 + n
    vg.change(
        "image_data.json",
        lambda d: [e.update(image_id=str(large(e["image_id"]))) for e in d] and None,
    )
    vg.change("vg_splits.json", lambda d: {k: [str(large(i)) for i in v] for k, v in d.items()})
    def grow(kind):
        def edit(data):
            for image in data:
                image["image_id"] = (
                    float(image["image_id"]) if kind == "none" else large(image["image_id"])
                )
                for thing in image[kind]:
                    if kind == "relationships":
                        thing["relationship_id"] = large(thing["relationship_id"])
                    for d in (
                        (thing["subject"], thing["object"]) if kind == "relationships" else (thing,)
                    ):
                        d["object_id"] = str(large(d["object_id"]))
                        if "merged_object_ids" in d:
                            d["merged_object_ids"] = [large(i) for i in d["merged_object_ids"]]
        return edit
    for kind in ("objects", "relationships", "attributes"): vg.change(f"{kind}.json", grow(kind))
    report = vg.prepare()
    assert not report["broken"]
    now, then = vg.tables(), vg.whole[1]
    ids = ("image_ids", "object_ids", "relationship_ids")
    assert {k: v for k, v in now.items() if not k.endswith(ids)} == {
        k: v for k, v in then.items() if not k.endswith(ids)
    }
    for name in (k for k in now if k.endswith(ids)):
        grown = np.array(then[name])
        np.testing.assert_array_equal(now[name], np.where(grown == -1, -1, grown + 2**62), name)


def test_ordinary_ids_take_32_bits(vg):
    vg.prepare()
    with h5py.File(vg.folder / "out" / "train.h5") as h5:
        assert {h5[name].dtype for name in ("image_ids", "object_ids", "relationship_ids")} == {
            np.dtype("int32")
        }


def test_ids_that_each_image_counts_from_0(vg):
    """Object ids that are unique in their image only: attributes, dropped and merged ids must not
    be mixed up."""
    def count(kind):
        def edit(data):
            for image in data:
                for thing in image[kind]:
                    for d in (
                        (thing["subject"], thing["object"]) if kind == "relationships" else (thing,)
                    ):
                        d["object_id"] %= 100
                        if "merged_object_ids" in d:
                            d["merged_object_ids"] = [i % 100 for i in d["merged_object_ids"]]
        return edit
    for kind in ("objects", "relationships", "attributes"): vg.change(f"{kind}.json", count(kind))
    report = vg.prepare()
    now, then = vg.tables(), vg.whole[1]
    assert not report["broken"] and {k: v for k, v in now.items() if "object_ids" not in k} == {
        k: v for k, v in then.items() if "object_ids" not in k
    }


@pytest.mark.parametrize("name, edit, told", [
    ("image_data.json", lambda d: d.append(d[0] | {"width": 900}), "records: listed twice in "
                                                                   "image_data"),
    ("objects.json", lambda d: d.append(d[0]), "records: listed twice in objects"),
    ("relationships.json", lambda d: d.append(d[0]), "records: listed twice in relationships"),
    ("attributes.json", lambda d: d.append(d[0]), "records: listed twice in attributes"),
    ("objects.json", lambda d: d[0]["objects"].append(d[0]["objects"][0] | {"x": 5}), "objects: an "
                                                                                      "id that "
                                                                                      "another "
                                                                                      "object of the image has"),
    ("vg_splits.json", lambda d: d["train"].append(d["train"][0]), "records: listed twice in "
                                                                   "the splits"),
    ("vg_splits.json", lambda d: d["train"].append(d["test"][0]), "records: listed twice in "
                                                                  "the splits"),
])
def test_what_is_listed_twice_counts_once_and_is_named(vg, name, edit, told):
    vg.change(name, edit)
    report = vg.prepare()
    assert named(report) == {told: 1} and vg.tables() == vg.whole[1]
    with pytest.raises(SGDiffError, match="strict"): vg.prepare("--strict")


def counted(report, image):
    "How many entries of the tally name an image, and how many images were counted in all."
    told = [name for names in report["broken"].values() for name in names if image in name]
    return len(told), sum(report["counts"]["images"].values())


@pytest.mark.parametrize("spoil", [
    lambda d, key: d[key].update(objects=None), lambda d, key: d[key].update(width=None),
    lambda d, key: d.update({key: 7})])
def test_a_broken_image_of_gqa_is_counted_once(gqa, spoil):
    n = len(gqa.data["sceneGraphs.json"])
    key = list(gqa.data["sceneGraphs.json"])[3]
    gqa.change("sceneGraphs.json", lambda d: spoil(d, key))
    report = gqa.prepare()
    assert sum(map(len, report["broken"].values())) == 1 and counted(report, "") == (1, n - 1)
    assert report["counts"]["records"] == {"broken: no id, size, objects or relations": 1}


def test_an_image_of_both_files_of_gqa_is_told_once(gqa):
    data = gqa.data["sceneGraphs.json"]
    keys = list(data)
    parts = {"train": keys[:10], "val": keys[9:]}
    for name, part in parts.items():
        gqa.file(f"{name}_sceneGraphs.json").write_text(json.dumps({k: data[k] for k in part}))
    gqa.file("sceneGraphs.json").unlink()
    report = gqa.prepare()
    assert counted(report, keys[9]) == (1, len(keys))
    assert gqa.tables()["val image_ids"].count(int(keys[9])) == 1


@pytest.mark.parametrize("name, edit", [
    ("image_data.json", lambda d: d[3].update(url=None)),
    ("objects.json", lambda d: d[3].update(objects=None)),
    ("objects.json", lambda d: d.append(d[3]))])
def test_a_broken_image_of_visual_genome_is_counted_once_among_the_images(vg, name, edit):
    vg.change(name, edit)
    report = vg.prepare()
    assert counted(report, "")[1] == sum(map(len, vg.data["vg_splits.json"].values()))


def test_a_split_with_the_name_of_another_file_is_refused(vg):
    vg.change("vg_splits.json", lambda d: d | {"../../x": [1]})
    with pytest.raises(SGDiffError, match="split"): vg.prepare()
    assert not list(vg.folder.parent.rglob("x.h5"))


def test_relations_that_are_not_there_are_none(gqa):
    def edit(data):
        for image in data.values():
            for thing in image["objects"].values():
                if not thing["relations"]: thing["relations"] = None
                thing.pop("attributes")
    gqa.change("sceneGraphs.json", edit)
    report = gqa.prepare()
    assert not report["broken"] and gqa.tables() == gqa.whole[1]


def test_a_relation_to_no_object_is_named(gqa):
    key, thing = next(
        (k, o)
        for k, image in gqa.data["sceneGraphs.json"].items()
        for o, d in image["objects"].items()
        if d["relations"]
    )
    gqa.change(
        "sceneGraphs.json", lambda d: d[key]["objects"][thing]["relations"][0].update(object="77")
    )
    report = gqa.prepare()
    assert (
        named(report) == {"relationships: cannot be read": 1}
        and 'no object "77"' in str(report["broken"])
    )


# --- COCO

FOUR = [f"{kind}_{split}2017.json" for kind in ("instances", "stuff") for split in ("train", "val")]


def all_files(coco, edit):
    for name in FOUR: coco.change(name, edit)


@pytest.mark.parametrize("value", [0, None])
def test_annotations_are_known_by_their_place(coco, value):
    for name in FOUR[::2]:
        coco.change(name, lambda d: [a.update(id=7) for a in d["annotations"]] and None)
    report = coco.prepare()
    now, then = coco.tables(), coco.whole[1]
    assert "annotation ids: given twice, both annotations count" in report["broken"]
    assert all(now[k] == then[k] for k in then if k != "train object_ids")


def from_zero(data):
    for c in data["categories"]: c["id"] -= 1
    for a in data["annotations"]: a["category_id"] -= 1


def name_of(d, key): return next(c for c in d["categories"] if c["id"] == key)


@pytest.mark.parametrize("names, edit, told", [
    (FOUR, from_zero, "categories from 0.*Add 1"),
    (FOUR[:1], lambda d: d.update(annotations=[{"id": 1, "image_id": 1, "file_name": "a.png", "segments_info": []}]), "panoptic"),
    (FOUR[:1], lambda d: d.update(annotations=[{"id": 1, "image_id": 1, "caption": "a dog"}]), "captions"),
    (FOUR[:1], lambda d: d.update(categories=[]), "lists no categories"),
    (FOUR[1:2], lambda d: d.pop("images") and None, "lists no images"),
    (FOUR[2:3], lambda d: d.pop("annotations") and None, "lists no annotations"),
    (FOUR[2:3], lambda d: name_of(d, 124).update(name="CAR"), "give each name one id"),
    (FOUR[1::2], lambda d: [c.update(name=c["name"] + "!") for c in d["categories"]] and None, "number their categories differently"),
])
def test_a_file_that_means_something_else_is_refused(coco, names, edit, told):
    for name in names: coco.change(name, edit)
    with pytest.raises(SGDiffError, match=told): coco.prepare()


def test_things_in_place_of_stuff_are_refused(coco):
    for split in ("train", "val"):
        shutil.copy(coco.file(f"instances_{split}2017.json"), coco.file(f"stuff_{split}2017.json"))
    with pytest.raises(SGDiffError, match="is it a file of things"): coco.prepare()


@pytest.mark.parametrize("edit, told", [
    (lambda d: d["categories"].append({"id": 10**9, "name": "far"}), "records of categories: no id or name"),
    (lambda d: d["categories"].append({"id": 77, "name": "Car "}), "records of categories: a name that "
                                                                   "another category has"),
    (lambda d: d["categories"].append({"id": 3, "name": "lorry"}), "records of categories: listed twice"),
    (lambda d: d["categories"].append({"id": 78, "name": "__image__"}), "records of categories: no id or name"),
    (lambda d: d["images"].append({"id": 900, "file_name": "../../x.jpg", "width": 300, "height": 300}), "records of images: no id, size or file name"),
    (lambda d: d["images"].append({"id": 900, "file_name": "x.jpg", "width": 10**9, "height": 10**9}), "records of images: no id, size or file name"),
    (lambda d: d["images"].append(d["images"][0] | {"width": 9}), "records of images: listed twice"),
    (lambda d: d["images"][0].update(file_name="another.jpg"), "records of images: otherwise in the "
                                                               "two files"),
    (lambda d: d["annotations"].append(d["annotations"][0] | {"id": 1, "bbox": [1, 2, 3]}), "objects: cannot be read"),
    (lambda d: d["annotations"].append(d["annotations"][0] | {"id": 1, "bbox": [0, 0, 10**8, 10**8]}), "objects: cannot be read"),
    (lambda d: d["annotations"].append(d["annotations"][0] | {"id": 1, "image_id": [1]}), "objects: cannot be read"),
    (lambda d: d["annotations"].append(d["annotations"][0] | {"id": 1, "category_id": 90}), "objects: cannot be read"),
])
def test_a_broken_entry_of_coco_costs_itself(coco, edit, told):
    coco.change(FOUR[0], edit)
    report = coco.prepare()
    assert named(report) == {told: 1} and report["images"] == coco.whole[0]["images"]
    assert len(coco.tables()["vocab"]["object_idx_to_name"]) <= 184
    with pytest.raises(SGDiffError, match="strict"): coco.prepare("--strict")


def test_an_image_that_seems_to_be_in_both_splits_is_named(coco):
    twin = coco.data[FOUR[0]]["images"][0]
    coco.change(FOUR[1], lambda d: d["images"].append(twin))
    assert named(coco.prepare()) == {
        "records of images: in train and in val by id, name and size, both kept": 1
    }


def test_numbers_in_text_are_numbers(coco):
    def edit(data):
        for image in data["images"]:
            image.update(
                id=str(image["id"]), width=float(image["width"]), height=str(image["height"])
            )
        for a in data["annotations"]:
            a.update(
                id=str(a["id"]),
                image_id=f" {a['image_id']}",
                category_id=float(a["category_id"]),
                bbox=[str(v) for v in a["bbox"]],
            )
        for c in data["categories"]: c["id"] = str(c["id"])
    all_files(coco, edit)
    assert not coco.prepare()["broken"] and coco.tables() == coco.whole[1]


SQUARE = [0, 0, 300, 0, 300, 300, 0, 300]


@pytest.mark.parametrize("mask", [
    None, "x", 7, [], {}, True, [None], [[1, 2, 3]], [[1, 2, 3, 4, 5, 6, 7]], [SQUARE, [1, 2, 3]], [["a"] * 8], [[None] * 8], [[1e400] * 8], [[0, 0, 1e9, 0, 1e9, 1e9]],
    [SQUARE * 100_000], [[float("nan")] * 8], {"size": [320, 450]}, {"size": None, "counts": []}, {"size": [320, 450], "counts": None},
    {"size": [10**9, 10**9], "counts": [10**18]}, {"size": [10**9, 10**9], "counts": "abc"}, {"size": [320, 450], "counts": [-10, 144010]},
    {"size": [320, 450], "counts": [2**63, -(2**63) + 144000]}, {"size": [320, 450], "counts": [143999.5, 0.5]}, {"size": [320, 450], "counts": ["144000"]}, {"size": [320, 450], "counts": [True, 143999]},
    {"size": [320, 450], "counts": "P"}, {"size": [320, 450], "counts": "oooooooooooo"}, {"size": [320, 450], "counts": "\u2603"}, {"size": [320, 450], "counts": "\ud800"},
    {"size": [320, 450], "counts": ""}, {"size": [320, 450], "counts": []}, {"size": [320, 450], "counts": "0" * 100_000}, {"size": "ab", "counts": "1"}])
def test_no_mask_can_hurt(mask):
    with pytest.raises(ValueError): decode_mask(mask, 320, 450)


def test_a_map_is_looked_for_inside_its_folder(coco, tmp_path):
    maps = tmp_path / "maps"
    shutil.copytree(coco.folder / "first" / "stuffthingmaps", maps)
    found = sorted((maps / "train2017").glob("*.png"))
    shutil.move(found[0], tmp_path / "stranger.png")
    found[0].symlink_to(tmp_path / "stranger.png")
    found[1].write_bytes(b"no picture")
    report = coco.prepare("--stuff-maps", str(maps))
    assert (
        named(report) == {"objects: cannot be read": 2}
        and "leads out of" in str(report["broken"])
        and "error" not in str(report["broken"]).lower()
    )


# --- nothing leaves its folder

@pytest.mark.parametrize("url", ["https://a.org/../../x.jpg", "https://a.org/../x.jpg", "https://x.jpg", "..", "a\\..\\..\\x.jpg", "C:/x.jpg", "a/x\0.jpg", "a/x\n.jpg", "", "/", "https://a.org/b/.."])
def test_an_address_that_leads_out_is_broken(vg, url):
    vg.change("image_data.json", lambda d: d[0].update(url=url))
    report = vg.prepare()
    assert (
        named(report) == {"records: no id, size or address": 1}
        and not any(b"x" in p for p in vg.tables()["train image_paths"])
    )


@pytest.mark.parametrize("name", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "a\\x.jpg", "C:x.jpg", "x\0.jpg"])
def test_a_file_name_that_leads_out_is_broken(coco, name):
    for file in (FOUR[0], FOUR[2]):
        coco.change(file, lambda d: d["images"][0].update(file_name=name))
    report = coco.prepare()
    assert (
        report["broken"]["records of images: no id, size or file name"]
        and report["images"]["train"] == coco.whole[0]["images"]["train"] - 1
    )


# --- sizes and boxes

@pytest.mark.parametrize("size", [{"width": 0}, {"height": -5}, {"width": 10**9}, {"width": 60_000, "height": 60_000}, {"height": None}, {"height": 1e400}, {"width": "wide"}, {"width": 12.5}])
def test_an_image_of_no_possible_size_is_broken(vg, size):
    vg.change("image_data.json", lambda d: d[0].update(size))
    assert named(vg.prepare()) == {"records: no id, size or address": 1}


@pytest.mark.parametrize("box", [{"x": 10**6}, {"y": -5000}, {"w": 10**7, "h": 40}, {"w": 2**31}, {"x": None}, {"h": 1e400}, {"h": []}, {"w": True}])
def test_a_box_that_has_nothing_to_do_with_its_image_is_broken(vg, box):
    where = next(
        i
        for i, image in enumerate(vg.data["objects.json"])
        if image["image_id"] in vg.whole[1]["train image_ids"]
    )
    vg.change("objects.json", lambda d: d[where]["objects"][0].update(box))
    report = vg.prepare()
    assert sum(named(report).values()) == 1 and next(iter(report["broken"])).startswith("objects: ")


def test_a_record_of_very_many_objects_costs_itself(vg):
    one = vg.data["objects.json"][0]["objects"][0]
    vg.change("objects.json", lambda d: d[0].update(objects=[one] * 20_000))
    report = vg.prepare()
    assert (
        named(report) == {"records: no image id or no objects": 1}
        and "20,000 objects" in str(report["broken"])
    )


def test_a_file_of_another_kind_is_told(vg, gqa):
    shutil.copy(gqa.file("sceneGraphs.json"), vg.file("objects.json"))
    with pytest.raises(SGDiffError, match="holds a dictionary, expected a list"): vg.prepare()
    vg.fresh()
    shutil.copy(vg.file("objects.json"), gqa.file("sceneGraphs.json"))
    with pytest.raises(SGDiffError, match="holds a list, expected a dictionary"): gqa.prepare()
    shutil.copy(vg.file("objects.json"), Path(vg.file("relationships.json")))
    with pytest.raises(SGDiffError, match="no image id or no relationships"): vg.prepare()


@pytest.mark.parametrize("data, told", [(b"version "
                                         b"https://git-lfs.github.com/spec/v1\n", "git-lfs"), (b"\x1f\x8b\x08\0", "gunzip"), (b"", "empty"), (b"<html>", "web page")])
def test_what_is_no_annotation_file_is_told_as_what_it_is(coco, vg, data, told):
    coco.file("stuff_val2017.json").write_bytes(data)
    with pytest.raises(SGDiffError, match=told): coco.prepare()
    vg.file("objects.json").write_bytes(data)
    with pytest.raises(SGDiffError, match=told): vg.prepare()


def test_masks_have_one_meaning_however_they_are_written():
    pairs = [SQUARE[k:k + 2] for k in range(0, 8, 2)]
    flat = decode_mask([SQUARE], 320, 450)
    assert flat.sum() == 300 * 300 and (decode_mask([pairs], 320, 450) == flat).all()
    runs = [1000, 500, 142_500]
    assert (
        decode_mask({"size": [320, 450], "counts": list(map(float, runs))}, 320, 450)
        == decode_mask({"size": [320, 450], "counts": runs}, 320, 450)
    ).all()
    for text in ([list(map(str, SQUARE))], [[list(map(str, pair)) for pair in pairs]]):
        with pytest.raises(ValueError, match="its coordinates are text"):
            decode_mask(text, 320, 450)
    with pytest.raises(ValueError, match="its runs are text"):
        decode_mask({"size": [320, 450], "counts": list(map(str, runs))}, 320, 450)


def test_a_name_that_is_a_number_is_shown(gqa):
    key, thing = next(
        (k, o) for k, image in gqa.data["sceneGraphs.json"].items() for o in image["objects"]
    )
    gqa.change("sceneGraphs.json", lambda d: d[key]["objects"][thing].update(name=7))
    assert "'name' is 7, expected words" in str(gqa.prepare()["broken"])
