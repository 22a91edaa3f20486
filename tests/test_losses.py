"""Guards of the two pre-training losses: precision, limits of the temperature, edges of the masks, what must not leak."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sgdiff.core import set_seed, step_generator
from sgdiff.errors import RangeError
from sgdiff.graphs.batch import SceneGraphBatch
from sgdiff.graphs.graph import SceneGraph
from sgdiff.method.contrastive import ContrastiveHead, ImageEncoder, ImageEncoderConfig, hard_negative
from sgdiff.method.masked import MaskedHead, MaskedHeadConfig, box_masks, choose_objects, masked_loss, object_mask
from sgdiff.toy.world import EASY, make_dataset, random_flip

VOCAB = EASY.vocab
WHOLE = ((0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0))  # boxes of a sky and a ground


@pytest.fixture(scope="module")
def data():
    return make_dataset(EASY, 40, seed=0, progress=False)


@pytest.fixture
def embeddings():
    set_seed(0)
    return torch.randn(6, 16), torch.randn(6, 16), torch.randn(6, 3, 16)


# --- the contrastive loss

def test_logits_and_loss_are_float32_whatever_is_given(embeddings):
    head, low = ContrastiveHead(start=100.0), [x.bfloat16() for x in embeddings]
    exact = [x.float() for x in low]
    with torch.autocast("cpu", torch.bfloat16):
        logits, (loss, _) = head.logits(*low[:2]), head(*low)
        rounded = 100 * F.normalize(exact[0], dim=-1) @ F.normalize(exact[1], dim=-1).T
    assert logits.dtype == loss.dtype == torch.float32
    assert logits.equal(head.logits(*exact[:2])) and loss.equal(head(*exact)[0])
    assert (rounded.float() - logits).abs().max() > 0.05  # what autocast would make of it


def test_a_temperature_beyond_its_limit_can_come_back(embeddings):
    hot = ContrastiveHead(start=1000.0)
    torch.testing.assert_close(hot.scale, torch.tensor(100.0))
    hot(*embeddings[:2])[0].backward()
    assert hot.logit_scale.grad > 0  # these pairs are random: it is called back


def test_gradients_reach_both_sides_the_wrong_graphs_and_the_temperature(embeddings):
    head, inputs = ContrastiveHead(start=5.0), [x.requires_grad_() for x in embeddings]
    head(*inputs)[0].backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs) and head.logit_scale.grad.abs() > 0


@pytest.mark.parametrize(("size", "patch"), [(64, 8), (32, 2), (16, 4)])
def test_the_image_encoder_has_other_sizes(size, patch):
    encoder = ImageEncoderConfig(size, patch, 32, 1, 24).build()
    tokens, whole = encoder(torch.zeros(3, 3, size, size))
    assert tokens.shape == (3, (size // patch) ** 2, 32) and whole.shape == (3, 24)


def test_the_image_encoder_refuses_patches_and_widths_that_do_not_fit():
    for wrong in ({"patch": 3}, {"width": 20}, {"patch": 2, "fine_blocks": 1},
                  {"width": 24, "fine_blocks": 1}):
        with pytest.raises(RangeError): ImageEncoderConfig(**wrong)


def test_grey_is_not_hidden_and_no_mask_is_a_mask_of_zeros():
    set_seed(0)
    encoder, images = ImageEncoder(ImageEncoderConfig()), torch.rand(2, 3, 32, 32)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    torch.testing.assert_close(encoder(images, mask)[1], encoder(images)[1])
    mask[:, :, 8:12, 8:20] = True
    assert not torch.allclose(encoder(images * ~mask)[1], encoder(images, mask)[1])


def test_where_nothing_can_be_flipped_an_object_is_changed():
    alone = SceneGraph(("sheep",))
    rng = np.random.default_rng(0)
    assert hard_negative(alone, rng, VOCAB.objects[1:], random_flip, object_share=0.0).objects != alone.objects


# --- the masked loss

def test_a_box_hides_the_pixels_whose_centres_it_covers():
    corners = np.sort(np.random.default_rng(0).uniform(-0.2, 1.2, (20, 2, 2)), axis=1).reshape(20, 4)
    centres = np.arange(32) + 0.5
    for grow in (0, 1.5, 5):
        masks = box_masks(torch.tensor(corners, dtype=torch.float32), 32, grow)
        for mask, (x0, y0, x1, y1) in zip(masks, 32 * corners, strict=True):
            columns, rows = ((a - grow <= centres) & (centres < b + grow) for a, b in ((x0, x1), (y0, y1)))
            assert np.array_equal(mask, rows[:, None] & columns)
    assert not box_masks(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), 32, grow=0).any()  # an empty box
    assert box_masks(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 32).all()
    assert box_masks(torch.zeros(0, 4), 32).shape == (0, 32, 32)


def test_choices_are_of_things_at_least_one_each_and_repeatable(data):
    batch = SceneGraphBatch.from_graphs(data.graphs, VOCAB)
    words = [VOCAB.objects[i] for i in batch.objects]
    small = ((batch.boxes[:, 2:] - batch.boxes[:, :2]).prod(1) <= 0.35).tolist()

    def per_image(chosen): return torch.bincount(batch.obj_to_img[chosen], minlength=len(data))

    for k in range(20):
        few, many = (choose_objects(batch, step_generator(1, k), p) for p in (0.0, 1.0))
        assert (per_image(few) == 1).all() and (per_image(choose_objects(batch, step_generator(1, k))) >= 1).all()
        assert many.tolist() == [word in EASY.things and fits for word, fits in zip(words, small, strict=True)]
    assert choose_objects(batch, step_generator(1, 3)).equal(choose_objects(batch, step_generator(1, 3)))
    bare = SceneGraphBatch.from_graphs([SceneGraph(("sky", "grass"), (), WHOLE)], VOCAB)
    assert not choose_objects(bare, step_generator(0, 0), p=1.0).any()  # nothing that may be hidden


def test_what_is_hidden_has_no_way_in(data):
    set_seed(0)
    encoder, head = ImageEncoder(ImageEncoderConfig()), MaskedHead(MaskedHeadConfig(local_dim=24))
    images, batch = data.batch(range(8))
    hidden = object_mask(batch, 32, choose_objects(batch, step_generator(0, 0)))
    local, mask = torch.randn(8, 3, 24), torch.ones(8, 3, dtype=torch.bool)
    other = torch.where(hidden, torch.randn_like(images), images)
    torch.testing.assert_close(head(encoder(other, hidden)[0], local, mask), head(encoder(images, hidden)[0], local, mask))


def test_the_masked_head_has_other_sizes_and_ignores_padding():
    set_seed(0)
    head = MaskedHead(MaskedHeadConfig(32, 24, 2, 3, n_blocks=2))
    tokens, local = torch.randn(2, 9, 32), torch.randn(2, 5, 24)
    mask = torch.arange(5).expand(2, 5) < 3
    drawn = head(tokens, local, mask)
    assert drawn.shape == (2, 3, 6, 6)
    torch.testing.assert_close(head(tokens[1:], local[1:, :3], mask[1:, :3]), drawn[1:])
    torch.testing.assert_close(head(tokens, local, torch.zeros_like(mask)), head(tokens, local[:, :0], mask[:, :0]))


def test_errors_that_are_seen_cost_nothing(data):
    images, batch = data.batch(range(8))
    hidden = object_mask(batch, 32, choose_objects(batch, step_generator(0, 0)))
    assert masked_loss(torch.where(hidden, images, torch.full_like(images, 9.0)), images, hidden) == 0
    assert masked_loss(images + 1, images, hidden) == 1 and masked_loss(images + 1, images, hidden & False) == 0
