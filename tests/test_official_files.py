"""The official checkpoints: names and shapes at true size, numbers at tiny size, and what goes
wrong with files.

Layout and recorded tensors lie in tests/fixtures. Real samples are no part of the repository: tests
that need them skip where they are absent.
"""
import hashlib
import json
import os
import pickle
import re

import pytest
import torch
from official_tensors import golden, layout, sample
from small_models import official_parts
from safetensors.torch import save_file

pytest.importorskip(
    "diffusers", reason="the official first stage needs diffusers: pip install 'sgdiff[hub]'"
)

from sgdiff.pretrained import official  # noqa: E402
from sgdiff.pretrained.official_weights import (  # noqa: E402
    load_encoder, load_ldm, load_vq, official_ddim, official_layout)
from sgdiff.pretrained.checkpoints import read_checkpoint  # noqa: E402
from sgdiff.errors import SGDiffError  # noqa: E402
from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig, from_diffusers  # noqa: E402
from sgdiff.method.graph_encoder import GraphEmbedding, SceneGraphEncoder, SceneGraphEncoderConfig  # noqa: E402
from sgdiff.method.pipeline import SGDiffPipeline  # noqa: E402
from sgdiff.graphs.batch import SceneGraphBatch  # noqa: E402
from sgdiff.graphs.faults import GraphError  # noqa: E402
from sgdiff.graphs.forms import read_graphs  # noqa: E402
from sgdiff.graphs.graph import SceneGraph, check_graph  # noqa: E402
from sgdiff.graphs.vocab import UnknownWordError, Vocab, read_vocab  # noqa: E402
from sgdiff.method.unet import UNet, UNetConfig  # noqa: E402

WORDS = ("__image__", "sheep", "tree", "grass", "sky", "zebra")
RELATIONS = ("__in_image__", "left of", "above", "standing on")
SCENE = {
    "objects": ["sky", "grass", "zebra"],
    "relationships": [[0, "above", 1], [2, "standing on", 1]],
}


def assert_layout(state, listed):
    "Every listed name is in the state as often as listed, with the listed shapes, and no other is."
    ours = {}
    for name, tensor in state.items():
        ours.setdefault(re.sub(r"(?<=[._])\d+(?=\.|$)", "*", name), []).append(
            str(tuple(tensor.shape))
        )
    assert {p: len(shapes) for p, shapes in ours.items()} == {p: n for p, (n, _) in listed.items()}
    for pattern, (_, shapes) in listed.items():
        expected = set(shapes.removesuffix(" ...").split(" | "))
        assert expected <= set(ours[pattern]) and (
            shapes.endswith("...") or expected == set(ours[pattern])
        ), pattern


def close(ours, theirs, tolerance=1e-4):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=1e-4)


def same(module, other):
    a, b = module.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


# --- true size: names and shapes, no numbers

def test_names_of_the_first_stage():
    with torch.device("meta"):
        state = from_diffusers(FirstStage(FirstStageConfig()).network.state_dict(), 4)
    assert_layout(state, layout("keys_vq_f8.txt"))


def test_names_of_the_pretraining():
    with torch.device("meta"):
        encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official())
    sip = dict(encoder.state_dict()) | {"logit_scale": torch.zeros(())}
    assert_layout(sip, layout("keys_cgip_vg.txt"))


def test_names_of_the_clip_inside():
    open_clip = pytest.importorskip(
        "open_clip", reason="CLIP needs open_clip: pip install 'sgdiff[clip]'"
    )
    listed = layout("keys_sgclip_vg.txt")
    clip = {
        f"clip_model.{k}": v
        for k, v in open_clip.create_model("ViT-B-32-quickgelu", pretrained=None, device="meta")
        .state_dict()
        .items()
    }
    assert_layout(clip, {p: v for p, v in listed.items() if p.startswith("clip_model.")})
    assert {p: v for p, v in listed.items() if not p.startswith("clip_model.")} == layout(
        "keys_cgip_vg.txt"
    )


def test_sizes_are_read_off_the_true_shapes():
    from sgdiff.pretrained.checkpoints import encoder_config, first_stage_config, unet_config
    with torch.device("meta"):
        unet = UNet(UNetConfig.official())
        encoder = SceneGraphEncoder(SceneGraphEncoderConfig.official())
        stage = FirstStage()
    assert unet_config(unet.state_dict()) == UNetConfig.official()
    assert encoder_config(encoder.state_dict()) == SceneGraphEncoderConfig.official()
    assert first_stage_config(from_diffusers(stage.network.state_dict(), 4)) == FirstStageConfig()


# --- tiny size: numbers, by way of files

@torch.no_grad()
def test_first_stage(tmp_path):
    weights, t = golden("vq")
    torch.save({"state_dict": weights | {"loss.logvar": torch.zeros(())}}, tmp_path / "model.ckpt")
    stage = load_vq(tmp_path / "model.ckpt")
    close(stage.encode(t["in/image"]), t["out/latents"])
    close(stage.to_latents(t["in/image"]), t["out/latents"])  # scale factor 1
    codes, indices = stage.quantize(t["out/latents"])
    close(codes, t["out/z_q"])
    assert torch.equal(indices.flatten(), t["out/indices"])
    close(stage.decode(t["out/latents"]), t["out/decoded"])
    close(stage.decode(t["out/latents"], quantize=False), t["out/decoded_no_quantize"])
    close(stage.from_latents(t["in/other_latents"]), t["out/decoded_from_in_latents"].clamp(-1, 1))


@torch.no_grad()
def test_encoder(tmp_path):
    weights, t = golden("encoder")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}},
        tmp_path / "sip.pt",
    )
    embedding = load_encoder(tmp_path / "sip.pt")(
        SceneGraphBatch(
            t["in/objs"],
            t["in/triples"],
            t["in/obj_to_img"],
            t["in/triple_to_img"],
            int(t["in/batch_size"]),
        )
    )
    close(embedding.local, t["out/c_local"])
    close(embedding.global_, t["out/c_global"])


@pytest.fixture
def recorded_walk(tmp_path):
    "(denoise, tensors): the recorded UNet, loaded from a file, under the recorded context."
    weights, _ = golden("unet_r1")
    _, t = golden("ddim")
    torch.save(
        {"state_dict": {f"model.diffusion_model.{k}": v for k, v in weights.items()}},
        tmp_path / "last.ckpt",
    )
    unet = load_ldm(tmp_path / "last.ckpt", ema=False).unet
    local = t["in/c_local"]
    context, mask = unet.make_context(
        GraphEmbedding(
            local, torch.zeros(local.shape[:2], dtype=torch.bool), t["in/c_global"][:, 0]
        )
    )
    return lambda x, at: unet(x, at, context, mask), t


@torch.no_grad()
@pytest.mark.parametrize("eta", [0, 1])
def test_the_walk_from_noise_to_latents(recorded_walk, eta):
    denoise, t = recorded_walk
    path, asked, answers = [t["in/x_T"]], [], []

    def watched(x, at):
        asked.append(at[0].item())
        answers.append(denoise(x, at))
        return answers[-1]

    official_ddim(
        watched,
        t["in/x_T"],
        10,
        eta,
        noise=t["in/eta1_noise"],
        callback=lambda i, x: path.append(x),
    )
    assert asked == t["out/timesteps_in_call_order"].tolist()
    close(torch.stack(answers), t[f"mid/eta{eta}_eps"])
    close(torch.stack(path), t[f"out/eta{eta}_x"], 1e-3)  # a random network makes x grow to 200


@torch.no_grad()
def test_single_steps_of_the_walk(recorded_walk):
    "Each recorded step alone: the walk entered at that timestep by way of its own pieces."
    from sgdiff.method.diffusion import NoiseSchedule, predict_x0
    from sgdiff.method.samplers import ddim_step, sampling_timesteps
    denoise, t = recorded_walk
    schedule = NoiseSchedule.sqrt_linear()
    rising = sampling_timesteps(schedule, 10, "official")[::-1]
    for i, (s, at) in enumerate(zip(rising, rising[1:])):
        x = t["in/step_x"][i]
        rows = torch.full((len(x),), at)
        eps = denoise(x, rows)
        x0 = predict_x0(schedule, x, rows, eps, "eps")
        close(x0, t["out/step_pred_x0"][i], 1e-3)
        close(ddim_step(schedule, x0, eps, at, s), t["out/step_x_prev"][i])


# --- files that are not as they should be

@pytest.fixture(scope="module")
def parts():
    "Random tiny modules in the official form: encoder, UNet, first stage, averaged UNet."
    return tuple(m.eval() for m in official_parts(len(WORDS), len(RELATIONS)))


@pytest.fixture
def files(parts, tmp_path):
    """write(**state dicts to change) -> the paths of the three files and the vocabulary, in the
    official layout."""
    states = official_layout(*parts)
    paths = {name: tmp_path / f"{name}.ckpt" for name in states}

    def write(**changes):
        for name, state in (states | changes).items():
            torch.save({"state_dict": state, "epoch": 335}, paths[name])
        return paths | {
            "vocab": {"object_idx_to_name": list(WORDS), "pred_idx_to_name": list(RELATIONS)}
        }

    write.states = states
    return write


def without(state, *prefixes):
    return {k: v for k, v in state.items() if not k.startswith(prefixes)}


def test_round_trip_with_and_without_the_average(files, parts):
    paths = files()
    encoder, unet, stage, averaged = parts
    assert (
        same(load_encoder(paths["sip"]), encoder)
        and same(load_vq(paths["vq"]), stage)
    )
    assert same(load_ldm(paths["ldm"]).unet, averaged)
    last = load_ldm(paths["ldm"], ema=False)
    assert same(last.unet, unet) and same(last.encoder, encoder) and same(last.first_stage, stage)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module."])
def test_prefixes_of_wrappers(files, parts, prefix):
    states = {
        name: {prefix + k: v for k, v in state.items()} for name, state in files.states.items()
    }
    paths = files(**states)
    assert (
        same(load_encoder(paths["sip"]), parts[0])
        and same(load_ldm(paths["ldm"]).unet, parts[3])
    )
    inner = {
        k.replace("cond_stage_model.", f"cond_stage_model.{prefix}"): v
        for k, v in files.states["ldm"].items()
    }
    assert same(load_ldm(files(ldm=inner)["ldm"]).encoder, parts[0])


def test_safetensors_and_half_precision(files, parts, tmp_path):
    save_file(
        {k: v.half().contiguous() for k, v in files.states["sip"].items()},
        tmp_path / "sip.safetensors",
    )
    encoder = load_encoder(tmp_path / "sip.safetensors")
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in encoder.parameters())
    torch.testing.assert_close(
        encoder.graph_projection.weight, parts[0].graph_projection.weight, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("name, load, change, told", [
    ("sip", load_encoder, lambda s: without(s, "graph_net.gconvs.4."), r"8 missing: "
                                                                                r"graph_net\.gconvs\.4\.net1\.\*\.weight \(x2\)"),
    ("sip", load_encoder, lambda s: without(s, "obj_embeddings"), r"no obj_embeddings\.weight"),
    ("sip", load_encoder, lambda s: s | {"text.weight": torch.ones(1)}, r"1 tensors left "
                                                                                 r"over: text\.weight"),
    ("sip", load_encoder, lambda s: s | {"graph_projection.bias": torch.ones(7)}, r"graph_projection\.bias \(7,\) for \(32,\)"),
    ("vq", load_vq, lambda s: without(s, "decoder.up.1.upsample"), r"2 missing: "
                                                                            r"decoder\.up\.1\.upsample\.conv\.weight"),
    ("vq", load_vq, lambda s: s | {"decoder.up.7.extra": torch.ones(1)}, r"1 left over: "
                                                                                  r"decoder\.up\.7\.extra"),
    ("ldm", load_ldm, lambda s: without(s, "model_ema."), r"no moving average.*ema=False"),
    ("ldm", load_ldm, lambda s: without(s, "model_ema.diffusion_modelout0", "model_ema.diffusion_modelout2"), r"lacks 4 of .*out\.0\.weight"),
    ("ldm", load_ldm, lambda s: s | {"model_ema.diffusion_modelmore": torch.ones(1)}, r"left over: diffusion_modelmore"),
    ("ldm", load_ldm, lambda s: without(s, "model.diffusion_model.middle_block.1."), r"missing: middle_block\.1\."),
    ("ldm", load_ldm, lambda s: s | {"betas": torch.linspace(1e-4, 0.02, 1000)}, r"another noise schedule"),
    ("ldm", load_ldm, lambda s: s | {"global_step": torch.ones(1)}, r"left over: global_step"),
])
def test_what_is_missing_or_left_over_is_listed(files, name, load, change, told):
    path = files(**{name: change(files.states[name])})[name]
    with pytest.raises(SGDiffError, match=told):
        load(path)


class Trap:
    "An object that is made again by writing a file."
    def __init__(self, call): self.call = call
    def __reduce__(self): return self.call


@pytest.mark.parametrize("call", [
    (os.system, ("touch trapped",)), (eval, ("open('trapped', 'w')",)), (exec, ("open('trapped', 'w')",)), (open, ("trapped", "w"))], ids=lambda c: c[0].__name__)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_in_a_pickle_runs(files, tmp_path, monkeypatch, call, protocol, old_format):
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"state_dict": files.states["sip"], "surprise": Trap(call)},
        tmp_path / "evil.pt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not old_format,
    )
    try:
        read = read_checkpoint(tmp_path / "evil.pt")
        # replaced by an inert shell, and named
        assert any(call[0].__name__ in name for name in read.inert)
    except SGDiffError as error:
        assert "nothing of it was run" in str(error) and "torch.save(" in str(error)
    assert not (tmp_path / "trapped").exists()
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(call)))
    with pytest.raises(SGDiffError):
        read_checkpoint(tmp_path / "plain.pkl")
    assert not (tmp_path / "trapped").exists()


def test_a_shell_instead_of_the_tensor_is_an_error(files, tmp_path):
    torch.save(
        {"state_dict": files.states["sip"] | {"logit_scale": Trap((eval, ("1",)))}},
        tmp_path / "sip.pt",
    )
    with pytest.raises(SGDiffError, match="holds no weights"):
        read_checkpoint(tmp_path / "sip.pt")


def test_old_format_without_zip(files, parts, tmp_path):
    torch.save(files.states["sip"], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(load_encoder(tmp_path / "old.pt"), parts[0])


def test_broken_files(files, tmp_path):
    path = files()["sip"]
    path.write_bytes(path.read_bytes()[:-500])
    for broken in (path, tmp_path / "nothing.pt"):
        with pytest.raises(SGDiffError, match="cut short|no checkpoint at"):
            load_encoder(broken)


# --- the pipeline

@pytest.fixture
def pipe(files):
    return official.pipeline_from_official(**files(), image_size=16)


def test_from_sg2im_json_to_pictures(pipe, parts):
    out = pipe([SCENE, "sheep left of tree"], num_inference_steps=2, num_images_per_graph=2, seed=0)
    assert (
        [i.size for i in out.images] == [(16, 16)] * 4
        and out.pixels.shape == (4, 3, 16, 16)
        and out.latents.shape == (4, 4, 8, 8)
    )
    assert out.graphs[0].objects == ("sky", "grass", "zebra") and out.pixels.abs().max() <= 1
    alone = pipe(SCENE, num_inference_steps=2, seed=1)
    torch.testing.assert_close(alone.latents[0], out.latents[1], atol=1e-4, rtol=1e-3)
    assert same(pipe.unet, parts[3]) and not torch.equal(out.latents[0], out.latents[2])


def test_image_node_and_edges_come_last(pipe):
    "The context of sg2im's JSON is that of the rows which the official loader would make."
    context, mask = pipe.context([official.official_graph(SCENE, pipe.vocab)])
    objects = torch.tensor([WORDS.index(w) for w in SCENE["objects"]] + [0])
    triples = torch.tensor([[0, 2, 1], [2, 3, 1], [0, 0, 3], [1, 0, 3], [2, 0, 3]])
    with torch.no_grad():
        embedding = pipe.graph_encoder(
            SceneGraphBatch(
                objects,
                triples,
                torch.zeros(4, dtype=torch.long),
                torch.zeros(5, dtype=torch.long),
                1,
            )
        )
        expected, _ = pipe.unet.make_context(embedding)
    torch.testing.assert_close(context, expected)
    assert context.shape == (1, 16, 32) and mask.all() and (embedding.local[0, 5:] == 0).all()


def test_eta(pipe):
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    draw = lambda eta, seed: (
        pipe(
            SCENE, num_inference_steps=4, eta=eta, latents=start,
            generator=torch.Generator().manual_seed(seed),
        ).latents
    )
    assert (
        torch.equal(draw(0, 1), draw(0, 2))
        and torch.equal(draw(1, 1), draw(1, 1))
        and not torch.allclose(draw(1, 1), draw(1, 2))
    )


def test_an_edit_keeps_the_noise_along_the_way(pipe):
    "DDIM at eta 1 adds noise at every step: before and after get the same."
    for source in ({"seed": 3}, {"generator": torch.Generator().manual_seed(3)}, {}):
        same = pipe.edit(SCENE, "replace sky by sky", num_inference_steps=4, **source)
        assert torch.equal(same.before.latents, same.after.latents)


def test_relations_may_count_more_than_objects(pipe):
    "told + r (told - objects alone): guidance that needs no null token."
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    draw = lambda **settings: (
        pipe(SCENE, num_inference_steps=4, eta=0.0, latents=start, **settings).latents
    )
    graph = official.official_graph(SCENE, pipe.vocab)
    (told, _), (alone, _) = pipe.context([graph]), pipe.context([SceneGraph(graph.objects, ())])

    def by_hand(x, t):
        answer = pipe.unet(x, t, told)
        return answer + 2 * (answer - pipe.unet(x, t, alone))

    with torch.no_grad():
        torch.testing.assert_close(
            draw(relation_scale=2.0),
            official_ddim(by_hand, start, 4, 0.0),
            atol=1e-4,
            rtol=1e-4,
        )
    assert (
        torch.equal(draw(), draw(relation_scale=0.0))
        and not torch.allclose(draw(), draw(relation_scale=2.0), atol=1e-3)
    )


def test_padding_hidden_and_not(files):
    official_form = official.pipeline_from_official(**files(), image_size=16)
    honest = official.pipeline_from_official(**files(), image_size=16, mask_padding=True)
    graph = official.official_graph(SCENE, honest.vocab)
    context, mask = honest.context([graph])
    assert mask[0].tolist() == [True] * 5 + [False] * 10 + [True]
    with torch.no_grad():
        x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        t = torch.tensor([500])
        # no padding there at all
        short = honest.unet(x, t, torch.cat([context[:, :5], context[:, -1:]], 1), None)
        torch.testing.assert_close(honest.unet(x, t, context, mask), short, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(
            official_form.unet(x, t, *official_form.context([graph])), short, atol=1e-4
        )


def test_settings_that_these_weights_cannot_have(pipe):
    with pytest.raises(ValueError, match="guidance_scale is 3.0.*without a graph"):
        pipe(SCENE, guidance_scale=3.0)
    with pytest.raises(ValueError, match="divide 1000"):
        pipe(SCENE, num_inference_steps=30)
    with pytest.raises(ValueError, match="euler"):
        pipe(SCENE, sampler="euler")
    with pytest.raises(UnknownWordError, match="unicorn"):
        pipe("unicorn")
    with pytest.raises(GraphError, match="empty"):
        pipe({"objects": [], "relationships": []})


def test_more_triples_than_tokens_give_a_warning(pipe):
    crowd = SceneGraph(("sheep",) * 9, tuple((i, "left of", i + 1) for i in range(8)))
    with pytest.warns(
        UserWarning, match="17 triples.*first 15.*sheep in image, sheep in image only count"
    ):
        pipe(crowd, num_inference_steps=1)


def test_relations_given_twice_count_twice(pipe):
    once = {"objects": ["sheep", "tree"], "relationships": [[0, "left of", 1]]}
    twice = {"objects": ["sheep", "tree"], "relationships": [[0, "left of", 1]] * 2}
    contexts = [pipe.context([official.official_graph(g, pipe.vocab)])[0] for g in (once, twice)]
    assert not torch.allclose(*contexts)


def test_parts_that_do_not_belong_together(files, parts):
    paths = files()
    with pytest.raises(
        SGDiffError, match="6 objects and 2 predicates, the encoder's tables 7 and 4"
    ):
        official.pipeline_from_official(**paths | {"vocab": Vocab(WORDS, RELATIONS[:2])})
    with pytest.raises(SGDiffError, match="ldm is missing"):
        official.pipeline_from_official(vocab=paths["vocab"])
    bare = without(files.states["ldm"], "cond_stage_model.", "first_stage_model.")
    with pytest.raises(SGDiffError, match="holds no sip"):
        official.pipeline_from_official(**files(ldm=bare) | {"sip": None})
    other = SceneGraphEncoder(
        SceneGraphEncoderConfig.official(len(WORDS) + 1, len(RELATIONS), dim=32)
    )
    with pytest.warns(UserWarning, match="sip file differs"):
        used = official.pipeline_from_official(**files(sip=dict(other.state_dict())))
    assert same(used.graph_encoder, other)
    wider = SceneGraphEncoder(
        SceneGraphEncoderConfig.official(len(WORDS) + 1, len(RELATIONS), dim=64)
    )
    with (
        pytest.raises(SGDiffError, match="tokens are 192 wide .*reads 96.*embedding is 64 wide .*reads 32"),
        pytest.warns(UserWarning, match="differs"),
    ):
        official.pipeline_from_official(**files(sip=dict(wider.state_dict())))


def test_a_first_stage_whose_codes_are_narrower_than_its_latents(files, tmp_path):
    stage = FirstStage(
        FirstStageConfig(channels=(32, 32), n_blocks=1, attention_levels=(), n_codes=32, code_dim=3)
    ).eval()
    with torch.no_grad():
        assert (
            stage.to_latents(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 8, 8)
            and stage.from_latents(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 16, 16)
        )
    narrow = from_diffusers(stage.network.state_dict(), 2)
    assert same(load_vq(files(vq=narrow)["vq"]), stage)
    bare = without(files.states["ldm"], "first_stage_model.")
    with pytest.raises(SGDiffError, match="latents are 3 wide .channels., the UNet reads 4"):
        official.pipeline_from_official(**files(vq=narrow, ldm=bare))


def test_scale_factor_of_the_file_is_used(files):
    pipe = official.pipeline_from_official(
        **files(ldm=files.states["ldm"] | {"scale_factor": torch.tensor(0.5)}), image_size=16
    )
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(pipe.vae.to_latents(x), 0.5 * pipe.vae.encode(x))


def test_saved_without_pickles(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "converted")
    again = official.OfficialPipeline.from_pretrained(tmp_path / "converted")
    a, b = (p(SCENE, num_inference_steps=2, seed=0).pixels for p in (pipe, again))
    assert (
        torch.equal(a, b)
        and {p.suffix for p in (tmp_path / "converted").rglob("*.*")} == {".json", ".safetensors"}
    )
    with pytest.raises(SGDiffError, match="OfficialPipeline"):
        SGDiffPipeline.from_pretrained(tmp_path / "converted")


def test_a_converted_folder_knows_its_files_and_where_they_are_from(files, tmp_path):
    paths = files()
    pipe = official.pipeline_from_official(**paths, image_size=16)
    pipe.save_pretrained(tmp_path / "converted")
    told = json.loads((tmp_path / "converted" / "sources.json").read_text())
    assert told == {
        name: {
            "file": f"{name}.ckpt",
            "sha256": hashlib.sha256(paths[name].read_bytes()).hexdigest(),
        }
        for name in ("sip", "ldm", "vq")
    }
    assert read_checkpoint(paths["sip"]).sha256 == told["sip"]["sha256"]
    file = tmp_path / "converted" / "unet" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        SGDiffError, match="unet/model.safetensors is not the file that was written"
    ):
        official.OfficialPipeline.from_pretrained(tmp_path / "converted")


@pytest.mark.parametrize("settings, told", [({"image_size": 33}, "image_size is 33, expected a "
                                                                 "multiple of 4"), ({"image_size": 0}, "image_size"), ({"image_size": 10**9}, "image_size"),
                                            ({"image_size": "16"}, "image_size"), ({"max_triples": 0}, "max_triples"), ({"max_triples": -1}, "max_triples")])
def test_sizes_that_cannot_be_had_are_told_when_the_weights_are_opened(files, settings, told):
    with pytest.raises(SGDiffError, match=told):
        official.pipeline_from_official(**files(), **{"image_size": 16} | settings)


@pytest.mark.parametrize("name, said", [
    ("model_index.json", []), ("model_index.json", {"_class_name": "OfficialPipeline"}), ("model_index.json", {"_class_name": "OfficialPipeline", "image_size": None}),
    ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler", "beta_start": 0.0015}), ("scheduler/scheduler_config.json", {"schedule": "linear"}),
    ("scheduler/scheduler_config.json", [1, 2]), ("vocab.json", {"a": 1})])
def test_files_of_another_pipeline_are_told(pipe, tmp_path, name, said):
    pipe.save_pretrained(tmp_path)
    (tmp_path / name).write_text(json.dumps(said))
    with pytest.raises(SGDiffError, match=name):
        official.OfficialPipeline.from_pretrained(tmp_path)


def test_what_nobody_loads_has_its_known_names_too(files):
    """CLIP beside the encoder, and the networks of the first stage's loss: set aside, but not
    whatever they hold."""
    patterns = [p for p in layout("keys_sgclip_vg.txt") if p.startswith("clip_model.")]
    clip = {re.sub(r"(?<=ln_)\*", "1", p).replace("*", "0"): torch.zeros(1) for p in patterns}
    loss = {
        "loss.discriminator.main.0.weight": torch.zeros(1),
        "loss.perceptual_loss.lin0.model.1.weight": torch.zeros(1),
        "loss.logvar": torch.zeros(()),
    }
    paths = files(sip=files.states["sip"] | clip, vq=files.states["vq"] | loss)
    load_encoder(paths["sip"]), load_vq(paths["vq"])
    paths = files(
        sip=files.states["sip"] | clip | {"clip_model.adapter.weight": torch.zeros(1)},
        vq=files.states["vq"] | {"loss.decoder.weight": torch.zeros(1)},
    )
    with pytest.raises(SGDiffError, match="1 tensors left over: clip_model.adapter.weight"):
        load_encoder(paths["sip"])
    with pytest.raises(SGDiffError, match="1 tensors left over: loss.decoder.weight"):
        load_vq(paths["vq"])


def test_vocabulary_of_coco():
    annotations = sorted(sample("coco/annotations").glob("*.json"))
    vocab = official.coco_vocab(*annotations)
    assert vocab.predicates[1:] == (
        "left of", "right of", "above", "below", "inside", "surrounding",
    )
    assert (
        vocab.object_id("person") == 1
        and vocab.objects[12] == "__none_12__"
        and vocab.n_predicates == 7
    )
    # the official table has 185 rows, one more than there are
    assert vocab.n_objects == 184 and vocab.object_id("other") == 183


def test_one_rule_for_vocabularies(tmp_path):
    "The file of a preparation means the same here as where it is trained on."
    objects, predicates = {"__image__": 0, "person": 1, "car": 3}, {"__in_image__": 0, "left of": 1}
    content = {
        "object_name_to_idx": objects,
        "object_idx_to_name": ["__image__", "person", "NONE", "car"],
        "pred_name_to_idx": predicates,
        "pred_idx_to_name": list(predicates),
    }
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "vocab.json").write_text(json.dumps(content), encoding=encoding)
        assert read_vocab(tmp_path / "vocab.json") == read_vocab(content)
    assert read_vocab(tmp_path / "vocab.json").objects == (
        "__image__", "person", "__none_2__", "car",
    )
    lists = {name: words for name, words in content.items() if name.endswith("to_name")}
    assert read_vocab(lists) == read_vocab(content)


@pytest.mark.parametrize("objects", [{"person": 0}, {"__image__": 0, "person": 10**12}, {"__image__": 0, "person": -1}, {"__image__": 0, "person": "1"}, {"__image__": 0, "person": 1.0},
                                     {"__image__": 0, "person": 0}, {}, ["__image__"], None])
def test_vocabularies_that_are_none(tmp_path, objects):
    (tmp_path / "vocab.json").write_text(
        json.dumps({"object_name_to_idx": objects, "pred_name_to_idx": {"__in_image__": 0}})
    )
    with pytest.raises(SGDiffError, match="vocab.json is no vocabulary"):
        read_vocab(tmp_path / "vocab.json")


@pytest.mark.parametrize("categories, told", [
    ([{"id": 0, "name": "person"}], "number them from 1"), ([{"id": 10**12, "name": "person"}], "has the id"), ([{"id": "1", "name": "person"}], "has the id"),
    ([{"id": 1, "name": "person"}, {"id": 2, "name": "person"}], "has the ids 1 and 2"), ([{"id": 1, "name": "person"}, {"id": 1, "name": "car"}], "have one number, 1"),
    ([{"id": 1}], "'name' is missing"), ([5], "COCO's annotations"), ("person", "COCO's annotations"), ([], "no categories")])
def test_categories_that_cannot_be_those_of_the_weights(tmp_path, categories, told):
    (tmp_path / "stuff.json").write_text(json.dumps({"categories": categories}))
    with pytest.raises(SGDiffError, match=told):
        official.coco_vocab(tmp_path / "stuff.json")


# --- graphs as they were published

def words_of(graphs):
    "A vocabulary that has every word of these graphs."
    objects, predicates = (
        list(dict.fromkeys(words))
        for words in (
            [w for g in graphs for w in g.objects],
            [p for g in graphs for _, p, _ in g.triples],
        )
    )
    return Vocab(("__image__", *objects), ("__in_image__", *predicates))


def drawn(graphs, parts, files):
    """The graphs by way of the three files, with random weights: as many embeddings as there are
    words."""
    vocab = words_of(graphs)
    torch.manual_seed(0)
    encoder = SceneGraphEncoder(
        SceneGraphEncoderConfig.official(vocab.n_objects + 1, vocab.n_predicates, dim=32)
    ).eval()
    paths = files(
        sip=encoder.state_dict(), ldm=official_layout(encoder, *parts[1:])["ldm"]
    )
    pipe = official.pipeline_from_official(**paths | {"vocab": vocab}, image_size=32)
    return pipe, pipe(graphs, num_inference_steps=1, seed=0)


@pytest.mark.filterwarnings("ignore:.*become tokens")
@pytest.mark.parametrize("name", ["figure_5_vg", "figure_5_coco", "figure_6_sheep", "figure_6_street"])
def test_every_published_graph_is_drawn(name, parts, files):
    graphs = read_graphs(sample(f"scene_graphs/{name}.json"))
    _, out = drawn(graphs, parts, files)
    assert (
        len(out.images) == len(graphs)
        and out.pixels.isfinite().all()
        and [g.triples for g in out.graphs] == [g.triples for g in graphs]
    )
    assert (name == "figure_5_vg") == any(s == o for g in graphs for s, _, o in g.triples)


STREET = {"objects": ["building", "bus", "bus", "sign"],
          "relationships": [[0, "next to", 0], [0, "next to", 0], [1, "behind", 2], [2, "has", 3]]}


def test_an_object_related_to_itself_is_drawn_by_the_official_path_and_by_no_other(parts, files):
    graph = SceneGraph.from_json(STREET)
    pipe, out = drawn([graph], parts, files)
    assert out.graphs[0].triples == graph.triples
    from_text = official.official_graph(
        "building next to building; bus behind bus#2; bus#2 has sign", pipe.vocab
    )
    assert from_text.triples == (graph.triples[0], *graph.triples[2:])
    other = pipe([SceneGraph(graph.objects, graph.triples[2:])], num_inference_steps=1, seed=0)
    assert not out.pixels.equal(other.pixels)
    assert out.figure() is not None and "building next to building" in out.graphs[0].to_text()
    with pytest.raises(GraphError, match="ties an object to itself"):
        check_graph(graph, pipe.vocab)
    local = pipe.graph_encoder(SceneGraphBatch.from_graphs([graph], pipe.vocab)).local[0]
    assert local[0, :32].equal(local[0, 64:]) and local[0].equal(local[1])


@pytest.mark.filterwarnings("ignore:.*become tokens")
def test_scene_graphs_of_sg2im_are_drawn_with_the_words_of_coco(parts, files):
    """The published example graphs, by way of the three files: random weights, and as many
    embeddings as COCO has words."""
    graphs = read_graphs(sample("scene_graphs/figure_5_coco.json"))
    vocab = official.coco_vocab(*sorted(sample("coco/annotations").glob("*.json")))
    torch.manual_seed(0)
    encoder = SceneGraphEncoder(
        SceneGraphEncoderConfig.official(vocab.n_objects + 1, vocab.n_predicates, dim=32)
    ).eval()
    pipe = official.pipeline_from_official(
        **files(sip=encoder.state_dict(), ldm=official_layout(encoder, *parts[1:])["ldm"])
        | {"vocab": vocab},
        image_size=32,
    )
    drawn = pipe(graphs, num_inference_steps=2, seed=0)
    assert len(drawn.images) == len(graphs) and drawn.pixels.isfinite().all()
    other = pipe({"objects": ["broccoli"], "relationships": []}, num_inference_steps=2, seed=0)
    assert not drawn.pixels[0].equal(other.pixels[0])  # from the same noise: the graph is read
    made = [official.official_graph(g, vocab) for g in graphs]
    assert (
        [g.triples for g in made] == [g.triples for g in graphs]
        and any(len(set(g.triples)) < len(g.triples) for g in made)
    )
