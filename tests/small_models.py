"""Small models with random weights, for tests that look at everything but the pictures."""
import torch

from sgdiff.method.graph_encoder import SceneGraphEncoder, SceneGraphEncoderConfig
from sgdiff.method.pipeline import SGDiffPipeline
from sgdiff.method.unet import UNet, UNetConfig
from sgdiff.method.vae import VAE, VAEConfig
from sgdiff.pretrained.first_stages import FirstStage, FirstStageConfig


def small_pipeline(vocab):
    "A pipeline that draws nonsense, quickly."
    torch.manual_seed(0)
    encoder = SceneGraphEncoder(SceneGraphEncoderConfig(
        vocab.n_objects, vocab.n_predicates, dim=16, hidden_dim=16, n_layers=2, global_dim=16))
    unet = UNet(UNetConfig(
        model_channels=32, channel_mult=(1,), attention_levels=(0,), local_dim=48, global_dim=16,
        context_dim=32, zero_init=False))
    return SGDiffPipeline(encoder, unet, VAE(VAEConfig(channels=(16, 16))), vocab)


def official_parts(
    n_objects,  # words, `__image__` among them; the official table has one row more
    n_predicates,
):  # encoder, UNet, first stage, averaged UNet
    "Tiny modules in the official form."
    torch.manual_seed(0)
    config = UNetConfig.official(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_levels=(0, 1),
        local_dim=96, global_dim=32, context_dim=32, zero_init=False)
    encoder = SceneGraphEncoder(
        SceneGraphEncoderConfig.official(n_objects + 1, n_predicates, dim=32))
    stage = FirstStage(
        FirstStageConfig(channels=(32, 32), n_blocks=1, attention_levels=(1,), n_codes=32))
    return encoder, UNet(config), stage, UNet(config)
