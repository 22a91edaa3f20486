"""FID and Inception Score by Inception itself: the true network with random weights, found where
the true ones are kept, against the formulas."""
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

pytest.importorskip("torchmetrics", reason="FID needs torchmetrics: pip install 'sgdiff[eval]'")
network = pytest.importorskip(
    "torch_fidelity.feature_extractor_inceptionv3",
    reason="Inception needs torch-fidelity: pip install 'sgdiff[eval]'",
)

from sgdiff.toy.compliance import fid, inception_score  # noqa: E402


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    "The network, whose weights torch's hub finds on the disk: nothing is downloaded."
    home = tmp_path_factory.mktemp("torch")
    path = home / "hub" / "checkpoints" / Path(urlsplit(network.URL_INCEPTION_V3).path).name
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "load_state_dict_from_url", lambda url, progress: {})
        patch.setattr(
            network.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None
        )
        torch.save(network.FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield network.FeatureExtractorInceptionV3("random", ["2048", "logits_unbiased"])


def seen(inception, pictures):
    "Features (N, 2048) and logits (N, 1008) of pictures as bytes, in float64."
    return [x.double() for x in inception((127.5 * (pictures + 1)).round().byte())]


def test_fid_is_the_frechet_distance_of_inceptions_features(inception):
    a, b = torch.rand(6, 3, 64, 64) * 2 - 1, torch.rand(5, 3, 64, 64) - 1
    found = fid(a, b, batch_size=4)
    (x, _), (y, _) = seen(inception, a), seen(inception, b)
    # covariances are A'A and B'B, and tr sqrt(A'A B'B) the singular values of AB'
    A, B = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    expected = (
        (x.mean(0) - y.mean(0)).square().sum()
        + A.square().sum()
        + B.square().sum()
        - 2 * torch.linalg.svdvals(A @ B.T).sum()
    )
    assert found["features"] == "Inception-v3" and (found["n_real"], found["n"]) == (6, 5)
    assert found["fid"] == pytest.approx(expected.item(), rel=1e-2) and expected > 0


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std")
def test_inception_score_is_that_of_its_words(inception):
    pictures = torch.rand(6, 3, 64, 64) * torch.linspace(0, 2, 6)[:, None, None, None] - 1
    found = inception_score(pictures, splits=1, batch_size=4)
    p = seen(inception, pictures)[1].softmax(1)
    assert (
        found["score"]
        == pytest.approx((p * (p / p.mean(0)).log()).sum(1).mean().exp().item(), rel=1e-4)
        and found["n"] == 6
    )
