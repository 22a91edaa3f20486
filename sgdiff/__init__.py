"""Images from scene graphs: masked contrastive graph pre-training and latent diffusion, taught in notebooks"""

__version__ = "0.1.0"

_HOME = {"SGDiffPipeline": "method.pipeline", "SceneGraph": "graphs.graph", "Vocab": "graphs.graph"}
__all__ = ["SGDiffPipeline", "SceneGraph", "Vocab", "__version__"]


def __getattr__(name):
    "The public class `name`, its module imported on first use (PEP 562): `import sgdiff` stays instant, without torch."
    if name not in _HOME:
        raise AttributeError(f"module 'sgdiff' has no attribute {name!r}")
    from importlib import import_module
    value = globals()[name] = getattr(import_module(f"sgdiff.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted(set(globals()) | set(_HOME))
