"""Small networks for tests."""

from trainables.registry import detector_class


def build(model: str, seed: int = 0, **params):
    model_class = detector_class(model)
    values = {"n_c": 2, "n_z": 8, "batch_size": 4} | params
    return model_class(model_class.Params.model_validate(values), seed=seed)
