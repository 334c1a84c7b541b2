"""What the results in a run directory depend on: settings, data, and the code of models and views.

`fingerprints.json` holds, for each stage, the settings that are part of its identity (`blurjax.config.settings` says
which), and a hash of what each model and view computes. A directory is continued only where both agree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.field_types import FREE
from blurjax.config.loading import override
from blurjax.config.model_settings import Section
from blurjax.config.settings import Config, flip_in_words
from blurjax.config.trials import Trial, num_folds, points, views_in_use
from blurjax.config.view_table import CODECS, VIEWS
from blurjax.data import Dataset
from blurjax.experiment.networks import Networks, TrainingData, hyperparameters_of, together
from blurjax.models import apply
from blurjax.runtime import RunDirectory, UserError, read_json
from blurjax.train.jobs import find_jobs
from blurjax.train.state import Hyperparameters
from blurjax.views import codecs
from blurjax.views.functions import (
    Autoencoders,
    Basis,
    CodeRange,
    Matrices,
    ViewParameters,
    apply_view,
)

NUMBERED = 12
"""Views whose numbers were part of the code of every view when it was first hashed; those added since are not."""


def check_fingerprints(
    run: RunDirectory, config: Config, dataset: Dataset, *, accept_changed_code: bool = False
) -> None:
    """Refuses a directory that was made with other settings, data or code, or has results of more than is asked for.

    A stage of which nothing has been trained yet takes the new settings. A setting that an older directory does not
    know counts as its default.

    Args:
      run: made, and locked where it is written to.
      config: fitted to the data.
      dataset: decoded images.
      accept_changed_code: continue although models or views were changed; recorded as `accepted_changes`.

    Raises:
      UserError: names what differs.
    """
    _check_asks_for_all(run, config)
    known = read_json(run.fingerprints) if run.fingerprints.exists() else {}
    new, differing = dict(known), {}
    defaults = identity_of(Config())
    for stage, settings in stage_identities(config, dataset).items():
        if _is_begun(run, stage) and stage in known:
            old = known[stage]
            if "classifier.flip" in old:
                old = old | {"classifier.flip": flip_in_words(old["classifier.flip"])}
            before = {k: old.get(k, defaults.get(k)) for k in {**settings, **old}}
            differing |= {
                k: (v, settings.get(k)) for k, v in before.items() if v != settings.get(k)
            }
        new[stage] = settings
    if differing:
        named = [f"{k} = {old!r}, not {now!r}" for k, (old, now) in sorted(differing.items())]
        raise UserError(
            f"{run.path} was made with {'; '.join(named)}. Name another directory with --out, or use the old "
            f"{'setting' if len(named) == 1 else 'settings'}."
        )
    accepted, code = [*known.get("accepted_changes", [])], dict(known.get("code", {}))
    for part, value in code_hashes(config, TrainingData.of(dataset)).items():
        before = code.get(part, {}) if _is_begun(run, part) else {}
        known_values = before.get(jax.__version__, [])
        if known_values and value not in known_values:
            if not accept_changed_code:
                raise UserError(
                    f"{run.path} was made with other code of the {part}: it computes something else now. Restore the "
                    "code, name another directory with --out, or continue with --accept-changed-code, which the "
                    "results will say."
                )
            accepted.append(part)
        code[part] = before | {jax.__version__: list(dict.fromkeys([*known_values, value]))}
    run.write_json(run.fingerprints, new | {"code": code, "accepted_changes": accepted})


def check_code(run: RunDirectory, config: Config, data: TrainingData) -> None:
    """Raises UserError where the models or views of a run compute something else than when it was made."""
    known = read_json(run.fingerprints)["code"]
    for part, value in code_hashes(config, data).items():
        before = known.get(part, {}).get(jax.__version__, [value])
        if value not in before:
            raise UserError(
                f"{run.path} was made with other code of the {part}: it computes something else now; restore the code."
            )


def _check_asks_for_all(run: RunDirectory, config: Config) -> None:
    """Raises UserError where there are results of more than the settings ask for: less would replace them."""
    missing = [*_missing(read_json(run.results), config)] if run.results.exists() else []
    if missing:
        raise UserError(
            f"{run.path} has results of more than is asked for: {'; '.join(missing)}. `blurjax extend {run.path}` adds "
            "to them; or name another directory with --out."
        )


def _missing(results: dict[str, Any], config: Config) -> Iterator[str]:
    """Yields what results are of and the settings do not ask for."""
    blocks = results["points"]
    held = {seed for block in blocks for seed in block["trials"]}
    held |= {failure["seed"] for failure in results["failures"]}
    asked_for = points(config)
    of_points = {
        name: ({block["values"][name] for block in blocks}, {getattr(p, name) for p in asked_for})
        for name in asked_for[0]._fields
    }
    views = results["views"]
    for name, (there, asked) in {
        "seeds": (held, {*config.seeds}),
        "train views": ({*views["train"]}, {*config.train_views}),
        "test views": ({*views["test"]}, {*config.test_views}),
        **of_points,
    }.items():
        if there - asked:
            yield f"{name} {', '.join(sorted(map(_in_words, there - asked)))}"


def _in_words(value: object) -> str:
    return "all" if value is None else str(value)


def _is_begun(run: RunDirectory, part: str) -> bool:
    """Returns whether the directory holds something that depends on a stage, a model or a view."""
    if part in ("autoencoders", "folds", "autoencoder"):
        return bool(find_jobs(run, "autoencoder"))
    if part in ("classifiers", "classifier"):
        return any(run.job("classifier").glob("*/job-*/job.json"))
    view = part.removeprefix("view ")
    shown = (*run.predictions(view, "*").parent.glob(f"*-on-{view}.npz"),)
    return bool(
        find_jobs(run, f"classifier/{view}") or run.quality(view, "train").exists() or shown
    )


# Settings.


def stage_identities(config: Config, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Returns stage -> dotted key -> value of everything in the settings and the data that its results depend on."""
    own = identity_of(config)
    streamed = not dataset.fits(config.data.resident_limit)
    own |= {"data.seed": config.data.seed if streamed else None, "streaming": streamed}
    own |= {"the images' sha256": dataset.fingerprint}
    folds = {"autoencoder.folds": own.pop("autoencoder.folds")}
    without_classifier = {k: v for k, v in own.items() if not k.startswith("classifier.")}
    stages = {"autoencoders": without_classifier, "classifiers": own}
    return stages | ({"folds": folds} if num_folds(config) else {})


def identity_of(config: Config) -> dict[str, Any]:
    """Returns dotted key -> JSON value of the settings of data and models that are not marked as free to change."""
    sections = {
        "data": config.data,
        "autoencoder": config.autoencoder,
        "classifier": config.classifier,
    }
    return {k: v for name, section in sections.items() for k, v in _identity(section, name).items()}


def _identity(section: Section, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            found |= _identity(value, f"{prefix}.{name}")
        elif FREE not in field.metadata:
            found[f"{prefix}.{name}"] = values[name]
    return found


# Code.


def code_hashes(config: Config, data: TrainingData) -> dict[str, str]:
    """Returns a hash of what each model computes in a training step, and of what each view in use computes.

    Of their jaxprs, traced for one example, with convolutions as XLA has them: how something is computed does not
    count. jax's own functions are part of it, so hashes are comparable for one version of jax alone.
    """
    plain = {
        "compute.convolution": "lax",
        "compute.microbatches": 1,
        "compute.rematerialize": False,
    }
    networks = Networks(override(config, plain), data, "cpu")
    row = hyperparameters_of(Trial(0, 1), config.autoencoder)
    image = jax.ShapeDtypeStruct((1, *data.image_shape), jnp.float32)
    index = jax.ShapeDtypeStruct((1,), jnp.int32)
    mask = jax.ShapeDtypeStruct((1,), bool)
    batch = {"image": image, "label": index, "index": index, "mask": mask}
    autoencoder = jax.eval_shape(networks.autoencoder_init, row)
    views = _abstract_view_parameters(config, networks, autoencoder.variables, row)
    step = networks.autoencoder_step, autoencoder, None, batch
    hashes = {
        "autoencoder": _hash((networks.autoencoder_init, row), step),
        "classifier": _hash(*_classifier_calls("original", networks, row, views, batch)),
    }
    for kind in ("autoencoder", "classifier"):
        count = together(getattr(config, kind), getattr(networks, kind))
        if count > 1:  # one example does not show it
            hashes[kind] += f" of {count}"
    for view in views_in_use(config):
        table = dict.fromkeys([*list(VIEWS)[:NUMBERED], view])
        function = partial(apply_view, in_use=(view,), table=list(table))
        own = views._replace(**_own_parameters(view, networks, autoencoder.variables))
        hashes[f"view {view}"] = _hash((function, own, image, index))
        if VIEWS[view].network != "model":
            own_network = _classifier_calls(view, networks, row, views, batch)
            hashes[f"view {view}"] += _hash(*own_network)
        if view in CODECS:
            pattern = codecs.pattern(view, data.image_shape)
            hashes[f"view {view}"] += hashlib.sha256(pattern).hexdigest()[:16]
    return hashes


def _classifier_calls(
    view: str, networks: Networks, row: Hyperparameters, views: ViewParameters, batch: Any
) -> list[tuple[Any, ...]]:
    """Returns what starts a train view's classifier and trains it on images as they are, with the arguments."""
    networks = networks.for_view(view)
    state = jax.eval_shape(networks.classifier_init, row)
    step = networks.classifier_step(lambda parameters, images, indices: images)
    warm_start = networks.warm_start, state, views.autoencoders.variables
    starts = [(networks.classifier_init, row), *([warm_start] if VIEWS[view].starts_warm else [])]
    return [*starts, (step, state, views, batch)]


def _own_parameters(view: str, networks: Networks, variables: Any) -> dict[str, Any]:
    """Returns the shapes of parameters that no other view has: the others are hashed as before these were there."""
    if view == "quantised":
        encode = partial(apply, networks.autoencoder, method="encode")
        code, _ = jax.eval_shape(encode, variables, *networks.example)
        ends = jax.ShapeDtypeStruct(code.shape[1:], code.dtype)
        return {"code_range": CodeRange(ends, ends)}
    if view in CODECS:
        images = jax.ShapeDtypeStruct((1, 1, *networks.data.image_shape), np.uint8)
        rows = jax.ShapeDtypeStruct((len(CODECS),), np.int32)
        return {"codec_images": images, "codec_rows": rows}
    return {}


def _abstract_view_parameters(
    config: Config, networks: Networks, variables: Any, row: Hyperparameters
) -> ViewParameters:
    """Returns the shapes of one trial's view parameters, of every kind."""
    height, width, channels = networks.data.image_shape
    floats = partial(jax.ShapeDtypeStruct, dtype=np.float32)
    integers = partial(jax.ShapeDtypeStruct, dtype=np.int32)
    count = 1 + num_folds(config)
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), variables
    )
    matrices = Matrices(floats((height, height)), floats((width, width)))
    values, components = height * width * channels, config.autoencoder.max_bottleneck or 1
    return ViewParameters(
        view=integers(()),
        seed=row.seed,
        bottleneck=row.bottleneck,
        autoencoders=Autoencoders(stacked, networks.autoencoder),
        fold_of=integers((1,)),
        blur=matrices,
        downsample=matrices,
        basis=Basis(floats((values,)), floats((components, values))),
        gain=floats((min(height, width) // 2 + 1,)),
    )


def _hash(*calls: tuple[Any, ...]) -> str:
    """Returns a hash of the jaxprs of functions, each with its arguments, and of the constants in them."""
    digest = hashlib.sha256()
    for function, *arguments in calls:
        closed = jax.make_jaxpr(function)(*arguments)
        # By itself, jax colours the text where it may be shown on a terminal or in a notebook.
        text = closed.pretty_print(use_color=False)
        # Where Python keeps a function says nothing of what it computes.
        digest.update(re.sub(r"0x[0-9a-f]+", "", text).encode())
        for constant in closed.consts:
            digest.update(np.asarray(constant).tobytes())
    return digest.hexdigest()[:16]
